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
    r"Boolean value of Tensor with more than one value": "an if asks a whole tensor; or nn.SomeLoss(a, b) was given a and b as its "
    "options: build it first, nn.SomeLoss(), then call that",
    r"no attribute '_(?:modules|parameters|buffers)'": "call super().__init__() first",
    r"^KeyError: '?(\w+)": "{0} is not in the dict; must the caller name every key?",
    r"except in dimension 0": "this joins pictures of the batch; the channels are dimension 1",
    r"must match the size of tensor": "adding or multiplying needs equal shapes; print both",
    r"unexpected keyword argument '(\w+)'": "keep the arguments of the stub, {0} among them",
    r"missing \d+ required positional": "keep the arguments of the stub, in their order and with their defaults",
    r"running_mean should contain (\d+) elements": "a BatchNorm got another number of channels than it was built for",
    r"cannot assign .* before Module.__init__": "call super().__init__() first",
    r"_forward_unimplemented|missing the required \"forward\"": "is there a forward, spelled so and indented in the class?",
    r"not NoneType|'NoneType' object|and 'NoneType'": "a function in front of this gives nothing back: is its return missing, or is it a "
    "method such as reverse() or append(), which changes the list and returns None? A parameter without a gradient has .grad None",
    r"object has no attribute '(\w+)'|module '[\w.]+' has no attribute '(\w+)'": "no such name is there: check the spelling, "
    "capitals too, and whether it was stored in self",
    r"^(\w+) is not defined$": "run the cell that defines {0}; is the name spelled so?",
    r"^name '(\w+)' is not defined": "{0} is not known here: an argument of another name, a missing self., or a cell not run",
    r"NVIDIA driver|not compiled with CUDA|CUDA-capable": "no .cuda() and no .to(device) inside a module: its input lies where "
    "the caller wants it",
    r"'list' object is not callable|list is not a Module subclass": "layers in a plain list are no module; torch.nn has one that "
    "runs them in order",
    r"modified by an inplace operation": "a tensor was changed in place (+=, or a method ending in _) after it was used",
    r"values to unpack": "one side of the = has more names than the other has values; what does the block return?",
    r"must be tuple of Tensors": "torch.cat takes one list of tensors, and a dim",
    r"received an invalid combination of arguments": "a layer got something that is not one tensor; does the block before it "
    "return two?",
    r"carries no gradient": "is something under torch.no_grad(), or detached?",
    r"appears to not have been used in the graph": "not every parameter takes part in every loss; autograd.grad has an option for that",
    r"does not require grad": "there is nothing to differentiate: under torch.no_grad(), detached, or turned into a plain number "
    "by .item()?",
    r"Target size .* must be the same as input size": "logits and masks need one shape; print both",
    r"outside of the range|all elements of (?:input|target) should be between 0 and 1": "this loss wants probabilities, but got logits; "
    "torch.nn.functional has a version for logits",
    r"only Tensors of floating point|Float but found|expected scalar type": "two dtypes meet here; bring the mask to the dtype of the logits",
    r"leaf Variable that requires grad is being used in an in-place": "write x = x + …, not x += …: the input is the caller's",
    r"Expected more than 1 value per channel": "BatchNorm in train mode cannot norm a single 1×1 pixel",
    r"No module named '([\w.]+)'": "{0} is not installed where this is graded, or was not handed in",
}

SIZES_CLASH = re.compile(r"to have \d+ channels, but got|Sizes of tensors must match|must match the size of tensor|Target size")
ABOUT_SIZES = re.compile(r"^(?!.*gradient).*\b(shapes?|sizes?|channels?|heights?|widths?|odd|H×W)\b", re.IGNORECASE)


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
    crashed: bool = False  # the module was built, and raised when it ran
    hint: str = ""  # the one that fits what came
    input: str = ""  # what the check did, what came of it, and what should have: the message's parts, for the card
    came: str = ""
    expected: str = ""


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
        return _failed(check, student, mismatch.came, mismatch.expected, mismatch.hint or check.hint)
    except StudentError as error:
        return _raised(check, student, error)
    except NoAnswer as reason:
        return _failed(check, student, str(reason), "an answer", "")
    except JudgeFault:
        raise
    except Exception as fault:
        raise CheckFault(f"check {check.name}: {type(fault).__name__}: {fault}") from fault
    return Outcome(check, True)


def _raised(check: Check, student: Student, error: StudentError) -> Outcome:
    """The outcome when the submission raised: its own words, and what they mean.

    The check's own hint speaks of what comes back, and would mislead; unless sizes clash and it speaks of sizes too.
    """
    if error.type == "NotImplementedError" and "Task" in error.message:
        return Outcome(check, False, f"to do: {error.message} ({error.where.split(':')[0]})")
    if error.type == "ModuleNotFoundError":
        student.note(f"{error.message}, where this is graded")
    hint = explanation(error.message) or explanation(f"{error.type}: {error.message}")
    if check.hidden and not hint:  # of a hidden check students see no more than this
        hint = f"the code raised {error.type}; mend what the public checks say first"
    if hint and SIZES_CLASH.search(error.message) and ABOUT_SIZES.search(check.rule):
        hint = f"{hint}. {check.hint}"
    outcome = _failed(check, student, str(error), "no exception", hint)
    outcome.crashed = student.running
    return outcome


def _failed(check: Check, student: Student, came: str, expected: str, hint: str) -> Outcome:
    """The five things a failed check says: rule, input, what came, what was expected, hint."""
    lines = [("rule", check.rule), ("input", student.doing), ("came", came), ("expected", expected), ("hint", hint)]
    message = "\n".join(f"{name}: {text}" for name, text in lines if text)
    return Outcome(check, False, message, hint=hint, input=student.doing, came=came, expected=expected)


def is_left_out(task: Task, outcomes: list[Outcome]) -> bool:
    """Whether nothing of a bonus task was written: what it asks for is not defined, or as it was handed out."""
    unwritten = (f"to do: Need to implement for Task {task.id}", *(f"NameError: {name} is not defined" for name in task.names))
    return task.bonus and all(outcome.message.startswith(unwritten[0]) or outcome.came in unwritten for outcome in outcomes)


def rule_and_hint(check: Check) -> str:
    """What is said where the rest could show the reference."""
    return f"rule: {check.rule}\nhint: {check.hint}"


def explanation(message: str) -> str:
    """What PyTorch's or Python's message means in this lab, where it is one that students often meet."""
    for pattern, text in EXPLANATIONS.items():
        if found := re.search(pattern, message):
            return text.format(*found.groups())
    return ""
