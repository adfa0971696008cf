"""Hidden checks of Task 1.4.

Those that compare with the reference need a network with the layers of Task 1.3; where it has
others, that costs Task 1.3 its marks, and the comparison is left out here.
"""

import torch

from grader.checks.inputs import pictures
from grader.expect import Mismatch, expect, expect_close, expect_shape
from grader.student import NotJudged, Student, StudentModule
from solutions.checks.matching import expect_equal, expect_layers, same_weights
from solutions.checks.references import unet_references

FEATURES = [4, 8, 16]
CHANGE = 1e-7  # a logit that moves less has not moved


def test_equals_the_reference(student):
    """With the same weights, the network gives the same logits and gradients as the handout's.

    Hint: encoders in order, bottleneck, decoders from the deepest up, each with the skip of its own level, then the head.
    """
    for in_channels, out_channels, features in [(3, 1, [4, 8, 16]), (2, 3, [6, 12])]:
        _reference_of(student, in_channels, out_channels, features)
        expect_equal(
            lambda dtype: student.make("UNet", in_channels, out_channels, features=features, dtype=dtype),
            lambda module: unet_references(module, in_channels, out_channels, features),
            [pictures(2, in_channels, 24, 32)],
        )


def test_each_decoder_gets_the_skip_of_its_level(student):
    """What a decoder learns through its skip stays as local as that level is.

    Hint: zip the decoders with reversed(skips): the last features saved are the first needed.
    """
    for level in range(len(FEATURES)):
        network, reference = _reference_of(student, 3, 1, FEATURES)
        same_weights(network, reference, torch.float32)
        below = [*FEATURES[1:], 2 * FEATURES[-1]][level]
        _silence(network, reference, [below])
        came = _changed_by_one_pixel(network)
        expected = _changed_by_one_pixel(reference)
        expect(
            bool((came == expected).all()),
            came=f"with nothing coming up to level {level + 1}, one pixel changes {int(came.sum())} logits",
            expected=f"exactly the {int(expected.sum())} logits around it that the skip of level {level + 1} reaches",
        )


def test_skips_are_used(student):
    """With nothing coming up from below, the skips alone still carry the picture to the logits.

    Hint: hand the features, not zeros and not the pooled ones, to the decoder.
    """
    network, reference = _reference_of(student, 3, 1, FEATURES)
    same_weights(network, reference, torch.float32)
    _silence(network, reference, [*FEATURES[1:], 2 * FEATURES[-1]])
    changed = int(_changed_by_one_pixel(network).sum())
    expect(changed > 0, came="the logits no longer depend on the picture", expected="logits that follow the picture")


def test_default_network_on_a_200_by_200_picture(student):
    """UNet() maps (1, 3, 200, 200) to (1, 1, 200, 200).

    Hint: 200 → 100 → 50 → 25 → 12 and up again.
    """
    logits = student.make("UNet", on="meta")(pictures(1, 3, 200, 200, device="meta"))
    expect_shape(logits, (1, 1, 200, 200), "the logits")


def test_works_in_any_dtype_and_on_any_device(student):
    """The network follows the dtype and device of its input and weights.

    Hint: no .cuda(), .to(device) or .float() in forward.
    """
    x = pictures(2, 3, 20, 20, dtype=torch.float64)
    logits = student.make("UNet", 3, 1, features=[4, 8], dtype=torch.float64)(x)
    expect(logits.dtype == torch.float64, came=f"{logits.dtype} for float64 in", expected="float64")
    logits = student.make("UNet", 3, 1, features=[4, 8], on="meta")(pictures(2, 3, 20, 20, device="meta"))
    expect(logits.is_meta, came="a tensor on another device", expected="a tensor on the picture's device")
    expect_close(torch.zeros(logits.shape[-2:]), torch.zeros(20, 20), "the logits")


def _reference_of(student: Student, in_channels: int, out_channels: int, features: list[int]):
    network = student.make("UNet", in_channels, out_channels, features=features)
    try:
        reference = unet_references(network, in_channels, out_channels, features)[0]
        expect_layers(network, reference)
    except Mismatch as mismatch:
        raise NotJudged(f"the network of Task 1.3 has other layers than the task describes ({mismatch.came})") from None
    return network, reference


def _silence(network: StudentModule, reference: torch.nn.Module, in_channels: list[int]) -> None:
    """Zero the transposed convolutions from these channel counts, in both."""
    own = {name: p for name, p in network.parameters().items() if _comes_up(p, in_channels)}
    network.load({name: torch.zeros_like(parameter) for name, parameter in own.items()})
    with torch.no_grad():
        for parameter in reference.parameters():
            if _comes_up(parameter, in_channels):
                parameter.zero_()


def _comes_up(parameter: torch.Tensor, in_channels: list[int]) -> bool:
    return parameter.ndim == 4 and parameter.shape[2:] == (2, 2) and parameter.shape[0] in in_channels


def _changed_by_one_pixel(network) -> torch.Tensor:
    """Which logits, (64, 64), move when the middle pixel of a picture does."""
    network.eval()
    x = pictures(1, 3, 64, 64)
    y = x.clone()
    y[..., 32, 32] += 5.0
    with torch.no_grad():
        return ((network(x) - network(y)).abs() > CHANGE)[0, 0]
