"""Hidden checks of Task 3.3."""

from grader.checks.inputs import pictures
from grader.checks.losses import (
    TERMS,
    expect_finite_gradient,
    expect_slopes,
    expect_value,
    expect_weighted_sum,
    logits,
    mask,
    masks,
    only,
    value,
)
from grader.expect import expect

WEIGHTS = {"ce": 0.5, "dice": 1.5, "focal": 4.0}


def test_gradient_is_right(student):
    """The gradient at each logit is the slope of the whole sum, measured by moving that logit a little.

    Hint: a term that is detached, or taken out of torch by .item(), adds to the value and not to the gradient.
    """
    for shape in [(2, 1, 2, 2), (1, 2, 1, 3)]:
        expect_slopes(student.make("CombinedLoss", WEIGHTS), pictures(*shape), masks(*shape))


def test_several_classes(student):
    """With several channels the cross-entropy is still the binary one, the mean over all channels and pixels.

    Hint: each channel is a yes-or-no question of its own, as it is for Dice and focal.
    """
    for name in TERMS:
        expect_weighted_sum(student, only(name), student.make("CombinedLoss", only(name)), channels=3)


def test_large_logits_stay_finite(student):
    """At logits of ±60 and ±100 the cross-entropy has the right value, and the gradient of the sum is finite and not zero.

    Hint: sigmoid rounds to 1 beyond 17, and then no logarithm finds the way back; there is a cross-entropy that takes logits.
    """
    pred, target = logits(100, -100, 60, -60), mask(0, 1, 0, 1)
    alone = student.make("CombinedLoss", only("ce"))
    expect_value(value(alone, pred, target), 80, "the mean of 100, 100, 60 and 60")
    expect_value(value(alone, -pred, target), 0)
    for loss in (alone, student.make("CombinedLoss", WEIGHTS)):
        came = expect_finite_gradient(loss, pred, target)
        mends = came is None or bool((came != 0).all())
        expect(mends, came="a gradient of zero at pixels that are wrong", expected="a gradient that mends them")
        expect_finite_gradient(loss, -pred, target)
