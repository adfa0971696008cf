"""What the checks of Task 3.4 share: problems so small that the outcome of training is worked out by formula."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from grader.checks.inputs import pictures
from grader.expect import Mismatch, expect, expect_number, expect_shape
from grader.student import Instrument, State, Student, StudentModule

KEYS = ("train_loss", "train_iou", "val_loss", "val_iou", "lr")
TOLERANCE = 1e-3  # of losses and IoUs, which are of order one
SWAPPED = "both numbers are right, and each stands where the other belongs; what does the docstring say is returned, in which order?"
NO_RETURN = "is its return missing? print shows a value, it does not return it"


@dataclass(frozen=True)
class Problem:
    """Pictures, masks and the first weights of a `PixelModel`, one a channel and the bias last; `lr` is that of SGD.

    Shapes:
        images: (N, C, H, W), masks: (N, 1, H, W) of 0 and 1; N is a multiple of batch_size
    """

    images: torch.Tensor
    masks: torch.Tensor
    weights: tuple[float, ...]
    lr: float = 1.0
    batch_size: int = 2


def random_problem(batches: int, lr: float = 1.0) -> Problem:
    """Two-channel pictures that one step moves far."""
    images = pictures(2 * batches, 2, 3, 4)
    masks = (images[:, :1] + pictures(2 * batches, 1, 3, 4, seed=2) > 0).float()
    return Problem(images, masks, (0.5, -1.0, 0.25), lr)


def counted_problem() -> Problem:
    """Two batches of two pictures, whose IoU is 1/2 and 1/4, in every picture as in the batch; nothing is learnt."""
    signs = [[1, 1, -1, -1], [1, 1, 1, 1], [1, 1, 1, 1], [-1, 1, -1, -1]]
    masks = [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]]
    images, masks = (torch.tensor(values).view(4, 1, 2, 2).float() for values in (signs, masks))
    return Problem(4 * images, masks, (1.0, 0.0), lr=0.0)


def counted_pixels(tp: int, fp: int, fn: int, tn: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Clear logits and a mask with these counts of true and false positive and negative pixels, both (1, 1, 1, N)."""
    pred = torch.tensor([4.0] * (tp + fp) + [-4.0] * (fn + tn))
    target = torch.tensor([1.0] * tp + [0.0] * fp + [1.0] * fn + [0.0] * tn)
    return pred.view(1, 1, 1, -1), target.view(1, 1, 1, -1)


def descend(
    problem: Problem, group: int = 1, limit: float = math.inf, forget: bool = True
) -> tuple[torch.Tensor, float]:
    """The weights after SGD with a step every `group` batches, and the mean loss, from the formula of the gradient.

    limit: largest norm of a step's gradient. forget=False: every step uses the gradients of the earlier ones as well.
    """
    x = torch.cat([problem.images, torch.ones_like(problem.masks)], dim=1).double()  # the bias weighs a channel of ones
    w, before, losses = torch.tensor(problem.weights, dtype=torch.float64), 0.0, []
    size = problem.batch_size * group
    for inputs, y in zip(x.split(size), problem.masks.double().split(size)):
        logits = torch.einsum("bchw,c->bhw", inputs, w).unsqueeze(1)  # (B, 1, H, W)
        losses.append(float((F.softplus(logits) - y * logits).mean()))
        gradient = torch.einsum("bkhw,bchw->c", torch.sigmoid(logits) - y, inputs) / y.numel() + before
        gradient = gradient * min(1.0, limit / float(gradient.norm()))
        w = w - problem.lr * gradient
        before = 0.0 if forget else gradient
    return w, sum(losses) / len(losses)


def mean_loss(problem: Problem, weights: tuple[float, ...]) -> float:
    """The cross-entropy of these weights, over all pictures."""
    return descend(Problem(problem.images, problem.masks, tuple(weights), 0.0, len(problem.images)))[1]


def pixel_model(student: Student, weights: tuple[float, ...], **options) -> Instrument:
    """A PixelModel with these weights, the last one its bias."""
    text = "a model (BatchNorm and a 1×1 convolution)" if options.get("batch_norm") else "a model (1×1 convolution)"
    return student.build("PixelModel", text, weight=list(weights[:-1]), bias=weights[-1], **options)


def loader(student: Student, images: torch.Tensor, masks: torch.Tensor, batch_size: int) -> Instrument:
    """A DataLoader over these pictures, in their order."""
    count = math.ceil(len(images) / batch_size)
    text = "a loader of 1 batch" if count == 1 else f"a loader of {count} batches"
    return student.build("batches", text, images=images, masks=masks, batch_size=batch_size)


def batches(student: Student, problem: Problem) -> Instrument:
    """A DataLoader over the problem's pictures."""
    return loader(student, problem.images, problem.masks, problem.batch_size)


def criterion(student: Student) -> Instrument:
    """Binary cross-entropy."""
    return student.build("bce", "BCEWithLogitsLoss()")


def device(student: Student) -> Instrument:
    """The device that the models are on."""
    return student.build("device", "the device")


def train(student: Student, model: Instrument, problem: Problem, loss: StudentModule | None = None, **options):
    """What train_epoch returns for one pass with SGD; `loss` is binary cross-entropy where none is given."""
    sgd = student.build("sgd", f"SGD with lr {problem.lr:g}", model=model, lr=problem.lr)
    return student.run(
        "train_epoch", model, batches(student, problem), sgd, loss or criterion(student), device(student), **options
    )


def validate(student: Student, model: Instrument, problem: Problem):
    """What validate returns."""
    return student.run("validate", model, batches(student, problem), criterion(student), device(student))


def value_of(state: State, name: str) -> torch.Tensor:
    """A value of a model's state, in float32; Mismatch where it is not there."""
    value = state.values.get(name) if isinstance(state.values, dict) else None
    expect(isinstance(value, torch.Tensor), came=f"the model has no {name} any more", expected="the model as it was")
    return value.float()


def calls_of(student: Student, model: Instrument) -> list[dict]:
    """The calls that a model remembers: {"training", "grad", "batch"} of each."""
    calls = student.state(model).calls
    return [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []


def weights_of(student: Student, model: Instrument) -> torch.Tensor:
    """The weights of a PixelModel of two channels as they are now, the bias last."""
    state = student.state(model)
    weights = torch.cat([value_of(state, name).flatten() for name in ("conv.weight", "conv.bias")])
    expect_shape(weights, (3,), "the weights")
    return weights


def pair_of(value) -> tuple[float, float]:
    """(loss, iou) as train_epoch and validate return them; Mismatch for anything else."""
    if not isinstance(value, list) or len(value) != 2:
        came = f"{len(value)} values" if isinstance(value, list) else _shown(value)
        raise Mismatch(came, "two numbers, (loss, iou)", NO_RETURN if value is None else "")
    return expect_number(value[0], "loss"), expect_number(value[1], "iou")


def expect_pair(value, loss: float, iou: float) -> None:
    """Mismatch unless `value` is this (loss, iou)."""
    pair = pair_of(value)
    if _near(pair, (iou, loss)) and not _near(pair, (loss, iou)):
        came, expected = (f"({first:.4f}, {second:.4f})" for first, second in (pair, (loss, iou)))
        raise Mismatch(came, f"(loss, iou) = {expected} (within {TOLERANCE:g})", SWAPPED)
    for came, wanted, what in zip(pair, (loss, iou), ("loss", "iou")):
        expect(
            abs(came - wanted) <= TOLERANCE,
            came=f"{what} {came:.4f}", expected=f"{what} {wanted:.4f} (within {TOLERANCE:g})",
        )


def _near(came: tuple[float, float], wanted: tuple[float, float]) -> bool:
    return all(abs(one - other) <= TOLERANCE for one, other in zip(came, wanted))


def iou_of(student: Student, pred: torch.Tensor, target: torch.Tensor, **options) -> float:
    """The number that calculate_iou returns; Mismatch for anything else."""
    value = student.run("calculate_iou", pred, target, **options)
    if value is None:
        raise Mismatch("nothing (None)", "one number", NO_RETURN)
    return expect_number(value, "the IoU")


def own_iou(student: Student, problem: Problem) -> float:
    """The mean over the batches of what the submission's calculate_iou, right or not, gives for one-channel pictures."""
    logits = problem.weights[0] * problem.images + problem.weights[1]
    pairs = zip(logits.split(problem.batch_size), problem.masks.split(problem.batch_size))
    values = [iou_of(student, *pair) for pair in pairs]
    return sum(values) / len(values)


def history_of(value, epochs: int, keys: tuple[str, ...] = KEYS) -> dict[str, list[float]]:
    """What train_model returned, a dict with a list of `epochs` numbers for each key; Mismatch for anything else."""
    expected = f"a dict with a list {', '.join(keys)}" if len(keys) == 1 else f"a dict with the lists {', '.join(keys)}"
    if not isinstance(value, dict):
        raise Mismatch(_shown(value), expected, NO_RETURN if value is None else "")
    missing = [key for key in keys if key not in value]
    came = f"a dict with {', '.join(value)[:120] or 'nothing'}, without {', '.join(missing)}"
    expect(not missing, came=came, expected=expected)
    for key in keys:
        entries = value[key]
        many = f"with {len(entries)} entries" if isinstance(entries, list) else "that is no list"
        right = isinstance(entries, list) and len(entries) == epochs
        expect(right, came=f"history[{key!r}] {many}", expected=f"{epochs} entries, one an epoch")
    return {key: [expect_number(entry, f"an entry of history[{key!r}]") for entry in value[key]] for key in keys}


def _shown(value) -> str:
    return "nothing (None)" if value is None else f"{type(value).__name__} {value!r}"[:120]
