"""What the hidden checks of the losses share."""

from __future__ import annotations

import torch

from grader.checks.losses import answer, as_number, expect_value, positive, value
from grader.expect import expect, expect_close
from grader.student import StudentModule

WIDE = (torch.float32, torch.float64)


def expect_safe_in_half_precision(loss: StudentModule, pred: torch.Tensor, target: torch.Tensor) -> None:
    """Mismatch unless bfloat16 logits, in autocast and outside, and float32 ones in it give float32's value, in float32 or wider.

    The logits must be such that p and the cross-entropy are exact in bfloat16: the sums are what is judged.
    """
    expected = positive(value(loss, pred, target))
    for values, autocast in [(pred.bfloat16(), False), (pred.bfloat16(), True), (pred, True)]:
        came = answer(loss, values, target, autocast=autocast)
        expect_value(as_number(came), expected, "what float32 gives")
        dtype = came.dtype if isinstance(came, torch.Tensor) else torch.float32
        expect(dtype in WIDE, came=f"a loss in {dtype}", expected="float32 or wider")


def expect_inputs_unchanged(loss: StudentModule, pred: torch.Tensor, target: torch.Tensor) -> None:
    """Mismatch unless the logits and the target are afterwards what they were."""
    reply = loss.student.ask("call", handle=loss.handle, inputs=[pred, target], seed=loss.student.seed)
    came = reply["outputs"]
    expect(isinstance(came, (torch.Tensor, float)), came=f"an answer of type {type(came).__name__}", expected="a loss")
    expect_close(reply["inputs"][0], pred, "pred afterwards")
    expect_close(reply["inputs"][1], target, "target afterwards")
