"""The operations on subscriptions in the JSON API, on an embedded broker: answers, and effects on other workers."""

import asyncio
from io import BytesIO
from typing import Any

import pytest

from pipeline.core.redaction import MASKED_FIELD
from tests.support.api import ApiCluster, ApiWorker, Client, api_paths, document, problem

pytest_plugins = ("tests.support.api_fixtures",)

PATH = "/api/subscriptions"


async def created(client: Client, name: str = "sub-1", **options: Any) -> int:
    """Create a subscription, and return its revision."""
    async with client.post(PATH, json=document(name, **options)) as response:
        body = await response.json()
        assert (response.status, body["result"]) == (201, "created"), body
        assert response.headers["ETag"] == f'"{body["revision"]}"'
        assert response.headers["Location"] == f"{PATH}/{name}"
        return int(body["revision"])


async def test_the_api_description_lists_exactly_the_existing_routes(worker: ApiWorker, client: Client) -> None:
    async with client.get("/api/openapi.json") as response:
        described = await response.json()
    operations = {
        (method.upper(), path): each for path, methods in described["paths"].items() for method, each in methods.items()
    }
    assert set(api_paths(worker.app)) == operations.keys()
    assert described["openapi"].startswith("3.1.")
    assert all(each["summary"] and each["operationId"] for each in operations.values())


async def test_every_worker_shows_a_created_subscription_masked(client: Client, other: Client) -> None:
    auth = {"type": "token", "token": {"value": "planted-secret"}}
    revision = await created(client, auth=auth)
    for asked in (client, other):
        async with asked.get(f"{PATH}/sub-1") as response:
            shown = await response.json()
            assert (response.status, response.headers["ETag"]) == (200, f'"{revision}"')
        assert shown["configuration"]["entrypointConfiguration"]["auth"]["token"]["value"] == MASKED_FIELD
        assert shown["routing"] == "key"


async def test_a_shown_document_can_be_put_back_unchanged(client: Client) -> None:
    await created(client, auth={"type": "token", "token": {"value": "planted-secret"}})
    async with client.get(f"{PATH}/sub-1") as response:
        shown = await response.json()
    async with client.put(f"{PATH}/sub-1", json=shown) as response:
        assert (response.status, (await response.json())["result"]) == (200, "unchanged")


async def test_a_put_that_removes_protection_causes_a_warning(client: Client) -> None:
    await created(client, auth={"type": "token", "token": {"value": "planted-secret"}})
    async with client.put(f"{PATH}/sub-1", json=document()) as response:
        assert (await response.json())["warning"] == "auth is removed: requests will have no credentials"


async def test_a_subscription_without_an_id_gets_one(client: Client) -> None:
    async with client.post(PATH, json=document(None)) as response:
        body = await response.json()
        assert (response.status, response.headers["Location"]) == (201, f"{PATH}/{body['id']}")
    async with client.get(response.headers["Location"]) as response:
        assert response.status == 200


async def test_an_existing_subscription_is_not_created_again(client: Client) -> None:
    revision = await created(client)
    async with client.post(PATH, json=document()) as response:
        assert f"at revision {revision}" in (await problem(response, 409))["detail"]


async def test_an_id_may_have_any_printable_characters(client: Client) -> None:
    names = ["a/b", "ä ö", "?x=1#y", "_bulk", "100%", "{id}"]
    for name in names:
        async with client.post(PATH, json=document(name)) as response:
            assert response.status == 201
            where = response.headers["Location"]
        async with client.get(where) as response:
            assert (await response.json())["id"] == name
        async with client.delete(where) as response:
            assert (await response.json())["result"] == "deleted"


async def test_a_conditional_put_creates_or_replaces(client: Client) -> None:
    async with client.put(f"{PATH}/new", json=document(None), headers={"If-Match": "*"}) as response:
        await problem(response, 412)
    async with client.put(f"{PATH}/new", json=document(None), headers={"If-None-Match": "*"}) as response:
        assert response.status == 201
        tag = response.headers["ETag"]
    async with client.put(f"{PATH}/new", json=document(None), headers={"If-None-Match": "*"}) as response:
        await problem(response, 412)
    changed = {**document(None), "metadata": {"team": "a"}}
    async with client.put(f"{PATH}/new", json=changed, headers={"If-Match": tag}) as response:
        assert (response.status, (await response.json())["result"]) == (200, "updated")
    async with client.put(f"{PATH}/new", json=document(None), headers={"If-Match": tag}) as response:
        assert "is at revision" in (await problem(response, 412))["detail"]
    async with client.delete(f"{PATH}/new", headers={"If-Match": tag}) as response:
        await problem(response, 412)
    async with client.get(f"{PATH}/new") as response:
        assert (await response.json())["metadata"] == {"team": "a"}


async def test_of_two_concurrent_writers_one_succeeds(client: Client, other: Client) -> None:
    """Two clients read the same revision and write at the same time. One gets an error; the other change is kept."""
    await created(client)
    for turn in range(5):
        async with client.get(f"{PATH}/sub-1") as response:
            tag = response.headers["ETag"]

        async def put(asked: Client, team: str, tag: str = tag) -> tuple[str, int]:
            body = {**document(None), "metadata": {"team": team}}
            async with asked.put(f"{PATH}/sub-1", json=body, headers={"If-Match": tag}) as response:
                return team, response.status

        answers = await asyncio.gather(put(client, f"a{turn}"), put(other, f"b{turn}"))
        assert sorted(status for _, status in answers) == [200, 412], answers
        [winner] = [team for team, status in answers if status == 200]
        for asked in (client, other):
            async with asked.get(f"{PATH}/sub-1") as response:
                assert (await response.json())["metadata"] == {"team": winner}


async def test_a_conditional_deletion_does_not_undo_another_change(client: Client, other: Client) -> None:
    """A change and a deletion depend on the same revision. No confirmed change is lost by the deletion."""
    for turn in range(5):
        await created(client, f"sub-{turn}")
        one = f"{PATH}/sub-{turn}"
        async with client.get(one) as response:
            tag = {"If-Match": response.headers["ETag"]}

        async def put(one: str = one, tag: dict[str, str] = tag) -> int:
            body = {**document(None), "metadata": {"team": "a"}}
            async with client.put(one, json=body, headers=tag) as response:
                return response.status

        async def delete(one: str = one, tag: dict[str, str] = tag) -> int:
            async with other.delete(one, headers=tag) as response:
                return response.status

        is_put, is_deleted = (status == 200 for status in await asyncio.gather(put(), delete()))
        async with client.get(one) as response:
            assert response.status == (404 if is_deleted else 200)
            found = await response.json()
        assert not (is_put and is_deleted)
        assert is_deleted or found["metadata"] == ({"team": "a"} if is_put else None)


async def test_of_two_concurrent_creators_one_succeeds(client: Client, other: Client) -> None:
    for turn in range(5):

        async def post(asked: Client, team: str, name: str = f"new-{turn}") -> tuple[str, int]:
            async with asked.post(PATH, json={**document(name), "metadata": {"team": team}}) as response:
                return team, response.status

        answers = await asyncio.gather(post(client, "a"), post(other, "b"))
        assert sorted(status for _, status in answers) == [201, 409], answers
        [winner] = [team for team, status in answers if status == 201]
        async with client.get(f"{PATH}/new-{turn}") as response:
            assert (await response.json())["metadata"] == {"team": winner}


async def test_following_the_pages_gives_each_subscription_once(client: Client) -> None:
    names = [f"sub-{number:02}" for number in range(7)]
    for name in names:
        await created(client, name)
    found, after, pages = [], None, 0
    while pages == 0 or after is not None:
        query = {"limit": "3", **({} if after is None else {"after": after})}
        async with client.get(PATH, params=query) as response:
            body = await response.json()
        assert body["total"] == 7
        found += [item["id"] for item in body["items"]]
        after, pages = body["next"], pages + 1
    assert (found, pages) == (names, 3)
    for text, total in (("SUB-03", 1), ("receiver.example", 7), ("nothing", 0)):
        async with client.get(PATH, params={"q": text}) as response:
            assert (await response.json())["total"] == total


async def test_a_page_of_large_documents_has_fewer_entries(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.web.api.subscriptions.PAGE_BYTES", 100_000)
    names = [f"sub-{number}" for number in range(5)]
    for name in names:
        async with client.post(PATH, json={**document(name), "metadata": {"note": "x" * 40_000}}) as response:
            assert response.status == 201
    found, pages, after = [], [], ""
    while after is not None:
        async with client.get(PATH, params={"after": after, "limit": "1000"}) as response:
            body = await response.json()
        pages.append(len(body["items"]))
        found += [item["id"] for item in body["items"]]
        after = body["next"]
    assert (found, pages) == (names, [3, 2])


async def test_a_missing_subscription_is_not_found(client: Client) -> None:
    for method, path in (("GET", f"{PATH}/none"), ("DELETE", f"{PATH}/none"), ("GET", "/api/none"), ("GET", "/api")):
        async with client.request(method, path) as response:
            await problem(response, 404)
    async with client.patch(f"{PATH}/none") as response:
        assert "DELETE, GET, HEAD, PUT" in (await problem(response, 405))["detail"]


JSON = {"Content-Type": "application/json"}

Bad = tuple[str, str, dict[str, Any], int, str]
"""Method, path, request, status of the problem, and a text that its sentence must contain."""

BAD: list[Bad] = [
    ("POST", PATH, {"data": "{", "headers": JSON}, 400, "is not JSON"),
    (
        "POST",
        PATH,
        {"data": "{}"},
        415,
        'Content-Type: "text/plain; charset=utf-8" is not allowed; allowed: application/json',
    ),
    ("POST", PATH, {"json": []}, 400, "body: must be an object, not a list"),
    ("POST", PATH, {"data": "null", "headers": JSON}, 400, "body: must be an object, not null"),
    ("POST", PATH, {"json": {}}, 400, "configuration: is required"),
    ("POST", PATH, {"json": {**document(), "id": ""}}, 400, "id: must not be empty"),
    ("POST", PATH, {"json": {**document(), "id": 7}}, 400, "id: must be a string, not 7"),
    ("POST", PATH, {"json": {**document(), "id": "a\n"}}, 400, "id: must not contain control characters"),
    ("POST", PATH, {"json": {**document(), "id": "x" * 256}}, 400, "allowed: at most 255 characters"),
    ("POST", PATH, {"json": {**document(), "staus": "PAUSED"}}, 400, "staus: unknown field; did you mean status?"),
    (
        "POST",
        PATH,
        {"json": {**document(), "status": "ON"}},
        400,
        'status: "ON" is not allowed; allowed: ACCEPTED, PAUSED, CLOSED',
    ),
    ("POST", PATH, {"json": {**document(), "consumerStatus": "FAILURE"}}, 400, "allowed: STARTED, STOPPED"),
    (
        "POST",
        PATH,
        {"json": {**document(), "qos": "exactly-once"}},
        400,
        "allowed: none, auto, at-most-once, at-least-once",
    ),
    ("POST", PATH, {"json": {**document(), "metadata": {"a": 1}}}, 400, "metadata.a: must be a string, not 1"),
    ("POST", PATH, {"json": {**document(), "endingAt": "soon"}}, 400, 'endingAt: "soon"'),
    ("POST", PATH, {"json": {**document(), "topics": ["other"]}}, 400, "topics: is only allowed with routing: match"),
    ("POST", PATH, {"json": {**document(), "startFrom": "now"}}, 400, "startFrom: is only allowed with routing: match"),
    (
        "POST",
        PATH,
        {"json": document(callbackUrl="ftp://x")},
        400,
        "configuration.entrypointConfiguration.callbackUrl:",
    ),
    ("POST", PATH, {"json": document(retry={"maxAttempts": 0})}, 400, "allowed: 1 to 10000"),
    ("POST", PATH, {"json": document(headers=[{"name": "a b", "value": "x"}])}, 400, '"a b" is not a header name'),
    ("POST", PATH, {"json": document(auth={"type": "magic"})}, 400, "auth.type:"),
    ("POST", PATH, {"json": document(rate={"eventsPerSecond": 0})}, 400, "rate.eventsPerSecond: 0"),
    (
        "POST",
        PATH,
        {"json": document(signing={"secrets": [MASKED_FIELD]})},
        400,
        "is masked, and no secret is stored there",
    ),
    ("POST", PATH, {"json": {**document(), "resumeFrom": {"partition": 1}}}, 400, "resumeFrom:"),
    ("POST", PATH, {"data": b"\xff", "headers": JSON}, 400, "is not UTF-8 at byte 0"),
    ("POST", PATH, {"data": b'{"id":"a","id":"b"}', "headers": JSON}, 400, 'the name "id" twice'),
    ("POST", PATH, {"data": b'{"id":NaN}', "headers": JSON}, 400, "NaN is not JSON"),
    ("POST", PATH, {"data": b'{"id":-Infinity}', "headers": JSON}, 400, "-Infinity is not JSON"),
    ("POST", PATH, {"data": b'{"x":[1e999]}', "headers": JSON}, 400, 'body: "1e999" is too large a number'),
    ("POST", "/api/match", {"data": b'{"value":-1e999}', "headers": JSON}, 400, 'body: "-1e999" is too large a number'),
    ("POST", PATH, {"data": b"[" * 100_000, "headers": JSON}, 400, "nested too deeply"),
    ("POST", PATH, {"data": rb'{"x": "\ud800"}', "headers": JSON}, 400, "half of a surrogate pair"),
    ("PUT", f"{PATH}/a", {"json": document("b")}, 400, 'id: "b" is not the id in the path, "a"'),
    (
        "PUT",
        f"{PATH}/a",
        {"json": document(None), "headers": {"If-Match": "7"}},
        400,
        'If-Match: "7" is not a revision',
    ),
    ("PUT", f"{PATH}/a", {"json": document(None), "headers": {"If-None-Match": '"7"'}}, 400, "allowed: *"),
    ("DELETE", f"{PATH}/a", {"headers": {"If-Match": '"x"'}}, 400, "If-Match:"),
    ("GET", f"{PATH}?limit=0", {}, 400, "limit: 0 is out of range; allowed: 1 to 1000"),
    ("GET", f"{PATH}?limit=many", {}, 400, 'limit: must be a whole number, not "many"'),
    ("GET", f"{PATH}?limit=1&limit=2", {}, 400, "limit: is given 2 times; allowed: once"),
    ("GET", f"{PATH}?limt=1", {}, 400, "limt: unknown parameter; did you mean limit?"),
    ("GET", f"{PATH}/a?x=1", {}, 400, "x: unknown parameter; none is allowed here"),
    ("GET", f"{PATH}?cause=excepton", {}, 400, 'cause[0]: "excepton" is not allowed; allowed: rejected, gone, '),
    ("GET", f"{PATH}?host=http://a.example", {}, 400, 'host: "http://a.example" is not a host; allowed: HOST or '),
    ("POST", f"{PATH}/_bulk", {"json": {"action": "pause", "filter": {"host": "a/b"}}}, 400, 'filter.host: "a/b" is '),
    ("POST", f"{PATH}/a/_pause", {"json": {"dryRun": True}}, 400, "dryRun: unknown field; none is allowed here"),
    ("POST", f"{PATH}/a/_pause", {"json": [1]}, 400, "body: must be an empty object, not a list"),
    ("DELETE", f"{PATH}/a", {"json": {"dryRun": True}}, 400, "dryRun: unknown field; none is allowed here"),
    ("POST", f"{PATH}/a/_replay", {"json": {}}, 400, 'body: allowed: {"partition", "offset"} or {"timestamp"}'),
]


async def test_bad_requests_are_refused_with_an_explanation(client: Client) -> None:
    wrong = []
    for method, path, options, status, sentence in BAD:
        async with client.request(method, path, **options) as response:
            body = await problem(response, status)
        if sentence not in body["detail"]:
            wrong.append((sentence, body["detail"]))
    assert wrong == []
    async with client.get(PATH) as response:
        assert (await response.json())["total"] == 0


async def test_a_body_above_the_size_limit_is_refused(client: Client) -> None:
    async with client.post(PATH, data=BytesIO(b" " * 1_100_000), headers=JSON) as response:
        assert "allowed: at most 1048576 bytes" in (await problem(response, 413))["detail"]


async def test_a_document_too_large_for_a_record_is_refused(client: Client) -> None:
    large = {**document(), "metadata": {"note": "x" * 1_048_350}}
    async with client.post(PATH, json=large) as response:
        assert "allowed: at most 1,048,576, and at most max.message.bytes" in (await problem(response, 400))["detail"]
    await created(client)


async def test_a_stored_record_that_cant_be_read_is_a_conflict(client: Client, cluster: ApiCluster) -> None:
    await cluster.broker.produce(f"{cluster.name}.subscriptions", (b"sub-1", b"{"))
    for action in ("_pause", "_rotateSecret"):
        async with client.post(f"{PATH}/sub-1/{action}", json={}) as response:
            assert (await problem(response, 409))["problems"] == ["the record is not JSON"]
    async with client.put(f"{PATH}/sub-1", json=document()) as response:
        assert response.status == 200


async def test_a_body_with_a_wrong_content_encoding_is_refused(client: Client) -> None:
    headers = {**JSON, "Content-Encoding": "gzip"}
    async with client.post(PATH, data=BytesIO(b"{}"), headers=headers) as response:
        assert (await problem(response, 400))["detail"] == 'Content-Encoding: the body is not "gzip"'


SECRETS: dict[str, Any] = {
    "callbackUrl": "https://receiver.example/hook?token=planted-1",
    "headers": [{"name": "X-Api-Key", "value": "planted-2"}],
    "auth": {
        "type": "oauth2",
        "oauth2": {"endpoint": "https://issuer.example/token", "clientId": "me", "clientSecret": "planted-5"},
    },
    "signing": {"secrets": ["whsec_" + 6 * "planted0"]},
}
"""A secret in each kind of field."""

FAULTS: tuple[dict[str, Any], ...] = (
    {},
    {"id": 7},
    {"status": "planted"},
    {"metadata": ["x"]},
    {"qos": {}},
    {"endingAt": "soon"},
    {"unknown": 1},
    {"topics": ["a"]},
    {"startFrom": "now"},
)


async def test_no_answer_has_a_secret(client: Client) -> None:
    """Neither a shown document nor an error about a document contains a secret."""
    good = document("sub-1", **SECRETS)
    wrong = [{**good, **fault} for fault in FAULTS]
    auths = ({"type": "basic", "basic": {"username": "me", "password": "planted-3"}}, {"token": {"value": "planted-4"}})
    wrong += [document("sub-2", **{**SECRETS, "auth": {**SECRETS["auth"], **auth}}) for auth in auths]
    wrong += [document("sub-2", **{**SECRETS, name: ["planted-6"]}) for name in SECRETS]
    wrong += [document("sub-2", **{**SECRETS, name: "planted-7 "}) for name in SECRETS if name != "callbackUrl"]
    texts = []
    for body in wrong:
        for method, path in (("POST", PATH), ("PUT", f"{PATH}/sub-1")):
            async with client.request(method, path, json=body) as response:
                texts.append(await response.text())
    for path in (f"{PATH}/sub-1", PATH, f"{PATH}?q=planted", "/api/failures", "/api/cluster"):
        async with client.get(path) as response:
            texts.append(await response.text())
    assert '"created"' in texts[0], texts[0]
    assert [text for text in texts if "planted-" in text or "planted0" in text] == []
