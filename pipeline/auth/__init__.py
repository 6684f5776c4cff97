"""Who the pipeline is to a callback: an `Authorization` for each attempt.

authorization                what the delivery path calls
token_cache                  the access tokens of a worker
access_token, grant          their values
token_endpoint               how one is got
assertion, token_request     what is sent for it
token_store                  how one is written down, encrypted
jwt_expiry                   a warning for tokens that others issued
"""
