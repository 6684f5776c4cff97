"""Why there is no complete answer, as `Failed`. Messages name host and port, but no query, header or token. Pure.

Messages don't quote the receiver, which may echo the request. They don't reveal the worker's network: a proxy is called
"the proxy", without its host, port or addresses.
"""

import errno
import ssl
from typing import Final

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.streams import EofStream

from pipeline.core.outcome import Failed
from pipeline.http.destination import Destination
from pipeline.http.direct import UnreachableError
from pipeline.http.resolver import NoAnswerError
from pipeline.http.socks import SocksError
from pipeline.http.ssrf_guard import RefusedAddressError

_CERTIFICATE_ALERTS: Final = (
    "ALERT_BAD_CERTIFICATE",
    "ALERT_CERTIFICATE_EXPIRED",
    "ALERT_CERTIFICATE_REQUIRED",
    "ALERT_CERTIFICATE_REVOKED",
    "ALERT_CERTIFICATE_UNKNOWN",
    "ALERT_UNKNOWN_CA",
    "ALERT_UNSUPPORTED_CERTIFICATE",
)
"""Alerts with which a server ends a TLS 1.3 handshake although the client has completed it (RFC 8446 section 4.4.2.4).

A request that the client has written by then never gets past the server's TLS layer.
"""

_PROXY: Final = "the proxy"


def not_connected(destination: Destination, error: Exception) -> Failed:
    """The failure for an *error* while connecting: nothing was sent."""
    timed_out = isinstance(error, TimeoutError) or _is_unanswered_lookup(error)
    return Failed(_why_not_connected(destination, error), may_have_arrived=False, timed_out=timed_out)


def _is_unanswered_lookup(error: Exception) -> bool:
    return isinstance(error, aiohttp.ClientConnectorDNSError) and isinstance(error.os_error, NoAnswerError)


def _why_not_connected(destination: Destination, error: Exception) -> str:
    where = destination.where
    through = f" through {_PROXY}" if destination.is_proxied else ""
    match error:
        case TimeoutError():
            return f"no connection to {where}{through} within {destination.connect_timeout_seconds:g} s"
        case aiohttp.ClientConnectorError():
            return _no_socket(destination, error)
        case aiohttp.InvalidURL():
            return f"{where} is neither a host name nor an address in its usual notation"
        case UnicodeError():
            return f"the host of {where} is not a host name"
        case _ if destination.is_proxied:
            return _no_way_through(destination, error)
        case _:
            return f"no connection to {where}: {type(error).__name__}"


def _no_socket(destination: Destination, error: aiohttp.ClientConnectorError) -> str:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            peer = _shaken_with(destination, error)
            return f"the certificate of {peer} is not trusted: {_certificate_problem(peer, error.certificate_error)}"
        case aiohttp.ClientConnectorSSLError():
            return f"the TLS handshake with {_shaken_with(destination, error)} failed: {_tls_reason(error.os_error)}"
        case aiohttp.ClientConnectorDNSError():
            peer = _PROXY if destination.is_proxied else destination.where
            return f"the host of {peer} can't be resolved: {error.os_error.strerror or 'no reason'}"
        case aiohttp.ClientProxyConnectionError():
            return _refused(error.os_error, _PROXY)
        case _:
            return _refused(error.os_error, destination.where)


def _refused(error: OSError, peer: str) -> str:
    if isinstance(error, UnreachableError):
        return "; ".join(dict.fromkeys(_refused(reason, peer) for reason in error.reasons))
    if isinstance(error, RefusedAddressError):
        return error.verdict
    if error.errno == errno.ECONNREFUSED:
        return f"connection refused by {peer}"
    if error.errno is None and isinstance(error, ConnectionError):
        return f"{peer} closed the connection during the TLS handshake"  # asyncio's error for this has no errno
    return f"no connection to {peer}: {error.strerror or type(error).__name__}"


def _no_way_through(destination: Destination, error: Exception) -> str:
    """The failure if the proxy was reached, but the receiver was not."""
    proxy, where = _PROXY, destination.where
    match error:
        case SocksError():
            return f"{proxy} {'refused the' if error.is_refusal else 'gave no'} connection to {where}: {error.reason}"
        case aiohttp.ClientHttpProxyError():
            return f"{proxy} answered {error.status} to CONNECT {where}"
        case aiohttp.ClientResponseError():
            return f"the answer from {proxy} to CONNECT {where} is not valid HTTP"
        case aiohttp.ServerDisconnectedError() | OSError():
            return f"{proxy} closed the connection before it answered CONNECT {where}"
        case _:
            return f"no connection to {where} through {proxy}: {type(error).__name__}"


def _shaken_with(destination: Destination, error: aiohttp.ClientConnectorError) -> str:
    """The peer of a TLS handshake: an https proxy, or the receiver, perhaps through a proxy."""
    is_receiver = (error.host, error.port) == (destination.dial.host, destination.dial.port)
    return destination.where if is_receiver else _PROXY


def _certificate_problem(peer: str, error: Exception) -> str:
    problem = str(getattr(error, "verify_message", "") or "it does not fit the host name")
    # OpenSSL's message names the host or the address, which must not be shown for a proxy.
    return problem.partition(", certificate is not valid for ")[0] if peer == _PROXY else problem


def _tls_reason(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    return str(reason).replace("_", " ").lower() if reason else type(error).__name__


def not_let_through() -> Failed:
    """The failure for a 407 (RFC 9110 section 15.5.8) on a proxied route.

    A 407 does not mean that the receiver rejects the event. It should come from the proxy, but a receiver could send
    one too.
    """
    return Failed(f"{_PROXY} answered 407 and wants other credentials", may_have_arrived=True)


def not_answered(destination: Destination, error: Exception, *, expired: bool, answer_begun: bool) -> Failed:
    """The failure for an *error* after the request was written: it may have arrived.

    Args:
        destination: where the request was sent.
        error: the error that the connection raised.
        expired: whether the read timeout has expired.
        answer_begun: whether the head of the answer had been read.
    """
    where = destination.where
    if expired:
        seconds = destination.read_timeout_seconds
        return Failed(f"no complete answer from {where} within {seconds:g} s", may_have_arrived=True, timed_out=True)
    tls_error = error.__cause__ if isinstance(error.__cause__, ssl.SSLError) else None
    if tls_error is not None:
        refused = not answer_begun and str(tls_error.reason).endswith(_CERTIFICATE_ALERTS)
        return Failed(f"{where} ended the TLS connection: {_tls_reason(tls_error)}", may_have_arrived=not refused)
    return Failed(_how_it_broke(where, error, answer_begun=answer_begun), may_have_arrived=True)


def _how_it_broke(where: str, error: Exception, *, answer_begun: bool) -> str:  # noqa: PLR0911 - one line per cause
    match error:
        case HttpProcessingError():
            if isinstance(error.__cause__, LineTooLong):
                return f"the head of the answer from {where} is larger than allowed"
            return f"the answer from {where} is not valid HTTP ({type(error.__cause__ or error).__name__})"
        case aiohttp.ClientPayloadError():
            return f"the answer from {where} is incomplete or not valid HTTP"
        case aiohttp.ServerDisconnectedError() | EofStream():
            begun = answer_begun or not isinstance(getattr(error, "message", ""), str)
            return f"{where} closed the connection {'in the middle of its answer' if begun else 'without an answer'}"
        case OSError() if error.errno in {errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED}:
            return f"{where} reset the connection before it answered"
        case OSError():
            return f"the connection to {where} broke: {error.strerror or type(error).__name__}"
        case _:
            return f"the exchange with {where} failed: {type(error).__name__}"
