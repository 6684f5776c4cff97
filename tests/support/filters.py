"""Hypothesis strategies for filters. They use few fields and texts, so that filters match often."""

from typing import Any

from hypothesis import strategies as st

texts = st.sampled_from(["", "a", "ab", "b", "paid", "1"])

comparisons: st.SearchStrategy[dict[str, Any]] = st.builds(
    lambda dialect, pairs: {dialect: pairs},
    st.sampled_from(["exact", "prefix", "suffix"]),
    st.dictionaries(
        st.sampled_from(["type", "x", "key", "header.h", "/n", "/d/n"]),
        texts | st.lists(texts, min_size=1, max_size=3),
        min_size=1,
        max_size=3,
    ),
)

filters: st.SearchStrategy[dict[str, Any]] = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.builds(lambda parts: {"all": parts}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda parts: {"any": parts}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda part: {"not": part}, inner),
    ),
    max_leaves=8,
)
