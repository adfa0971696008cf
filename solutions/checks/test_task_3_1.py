"""Hidden checks of Task 3.1."""

import math

import torch

from grader.checks.inputs import pictures
from grader.checks.losses import expect_slopes, expect_value, logits, mask, masks, three_classes, value
from solutions.checks.losses import expect_inputs_unchanged, expect_safe_in_half_precision

LOSSES = (0, 3 / 4, 1)  # of three_classes()


def test_smooth_is_used(student):
    """smooth stands above and below the fraction, with the value that was given.

    Hint: the argument is stored and used in forward, not the default written out again; numerator and denominator get it.
    """
    pred, target = logits(math.log(3), -math.log(3), 0, math.log(3)), mask(1, 0, 1, 0)  # Σpy = 1.25, Σp = 2.25, Σy = 2
    for loss, smooth in [(student.make("DiceLoss", 1.0), 1), (student.make("DiceLoss", smooth=3.5), 3.5)]:
        expect_value(value(loss, pred, target), 1 - (2.5 + smooth) / (4.25 + smooth), f"1 − (2.5 + {smooth}) / (4.25 + {smooth})")


def test_class_weights_weigh_the_mean(student):
    """class_weights, a list or a tensor, make the mean over the classes a weighted one: Σ w·loss / Σ w.

    Hint: weights twice as large must not give a loss twice as large.
    """
    pred, target = three_classes()
    for weights in [[1.0, 2.0, 5.0], torch.tensor([2.0, 1.0, 1.0]), [3, 0, 1], torch.tensor([0.2, 0.2, 0.1])]:
        numbers = weights.tolist() if isinstance(weights, torch.Tensor) else weights
        expected = sum(w * loss for w, loss in zip(numbers, LOSSES)) / sum(numbers)
        expect_value(value(student.make("DiceLoss", 1e-6, class_weights=weights), pred, target), expected)


def test_gradient_is_right(student):
    """The gradient at each logit is the slope of the loss, measured by moving that logit a little.

    Hint: each of Σ p·y and Σ p depends on the logits; is one of them detached, or cut off at a threshold?
    """
    for shape in [(2, 1, 2, 2), (1, 2, 1, 3)]:
        expect_slopes(student.make("DiceLoss"), pictures(*shape), masks(*shape))


def test_inputs_stay_unchanged(student):
    """pred and target have the same values afterwards.

    Hint: methods that end in _ and operators such as *= change the caller's tensor.
    """
    expect_inputs_unchanged(student.make("DiceLoss"), pictures(2, 1, 3, 3), masks(2, 1, 3, 3))


def test_half_precision_is_safe(student):
    """Half-precision logits give the loss that float32 gives: the sums run in float32 or wider.

    Hint: bfloat16 knows three digits and float16 ends at 65504, but a mask has more pixels; convert before you sum.
    """
    pred = torch.full((1, 1, 32, 32), -100.0)
    pred.view(-1)[:514] = 0.0  # p = 1/2 at 514 pixels, else 0: Σp = 257, where bfloat16 knows 256
    target = torch.zeros(1, 1, 32, 32)
    target.view(-1)[:256] = 1.0
    expect_safe_in_half_precision(student.make("DiceLoss"), pred, target)
