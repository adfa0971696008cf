"""Every check accepts every right solution and catches the wrong ones, in their own task and in no other."""

import inspect
from pathlib import Path

import pytest
import torch

from grader.executors import grade_all
from grader.judge import Judge
from grader.rubric import load_rubric
from grader.runner import checks_of, run_check
from grader.student import Experiment, Student
from grader.submissions import find_submissions
from solutions.reference import reference, reference_source
from solutions.train_reference import RECIPE
from solutions.wrong import WRONG, wrong_source
from tests.helpers import ROOT, TRAINED, failed, module, scores

PARTS = {"part_1": "01_unet", "part_2": "02_skip_connections", "part_3": "03_losses_and_training"}  # folder → notebook
ALTERNATIVES = [
    path for part in PARTS for path in sorted((ROOT / "solutions/alternatives" / part).iterdir()) if path.name != "__pycache__"
]
# Tasks whose code can be felt in each other's checks. That a loss is not felt in the training loop's, errors carried forward, is
# tried on a sample: every loss would be trained with twice.
GROUPS = [("1.1", "1.2", "1.3", "1.4"), ("2.1", "2.2", "2.3"), ("2.4",), ("3.1", "3.2", "3.3"), ("3.4",)]
NEEDED = {("3.4",): ("3.1", "3.2", "3.3")}
TRAINED_NETWORK = Experiment((TRAINED / "unet.pth").read_bytes(), tuple(RECIPE["features"]), RECIPE["size"])
CODE_TASKS = [task.id for task in load_rubric().values() if not task.experiment]
ADDITIONS = {  # what last year's starter did not ask for
    "batch_norm_can_be_left_out", "equals_the_reference_without_batch_norm", "unknown_upsampling_is_refused",
    "upsampling_is_handed_on", "batch_norm_is_handed_on",
}


def every_check():
    return [(task, check) for task in load_rubric().values() for check in checks_of(task) + checks_of(task, hidden=True)]


@pytest.fixture(scope="session")
def wrong_results():
    """Each variant, marked in its own group of tasks; a sample of them is marked in all tasks below."""
    results = {}
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(Judge, "_diagnoses", lambda *_: [])  # test_diagnosis.py has them; here they would double the time
    for group in GROUPS:
        submissions = [_submission(wrong) for wrong in WRONG if wrong.task in group]
        results |= {result["student"]: result for result in grade_all(submissions, only=[*group, *NEEDED.get(group, ())])}
    monkeypatch.undo()
    return results


def _submission(wrong):
    return module(wrong_source(wrong), f"{wrong.task}-{wrong.name}")


@pytest.fixture(scope="session")
def alternative_results():
    results = {}
    for part in PARTS:
        paths = [path for path in ALTERNATIVES if path.parent.name == part]
        submissions = [submission for path in paths for submission in find_submissions([path])]
        if part == "part_3":  # either the losses or the training are written in another way; the rest is the reference's
            submissions = [module(reference_source() + "\n\n" + path.read_text(), path.stem) for path in paths]
        assert len(submissions) == len(paths)
        results |= {Path(result["path"]).stem: result for result in grade_all(submissions, only=tasks_of(part))}
    return results


def tasks_of(part):
    return [task for task in CODE_TASKS if load_rubric()[task].notebook == PARTS[part]]


def test_rubric_and_checks_name_each_other():
    for task in load_rubric().values():
        names = [check.name for check in checks_of(task) + checks_of(task, hidden=True)]
        assert sorted(names) == sorted(task.checks), f"task {task.id}"
        assert 5 <= len(names) <= 18


@pytest.mark.parametrize("task, check", every_check(), ids=lambda value: getattr(value, "name", getattr(value, "id", "")))
def test_reference_passes_in_process(task, check):
    random_state = torch.get_rng_state()
    outcome = run_check(check, Student.in_process(vars(reference()), TRAINED_NETWORK))
    assert outcome.passed is True, outcome.message
    if not check.hidden:
        assert torch.equal(torch.get_rng_state(), random_state), "a check must leave the notebook's random numbers alone"


@pytest.mark.parametrize("task, check", every_check(), ids=lambda value: getattr(value, "name", getattr(value, "id", "")))
def test_check_has_rule_and_hint_and_fails_without_a_submission(task, check):
    assert check.rule and check.hint and check.points > 0
    outcome = run_check(check, Student.in_process({}, TRAINED_NETWORK))
    assert outcome.passed is False
    assert "is not defined" in outcome.message and check.rule in outcome.message
    assert "run the cell that defines" in outcome.hint, "the check's own hint would mislead"


def test_public_checks_know_no_reference():
    for task in load_rubric().values():
        module_source = inspect.getsource(inspect.getmodule(checks_of(task)[0].function))
        assert "solutions" not in module_source and "reference" not in module_source


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: f"{wrong.task}-{wrong.name}")
def test_wrong_variant_loses_marks_in_its_own_task_alone(wrong, wrong_results):
    result = wrong_results[f"{wrong.task}-{wrong.name}"]
    lost = {task for task, mark in result["tasks"].items() if mark["score"] != mark["max_score"]}
    assert result["status"] == "graded"
    assert lost == {wrong.task}, {task: failed(result, task) for task in lost}


def test_parts_do_not_cost_each_other():
    """One variant of every task, marked in all of them."""
    chosen = {wrong.task: wrong for wrong in WRONG}
    for result in grade_all([_submission(wrong) for wrong in chosen.values()], only=CODE_TASKS):
        lost = {task for task, mark in result["tasks"].items() if mark["score"] != mark["max_score"]}
        assert lost == {result["student"].partition("-")[0]}


def test_there_are_enough_wrong_variants():
    assert len({(wrong.task, wrong.name) for wrong in WRONG}) == len(WRONG)
    assert sum(wrong.task[0] == "1" for wrong in WRONG) >= 25 and sum(wrong.task[0] != "1" for wrong in WRONG) >= 60


@pytest.mark.parametrize("path", ALTERNATIVES, ids=lambda path: path.stem)
def test_right_variant_keeps_all_marks(path, alternative_results):
    result = alternative_results[path.stem]
    lost = {name for task in result["tasks"] for name in failed(result, task)}
    if path.stem == "last_year":
        assert lost == ADDITIONS, "what was handed in for last year's starter loses only the additions"
    else:
        assert not lost and result["score"] == result["max_score"] > 0, {t: failed(result, t) for t in scores(result)}


def test_every_check_catches_some_wrong_variant(wrong_results):
    caught = {(task, name) for result in wrong_results.values() for task in result["tasks"] for name in failed(result, task)}
    idle = {(task.id, check.name) for task, check in every_check() if not task.experiment} - caught
    assert not idle, "checks that no known-wrong variant fails"
