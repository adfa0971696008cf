"""Hidden checks of Task 1.1."""

import torch

from grader.checks.inputs import pictures
from grader.expect import expect, expect_close
from solutions.checks.matching import expect_equal
from solutions.checks.placement import expect_follows_dtype_and_device
from solutions.reference import reference


def test_double_conv_equals_the_reference(student):
    """With the same weights, DoubleConv gives the same numbers and gradients as the handout's.

    Hint: two 3×3 convolutions with padding 1 and zeros outside, each followed by BatchNorm and ReLU, nothing else.
    """
    vectors = [shape for shape in student.make("DoubleConv", 3, 5).shapes() if len(shape) == 1]
    expect(len(vectors) >= 4, came=f"{len(vectors)} vectors", expected="at least 4: weight and bias of two BatchNorms")
    for channels in [(3, 5), (6, 4)]:
        expect_equal(
            lambda dtype: student.make("DoubleConv", *channels, dtype=dtype),
            lambda module: [reference().DoubleConv(*channels)],
            [pictures(3, channels[0], 9, 12)],
        )


def test_encoder_equals_the_reference(student):
    """With the same weights, EncoderBlock gives the same features and pooled as the handout's.

    Hint: features is what DoubleConv gives, before the pool; pooled is its 2×2 max pool. In this order.
    """
    expect_equal(
        lambda dtype: student.make("EncoderBlock", 3, 5, dtype=dtype),
        lambda module: [reference().EncoderBlock(3, 5)],
        [pictures(2, 3, 11, 14)],
        count=2,
    )


def test_equals_the_reference_without_batch_norm(student):
    """With batch_norm=False, DoubleConv is convolution, ReLU, convolution, ReLU.

    Hint: leave the norms out; keep both convolutions (with their biases) and both ReLUs.
    """
    expect_equal(
        lambda dtype: student.make("DoubleConv", 3, 5, dtype=dtype, batch_norm=False),
        lambda module: [reference().DoubleConv(3, 5, batch_norm=False)],
        [pictures(2, 3, 9, 12)],
    )


def test_evaluation_uses_running_statistics(student):
    """In eval mode a picture's features do not depend on its batch, and they use what training has seen.

    Hint: nn.BatchNorm2d as it comes keeps running statistics; other norms, or track_running_stats=False, do not.
    """
    block = student.make("DoubleConv", 3, 5, dtype=torch.float64)
    x = pictures(4, 3, 10, 10, dtype=torch.float64)
    before = block.eval()(x)
    block.train()
    for seed in range(3):
        block(3 * pictures(4, 3, 10, 10, dtype=torch.float64, seed=seed) + 1)
    after = block.eval()(x)
    alone = block(x[:1])
    expect_close(alone, after[:1], "one picture alone")
    change = float((before - after).abs().max()) if before.shape == after.shape else 0.0
    expect(change > 1e-3, came=f"training changes the answer in eval mode by {change:.2g}", expected="a clear change")


def test_works_in_any_dtype_and_on_any_device(student):
    """The blocks follow the dtype and device of their input and weights.

    Hint: no .cuda(), .to("cpu") or .float() inside a block; make new tensors with x.new_zeros or like x.
    """
    for name, count in [("DoubleConv", 1), ("EncoderBlock", 2)]:
        expect_follows_dtype_and_device(
            lambda **where: student.make(name, 3, 4, **where), [(2, 3, 8, 8)], (2, 4, 8, 8), count
        )
