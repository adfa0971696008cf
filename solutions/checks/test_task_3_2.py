"""Hidden checks of Task 3.2."""

import math

import torch
from torchvision.ops import sigmoid_focal_loss

from grader.checks.inputs import pictures
from grader.checks.losses import (
    alpha_taken,
    expect_finite_gradient,
    expect_slopes,
    expect_value,
    logits,
    mask,
    masks,
    value,
)
from solutions.checks.losses import expect_inputs_unchanged, expect_safe_in_half_precision


def test_equals_torchvision(student):
    """The loss equals torchvision.ops.sigmoid_focal_loss(…, reduction="mean") for any alpha and gamma, and any number of classes.

    Hint: compare with it on one pixel of target 0 and one of target 1, then on a batch.
    """
    for shape, positional, named in [
        ((2, 1, 5, 6), (), {}), ((3, 1, 4, 4), (0.6, 3.0), {}), ((2, 3, 4, 5), (), {"alpha": 0.9, "gamma": 1.0}),
        ((1, 2, 3, 3), (), {"gamma": 5.0}),
    ]:
        loss = student.make("FocalLoss", *positional, **named)
        arguments = dict(zip(("alpha", "gamma"), positional)) | named
        pred, target = 3 * pictures(*shape), masks(*shape)
        expected = sigmoid_focal_loss(pred.double(), target.double(), reduction="mean", **arguments)
        expect_value(value(loss, pred, target), expected.item())


def test_gamma_below_one_has_a_finite_gradient(student):
    """With gamma = 0.5 the value is right and the gradient finite, also at pixels that are right beyond float32's precision.

    Hint: the slope of x ** 0.5 at x = 0 is infinite, and infinity times 0 is NaN; work with logarithms, or keep x away from 0.
    """
    alpha, loss = alpha_taken(student, 1), student.make("FocalLoss", gamma=0.5)
    expect_value(value(loss, logits(0), mask(1)), alpha * math.sqrt(0.5) * math.log(2), f"{alpha:g} · √0.5 · ln 2")
    for logit, target in [(100, 1), (-100, 0), (40, 1), (17, 1), (100, 0)]:
        expect_finite_gradient(loss, logits(logit), mask(target))


def test_gradient_is_right(student):
    """The gradient at each logit is the slope of the loss, measured by moving that logit a little.

    Hint: (1 − p_t)^γ depends on the logits as well as the cross-entropy; is one of them detached?
    """
    for named in ({}, {"alpha": 0.6, "gamma": 3.0}):
        loss = student.make("FocalLoss", **named)
        for logit, target in [(0.5, 1), (-1.5, 1), (0.7, 0), (-2, 0)]:
            expect_slopes(loss, logits(logit), mask(target))


def test_inputs_stay_unchanged(student):
    """pred and target have the same values afterwards.

    Hint: methods that end in _ and operators such as *= change the caller's tensor.
    """
    expect_inputs_unchanged(student.make("FocalLoss"), pictures(2, 1, 3, 3), masks(2, 1, 3, 3))


def test_half_precision_is_safe(student):
    """Half-precision logits give the loss that float32 gives: the mean runs in float32 or wider.

    Hint: bfloat16 knows three digits and float16 ends at 65504, but a mask has more pixels; convert before you take the mean.
    """
    target = torch.ones(1, 1, 32, 32)
    pred = torch.full((1, 1, 32, 32), 100.0)
    pred.view(-1)[:257] = -32.0  # 257 pixels of 1024 with the loss 0.25 · 1² · 32; their mean has ten digits in binary
    expect_safe_in_half_precision(student.make("FocalLoss"), pred, target)
