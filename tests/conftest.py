"""For every test of the tree: the rules of hygiene.py and the name maker."""

pytest_plugins = ("tests.support.hygiene",)
