"""One attempt over HTTP: a subscription and an event in, an `Outcome` out.

Reading order: callback (what the delivery path calls) - request over fields and signature (the bytes that are sent;
pure) - destination over routes, tls and guard (where they go) - transport over connection (the one HTTP client) -
failure and answer (what happened; pure) - form (the same client, for token endpoints).
"""
