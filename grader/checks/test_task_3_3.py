"""Public checks of Task 3.3: CombinedLoss, with the submission's own DiceLoss and FocalLoss as its terms."""

import math

import torch

from grader.checks.inputs import pictures
from grader.checks.losses import (
    TERMS,
    answer,
    as_number,
    expect_value,
    expect_weighted_sum,
    logits,
    mask,
    masks,
    only,
    positive,
    value,
)
from grader.expect import expect
from grader.student import StudentError, StudentModule

SHAPE = (2, 1, 4, 5)


def test_default_is_half_cross_entropy_half_dice(student):
    """Without arguments the loss is half the binary cross-entropy of the logits plus half the Dice loss.

    Hint: one channel of logits asks for the binary cross-entropy; CrossEntropyLoss compares channels, and one channel alone
    always gives 0.
    """
    expect_weighted_sum(student, {"ce": 0.5, "dice": 0.5}, student.make("CombinedLoss"))


def test_each_term_alone(student):
    """With one weight of 1 the loss is that term: "ce" binary cross-entropy of logits, "dice" and "focal" your own losses.

    Hint: which cross-entropy fits one channel of logits? Dice and focal have their default arguments; absent weights count as 0.
    """
    for name in TERMS:
        expect_weighted_sum(student, {name: 1.0}, student.make("CombinedLoss", {name: 1.0}))


def test_weights_add_up(student):
    """The loss is the sum of weight times term, whatever the weights add up to.

    Hint: multiply and add, no more: the weights are not made to sum up to 1, and the sum is not divided by the number of terms.
    """
    pred, target = pictures(*SHAPE), masks(*SHAPE)
    alone = {name: value(student.make("CombinedLoss", only(name)), pred, target) for name in TERMS}
    weights = {"ce": 0.5, "dice": 1.5, "focal": 4.0}
    positive(max(alone.values()))
    working = " + ".join(f"{weight:g} · {alone[name]:.6g} ({name} alone)" for name, weight in weights.items())
    came = value(student.make("CombinedLoss", weights=weights), pred, target)
    expect_value(came, sum(weight * alone[name] for name, weight in weights.items()), working)


def test_terms_without_weight_are_left_out(student):
    """A term whose weight is zero or absent is not computed: infinite logits, NaN to cross-entropy, do no harm to Dice alone.

    Hint: 0 times NaN is NaN; ask for the weight before you compute the term.
    """
    pred, target = pictures(*SHAPE), masks(*SHAPE)
    weighings = [{"dice": 0.75}, only("dice", 0.75)]
    absent, zero = (value(student.make("CombinedLoss", weights), pred, target) for weights in weighings)
    expect_value(zero, positive(absent), "the loss without the terms that weigh 0")
    pred, target = logits(math.inf, math.inf, -math.inf, -math.inf), mask(1, 0, 1, 0)
    alone = _at_infinity(student.make("DiceLoss"), pred, target)
    if alone is not None and math.isfinite(alone):
        for weights in weighings:
            came = _at_infinity(student.make("CombinedLoss", weights), pred, target)
            expected = "a number, as your DiceLoss() gives it"
            expect(came is None or math.isfinite(came), came=f"the loss is {came}", expected=expected)


def test_weights_stay_unchanged(student):
    """The dict that was given keeps its entries, and a loss gives the same value when it is called or built again.

    Hint: pop, del and assignments change the caller's dict, or the default that every later CombinedLoss() shares.
    """
    pred, target = pictures(*SHAPE), masks(*SHAPE)
    for given in [{"ce": 0.25, "focal": 2.0}, {"ce": 0.25, "dice": 0.5, "focal": 0.0}]:
        loss = student.make("CombinedLoss", given)
        after = loss.arguments_after[0]
        expect(after == [given], came=f"the arguments are {after} afterwards", expected=str([given]))
        first = positive(value(loss, pred, target))
        expect_value(value(loss, pred, target), first, "the first call's", "the second call's loss")
    first = positive(value(student.make("CombinedLoss"), pred, target))
    expect_value(value(student.make("CombinedLoss"), pred, target), first, "the first one's", "a second CombinedLoss()'s loss")


def _at_infinity(loss: StudentModule, pred: torch.Tensor, target: torch.Tensor) -> float | None:
    """The loss, NaN too; None where the code refuses infinite logits, which is its right."""
    try:
        came = answer(loss, pred, target)
    except StudentError:
        return None
    plain = isinstance(came, torch.Tensor) and came.numel() == 1 and came.is_floating_point() and not came.is_meta
    return came.item() if plain else as_number(came)
