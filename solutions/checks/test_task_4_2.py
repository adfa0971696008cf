"""Hidden checks of Task 4.2."""

import torch
from torch.nn import functional as F

from grader.checks.losses import masks
from grader.checks.test_task_4_2 import WEIGHTS, bce, criterion, mean_of, several, value
from grader.checks.losses import expect_value
from grader.expect import expect, expect_close
from grader.servant import cotangents


def test_gradient_is_right(student):
    """Every output gets its weighted gradient, and any criterion is used as it is.

    Hint: an output that is detached, or a loss made a number by .item(), adds to the value and not to the gradient.
    """
    outputs, target = several(3), masks(2, 1, 4, 5)
    for reduction in ("mean", "sum"):
        loss = student.make("DeepSupervisionLoss", criterion(student, reduction), weights=WEIGHTS)
        expect_value(value(loss, outputs, target), mean_of([bce(o, target, reduction) for o in outputs], WEIGHTS), "the weighted mean")
        found = loss.vjp(*outputs, constant=[target], listed=True)
        leaves = [output.clone().requires_grad_() for output in outputs]
        wanted = sum(w * F.binary_cross_entropy_with_logits(o, target, reduction=reduction) for w, o in zip(WEIGHTS, leaves))
        scale = cotangents([found.outputs[0]], student.seed)[0].reshape(()) / sum(WEIGHTS)
        for number, (came, expected) in enumerate(zip(found.inputs, torch.autograd.grad(wanted * scale, leaves)), start=1):
            expect(came is not None, came=f"no gradient at output {number}", expected="a gradient")
            largest = expected.abs().max()
            expect_close(came / largest, expected / largest, f"the gradient at output {number}, by its largest value,")
