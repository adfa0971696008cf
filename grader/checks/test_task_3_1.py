"""Public checks of Task 3.1: DiceLoss."""

import math

import torch

from grader.checks.inputs import pictures
from grader.checks.losses import (
    SURE,
    VALUE_FIRST,
    expect_finite_gradient,
    expect_number_with_gradient,
    expect_value,
    logits,
    mask,
    masks,
    probe,
    three_classes,
    value,
)
from grader.expect import Mismatch
from grader.student import StudentModule


def test_loss_is_one_number_with_a_gradient(student):
    """The loss is one number, a tensor without dimensions, and a gradient reaches the logits.

    Hint: the sums go over batch, height and width, the mean over the classes; stay in torch, and do not cut off at a threshold.
    """
    for shape in [(2, 1, 4, 5), (2, 3, 4, 5)]:
        expect_number_with_gradient(student.make("DiceLoss"), pictures(*shape), masks(*shape))


def test_perfect_prediction_gives_zero(student):
    """A prediction that is right everywhere gives 0, one that is wrong everywhere gives 1.

    Hint: which two masks does the overlap compare? And the loss is small where the Dice coefficient is large.
    """
    loss, target = _dice(student), mask(1, 1, 0, 0)
    right = SURE * (2 * target - 1)
    _expect_loss(loss, right, target, 0.0)
    _expect_loss(loss, -right, target, 1.0)


def test_value_by_hand(student):
    """The loss is 1 − 2·Σ p·y / (Σ p + Σ y) with p = sigmoid(logit), where smooth is too small to be seen.

    Hint: work this input out by hand and print p, Σ p·y, Σ p and Σ y in forward: the first that differs shows the place.
    """
    pred = logits(math.log(3), -math.log(3), 0, math.log(3))  # p = 3/4, 1/4, 1/2, 3/4
    overlap, predicted, actual = 3 / 4 + 1 / 2, 3 / 4 + 1 / 4 + 1 / 2 + 3 / 4, 2
    expected, working = 1 - 2 * overlap / (predicted + actual), f"1 − 2·{overlap:g} / ({predicted:g} + {actual})"
    _expect_loss(student.make("DiceLoss"), pred, mask(1, 0, 1, 0), expected, working)


def test_empty_masks_agree(student):
    """Where the target is empty, a prediction that is sure of nothing gives 0, and one that is sure of a mask gives 1.

    Hint: two empty masks make 0/0; what does smooth add, and in how many places?
    """
    loss, nothing = _dice(student), mask(0, 0, 0, 0)
    _expect_loss(loss, logits(-60, -60, -60, -60), nothing, 0.0)
    _expect_loss(loss, logits(60, 60, -60, -60), nothing, 1.0, "1 − smooth / (2 + 0 + smooth)")
    for pred in (logits(-60, -60, -60, -60), logits(1, -1, 0, 2)):
        expect_finite_gradient(loss, pred, nothing)


def test_large_logits_stay_finite(student):
    """At logits of ±100 the loss has the right value, and its gradient is finite.

    Hint: exp(100) does not fit in float32; torch's own sigmoid knows how to avoid it.
    """
    loss, pred, target = _dice(student), logits(100, 100, -100, -100), mask(1, 0, 1, 0)
    _expect_loss(loss, pred, target, 1 / 2, "1 − 2·1 / (2 + 2)", finite_hint=VALUE_FIRST)
    expect_finite_gradient(loss, pred, target)


def test_pooled_over_the_batch(student):
    """The sums go over all pixels of all pictures together; there is no Dice of each picture, averaged afterwards.

    Hint: over which dimensions do you sum, and what is left of the batch's dimension?
    """
    target = torch.cat([mask(1, 0, 0, 0, 0, 0, 0, 0), mask(1, 1, 1, 1, 1, 1, 1, 1)])
    pred = SURE * (2 * torch.cat([mask(1, 0, 0, 0, 0, 0, 0, 0), mask(0, 0, 0, 0, 0, 0, 0, 0)]) - 1)
    working = "1 − 2·1 / (1 + 9) over both pictures; each alone gives 0 and 1"
    _expect_loss(_dice(student), pred, target, 1 - 2 * 1 / (1 + 9), working)


def test_several_classes_are_averaged(student):
    """With several channels each has a loss 1 − dice_c of its own, from its own sigmoid, and the result is their mean.

    Hint: Algorithm 8 of the handout adds up dice_c where a loss is wanted: what would a perfect prediction get from it?
    """
    working = "the mean of 0, 0.75 and 1, the losses of the three classes"
    _expect_loss(_dice(student), *three_classes(), (0 + 3 / 4 + 1) / 3, working)


def _dice(student) -> StudentModule:
    """The loss with the smooth of the task said aloud: another default is the business of test_value_by_hand alone."""
    return student.make("DiceLoss", smooth=1e-6)


def _expect_loss(
    loss: StudentModule, pred: torch.Tensor, target: torch.Tensor, expected: float, working: str = "", finite_hint: str = ""
) -> None:
    """expect_value, with another hint where logits were taken for probabilities, else `finite_hint` where nothing overflowed."""
    came = value(loss, pred, target)
    try:
        expect_value(came, expected, working)
    except Mismatch as mismatch:
        right = mask(1, 1, 0, 0)
        beyond = abs(probe(loss.student, "DiceLoss", SURE * (2 * right - 1), right)) > 2  # without a sigmoid −39
        finite = finite_hint if math.isfinite(came) else ""
        mismatch.hint = "a Dice loss lies between 0 and 1: are these probabilities?" if beyond else finite
        raise
