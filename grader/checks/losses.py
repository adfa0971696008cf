"""What the checks of the losses share: masks, a loss as a number, its gradient, and the slope that the gradient must equal."""

from __future__ import annotations

import itertools
import math

import torch
from torch.nn import functional as F

from grader.checks.inputs import pictures
from grader.expect import Mismatch, expect, expect_number, expect_shape
from grader.servant import cotangents
from grader.student import Student, StudentError, StudentModule

TOLERANCE = 1e-5  # of a loss, relative to its size or to 1: some 100 roundings of float32
SURE = 20.0  # sigmoid(20) is 1 up to 2e-9
TERMS = {"ce": "cross-entropy", "dice": "your DiceLoss()", "focal": "your FocalLoss()"}  # of CombinedLoss
OWN = {"dice": "DiceLoss", "focal": "FocalLoss"}
VALUE_FIRST = "nothing overflows here: mend the value by hand first"
WANT_LOGITS = "all terms want logits: is there a sigmoid in front of them?"
SHOWN = 8  # values of a tensor that a message spells out


def logits(*values: float) -> torch.Tensor:
    """One picture of one row with these logits, (1, 1, 1, W)."""
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1)


mask = logits  # the same layout, values 0 and 1


def masks(*shape: int, seed: int = 2) -> torch.Tensor:
    """Random masks: of one class each pixel is 0 or 1, of several each pixel belongs to one class."""
    scores = pictures(*shape, seed=seed)
    if shape[1] == 1:
        return (scores > 0).to(scores.dtype)
    return torch.zeros(shape).scatter_(1, scores.argmax(dim=1, keepdim=True), 1.0)


def three_classes() -> tuple[torch.Tensor, torch.Tensor]:
    """Sure logits and one-hot masks (1, 3, 1, 12); the Dice losses of the classes are 0, 3/4 and 1.

    The first is found exactly, of the second 7 pixels are found and 1 is right, of the third none is right.
    """
    target = torch.cat([mask(*[1] * 2 + [0] * 10), mask(*[0] * 2 + [1] + [0] * 9), mask(*[0] * 3 + [1] * 9)], dim=1)
    found = torch.cat([mask(*[1] * 2 + [0] * 10), mask(*[0] * 2 + [1] * 7 + [0] * 3), mask(*[1] + [0] * 11)], dim=1)
    return SURE * (2 * found - 1), target


def answer(loss: StudentModule, pred: torch.Tensor, target: torch.Tensor, autocast: bool = False):
    """Whatever the loss gives for these; the loss may give a number where a tensor belongs (one check's business)."""
    student = loss.student
    student.doing = f"{loss.text} on {_pair(pred, target)}" + (" under bfloat16 autocast" if autocast else "")
    options = {"autocast": True} if autocast else {}
    return student.ask("call", handle=loss.handle, inputs=[pred, target], seed=student.seed, **options)["outputs"]


def value(loss: StudentModule, pred: torch.Tensor, target: torch.Tensor, autocast: bool = False) -> float:
    """The loss as a number; Mismatch where it is none."""
    return as_number(answer(loss, pred, target, autocast))


def positive(came: float) -> float:
    """The loss, where it is above 0 as a right one is here; a constant 0 would pass every comparison with itself."""
    expect(came > 0, came=f"the loss is {came:.6g}", expected="more than 0, since the prediction is not right")
    return came


def as_number(came) -> float:
    """The number in what a loss gave; Mismatch where it is none."""
    if came is None:
        raise Mismatch("nothing (None)", "one number", "forward gives nothing back: is its return missing?")
    if isinstance(came, str) and came.startswith("an object of type"):
        hint = "a loss from torch.nn is built first, nn.SomeLoss(), and what was built is then called with (pred, target)"
        raise Mismatch(came, "one number", hint)
    if isinstance(came, int) and abs(came) > 2**63:  # has no float
        raise Mismatch("an integer beyond all bounds", "one number")
    return expect_number(came, "the loss")


def expect_value(came: float, expected: float, working: str = "", what: str = "the loss", hint: str = "") -> None:
    """Mismatch unless the number is the expected one, within float32's precision; `hint` where it is not the check's own."""
    if not _near(came, expected):
        raise Mismatch(f"{what} is {came:.6g}", f"{expected:.6g}" + (f" = {working}" if working else ""), hint)


def _near(came: float, expected: float) -> bool:
    return abs(came - expected) <= TOLERANCE * max(1.0, abs(expected))


def probe(student: Student, name: str, pred: torch.Tensor, target: torch.Tensor) -> float:
    """The loss of that name, to choose a hint by: NaN where it gives no number, and the message keeps the check's own input."""
    doing = student.doing
    try:
        return value(student.make(name), pred, target)
    except (Mismatch, StudentError):
        return math.nan
    finally:
        student.doing = doing


def alpha_taken(student: Student, target: int) -> float:
    """What FocalLoss() weighs a pixel with, 0.25, 0.75 or 1, whichever is nearest: that it is the right one has its own check."""
    measured = value(student.make("FocalLoss"), logits(0), mask(target)) / (0.5**2 * math.log(2))
    return min((0.25, 0.75, 1.0), key=lambda weight: abs(weight - measured))


def only(name: str, weight: float = 1.0) -> dict[str, float]:
    """The weights of CombinedLoss that leave one term, the others being written out as 0."""
    return {**dict.fromkeys(TERMS, 0.0), name: weight}


def expect_weighted_sum(student: Student, weights: dict[str, float], loss: StudentModule, channels: int = 1) -> None:
    """Mismatch unless the loss is the sum of weight times term, Dice and focal being the submission's own."""
    pred, target = pictures(2, channels, 4, 5), masks(2, channels, 4, 5)
    terms = {"ce": F.binary_cross_entropy_with_logits(pred, target).item()}
    parts = [(weight, name) for name, weight in weights.items() if weight]
    terms |= {name: value(student.make(OWN[name]), pred, target) for weight, name in parts if name in OWN}
    _expect_terms(terms)
    working = " + ".join(f"{weight:g} · {terms[name]:.6g} ({TERMS[name]})" for weight, name in parts)
    came, expected = value(loss, pred, target), sum(weight * terms[name] for weight, name in parts)
    if not _near(came, expected):
        squashed = pred.sigmoid()
        twice = {name: probe(student, OWN[name], squashed, target) for _, name in parts if name in OWN}
        twice |= {"ce": F.binary_cross_entropy_with_logits(squashed, target).item()}
        choices = itertools.product(*[(weight * terms[name], weight * twice[name]) for weight, name in parts])
        hint = WANT_LOGITS if any(_near(came, sum(choice)) for choice in choices) else ""
        expect_value(came, expected, working, hint=hint)


def _expect_terms(terms: dict[str, float]) -> None:
    """Mismatch where terms are zero or alike: such a sum would be right whatever is added (the reference's terms then decide)."""
    values = sorted(terms.values())
    alike = any(abs(a - b) < 1e-6 for a, b in itertools.pairwise(values))
    if alike or values[0] <= 1e-6:
        shown = ", ".join(f"{TERMS[name]} {number:.4g}" for name, number in terms.items())
        raise Mismatch(f"terms that are zero or alike: {shown}", "terms above zero that differ; mend DiceLoss and FocalLoss first")


def expect_number_with_gradient(loss: StudentModule, pred: torch.Tensor, target: torch.Tensor) -> None:
    """Mismatch unless the loss is a tensor without dimensions, whose gradient at every logit is finite and somewhere not 0."""
    came = answer(loss, pred, target)
    if isinstance(came, (int, float)):
        hint = "float(…) and .item() take the number out of torch, and then backward() has nothing to start from"
        raise Mismatch(f"the plain number {as_number(came):.4g}", "a tensor with a gradient", hint)
    if isinstance(came, torch.Tensor):
        expect_shape(came, (), "the loss")
    as_number(came)
    arrived = gradient(loss, pred, target)
    if not bool((arrived != 0).any()):
        hint = "whatever the logits are, this loss stays the same: a threshold, or a softmax over one channel, does that"
        raise Mismatch("the gradient at pred is zero everywhere", "a gradient that is not zero", hint)


def gradient(loss: StudentModule, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The gradient of the loss at pred; Mismatch where none arrives or where it is not finite."""
    found = loss.vjp(pred, constant=[target])
    loss.student.doing = f"{loss.text} differentiated at {_pair(pred, target)}"
    output, arrived = found.outputs[0], found.inputs[0]
    expect(output.numel() == 1, came=f"the loss of shape {tuple(output.shape)}", expected="one number")
    expect(arrived is not None, came="no gradient reaches pred", expected="a gradient")
    expect_shape(arrived, tuple(pred.shape), "the gradient")
    finite = bool(torch.isfinite(arrived).all())
    expect(finite, came=f"the gradient at pred is {_numbers(arrived)}", expected="finite numbers")
    return arrived / cotangents([output], loss.student.seed)[0].to(arrived).reshape(())


def expect_finite_gradient(loss: StudentModule, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor | None:
    """The gradient at pred, Mismatch where it is not finite; None where there is none, which is another check's business."""
    try:
        return gradient(loss, pred, target)
    except StudentError as error:
        if error.type != "NoGradient":
            raise
        return None


def expect_slopes(loss: StudentModule, pred: torch.Tensor, target: torch.Tensor) -> None:
    """Mismatch unless the gradient at each logit equals how fast the loss changes with that logit (central differences).

    In float64 where the submission computes in it, else as exactly as float32 allows.
    """
    try:
        _expect_slopes(loss, pred.double(), target.double(), step=1e-4, tolerance=1e-6)
    except (Mismatch, StudentError):
        _expect_slopes(loss, pred, target, step=1e-2, tolerance=1e-2)


def _expect_slopes(loss: StudentModule, pred: torch.Tensor, target: torch.Tensor, step: float, tolerance: float) -> None:
    came = gradient(loss, pred, target)
    moves = step * torch.eye(pred.numel(), dtype=pred.dtype).view(-1, *pred.shape)
    slopes = [(value(loss, pred + move, target) - value(loss, pred - move, target)) / (2 * step) for move in moves]
    loss.student.doing = f"{loss.text} differentiated at {_pair(pred, target)}"
    largest = max(abs(slope) for slope in slopes)
    for pixel, (number, slope) in enumerate(zip(came.flatten().tolist(), slopes)):
        expect(
            abs(number - slope) <= tolerance * max(largest, 1e-3),
            came=f"the gradient at logit {pixel} is {number:.6g}",
            expected=f"{slope:.6g}: so much the loss changes where that logit is moved by ±{step:g}, divided by {2 * step:g}",
        )


def _pair(pred: torch.Tensor, target: torch.Tensor) -> str:
    return f"logits {_numbers(pred)} and target {_numbers(target)}"


def _numbers(tensor: torch.Tensor) -> str:
    """A small tensor's values, the shape of a large one."""
    if tensor.numel() > SHOWN:
        dtype = "" if tensor.dtype == torch.float32 else f", {str(tensor.dtype).removeprefix('torch.')}"
        return f"of shape {tuple(tensor.shape)}{dtype}"
    return "[" + ", ".join(f"{number:.4g}" for number in tensor.flatten().tolist()) + "]"
