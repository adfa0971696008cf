"""Public checks of Task 2.3: AttentionGate, and FlexibleSkipConnection with mode="attention"."""

import torch
import torch.nn.functional as F

from grader.checks.inputs import pictures
from grader.expect import Mismatch, expect, expect_arrives, expect_close, expect_every_parameter_learns, expect_shape
from grader.student import Student, StudentError


def test_gate_keeps_the_shape_of_the_skip(student):
    """AttentionGate returns the skip weighted: a tensor of the skip's shape.

    Hint: alpha has one channel, so that multiplying weights all channels of a position alike; what is returned in the end?
    """
    for gate_channels, skip_channels in [(12, 5), (8, 8), (6, 9)]:
        gate = student.make("AttentionGate", gate_channels, skip_channels)
        expect_shape(gate(*_features(gate_channels, skip_channels)), (2, skip_channels, 8, 10))


def test_smaller_gate_is_resized(student):
    """A gate with fewer rows and columns than the skip counts as its bilinear enlargement to the skip's size.

    Hint: F.interpolate takes a size and a mode. Which of the two is resized, and what is the default mode?
    """
    gate = student.make("AttentionGate", 12, 5).eval()
    for (height, width), (rows, columns) in [((4, 5), (8, 10)), ((4, 5), (9, 11)), ((3, 8), (8, 8))]:
        small, skip = pictures(2, 12, height, width), _bounded(pictures(2, 5, rows, columns, seed=2))
        enlarged = [
            F.interpolate(small, size=(rows, columns), mode="bilinear", align_corners=align_corners)
            for align_corners in (False, True)
        ]
        wanted = [gate(large, skip) for large in enlarged]
        output = gate(small, skip)
        expect_shape(output, (2, 5, rows, columns))
        _expect_one_of(output, wanted)


def test_every_position_is_weighted_between_0_and_1(student):
    """Every position of the skip is multiplied by one number between 0 and 1, the same for all channels, others elsewhere.

    Hint: what does the sigmoid get, and how many channels has it? Divide the output by the skip and look.
    """
    gate = student.make("AttentionGate", 12, 5)
    features = _features(12, 5)
    output = gate(*features)
    expect_shape(output, tuple(features[1].shape))
    factors = output / features[1]  # (B, C, H, W)
    low, high = float(factors.min()), float(factors.max())
    expect(0 <= low and high <= 1, came=f"factors from {low:.4g} to {high:.4g}", expected="factors between 0 and 1")
    spread = float((factors.amax(dim=1) - factors.amin(dim=1)).max())
    expect(spread < 1e-4, came=f"factors of one position that differ by {spread:.3g}", expected="one factor for all channels")
    varies = float(factors.amax(dim=(2, 3)).sub(factors.amin(dim=(2, 3))).min())
    expect(varies > 1e-4, came=f"the factor {low:.4g} at every position of a picture", expected="other factors elsewhere")


def test_alpha_is_kept(student):
    """After each call self.alpha holds its weights: shape (B, 1, H, W), the output divided by the skip.

    Hint: assign it in forward, after the sigmoid and before the multiplication.
    """
    gate = student.make("AttentionGate", 12, 5)
    for batch in (2, 3):
        features = _features(12, 5, batch)
        output = gate(*features)
        expect_shape(output, tuple(features[1].shape))
        alpha = gate.attribute("alpha")
        usable = isinstance(alpha, torch.Tensor) and not alpha.is_meta and alpha.is_floating_point()
        expect(usable, came=f"self.alpha is {'another tensor' if isinstance(alpha, torch.Tensor) else repr(alpha)[:120]}",
               expected=f"a tensor of shape {(batch, 1, 8, 10)}")
        expect_close(alpha.float(), (output / features[1]).mean(dim=1, keepdim=True).float(), "self.alpha")


def test_gradient_reaches_every_parameter(student):
    """A gradient reaches the gate, the skip and every weight of AttentionGate.

    Hint: a layer that is built but never called, a detach, or .data in forward stops the gradient.
    """
    gradients = student.make("AttentionGate", 12, 5).vjp(*_features(12, 5))
    expect_arrives(gradients.inputs[0], "gate")
    expect_arrives(gradients.inputs[1], "skip")
    expect_every_parameter_learns(gradients.parameters)


def test_attention_output_has_the_decoder_channels(student):
    """With mode="attention" the output has decoder_channels channels and the height and width of the inputs.

    Hint: the gated skip has as many channels as the skip; concatenate it with the decoder's features, then convolve.
    """
    for decoder_channels, skip_channels in [(12, 5), (8, 8), (6, 9)]:
        join = student.make("FlexibleSkipConnection", decoder_channels, skip_channels, "attention")
        expect_shape(join(*_features(decoder_channels, skip_channels)), (2, decoder_channels, 8, 10))


def test_attention_uses_its_gate(student):
    """With mode="attention" there are a gate and a 3×3 convolution, and a gradient reaches both inputs and every weight.

    Hint: the gate is made in __init__ and called in forward; does what it returns go on into the concatenation?
    """
    join = student.make("FlexibleSkipConnection", 12, 5, mode="attention")
    shapes = [shape for shape in join.shapes() if len(shape) == 4]
    expect(len(shapes) >= 4, came=f"{len(shapes)} convolution(s)", expected="at least 4: three of the gate and one after it")
    stopped = _stopped_in_the_gate(student)  # costs in the gate's own check, and not again here
    gradients = join.vjp(*_features(12, 5))
    expect_arrives(gradients.inputs[0], "decoder_features")
    expect_arrives(gradients.inputs[1], "skip_features")
    learning = {name: g for name, g in gradients.parameters.items() if not _idle(g) or join.parameters[name] not in stopped}
    expect_every_parameter_learns(learning)


def test_unknown_mode_is_refused(student):
    """A mode other than "concat", "add" and "attention" raises ValueError.

    Hint: an else branch that raises ValueError and says what is allowed.
    """
    student.make("FlexibleSkipConnection", 8, 8, "attention")
    came = "no exception"
    try:
        student.make("FlexibleSkipConnection", 8, 8, "multiply")(*_features(8, 8))  # when built, or at the latest when called
    except StudentError as error:
        came = str(error)
        if error.type == "ValueError":
            return
    except Mismatch as mismatch:
        came = mismatch.came
    expect(False, came=came, expected="ValueError")


def _stopped_in_the_gate(student: Student) -> list[tuple[int, ...]]:
    """The shapes of those parameters of an AttentionGate that no gradient reaches, or one of zeros alone."""
    try:
        gate = student.make("AttentionGate", 12, 5)
        gradients = gate.vjp(*_features(12, 5)).parameters
    except (Mismatch, StudentError):
        return []
    return [gate.parameters[name] for name, gradient in gradients.items() if _idle(gradient)]


def _idle(gradient: torch.Tensor | None) -> bool:
    return gradient is None or not bool((gradient != 0).any())  # NaN is not idle


def _features(gate_channels: int, skip_channels: int, batch: int = 2) -> list[torch.Tensor]:
    """A gate and a skip of one size."""
    return [pictures(batch, gate_channels, 8, 10), _bounded(pictures(batch, skip_channels, 8, 10, seed=2))]


def _bounded(skip: torch.Tensor) -> torch.Tensor:
    """The skip with every value at least 1/2 away from 0, so that one may divide by it."""
    return torch.where(skip < 0, skip - 0.5, skip + 0.5)


def _expect_one_of(came: torch.Tensor, wanted: list[torch.Tensor]) -> None:
    """Mismatch unless `came` is close to one of `wanted`."""
    mismatches = []
    for output in wanted:
        try:
            return expect_close(came, output, "the output for the small gate")
        except Mismatch as mismatch:
            mismatches.append(mismatch)
    raise mismatches[0]
