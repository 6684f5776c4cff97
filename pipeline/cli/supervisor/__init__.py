"""`webhooks cluster`: runs a worker on each core of this machine.

command       the command and its options
machine       the workers of this machine: names, ports, directories
supervisor    starts, restarts and stops workers
log_lines     merges the output of workers into one log
__main__      runs a worker that stops when its supervisor is gone
"""
