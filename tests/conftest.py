"""For every test of the tree: the rules of hygiene.py, the name maker, and which process runs it."""

pytest_plugins = ("tests.support.hygiene", "tests.support.processes")
