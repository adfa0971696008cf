"""Hidden checks of Task 2.2."""

from grader.checks.inputs import pictures
from grader.expect import expect_close
from solutions.checks.placement import expect_follows_dtype_and_device
from solutions.checks.references import expect_skip_equal


def test_add_equals_the_reference(student):
    """With the same weights, "add" gives the same numbers and gradients as the handout's Algorithm 6.

    Hint: a 1×1 convolution on the skip, with a bias or without, and the sum; nothing else.
    """
    for decoder_channels, skip_channels in [(8, 5), (4, 7)]:  # what equal channels give is a public check
        expect_skip_equal(student, decoder_channels, skip_channels, "add")


def test_inputs_stay_unchanged(student):
    """decoder_features and skip_features have the same values afterwards.

    Hint: a += b writes the sum into a, which is the caller's; a + b makes a new tensor.
    """
    decoder, skip = pictures(2, 8, 7, 10), pictures(2, 8, 7, 10, seed=2)
    join = student.make("FlexibleSkipConnection", 8, 8, "add")
    join(decoder, skip)
    expect_close(join.inputs_after[0], decoder, "decoder_features afterwards")
    expect_close(join.inputs_after[1], skip, "skip_features afterwards")


def test_works_in_any_dtype_and_on_any_device(student):
    """The module follows the dtype and device of its inputs and weights.

    Hint: no .cuda(), .to("cpu") or .float() inside a module.
    """
    size = (2, 8, 7, 10)
    expect_follows_dtype_and_device(
        lambda **where: student.make("FlexibleSkipConnection", 8, 8, "add", **where), [size, size], size
    )
