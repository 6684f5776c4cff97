"""Warnings about subscriptions that work, for the log and the status. Pure."""

from urllib.parse import urlsplit

from pipeline.auth.jwt_expiry import expiry_warning
from pipeline.config.definition import Definition
from pipeline.core.subscription import ClientAuth, Routing, Subscription, TokenAuth
from pipeline.http.ssrf_guard import Guard

_TRUST_ALL = "any certificate is accepted (ssl.trustAll): an attacker on the network can read and change requests"
_ANY_HOST = "a certificate for any host name is accepted (ssl.hostnameVerifier is false)"


def advisory(subscription: Subscription, now: float) -> str | None:
    """Warnings in one line: a bearer token that has expired or soon will, TLS without verification; None without any.

    Args:
        subscription: the subscription.
        now: Unix seconds.
    """
    auth = subscription.auth
    expiry = expiry_warning(auth.value, now) if isinstance(auth, TokenAuth) else None
    return "; ".join(filter(None, (expiry, _trust(subscription)))) or None


def refusal(subscription: Subscription, guard: Guard) -> str | None:
    """That callbacks will be refused, as far as the URL tells it: a name may lead to a refused address as well."""
    try:
        verdict = guard.verdict_on_host(urlsplit(subscription.url).hostname or "")
    except ValueError:
        return None
    return None if verdict is None else f"its callbacks will be refused: {verdict}"


def breadth(subscription: Subscription, definition: Definition) -> str | None:
    """Whether a subscription gets everything, as receivers of only a part must not; None if something limits it.

    Where the definition has `requireFilter`, this can be one that was applied before that. It is only a warning even
    then: its receiver depends on the events, and to stop them without a word from anybody would do more harm.
    """
    is_limited = subscription.filter is not None or subscription.topics is not None
    # One whose record can't be read gets nothing.
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
