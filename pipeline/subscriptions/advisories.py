"""Warnings about subscriptions that are valid, shown in the log and in the status. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from pipeline.auth.jwt_expiry import expiry_warning
from pipeline.config.definition import Definition
from pipeline.core.clock import shown_time
from pipeline.core.model import Status
from pipeline.core.subscription import ClientAuth, DesiredStatus, Routing, Subscription, TokenAuth
from pipeline.http.ssrf_guard import Guard

_TRUST_ALL = "any certificate is accepted (ssl.trustAll): an attacker on the network can read and change requests"
_ANY_HOST = "a certificate for any host name is accepted (ssl.hostnameVerifier is false)"


def advisory(subscription: Subscription, now: float) -> str | None:
    """All warnings as one line: a bearer token has expired or soon will, TLS is not verified. None if there are none.

    Args:
        subscription: the subscription.
        now: the current time, Unix seconds.
    """
    auth = subscription.auth
    expiry = expiry_warning(auth.value, now) if isinstance(auth, TokenAuth) else None
    return "; ".join(filter(None, (expiry, _trust(subscription)))) or None


_IDLE: Final[Mapping[DesiredStatus, str]] = {
    DesiredStatus.PAUSED: "is paused by its publisher: nothing is sent until it is resumed",
    DesiredStatus.STOPPED: "is stopped by its consumer: nothing is sent until it is started",
    DesiredStatus.CLOSED: "is closed: nothing is sent until it is applied with the status ACCEPTED",
}
_NOT_YET: Final = "; to begin earlier, apply it with an earlier startingAt"
_NO_LONGER: Final = "; to open it again, apply it with a later endingAt, or without one"


def period(subscription: Subscription, now: float) -> str | None:
    """A warning if a subscription that is neither paused nor closed delivers nothing at the time *now* (Unix seconds).

    Otherwise a user who resumes such a subscription would wait for events in vain.
    """
    if subscription.desired_status is not DesiredStatus.DELIVER:
        return None
    match subscription.status_at(now):
        case Status.PAUSED:
            return f"delivers nothing before its startingAt, {shown_time(subscription.starting_at or 0.0)}"
        case Status.CLOSED:
            return f"is closed since its endingAt, {shown_time(subscription.ending_at or 0.0)}"
        case _:
            return None


def idleness(subscription: Subscription, now: float) -> str | None:
    """Why a subscription delivers nothing at the time *now* (Unix seconds), whatever its events; and what ends this.

    None if it delivers, or has failed because of an event. Commands show the sentence, so that a user who resumes,
    skips or replays does not wait for events in vain.
    """
    if subscription.problem is not None:
        return f"can't be used: {subscription.problem}"
    has_ended = subscription.ending_at is not None and now >= subscription.ending_at
    if not has_ended and subscription.desired_status is not DesiredStatus.DELIVER:
        return _IDLE[subscription.desired_status]
    outside = period(replace(subscription, desired_status=DesiredStatus.DELIVER), now)
    return None if outside is None else f"{outside}{_NO_LONGER if has_ended else _NOT_YET}"


def refusal(subscription: Subscription, guard: Guard) -> str | None:
    """A warning if the URL alone shows that callbacks will be refused. Host names are not looked up."""
    try:
        verdict = guard.verdict_on_host(urlsplit(subscription.url).hostname or "")
    except ValueError:
        return None
    return None if verdict is None else f"its callbacks will be refused: {verdict}"


def breadth(subscription: Subscription, definition: Definition) -> str | None:
    """A warning if a subscription gets every event; None if a filter or topics limit it.

    Even with `requireFilter` there can be such subscriptions, which were applied before the flag was set. The pipeline
    only warns about them, because their receivers depend on the events.
    """
    is_limited = subscription.filter is not None or subscription.topics is not None
    # A subscription with a problem gets nothing.
    if definition.stated_routing is not Routing.MATCH or is_limited or subscription.problem is not None:
        return None
    return f"gets every event of {', '.join(definition.source.topics)}"


def _trust(subscription: Subscription) -> str | None:
    urls = [subscription.url]
    if isinstance(subscription.auth, ClientAuth):
        urls.append(subscription.auth.endpoint)
    if not any(url.lower().startswith("https:") for url in urls):
        return None
    if subscription.tls.trust_all:
        return _TRUST_ALL
    return None if subscription.tls.verify_hostname else _ANY_HOST
