"""Every check accepts every right solution and catches the wrong ones, in their own task and in no other.

All known-wrong variants are asked in this process. The judge marks one of each group of tasks, and a sample of right solutions;
with UNETLAB_LONG=1 all of them.
"""

import ast
import inspect
import os
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
from solutions.wrong import WRONG, wrong_cells, wrong_source
from tests.helpers import ROOT, TRAINED, failed, module, scores

PARTS = {"part_1": "01_unet", "part_2": "02_skip_connections", "part_3": "03_losses_and_training", "part_4": "04_bonus"}  # folder → notebook
LONG = bool(os.environ.get("UNETLAB_LONG"))
EVERY = {part: [path for path in sorted((ROOT / "solutions/alternatives" / part).iterdir()) if path.name != "__pycache__"] for part in PARTS}
ALTERNATIVES = [path for paths in EVERY.values() for path in (paths if LONG else paths[::4])]
TRAINED_NETWORK = Experiment((TRAINED / "unet.pth").read_bytes(), tuple(RECIPE["features"]), RECIPE["size"])
CODE_TASKS = [task.id for task in load_rubric().values() if not task.experiment]
# Tasks whose code can be felt in each other's checks. That a loss is not felt in the training loop's, errors carried forward, is
# tried on a sample: every loss would be trained with twice.
GROUPS = [("1.1", "1.2", "1.3", "1.4"), ("2.1", "2.2", "2.3"), ("2.4",), ("3.1", "3.2", "3.3"), ("3.4",), ("4.1", "4.2", "4.3", "4.4")]
NEEDED = {("3.4",): ("3.1", "3.2", "3.3")}
# Variants that the judge marks, and the tasks that it marks them in: one of each group in all tasks; the others in their group.
LAST = {group: next(wrong for wrong in reversed(WRONG) if wrong.task in group) for group in GROUPS}
MARKED = [(wrong, tuple(CODE_TASKS)) for wrong in LAST.values()]
if LONG:
    MARKED = [(wrong, tuple(CODE_TASKS)) for wrong in {wrong.task: wrong for wrong in WRONG}.values()]
    MARKED += [(wrong, (*group, *NEEDED.get(group, ()))) for group in GROUPS for wrong in WRONG if wrong.task in group]
ADDITIONS = {  # what last year's starter did not ask for
    "batch_norm_can_be_left_out", "equals_the_reference_without_batch_norm", "unknown_upsampling_is_refused",
    "upsampling_is_handed_on", "batch_norm_is_handed_on",
}


def every_check():
    return [(task, check) for task in load_rubric().values() for check in checks_of(task) + checks_of(task, hidden=True)]


@pytest.fixture(scope="module", autouse=True)
def undiagnosed():
    """test_diagnosis.py has the names of mistakes; here they would double the time."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(Judge, "_diagnoses", lambda *_: [])
        yield


def test_no_variant_writes_a_file_but_the_one_that_it_is_given():
    """Variants run in the judge's own process, with the instructor's rights: one that saved to /dev/null replaced it by a file."""
    allowed = _writes(reference_source()) | {"torch.save(best['weights'], __import__('io').BytesIO())"}
    for wrong in WRONG:
        calls = set().union(*map(_writes, wrong_cells(wrong)))
        elsewhere = [call for call in calls - allowed if not call.endswith(", checkpoint_path)")]
        assert not elsewhere, wrong.name


def _writes(source):
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    names = ("torch.save", "open", "np.save", "json.dump")
    return {ast.unparse(call) for call in calls if ast.unparse(call.func) in names or "write" in ast.unparse(call.func)}


@pytest.fixture(scope="module")
def failed_checks():
    """Checks of its own task that each variant fails, without the wall: all that no variant before it has failed, or else the first."""
    found = {}
    for wrong in WRONG:
        student, before = Student.in_process(_defined(wrong)), {check for names in found.values() for check in names}
        found[wrong] = []
        for name, check in sorted(_checks_by_name(wrong.task).items(), key=lambda item: item[0] in before):
            if name in before and found[wrong]:
                break
            if run_check(check, student).passed is False:
                found[wrong].append(name)
    return found


def _checks_by_name(task):
    """Checks by task and name, as names are a task's own."""
    return {(task, check.name): check for given, check in every_check() if given.id == task}


def _defined(wrong):
    namespace = {"__name__": "variant"}
    exec(compile(wrong_source(wrong), "<variant>", "exec"), namespace)
    return {**namespace, "print": lambda *_, **__: None}


@pytest.fixture(scope="module")
def wrong_results():
    """The judge's result for each of MARKED."""
    results = {}
    for tasks in dict.fromkeys(tasks for _, tasks in MARKED):
        marked = [wrong for wrong, among in MARKED if among == tasks]
        by_name = {result["student"]: result for result in grade_all(map(_submission, marked), only=list(tasks))}
        results |= {(wrong, tasks): by_name[_name(wrong)] for wrong in marked}
    return results


def _name(wrong):
    return f"{wrong.task}-{wrong.name}"


def _submission(wrong):
    return module(wrong_source(wrong), _name(wrong))


@pytest.fixture(scope="module")
def alternative_results():
    results = {}
    for part in PARTS:
        paths = [path for path in ALTERNATIVES if path.parent.name == part]
        submissions = [submission for path in paths for submission in find_submissions([path])]
        if part in ("part_3", "part_4"):  # what is not written in another way is the reference's
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


@pytest.mark.parametrize("wrong", WRONG, ids=_name)
def test_wrong_variant_fails_a_check_of_its_task(wrong, failed_checks):
    assert failed_checks[wrong]


@pytest.mark.parametrize("wrong, tasks", MARKED, ids=lambda value: _name(value) if hasattr(value, "task") else f"{len(value)} tasks")
def test_wrong_variant_loses_marks_in_its_own_task_alone(wrong, tasks, wrong_results):
    result = wrong_results[wrong, tasks]
    lost = {task for task, mark in result["tasks"].items() if mark["score"] != mark["max_score"]}
    assert result["status"] == "graded" and result["max_score"] == sum(load_rubric()[task].counted for task in tasks)
    assert lost == {wrong.task}, {task: failed(result, task) for task in lost}


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
        assert not lost and result["score"] == result["max_score"], {t: failed(result, t) for t in scores(result)}
        assert sum(scores(result).values()) == sum(load_rubric()[task].points for task in scores(result)) > 0


def test_every_check_catches_some_wrong_variant(failed_checks):
    caught = {check for names in failed_checks.values() for check in names}
    idle = {(task.id, check.name) for task, check in every_check() if not task.experiment} - caught
    assert not idle, "checks that no known-wrong variant fails"
