"""Public checks of Task 2.2: FlexibleSkipConnection with mode="add"."""

import torch

from grader.checks.inputs import pictures
from grader.expect import expect, expect_arrives, expect_close, expect_shape


def test_output_has_the_decoder_channels(student):
    """The output has the shape of the decoder's features, whatever channels the skip has.

    Hint: adding needs equal channels; which of the two is brought to the other's?
    """
    for decoder_channels, skip_channels in [(6, 6), (8, 5), (4, 7)]:
        join = student.make("FlexibleSkipConnection", decoder_channels, skip_channels, "add")
        decoder, skip = _features(decoder_channels, skip_channels)
        expect_shape(join(decoder, skip), tuple(decoder.shape))


def test_equal_channels_need_no_parameters(student):
    """Where decoder and skip have equal channels there is nothing to learn, so there are no parameters.

    Hint: decide in __init__, from the two numbers, whether a projection is needed.
    """
    for channels in (6, 9):
        shapes = student.make("FlexibleSkipConnection", channels, channels, mode="add").shapes()
        expect(not shapes, came=f"parameters of shapes {shapes}", expected="no parameters")


def test_other_channels_are_projected(student):
    """Where the channels differ, a 1×1 convolution brings the skip to decoder_channels, and it learns.

    Hint: a layer that is made in __init__ and kept in self; which of the two inputs does it take?
    """
    for decoder_channels, skip_channels in [(8, 5), (4, 7)]:
        join = student.make("FlexibleSkipConnection", decoder_channels, skip_channels, mode="add")
        weights = {name: shape for name, shape in join.parameters.items() if len(shape) > 1}
        wanted = (decoder_channels, skip_channels, 1, 1)
        names = [name for name, shape in weights.items() if shape == wanted]
        expect(
            bool(names),
            came=f"convolutions with weights of shapes {list(weights.values()) or 'none'}",
            expected=f"one 1×1 convolution, with weights of shape {wanted}",
        )
        expect_arrives(join.vjp(*_features(decoder_channels, skip_channels)).parameters[names[0]], names[0])


def test_skip_is_added(student):
    """Where the channels are equal, the output is the decoder's features plus the skip, and a gradient reaches both.

    Hint: Algorithm 6: the decoder's features go through as they are, and nothing follows the sum.
    """
    join = student.make("FlexibleSkipConnection", 6, 6, mode="add")
    decoder, skip = _features(6, 6)
    if join.parameters:  # a projection that is not needed is another check's business
        skip_part = join(torch.zeros_like(decoder), skip)
        expect_shape(skip_part, tuple(decoder.shape))
    else:
        skip_part = skip
    expect_close(join(decoder, skip), decoder + skip_part)
    for gradient, name in zip(join.vjp(decoder, skip).inputs, ("decoder_features", "skip_features")):
        expect_arrives(gradient, name)


def _features(decoder_channels: int, skip_channels: int) -> list[torch.Tensor]:
    return [pictures(2, decoder_channels, 7, 10), pictures(2, skip_channels, 7, 10, seed=2)]
