"""Python's parser, right when several threads parse at once. Standard library alone: the sandboxed child uses it too."""

from __future__ import annotations

import ast

MIXED_UP = "AST constructor recursion depth mismatch"
TRIES = 100


def parse(source: str, filename: str = "<unknown>") -> ast.Module:
    """The tree of a source, as ast.parse makes it; raises what it raises.

    CPython 3.11, for one, keeps one count of depth for all threads. A garbage collection that runs Python code, as it does
    in a Dask worker, lets another thread parse in the middle, and either of them then fails: github.com/python/cpython/issues/106905.
    """
    for _ in range(TRIES - 1):
        try:
            return ast.parse(source, filename)
        except SystemError as error:
            if MIXED_UP not in str(error):
                raise
    return ast.parse(source, filename)
