"""Who we are to a callback: `Authorization` for each attempt.

Reading order: authorize (what the delivery path calls) - static (headers that never change) - tokens over grant and
access_token (the tokens of a worker) - oauth2 (how one is got) - stored (how one is written down) - table (where: in a
Faust table) - jwt_expiry (a warning for those that somebody else issued).
"""
