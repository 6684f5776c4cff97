"""The operations that show the whole cluster (web/api/cluster.py)."""

from typing import cast

from pipeline.subscriptions.registry import Registry
from pipeline.web.api.cluster import ClusterOperations
from pipeline.web.api.cluster_models import FailureQuery
from pipeline.web.api.lookup import Lookup
from pipeline.web.api.operations import Call
from tests.support.fakes import MemoryRegistry
from tests.support.fixed_view import FixedView, failed


async def test_the_largest_groups_are_listed_and_others_are_counted() -> None:
    names = [(f"sub-{number}-{each}", number) for number in range(130) for each in range(2 if number == 129 else 1)]
    view = FixedView([failed(name, f"the callback answered {number}") for name, number in names])
    operations = ClusterOperations(view, Lookup(cast("Registry", MemoryRegistry())))

    body = (await operations.list_failures(Call(query=FailureQuery()))).body

    assert (len(body["groups"]), body["more"]) == (100, 30)
    assert body["groups"][0]["ids"] == ["sub-129-0", "sub-129-1"]
    assert (await operations.list_failures(Call(query=FailureQuery(limit=200)))).body["more"] == 0
