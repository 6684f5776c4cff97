"""Who the pipeline is to a callback: an `Authorization` for each attempt.

authorization            what the delivery path calls
static                   headers that never change
token_cache              the access tokens of a worker; access_token and grant are their values
token_endpoint           how one is got; assertion and token_request are what is sent
token_store              how one is written down, encrypted
jwt_expiry               a warning for tokens that others issued
"""
