"""Warnings about subscriptions that are valid, shown in the log and in the status. Pure."""

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
        now: the present time, Unix seconds.
    """
    auth = subscription.auth
    expiry = expiry_warning(auth.value, now) if isinstance(auth, TokenAuth) else None
    return "; ".join(filter(None, (expiry, _trust(subscription)))) or None


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
