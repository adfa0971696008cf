"""Hidden checks of Task 2.1."""

from grader.checks.inputs import pictures
from grader.expect import expect_close
from solutions.checks.placement import expect_follows_dtype_and_device
from solutions.checks.references import expect_skip_equal


def test_concat_equals_the_reference(student):
    """With the same weights, "concat" gives the same numbers and gradients as the handout's Algorithm 5.

    Hint: concatenation along the channels, one 3×3 convolution with padding 1 and zeros outside, and nothing else.
    """
    for decoder_channels, skip_channels in [(8, 5), (6, 6)]:
        expect_skip_equal(student, decoder_channels, skip_channels, "concat")


def test_inputs_stay_unchanged(student):
    """decoder_features and skip_features have the same values afterwards.

    Hint: +=, inplace=True and methods that end in _ change what the encoder handed over.
    """
    decoder, skip = pictures(2, 8, 7, 10), pictures(2, 5, 7, 10, seed=2)
    join = student.make("FlexibleSkipConnection", 8, 5, "concat")
    join(decoder, skip)
    expect_close(join.inputs_after[0], decoder, "decoder_features afterwards")
    expect_close(join.inputs_after[1], skip, "skip_features afterwards")


def test_works_in_any_dtype_and_on_any_device(student):
    """The module follows the dtype and device of its inputs and weights.

    Hint: no .cuda(), .to("cpu") or .float() inside a module.
    """
    expect_follows_dtype_and_device(
        lambda **where: student.make("FlexibleSkipConnection", 8, 5, "concat", **where),
        [(2, 8, 7, 10), (2, 5, 7, 10)],
        (2, 8, 7, 10),
    )
