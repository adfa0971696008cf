"""How facets ask: modules with weights that any style of writing can be given, and answers that can be compared."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch

from grader.expect import Mismatch
from grader.runner import EXPLANATIONS
from grader.student import JudgeFault, NoAnswer, Student, StudentError, StudentModule

RELATIVE, ABSOLUTE = 2e-4, 1e-6  # float32 through a small network keeps this much of the largest value
RAISED = "raised"  # how the answer begins where the code raised
Facet = Callable[[Student], object]


@dataclass(frozen=True)
class Subject:
    """One thing that a task asks for, its facets, and the subjects of the task that it is built from."""

    name: str
    facets: tuple[Facet, ...]
    uses: tuple[str, ...] = ()


def called(facets: list[Facet], name: str) -> tuple[Facet, ...]:
    """Facets that are made for several names, each with one of its own: answers are kept by it."""
    for facet in facets:
        facet.__qualname__ = f"{facet.__name__} of {name}"
    return tuple(facets)


def observe(facet: Facet, student: Student) -> object:
    """What a facet sees; where the submission's code raised, of what kind; and a word for an answer that is none."""
    try:
        return facet(student)
    except StudentError as error:
        return _raised(error)
    except Mismatch as mismatch:
        return f"mismatch: {mismatch.expected}"
    except (NoAnswer, JudgeFault):
        raise
    except Exception as odd:  # whatever came did not fit: another facet may still tell what it is
        return f"odd: {type(odd).__name__}"


def _raised(error: StudentError) -> str:
    """The type of an exception and which of those that students often meet it is: two that only raise are not alike by that."""
    text = f"{error.type}: {error.message}"
    known = [pattern for pattern in EXPLANATIONS if re.search(pattern, error.message) or re.search(pattern, text)]
    return f"{RAISED} {error.type} {known[0] if known else ''}"


def attempt(function: Callable[[], object]) -> object:
    """The function's value, or how it failed: for facets that go on after one question failed."""
    return observe(lambda _: function(), None)


def only_raised(answer: object) -> bool:
    """Whether an answer holds nothing but that the code raised."""
    if isinstance(answer, (list, tuple)):
        return bool(answer) and all(map(only_raised, answer))
    return isinstance(answer, str) and answer.startswith(RAISED)


def same(came: object, known: object) -> bool:
    """Whether two answers are alike: tensors in shape and values, numbers within float32's precision, the rest by equality."""
    if isinstance(came, torch.Tensor) and isinstance(known, torch.Tensor):
        return came.shape == known.shape and came.is_meta == known.is_meta and (known.is_meta or _near(came, known))
    if isinstance(came, bool) or isinstance(known, bool) or not isinstance(came, (int, float)):
        if isinstance(came, (list, tuple)) and isinstance(known, (list, tuple)):
            return len(came) == len(known) and all(map(same, came, known))
        if isinstance(came, dict) and isinstance(known, dict):
            return came.keys() == known.keys() and all(same(came[key], known[key]) for key in came)
        return type(came) is type(known) and came == known
    if not isinstance(known, (int, float)):
        return False
    try:
        if not (math.isfinite(came) and math.isfinite(known)):
            return came == known or came != came and known != known
        return abs(came - known) <= ABSOLUTE + RELATIVE * abs(known)
    except OverflowError:  # an integer that is no float, 10**400
        return came == known


def _near(came: torch.Tensor, known: torch.Tensor) -> bool:
    came, known = came.to(torch.float64), known.to(torch.float64)
    finite = torch.isfinite(known)
    if not torch.equal(finite, torch.isfinite(came)):
        return False
    came, known = came[finite], known[finite]
    largest = float(known.abs().max()) if known.numel() else 0.0
    return bool(((came - known).abs() <= ABSOLUTE + RELATIVE * largest).all())


# ---- modules ----


def weight(shape: tuple[int, ...]) -> torch.Tensor:
    """The value of a weight, by its shape alone.

    Alike for all input channels of a 3×3 convolution, so that the order of concatenation in front of it makes no difference.
    """
    generator = torch.Generator().manual_seed(hash(_kernel(shape)) % 2**31)  # integers hash alike in every process
    if len(shape) < 2:
        return torch.rand(shape, generator=generator) + 0.5
    concatenated = max(shape[2:], default=1) > 2  # nothing is concatenated in front of 1×1 and transposed convolutions
    values = torch.randn((shape[0], 1 if concatenated else shape[1], *shape[2:]), generator=generator)
    return (values * (2 / math.prod(shape[1:])) ** 0.5).expand(shape)


def _kernel(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without the 1×1 at its end: such a convolution may be written as a product of matrices."""
    return shape[:2] if shape[2:] in ((1, 1), (1,)) else tuple(shape)


def scales(module: StudentModule) -> set[str]:
    """The names of the vectors that scale, as a norm's weight does: they are 1 at first, and biases are not."""
    vectors = [name for name, shape in module.parameters.items() if len(shape) < 2]
    values = module.student.ask("state", handle=module.handle)["values"] if vectors else {}
    return {name for name in vectors if name in values and bool((values[name] == 1).all())}


def load(module: StudentModule) -> StudentModule:
    """The module with the weights of `weight`, and 0 for biases, so that it makes no difference whether there is one."""
    scaling = scales(module)
    shaped = module.parameters.items()
    module.load({name: weight(shape) if len(shape) > 1 or name in scaling else torch.zeros(shape) for name, shape in shaped})
    return module


def build(student: Student, name: str, *args, **kwargs) -> StudentModule:
    """A module of the submission's with weights that are known."""
    return load(student.make(name, *args, **kwargs))


def answer(module: StudentModule, *inputs: torch.Tensor, seed: int = 0) -> object:
    """Whatever the module gives for the inputs."""
    return module.student.ask("call", handle=module.handle, inputs=list(inputs), seed=seed)["outputs"]


def inputs_after(module: StudentModule, *inputs: torch.Tensor) -> list:
    """The inputs as they are after a call."""
    return module.student.ask("call", handle=module.handle, inputs=list(inputs), seed=0)["inputs"]


def derivatives(module: StudentModule, *inputs: torch.Tensor) -> object:
    """Outputs, the gradient at each input, and the shapes of the weights that get none.

    Of a module that makes its weights anew in each call, shapes alone: its numbers are those of chance.
    """
    if not module.parameters and is_random(module, *inputs):
        return ["made anew in each call", shapes(module, *inputs)]
    reply = module.student.ask("vjp", handle=module.handle, inputs=list(inputs), seed=0)
    idle = sorted(list(module.parameters[name]) for name, gradient in reply["parameters"].items() if gradient is None)
    return [reply["outputs"], reply["inputs"], [list(_kernel(tuple(shape))) for shape in idle if len(shape) > 1]]


def _shapes(outputs: object) -> object:
    if isinstance(outputs, list):
        return [_shapes(output) for output in outputs]
    return list(outputs.shape) if isinstance(outputs, torch.Tensor) else str(outputs)


def shapes(module: StudentModule, *inputs: torch.Tensor) -> object:
    """The shapes of what the module gives."""
    return _shapes(answer(module, *inputs))


def layers(module: StudentModule) -> list[list[int]]:
    """The shapes of the weights of convolutions and linear layers."""
    return sorted(list(_kernel(shape)) for shape in module.shapes() if len(shape) > 1)


def norms(module: StudentModule) -> int:
    """How many norms with a weight there are."""
    return len(scales(module))


def is_random(module: StudentModule, *inputs: torch.Tensor) -> bool:
    """Whether the module gives other numbers with another seed."""
    return not same(answer(module, *inputs, seed=1), answer(module, *inputs, seed=2))


def places(student: Student, name: str, arguments: tuple, inputs: list[torch.Tensor]) -> list:
    """The dtype for float64 inputs, and whether the module runs on another device."""
    wide = attempt(lambda: _dtypes(answer(student.make(name, *arguments, dtype=torch.float64), *[x.double() for x in inputs])))
    elsewhere = [torch.empty_like(x, device="meta") for x in inputs]
    return [wide, attempt(lambda: shapes(student.make(name, *arguments, on="meta"), *elsewhere))]


def _dtypes(outputs: object) -> object:
    if isinstance(outputs, list):
        return [_dtypes(output) for output in outputs]
    return str(outputs.dtype) if isinstance(outputs, torch.Tensor) else str(outputs)
