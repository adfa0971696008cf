"""Hidden checks of Task 2.4."""

import torch
import torch.nn.functional as F

from grader.checks.test_task_2_4 import batch, close, norms, rows, tiny_unet
from grader.expect import Mismatch, expect, expect_number
from grader.instruments import TinyUNet
from grader.student import StudentError

ENDS = {"first_encoder_grad": "encoders.0.", "last_decoder_grad": "decoders.2."}  # of a TinyUNet of three levels


def test_norms_equal_those_of_one_backward_pass(student):
    """Each norm is the L2 norm of the parameter's gradient after one backward pass of criterion(model(images), masks).

    Hint: of the gradient, not of the weights: the square root of the sum of its squares; and of the loss that was handed in.
    """
    for levels, reduction in [(2, "mean"), (3, "sum")]:
        came = norms(student, tiny_unet(student, levels=levels), reduction=reduction)
        for name, wanted in _expected(levels=levels, reduction=reduction).items():
            norm = came.get(name, wanted)  # a missing name is a public check's business
            expect(close(norm, wanted), came=f"{norm:.5g} for {name}", expected=f"{wanted:.5g}")
        expect(bool(came), came="no norms", expected="one for every parameter")


def test_rows_hold_the_gradients_of_both_ends(student):
    """first_encoder_grad and last_decoder_grad are the norms of the gradients of encoders[0] and of decoders[-1].

    Hint: the name of a parameter begins with its block's; the squares of norms add up, norms do not. How many decoders are there?
    """
    for width in (2, 3):
        row = _row(student, width=width, levels=3)
        known = [_expected(width=width, levels=3), _own_norms(student, width)]
        for key, block in ENDS.items():
            norm = expect_number(row.get(key), key)
            wanted = [value for values in known for value in _block_norms(values, block)]
            expect(
                norm > 0 and any(close(norm, value) for value in wanted),
                came=f"{key} is {norm:.5g}",
                expected=f"{wanted[0]:.5g}",
            )


def test_parameters_are_counted(student):
    """parameters is the count of all numbers that the model learns, weights and biases.

    Hint: a parameter of shape (8, 3, 3, 3) holds 216 numbers; numel() says so.
    """
    for width in (2, 3):
        came = expect_number(_row(student, width=width).get("parameters"), "parameters")
        wanted = sum(parameter.numel() for parameter in TinyUNet(width=width).parameters())
        expect(came == wanted, came=f"{came:g} parameters", expected=f"{wanted}")


def _expected(width: int = 2, levels: int = 2, reduction: str = "mean") -> dict[str, float]:
    """The norms of one backward pass through the judge's own copy of `tiny_unet`."""
    model, (images, masks) = TinyUNet(seed=5, width=width, levels=levels), batch()
    F.binary_cross_entropy_with_logits(model(images), masks, reduction=reduction).backward()
    return {name: float(parameter.grad.norm()) for name, parameter in model.named_parameters()}


def _own_norms(student, width: int) -> dict[str, float]:
    """What the submission's gradient_norms says: an error in it costs there, and not again in the rows that are made of it."""
    try:
        own = norms(student, tiny_unet(student, width=width, levels=3))
    except (Mismatch, StudentError):
        return {}
    return own if len(set(own.values())) > 1 else {}  # one number for everything was never measured


def _block_norms(values: dict[str, float], block: str) -> list[float]:
    """The norms that may stand for a block: over all of its parameters, or of its first weight alone."""
    own = [norm for name, norm in values.items() if name.startswith(block)]
    return [torch.tensor(own, dtype=torch.float64).norm().item(), values.get(f"{block}weight", 0.0)]


def _row(student, **fields) -> dict:
    """The row of one TinyUNet, whatever name it has."""
    came = rows(student, {"net": tiny_unet(student, **fields)})
    expect(len(came) == 1, came=f"{len(came)} rows", expected="one for the one model")
    return came[0]
