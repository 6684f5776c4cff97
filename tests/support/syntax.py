"""Syntax trees of modules."""

import ast
import gc


def parsed(source: str) -> ast.Module:
    """The tree of a module, made without a collection in between.

    A collected future whose error nobody asked for logs its traceback, which parses the lines that it shows. Python
    3.11 then raises "AST constructor recursion depth mismatch" for the tree that was being made.
    """
    gc.disable()
    try:
        return ast.parse(source)
    finally:
        gc.enable()
