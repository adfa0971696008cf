"""The judge names a misconception where, and only where, a submission reproduces its numbers.

The cases of tests/otherwise were written by somebody who had not seen the variants. UNETLAB_LONG=1 asks all of them.
"""

import math
import os

import pytest
import torch

from grader.cards import card_html, comment_text
from grader.executors import grade_all
from grader.student import Student
from solutions.diagnosis import diagnose, library
from solutions.facets import SUBJECTS, same
from solutions.facets.asking import only_raised, weight
from solutions.kept_answers import KeptAnswers
from solutions.reference import reference_source
from solutions.wrong import WRONG, wrong_source
from tests.helpers import module, replaced
from tests.otherwise import CASES, RIGHT

LONG = bool(os.environ.get("UNETLAB_LONG"))
CHOSEN = CASES if LONG else CASES[::9]
# Two mistakes in one definition of which one shows alone somewhere: to name that one is right.
SHOWS_ALONE = {
    "transposed_4x4 and skip_detached in one definition": {"skip_detached"},
    "relu_on_logits and skips_zeroed in one definition": {"skips_zeroed"},
}


def session(source: str) -> Student:
    """A session on the reference with these definitions after it, which prints nothing."""
    namespace = {"__name__": "case"}
    exec(compile(f"{reference_source()}\n\n{source}", "<case>", "exec"), namespace)
    namespace.update(print=lambda *_, **__: None, tqdm=lambda epochs, **_: epochs)
    return Student.in_process(namespace)


def names(task: str, source: str) -> set[str]:
    return {wrong.name for wrong in diagnose(task, session(source))}


def accepted(case) -> set[str]:
    """The names that are right for a case; of variants that nothing tells apart the one that stands for them."""
    stands_for = {wrong.name: wrong.like or wrong.name for wrong in library(case.task).values()}
    return {stands_for[name] for name in case.names} | SHOWS_ALONE.get(case.about, set())


# What ends in an exception wherever it differs: there are no numbers to tell it by.
ONLY_RAISES = {("1.4", "cuda_only"), ("2.1", "joined_along_the_batch"), ("2.3", "cuda_only"), ("2.3", "not_resized"),
               ("2.3", "super_forgotten"), ("4.2", "lists_only"), ("4.2", "tuples_taken_for_one"), ("4.2", "not_resized"), ("4.2", "heights_alone"), ("3.4", "always_cuda"), ("3.4", "criterion_turned_round")}


@pytest.mark.parametrize("wrong", WRONG if LONG else WRONG[::12], ids=lambda wrong: f"{wrong.task}-{wrong.name}")
def test_each_variant_is_told_from_all_others(wrong):
    came = names(wrong.task, wrong_source(wrong))
    assert came == {wrong.like or wrong.name} or (wrong.task, wrong.name) in ONLY_RAISES and not came


@pytest.fixture(scope="module")
def found():
    return [(case, names(case.task, case.source)) for case in CHOSEN]


def test_nine_in_ten_are_named_and_none_wrongly(found):
    wrongly = [(case.task, case.style, case.names, came) for case, came in found if not came <= accepted(case)]
    assert not wrongly
    single = [(case, came) for case, came in found if case.names]
    unnamed = [(case.task, case.style, case.names) for case, came in single if not came]
    assert len(unnamed) <= 0.1 * len(single), unnamed


@pytest.mark.parametrize("style", RIGHT if LONG else RIGHT[::5], ids=lambda style: f"{style.tasks[0]} {style.name}")
def test_right_solutions_have_no_diagnosis(style):
    for task in style.tasks:
        assert names(task, style.source) == set()


def test_judge_says_what_the_numbers_show():
    """Through the wall: the slip is named in its own task and in no other, and its text is in card and comment."""
    source = replaced(("return features, pooled", "return pooled, features"), ("towards_right = (2 * target - 1) * pred",
                      "pred = pred.clamp(-20, 20)\n        towards_right = (2 * target - 1) * pred"))
    (result,) = grade_all([module(source)], only=["1.1", "1.2", "1.4", "3.2"])
    told = {id: [found["name"] for found in task["diagnoses"]] for id, task in result["tasks"].items() if task["diagnoses"]}
    assert told["1.1"] == ["returns_swapped"] and "1.2" not in told and "1.4" not in told
    diagnosis = result["tasks"]["1.1"]["diagnoses"][0]
    assert diagnosis["title"] in card_html("1.1", result["tasks"]["1.1"])
    assert diagnosis["title"] in comment_text("1.1", result["tasks"]["1.1"])


@pytest.mark.parametrize("source", [
    "class DoubleConv(nn.Module):\n    def __init__(self, a, b, *, batch_norm=True):\n        raise NotImplementedError('Need to implement for Task 1.1')",
    "class EncoderBlock(nn.Module):\n    def forward(self, x):\n        return undefined_name",
    "class EncoderBlock:\n    def __init__(self, *a, **k): pass\n    def __call__(self, x): return 'x' * 10**6",
    "def DoubleConv(*a, **k): return lambda x: None",
])
def test_what_only_raises_or_answers_nonsense_has_no_name(source):
    assert names("1.1", source) == set()


def test_a_child_that_stops_answering_keeps_its_marks():
    """Here every answer after the checks is late: no diagnosis, and nothing is ungraded."""
    source = replaced(("return features, pooled", "return pooled, features")) + """
import sys, time
_forward = EncoderBlock.forward
def _slow(self, x):
    if tuple(x.shape) == (2, 3, 25, 36):  # a facet's input
        time.sleep(60)
    return _forward(self, x)
EncoderBlock.forward = _slow
"""
    (result,) = grade_all([module(source)], only=["1.1"])
    assert result["status"] == "graded" and result["tasks"]["1.1"]["diagnoses"] == []


def test_every_subject_uses_subjects_before_it():
    for task, subjects in SUBJECTS.items():
        before = set()
        for subject in subjects:
            assert set(subject.uses) <= before, (task, subject.name)
            before.add(subject.name)


def test_likeness_is_that_of_numbers():
    assert same([1.0, {"a": torch.ones(2)}], [1.0 + 1e-5, {"a": torch.ones(2) * (1 + 1e-5)}])
    assert not same(1.0, 1.001) and not same(torch.ones(2), torch.ones(1, 2)) and not same(True, 1.0)
    assert same(math.nan, math.nan) and not same(math.nan, 1.0) and not same(math.inf, -math.inf)
    assert not same(torch.tensor([1.0, math.nan]), torch.tensor([1.0, 1.0]))
    assert only_raised(["raised ValueError ", ["raised KeyError x"]]) and not only_raised([]) and not only_raised([1.0, "raised"])


def test_weights_do_not_know_the_order_of_concatenation():
    values = weight((8, 6, 3, 3))
    assert torch.equal(values, values.flip(1)) and len(set(values[:, 0].flatten().tolist())) == 72
    assert torch.equal(weight((4, 6, 1, 1)).flatten(1), weight((4, 6)))


def test_every_name_that_stands_for_others_is_there():
    for task in SUBJECTS:
        known = {wrong.name: wrong for wrong in library(task).values()}
        assert all(not wrong.like or not known[wrong.like].like for wrong in known.values())


def test_answers_are_kept_and_a_damaged_file_is_asked_anew(tmp_path):
    kept = KeptAnswers(tmp_path)
    for number in range(30):
        assert same(kept.get(str(number), lambda n=number: [torch.ones(2) * n, {"a": None}, "raised"])[0], torch.ones(2) * number)
    kept.keep()
    again = KeptAnswers(tmp_path)
    assert same(again.get("7", lambda: pytest.fail("it was known")), [torch.ones(2) * 7, {"a": None}, "raised"])
    again.path.write_bytes(b"PK" + bytes(100))
    assert KeptAnswers(tmp_path).get("7", lambda: "new") == "new"


def test_answers_need_no_place_to_write(tmp_path):
    (tmp_path / "file").write_text("no folder")
    kept = KeptAnswers(tmp_path / "file")
    kept.answers = {str(number): number for number in range(100)}
    kept.keep()
    assert kept.get("5", lambda: None) == 5


def test_no_two_facets_share_a_key():
    for task, subjects in SUBJECTS.items():
        facets = [facet for subject in subjects for facet in subject.facets]
        keys = {(facet.__module__, facet.__qualname__) for facet in facets}
        assert len(keys) == len(facets), task
    everywhere = [facet for subjects in SUBJECTS.values() for subject in subjects for facet in subject.facets]
    assert len({(facet.__module__, facet.__qualname__) for facet in everywhere}) == len(everywhere)
