"""For every test of the tree: the rules of hygiene.py."""

pytest_plugins = ("tests.support.hygiene",)
