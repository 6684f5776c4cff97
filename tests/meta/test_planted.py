"""The texts that tests/mutants replaces exist in the source. `make mutants` plants the faults, which takes minutes."""

import ast
import re

import pytest

from tests.mutants.mutant import ROOT, Mutant
from tests.mutants.mutants import MUTANTS
from tests.support.syntax import parsed


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_fault_changes_the_source_and_names_existing_tests(mutant: Mutant) -> None:
    source = (ROOT / mutant.file).read_text()
    planted = mutant.planted(source)
    assert ast.dump(parsed(planted)) != ast.dump(parsed(source)), "the fault does not change the program"
    assert mutant.tests
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE), test


def test_faults_have_unique_names() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(set(names)) == len(names)


def test_a_fault_whose_text_is_not_unique_is_reported() -> None:
    mutant = Mutant("a fault", "pipeline/x.py", was="a", becomes="b", tests=())
    for source in ("", "a a"):
        with pytest.raises(LookupError, match=r"a fault: pipeline/x\.py"):
            mutant.planted(source)
