"""Finds the checks of a task and runs them on a submission, wherever it lives."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass

from .expect import Mismatch
from .rubric import Task
from .student import JudgeFault, NoAnswer, NotJudged, Student, StudentError

PUBLIC, HIDDEN = "grader.checks", "solutions.checks"

# What an exception means in this lab. The texts lead to the place, not to the answer.
EXPLANATIONS = {
    r"to have (\d+) channels, but got (\d+)": "a layer built for {0} input channels got {1}; print the shapes in front of it "
    "and compare them with the task's shape table",
    r"Sizes of tensors must match except in dimension 1": "torch.cat along the channels needs equal heights and widths: "
    "bring the upsampled tensor to the size of the skip first",
    r"must match the size of tensor": "adding or multiplying needs equal shapes; print both",
    r"unexpected keyword argument '(\w+)'": "keep the arguments of the stub, {0} among them",
    r"missing \d+ required positional": "keep the arguments of the stub, in their order and with their defaults",
    r"running_mean should contain (\d+) elements": "a BatchNorm got another number of channels than it was built for",
    r"cannot assign module before Module.__init__": "call super().__init__() first",
    r"_forward_unimplemented|missing the required \"forward\"": "the class has no forward; is it indented as a method?",
    r"'NoneType' object": "a function gives nothing back; is its return missing?",
    r"leaf Variable that requires grad is being used in an in-place": "write x = x + …, not x += …: the input belongs to the caller",
    r"Expected more than 1 value per channel": "BatchNorm in train mode cannot norm a single 1×1 pixel",
}


class CheckFault(Exception):
    """The check itself broke: the kit's fault, never the submission's."""


@dataclass(frozen=True)
class Check:
    """One check: a pytest function `test_<name>(student)`, its rule and hint from the docstring, its points."""

    name: str
    hidden: bool
    rule: str
    hint: str
    points: float
    function: Callable[[Student], None]


@dataclass
class Outcome:
    """What a check found; `passed` is None when it does not apply (see NotJudged)."""

    check: Check
    passed: bool | None
    message: str = ""
    seconds: float = 0.0


def checks_of(task: Task, hidden: bool = False) -> list[Check]:
    """The task's public checks, or its hidden ones, in the order of their file."""
    package = HIDDEN if hidden else PUBLIC
    module = importlib.import_module(f"{package}.test_task_{task.id.replace('.', '_')}")
    functions = [f for name, f in vars(module).items() if name.startswith("test_") and inspect.isfunction(f)]
    return [_check(task, function, hidden) for function in functions]


def _check(task: Task, function: Callable, hidden: bool) -> Check:
    name = function.__name__.removeprefix("test_")
    if name not in task.checks:
        raise CheckFault(f"{inspect.getsourcefile(function)}: {name} has no points under task {task.id} in rubric.toml")
    rule, _, hint = inspect.getdoc(function).partition("Hint:")
    return Check(name, hidden, _one_line(rule), _one_line(hint), task.checks[name], function)


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def run_check(check: Check, student: Student) -> Outcome:
    """Run one check; a fault of the submission fails it, a fault of the check raises CheckFault."""
    student.doing = ""
    try:
        check.function(student)
    except NotJudged as reason:
        return Outcome(check, None, str(reason))
    except Mismatch as mismatch:
        return Outcome(check, False, message_of(check, student.doing, mismatch.came, mismatch.expected))
    except StudentError as error:
        if error.type == "NotImplementedError" and "Task" in error.message:
            return Outcome(check, False, f"to do: {error.message} ({error.where.split(':')[0]})")
        hint = explanation(error.message) or check.hint
        return Outcome(check, False, message_of(check, student.doing, str(error), "no exception", hint))
    except NoAnswer as reason:
        return Outcome(check, False, message_of(check, student.doing, str(reason), "an answer"))
    except JudgeFault:
        raise
    except Exception as fault:
        raise CheckFault(f"check {check.name}: {type(fault).__name__}: {fault}") from fault
    return Outcome(check, True)


def message_of(check: Check, doing: str, came: str, expected: str, hint: str | None = None) -> str:
    """The five things a failed check says: rule, input, what came, what was expected, hint."""
    lines = [
        ("rule", check.rule), ("input", doing), ("came", came), ("expected", expected), ("hint", hint or check.hint)
    ]
    return "\n".join(f"{name}: {text}" for name, text in lines if text)


def explanation(message: str) -> str:
    """What PyTorch's or Python's message means in this lab, where it is one that students often meet."""
    for pattern, text in EXPLANATIONS.items():
        if found := re.search(pattern, message):
            return text.format(*found.groups())
    return ""
