"""Parsing in several threads, where CPython mixes their counts of depth up."""

import ast
import gc
import threading
import types
from pathlib import Path

import pytest

from grader import parsing
from grader.parsing import MIXED_UP, parse

SOURCE = Path(ast.__file__).read_text(encoding="utf-8")


@pytest.fixture
def parsed_in_between():
    """Garbage collections that parse something themselves, as another thread may in the middle of a parse: so many of them."""
    left = []

    def parse_too(phase, info):
        if left:
            left.pop()
            ast.parse("x = [[1]]")

    before = gc.get_threshold()
    gc.set_threshold(50)
    gc.callbacks.append(parse_too)
    yield left
    gc.callbacks.remove(parse_too)
    gc.set_threshold(*before)


def test_a_parse_in_the_middle_of_a_parse_costs_nothing(parsed_in_between):
    parsed_in_between += [0]
    tree = parse(SOURCE)
    assert not parsed_in_between, "nothing came in between, so nothing was tried"
    assert ast.dump(tree) == ast.dump(ast.parse(SOURCE))


def test_threads_parse_at_once(parsed_in_between):
    faults = []

    def parse_often():
        try:
            for _ in range(10):
                parse(SOURCE)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=parse_often) for _ in range(3)]
    parsed_in_between += [0] * 20
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults and not parsed_in_between


def test_other_errors_stay_as_they_are(monkeypatch):
    with pytest.raises(SyntaxError) as found:
        parse("x = (", "<cell 3>")
    assert found.value.filename == "<cell 3>"
    tried = []

    def broken(*args):
        tried.append(args)
        raise SystemError("null argument to internal routine" if len(tried) == 1 else f"{MIXED_UP} (before=93, after=65)")

    monkeypatch.setattr(parsing, "ast", types.SimpleNamespace(parse=broken))
    with pytest.raises(SystemError, match="null argument"):
        parse("x = 1")
    assert len(tried) == 1
    with pytest.raises(SystemError, match=MIXED_UP):
        parse("x = 1")
