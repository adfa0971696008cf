"""Hidden checks of Task 1.4.

Those that compare with the reference need a network with the layers of Task 1.3; where it has
others, that costs Task 1.3 its marks, and the comparison is left out here.
"""

import contextlib
from math import prod

import torch

from grader.checks.inputs import pictures
from grader.expect import expect, expect_shape, largest_difference
from grader.student import NotJudged, Student, StudentError, StudentModule
from solutions.checks.matching import OtherLayers, expect_equal, expect_layers
from solutions.checks.placement import expect_follows_dtype_and_device, reads_values
from solutions.checks.references import unet_references

FEATURES = [4, 8, 16]


def test_equals_the_reference(student):
    """With the same weights, the network gives the same logits and gradients as the handout's.

    Hint: encoders in order, bottleneck, decoders from the deepest up, each with the skip of its own level, then the head.
    """
    for in_channels, out_channels, features in [(3, 1, [4, 8, 16]), (2, 3, [6, 12])]:
        with same_layers(student):
            expect_equal(
                lambda dtype: student.make("UNet", in_channels, out_channels, features=features, dtype=dtype),
                lambda module: unet_references(module, in_channels, out_channels, features),
                [pictures(2, in_channels, 24, 32)],
            )


def test_each_decoder_gets_the_skip_of_its_level(student):
    """With nothing coming up from below a level, a change of one pixel spreads as that level's skip lets it.

    Hint: which of the saved features has the height and width that this decoder needs? And does anything follow the head?
    """
    networks = _network_and_reference(student)
    for level, below in enumerate([*FEATURES[1:], 2 * FEATURES[-1]], start=1):
        came, expected = _answers_to_one_pixel(*networks, silent=[below])
        difference = largest_difference(came, expected)
        expect(
            difference <= 1e-3 * float(expected.abs().max()),
            came=f"at level {level}, one pixel changes {_extent(came)}",
            expected=_extent(expected),
        )


def test_skips_are_used(student):
    """With nothing coming up from below at any level, the skips alone still carry the picture to the logits.

    Hint: hand the features, not zeros and not the pooled ones, to the decoder.
    """
    came, _ = _answers_to_one_pixel(*_network_and_reference(student), silent=[*FEATURES[1:], 2 * FEATURES[-1]])
    expect(bool((came != 0).any()), came="the logits no longer depend on the picture", expected="logits that follow it")


def test_default_network_on_a_200_by_200_picture(student):
    """UNet() maps (1, 3, 200, 200) to (1, 1, 200, 200).

    Hint: 200 → 100 → 50 → 25 → 12 and up again.
    """
    student.make("UNet", 3, 1, features=[4, 8])(pictures(2, 3, 32, 32))  # real numbers: those on "meta" have no values
    try:
        logits = student.make("UNet", on="meta")(pictures(1, 3, 200, 200, device="meta"))
    except StudentError as error:
        if not reads_values(error):
            raise
        logits = student.make("UNet")(pictures(1, 3, 200, 200))
    expect_shape(logits, (1, 1, 200, 200), "the logits")


def test_works_in_any_dtype_and_on_any_device(student):
    """The network follows the dtype and device of its input and weights.

    Hint: no .cuda(), .to(device) or .float() in forward.
    """
    _network_and_reference(student)  # .to() does not reach layers that are not registered
    expect_follows_dtype_and_device(
        lambda **where: student.make("UNet", 3, 1, features=[4, 8], **where), [(2, 3, 20, 20)], (2, 1, 20, 20)
    )


@contextlib.contextmanager
def same_layers(student: Student):
    """A network with other layers than Task 1.3 describes is not compared: that costs Task 1.3 its marks already.

    Its forward must run the layers that there are all the same: else one layer too many would pay for a forward that runs none.
    """
    try:
        yield
    except OtherLayers:
        _expect_runs_its_layers(student.make("UNet", 3, 1, features=FEATURES).eval())
        raise NotJudged("the network of Task 1.3 has other layers than that task describes") from None


def _expect_runs_its_layers(network: StudentModule) -> None:
    """Mismatch unless the picture reaches the logits through kernels alone, through several of them, and on more than one way."""
    kernels = [name for name, shape in network.parameters.items() if len(shape) == 4]
    if len(kernels) < 3 or sum(map(prod, network.parameters.values())) > 10**6:
        return  # no network to speak of, for a person to read; or one that is too wide to be tried out
    usual = {name: _mean_weights(shape, []) for name, shape in network.parameters.items()}
    alone = [name for name in kernels if _follows_the_picture(network, usual, silent=[k for k in kernels if k != name])]
    expect(not alone, came="logits that follow the picture with all kernels but one at zero", expected="a picture that goes through every level")
    decisive = [name for name in kernels if not _follows_the_picture(network, usual, silent=[name])]
    expect(
        2 <= len(decisive) <= len(kernels) // 2,
        came=f"logits that stop following the picture with any of {len(decisive)} of {len(kernels)} kernels at zero",
        expected="the first and the last ones alone: the others have the skips beside them",
    )


def _follows_the_picture(network: StudentModule, weights: dict, silent: list[str]) -> bool:
    network.load({**weights, **{name: torch.zeros_like(weights[name]) for name in silent}})
    x = pictures(1, 3, 32, 32).abs()
    first, second = network(torch.cat([x, 2 * x + 1]))
    return bool((first - second).abs().max() > 1e-6 * first.abs().max())


def _network_and_reference(student: Student) -> tuple[StudentModule, torch.nn.Module]:
    network = student.make("UNet", 3, 1, features=FEATURES)
    with same_layers(student):
        reference = next(unet_references(network, 3, 1, FEATURES))
        expect_layers(network, reference)
    return network, reference


def _answers_to_one_pixel(
    network: StudentModule, reference: torch.nn.Module, silent: list[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """How the logits, (64, 64), move with one pixel, in the submission and in the reference.

    All weights are positive means, so every ReLU is open and the network linear but for the pools: biases and
    the order of concatenation make no difference. Transposed convolutions from `silent` channels give nothing.
    """
    network.load({name: _mean_weights(shape, silent) for name, shape in network.parameters.items()})
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.copy_(_mean_weights(tuple(parameter.shape), silent))
    network.eval(), reference.eval()
    x = pictures(1, 3, 64, 64).abs()
    y = x.clone()
    y[..., 32, 32] += 1000.0
    with torch.no_grad():
        return (network(y) - network(x))[0, 0], (reference(y) - reference(x))[0, 0]


def _mean_weights(shape: tuple[int, ...], silent: list[int]) -> torch.Tensor:
    if len(shape) == 1:
        return torch.ones(shape)
    goes_up = shape[2:] == (2, 2)
    if goes_up and shape[0] in silent:
        return torch.zeros(shape)
    return torch.full(shape, 1 / shape[0] if goes_up else 1 / (shape[1] * shape[2] * shape[3]))


def _extent(change: torch.Tensor) -> str:
    return f"{int((change.abs() > 1e-6).sum())} logits, by up to {float(change.abs().max()):.3g}"
