"""`webhooks cluster`: runs a worker on each core of this machine.

command       the command and its options
machine       the workers of this machine: names, ports, folders
supervisor    starts, restarts and stops them
log_lines     merges their output into one log
__main__      runs a worker that stops when its supervisor is gone
"""
