"""What a check sees of a submission: construct, call, differentiate, read and load parameters.

A check never touches the student's objects. `Student` forwards each request to a transport: the
servant in this process (notebook), or one behind a process wall (`grader.judge`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .expect import Mismatch
from .servant import Servant, StudentError

__all__ = [
    "FAULTS", "Experiment", "Gradients", "Instrument", "JudgeFault", "NoAnswer", "NotJudged", "State", "Student", "StudentError",
    "StudentModule",
]
FAULTS = ("The judge failed", "ungraded, by a fault of the judge")  # how notes on the judge's own faults begin


class NotJudged(Exception):
    """This check says nothing about this submission (an earlier task is at fault); it is left out of the marks."""


class JudgeFault(Exception):
    """The kit's own machinery failed; the submission is not to blame."""


class NoAnswer(Exception):
    """The submission's process gives no answer, a broken one or a late one; the text says which."""


@dataclass
class Gradients:
    """A vector-Jacobian product: `outputs`, and per input and per parameter a gradient, or None where none arrived."""

    outputs: list[torch.Tensor]
    inputs: list[torch.Tensor | None]
    parameters: dict[str, torch.Tensor | None]


# Tried in turn where no record says how the network was built: the lab's own widths.
WIDTHS = ((16, 32, 64, 128), (64, 128, 256, 512), (8, 16, 32, 64), (32, 64, 128, 256), (12, 24, 48, 96), (8, 16, 32), (16, 32, 64))


@dataclass(frozen=True)
class Experiment:
    """The checkpoint's bytes, and where they are known the network's `features` and the side of the pictures it learnt from, in pixels.

    `checkpoint` is None where there is none that can be judged, and `problem` says why.
    """

    checkpoint: bytes | None = None
    features: tuple[int, ...] | None = None
    size: int | None = None
    problem: str = "no checkpoint was handed in"

    @property
    def widths(self) -> tuple[tuple[int, ...], ...]:
        """The `features` to try, the likeliest first."""
        return (self.features,) if self.features else WIDTHS


@dataclass(frozen=True)
class Instrument:
    """Something of the kit's on the submission's side (`grader.instruments`), for the submission's functions to use."""

    handle: int
    text: str


@dataclass(frozen=True)
class State:
    """A model as it is now: its values and gradients by name, its mode, and the calls it remembers."""

    values: dict[str, torch.Tensor]
    gradients: dict[str, torch.Tensor | None]
    training: bool
    calls: list[dict]


class Student:
    """A submission as checks see it; `transport` is any object with `answer(operation, fields) -> dict`.

    `doing` says in words what was asked for last: the input of a failed check.
    """

    def __init__(self, transport, seed: int = 0, experiment: Experiment | None = None):
        self.transport = transport
        self.seed = seed
        self.experiment = experiment or Experiment()
        self.doing = ""
        self.notes: list[str] = []
        self.running = False  # whether the last request ran a module that had been built
        self.gradients = True  # False when the last function that was run had left them off on its return

    @classmethod
    def in_process(cls, namespace: dict, experiment: Experiment | None = None) -> Student:
        """A session on the live classes of a notebook or module."""
        return cls(Servant(namespace), experiment=experiment)

    def note(self, text: str) -> None:
        """Leave a note on the submission that costs nothing."""
        if text not in self.notes:
            self.notes.append(text)

    def ask(self, operation: str, **fields) -> dict:
        """One request to the submission; StudentError when it raises."""
        self.running = operation in ("call", "vjp", "run")
        return self.transport.answer(operation, fields)

    def make(self, name: str, *args, on: str | None = None, dtype: torch.dtype | None = None, **kwargs) -> StudentModule:
        """Construct `name(*args, **kwargs)`, on device `on` ("meta" allocates nothing) and in `dtype` if given.

        Instruments and StudentModules among the arguments stand for the things themselves.
        """
        self.doing = _call_text(name, args, kwargs) + (f" on device {on!r}" if on else "")
        arguments = {"args": [_handed(_copy(value)) for value in args], "kwargs": {k: _handed(_copy(v)) for k, v in kwargs.items()}}
        dtype_name = str(dtype).removeprefix("torch.") if dtype else None
        reply = self.ask("make", name=name, device=on, dtype=dtype_name, seed=self.seed, **arguments)
        return StudentModule(self, reply, self.doing)

    def build(self, kind: str, text: str, **fields) -> Instrument:
        """An instrument of `grader.instruments.KINDS`; `text` says to the reader of a failed check what it is."""
        return Instrument(self.ask("build", kind=kind, fields=_handed(fields))["handle"], text)

    def run(self, name: str, *args, **kwargs):
        """What the submission's function `name` returns: numbers, strings, tensors, and lists and dicts of them.

        Instruments and StudentModules among the arguments stand for the things themselves.
        """
        self.doing = _call_text(name, args, kwargs)
        self.gradients = True  # where this one raises, nobody knows: what an earlier one left off is not its fault
        reply = self.ask("run", name=name, args=_handed(list(args)), kwargs=_handed(kwargs), seed=self.seed)
        self.gradients = reply["gradients"]
        return reply["value"]

    def state(self, model: Instrument | StudentModule) -> State:
        """The present state of a model on the submission's side."""
        return State(**self.ask("state", handle=model.handle))

    def saved(self, scratch: Instrument) -> dict:
        """What the submission saved at a `Scratch` path, as `torch.load(…, weights_only=True)` gives it."""
        return self.ask("saved", handle=scratch.handle)["values"]


class StudentModule:
    """One of the submission's modules, at arm's length.

    `parameters` maps their names to shapes (no values cross, so "meta" and large networks are fine);
    `arguments_after` are the constructor's arguments afterwards.
    """

    def __init__(self, student: Student, reply: dict, text: str):
        self.student = student
        self.handle = reply["handle"]
        self.text = text
        self.parameters = {name: tuple(shape) for name, shape in reply["parameters"].items()}  # name → shape
        self.arguments_after = (reply["args"], reply["kwargs"])
        self.inputs_after: list[torch.Tensor] = []
        self.on_meta = False

    def __call__(self, *inputs) -> torch.Tensor:
        """The one tensor that the module gives for `inputs`, tensors and plain values; Mismatch when it gives anything else."""
        return self.outputs(*inputs, count=1)[0]

    def outputs(self, *inputs, count: int, autocast: bool = False) -> list[torch.Tensor]:
        """The `count` tensors that the module gives for `inputs`, without gradients; Mismatch for anything else."""
        self._describe(inputs, autocast=autocast)
        self.on_meta = any(isinstance(x, torch.Tensor) and x.is_meta for x in inputs)
        reply = self._ask("call", inputs=list(inputs), seed=self.student.seed, **({"autocast": True} if autocast else {}))
        self.inputs_after = reply["inputs"]
        return self._tensors(reply["outputs"], count)

    def vjp(self, *inputs: torch.Tensor, count: int = 1, constant: list = (), autocast: bool = False, listed: bool = False) -> Gradients:
        """Gradients of the outputs' product with random cotangents; shapes as the inputs and parameters.

        `constant` inputs follow the others and are not differentiated; `autocast`: under bfloat16 autocast; `listed`: the
        differentiated inputs go in as one list.
        """
        self._describe((*inputs, *constant), "differentiated at", autocast)
        self.on_meta = False
        options = {"constant": list(constant), "autocast": autocast} if constant or autocast else {}
        options |= {"listed": True} if listed else {}
        reply = self._ask("vjp", inputs=list(inputs), seed=self.student.seed, **options)
        return Gradients(self._tensors(reply["outputs"], count), reply["inputs"], reply["parameters"])

    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of every parameter that was registered when the module was built."""
        return list(self.parameters.values())

    def load(self, parameters: dict[str, torch.Tensor]) -> None:
        """Copy values into the parameters of these names."""
        self._ask("load", parameters=parameters)

    def load_file(self, content: bytes) -> None:
        """Load a checkpoint, given as the bytes of its file."""
        self.student.doing = f"{self.text} given the checkpoint of {len(content) / 1e6:.1f} MB"
        self._ask("load_file", content=torch.frombuffer(bytearray(content), dtype=torch.uint8))

    def attribute(self, name: str):
        """The value of an attribute: a number, a string, a tensor, or lists and dicts of them."""
        return self._ask("attribute", name=name)["value"]

    def train(self) -> StudentModule:
        """Switch to train mode."""
        self._ask("mode", training=True)
        return self

    def eval(self) -> StudentModule:
        """Switch to eval mode."""
        self._ask("mode", training=False)
        return self

    def _ask(self, operation: str, **fields) -> dict:
        return self.student.ask(operation, handle=self.handle, **fields)

    def _describe(self, inputs, verb: str = "called with", autocast: bool = False) -> None:
        shapes = ", ".join(_value_text(value) for value in inputs)
        self.student.doing = f"{self.text} {verb} {shapes}" + (" under bfloat16 autocast" if autocast else "")

    def _tensors(self, outputs, count: int) -> list[torch.Tensor]:
        values = outputs if isinstance(outputs, list) else [outputs]
        if len(values) != count or not all(isinstance(value, torch.Tensor) for value in values):
            expected = "one tensor" if count == 1 else f"a tuple of {count} tensors"
            raise Mismatch(_value_text(outputs), expected, _hint_for(outputs))
        if any(v.numel() == 0 for v in values):
            raise Mismatch(_value_text(outputs), "a value for every position", _hint_for(outputs))
        odd = [v for v in values if not v.is_floating_point() or v.is_meta is not self.on_meta]
        if odd:
            raise Mismatch(came=f"a {odd[0].dtype} tensor on {odd[0].device}", expected="floating point, on the input's device")
        if not self.on_meta and not all(bool(torch.isfinite(v).all()) for v in values):
            raise Mismatch(came="NaN or infinite values", expected="finite numbers")
        return values


def _hint_for(outputs) -> str:
    if outputs is None:
        return "forward gives nothing back: is its return missing? print shows a value, it does not return it"
    if isinstance(outputs, str):
        return "stay in torch: no .numpy() and no .item() in forward"
    return "compare what forward returns with the task's shape table: how many tensors, in which order?"


def _copy(value):
    """A value of its own for the submission, which may well change it."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return dict(value)
    return list(value) if isinstance(value, (list, tuple)) else value


def _handed(value):
    """Arguments as they cross: an instrument or module becomes the handle of what is on the other side."""
    if isinstance(value, (Instrument, StudentModule)):
        return {"handle": value.handle}
    if isinstance(value, dict):
        return {key: _handed(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_handed(item) for item in value]
    return value


def _call_text(name: str, args: tuple, kwargs: dict) -> str:
    words = [_value_text(value) for value in args] + [f"{key}={_value_text(value)}" for key, value in kwargs.items()]
    return f"{name}({', '.join(words)})"


def as_tuple(values: list) -> dict:
    """What reaches the submission as a tuple; lists and tuples arrive as lists otherwise."""
    return {"tuple": list(values)}


def _value_text(value) -> str:
    if isinstance(value, dict) and value.keys() == {"tuple"}:
        return f"({', '.join(_value_text(item) for item in value['tuple'])})"
    if isinstance(value, (Instrument, StudentModule)):
        return value.text
    if isinstance(value, dict) and any(isinstance(item, (Instrument, StudentModule)) for item in value.values()):
        return "{" + ", ".join(f"{key!r}: {_value_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, torch.Tensor):
        dtype = "" if value.dtype == torch.float32 else f", {str(value.dtype).removeprefix('torch.')}"
        return f"a tensor of shape {tuple(value.shape)}{dtype}"
    if isinstance(value, list) and any(isinstance(item, torch.Tensor) for item in value):
        return f"a tuple of {len(value)} values: " + ", ".join(_value_text(item) for item in value[:4])
    return value[:120] if isinstance(value, str) and value.startswith("an object of type") else repr(value)[:120]
