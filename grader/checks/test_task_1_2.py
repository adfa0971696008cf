"""Public checks of Task 1.2: DecoderBlock."""

from grader.checks.inputs import pictures
from grader.expect import expect, expect_arrives, expect_every_parameter_learns, expect_shape
from grader.student import StudentError


def test_output_has_the_size_of_the_skip(student):
    """The output has out_channels channels and the height and width of the skip.

    Hint: upsampling doubles height and width; the skip of the same level has twice the size of x.
    """
    for in_channels, skip_channels, out_channels in [(16, 8, 8), (12, 5, 7)]:
        block = student.make("DecoderBlock", in_channels, skip_channels, out_channels)
        x, skip = pictures(2, in_channels, 8, 12), pictures(2, skip_channels, 16, 24)
        expect_shape(block(x, skip), (2, out_channels, 16, 24))


def test_odd_sizes_are_aligned(student):
    """Where pooling rounded down (25 → 12), the output still has the skip's size: 24 is brought to 25.

    Hint: compare the sizes of the upsampled x and of the skip; height and width may each be one short.
    """
    block = student.make("DecoderBlock", 16, 8, 8)
    for height, width in [(25, 25), (25, 24), (24, 25), (3, 50)]:
        x, skip = pictures(2, 16, height // 2, width // 2), pictures(2, 8, height, width)
        expect_shape(block(x, skip), (2, 8, height, width))


def test_bilinear_gives_the_same_shapes(student):
    """upsampling="bilinear" gives the shapes that "transpose" gives.

    Hint: after bilinear ×2, a convolution brings the channels down.
    """
    block = student.make("DecoderBlock", 12, 5, 7, "bilinear")
    for height, width in [(16, 24), (25, 25), (24, 25)]:
        x, skip = pictures(2, 12, height // 2, width // 2), pictures(2, 5, height, width)
        expect_shape(block(x, skip), (2, 7, height, width))


def test_x_and_skip_both_reach_the_output(student):
    """The output depends on x and on the skip, and a gradient reaches both.

    Hint: concatenate the upsampled x and the skip along the channels.
    """
    for upsampling in ("transpose", "bilinear"):
        block = student.make("DecoderBlock", 12, 5, 7, upsampling)
        gradients = block.vjp(pictures(2, 12, 6, 6), pictures(2, 5, 12, 12, seed=2))
        expect_arrives(gradients.inputs[0], "x")
        expect_arrives(gradients.inputs[1], "skip_features")


def test_gradient_reaches_every_parameter(student):
    """A gradient reaches every weight, also at odd sizes.

    Hint: a layer that is built but never called gets no gradient; do not build what you do not use.
    """
    for upsampling in ("transpose", "bilinear"):
        block = student.make("DecoderBlock", 12, 5, 7, upsampling)
        gradients = block.vjp(pictures(2, 12, 6, 6), pictures(2, 5, 13, 13, seed=2))
        expect_every_parameter_learns(gradients.parameters)


def test_unknown_upsampling_is_refused(student):
    """An upsampling other than "transpose" and "bilinear" raises ValueError when the block is built.

    Hint: an else branch that raises ValueError and says what is allowed.
    """
    for upsampling in ("transpose", "bilinear"):
        student.make("DecoderBlock", 8, 4, 4, upsampling)
    try:
        student.make("DecoderBlock", 8, 4, 4, "nearest neighbour")
    except StudentError as error:
        expect(error.type == "ValueError", came=str(error), expected="ValueError")
    else:
        expect(False, came="no exception", expected="ValueError")
