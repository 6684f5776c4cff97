"""`webhooks console`: serves the pages and the API for the whole cluster, and delivers nothing.

command   the command
run       composes and runs it
"""
