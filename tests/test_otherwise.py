"""The independent wrong submissions are what they say: right but for their mistake."""

import ast
import os
from collections import Counter
from itertools import zip_longest

import pytest

from grader.executors import grade_all
from grader.judge import Judge
from grader.rubric import load_rubric
from solutions.reference import reference_source
from solutions.wrong import WRONG
from tests.helpers import module
from tests.otherwise import CASES, RIGHT

ALL = bool(os.environ.get("UNETLAB_LONG"))  # every style and every case takes minutes
ONE_MISTAKE = [case for case in CASES if case.names and not case.about]
TASKS = sorted({case.task for case in CASES})
UNSEEN = {"momentum 0.01: only the running statistics differ"}  # the one mistake that no check looks at
SUBMISSIONS = list(zip_longest(*([style for style in RIGHT if task in style.tasks] for task in TASKS if task != "1.4")))


def test_every_name_is_that_of_a_variant_of_the_task():
    variants = {(variant.task, variant.name) for variant in WRONG}
    assert {(case.task, name) for case in CASES for name in case.names} <= variants


def test_there_are_enough_cases_of_every_task_and_no_variant_has_many():
    assert all(count >= 10 for count in Counter(case.task for case in ONE_MISTAKE).values())
    assert len(ONE_MISTAKE) >= 170 and len(CASES) - len(ONE_MISTAKE) >= 50
    assert max(Counter((case.task, *sorted(case.names)) for case in ONE_MISTAKE).values()) <= 2


@pytest.mark.parametrize("task", TASKS)
def test_every_source_is_another_one_and_defines_what_the_task_needs(task):
    sources = [case.source for case in CASES if case.task == task]
    assert len(set(sources)) == len(sources)
    for source in sources + [style.source for style in RIGHT if task in style.tasks]:
        defined = {node.name for node in ast.parse(source).body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
        small = {"2.1": {"ConcatSkip"}, "2.2": {"AddSkip"}, "2.3": {"AttentionGate", "AttentionSkip"}}.get(task, {"?"})
        assert set(load_rubric()[task].names) <= defined or small <= defined


@pytest.mark.parametrize("styles", SUBMISSIONS if ALL else SUBMISSIONS[:1], ids=lambda styles: "")
def test_right_styles_get_full_marks(styles):
    styles = [style for style in styles if style]
    text = "\n\n".join([reference_source(), *(style.source for style in styles)])
    tasks = [task for style in styles for task in style.tasks]
    (result,) = grade_all([module(text)], only=tasks)
    assert {task: mark["score"] - mark["max_score"] for task, mark in result["tasks"].items()} == dict.fromkeys(tasks, 0)


@pytest.mark.parametrize("task", TASKS if ALL else ["3.2"])
def test_cases_lose_marks_in_their_task(task):
    cases = [case for case in CASES if case.task == task and case.about not in UNSEEN]
    with Judge([task]) as judge:
        for case in cases if ALL else cases[::6]:
            mark = judge.grade(module(f"{reference_source()}\n\n{case.source}"))["tasks"][task]
            assert mark["score"] < mark["max_score"], (case.names, case.about)
