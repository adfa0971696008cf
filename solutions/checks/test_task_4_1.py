"""Hidden checks of Task 4.1."""

from math import prod

import torch
from torch import nn

from grader.checks.inputs import kernels, pictures
from grader.expect import expect, expect_close
from grader.servant import cotangents
from grader.student import Student, StudentError, StudentModule
from solutions.checks.matching import expect_layers, values
from solutions.reference import reference

FEATURES = [3, 4, 6]


def test_equals_the_reference(student):
    """With the same weights, the network gives the same logits and gradients as UNet++, with one output and with several.

    Hint: which nodes does X[i][j] see? All of its own row before it, and one from the row below, upsampled.
    """
    for in_channels, out_channels, features, deep_supervision in [(3, 1, FEATURES, False), (2, 5, [5, 7], True)]:
        options = {"features": features, "deep_supervision": deep_supervision}
        network, wanted, dtype = _pair(student, in_channels, out_channels, **options)
        count = len(features) if deep_supervision else 1
        _expect_equal(network, wanted, pictures(2, in_channels, 16, 24, dtype=dtype), count)


def test_every_depth_equals_the_reference(student):
    """With the same weights, forward(x, depth=d) gives the logits of X[0][d], also in train mode.

    Hint: depth 1 is the shallowest. Does a depth change what is computed, or only which output is given?
    """
    network, wanted, dtype = _pair(student, 3, 2, features=FEATURES, deep_supervision=True)
    x = pictures(2, 3, 16, 24, dtype=dtype)
    for depth in range(1, len(FEATURES) + 1):
        with torch.no_grad():
            expect_close(network(x, depth), wanted(x, depth), f"the logits of depth {depth}")


def test_options_are_handed_on(student):
    """batch_norm reaches every node, the list of features stays unchanged, and dtype and device are those of the input.

    Hint: hand batch_norm on to each DoubleConv; make a new list in place of features.append; no .to(device) in forward.
    """
    for batch_norm in (True, False):
        shapes = student.make("UNetPlusPlus", 3, 1, features=[3, 4], batch_norm=batch_norm).shapes()
        vectors, convolutions = [s for s in shapes if len(s) == 1], [s for s in shapes if len(s) == 4]
        norms = 2 * len(kernels(shapes, 3))  # a weight and a bias each
        holds = len(vectors) >= norms if batch_norm else len(convolutions) >= len(vectors)
        came = f"{len(vectors)} vectors beside {len(convolutions)} convolutions with batch_norm={batch_norm}"
        expect(holds, came=came, expected=f"at least {norms}" if batch_norm else "at most one for each convolution")
    after = student.make("UNetPlusPlus", 3, 1, features=[3, 4]).arguments_after[1].get("features")
    expect(after == [3, 4], came=f"the list is {after} afterwards", expected="[3, 4] as before")
    first, second = (_size(student.make("UNetPlusPlus", on="meta")) for _ in range(2))
    expect(first == second, came="a second default network of another size", expected="the same size")
    wide = student.make("UNetPlusPlus", 3, 1, features=[3, 4], dtype=torch.float64)(pictures(2, 3, 8, 9, dtype=torch.float64))
    expect(wide.dtype == torch.float64, came=f"{wide.dtype} for float64 in", expected="float64")
    try:
        student.make("UNetPlusPlus", 3, 1, features=[3, 4], on="meta")(pictures(2, 3, 8, 9, device="meta"))
    except StudentError as error:
        if "item() cannot be called on meta tensors" not in error.message:
            raise


def _size(network: StudentModule) -> int:
    return sum(map(prod, network.shapes()))


def _pair(student: Student, in_channels: int, out_channels: int, **options) -> tuple[StudentModule, nn.Module, torch.dtype]:
    """The submission's network and the reference's, in train mode and with the same weights; OtherLayers where they cannot have them.

    In float64 where the submission's code allows it, else in float32: a hard-coded dtype is another check's business.
    """
    dtype, count = torch.float64, len(options["features"]) if options["deep_supervision"] else 1
    try:
        network = student.make("UNetPlusPlus", in_channels, out_channels, dtype=dtype, **options).train()
        network.outputs(pictures(2, in_channels, 16, 24, dtype=dtype), count=count)
    except StudentError:
        dtype = torch.float32
    network = student.make("UNetPlusPlus", in_channels, out_channels, dtype=dtype, **options).train()
    wanted = reference().UNetPlusPlus(in_channels, out_channels, **options).to(dtype)
    expect_layers(network, wanted)
    known = set(network.shapes())
    network.load({name: _value(shape, dtype) for name, shape in network.parameters.items()})
    with torch.no_grad():
        for parameter in wanted.parameters():
            shape = tuple(parameter.shape)
            parameter.copy_(_value(shape, dtype) if shape in known else torch.zeros(shape, dtype=dtype))
    return network, wanted, dtype


def _value(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """The value of every parameter of this shape; a 3×3 kernel is alike for all input channels, so that their order makes no difference."""
    value = values(shape, dtype)
    return value.mean(dim=1, keepdim=True).expand(shape) * shape[1] ** 0.5 if shape[2:] == (3, 3) else value


def _expect_equal(network: StudentModule, wanted: nn.Module, x: torch.Tensor, count: int) -> None:
    came = network.vjp(x, count=count)
    leaf = x.clone().requires_grad_()
    outputs = wanted(leaf)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    for depth, (output, expected) in enumerate(zip(came.outputs, outputs), start=1):
        expect_close(output, expected.detach(), f"output {depth}" if count > 1 else "the output")
    gradient = torch.autograd.grad(outputs, leaf, cotangents(outputs, seed=network.student.seed))[0]
    expect(came.inputs[0] is not None, came="no gradient at the picture", expected="a gradient")
    expect_close(came.inputs[0], gradient, "the gradient of the picture")
