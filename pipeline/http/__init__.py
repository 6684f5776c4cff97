"""One attempt over HTTP: a subscription and an event in, an `Outcome` out.

webhook                              called by the delivery path
request, headers, credentials        the bytes of a request
signature                            Standard Webhooks
destination, proxy, socks, tls       where a request goes
ssrf_guard, own_names                the addresses it may go to; the names of this host
resolver, direct                     name lookups and connections without threads
transport, connection, burst         the HTTP client
connector                            makes connections, also through SOCKS proxies
plain_success                        recognises the most common answer without a parser
response, response_redaction         the answer; masks secrets in it
failures                             the reasons for a missing answer
handshake                            asks a receiver for permission first
"""
