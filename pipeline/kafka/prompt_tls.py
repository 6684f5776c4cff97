"""TLS connections that end at once.

A client of Kafka closes connections while answers are on their way, and a broker does not answer its `close_notify`.
Both event loops wait for that answer: for half a second as a rule, and where uvloop misses the end of the connection
for 30 seconds (`ssl_shutdown_timeout`), which aiokafka's `stop()` then takes as well.

Whoever begins to close need not wait (RFC 8446 section 6.1; RFC 5246 section 7.2.1).
"""

import ssl


class PromptSSLObject(ssl.SSLObject):
    """Says `close_notify` and does not wait for the other side to say it too."""

    def unwrap(self) -> None:
        """End TLS: the notice is in the outgoing buffer when this returns."""
        try:
            super().unwrap()
        except ssl.SSLWantReadError:
            return


def close_promptly(context: ssl.SSLContext) -> None:
    """Make the connections of asyncio and uvloop that are made from now on with *context* end at once."""
    context.sslobject_class = PromptSSLObject
