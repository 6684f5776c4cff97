"""Parses modules into syntax trees."""

import ast
import gc


def parsed(source: str) -> ast.Module:
    """The tree of a module, parsed while the garbage collector is off.

    If the collector frees a future with an unread error, the traceback is logged, which parses lines of source. Python
    3.11 then raises "AST constructor recursion depth mismatch" for the tree that is being built.
    """
    gc.disable()
    try:
        return ast.parse(source)
    finally:
        gc.enable()
