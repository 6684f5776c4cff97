"""One attempt over HTTP: a subscription and an event in, an `Outcome` out.

webhook                              what the delivery path calls
request, headers, signature          the bytes that are sent; pure
destination, proxy, socks, tls       where they go
ssrf_guard                           where they may go
transport, connection                the one HTTP client
response, response_redaction         what came back
failures                             what went wrong
handshake                            asking a receiver for permission first
"""
