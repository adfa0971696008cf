"""Public checks of Task 1.1: DoubleConv and EncoderBlock."""

import torch
import torch.nn.functional as F

from grader.checks.inputs import pictures
from grader.expect import expect, expect_arrives, expect_close, expect_every_parameter_learns, expect_shape


def test_double_conv_keeps_height_and_width(student):
    """DoubleConv keeps height and width and ends at out_channels, for even and odd sizes.

    Hint: a 3×3 convolution without padding loses one pixel on every side.
    """
    block = student.make("DoubleConv", 3, 8)
    for batch, height, width in [(2, 32, 32), (2, 17, 23), (1, 200, 200)]:
        expect_shape(block(pictures(batch, 3, height, width)), (batch, 8, height, width))


def test_encoder_returns_features_then_pooled(student):
    """EncoderBlock returns (features, pooled): the full size first, then half of it, rounded down.

    Hint: the decoder of the same level needs the features at full size; the next encoder gets the pooled ones.
    """
    block = student.make("EncoderBlock", 3, 8)
    for height, width in [(32, 48), (25, 37)]:
        features, pooled = block.outputs(pictures(2, 3, height, width), count=2)
        expect_shape(features, (2, 8, height, width), "the first output, features,")
        expect_shape(pooled, (2, 8, height // 2, width // 2), "the second output, pooled,")


def test_pooled_is_the_max_pool_of_the_features(student):
    """pooled is the 2×2 max pool, with stride 2, of features.

    Hint: convolve first, then pool; take the largest of each 2×2 square, not the mean.
    """
    block = student.make("EncoderBlock", 2, 5)
    outputs = block.outputs(pictures(2, 2, 12, 18), count=2)
    # in which order they come is another check's business
    features, pooled = sorted(outputs, key=lambda output: output.numel(), reverse=True)
    expect(features.ndim == 4, came=f"features has {features.ndim} dimensions", expected="4 dimensions, (B, C, H, W)")
    expect_close(pooled, F.max_pool2d(features, 2, 2), "pooled")


def test_features_are_rectified(student):
    """The second ReLU comes last: no feature is negative, and some are zero.

    Hint: the order is convolution, BatchNorm, ReLU, and once more convolution, BatchNorm, ReLU.
    """
    output = student.make("DoubleConv", 3, 8)(pictures(2, 3, 16, 16))
    expect_shape(output, (2, 8, 16, 16))
    lowest = float(output.min())
    expect(lowest >= 0, came=f"the lowest value is {lowest:.4g}", expected="no value below 0")
    zeros = float((output == 0).float().mean())
    expect(0 < zeros < 1, came=f"{zeros:.0%} of the values are exactly 0", expected="some zeros, not all")


def test_gradient_reaches_every_parameter(student):
    """A gradient reaches the input and every parameter.

    Hint: a layer that is built but not called, a detach, or .data in forward stops the gradient.
    """
    block = student.make("EncoderBlock", 3, 8)
    gradients = block.vjp(pictures(2, 3, 16, 16), count=2)
    expect_arrives(gradients.inputs[0], "the input")
    expect_every_parameter_learns(gradients.parameters)


def test_batch_norm_can_be_left_out(student):
    """With batch_norm=True train and eval mode differ; batch_norm=False leaves the norms out, and they agree.

    Hint: hand batch_norm on from EncoderBlock to DoubleConv.
    """
    x = pictures(4, 3, 16, 16)
    for name, count in [("DoubleConv", 1), ("EncoderBlock", 2)]:
        for batch_norm in (True, False):
            block = student.make(name, 3, 8, batch_norm=batch_norm)
            trained = block.train().outputs(x, count=count)[0]
            evaluated = block.eval().outputs(x, count=count)[0]
            same = trained.shape == evaluated.shape and torch.allclose(trained, evaluated, atol=1e-5)
            expect(
                same is not batch_norm,
                came=f"train and eval mode {'agree' if same else 'differ'} with batch_norm={batch_norm}",
                expected="a difference with batch_norm=True, none with batch_norm=False",
            )
