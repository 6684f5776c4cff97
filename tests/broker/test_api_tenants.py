"""A token of a tenant in the JSON API can't see, guess or change anything of other tenants."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.cluster.attempt_pages import AttemptPage
from pipeline.cluster.attempt_search import AttemptSearch
from pipeline.web.api.actions import Actions
from pipeline.web.api.lookup import LISTS_OF_A_TENANT
from tests.support.api import HOOK, ApiWorker, Client, api_paths, document, problem, token
from tests.support.fixed_view import failed

pytest_plugins = ("tests.support.api_fixtures",)

PATH = "/api/subscriptions"
ACME = {"customer": "acme"}
OTHER = {"customer": "other"}
OURS = ("ours-1", "ours-2")
THEIRS = ("theirs-1", "theirs-2", "nobodys")

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
async def client(worker: ApiWorker) -> AsyncIterator[Client]:
    """Two subscriptions of ACME, two of another tenant, and one without a tenant."""
    metadata: dict[str, Mapping[str, str]] = {**dict.fromkeys(OURS, ACME), **dict.fromkeys(THEIRS[:2], OTHER)}
    async with worker.client() as client:
        for name in (*OURS, *THEIRS):
            body = document(name, callbackUrl=f"https://{name}.example/hook")
            async with client.post(PATH, json={**body, "metadata": metadata.get(name, {})}) as response:
                assert response.status == 201
        yield client


async def shown_to_admin(client: Client, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """The subscriptions as the administrator sees them."""
    found = []
    for name in names:
        async with client.get(f"{PATH}/{name}") as response:
            found.append(await response.json())
            del found[-1]["delivery"]  # the view may change this at any time
    return found


async def test_a_tenant_sees_only_its_own_subscriptions(client: Client) -> None:
    async with client.get(PATH, headers=token(ACME)) as response:
        body = await response.json()
    assert ([each["id"] for each in body["items"]], body["total"]) == (list(OURS), 2)
    for text in ("theirs", "nobodys", "theirs-1.example"):
        async with client.get(PATH, params={"q": text}, headers=token(ACME)) as response:
            assert (await response.json())["total"] == 0
    async with client.get(PATH, headers=token({"customer": "acme", "plan": "gold"})) as response:
        assert (await response.json())["total"] == 0


async def test_an_operator_s_token_without_a_limit_sees_all(client: Client) -> None:
    async with client.get(PATH, headers=token({})) as response:
        assert (await response.json())["total"] == 5


async def test_a_tenant_creates_subscriptions_within_its_limit(client: Client) -> None:
    async with client.post(PATH, json=document(None), headers=token(ACME)) as response:
        assert response.status == 201
        where = response.headers["Location"]
    async with client.get(where) as response:
        assert (await response.json())["metadata"] == ACME
    for name, sentence in (("theirs-1", "id: is not allowed with a token"), ("new", "id: is not allowed with a token")):
        async with client.post(PATH, json=document(name), headers=token(ACME)) as response:
            assert sentence in (await problem(response, 400))["detail"]
    wrong = {**document(None), "metadata": OTHER}
    for method, path in (("POST", PATH), ("PUT", f"{PATH}/ours-1")):
        async with client.request(method, path, json=wrong, headers=token(ACME)) as response:
            detail = (await problem(response, 400))["detail"]
            assert detail == 'metadata.customer: "other" is not allowed with this token; allowed: "acme"'
    more = {**document(None), "metadata": {"team": "x"}}
    async with client.put(f"{PATH}/ours-1", json=more, headers=token(ACME)) as response:
        assert response.status == 200
    [shown] = await shown_to_admin(client, ("ours-1",))
    assert shown["metadata"] == {"team": "x", **ACME}


async def test_a_former_tenant_can_t_act_on_a_subscription(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def moved_meanwhile(*_: Any) -> dict[str, Any]:
        """While the effects are computed, the operator moves the subscription to another tenant."""
        async with client.put(f"{PATH}/ours-1", json={**document(None), "metadata": OTHER}) as response:
            assert response.status == 200
        return {}

    monkeypatch.setattr(Actions, "_preview", moved_meanwhile)
    replay = {"timestamp": "2026-01-31T08:00:00Z"}
    async with client.post(f"{PATH}/ours-1/_replay", json=replay, headers=token(ACME)) as response:
        await problem(response, 404)
    [shown] = await shown_to_admin(client, ("ours-1",))
    assert shown["resumeFrom"] is None


async def test_a_former_tenant_sees_no_attempts_of_a_subscription(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def moved_meanwhile(*_: Any) -> AttemptPage:
        async with client.put(f"{PATH}/ours-1", json={**document(None), "metadata": OTHER}) as response:
            assert response.status == 200
        return AttemptPage((), None, None)

    monkeypatch.setattr(AttemptSearch, "attempts", moved_meanwhile)
    async with client.get(f"{PATH}/ours-1/attempts", headers=token(ACME)) as response:
        await problem(response, 404)


async def test_a_tenant_does_not_see_the_addresses_of_workers(
    client: Client, worker: ApiWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = failed("ours-1")
    monkeypatch.setattr(worker.view, "state", lambda _: known)
    for headers, address in ((token(ACME), None), (token({}), known.lanes[0].worker)):
        async with client.get(f"{PATH}/ours-1", headers=headers) as response:
            assert [lane["worker"] for lane in (await response.json())["delivery"]["lanes"]] == [address]


async def test_a_tenant_may_run_only_a_few_lists_at_once(
    client: Client, worker: ApiWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without this limit, concurrent lists would delay deliveries."""
    may_go, states = asyncio.Event(), worker.view.states

    async def later(*those: Any) -> Any:
        await may_go.wait()
        return await states(*those)

    async def listed(headers: dict[str, str]) -> int:
        async with client.get(PATH, headers=headers) as response:
            return response.status

    monkeypatch.setattr(worker.view, "states", later)
    calls = [asyncio.ensure_future(listed(token(ACME))) for _ in range(LISTS_OF_A_TENANT + 1)]
    [refused], _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    assert refused.result() == 503
    other = asyncio.ensure_future(listed(token(OTHER)))
    may_go.set()
    assert await other == 200
    assert sorted(await asyncio.gather(*calls)) == [200] * LISTS_OF_A_TENANT + [503]


async def test_a_token_that_may_only_read_changes_nothing(client: Client) -> None:
    reader = token({}, "read")
    calls = (("POST", PATH), ("PUT", f"{PATH}/ours-1"), ("DELETE", f"{PATH}/ours-1"), ("POST", f"{PATH}/ours-1/_pause"))
    for method, path in calls:
        async with client.request(method, path, json=document(None), headers=reader) as response:
            assert "needs the scope write" in (await problem(response, 403))["detail"]


bodies = st.one_of(
    st.none(),
    st.just(document(None)),
    st.builds(document, st.sampled_from((*OURS, *THEIRS, "new"))),
    st.just({**document(None), "metadata": OTHER}),
    st.fixed_dictionaries({"partition": st.integers(-1, 2), "offset": st.integers(-1, 2)}),
    st.just({"timestamp": "2026-01-31T08:00:00Z", "discardWaiting": True}),
    st.just({"secret": "whsec_cGxhbnRlZC1zaWduaW5nLXNlY3JldC1wbGFudGVk"}),
    st.just({}),
)
conditions = st.sampled_from([{}, {"If-Match": "*"}, {"If-Match": '"0"'}, {"If-Match": '"3"'}, {"If-None-Match": "*"}])


# Hypothesis draws in another thread, so it would blame a strategy for the event loop's use of `random`.
@pytest.mark.filterwarnings("ignore:Do not use the .random. module")
async def test_no_call_reveals_or_changes_data_of_other_tenants(worker: ApiWorker, client: Client) -> None:
    """A call about another tenant's subscription gets the same answer as a call about a subscription that does not
    exist."""
    loop = asyncio.get_running_loop()
    before = await shown_to_admin(client, THEIRS)
    operations = sorted((method, path) for method, path in api_paths(worker.app) if "{id}" in path)
    assert {path.rpartition("/")[2] for _, path in operations} >= {"{id}", "attempts", "_test", "_rotateSecret"}

    async def answer(operation: tuple[str, str], name: str, body: Any, condition: Mapping[str, str]) -> tuple[int, str]:
        method, path = operation[0], operation[1].replace("{id}", name)
        query = {"status": "STOPPED"} if path.endswith("/_changeConsumerStatus") else {}
        options = {} if body is None else {"json": body}
        headers = {**token(ACME), **condition}
        async with client.request(method, path, params=query, headers=headers, **options) as response:
            return response.status, (await response.text()).replace(name, "NAME")

    @given(name=st.sampled_from(THEIRS), body=bodies, condition=conditions)
    @settings(deadline=None, max_examples=20, suppress_health_check=list(HealthCheck))
    def check(operation: tuple[str, str], **call: Any) -> None:
        async def both() -> tuple[Any, Any]:
            return await answer(operation, **call), await answer(operation, **{**call, "name": "none-of-it"})

        theirs, none = asyncio.run_coroutine_threadsafe(both(), loop).result(30)
        assert theirs == none
        assert theirs[0] >= 400
        assert HOOK not in theirs[1]

    for operation in operations:
        await asyncio.to_thread(check, operation)
    assert await shown_to_admin(client, THEIRS) == before
