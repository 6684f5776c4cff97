"""The `Authorization` of each attempt, and the OAuth 2.0 access tokens for it.

authorization                called by the delivery path
token_cache                  the access tokens of a worker
access_token, grant          a token; the state of one set of credentials
token_endpoint               gets a token
assertion, token_request     a signed client assertion; the request to a token endpoint
token_store                  stores tokens, encrypted
jwt_expiry                   warns before a configured bearer token expires
"""
