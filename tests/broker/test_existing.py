"""If a subscription does not exist, a command suggests the one that was probably meant, on an embedded broker."""

from collections.abc import Callable

import pytest

from pipeline.cli.existing import require_subscription
from pipeline.core.errors import ConfigurationError
from tests.support.api import ApiCluster, Client, document
from tests.support.brokers import TestBroker

pytest_plugins = ("tests.support.api_fixtures",)
pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def cluster(embedded: TestBroker, unique_name: Callable[[str], str]) -> ApiCluster:
    return ApiCluster(embedded, unique_name("existing"))


@pytest.fixture
async def subscribed(cluster: ApiCluster, client: Client) -> ApiCluster:
    """A cluster with the subscriptions order-1 to order-5."""
    for number in range(1, 6):
        async with client.post("/api/subscriptions", json=document(f"order-{number}")) as response:
            assert response.status == 201, await response.text()
    return cluster


async def refusal(cluster: ApiCluster, name: str, then: str = "; nothing was written", **more: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        await require_subscription(cluster.settings, cluster.definition, name, then, **more)
    return str(caught.value)


async def test_a_similar_subscription_is_suggested(subscribed: ApiCluster) -> None:
    assert await require_subscription(subscribed.settings, subscribed.definition, "order-5", "") is None
    for name, hint in (
        ("order-55", "; did you mean order-5?"),
        ("xorder-5", "; did you mean order-5?"),
        ("unlike", ""),
    ):
        said = f'there is no subscription "{name}"; nothing was written{hint}'
        assert await refusal(subscribed, name) == said
    unknown, advice = 'there is no subscription "{}"; {}', "create it first"
    similar = await refusal(subscribed, "order-55", "", advice=advice)
    assert similar == unknown.format("order-55", "did you mean order-5? Otherwise create it first")
    assert await refusal(subscribed, "unlike", "", advice=advice) == unknown.format("unlike", advice)


async def test_of_many_subscriptions_few_are_compared(subscribed: ApiCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.cli.existing.MOST_COMPARED", 2)
    assert "did you mean" not in await refusal(subscribed, "xorder-5")  # no id begins with xord
    assert (await refusal(subscribed, "order-55")).endswith(("did you mean order-1?", "did you mean order-2?"))
