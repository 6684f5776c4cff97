"""One HTTP exchange as the rest of the pipeline sees it: what came back, or why nothing did."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from pipeline.errors import WebhooksError
from pipeline.model import HttpLimits, Proxy, TlsOptions

ANSWER_BODY_BYTES: Final = 65_536
"""How much of an answer's body is read; beyond it the connection is closed instead of drained."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer, of any status.

    Attributes:
        headers: names without regard to case; of a repeated name the first.
        body: as it came, not decompressed, at most what the caller asked to keep.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)


class ExchangeError(WebhooksError):
    """There is no complete answer: connection, TLS, DNS, a timeout, a broken answer. Its text holds no secret.

    Attributes:
        may_have_arrived: False only where not one byte of the request can have reached the receiver.
        timed_out: the receiver was silent for too long.
    """

    def __init__(self, error: str, *, may_have_arrived: bool, timed_out: bool = False) -> None:
        super().__init__(error)
        self.may_have_arrived = may_have_arrived
        self.timed_out = timed_out


class PostForm(Protocol):
    """Posts a form to a token endpoint (form.py), under the rules that callbacks obey: guard, TLS, proxy, bounds."""

    async def __call__(
        self,
        url: str,
        form: Mapping[str, str],
        headers: Mapping[str, str],
        *,
        tls: TlsOptions,
        limits: HttpLimits,
        proxy: Proxy | None = None,
        use_system_proxy: bool = False,
    ) -> Answer:
        """The endpoint's answer, whatever its status, with at most `ANSWER_BODY_BYTES` of its body.

        Args:
            url: http or https.
            form: sent as application/x-www-form-urlencoded, UTF-8.
            headers: sent besides; framing headers are not taken.
            tls: how the endpoint is judged, and which certificate it is shown.
            limits: connect and read timeout.
            proxy: the way there; stronger than *use_system_proxy*.
            use_system_proxy: take the way that the environment names.

        Raises:
            ExchangeError: no complete answer, or the url, the headers or the TLS options can't be used.
        """
        ...
