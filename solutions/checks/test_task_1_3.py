"""Hidden checks of Task 1.3. None of them calls forward."""

from math import prod

import torch

from grader.checks.inputs import kernels, layers
from grader.expect import expect
from solutions.checks.matching import expect_layers
from solutions.checks.references import unet_references
from solutions.reference import reference


def test_default_network_has_31_million_parameters(student):
    """UNet() has about 31 million parameters.

    Hint: features [64, 128, 256, 512], a bottleneck of 1024 channels, and decoders that mirror the encoders.
    """
    shapes = layers(student)
    with torch.device("meta"):
        expected = sum(parameter.numel() for parameter in reference().UNet().parameters())
    came = sum(prod(shape) for shape in shapes)
    # other widths after upsampling and biases are free, and change it by a few percent
    expect(0.85 * expected < came < 1.15 * expected, came=f"{came:,} parameters", expected=f"about {expected:,}")


def test_layers_equal_the_reference(student):
    """Encoders, bottleneck, decoders and head have the layers of the handout's network, for any channels.

    Hint: encoder i ends at features[i] channels, the decoder of that level too; it gets the channels of the level below.
    """
    for in_channels, out_channels, features in [(3, 1, [4, 8]), (2, 5, [6, 12, 24]), (1, 3, [6]), (3, 2, [6, 10])]:
        network = student.make("UNet", in_channels, out_channels, features=features)
        expect_layers(network, next(unet_references(network, in_channels, out_channels, features)))


def test_upsampling_is_handed_on(student):
    """upsampling="bilinear" gives a network without transposed convolutions.

    Hint: hand upsampling on to every DecoderBlock.
    """
    for upsampling, count in [("transpose", 3), ("bilinear", 0)]:
        shapes = layers(student, 3, 1, features=[4, 8, 16], upsampling=upsampling)
        came = len(kernels(shapes, 2))
        expect(came == count, came=f"{came} transposed 2×2 convolutions with upsampling={upsampling!r}", expected=f"{count}")


def test_batch_norm_is_handed_on(student):
    """batch_norm=False gives a network without norms, batch_norm=True one with a norm after every 3×3 convolution.

    Hint: hand batch_norm on to every encoder, to the bottleneck and to every decoder.
    """
    for batch_norm in (True, False):
        shapes = layers(student, 3, 1, features=[4, 8], batch_norm=batch_norm)
        vectors = [shape for shape in shapes if len(shape) == 1]
        convolutions = len(shapes) - len(vectors)
        norms = 2 * len([shape for shape in kernels(shapes, 3)])  # a weight and a bias each
        holds = len(vectors) >= norms if batch_norm else 0 < convolutions >= len(vectors)
        expect(
            holds,
            came=f"{len(vectors)} vectors beside {convolutions} convolutions with batch_norm={batch_norm}",
            expected=f"at least {norms}, two for each norm" if batch_norm else "at most one, the bias, for each convolution",
        )
