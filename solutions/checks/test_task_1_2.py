"""Hidden checks of Task 1.2."""

import torch

from grader.checks.inputs import pictures
from grader.expect import expect_close
from solutions.checks.matching import expect_equal
from solutions.checks.placement import expect_follows_dtype_and_device
from solutions.checks.references import decoder_references

CHANNELS = (12, 5, 7)  # in, skip, out


def test_transpose_equals_the_reference(student):
    """With the same weights, the block with transposed convolution gives the same numbers and gradients as the handout's.

    Hint: ConvTranspose2d with kernel 2 and stride 2, concatenation with the skip, DoubleConv; nothing between.
    """
    for channels in [CHANNELS, (16, 8, 8)]:
        _expect_reference(student, channels, "transpose")
    width = student.make("DecoderBlock", *CHANNELS).shapes()
    if not any(shape == (12, 6, 2, 2) for shape in width):
        student.note("DecoderBlock upsamples to other than in_channels // 2 channels: accepted")


def test_bilinear_equals_the_reference(student):
    """With the same weights, the bilinear block gives the same numbers and gradients as the handout's.

    Hint: bilinear interpolation ×2, then a convolution, then concatenation with the skip, then DoubleConv.
    """
    _expect_reference(student, CHANNELS, "bilinear")


def test_equals_the_reference_without_batch_norm(student):
    """With batch_norm=False the block has no norms, and otherwise computes the same.

    Hint: hand batch_norm on to DoubleConv.
    """
    expect_equal(
        lambda dtype: student.make("DecoderBlock", *CHANNELS, dtype=dtype, batch_norm=False),
        lambda module: decoder_references(module, CHANNELS, "transpose", batch_norm=False),
        _inputs(CHANNELS),
    )


def test_inputs_stay_unchanged(student):
    """x and skip_features have the same values afterwards.

    Hint: +=, clamp_ and other in-place work on the skip change what the encoder handed over.
    """
    for upsampling in ("transpose", "bilinear"):
        x, skip = pictures(2, 12, 5, 5), pictures(2, 5, 11, 11, seed=2)
        block = student.make("DecoderBlock", *CHANNELS, upsampling)
        block(x, skip)
        expect_close(block.inputs_after[0], x, "x afterwards")
        expect_close(block.inputs_after[1], skip, "skip_features afterwards")


def test_works_in_any_dtype_and_on_any_device(student):
    """The block follows the dtype and device of its inputs and weights, at odd sizes too.

    Hint: padding with torch.zeros(...) puts zeros on the CPU in float32; F.pad follows its input.
    """
    expect_follows_dtype_and_device(
        lambda **where: student.make("DecoderBlock", *CHANNELS, **where), [(2, 12, 5, 5), (2, 5, 11, 11)], (2, 7, 11, 11)
    )


def _inputs(channels: tuple[int, int, int]) -> list[torch.Tensor]:
    return [pictures(2, channels[0], 5, 6), pictures(2, channels[1], 10, 12, seed=2)]


def _expect_reference(student, channels: tuple[int, int, int], upsampling: str) -> None:
    expect_equal(
        lambda dtype: student.make("DecoderBlock", *channels, upsampling, dtype=dtype),
        lambda module: decoder_references(module, channels, upsampling),
        _inputs(channels),
    )
