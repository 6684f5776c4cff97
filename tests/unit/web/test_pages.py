"""The web view on the server that Faust builds: access, errors, headers, pages (web/)."""

import asyncio
import base64
import re
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from html import unescape
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import faust
import pytest
from aiohttp import ClientSession, encode_basic_auth, web
from aiohttp.test_utils import TestClient, TestServer

from pipeline.core.attempts import Attempts, FailedAttempt, Probes
from pipeline.core.model import Cause, PlainEvent
from pipeline.core.outcome import Delivered
from pipeline.core.subscription import Subscription
from pipeline.observability.status import (
    EVERY_LANE,
    AbsentReport,
    LaneFilter,
    LaneReport,
    PartitionReport,
    WorkerReport,
)
from pipeline.observability.telemetry import Telemetry
from pipeline.web import BUILT_IN_PAGES_OFF, Access, attach_web, web_options
from pipeline.web.pages.rendering import SCRIPT
from pipeline.web.pages.worker import divided, page

ROOT = Path(__file__).parents[3]
TOKEN = "the-admin-token-ü"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PASSWORD = {"Authorization": encode_basic_auth("anybody", TOKEN)}
NOW = 1_770_000_000.0

LANE = LaneReport(
    subscription="sub-1",
    topic="events",
    partition=3,
    state="live",
    status="started",
    next=41,
    waiting=3,
    waiting_at_most=3,
    oldest_event_at=NOW - 5,
    queued=2,
    queued_bytes=400,
    in_flight=1,
    attempt=0,
    not_before=0.0,
    cause=None,
    revision=7,
    qos="at-least-once",
    url="https://user:hunter2@example.com/hook?token=hunter2",
)
FAILED = replace(
    LANE,
    subscription="sub-2",
    state="halted",
    status="failure",
    waiting=12,
    waiting_at_most=12,
    oldest_event_at=NOW - 600,
    attempt=4,
    cause=Cause("server-error", "the callback answered 503", 41, NOW - 60),
)
BEHIND = replace(
    LANE,
    subscription="sub-3",
    state="behind",
    waiting=None,
    waiting_at_most=500,
    oldest_event_at=None,
    not_before=NOW + 12,
    attempt=2,
    first_attempt_at=NOW - 18,
    error=FailedAttempt("the callback answered 503 to Bearer hunter2.hunter2", NOW - 8, 503),
)
PARTITION = PartitionReport(
    topic="events",
    partition=3,
    is_open=True,
    committed=40,
    dispatched=43,
    end=50,
    unsettled=3,
    oldest_unsettled_seconds=1.5,
    lanes=3,
    has_work=True,
    idle_seconds=1.0,
)
WORKER = WorkerReport(
    app="webhooks",
    name="host-1:6066",
    topics=("events",),
    partition_count=4,
    ready=True,
    problem=None,
    holds_lease=True,
    assigned=(3,),
    partitions=(PARTITION,),
    subscriptions=3,
    queued_events=2,
    queued_bytes=400,
    in_flight=1,
    hold_seconds=5.0,
)


IDLE = AbsentReport(
    subscription="sub-7",
    state="idle",
    status="started",
    default_partition=3,
    revision=9,
    qos="auto",
    url="https://user:hunter2@example.com/idle?token=hunter2",
    problem=None,
    warning=None,
)
ELSEWHERE = replace(IDLE, subscription="sub-8", state="elsewhere", default_partition=1)


class FixedReporter:
    """A reporter with values that a test sets."""

    def __init__(self) -> None:
        self.report = WORKER
        self.lane_reports: list[LaneReport] = [LANE, FAILED, BEHIND]
        self.absent_reports: list[AbsentReport] = []
        self.error: Exception | None = None

    def worker(self) -> WorkerReport:
        if self.error is not None:
            raise self.error
        return self.report

    async def lanes(self, wanted: LaneFilter = EVERY_LANE) -> list[LaneReport]:
        return [
            lane
            for lane in self.lane_reports
            if wanted.matches(lane.subscription, lane.state, lane.status, lane.topic, lane.partition)
        ]

    async def absent(self, wanted: LaneFilter = EVERY_LANE) -> list[str]:
        return [
            each.subscription
            for each in self.absent_reports
            if wanted.matches(each.subscription, each.state, each.status, "", -1)
        ]

    def absent_one(self, subscription: str) -> AbsentReport | None:
        lanes = {lane.subscription for lane in self.lane_reports}
        known = {each.subscription: each for each in self.absent_reports}
        return known.get(subscription) or (IDLE if subscription in lanes else None)


class FixedClock:
    """A clock that stands still."""

    def now(self) -> float:
        return NOW

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"a page waited {seconds} s")


Client = TestClient[web.Request, web.Application]


class Change(faust.web.View):
    """A page that changes something."""

    async def post(self, request: Any, **_: Any) -> Any:
        """Answer a request, which needs the token."""
        del request
        return web.json_response({"changed": True})


@pytest.fixture
def reporter() -> FixedReporter:
    return FixedReporter()


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture
def admin_token() -> str | None:
    return TOKEN


@pytest.fixture
def options(admin_token: str | None) -> dict[str, Any]:
    return web_options(Access(admin_token))


@pytest.fixture
def app(
    reporter: FixedReporter,
    telemetry: Telemetry,
    admin_token: str | None,
    options: dict[str, Any],
    unused_tcp_port: int,
) -> faust.App:
    """The application, which is made before there is an event loop, as in a worker."""
    app = faust.App(
        "web-view",
        broker="kafka://127.0.0.1:9",
        web_bind="127.0.0.1",
        web_port=unused_tcp_port,
        web_application_options=options,
        **BUILT_IN_PAGES_OFF,
    )
    access, counted = Access(admin_token), {("uncounted", "events", 3): 5}
    attach_web(
        app,
        reporter=reporter,
        telemetry=telemetry,
        access=access,
        counted=lambda *lane: counted.get(lane),
        clock=FixedClock(),
    )
    app.page("/api/change")(Change)
    return app


@pytest.fixture
async def client(app: faust.App) -> AsyncIterator[Client]:
    """A client of the Faust app's web application, over loopback."""
    async with TestClient(TestServer(await app.web.wsgi())) as client:
        yield client


async def test_faust_starts_and_stops_the_server_itself(app: faust.App, unused_tcp_port: int) -> None:
    """All other tests use the web application without Faust's server."""
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with app.web, ClientSession(url) as session:
        async with session.get("/health/live") as response:
            assert response.status == 200
        async with session.get("/lanes") as response:
            assert response.status == 401


async def problem_of(client: Client, path: str, status: int, **request: Any) -> dict[str, Any]:
    """The problem in the answer of *path*. Every error must have the format of RFC 9457."""
    async with client.get(path, **request) as response:
        body: dict[str, Any] = await response.json(content_type="application/problem+json")
        assert (response.status, body["status"]) == (status, status)
        assert body.keys() >= {"type", "title", "detail"}
        return body


@pytest.mark.parametrize("path", ["/worker", "/metrics", "/lanes", "/table/", "/nowhere"])
async def test_without_a_token_nothing_is_shown(client: Client, path: str) -> None:
    async with client.get(path) as response:
        assert response.status == 401
        assert response.content_type == "application/problem+json"
        assert [value.split()[0] for value in response.headers.getall("WWW-Authenticate")] == ["Basic", "Bearer"]
        assert "sub-1" not in await response.text()


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer wrong",
        "Bearer",
        "Bearer the-admin-token",
        f"Bearer {TOKEN}x",
        f"Token {TOKEN}",
        TOKEN,
        "Basic !!!",
        "Basic " + base64.b64encode(TOKEN.encode()).decode(),  # a name without a colon and a password
        "Basic " + base64.b64encode(f"{TOKEN}:".encode()).decode(),  # the token in place of the name
        "Basic " + base64.b64encode(b"user:\xff\xfe").decode(),
        "Bearer \xff\xfe",
    ],
)
async def test_a_wrong_token_is_refused(client: Client, authorization: str) -> None:
    body = await problem_of(client, "/lanes", 401, headers={"Authorization": authorization})

    assert "wrong" in body["detail"]


async def test_the_token_is_sent_as_bearer_or_as_a_browser_s_password(client: Client) -> None:
    async with client.get("/lanes", headers={"Authorization": f"bearer  {TOKEN}"}) as response:
        assert response.status == 200
    async with client.get("/worker", headers=PASSWORD) as response:
        assert response.status == 200


@pytest.mark.parametrize("admin_token", [None, ""])
@pytest.mark.parametrize("authorization", ["Bearer ", "Basic " + base64.b64encode(b"a:").decode(), "Bearer None"])
async def test_without_a_configured_token_the_pages_are_closed(client: Client, authorization: str) -> None:
    body = await problem_of(client, "/worker", 403, headers={"Authorization": authorization})

    assert "WEBHOOKS_ADMIN_TOKEN" in body["detail"]


@pytest.mark.parametrize("options", [{}])
async def test_the_server_itself_refuses_requests_without_a_token(client: Client) -> None:
    await problem_of(client, "/lanes", 401)


@pytest.mark.parametrize("admin_token", [None, TOKEN])
async def test_health_is_open_to_all(client: Client) -> None:
    for name in ("live", "ready"):
        async with client.get(f"/health/{name}") as response:
            assert (response.status, await response.json()) == (200, {name: True, "reasons": []})
        async with client.head(f"/health/{name}") as response:
            assert response.status == 200


@pytest.mark.parametrize("path", ["/health/live/", "/health/", "/HEALTH/LIVE", "/health/live/../../lanes"])
async def test_all_paths_except_the_health_checks_need_a_token(client: Client, path: str) -> None:
    async with client.get(path) as response:
        assert response.status == 401


async def test_a_password_gives_read_access_only(client: Client) -> None:
    """Browsers add the password to requests that other sites make them send."""
    async with client.post("/api/change", headers=PASSWORD) as response:
        assert response.status == 403
    async with client.post("/api/change", headers=BEARER) as response:
        assert await response.json() == {"changed": True}


@pytest.mark.parametrize(
    "path",
    [
        "/table",
        "/table/",
        "/table/tokens/",
        "/router",
        "/router/",
        "/router/tokens/",
        "/graph",
        "/graph/",
        "/assignment/",
        "/performance/",
        "/nowhere",
    ],
)
async def test_faust_s_own_pages_are_off(client: Client, path: str) -> None:
    body = await problem_of(client, path, 404, headers=BEARER)

    assert path in body["detail"]


async def test_an_unknown_method_is_answered_with_the_allowed_ones(client: Client) -> None:
    async with client.post("/lanes", headers=BEARER) as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")
        assert response.content_type == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "status"), [("/worker", 200), ("/health/live", 200), ("/metrics", 200), ("/nowhere", 404)]
)
async def test_every_answer_carries_the_security_headers(client: Client, path: str, status: int) -> None:
    async with client.get(path, headers=BEARER) as response:
        assert response.status == status
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["Server"] == "webhooks"
        policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy


async def test_a_failed_page_shows_its_error_only_in_the_log(
    client: Client, reporter: FixedReporter, caplog: pytest.LogCaptureFixture
) -> None:
    reporter.error = LookupError("hunter2")
    body = await problem_of(client, "/health/live", 500)

    assert "hunter2" not in str(body)
    assert "hunter2" in caplog.text


@pytest.mark.parametrize(
    ("partition", "is_live"),
    [
        (replace(PARTITION, idle_seconds=65.0), True),
        (replace(PARTITION, idle_seconds=66.0), False),
        (replace(PARTITION, idle_seconds=9999.0, has_work=False), True),
        (replace(PARTITION, idle_seconds=9999.0, is_open=False), True),
    ],
)
async def test_a_worker_is_live_unless_a_partition_stalls(
    client: Client, reporter: FixedReporter, partition: PartitionReport, is_live: bool
) -> None:
    reporter.report = replace(WORKER, partitions=(replace(PARTITION, partition=0), partition))
    if is_live:
        async with client.get("/health/live") as response:
            assert response.status == 200
    else:
        body = await problem_of(client, "/health/live", 503)
        assert body["live"] is False
        assert body["reasons"] == ["partition 3 of events has work and has made no progress for 66 s"]


async def test_a_warning_is_shown_and_leaves_the_worker_ready(client: Client, reporter: FixedReporter) -> None:
    reporter.report = replace(WORKER, warnings=("topic events: <none> of the last 10 events",))

    async with client.get("/health/ready") as response:
        assert response.status == 200
        body = await response.json()
    assert body == {"ready": True, "reasons": [], "warnings": ["topic events: <none> of the last 10 events"]}
    async with client.get("/worker", headers=BEARER) as response:
        assert "topic events: &lt;none&gt; of the last 10 events" in await response.text()


@pytest.mark.parametrize(
    ("problem", "reason"),
    [("partition 3 is opening", "partition 3 is opening"), (None, "the worker is starting")],
)
async def test_a_worker_that_is_not_ready_says_why(
    client: Client, reporter: FixedReporter, problem: str | None, reason: str
) -> None:
    reporter.report = replace(WORKER, ready=False, problem=problem)
    body = await problem_of(client, "/health/ready", 503)

    assert (body["ready"], body["reasons"], body["detail"]) == (False, [reason], reason)


async def test_a_ready_worker_may_have_warnings(client: Client, reporter: FixedReporter) -> None:
    reporter.report = replace(WORKER, warnings=("partition 3: <odd>",))
    async with client.get("/health/ready") as response:
        assert (response.status, (await response.json())["warnings"]) == (200, ["partition 3: <odd>"])
    async with client.get("/lanes", headers=BEARER) as response:
        assert (await response.json())["warnings"] == ["partition 3: <odd>"]
    async with client.get("/worker", headers=BEARER) as response:
        assert "partition 3: &lt;odd&gt;" in await response.text()


async def test_lanes_are_shown_as_json_without_secrets(client: Client, reporter: FixedReporter) -> None:
    reporter.lane_reports = [
        replace(
            FAILED,
            cause=Cause("rejected", "answered 400 to Bearer hunter2.hunter2", 41, NOW, Attempts(4, NOW - 120, 400)),
            warning=None,
        )
    ]
    async with client.get("/lanes", headers=BEARER) as response:
        text = await response.text()
        body = await response.json()

    assert "hunter2" not in text
    assert (body["total"], body["limit"], body["offset"]) == (1, 100, 0)
    assert body["lanes"] == [
        {
            "subscription": "sub-2",
            "topic": "events",
            "partition": 3,
            "state": "halted",
            "status": "failure",
            "next": 41,
            "waiting": 12,
            "waitingAtMost": 12,
            "oldestEventAt": "2026-02-02T02:30:00Z",
            "queued": 2,
            "queuedBytes": 400,
            "inFlight": 1,
            "attempt": 4,
            "firstAttemptAt": None,
            "notBefore": None,
            "error": None,
            "cause": {
                "kind": "rejected",
                "message": "answered 400 to Bearer ***",
                "offset": 41,
                "at": "2026-02-02T02:40:00Z",
                "attempts": 4,
                "firstAttemptAt": "2026-02-02T02:38:00Z",
                "status": 400,
                "probes": None,
                "nextProbeAt": None,
            },
            "revision": 7,
            "qos": "at-least-once",
            "url": "https://example.com/hook",
            "warning": None,
            "slowStart": None,
        }
    ]


async def test_a_lane_without_an_exact_count_shows_the_view_s_count(client: Client, reporter: FixedReporter) -> None:
    unknown = replace(FAILED, waiting=None, waiting_at_most=900)
    reporter.lane_reports = [replace(unknown, subscription=name) for name in ("uncounted", "unknown")] + [FAILED]
    async with client.get("/lanes", headers=BEARER) as response:
        lanes = {lane["subscription"]: lane for lane in (await response.json())["lanes"]}
    found = {name: (lane["waiting"], lane["waitingAtMost"]) for name, lane in lanes.items()}
    assert found == {"uncounted": (5, 5), "unknown": (None, 900), "sub-2": (12, 12)}


async def test_a_retrying_lane_says_why_in_json_and_on_the_page(client: Client) -> None:
    async with client.get("/lanes?state=behind", headers=BEARER) as response:
        [lane] = (await response.json())["lanes"]
    assert lane["error"] == {
        "message": "the callback answered 503 to Bearer ***",
        "at": "2026-02-02T02:39:52Z",
        "status": 503,
    }
    assert (lane["attempt"], lane["firstAttemptAt"], lane["notBefore"]) == (
        2,
        "2026-02-02T02:39:42Z",
        "2026-02-02T02:40:12Z",
    )

    facts = await facts_of(client, "sub-3")
    assert facts["last attempt"] == "the callback answered 503 to Bearer ***"
    assert facts["failing since"] == "2026-02-02T02:39:42Z"
    assert facts["last failed"] == "2026-02-02T02:39:52Z, status 503"
    assert facts["next attempt"] == "2026-02-02T02:40:12Z, in 12 s"
    assert facts["attempts"] == "2"


async def test_a_failure_says_since_when_and_after_how_many_attempts(client: Client, reporter: FixedReporter) -> None:
    cause = Cause("exception", "no answer within 10 s", 41, NOW, Attempts(4, NOW - 120, None))
    reporter.lane_reports = [replace(FAILED, cause=cause)]

    facts = await facts_of(client, "sub-2")

    assert (facts["attempts"], facts["failing since"], facts["failed at"]) == (
        "4",
        "2026-02-02T02:38:00Z",
        "2026-02-02T02:40:00Z",
    )


async def test_a_failure_says_when_it_is_probed_next(client: Client, reporter: FixedReporter) -> None:
    cause = Cause("exception", "no answer within 10 s", 41, NOW - 60, Attempts(4, NOW - 120, None), Probes(2, NOW + 90))
    reporter.lane_reports = [replace(FAILED, cause=cause)]
    async with client.get("/lanes", headers=BEARER) as response:
        shown = (await response.json())["lanes"][0]["cause"]
    assert (shown["probes"], shown["nextProbeAt"]) == (2, "2026-02-02T02:41:30Z")

    facts = await facts_of(client, "sub-2")
    assert (facts["probes"], facts["next try"]) == ("2", "2026-02-02T02:41:30Z, in 90 s")
    assert facts["state"] == "Failed: continues when a probe succeeds, or at once after a resume"

    reporter.lane_reports = [replace(FAILED, cause=cause, state="behind")]
    assert (await facts_of(client, "sub-2"))["state"] == "Failed: a probe is under way"


async def facts_of(client: Client, subscription: str) -> dict[str, str]:
    """The facts on a subscription's card on the page, by name."""
    async with client.get("/worker", headers=BEARER) as response:
        text = await response.text()
    [card] = [card for card in re.findall(r"<article.*?</article>", text, re.DOTALL) if f"<h3>{subscription} " in card]
    sentences = re.findall(r"<p[^>]*>(last attempt): (.*?)</p>", card)
    return dict([*re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", card), *sentences])


@pytest.mark.parametrize(
    ("query", "ids", "total"),
    [
        ("", ["sub-1", "sub-2", "sub-3", "sub-1", "sub-7", "sub-8"], 6),
        ("subscription=sub-1", ["sub-1", "sub-1"], 2),
        ("subscription=sub-1&partition=5", ["sub-1"], 1),
        ("state=behind", ["sub-3"], 1),
        ("status=failure", ["sub-2"], 1),
        ("subscription=sub", [], 0),
        ("limit=2", ["sub-1", "sub-2"], 6),
        ("offset=9", [], 6),
        ("state=idle", ["sub-7"], 1),
        ("state=elsewhere", ["sub-8"], 1),
        ("subscription=sub-7", ["sub-7"], 1),
        ("limit=2&offset=3", ["sub-1", "sub-7"], 6),
        ("limit=2&offset=5", ["sub-8"], 6),
    ],
)
async def test_lanes_can_be_filtered_and_paged(
    client: Client, reporter: FixedReporter, query: str, ids: list[str], total: int
) -> None:
    reporter.lane_reports = [LANE, FAILED, BEHIND, replace(LANE, partition=5)]
    reporter.absent_reports = [IDLE, ELSEWHERE]
    async with client.get(f"/lanes?{query}", headers=BEARER) as response:
        body = await response.json()

    assert ([lane["subscription"] for lane in body["lanes"]], body["total"]) == (ids, total)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("state=dead", "state: 'dead' is not one of live, behind, halted, idle, elsewhere"),
        ("status=x", "status: 'x' is not one of started, failure, stopped, paused, closed"),
        ("partition=-1", "partition: '-1' is not a whole number from 0 to 2147483647"),
        ("partition=²", "partition: '²' is not a whole number from 0 to 2147483647"),
        ("limit=0", "limit: '0' is not a whole number from 1 to 1000"),
        ("limit=1001", "limit: '1001' is not a whole number from 1 to 1000"),
        ("offset=" + "9" * 5000, "offset: "),
        ("limit=1&limit=2", "limit: given more than once"),
        (
            "colour=red",
            "colour: unknown parameter; allowed: subscription, state, status, topic, partition, limit, offset",
        ),
    ],
)
async def test_a_bad_query_is_refused_with_what_is_allowed(client: Client, query: str, sentence: str) -> None:
    body = await problem_of(client, f"/lanes?{query}", 400, headers=BEARER)

    (problem,) = body["problems"]
    assert problem.startswith(sentence)


async def test_the_page_shows_the_lanes_in_trouble_first(client: Client, telemetry: Telemetry) -> None:
    telemetry.settled("delivered", 1234)
    async with client.get("/worker", headers=BEARER) as response:
        assert response.content_type == "text/html"
        text = await response.text()

    assert re.findall(r"<h2[^>]*>([^<]*)", text) == ["Partitions (1)", "Failed (1)", "Behind (1)", "Live (1)", ""]
    assert re.findall(r"<h3>([^< ]*)", text) == ["sub-2", "sub-3", "sub-1"]
    assert "server-error: the callback answered 503 (offset 41)" in text
    assert "2026-02-02T02:40:12Z, in 12 s" in text
    assert "1,234" in text


async def test_the_page_escapes_untrusted_text_and_shows_no_secret(client: Client, reporter: FixedReporter) -> None:
    hostile = "</style><script>alert(1)</script>\"'&<img src=x onerror=alert(1)>\u202e\x1b"
    cause = Cause(hostile, hostile, 1, NOW)
    reporter.report = replace(WORKER, app=hostile, topics=(hostile,), ready=False, problem=hostile)
    reporter.lane_reports = [
        replace(
            FAILED, subscription=hostile, cause=cause, warning=hostile, qos=hostile, url=f"http://a:hunter2@b/{hostile}"
        )
    ]
    async with client.get("/worker", headers=BEARER) as response:
        text = await response.text()

    assert set(re.findall(r"<([a-z0-9]+)", text)) <= {
        "html", "head", "meta", "title", "link", "script", "body", "header", "nav", "main", "h1", "h2", "h3", "p", "a",
        "b", "small", "code", "time", "div", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "article", "dl",
        "dt", "dd", "form", "label", "input", "button", "details", "summary", "dialog", "noscript",
    }  # fmt: skip
    assert re.findall(r"<script[^>]*>", text) == [f'<script src="{SCRIPT.address}" defer>']
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;" in text
    assert "hunter2" not in text
    assert r"\u202e\x1b" in text
    assert text.replace("\n", "").isprintable()


async def test_the_page_shows_a_limited_number_of_lanes(client: Client, reporter: FixedReporter) -> None:
    reporter.lane_reports = [replace(LANE, subscription=f"sub-{number}") for number in range(150)] + [FAILED]
    async with client.get("/worker", headers=BEARER) as response:
        text = await response.text()

    assert text.count("<article") == 100
    assert "Failed (1)" in text
    assert "Live (150)" in text
    assert "and 51 more; " in text


async def test_a_long_page_does_not_block_the_event_loop(telemetry: Telemetry) -> None:
    lanes = [replace(LANE, subscription=f"sub-{number}") for number in range(20_000)]
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    text = await page(replace(WORKER, partitions=(PARTITION,) * 2_000), lanes, telemetry, NOW)
    counting.cancel()
    await asyncio.gather(counting, return_exceptions=True)

    assert "Live (20000)" in text
    assert turns > 60


BY_DEFAULT = "Kafka's default partitioner assigns its events to"


@pytest.mark.parametrize(
    ("subscription", "where", "sentence"),
    [
        ("sub-1", "here", "This worker delivers it in partition 3 of events."),
        ("sub-7", "idle", "None of its events are waiting in the partitions of this worker (partition 3)."),
        (
            "sub-8",
            "elsewhere",
            f"It is on another worker: {BY_DEFAULT} partition 1, and this worker has partition 3.",
        ),
        ("sub-9", "unknown", 'There is no subscription "sub-9".'),
    ],
)
async def test_every_subscription_is_found_in_json_and_on_the_page(
    client: Client, reporter: FixedReporter, subscription: str, where: str, sentence: str
) -> None:
    reporter.absent_reports = [IDLE, ELSEWHERE]
    async with client.get("/lanes", params={"subscription": subscription}, headers=BEARER) as response:
        body = await response.json()
    async with client.get("/worker", params={"subscription": subscription}, headers=BEARER) as response:
        text = unescape(await response.text())

    assert body["subscription"] == {"id": subscription, "where": where, "sentence": sentence}
    assert (body["worker"], body["partitions"]) == ("host-1:6066", [3])
    assert sentence in text
    assert text.count("<article") == (where == "here")
    assert "hunter2" not in text + str(body)


async def test_an_idle_subscription_has_the_fields_of_a_lane(client: Client, reporter: FixedReporter) -> None:
    reporter.absent_reports = [IDLE, ELSEWHERE]
    async with client.get("/lanes", headers=BEARER) as response:
        lanes = (await response.json())["lanes"]

    assert len({tuple(lane) for lane in lanes}) == 1
    assert [(lane["state"], lane["waiting"], lane["partition"]) for lane in lanes[-2:]] == [
        ("idle", 0, None),
        ("elsewhere", None, None),
    ]


async def test_a_starting_worker_calls_no_subscription_unknown(client: Client, reporter: FixedReporter) -> None:
    reporter.report = replace(WORKER, ready=False, problem="the subscriptions have not been read")
    async with client.get("/lanes?subscription=sub-9", headers=BEARER) as response:
        asked = (await response.json())["subscription"]

    assert asked["sentence"].endswith("may not have read it yet: the subscriptions have not been read.")


async def test_the_page_names_its_worker_and_its_partitions(client: Client) -> None:
    async with client.get("/worker", headers=BEARER) as response:
        text = await response.text()

    assert "<b>host-1:6066</b>: this page shows the partitions of this worker only (3; the topic has 4)." in text


async def test_many_failures_leave_room_for_lanes_in_other_states(client: Client, reporter: FixedReporter) -> None:
    reporter.lane_reports = [
        *(replace(FAILED, subscription=f"failed-{number}") for number in range(151)),
        *(replace(BEHIND, subscription=f"behind-{number}") for number in range(151)),
        replace(LANE, subscription="live-1"),
    ]
    reporter.absent_reports = [IDLE]
    async with client.get("/worker", headers=BEARER) as response:
        text = await response.text()
    shown = Counter(re.findall(r"<h3>(\w+)-", text))

    assert shown == {"failed": 49, "behind": 50, "live": 1}
    assert "Idle, or on other workers (1)" in text


@pytest.mark.parametrize(
    ("wanted", "room", "given"),
    [
        ([5, 5], 100, [5, 5]),
        ([151, 3, 151], 100, [48, 3, 49]),
        ([151, 0, 9], 0, [0, 0, 0]),
        ([], 100, []),
        ([1, 1, 1], 2, [0, 1, 1]),
    ],
)
def test_the_rows_of_the_page_are_divided_between_the_groups(wanted: list[int], room: int, given: list[int]) -> None:
    assert divided(wanted, room) == given


async def test_the_page_of_a_worker_without_partitions_says_so(client: Client, reporter: FixedReporter) -> None:
    reporter.report = replace(WORKER, partitions=(), assigned=())
    reporter.lane_reports = []
    async with client.get("/worker", headers=BEARER) as response:
        text = await response.text()

    assert "No partition is assigned to this worker." in text
    assert "Lanes (0)" in text


async def test_metrics_are_prometheus_text(client: Client, telemetry: Telemetry) -> None:
    telemetry.attempt_started()
    telemetry.attempt_started()
    telemetry.attempted(
        Subscription("s", 1, "https://example.com"), PlainEvent("t", 0, 1, b"s", b""), 1, Delivered(200), 0.2
    )
    telemetry.settled("delivered", 3)
    telemetry.dead_lettered("rejected", subscription="s", event=PlainEvent("t", 0, 1, b"s", b""))
    telemetry.dropped("lane-full", 2)
    telemetry.token_fetched("ok")
    telemetry.header_left_out("s", "x y")
    telemetry.withheld()
    telemetry.throttled("rate")
    async with client.get("/metrics", headers=BEARER) as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        lines = (await response.text()).splitlines()

    for line in (
        'webhooks_deliveries_total{outcome="delivered"} 3.0',
        'webhooks_deliveries_total{outcome="dead-lettered"} 0.0',
        'webhooks_deliveries_total{outcome="unmatched"} 0.0',
        'webhooks_answers_total{status="2xx"} 1.0',
        'webhooks_answers_total{status="none"} 0.0',
        'webhooks_end_to_end_seconds_bucket{le="+Inf"} 0.0',
        'webhooks_throttled_total{reason="rate"} 1.0',
        'webhooks_throttled_total{reason="slots"} 0.0',
        'webhooks_dead_letters_total{reason="expired"} 0.0',
        'webhooks_subscription_failures_total{kind="exception"} 0.0',
        'webhooks_probes_total{result="recovered"} 0.0',
        'webhooks_lanes{state="behind",status="failure"} 0.0',
        'webhooks_lanes{state="halted",status="closed"} 0.0',
        f'webhooks_build_info{{python="{python_version()}",version="{version("webhook-pipeline")}"}} 1.0',
        'webhooks_attempts_total{outcome="delivered"} 1.0',
        'webhooks_attempt_seconds_bucket{le="0.1"} 0.0',
        'webhooks_attempt_seconds_bucket{le="0.25"} 1.0',
        'webhooks_attempt_seconds_bucket{le="+Inf"} 1.0',
        "webhooks_attempt_seconds_count 1.0",
        "webhooks_attempt_seconds_sum 0.2",
        "webhooks_in_flight 1.0",
        'webhooks_lanes{state="behind",status="started"} 1.0',
        'webhooks_lanes{state="live",status="started"} 1.0',
        'webhooks_lanes{state="halted",status="failure"} 1.0',
        'webhooks_events_waiting{partition="3",state="behind",topic="events"} 3.0',
        'webhooks_events_waiting_at_most{partition="3",state="behind",topic="events"} 3.0',
        'webhooks_events_waiting{partition="3",state="live",topic="events"} 3.0',
        'webhooks_oldest_unsettled_seconds{partition="3",topic="events"} 1.5',
        'webhooks_dead_letters_total{reason="rejected"} 1.0',
        'webhooks_token_fetches_total{result="ok"} 1.0',
        'webhooks_dropped_total{rule="lane-full"} 2.0',
        "webhooks_headers_left_out_total 1.0",
        "webhooks_withheld_total 1.0",
        'webhooks_committed_offset{partition="3",topic="events"} 40.0',
        'webhooks_dispatched_offset{partition="3",topic="events"} 43.0',
        'webhooks_end_offset{partition="3",topic="events"} 50.0',
        "webhooks_queued_events 2.0",
        "webhooks_queued_bytes 400.0",
        "webhooks_ready 1.0",
        "webhooks_lease_held 1.0",
    ):
        assert line in lines
    assert any(line.startswith("process_resident_memory_bytes ") for line in lines)
    [tasks] = [float(line.split()[1]) for line in lines if line.startswith("webhooks_tasks ")]
    assert tasks >= len(asyncio.all_tasks()), "the server answers in a task of its own, in the same loop"


async def test_every_metric_is_explained(client: Client) -> None:
    async with client.get("/metrics", headers=BEARER) as response:
        lines = (await response.text()).splitlines()
    types = dict(line.split()[2:4] for line in lines if line.startswith("# TYPE webhooks_"))
    # In Prometheus' text format, the name of a counter's family ends with _total, too.
    exposed = {name for name in types if not name.endswith("_created")}
    explained = re.findall(r"`(webhooks_\w+)", (ROOT / "docs" / "operations.md").read_text())
    assert sorted(exposed - set(explained)) == []
    assert sorted(set(explained) - exposed) == []


async def test_metrics_leave_out_unknown_values(client: Client, reporter: FixedReporter) -> None:
    reporter.report = replace(WORKER, partitions=(replace(PARTITION, committed=None, end=None),))
    async with client.get("/metrics", headers=BEARER) as response:
        text = await response.text()

    assert "webhooks_committed_offset{" not in text
    assert "webhooks_end_offset{" not in text


async def test_metrics_use_openmetrics_if_requested(client: Client) -> None:
    accept = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
    async with client.get("/metrics", headers={**BEARER, **accept}) as response:
        assert response.content_type == "application/openmetrics-text"
        assert (await response.text()).endswith("# EOF\n")
