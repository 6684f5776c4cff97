"""The pages: content, access, and robustness against untrusted text (web/pages)."""

import json
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest

from pipeline.cluster.attempt_pages import AttemptPage
from pipeline.cluster.attempts import Entry, Result
from pipeline.cluster.state import PartitionState, WorkerState
from pipeline.core.attempts import DeadLetterRun
from pipeline.kafka.letters import LetterFacts
from pipeline.web.pages.overview import KEPT_SECONDS, MOST_GROUPS
from pipeline.web.pages.rendering import render
from pipeline.web.pages.view import shown_result
from tests.support.fixed_view import NOW, FixedView, failed, live
from tests.support.markup import Document
from tests.support.tokens import ManualClock
from tests.unit.web.pages.conftest import BEARER, KEY, Client, FixedRegistry

PATHS = ("/", "/subscriptions", "/subscription?id=sub-1", "/workers", "/dead-letters")
EVERY_PATH = (
    *PATHS,
    "/subscriptions/sub-1",
    "/attempts?id=sub-1",
    "/event?id=sub-1",
    "/api/stream",
    "/page.css",
    "/page.js",
)
HOSTILE = "</pre></style><script>alert(1)</script>\"'&<img src=x onerror=alert(1)>{{ 7*7 }}\u202e\x1b"
WORKER = WorkerState(
    name="host-1:6066", version="1.2", started_at=NOW - 90, seen_at=NOW, is_gone=False, ready=True, problem=None,
    partitions=(PartitionState("events", 3, 40, opened_at=40, dispatched=43, counted_to=43, is_counted=True, end=50),),
    delivered_per_second=12.0, failed_per_second=0.5, queued=2, in_flight=1,
)  # fmt: skip


def token(scope: str = "read write", **tenant: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEY.token(scope=scope, tenant=tenant)}"}


async def get(client: Client, path: str, status: Any = 200, headers: Any = BEARER, **query: str) -> Document:
    async with client.get(path, headers=headers, params=query or None) as response:
        text = await response.text()
        assert (response.status, response.content_type) == (status, "text/html"), text
    return Document(text)


UNKNOWN = " \N{EN DASH}"


def rows(page: Document) -> list[str]:
    return [each.words for each in page.all("tr")[1:]]


# --------------------------------------------------------------- unknown paths

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


@pytest.mark.parametrize("path", ["/nowhere", "/subscriptions/", "/<b>"])
async def test_a_browser_gets_a_page_for_an_unknown_path(client: Client, path: str) -> None:
    page = await get(client, path, 404, BEARER | BROWSER)
    assert page.one("h1").words == "There is no such page"
    assert f'There is nothing at "{path}".' in page.one("main").words
    assert page.one("nav").words == "Overview Subscriptions Dead letters Workers"


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/nowhere", BEARER, 404),
        ("GET", "/nowhere", BEARER | {"Accept": "application/json"}, 404),
        ("GET", "/nowhere.png", BEARER | {"Accept": "image/avif,image/webp,*/*;q=0.8"}, 404),
        ("GET", "/api", BEARER | BROWSER, 404),
        ("GET", "/api/nowhere", BEARER | BROWSER, 404),
        ("POST", "/nowhere", BEARER | BROWSER, 404),
        ("POST", "/workers", BEARER | BROWSER, 405),
        ("GET", "/nowhere", BROWSER, 401),
    ],
)
async def test_other_clients_get_a_problem_for_an_unknown_path(
    client: Client, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    async with client.request(method, path, headers=headers) as response:
        assert (response.status, response.content_type) == (status, "application/problem+json")


async def test_a_token_that_may_not_read_gets_no_page_at_all(client: Client) -> None:
    async with client.get("/nowhere", headers=token("write") | BROWSER) as response:
        assert (response.status, response.content_type) == (404, "application/problem+json")


# --------------------------------------------------------------- access


@pytest.mark.parametrize("path", EVERY_PATH)
async def test_without_a_token_nothing_is_shown(client: Client, path: str) -> None:
    async with client.get(path) as response:
        assert response.status == 401


@pytest.mark.parametrize("path", EVERY_PATH)
async def test_a_token_that_may_not_read_sees_nothing(client: Client, path: str) -> None:
    async with client.get(path, headers=token("write")) as response:
        assert response.status == 403


@pytest.mark.parametrize("path", PATHS)
async def test_pages_run_no_inline_and_no_foreign_scripts(client: Client, view: FixedView, path: str) -> None:
    view.items = [failed("sub-1")]
    async with client.get(path, headers=BEARER) as response:
        policy = response.headers["Content-Security-Policy"]
        page = Document(await response.text())
    rules = dict(each.split(" ", 1) for each in policy.split("; "))
    assert rules == {
        "default-src": "'none'", "base-uri": "'none'", "form-action": "'self'", "frame-ancestors": "'none'",
        "script-src": "'self'", "style-src": "'self'", "connect-src": "'self'",
    }  # fmt: skip
    assert not page.all("style")
    assert [each.text for each in page.all("script")] == [""]
    names = {name for each in page.elements for name in each.attributes}
    assert not [name for name in names if name == "style" or name.startswith("on")]
    loaded = [each.attributes[name] for each in page.elements for name in ("src", "href") if name in each.attributes]
    assert all(address.startswith(("/", "#")) for address in loaded), loaded


async def test_the_style_sheet_and_the_script_of_the_pages_exist(client: Client) -> None:
    page = await get(client, "/")
    for address, kind in (
        (page.one("link", rel="stylesheet").attributes["href"], "text/css"),
        (page.one("script").attributes["src"], "text/javascript"),
    ):
        async with client.get(address, headers=BEARER) as response:
            assert (response.status, response.content_type) == (200, kind)
            assert response.headers["Cache-Control"].startswith("private")


# --------------------------------------------------------------- content of the pages


async def test_an_outage_is_shown_as_one_group(client: Client, view: FixedView) -> None:
    view.items = [failed(f"sub-{number:03}") for number in range(142)] + [live("other")]
    page = await get(client, "/")
    group = page.one("article").words
    assert "142 \N{MULTIPLICATION SIGN} the callback answered 503 Failed by api.example.com for 1 min 30 s" in group
    assert "at least 1,200 events waiting the oldest for 10 min" in group
    assert page.one("a", id="tile-failure").words == "142 Failed"
    assert page.one("a", id="tile-live").words == "1 Live"
    assert "/subscriptions?state=failure&cause=server-error&host=api.example.com" in [
        each.attributes.get("href") for each in page.all("a")
    ]


async def test_an_overview_without_failures_says_so(client: Client, view: FixedView) -> None:
    view.items = [live("sub-1")]
    assert "Nothing fails." in (await get(client, "/")).one("div", id="fails").words


async def test_the_overview_is_bounded(client: Client, view: FixedView) -> None:
    view.items = [failed(f"sub-{number}", host=f"host-{number}") for number in range(MOST_GROUPS + 3)]
    view.items += [failed(f"many-{number:03}", host=f"large-{number // 100}") for number in range(500)]
    page = await get(client, "/")
    assert len(page.all("article")) == MOST_GROUPS
    assert [" waiting" in each.words for each in page.all("article")] == [True] * 5 + [False] * (MOST_GROUPS - 5)
    assert "And 8 smaller groups" in page.one("div", id="fails").words


async def test_many_readers_cause_one_computation(client: Client, view: FixedView, clock: ManualClock) -> None:
    for _ in range(5):
        await get(client, "/")
    assert view.asked == 1
    clock.time += KEPT_SECONDS
    await get(client, "/")
    assert view.asked == 2


async def test_problems_of_the_cluster_are_shown_first(client: Client, view: FixedView) -> None:
    view.sentences = ["topic orders.workers: it does not exist"]
    view.present = [
        replace(WORKER, name="a", is_gone=True),
        replace(WORKER, name="b", ready=False, problem="the group is rebalancing"),
        replace(WORKER, name="c", warnings=("partition 1: a position was beyond the end",)),
    ]
    said = (await get(client, "/")).one("div", id="warnings").words
    for part in (*view.sentences, "worker a is gone", "worker b is not ready: the group is rebalancing", "worker c: p"):
        assert part in said


async def test_silent_brokers_are_one_problem_and_no_gone_worker(client: Client, view: FixedView) -> None:
    view.sentences, view.hears_workers = ["Kafka at k:1 does not answer; what is shown may be outdated"], False
    view.present = [replace(WORKER, is_gone=True), replace(WORKER, name="a", is_gone=True)]
    assert (await get(client, "/")).one("div", id="warnings").words == view.sentences[0]
    first, second = rows(await get(client, "/workers"))[:2]
    assert first.startswith("host-1:6066 this one Not heard last announced ")
    assert second.startswith("a Not heard last announced ")


async def test_a_worker_is_gone_while_only_rows_are_unread(client: Client, view: FixedView) -> None:
    view.sentences, view.is_current = ["topic orders.cursors: no leader for 0"], False
    view.present = [replace(WORKER, name="a", is_gone=True)]
    assert "worker a is gone" in (await get(client, "/")).one("div", id="warnings").words
    gone = rows(await get(client, "/workers"))[0]
    assert gone.startswith("a Gone last seen ")
    assert gone.endswith(f"{WORKER.version}{UNKNOWN * 6}"), "its rates and partitions are those of a former time"


async def test_subscriptions_can_be_searched_and_paged(client: Client, view: FixedView) -> None:
    view.items = [live(f"live-{number:02}") for number in range(60)] + [failed("sub-1"), failed("sub-2", host="b:1")]
    page = await get(client, "/subscriptions")
    assert len(rows(page)) == 50
    assert "62 subscriptions." in page.one("div", id="list").words
    page = await get(client, page.one("a", rel="next").attributes["href"])
    assert [each.split()[0] for each in rows(page)] == [
        *(f"live-{number}" for number in range(50, 60)),
        "sub-1",
        "sub-2",
    ]
    assert not page.all("a", rel="next")
    page = await get(client, "/subscriptions", state="failure", host="b:1")
    [row] = rows(page)
    assert row == "sub-2 Failed the callback answered 503 1 min 30 s 12 b:1"
    assert page.one("input", id="host").attributes["value"] == "b:1"
    assert page.one("option", value="failure").attributes["selected"] == ""


async def test_an_invalid_filter_is_named(client: Client) -> None:
    page = await get(client, "/subscriptions", state="Failed", metadata="acme", host="//a")
    said = page.one("main").words
    assert "state: there is no 'Failed'; allowed: broken, failure," in said
    assert "metadata: 'acme' has no =; allowed: name=value" in said
    assert 'host: "//a" is not a host; allowed: HOST or HOST:PORT' in said


async def test_a_receiver_that_rejects_all_is_not_shown_as_healthy(client: Client, view: FixedView) -> None:
    run = DeadLetterRun(3, NOW - 60, NOW, "the callback answered 401")
    view.items = [replace(live("sub-1"), dead_letter_run=run)]
    found = (await get(client, "/subscription", id="sub-1")).one("div", id="state")
    assert "Its last 3 events were dead-lettered (the last one at 2026-" in found.words
    assert "the callback answered 401" in found.words
    assert "delivered as they arrive" not in found.words


async def test_receivers_that_reject_everything_are_a_failure(
    client: Client, view: FixedView, clock: ManualClock
) -> None:
    run = DeadLetterRun(3, NOW - 60, NOW, "the callback answered 401")
    view.items = [replace(live(f"sub-{number}"), dead_letter_run=run) for number in (1, 2)]
    page = await get(client, "/")
    said = "2 \N{MULTIPLICATION SIGN} the callback answered 401 All dead-lettered by api.example.com for 1 min"
    assert said in page.one("article").words
    addresses = [each.attributes.get("href") for each in page.all("a")]
    assert "/dead-letters" in addresses
    listed = "/subscriptions?state=live&cause=all-dead-lettered&host=api.example.com"
    assert listed in addresses
    first, _ = rows(await get(client, listed))
    assert first.startswith("sub-1 Live Its last 3 events were dead-lettered (the last one at ")
    view.items = view.items[:1]
    clock.time += KEPT_SECONDS
    page = await get(client, "/")
    assert "/dead-letters?subscription=sub-1" in [each.attributes.get("href") for each in page.all("a")]


async def test_a_failure_without_a_worker_promises_no_probe(client: Client, view: FixedView) -> None:
    view.items = [replace(failed("sub-1", next_try_at=NOW + 30), lacks_worker=True)]
    words = (await get(client, "/subscription", id="sub-1")).one("div", id="state").words
    assert "No worker owns its partition, so nothing is sent or probed: start workers." in words
    assert "when a probe succeeds" not in words
    assert "Next probe" not in words


async def test_a_failed_subscription_is_shown_with_all_details(
    client: Client, view: FixedView, registry: FixedRegistry
) -> None:
    view.items = [failed("sub-1", next_try_at=NOW + 30, last_success_at=NOW - 7200, metadata={"plan": "gold"})]
    registry.documents["sub-1"] = {"id": "sub-1", "auth": {"password": "********"}}
    page = await get(client, "/subscription", id="sub-1")
    facts = dict(zip([e.words for e in page.all("dt")], [e.words for e in page.all("dd")], strict=True))
    assert facts == {
        "Failing for": "1 min 30 s", "Attempts": "4", "Next probe": "in 30 s", "Last success": "2 h ago",
        "Events waiting": "12", "The oldest waits for": "10 min", "Host": "api.example.com",
        "Guarantee": "at-least-once", "Revision": "7", "plan": "gold",
    }  # fmt: skip
    assert "Failed It stopped at an event that failed. It continues" in page.one("div", id="state").words
    assert rows(page) == ["events 3 Failed host-1:6066 41 12 4 the callback answered 503"]
    assert json.loads(page.one("pre", id="document").text) == registry.documents["sub-1"]
    assert [each.words for each in page.all("button", class_="act")] == [
        "Resume",
        "Pause",
        "Skip the event",
        "Replay",
        "Send a test event",
        "Rotate the secret",
    ]
    [skip] = page.all("button", **{"data-act": "skip"})
    assert json.loads(skip.attributes["data-body"]) == {"topic": "events", "partition": 3, "offset": 41}


async def test_without_a_probe_a_failure_asks_for_an_action(client: Client, view: FixedView) -> None:
    view.items = [failed("sub-1", next_try_at=None)]
    said = (await get(client, "/subscription", id="sub-1")).one("div", id="state").words
    assert "Failed It stopped at an event that failed. Resume it, or skip the event." in said


async def test_a_page_offers_no_resume_before_the_beginning(client: Client, view: FixedView) -> None:
    view.items = [
        replace(live("early"), state="paused", begins_at=NOW + 7200),
        replace(live("late"), state="closed", ended_at=NOW - 7200),
    ]
    early = await get(client, "/subscription", id="early")
    assert "Paused It begins in 2 h, its startingAt. Its events wait." in early.one("div", id="state").words
    assert "Resume" not in [each.words for each in early.all("button", class_="act")]
    late = await get(client, "/subscription", id="late")
    assert "Closed It ended 2 h ago, its endingAt. Nothing is delivered." in late.one("div", id="state").words


async def test_an_unknown_subscription_is_not_found(client: Client) -> None:
    page = await get(client, "/subscription", 404, id="none")
    assert 'There is no subscription "none".' in page.one("main").words


@pytest.mark.parametrize("name", ["sub-1", "a/b c", "?id=x&y=ü", "//evil.test/"])
async def test_an_id_in_the_path_leads_to_its_page(client: Client, view: FixedView, name: str) -> None:
    view.items = [live(name)]
    async with client.get(f"/subscriptions/{quote(name)}", headers=BEARER, allow_redirects=False) as response:
        assert response.status == 302
        target = response.headers["Location"]
    assert target.startswith("/subscription?id=")
    page = await get(client, target)
    assert page.one("h1").words == name


async def test_workers_and_partitions_are_on_a_tab_of_their_own(client: Client, view: FixedView) -> None:
    view.present = [WORKER, replace(WORKER, name="host-2:6066", is_gone=True, seen_at=NOW - 40, partitions=())]
    page = await get(client, "/workers")
    assert [each.words for each in page.all("tr")] == [
        "Worker State Version Running for Partitions Delivered/s Failed/s In memory In flight",
        "host-1:6066 this one Ready 1.2 1 min 30 s 1 12 0.5 2 1",
        f"host-2:6066 Gone last seen 40 s ago 1.2{UNKNOWN * 6}",
        "Partition Worker Committed Dispatched End of the log Not dispatched yet",
        "events 3 host-1:6066 40 43 50 7",
    ]


async def test_an_event_is_shown_only_if_it_causes_a_failure(client: Client, view: FixedView) -> None:
    behind = failed("sub-3")
    lanes = tuple(replace(lane, state="behind") for lane in behind.lanes)
    view.items = [failed("sub-1"), live("sub-2"), replace(behind, lanes=lanes)]
    for topic, partition, offset in (("events", "3", "40"), ("events", "2", "41"), ("other", "3", "41"), ("", "", "")):
        await get(client, "/event", 404, id="sub-1", topic=topic, partition=partition, offset=offset)
    for name in ("sub-2", "sub-3"):
        await get(client, "/event", 404, id=name, topic="events", partition="3", offset="41")


# --------------------------------------------------------------- tenants


async def test_a_tenant_sees_only_its_own_subscriptions(client: Client, view: FixedView) -> None:
    view.items = [failed("mine", metadata={"customer": "a"}), failed("theirs", metadata={"customer": "b"})]
    view.sentences, view.present = ["an internal problem"], [WORKER]
    mine = token(customer="a")
    page = await get(client, "/", headers=mine)
    assert page.one("a", id="tile-failure").words == "1 Failed"
    assert "an internal problem" not in page.one("body").text
    assert not page.all("svg")
    assert len(rows(await get(client, "/subscriptions", headers=mine))) == 1
    assert rows(await get(client, "/subscriptions", headers=mine, metadata="customer=b")) == []
    await get(client, "/subscription", headers=mine, id="mine")
    for path in ("/subscription", "/attempts", "/event"):
        await get(client, path, 404, headers=mine, id="theirs", partition="3", offset="41")
    await get(client, "/workers", 404, headers=mine)
    assert "host-1:6066" not in (await get(client, "/dead-letters", headers=mine)).one("body").text


async def test_an_attempt_shows_how_long_it_took_and_what_followed() -> None:
    def entry(**details: Any) -> Entry:
        result = Result("sub-1", 7, NOW - 60, attempt=1, **details)
        return Entry("events-0-7", ("events", 0, 7), result)

    entries = (
        entry(decision="failure", duration_ms=0, error="connection refused"),
        entry(decision="retry", duration_ms=8, next_at=NOW - 55),
        entry(decision="retry", duration_ms=1_234, next_at=NOW + 30),
    )
    page = Document(
        await render(
            "attempts.html", app="app", topics=("events",), here="/attempts", now=NOW, may_write=False,
            has_attempts=True, id="sub-1", webhook_id="", found=AttemptPage(entries, None, None), problem=None,
            shown_result=shown_result,
        )
    )  # fmt: skip
    assert [each.words for each in page.all("li") if "attempt" in each.words] == [
        "Failed: the subscription is in FAILURE under 1 ms attempt 1 1 min ago events-0-7 connection refused",
        "Failed, will be retried 8 ms attempt 1 1 min ago events-0-7 next try 5 s later",
        "Failed, will be retried 1.2 s attempt 1 1 min ago events-0-7 next try in 30 s",
    ]


async def test_a_dead_letter_shows_its_age() -> None:
    letter = LetterFacts(
        "letters-0-7", "sub-1", "events", "rejected", 404, "gone", 2, "events-0-1", "2026-02-02T02:30:00.000Z"
    )
    page = Document(
        await render(
            "letters.html", app="app", topics=("events",), here="/dead-letters", now=NOW, may_write=False,
            has_topic=True, subscription="", reason="", is_limited=False, letters=[(letter, False)], problems=[],
            has_attempts=True,
        )
    )  # fmt: skip
    assert page.all("a")[-1].attributes["href"] == "/attempts?id=sub-1&event=events-0-1"
    assert "10 min ago rejected, status 404: gone no 2 events-0-1" in rows(page)[0]
    assert page.all("time")[-1].attributes["title"] == "2026-02-02T02:30:00Z"


async def test_a_user_who_may_only_read_sees_no_buttons(client: Client, view: FixedView) -> None:
    view.items = [failed("sub-1")]
    page = await get(client, "/subscription", headers=token("read"), id="sub-1")
    assert not page.all("button", class_="act")


# --------------------------------------------------------------- untrusted text; keyboards and screen readers


async def test_untrusted_text_breaks_no_page(client: Client, view: FixedView, registry: FixedRegistry) -> None:
    facts: Any = {"host": HOSTILE, "metadata": {HOSTILE: HOSTILE}, "qos": HOSTILE}
    view.items = [failed(HOSTILE, HOSTILE, **facts), failed("broken", problem=HOSTILE, state="broken")]
    view.sentences = [HOSTILE]
    view.present = [replace(WORKER, name=HOSTILE, version=HOSTILE, warnings=(HOSTILE,), ready=False, problem=HOSTILE)]
    registry.documents[HOSTILE] = {"id": HOSTILE, HOSTILE: HOSTILE}
    asked = {"id": HOSTILE, "q": "", "cause": HOSTILE, "metadata": HOSTILE, "subscription": HOSTILE, "reason": HOSTILE}
    pages = [await get(client, path, **({"id": HOSTILE} if path == "/subscription" else {})) for path in
             ("/", "/subscriptions", "/subscription", "/workers", "/dead-letters")]  # fmt: skip
    pages += [await get(client, path, **asked) for path in ("/subscriptions", "/dead-letters")]
    pages += [await get(client, path, 404, id=HOSTILE + "x") for path in ("/subscription", "/attempts", "/event")]
    for page in pages:
        assert len(page.all("script")) == 1
        assert not [each for each in page.elements if each.tag in {"img", "style"} or "onerror" in each.attributes]
        assert "7*7" in page.source or "49" not in page.one("main").text
        assert page.one("body").text.replace("\n", "").replace("\t", "").isprintable()
    [link] = [each for each in pages[1].all("a") if each.words.startswith("</pre>")]
    assert (await get(client, link.attributes["href"])).one(
        "h1"
    ).words == r"</pre></style><script>alert(1)</script>" + (r""""'&<img src=x onerror=alert(1)>{{ 7*7 }}\u202e\x1b""")
    [resume] = pages[2].all("button", **{"data-act": "resume"})
    assert resume.attributes["data-id"] == HOSTILE


@pytest.mark.parametrize("path", PATHS)
async def test_pages_are_usable_by_keyboard_and_screen_reader(client: Client, view: FixedView, path: str) -> None:
    view.items, view.present = [failed("sub-1")], [WORKER]
    page = await get(client, path)
    assert len(page.all("h1")) == 1
    assert page.one("html").attributes["lang"] == "en"
    for landmark in ("header", "main"):
        page.one(landmark)
    assert all(each.attributes["aria-label"] for each in page.all("nav"))
    assert page.one("a", class_="skip").attributes["href"] == "#main"
    labelled = {each.attributes["for"] for each in page.all("label")}
    assert {each.attributes["id"] for tag in ("input", "select") for each in page.all(tag)} <= labelled
    assert all(each.attributes.get("scope") in {"col", "row"} for each in page.all("th"))
    ids = [each.attributes["id"] for each in page.elements if "id" in each.attributes]
    assert len(ids) == len(set(ids))
    named = [each.attributes["aria-labelledby"] for each in page.elements if "aria-labelledby" in each.attributes]
    assert set(named) <= set(ids)
    current = [each.words for each in page.all("a") if each.attributes.get("aria-current") == "page"]
    assert len(current) == (0 if path.startswith("/subscription?") else 1)
