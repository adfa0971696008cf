"""Public checks of Task 3.2: FocalLoss."""

import math

import torch
from torch.nn import functional as F

from grader.checks.inputs import pictures
from grader.checks.losses import (
    VALUE_FIRST,
    alpha_taken,
    expect_finite_gradient,
    expect_number_with_gradient,
    expect_value,
    logits,
    mask,
    masks,
    value,
)
from grader.expect import expect


def test_loss_is_one_number_with_a_gradient(student):
    """The loss is one number, a tensor without dimensions, and a gradient reaches the logits.

    Hint: each pixel has a focal loss of its own, and the result is their mean.
    """
    for shape in [(2, 1, 4, 5), (2, 3, 4, 5)]:
        expect_number_with_gradient(student.make("FocalLoss"), pictures(*shape), masks(*shape))


def test_value_by_hand(student):
    """One pixel gives α_t · (1 − p_t)^γ · (−ln p_t), p_t being the probability of the right answer: p for target 1, 1 − p for 0.

    Hint: work this pixel out by hand and print p_t, (1 − p_t)^γ and the cross-entropy: the first that differs shows the place.
    """
    loss, sure = student.make("FocalLoss"), math.log(3)  # p = 3/4
    for logit, target, right in [(sure, 1, 3 / 4), (-sure, 1, 1 / 4), (sure, 0, 1 / 4), (-sure, 0, 3 / 4)]:
        alpha_t = alpha_taken(student, target)
        working = f"{alpha_t:g} · (1 − {right:g})² · (−ln {right:g})"
        expect_value(value(loss, logits(logit), mask(target)), alpha_t * (1 - right) ** 2 * -math.log(right), working)


def test_gamma_zero_is_weighted_cross_entropy(student):
    """With gamma = 0 no pixel is turned down, and where all targets are 1, alpha times the mean cross-entropy is left.

    Hint: a power of 0 makes 1 of everything; is gamma the exponent, and is the mean taken last, over all pixels?
    """
    pred, target = pictures(2, 1, 4, 5), torch.ones(2, 1, 4, 5)
    alpha = alpha_taken(student, 1)
    mean = F.binary_cross_entropy_with_logits(pred, target).item()
    expect_value(value(student.make("FocalLoss", gamma=0.0), pred, target), alpha * mean, f"{alpha:g} · {mean:.6g}")


def test_alpha_weighs_the_positive_pixels(student):
    """Pixels of target 1 are weighed by alpha and pixels of target 0 by 1 − alpha, all else being equal.

    Hint: alpha_t is a tensor that looks at the target of each pixel.
    """
    for alpha, loss in [(0.25, student.make("FocalLoss")), (0.8, student.make("FocalLoss", alpha=0.8))]:
        negative, positive = value(loss, logits(0), mask(0)), value(loss, logits(0), mask(1))
        expected = alpha / (1 - alpha)
        expect(
            negative > 0 and abs(positive / negative - expected) <= 1e-4,
            came=f"{positive:.4g} for target 1 and {negative:.4g} for target 0, both at logit 0",
            expected=f"the first to be {expected:.4g} times the second, alpha / (1 − alpha)",
        )


def test_large_logits_stay_finite(student):
    """At logits of ±100 the loss has the right value, and its gradient is finite.

    Hint: log(p + ε), as in Algorithm 9 of the handout, is wrong where p rounds to 0; there is a cross-entropy that takes logits.
    """
    loss = student.make("FocalLoss")
    for logit, target, cross_entropy in [(100, 0, 100), (-100, 1, 100), (100, 1, 0), (-100, 0, 0)]:
        alpha_t = alpha_taken(student, target)
        working = f"{alpha_t:g} · 1² · 100" if cross_entropy else ""
        came = value(loss, logits(logit), mask(target))
        cut = 4 < came / alpha_t < 48  # −log ε, for an ε of 0.01 down to 1e-20
        hint = VALUE_FIRST if math.isfinite(came) and not cut else ""
        expect_value(came, alpha_t * cross_entropy, working, hint=hint)
        expect_finite_gradient(loss, logits(logit), mask(target))
