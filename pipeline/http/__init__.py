"""One attempt over HTTP: a subscription and an event in, an `Outcome` out.

webhook                              what the delivery path calls
request, headers, credentials        the bytes that are sent
signature                            Standard Webhooks
destination, proxy, socks, tls       where they go
ssrf_guard, own_names                where they may go; the names of this host
resolver, direct                     names looked up, sockets connected, without threads
transport, connection                the one HTTP client
response, response_redaction         what came back; what of it is masked
failures                             what went wrong
handshake                            asking a receiver for permission first
"""
