"""Who we are to a callback: `Authorization` for each attempt.

Reading order: authorize (what the delivery path calls) - tokens (the tokens in memory) - oauth2 (how one is got) -
stored (how one is written down) - table (where: a Faust table).
"""
