"""Whatever a submission's functions and losses return, a check fails by name; it never breaks, which would leave it ungraded."""

import pytest
import torch
from torch import nn

from grader.judge import Judge
from grader.rubric import defined_names, load_rubric
from grader.runner import checks_of, run_check
from grader.student import Experiment, Student
from tests.helpers import failed, module

JUNK = {
    "nothing": None, "text": "text", "number": 1, "truth": True, "not a number": float("nan"), "infinite": float("inf"),
    "list": [], "nested": [[1], {"a": [None]}], "dict": {}, "dict of text": {"name": "x", "parameters": "many"},
    "rows": [{"name": 1, "parameters": None}, {}], "rows of tensors": [{"name": torch.ones(2)}], "pair": (1, 2), "texts": ("a", "b"),
    "tensors": (torch.ones(2, 2), torch.zeros(0)), "history": {"train_loss": None, "val_iou": "high", "lr": [None] * 50},
    "long history": {key: [0.1, "x"] * 99 for key in ("train_loss", "train_iou", "val_loss", "val_iou", "lr")},
    "empty tensor": torch.zeros(0), "large tensor": torch.ones(7, 5, 3), "integers": torch.ones(2, 1, 4, 4, dtype=torch.int64),
    "truths": torch.ones(1, dtype=torch.bool), "complex": torch.ones(1, dtype=torch.complex64), "object": object(),
    "norms": {"conv.weight": "1", "conv.bias": None, 3: float("nan")},
}


class Junk(nn.Module):
    """A module that takes anything and gives `value`."""

    value = None

    def __init__(self, *_, **__):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, *_, **__):
        return self.value


def namespace(value) -> dict:
    """Every name of the contract, as a class or a function that gives `value`."""
    made = type("Made", (Junk,), {"value": value})
    return {name: made if name[0].isupper() else (lambda *_, **__: value) for name in defined_names()}


@pytest.mark.parametrize("kind", JUNK)
def test_junk_fails_and_breaks_no_check(kind):
    names, experiment = namespace(JUNK[kind]), Experiment(b"junk")
    for task in load_rubric().values():
        passed = 0.0
        for check in checks_of(task) + checks_of(task, hidden=True):
            outcome = run_check(check, Student.in_process(names, experiment))  # CheckFault would end this test
            passed += check.points * (outcome.passed is True)
        # such as "the caller's list stays unchanged", which holds of a class that does nothing
        assert passed <= task.points * 0.2, f"{task.id} pays {passed} for {kind}"


FORGED = """
import torch
def gradient_norms(model, images, masks, criterion):
    model.calls = [{"training": "yes"}] * 3
    model.state_dict = lambda: {"conv.weight": "none"}
    return {f"w{i}": 0.1 for i in range(3)}
def train_epoch(model, dataloader, optimizer, criterion, device, **options):
    model.state_dict = lambda: {"conv.weight": torch.ones(3, dtype=torch.complex64)}
    model.training = "yes"
    return 0.5, 0.5
"""


def test_forged_instruments_fail_behind_the_wall():
    with Judge(["2.4", "3.4"]) as judge:
        result = judge.grade(module(FORGED))
    assert result["status"] == "graded" and result["score"] <= 3, [failed(result, task) for task in result["tasks"]]
