"""`webhooks cluster`: as many workers as this machine has cores, as one command.

command       the command and its options
machine       the workers that this machine gets: names, ports, folders
supervisor    starts them, starts them again, stops them
log_lines     one log from the output of all
__main__      a worker that stops when its supervisor is gone
"""
