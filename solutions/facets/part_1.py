"""Facets of Tasks 1.1 to 1.4: the U-Net."""

from __future__ import annotations

import torch

from grader.checks.inputs import pictures
from grader.student import Student, StudentError, StudentModule
from solutions.facets.asking import (
    Facet, Subject, answer, attempt, build, called, derivatives, inputs_after, is_random, layers, norms, places, same, shapes,
)

# ---- 1.1: the encoder ----


def _of_block(name: str, size: tuple[int, int]) -> tuple[tuple[Facet, ...], tuple[Facet, ...]]:
    """What is asked of DoubleConv and EncoderBlock alike, on pictures of this height and width: here, and in other places."""

    def block_layers(student: Student) -> object:
        blocks = [student.make(name, 3, 5), student.make(name, 4, 4, batch_norm=False)]
        return [[layers(block), norms(block)] for block in blocks]

    def odd_shapes(student: Student) -> object:
        return shapes(build(student, name, 3, 5), pictures(2, 3, 25, 36))

    def numbers(student: Student) -> object:
        return derivatives(build(student, name, 3, 5), pictures(3, 3, *size))

    def without_norm(student: Student) -> object:
        return derivatives(build(student, name, 3, 5, batch_norm=False), pictures(3, 3, *size))

    def evaluated(student: Student) -> object:
        return _evaluated(build(student, name, 3, 5), pictures(4, 3, 10, 10))

    def random(student: Student) -> object:
        block, x = build(student, name, 3, 5), pictures(2, 3, 8, 8)
        return [is_random(block, x), is_random(block.eval(), x)]

    def elsewhere(student: Student) -> object:
        return places(student, name, (3, 4), [pictures(2, 3, 8, 8)])

    return called([block_layers, odd_shapes, numbers, without_norm, evaluated, random], name), called([elsewhere], name)


def _evaluated(block: StudentModule, x: torch.Tensor) -> object:
    if is_random(block, x):
        return "random"
    before = answer(block.eval(), x)
    block.train()
    for seed in range(3):
        answer(block, 3 * pictures(*x.shape, seed=seed) + 1)
    return [before, answer(block.eval(), x), answer(block, x[:1])]


# ---- 1.2: the decoder ----

CHANNELS = (12, 5, 7)  # in, skip, out
EVEN = pictures(2, 12, 5, 6), pictures(2, 5, 10, 12, seed=2)


def transposed_layers(student: Student) -> object:
    """The layers of a DecoderBlock with and without norms."""
    blocks = [student.make("DecoderBlock", *CHANNELS), student.make("DecoderBlock", *CHANNELS, batch_norm=False)]
    return [[layers(block), norms(block)] for block in blocks]


def transposed_numbers(student: Student) -> object:
    """Output and gradients with a transposed convolution, in train mode."""
    return derivatives(build(student, "DecoderBlock", *CHANNELS), *EVEN)


def transposed_halves(student: Student) -> object:
    """The same where x and skip have as many channels: what is joined with itself fits there."""
    return derivatives(build(student, "DecoderBlock", 10, 5, 7), pictures(2, 10, 5, 6), EVEN[1])


def transposed_without_norm(student: Student) -> object:
    """The same without norms."""
    return derivatives(build(student, "DecoderBlock", *CHANNELS, batch_norm=False), *EVEN)


def transposed_inputs(student: Student) -> object:
    """The inputs after a call."""
    return inputs_after(build(student, "DecoderBlock", *CHANNELS), *EVEN)


def transposed_places(student: Student) -> object:
    """A DecoderBlock in float64 and on another device."""
    return places(student, "DecoderBlock", CHANNELS, list(EVEN))


def transposed_random(student: Student) -> object:
    """Whether a DecoderBlock is random in eval mode."""
    return is_random(build(student, "DecoderBlock", *CHANNELS).eval(), *EVEN)


def bilinear_layers(student: Student) -> object:
    """The layers of a bilinear DecoderBlock."""
    return layers(student.make("DecoderBlock", *CHANNELS, "bilinear"))


def bilinear_numbers(student: Student) -> object:
    """Output and gradients of a bilinear DecoderBlock, in train mode."""
    return derivatives(build(student, "DecoderBlock", *CHANNELS, "bilinear"), *EVEN)


def bilinear_inputs(student: Student) -> object:
    """The inputs after a call of a bilinear DecoderBlock."""
    return inputs_after(build(student, "DecoderBlock", *CHANNELS, "bilinear"), *EVEN)


def aligned_shapes(student: Student) -> object:
    """What comes where one row, one column, both, or two of each are missing."""
    block = build(student, "DecoderBlock", *CHANNELS)
    sizes = [(11, 12), (10, 13), (11, 13), (12, 14)]
    found = [attempt(lambda size=size: shapes(block, EVEN[0], pictures(2, 5, *size, seed=2))) for size in sizes]
    return ["cannot be joined" if "Sizes of tensors" in str(answer) else answer for answer in found]


def border_of_the_skip(student: Student) -> object:
    """Whether the last rows and columns of a skip that is much too large make a difference: they do unless it is cropped."""
    block = build(student, "DecoderBlock", *CHANNELS).eval()
    skip = pictures(2, 5, 16, 20, seed=2)
    other = skip.clone()
    other[..., -3:, :] += 1
    other[..., -4:] += 1
    return same(answer(block, EVEN[0], skip), answer(block, EVEN[0], other))


def unknown_upsampling(student: Student) -> object:
    """What comes of an upsampling that there is not."""
    try:
        student.make("DecoderBlock", *CHANNELS, "cubic")
    except StudentError as error:
        return f"refused with a {error.type}"
    return "accepted"


# ---- 1.3: the network's layers ----

NETWORKS = [(3, 1, [4, 8]), (2, 5, [6, 12, 24]), (1, 3, [6]), (3, 2, [6, 10]), (3, 1, [2, 4, 6, 8, 10])]


def network_layers(student: Student) -> object:
    """The layers of networks of any depth and width."""
    return [attempt(lambda n=n: layers(student.make("UNet", n[0], n[1], features=n[2]))) for n in NETWORKS]


def default_layers(student: Student) -> object:
    """The layers of UNet() as it comes."""
    return layers(student.make("UNet", on="meta"))


def features_afterwards(student: Student) -> object:
    """The list of features after the network was built."""
    return student.make("UNet", 3, 1, features=[4, 8, 16]).arguments_after


def norms_of_the_network(student: Student) -> object:
    """How many norms a network has with and without batch_norm."""
    return [norms(student.make("UNet", 3, 1, features=[4, 8], batch_norm=flag)) for flag in (True, False)]


def upsampling_of_the_network(student: Student) -> object:
    """How many transposed convolutions a network has with each upsampling."""
    found = [layers(student.make("UNet", 3, 1, features=[4, 8], upsampling=kind)) for kind in ("transpose", "bilinear")]
    return [sum(shape[2:] == [2, 2] for shape in network) for network in found]


# ---- 1.4: the forward pass ----


def _network(student: Student, channels: int = 1) -> StudentModule:
    return build(student, "UNet", 3, channels, features=[4, 8, 16])


def forward_layers(student: Student) -> object:
    """The layers of the network whose numbers are compared."""
    return layers(_network(student))


def forward_shapes(student: Student) -> object:
    """What comes for sizes that can be halved and others, one after the other."""
    network = _network(student)
    return [attempt(lambda size=size: shapes(network, pictures(1, 3, *size))) for size in [(24, 32), (30, 25), (64, 24), (24, 32)]]


def forward_numbers(student: Student) -> object:
    """Logits and gradients in train mode."""
    return derivatives(_network(student), pictures(2, 3, 24, 32))


def forward_of_several_classes(student: Student) -> object:
    """The same for three classes."""
    return derivatives(_network(student, 3), pictures(2, 3, 16, 24))


def forward_of_one_level(student: Student) -> object:
    """The same with one skip, whose place cannot be mistaken."""
    return derivatives(build(student, "UNet", 3, 1, features=[4]), pictures(2, 3, 8, 12))


def forward_of_equal_widths(student: Student) -> object:
    """Shape and middle of the logits of one even colour, with nothing from the bottleneck, where any skip fits any decoder.

    Where all is even, it makes no difference in which way a decoder brings two sizes together.
    """
    network = build(student, "UNet", 3, 1, features=[4, 4])
    network.load({name: torch.zeros(shape) for name, shape in network.parameters.items() if shape == (8, 4, 2, 2)})
    colour = torch.tensor([0.5, -1.0, 2.0]).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    logits = answer(network.eval(), colour)
    return [list(logits.shape), logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2]]


def forward_evaluated(student: Student) -> object:
    """Logits in eval mode."""
    return answer(_network(student).eval(), pictures(2, 3, 24, 32))


def forward_twice(student: Student) -> object:
    """Logits of a second picture."""
    network = _network(student).eval()
    answer(network, pictures(2, 3, 24, 32))
    return answer(network, pictures(2, 3, 24, 32, seed=5))


def forward_random(student: Student) -> object:
    """Whether the network is random in eval mode."""
    return is_random(_network(student).eval(), pictures(2, 3, 24, 32))


def forward_input(student: Student) -> object:
    """The picture after a call."""
    return inputs_after(_network(student), pictures(2, 3, 24, 32))


def forward_places(student: Student) -> object:
    """The network in float64 and on another device."""
    return places(student, "UNet", (3, 1, [4, 8]), [pictures(2, 3, 16, 16)])


CONV, ENCODER = _of_block("DoubleConv", (9, 12)), _of_block("EncoderBlock", (12, 14))
SUBJECTS = {
    "1.1": [
        Subject("DoubleConv", CONV[0]),
        Subject("DoubleConv elsewhere", CONV[1], uses=("DoubleConv",)),
        Subject("EncoderBlock", ENCODER[0], uses=("DoubleConv",)),
        Subject("EncoderBlock elsewhere", ENCODER[1], uses=("DoubleConv elsewhere", "EncoderBlock")),
    ],
    "1.2": [
        Subject("transpose", (transposed_layers, transposed_numbers, transposed_halves, transposed_without_norm, transposed_random)),
        Subject("bilinear", (bilinear_layers, bilinear_numbers)),
        Subject("inputs", (transposed_inputs, bilinear_inputs), uses=("transpose",)),
        Subject("elsewhere", (transposed_places,), uses=("transpose",)),
        Subject("alignment", (aligned_shapes, border_of_the_skip)),
        Subject("unknown upsampling", (unknown_upsampling,)),
    ],
    "1.3": [
        Subject("layers", (network_layers, default_layers)),
        Subject("arguments", (features_afterwards,)),
        Subject("batch_norm", (norms_of_the_network,)),
        Subject("upsampling", (upsampling_of_the_network,)),
    ],
    "1.4": [
        Subject("shapes", (forward_layers, forward_shapes)),
        Subject("numbers", (forward_numbers, forward_of_several_classes, forward_of_one_level, forward_of_equal_widths,
                            forward_evaluated, forward_twice, forward_random), uses=("shapes",)),
        Subject("input", (forward_input,), uses=("numbers",)),
        Subject("elsewhere", (forward_places,), uses=("numbers",)),
    ],
}
