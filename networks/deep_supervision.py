"""Deep supervision: inner decoders get heads and a share of the loss while the network trains."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PROBE = 256  # pixels a side, enough for eight levels; on the meta device they cost nothing


class DeepSupervision(nn.Module):
    """Any U-Net with an auxiliary 1×1 head on each inner decoder; in eval mode it is the network alone.

    Args:
        model: a network that gives logits. It stays as it is, but for a hook on each of these decoders.
        decoders: names of submodules whose output gets a head, the one nearest to the network's output first. Unless
            said, all of `model.decoders` but the last one, which has the network's own head; that list must begin with
            the deepest.
        in_channels: channels of the pictures.

    Shapes:
        x: (B, in_channels, H, W) → in train mode [logits, auxiliary logits, …], in eval mode logits, each (B, K, H, W);
        auxiliary logits are enlarged bilinearly

    Raises ValueError where no inner decoder is found, where a name is no submodule, and where the network or a decoder
    does not give one tensor (B, C, H, W).

    Source: Lee et al.: Deeply-Supervised Nets, 2015, arXiv:1409.5185.
    """

    def __init__(self, model: nn.Module, decoders: Sequence[str] | None = None, *, in_channels: int = 3):
        super().__init__()
        self.names = list(inner_decoders(model) if decoders is None else decoders)
        classes, *channels = _channels(model, self.names, in_channels)
        like = next(model.parameters())
        heads = (nn.Conv2d(each, classes, 1, device=like.device, dtype=like.dtype) for each in channels)
        self.model, self.heads = model, nn.ModuleList(heads)
        self._outputs: dict[str, Tensor] | None = None  # of the decoders, during a pass that wants them
        # Hooks for good, not for the time of a pass: torch.compile follows these alone. Bound methods, so that a copy
        # of the network has hooks of its own.
        for name in self.names:
            model.get_submodule(name).register_forward_hook(partial(self._keep, name))

    def _keep(self, name: str, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        if self._outputs is not None:
            self._outputs[name] = output

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        if not self.training:
            return self.model(x)
        self._outputs = {}
        logits = self.model(x)
        outputs, self._outputs = self._outputs, None  # nothing of this pass stays behind
        small = [head(outputs[name]) for name, head in zip(self.names, self.heads)]  # (B, K, H / 2^level, W / 2^level)
        return [logits, *(F.interpolate(each, x.shape[-2:], mode="bilinear", align_corners=False) for each in small)]


class AuxiliaryLoss(nn.Module):
    """Weighted mean of a loss over a list of outputs, whose weights fall by a factor; of a single tensor the loss itself.

    Args:
        criterion: takes (logits, target) and gives a 0-d tensor.
        factor: the weight of each output in parts of the one before, the main one's first; 1: all weigh alike.

    Raises ValueError for a factor that is not above 0.
    """

    def __init__(self, criterion: Callable[[Tensor, Tensor], Tensor], factor: float = 0.5):
        super().__init__()
        if not factor > 0:
            raise ValueError(f"factor={factor}: must be above 0.")
        self.criterion, self.factor = criterion, factor

    def forward(self, outputs: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
        if torch.is_tensor(outputs):
            return self.criterion(outputs, target)
        loss = share = 0.0
        for logits in reversed(outputs):  # Horner's rule: what was summed so far falls by the factor once more
            loss, share = self.factor * loss + self.criterion(logits, target), self.factor * share + 1
        return loss / share


def inner_decoders(model: nn.Module) -> list[str]:
    """Names of all of `model.decoders` but the last, the deepest last; ValueError where there is none."""
    count = len(decoders) if isinstance(decoders := getattr(model, "decoders", None), nn.ModuleList) else 0
    if count < 2:
        raise ValueError(
            f"{type(model).__name__} has no list `decoders` of two or more: say decoders=, the names of submodules."
        )
    return [f"decoders.{index}" for index in reversed(range(count - 1))]


def _channels(model: nn.Module, names: Sequence[str], in_channels: int) -> list[int]:
    """Channels of the logits and of each named submodule's output, from a pass of a copy that computes shapes alone."""
    # What gates kept of an earlier pass may belong to a graph, and deepcopy takes no such tensor.
    kept = [value for module in model.modules() for value in vars(module).values() if torch.is_tensor(value)]
    double = copy.deepcopy(model, {id(value): value.detach() for value in kept}).to("meta").train()
    outputs: dict[str, object] = {}
    for name in names:
        try:
            submodule = double.get_submodule(name)
        except AttributeError:
            raise ValueError(f"{type(model).__name__} has no submodule {name!r}; print(network) shows them.") from None
        submodule.register_forward_hook(partial(_record, outputs, name))
    like = next(double.parameters())
    outputs[""] = double(torch.empty(2, in_channels, PROBE, PROBE, device="meta", dtype=like.dtype))
    for name in ("", *names):
        output = outputs.get(name)
        if not torch.is_tensor(output) or output.ndim != 4:
            kind = type(output).__name__
            raise ValueError(f"{name or type(model).__name__} gives {kind}, not one tensor (B, C, H, W).")
    return [outputs[name].shape[1] for name in ("", *names)]


def _record(outputs: dict[str, object], name: str, module: nn.Module, inputs: tuple, output: object) -> None:
    outputs[name] = output
