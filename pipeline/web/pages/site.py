"""The routes of the pages, with access control and the data of each page."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

import faust
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from pipeline.cluster.attempt_search import AttemptSearch
from pipeline.cluster.dead_letters import Letter, newest_letters
from pipeline.cluster.explanation import dead_letter_sentence
from pipeline.cluster.state import SubscriptionState, WorkerState
from pipeline.config.definition import Definition
from pipeline.core.clock import Clock
from pipeline.core.errors import BrokerError, ConfigurationError
from pipeline.core.shown import shown
from pipeline.core.webhook_ids import WebhookIds
from pipeline.kafka.bounded_reading import read_event
from pipeline.kafka.letters import LetterFilter
from pipeline.observability.telemetry import Telemetry
from pipeline.subscriptions.registry import Registry
from pipeline.web.access import PRINCIPAL, READING, Access, refused_scope
from pipeline.web.api.states import View, limited
from pipeline.web.pages.history import RateHistory
from pipeline.web.pages.listing import PAGE, read_search
from pipeline.web.pages.overview import Overview
from pipeline.web.pages.rendering import SCRIPT, STYLE, answer, render
from pipeline.web.pages.stream import Stream
from pipeline.web.pages.view import shown_result
from pipeline.web.principal import Principal

EVENT_SECONDS: Final = 10.0
LETTERS: Final = 100
LETTERS_SECONDS: Final = 30.0
BODY_BYTES: Final = 2048

Show = Callable[[web.Request, Principal], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class PageSources:
    """The sources of the data on the pages.

    Attributes:
        own: the name of this worker.
        telemetry: the counters of this worker; None: this process delivers nothing (`webhooks console`).
        attempts: the attempt log; None if it can't be searched.
    """

    app: str
    own: Callable[[], str]
    definition: Definition
    view: View
    registry: Registry
    telemetry: Telemetry | None
    ids: WebhookIds
    clock: Clock
    attempts: AttemptSearch | None = None


def attach_pages(app: faust.App, sources: PageSources, access: Access) -> None:
    """Register the pages, `/api/stream`, the style sheet, the script, and a page for browsers at unknown paths.

    Args:
        app: the app, made with `web_options`.
        sources: the sources of the data.
        access: who may see the pages.
    """
    pages = Pages(sources)
    stream = Stream(sources.view.changed)
    driver: Any = app.web

    shows: Mapping[str, Show] = {
        "/": pages.overview,
        "/subscriptions": pages.subscriptions,
        "/subscription": pages.subscription,
        "/subscriptions/{id:.+}": pages.subscription_by_path,
        "/attempts": pages.attempts,
        "/event": pages.event,
        "/workers": pages.workers,
        "/dead-letters": pages.dead_letters,
        "/api/stream": stream.serve,
        STYLE.path: STYLE.serve,
        SCRIPT.path: SCRIPT.serve,
    }
    for path, show in shows.items():
        app.page(path, name=f"webhooks:page:{path}")(_view(show, access))
    driver.web_app.middlewares.append(pages.explain_unknown_path)
    driver.web_app.cleanup_ctx.append(pages.keep_history)
    driver.web_app.on_shutdown.append(stream.close)


def _view(show: Show, access: Access) -> Any:
    """Turn *show* into a page for Faust: a coroutine function whose first argument is a Faust view."""

    async def get(_view: faust.web.View, request: web.Request, **_in_path: str) -> web.StreamResponse:
        found = await access.admit(request)
        if not isinstance(found, Principal):
            return found
        return await show(request, found) if "read" in found.scopes else refused_scope(found, "read")

    get.__doc__ = show.__doc__
    return get


class Pages:
    """The handlers of the pages."""

    def __init__(self, sources: PageSources) -> None:
        self._sources = sources
        self._view = sources.view
        self._overview = Overview(sources.view, sources.clock)
        self._history = RateHistory(self._workers, sources.telemetry)
        # Such pages are limited, because reading Kafka takes CPU time from deliveries.
        self._turn = asyncio.Semaphore(2)

    async def keep_history(self, _app: web.Application) -> AsyncIterator[None]:
        """Take samples while the web server runs."""
        taking = asyncio.ensure_future(self._history.run())
        yield
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)

    async def overview(self, request: web.Request, principal: Principal) -> web.Response:
        """Show the number of subscriptions in each state, the failures and the plots."""
        is_limited = bool(principal.tenant)
        situation = await self._overview.situation(principal)
        return await self._page(
            "overview.html",
            request,
            principal,
            situation=situation,
            problems=[] if is_limited else self._problems(),
            plots=[] if is_limited else self._history.plots(),
        )

    async def subscriptions(self, request: web.Request, principal: Principal) -> web.Response:
        """Show the subscriptions that match a search."""
        search = read_search(request.query)
        wanted = limited(search.as_filter(), principal)
        found = await self._view.states(wanted, search.after or None, PAGE)
        return await self._page("listing.html", request, principal, search=search, page=found, why=_why)

    async def subscription(self, request: web.Request, principal: Principal) -> web.Response:
        """Show one subscription."""
        state = self._seen(request, principal)
        if state is None:
            return await self._absent(request, principal)
        document = self._sources.registry.masked(state.id)
        return await self._page(
            "detail.html",
            request,
            principal,
            id=state.id,
            state=state,
            problems=[] if principal.tenant else self._view.problems(),
            reason=reason_of(state),
            dead_letters=dead_letter_sentence(state),
            document=json.dumps(document, indent=2, ensure_ascii=False),
        )

    async def subscription_by_path(self, request: web.Request, _principal: Principal) -> web.Response:
        """Redirect to the page of a subscription, for people who write its id into the address bar."""
        raise web.HTTPFound("/subscription?" + urlencode({"id": request.match_info["id"]}))

    async def attempts(self, request: web.Request, principal: Principal) -> web.Response:
        """Show the attempts for a subscription, newest first. With a webhook-id, only the attempts for that event."""
        state, log = self._seen(request, principal), self._sources.attempts
        webhook_id = request.query.get("event") or None
        if state is None or log is None:
            return await self._absent(request, principal)
        found, problem = None, None
        try:
            async with self._turn:
                found = await log.attempts(state.id, request.query.get("after") or None, PAGE, webhook_id)
        except (BrokerError, ConfigurationError) as error:
            problem = str(error)
        return await self._page(
            "attempts.html",
            request,
            principal,
            id=state.id,
            webhook_id=webhook_id or "",
            found=found,
            problem=problem,
            shown_result=shown_result,
        )

    async def event(self, request: web.Request, principal: Principal) -> web.Response:
        """Show the event at which a subscription fails. Other events are not shown: they may be for another tenant."""
        state = self._seen(request, principal)
        asked = tuple(request.query.get(name) for name in ("topic", "partition", "offset"))
        lanes = () if state is None else state.lanes
        lane = next((each for each in lanes if (each.topic, str(each.partition), str(each.next)) == asked), None)
        if lane is None or lane.next is None or lane.state not in {"failure", "retrying"}:
            return await self._absent(
                request,
                principal,
                "There is no such event",
                "The subscription is not failing at this event (any more).",
            )
        event, problem = None, "The event was deleted from the log."
        try:
            async with self._turn:
                source, place = self._sources.definition.source, (lane.topic, lane.partition, lane.next)
                event = await read_event(source.connection, place, EVENT_SECONDS, source.isolation_level)
        except BrokerError as error:
            problem = str(error)
        body = b"" if event is None or event.value is None else event.value
        return await self._page(
            "event.html",
            request,
            principal,
            event=event,
            problem=problem,
            webhook_id=f"{lane.topic}-{lane.partition}-{lane.next}" if event is None else self._sources.ids.of(event),
            size=len(body),
            body=body[:BODY_BYTES].decode("utf-8", "replace"),
            names=[] if event is None else [name for name, _ in event.headers],
        )

    async def workers(self, request: web.Request, principal: Principal) -> web.Response:
        """Show the workers and partitions."""
        if principal.tenant:
            return await self._absent(request, principal, "Workers", "Your token is limited to some subscriptions.")
        workers = self._view.workers()
        partitions = [(each.name, partition) for each in workers if not each.is_gone for partition in each.partitions]
        return await self._page(
            "workers.html",
            request,
            principal,
            workers=workers,
            partitions=sorted(partitions, key=lambda found: (found[1].topic, found[1].partition)),
            own=self._sources.own(),
            hears=self._view.hears_workers,
            is_worker=self._sources.telemetry is not None,
            problems=self._view.problems(),
        )

    async def dead_letters(self, request: web.Request, principal: Principal) -> web.Response:
        """Show the newest dead letters with their reasons."""
        dlq = self._sources.definition.dlq
        asked = request.query.get("subscription") or None, request.query.get("reason") or None
        letters: list[Letter] = []
        problems: list[str] = []
        if dlq is not None:
            try:
                wanted = LetterFilter(*asked, None, self._own(principal))
                async with asyncio.timeout(LETTERS_SECONDS), self._turn:
                    definition, app = self._sources.definition, self._sources.app
                    letters, problems = await newest_letters(definition, app, LETTERS, wanted)
            except TimeoutError:
                problems = [f"The dead letters could not be read within {LETTERS_SECONDS:.0f} s."]
            except BrokerError as error:
                problems = [str(error)]
        if asked[0] is not None and not letters and not problems and not self._sees(principal, asked[0]):
            problems = [f"There is no subscription {shown(asked[0])}, and no such dead letter names it."]
        return await self._page(
            "letters.html",
            request,
            principal,
            has_topic=dlq is not None,
            subscription=asked[0] or "",
            reason=asked[1] or "",
            is_limited=bool(principal.tenant),
            letters=letters,
            problems=problems,
        )

    def _own(self, principal: Principal) -> Container[str | None] | None:
        """The ids of the subscriptions that the principal may see; None: all of them."""
        if not principal.tenant:
            return None
        return frozenset(name for name in self._sources.registry.ids() if self._sees(principal, name))

    @web.middleware
    async def explain_unknown_path(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Show a page to browsers if there is nothing at the path; other clients get a problem (web/problem.py)."""
        try:
            return await handler(request)
        except web.HTTPNotFound:
            principal = request.get(PRINCIPAL)
            if principal is None or "read" not in principal.scopes or not _is_for_people(request):
                raise
        return await self._absent(
            request, principal, "There is no such page", f"There is nothing at {shown(request.path)}."
        )

    # --------------------------------------------------------------- what pages have in common

    async def _page(
        self, template: str, request: web.Request, principal: Principal, status: int = HTTPStatus.OK, **values: Any
    ) -> web.Response:
        text = await render(
            template,
            app=self._sources.app,
            topics=self._sources.definition.source.topics,
            here=request.path,
            now=self._sources.clock.now(),
            may_write="write" in principal.scopes,
            may_rotate="secrets" in principal.scopes,
            has_attempts=self._sources.attempts is not None,
            **values,
        )
        return answer(text, status)

    async def _absent(
        self, request: web.Request, principal: Principal, heading: str = "", sentence: str = ""
    ) -> web.Response:
        asked = request.query.get("id", "")
        return await self._page(
            "absent.html",
            request,
            principal,
            HTTPStatus.NOT_FOUND,
            heading=heading or "There is no such subscription",
            sentence=sentence or f"There is no subscription {shown(asked)}.",
        )

    def _seen(self, request: web.Request, principal: Principal) -> SubscriptionState | None:
        """The requested subscription, if the principal may see it."""
        name = request.query.get("id", "")
        return self._view.state(name) if self._sees(principal, name) else None

    def _sees(self, principal: Principal, name: str) -> bool:
        return principal.seen(self._sources.registry.get(name)) is not None

    def _workers(self) -> Sequence[WorkerState] | None:
        return self._view.workers() or None

    def _is_own(self, worker: WorkerState) -> bool:
        return self._sources.telemetry is not None and worker.name == self._sources.own()

    def _problems(self) -> list[str]:
        """Sentences for the top of a page about what is unknown, and about workers that are gone or not ready."""
        found = self._view.problems()
        for each in self._view.workers():
            if each.is_gone:
                # While Kafka is silent, no announcements arrive, as `found` says. The worker that answers is not gone.
                if not self._view.hears_workers or self._is_own(each):
                    continue
                found.append(f"worker {each.name} is gone: it has not announced itself for a while")
            elif not each.ready:
                found.append(f"worker {each.name} is not ready: {each.problem or 'it is starting'}")
            found += [f"worker {each.name}: {warning}" for warning in each.warnings]
        return found


def _is_for_people(request: web.Request) -> bool:
    """Whether a person asks for a page, in a browser."""
    return (
        request.method in READING
        and "text/html" in request.headers.get(hdrs.ACCEPT, "")
        and not f"{request.path}/".startswith("/api/")
    )


def _why(state: SubscriptionState) -> str:
    """The reason for a subscription's state, or a sentence about its dead letters; "" without both."""
    return reason_of(state) or dead_letter_sentence(state) or ""


def reason_of(state: SubscriptionState) -> str:
    """The reason for a subscription's state, from the receiver or the pipeline; "" without a reason."""
    if state.problem is not None:
        return state.problem
    if state.cause is not None:
        return state.cause.message
    return "" if state.error is None else state.error.message
