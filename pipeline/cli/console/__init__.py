"""`webhooks console`: answers for the whole cluster, and delivers nothing.

command   the command
run       composes and runs it
"""
