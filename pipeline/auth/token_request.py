"""Posts forms to token endpoints under the same rules as callbacks: guard, TLS, proxy, timeouts, size limits."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.core.errors import ConfigurationError
from pipeline.core.outcome import Failed
from pipeline.core.subscription import Subscription
from pipeline.http import headers as fields
from pipeline.http.response import MAX_BODY_BYTES, Answer
from pipeline.http.transport import Transport


@dataclass(frozen=True, slots=True)
class PostForm:
    """The HTTP exchange with a token endpoint."""

    transport: Transport
    user_agent: str

    async def __call__(
        self, subscription: Subscription, url: str, body: str, headers: Mapping[str, str]
    ) -> Answer | Failed:
        """POST *body* to *url* without following redirects. Never raises, except when cancelled.

        Args:
            subscription: the subscription. Its TLS options, proxy and timeouts apply to the endpoint, too.
            url: an http or https URL.
            body: an encoded form.
            headers: the headers of the request, without framing headers.
        """
        try:
            destination = await self.transport.destination(
                url,
                tls=subscription.tls,
                proxy=subscription.proxy,
                use_system_proxy=subscription.use_system_proxy,
                limits=subscription.http,
            )
            content = body.encode()
            lines = [
                f"POST {destination.target.request_target} HTTP/1.1",
                f"Host: {destination.target.host}",
                f"User-Agent: {self.user_agent}",
                *_lines(headers),
                f"Content-Length: {len(content)}",
            ]
        except ConfigurationError as error:
            return Failed(str(error), may_have_arrived=False)
        if destination.target.proxy_authorization is not None:
            lines.append(f"Proxy-Authorization: {destination.target.proxy_authorization}")
        head = "".join(f"{line}\r\n" for line in lines) + "\r\n"
        request = head.encode("latin-1") + content
        return await self.transport.exchange(
            destination, request, keep=MAX_BODY_BYTES, keep_of_success=MAX_BODY_BYTES, repeatable=True
        )


def _lines(headers: Mapping[str, str]) -> list[str]:
    for name, value in headers.items():
        legal = fields.is_name(name) and value.isascii() and fields.is_value(value.encode("ascii"))
        if not legal or name.lower() in fields.FRAMING:
            raise ConfigurationError(f"the header {name!r} can't be sent to a token endpoint")
    return [f"{name}: {value}" for name, value in headers.items()]
