"""Public checks of Task 4.2: DeepSupervisionLoss."""

import torch
from torch.nn import functional as F

from grader.checks.inputs import pictures
from grader.checks.losses import as_number, expect_value, masks
from grader.expect import expect
from grader.student import Student, StudentError, StudentModule, as_tuple

WEIGHTS = [0.5, 1.0, 2.5]


def test_weighted_mean_of_the_outputs(student):
    """The loss is Σ weight · criterion(output, target) / Σ weight, of lists and of tuples; the weights are not changed, 0 is one too.

    Hint: what is the sum divided by? With weights [2, 2] it is the loss that weights [1, 1] give. isinstance(outputs, list) misses a tuple.
    """
    outputs, target = several(3), masks(2, 1, 4, 5)
    for weights in (WEIGHTS, [0.0, 1.0, 0.0], [4.0, 4.0, 4.0]):
        loss = student.make("DeepSupervisionLoss", criterion(student), weights=weights)
        expect_value(value(loss, outputs, target), mean_of([bce(o, target) for o in outputs], weights), _working(weights))
        after = loss.arguments_after[1].get("weights")
        expect(after == weights, came=f"the weights are {after} afterwards", expected=f"{weights} as before")
    wanted = mean_of([bce(o, target) for o in outputs], WEIGHTS)
    for weights, given in ((WEIGHTS, as_tuple(outputs)), (as_tuple(WEIGHTS), outputs)):
        loss = student.make("DeepSupervisionLoss", criterion(student), weights=weights)
        expect_value(value(loss, given, target), wanted, _working(WEIGHTS))


def test_without_weights_all_count_alike(student):
    """weights=None gives the mean over the outputs, however many there are.

    Hint: the number of outputs is known in forward, not before.
    """
    target, loss = masks(2, 1, 4, 5), student.make("DeepSupervisionLoss", criterion(student))
    for count in (1, 2, 4):
        outputs = several(count)
        expect_value(value(loss, outputs, target), mean_of([bce(o, target) for o in outputs], [1.0] * count), "the mean")


def test_one_tensor_is_the_plain_criterion(student):
    """For one tensor in place of a list, the loss is criterion(outputs, target), whatever the weights.

    Hint: a tensor of two pictures also has a length; ask what it is before you go through it.
    """
    pred, target = pictures(2, 1, 4, 5), masks(2, 1, 4, 5)
    for weights in (None, WEIGHTS):
        loss = student.make("DeepSupervisionLoss", criterion(student), weights=weights)
        expect_value(value(loss, pred, target), bce(pred, target), "the criterion alone")


def test_smaller_logits_are_enlarged(student):
    """Logits of another height and width are resized bilinearly to the target's; the target stays as it is.

    Hint: F.interpolate takes a size and a mode. Which of the two is resized?
    """
    target = masks(2, 1, 8, 12)
    for sizes in ([(2, 3), (4, 12), (8, 12)], [(8, 12), (8, 6), (16, 24)]):
        outputs = [pictures(2, 1, *size, seed=3 + number) for number, size in enumerate(sizes)]
        came = value(student.make("DeepSupervisionLoss", criterion(student), weights=WEIGHTS), outputs, target)
        wanted = []
        for align_corners in (False, True):  # free, as in the other tasks
            large = [F.interpolate(o, target.shape[-2:], mode="bilinear", align_corners=align_corners) for o in outputs]
            wanted.append(mean_of([bce(o, target) for o in large], WEIGHTS))
        nearest = min(wanted, key=lambda number: abs(number - came))
        expect_value(came, nearest, "with all logits at the size of the mask")


def test_other_lengths_are_refused(student):
    """More or fewer weights than outputs raise ValueError.

    Hint: zip ends with the shorter of the two, and says nothing.
    """
    loss = student.make("DeepSupervisionLoss", criterion(student), weights=WEIGHTS)
    target = masks(2, 1, 4, 5)
    value(loss, several(3), target)
    for count in (2, 4):
        try:
            came = f"a loss of {value(loss, several(count), target):.4g}"
        except StudentError as error:
            came = str(error)
            if error.type == "ValueError":
                continue
        expect(False, came=f"for 3 weights and {count} outputs: {came}", expected="ValueError")


def criterion(student: Student, reduction: str = "mean"):
    """A cross-entropy on the submission's side."""
    return student.build("bce", f"BCEWithLogitsLoss(reduction={reduction!r})", reduction=reduction)


def several(count: int) -> list[torch.Tensor]:
    """Logits (2, 1, 4, 5) of so many outputs."""
    return [pictures(2, 1, 4, 5, seed=10 + number) for number in range(count)]


def bce(logits: torch.Tensor, target: torch.Tensor, reduction: str = "mean") -> float:
    """What that cross-entropy gives."""
    return F.binary_cross_entropy_with_logits(logits, target, reduction=reduction).item()


def mean_of(values: list[float], weights: list[float]) -> float:
    """The weighted mean."""
    return sum(weight * number for weight, number in zip(weights, values)) / sum(weights)


def value(loss: StudentModule, outputs, target: torch.Tensor) -> float:
    """The loss as a number; Mismatch where it is none."""
    student = loss.student
    shown = f"{len(outputs)} outputs" if isinstance(outputs, list) else "a tuple of outputs" if isinstance(outputs, dict) else "one tensor"
    student.doing = f"{loss.text} called with {shown} and a target of shape {tuple(target.shape)}"
    return as_number(student.ask("call", handle=loss.handle, inputs=[outputs, target], seed=student.seed)["outputs"])


def _working(weights: list[float]) -> str:
    return "(" + " + ".join(f"{weight:g} · loss {number}" for number, weight in enumerate(weights, start=1)) + f") / {sum(weights):g}"
