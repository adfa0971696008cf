"""Facets of Tasks 3.1 to 3.3: losses."""

from __future__ import annotations

import math

import torch

from grader.checks.inputs import pictures
from grader.checks.losses import logits, mask, masks
from grader.student import Student, StudentError, StudentModule
from solutions.facets.asking import Subject, answer, attempt, inputs_after, same

BINARY = 2 * pictures(3, 1, 4, 5), masks(3, 1, 4, 5)
CLASSES = 2 * pictures(2, 3, 4, 5), masks(2, 3, 4, 5)
SURE = 100.0


def _slopes(loss: StudentModule, pred: torch.Tensor, target: torch.Tensor) -> object:
    """The loss and its gradient at the logits, or that there is none."""
    try:
        reply = loss.student.ask("vjp", handle=loss.handle, inputs=[pred], constant=[target], seed=0)
    except StudentError as error:
        if error.type != "NoGradient":
            raise
        return [answer(loss, pred, target), "no gradient"]
    return [reply["outputs"], reply["inputs"]]


def _values(loss: StudentModule, pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> list:
    return [attempt(lambda pair=pair: answer(loss, *pair)) for pair in pairs]


def _verdict(value: object, right: float) -> str:
    """How a loss compares with the right one, where its number depends on how the mistake is written."""
    value = _number(value)
    if not isinstance(value, (int, float)):
        return str(value)[:20]
    if not math.isfinite(value):
        return "not finite"
    if abs(value - right) <= 1e-5 * max(1.0, abs(right)):
        return "right"
    return "less" if value < right else "more"


def _number(value: object) -> object:
    """A tensor of one element as a number: whether it is one is asked elsewhere."""
    return value.item() if isinstance(value, torch.Tensor) and value.numel() == 1 else value


def _kind(value: object) -> str:
    if isinstance(value, torch.Tensor):
        return "finite" if bool(torch.isfinite(value).all()) else "not finite"
    return type(value).__name__


# ---- 3.1: Dice ----


def dice_numbers(student: Student) -> object:
    """Loss and gradient of one class."""
    return _slopes(student.make("DiceLoss"), *BINARY)


def dice_of_classes(student: Student) -> object:
    """Loss and gradient of three classes."""
    return _slopes(student.make("DiceLoss"), *CLASSES)


def dice_smoothed(student: Student) -> object:
    """The loss with a smooth that is not small."""
    return answer(student.make("DiceLoss", 1.5), *BINARY)


def dice_of_empty_masks(student: Student) -> object:
    """The loss where mask or prediction or both are empty."""
    loss, nothing, something = student.make("DiceLoss"), torch.zeros(1, 1, 2, 3), torch.ones(1, 1, 2, 3)
    pairs = [(SURE * something, nothing), (-SURE * something, something), (SURE * something, something), (nothing, nothing)]
    both_empty = attempt(lambda: answer(loss, -SURE * something, nothing))
    return [_verdict(both_empty, 0.0) == "right", *_values(loss, pairs)]


def dice_of_sure_logits(student: Student) -> object:
    """Whether loss and gradient are finite for logits of ±100."""
    pred, target = SURE * logits(1, -1, 1, -1), mask(1, 0, 0, 1)
    return [[_kind(item) for item in part] if isinstance(part, list) else _kind(part) for part in _slopes(student.make("DiceLoss"), pred, target)]


def dice_weighted(student: Student) -> object:
    """The loss with class weights, a tensor and a list."""
    weights = [torch.tensor([1.0, 2.0, 5.0]), [2.0, 2.0, 2.0]]
    return [attempt(lambda w=w: _number(answer(student.make("DiceLoss", class_weights=w), *CLASSES))) for w in weights]


def dice_inputs(student: Student) -> object:
    """Logits and target after a call."""
    return inputs_after(student.make("DiceLoss"), *BINARY)


def dice_of_half_precision(student: Student) -> object:
    """The loss of bfloat16 logits whose sum bfloat16 cannot hold."""
    pred, target = torch.full((1, 1, 32, 32), -SURE), torch.zeros(1, 1, 32, 32)
    pred.view(-1)[:514], target.view(-1)[:256] = 0.0, 1.0
    return _verdict(answer(student.make("DiceLoss"), pred.bfloat16(), target), 1 - 256 / 513)


# ---- 3.2: focal ----


def focal_numbers(student: Student) -> object:
    """Loss and gradient with the defaults."""
    return _slopes(student.make("FocalLoss"), *BINARY)


def focal_of_classes(student: Student) -> object:
    """Loss and gradient of three classes."""
    return _slopes(student.make("FocalLoss"), *CLASSES)


def focal_arguments(student: Student) -> object:
    """The loss for other alpha and gamma."""
    losses = [student.make("FocalLoss", *arguments) for arguments in [(0.6, 3.0), (0.25, 1.0), (0.9, 2.0), (0.5, 0.0)]]
    return [attempt(lambda loss=loss: answer(loss, *BINARY)) for loss in losses]


def focal_of_large_logits(student: Student) -> object:
    """How the loss compares with the right one where the probability comes near to 0: -12, -40 and -100 at a pixel of the object."""
    loss = student.make("FocalLoss")
    found = [attempt(lambda x=x: answer(loss, logits(-x), mask(1))) for x in (12.0, 40.0, SURE)]
    right = [0.25 * (1 - 1 / (1 + math.exp(x))) ** 2 * math.log1p(math.exp(x)) for x in (12.0, 40.0, SURE)]
    return [_verdict(value, number) for value, number in zip(found, right)]


def focal_of_sure_logits(student: Student) -> object:
    """Whether loss and gradient are finite where the prediction is sure, and where gamma is below 1."""
    pred, target = SURE * logits(1, -1, 1, -1), mask(1, 0, 0, 1)
    parts = [_slopes(student.make("FocalLoss", 0.25, gamma), pred, target) for gamma in (2.0, 0.5)]
    return [[_kind(item) for item in (loss, *gradients)] for loss, gradients in parts]


def focal_of_fractions(student: Student) -> object:
    """Loss and gradient of logits between 0 and 1, which a loss for probabilities takes without a word."""
    return _slopes(student.make("FocalLoss"), torch.sigmoid(BINARY[0]), BINARY[1])


def focal_inputs(student: Student) -> object:
    """Logits and target after a call."""
    return inputs_after(student.make("FocalLoss"), *BINARY)


def focal_of_half_precision(student: Student) -> object:
    """The loss of bfloat16 logits whose sum bfloat16 cannot hold."""
    pred, target = torch.full((1, 1, 32, 32), -SURE), torch.zeros(1, 1, 32, 32)
    pred.view(-1)[:257] = 0.0
    right = 257 * 0.75 * 0.25 * math.log(2) / 1024
    return _verdict(answer(student.make("FocalLoss"), pred.bfloat16(), target), right)


# ---- 3.3: combined ----

TERMS = ("ce", "dice", "focal")


def combined_default(student: Student) -> object:
    """Loss and gradient with the default weights."""
    return _slopes(student.make("CombinedLoss"), *BINARY)


def combined_terms(student: Student) -> object:
    """Each term alone, the others written out as 0."""
    found = []
    for name in TERMS:
        loss = student.make("CombinedLoss", {**dict.fromkeys(TERMS, 0.0), name: 1.0})
        found.append(attempt(lambda loss=loss: _slopes(loss, *BINARY)))
    return found


def combined_sum(student: Student) -> object:
    """All three terms with weights that do not add up to 1."""
    losses = [student.make("CombinedLoss", {"ce": 0.5, "dice": 1.5, "focal": 4.0}) for _ in range(2)]
    return [_slopes(losses[0], *BINARY), attempt(lambda: answer(losses[1], *CLASSES))]


def combined_absent(student: Student) -> object:
    """One term named and no other."""
    found = [attempt(lambda name=name: answer(student.make("CombinedLoss", {name: 2.0}), *BINARY)) for name in TERMS]
    return ["a key is missed" if "KeyError" in str(value) else value for value in found]


def combined_not_computed(student: Student) -> object:
    """Dice alone at infinite logits, where a cross-entropy is no number."""
    pred, target = math.inf * logits(1, -1, 1), mask(1, 0, 1)
    loss = student.make("CombinedLoss", {"ce": 0.0, "dice": 1.0, "focal": 0.0})
    return _kind(answer(loss, pred, target))


def combined_of_sure_logits(student: Student) -> object:
    """The cross-entropy at a logit of -100, where a logarithm of the probability is cut."""
    loss = student.make("CombinedLoss", {"ce": 1.0})
    values = [attempt(lambda x=x: answer(loss, logits(-x), mask(1))) for x in (30.0, 2 * SURE)]
    return [_verdict(value, right) for value, right in zip(values, (30.0, 2 * SURE))]


def combined_of_fractions(student: Student) -> object:
    """Loss and gradient of logits between 0 and 1, which a loss for probabilities takes without a word."""
    return _slopes(student.make("CombinedLoss", {"ce": 1.0}), torch.sigmoid(BINARY[0]), BINARY[1])


def combined_weights(student: Student) -> object:
    """The dict of weights after building, and whether a second call gives the loss of the first."""
    built = student.make("CombinedLoss", {"ce": 0.5, "dice": 0.5})
    first = attempt(lambda: answer(built, *BINARY))
    return [built.arguments_after[0], same(attempt(lambda: answer(built, *BINARY)), first)]


SUBJECTS = {
    "3.1": [
        Subject("DiceLoss", (dice_numbers, dice_of_classes)),
        Subject("smooth", (dice_smoothed, dice_of_empty_masks), uses=("DiceLoss",)),
        Subject("class_weights", (dice_weighted,), uses=("DiceLoss", "smooth")),
        Subject("range", (dice_of_sure_logits, dice_of_half_precision), uses=("DiceLoss", "smooth")),
        Subject("inputs", (dice_inputs,), uses=("DiceLoss",)),
    ],
    "3.2": [
        Subject("FocalLoss", (focal_numbers, focal_of_classes, focal_of_fractions)),
        Subject("arguments", (focal_arguments,), uses=("FocalLoss",)),
        Subject("range", (focal_of_large_logits, focal_of_sure_logits, focal_of_half_precision), uses=("FocalLoss", "arguments")),
        Subject("inputs", (focal_inputs,), uses=("FocalLoss",)),
    ],
    "3.3": [
        Subject("terms", (combined_terms, combined_sum, combined_of_sure_logits, combined_of_fractions)),
        Subject("default", (combined_default,), uses=("terms",)),
        Subject("absent", (combined_absent, combined_not_computed), uses=("terms",)),
        Subject("weights", (combined_weights,), uses=("terms",)),
    ],
}
