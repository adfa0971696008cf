"""Public checks of Task 2.1: FlexibleSkipConnection with mode="concat"."""

import torch

from grader.checks.inputs import kernels, pictures
from grader.expect import expect, expect_arrives, expect_close, expect_every_parameter_learns, expect_shape


def test_output_has_the_decoder_channels(student):
    """The output has decoder_channels channels and the height and width of the inputs; "concat" is the default mode.

    Hint: how many channels has the concatenation, and how many shall the convolution give? What keeps height and width?
    """
    for decoder_channels, skip_channels, mode in [(8, 5, ["concat"]), (6, 6, ["concat"]), (4, 7, [])]:
        join = student.make("FlexibleSkipConnection", decoder_channels, skip_channels, *mode)
        for height, width in [(8, 12), (7, 9)]:
            output = join(pictures(2, decoder_channels, height, width), pictures(2, skip_channels, height, width, seed=2))
            expect_shape(output, (2, decoder_channels, height, width))


def test_decoder_and_skip_both_reach_the_output(student):
    """The output depends on the decoder's features and on the skip, and a gradient reaches both.

    Hint: torch.cat takes a list of both, and the dimension along which they are joined.
    """
    join = student.make("FlexibleSkipConnection", 8, 5, mode="concat")
    gradients = join.vjp(*_features(8, 5))
    expect_arrives(gradients.inputs[0], "decoder_features")
    expect_arrives(gradients.inputs[1], "skip_features")


def test_gradient_reaches_every_parameter(student):
    """A gradient reaches every weight.

    Hint: a layer that is built but never called gets no gradient; do not build what you do not use.
    """
    gradients = student.make("FlexibleSkipConnection", 8, 5, mode="concat").vjp(*_features(8, 5))
    expect_every_parameter_learns(gradients.parameters)


def test_one_3x3_convolution(student):
    """There is one 3×3 convolution over both, and it gives decoder_channels channels.

    Hint: Algorithm 5 joins first and convolves once. Is the layer made in __init__ and kept in self?
    """
    for decoder_channels, skip_channels in [(8, 5), (4, 7)]:
        shapes = student.make("FlexibleSkipConnection", decoder_channels, skip_channels, mode="concat").shapes()
        wanted = (decoder_channels, decoder_channels + skip_channels, 3, 3)
        weights = [shape for shape in shapes if len(shape) == 4]
        expect(
            wanted in weights and len(kernels(shapes, 3)) == 1,
            came=f"convolutions with weights of shapes {weights or 'none'}",
            expected=f"one 3×3 convolution, with weights of shape {wanted}",
        )


def test_nothing_follows_the_convolution(student):
    """Nothing follows the convolution, no norm and no ReLU: values below 0 stay, and twice the input gives twice the change.

    Hint: the DoubleConv that comes next in the decoder brings its own norm and ReLU.
    """
    join = student.make("FlexibleSkipConnection", 8, 5, mode="concat").train()
    features = _features(8, 5)
    nothing, once, twice = (join(*[factor * x for x in features]) for factor in (0, 1, 2))
    expect(nothing.shape == once.shape == twice.shape, came="outputs of several shapes", expected="one shape for one size")
    lowest = float(once.min())
    expect(lowest < 0, came=f"no value below 0: the lowest is {lowest:.4g}", expected="values on both sides of 0")
    expect_close(twice - nothing, 2 * (once - nothing), "the change by twice the input")


def _features(decoder_channels: int, skip_channels: int) -> list[torch.Tensor]:
    return [pictures(2, decoder_channels, 8, 10), pictures(2, skip_channels, 8, 10, seed=2)]
