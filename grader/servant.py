"""Does to a submission's objects what a check asks for, and knows nothing of checks.

The same class serves in the student's notebook (in process) and in the sandboxed child (behind a
socket). Students import it, so it needs torch and the standard library alone.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import linecache
import traceback

import torch
from torch import nn

from .instruments import KINDS, MODELS, Scratch

MESSAGE_LIMIT = 400  # characters of a student's exception that are passed on
OWN_CODE = ("/torch/", "/grader/", "/site-packages/", "<frozen", "/lib/python", "/lib/contextlib")


class StudentError(Exception):
    """The submission raised, or has no such name; `type` is the exception's name, `where` a line of the submission."""

    def __init__(self, type: str, message: str, where: str = ""):
        super().__init__(type, message, where)
        self.type, self.message, self.where = type, message, where

    def __str__(self) -> str:
        text = f"{self.type}: {self.message}" if self.message else self.type
        return f"{text} ({self.where})" if self.where else text


class Servant:
    """Constructs, calls and differentiates what `namespace` defines, on `device`.

    Every operation is a method, takes and returns plain values and tensors, and raises `StudentError`
    for whatever the submission does wrong.
    """

    OPERATIONS = ("make", "call", "vjp", "load", "load_file", "mode", "attribute", "build", "run", "state", "saved", "forget")

    def __init__(self, namespace: dict, device: str = "cpu", missing: dict[str, str] | None = None):
        self.namespace = namespace
        self.device = device
        self.missing = missing or {}  # name → why the submission does not define it
        self.objects: dict[int, object] = {}  # what was made or built, by handle
        self.handles = itertools.count()

    def answer(self, operation: str, fields: dict) -> dict:
        """Carry out one operation; StudentError when the submission fails in it."""
        if operation not in self.OPERATIONS:
            raise StudentError("ProtocolError", f"no operation {operation!r}")
        return getattr(self, operation)(**fields)

    def make(self, name: str, args: list, kwargs: dict, device: str | None, dtype: str | None, seed: int) -> dict:
        """Construct `name(*args, **kwargs)`; the reply: a handle, the parameters' shapes, the arguments as they are afterwards.

        {"handle": n} in an argument stands for what was made or built before, {"tuple": [...]} for a tuple.
        """
        factory = self._find(name)
        args, kwargs = self._arguments(args), self._arguments(kwargs)
        with student_code(seed), torch.device(device) if device else contextlib.nullcontext():
            module = factory(*args, **kwargs)
            if not callable(module):
                raise StudentError("TypeError", f"{name} does not make an nn.Module but a {type(module).__name__}")
            if isinstance(module, nn.Module):  # a loss may be any callable
                module = module.to(device=None if device else self.device, dtype=getattr(torch, dtype) if dtype else None)
            parameters = {name: _shape(parameter) for name, parameter in _parameters(module).items()}
        return {"handle": self._keep(module), "parameters": parameters, "args": _send(args), "kwargs": _send(kwargs)}

    def call(self, handle: int, inputs: list, seed: int, autocast: bool = False) -> dict:
        """Call the object without gradients; the reply holds the outputs, and the tensors among the inputs as they are afterwards.

        `autocast` runs it under bfloat16 autocast.
        """
        inputs = self._arguments(inputs, self.device)
        with student_code(seed), torch.no_grad(), torch.autocast(self._device_type(), torch.bfloat16, enabled=autocast):
            outputs = self.objects[handle](*inputs)
        return {"outputs": _send(outputs), "inputs": _send([value for value in inputs if isinstance(value, torch.Tensor)])}

    def vjp(self, handle: int, inputs: list, seed: int, constant: list = (), autocast: bool = False, listed: bool = False) -> dict:
        """Vector-Jacobian product for cotangents drawn from `seed`: outputs, and a gradient (or None) for each input and parameter.

        `constant` inputs come after the others, and no gradient is asked for them; `listed`: the others go in as one list.
        """
        module = self.objects[handle]
        leaves = [leaf.requires_grad_() for leaf in self._arguments(inputs, self.device)]
        constant = self._arguments(constant, self.device)
        parameters = _parameters(module)
        with student_code(seed), torch.enable_grad(), torch.autocast(self._device_type(), torch.bfloat16, enabled=autocast):
            # clones: a leaf that requires a gradient refuses in-place work, which is another check's business
            given = [leaf.clone() for leaf in leaves]
            outputs = module(*([given] if listed else given), *constant)
            tensors = [value for value in _flatten(outputs) if isinstance(value, torch.Tensor)]
            differentiable = [tensor for tensor in tensors if tensor.requires_grad]
            if not differentiable:
                raise StudentError("NoGradient", "the output carries no gradient (torch.no_grad, detach or .data?)")
            trainable = [parameter for parameter in parameters.values() if parameter.requires_grad]
            gradients = torch.autograd.grad(
                differentiable, leaves + trainable, cotangents(differentiable, seed), allow_unused=True
            )
        by_parameter = dict(zip([name for name, p in parameters.items() if p.requires_grad], gradients[len(leaves):]))
        return {
            "outputs": _send(outputs),
            "inputs": [_send(gradient) for gradient in gradients[: len(leaves)]],
            "parameters": {name: _send(by_parameter.get(name)) for name in parameters},
        }

    def load(self, handle: int, parameters: dict) -> dict:
        """Copy the given values into the parameters of these names."""
        own = dict(self.objects[handle].named_parameters())
        with student_code(0), torch.no_grad():
            for name, value in parameters.items():
                own[name].copy_(value)
        return {}

    def mode(self, handle: int, training: bool) -> dict:
        """Switch to train or eval mode."""
        with student_code(0):
            if isinstance(self.objects[handle], nn.Module):
                self.objects[handle].train(training)
        return {}

    def load_file(self, handle: int, content: torch.Tensor) -> dict:
        """Load a checkpoint, given as the bytes of its file, into a module; nothing pickled but tensors is accepted."""
        with student_code(0):
            state = torch.load(io.BytesIO(content.numpy().tobytes()), map_location="cpu", weights_only=True)
            for key in ("model_state_dict", "state_dict", "model", "weights"):  # as many training loops wrap it
                if isinstance(state, dict) and isinstance(state.get(key), dict):
                    state = state[key]
            self.objects[handle].load_state_dict(state)
        torch.backends.mkldnn.set_flags(True)  # a trained network is large: faster kernels are worth compiling
        return {}

    def attribute(self, handle: int, name: str) -> dict:
        """The value of an attribute."""
        with student_code(0):
            return {"value": _send(getattr(self.objects[handle], name))}

    def build(self, kind: str, fields: dict) -> dict:
        """Build an instrument; {"handle": n} in a field stands for what was made or built before."""
        fields = self._arguments(fields)
        if kind == "device":
            fields = {"type": self.device}
        with torch.random.fork_rng(devices=[]):  # a layer draws weights before an instrument sets them
            built = KINDS[kind](**fields)
        return {"handle": self._keep(built.to(self.device) if kind in MODELS else built)}

    def run(self, name: str, args: list, kwargs: dict, seed: int) -> dict:
        """Call the function `name`; {"handle": n} in an argument stands for what was made or built before."""
        function = self._find(name)
        args, kwargs = self._arguments(args, self.device), self._arguments(kwargs, self.device)
        with student_code(seed), torch.enable_grad():  # what a call switches off stays off in that call alone
            value = function(*args, **kwargs)
            return {"value": _send(value), "gradients": torch.is_grad_enabled()}

    def state(self, handle: int) -> dict:
        """A model's values and gradients by name, its mode, and the calls that an instrument remembers."""
        with student_code(0):
            model = self.objects[handle]
            return {
                "values": _send(model.state_dict()),
                "gradients": {name: _send(parameter.grad) for name, parameter in model.named_parameters()},
                "training": bool(model.training),
                "calls": _send(getattr(model, "calls", [])),
            }

    def saved(self, handle: int) -> dict:
        """The values in a checkpoint that the submission wrote to a `Scratch` path; nothing pickled but tensors is accepted."""
        with student_code(0):
            return {"values": _send(torch.load(self.objects[handle].path, map_location="cpu", weights_only=True))}

    def forget(self) -> dict:
        """Let go of everything that was made or built."""
        self.objects.clear()
        return {}

    def _keep(self, thing: object) -> int:
        handle = next(self.handles)
        self.objects[handle] = thing
        return handle

    def _device_type(self) -> str:
        return torch.device(self.device).type

    def _arguments(self, value, device: str = "cpu"):
        """Values as the submission gets them: copies of tensors on `device`, and the objects that handles stand for."""
        if isinstance(value, dict):
            if value.keys() == {"handle"}:
                thing = self.objects[value["handle"]]
                return thing.path if isinstance(thing, Scratch) else thing
            if value.keys() == {"tuple"}:
                return tuple(self._arguments(value["tuple"], device))
            return {key: self._arguments(item, device) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._arguments(item, device) for item in value]
        if not isinstance(value, torch.Tensor):
            return value
        return value.detach().clone() if value.is_meta else value.detach().clone().to(device)

    def _find(self, name: str):
        if name in self.namespace:
            return self.namespace[name]
        raise StudentError("NameError", self.missing.get(name, f"{name} is not defined"))


def cotangents(outputs: list[torch.Tensor], seed: int) -> list[torch.Tensor]:
    """One standard-normal cotangent an output (random, because BatchNorm sends back zero for a constant one)."""
    generator = torch.Generator().manual_seed(seed)
    draws = [torch.randn(output.shape, generator=generator, dtype=torch.float64) for output in outputs]
    return [draw.to(output) for draw, output in zip(draws, outputs)]


@contextlib.contextmanager
def student_code(seed: int):
    """Seed torch for the submission's code, restore the random state afterwards, and turn exceptions into StudentError."""
    with torch.random.fork_rng(devices=[]):
        _seed(seed)
        try:
            yield
        except StudentError:
            raise
        except RecursionError as error:
            raise StudentError("RecursionError", "the code calls itself without an end", where(error)) from None
        except Exception as error:
            raise StudentError(type(error).__name__, str(error)[:MESSAGE_LIMIT], where(error)) from error


def _seed(seed: int) -> None:
    """As `torch.manual_seed`, which records the call stack, for GPUs that nobody uses, at each of a thousand requests."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


def where(error: BaseException) -> str:
    """Where the submission's own code raised: the line that was called first and, if it lies deeper, the last one."""
    frames = [(frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    own = [(code, line) for code, line in frames if not _is_foreign(code.co_filename)]
    places = [_place(*own[0]), _place(*own[-1])] if own else []
    return ", then ".join(dict.fromkeys(places))


def _is_foreign(filename: str) -> bool:
    path = filename.replace("\\", "/").lower()
    return any(part in path for part in OWN_CODE)


def _place(code, line: int) -> str:
    name = code.co_filename
    text = linecache.getline(name, line).strip()[:100]
    file = f" of {name[1:-1]}" if name.startswith("<") and name.endswith(">") else ""
    function = getattr(code, "co_qualname", code.co_name)
    inside = f" in {function}" if function != "<module>" else ""
    return f"line {line}{file}{inside}" + (f": `{text}`" if text else "")


def _parameters(thing: object) -> dict[str, nn.Parameter]:
    return dict(thing.named_parameters()) if isinstance(thing, nn.Module) else {}


def _shape(parameter: nn.Parameter) -> list[int]:
    """Its sizes; none yet for a lazy layer that has not seen an input."""
    return [] if isinstance(parameter, nn.UninitializedParameter) else list(parameter.shape)


def _flatten(value) -> list:
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in _flatten(item)]
    return [value]


def _send(value):
    """Values that may cross the wall: tensors, numbers, strings, None, and lists and dicts of them; a note for anything else."""
    if isinstance(value, torch.Tensor):
        plain = value.detach().as_subclass(torch.Tensor)
        return plain.clone() if plain.is_meta else plain.cpu().clone()
    if isinstance(value, (list, tuple)):
        return [_send(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _send(item) for key, item in value.items()}
    if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0:
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return f"an object of type {type(value).__name__}"
