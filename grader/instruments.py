"""What checks hand to a submission's training code: tiny models, loaders and optimizers whose outcome can be worked out.

A check names an instrument and its numbers, and the servant builds it beside the submission; the judge works out
for itself what a right training loop makes of it. Needs torch alone, like everything that students import.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class Calls(list):
    """What a model remembers of its calls; a copy of the model writes into the same list."""

    def __deepcopy__(self, memo: dict) -> Calls:
        return self


class Recorder(nn.Module):
    """A model that remembers for each call its mode, whether gradients were on, and the batch's size."""

    def __init__(self):
        super().__init__()
        self.calls = Calls()

    def remember(self, x: Tensor) -> None:
        """Note one call on `x`."""
        self.calls.append({"training": self.training, "grad": torch.is_grad_enabled(), "batch": len(x)})


class PixelModel(Recorder):
    """Logits by one 1×1 convolution, `(B, C, H, W) → (B, 1, H, W)`, with the weights given.

    batch_norm puts a BatchNorm in front and dropout a Dropout; `idle` adds a parameter that is never used;
    `evaluating` leaves it in eval mode.
    """

    def __init__(self, weight: list[float], bias: float = 0.0, batch_norm: bool = False, dropout: float = 0.0,
                 idle: bool = False, evaluating: bool = False):
        super().__init__()
        self.norm = nn.BatchNorm2d(len(weight)) if batch_norm else nn.Identity()
        self.drop = nn.Dropout(dropout) if dropout else nn.Identity()
        self.conv = nn.Conv2d(len(weight), 1, kernel_size=1)
        if idle:
            self.idle = nn.Parameter(torch.ones(3))
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor(weight).view(1, -1, 1, 1))
            self.conv.bias.fill_(bias)
        self.train(not evaluating)

    def forward(self, x: Tensor) -> Tensor:
        self.remember(x)
        # written out, since mixed precision rounds what a convolution gives
        return (self.drop(self.norm(x)) * self.conv.weight).sum(dim=1, keepdim=True) + self.conv.bias


class ShiftModel(Recorder):
    """Logits are the picture's first channel plus one number that is learnt: what training does to it can be foreseen.

    The buffer `seen` holds the shift of the last forward pass, so that a state of one moment has both alike.
    """

    def __init__(self, shift: float = 0.0):
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(float(shift)))
        self.register_buffer("seen", torch.tensor(float(shift)))

    def forward(self, x: Tensor) -> Tensor:
        self.remember(x)
        self.seen.copy_(self.shift.detach())
        return x[:, :1] + self.shift


class TinyUNet(Recorder):
    """Encoders, a bottleneck and decoders without skips, under the names of the lab's SkipUNet; weights from `seed`.

    frozen: the bottleneck does not learn. gradient: what the `.grad` of every parameter that learns is filled with beforehand.
    """

    def __init__(self, seed: int = 0, width: int = 2, levels: int = 2, frozen: bool = False, gradient: float | None = None):
        super().__init__()
        inner = [nn.Conv2d(width, width, 3, padding=1) for _ in range(2 * levels - 1)]
        self.encoders = nn.ModuleList([nn.Conv2d(3, width, 3, padding=1), *inner[: levels - 1]])
        self.bottleneck = nn.Conv2d(width, width, 1)
        self.decoders = nn.ModuleList(inner[levels - 1 :])
        self.head = nn.Conv2d(width, 1, 1)
        self.bottleneck.requires_grad_(not frozen)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
                if gradient is not None and parameter.requires_grad:
                    parameter.grad = torch.full_like(parameter, gradient)

    def forward(self, x: Tensor) -> Tensor:
        self.remember(x)
        for layer in [*self.encoders, self.bottleneck, *self.decoders]:
            x = torch.tanh(layer(x))
        return self.head(x)


class WindowModel(Recorder):
    """Logits of windows, `(B, C, h, w) → (B, K, h, w)`; notes each call's window size and the corners' values.

    answers: "pixel" weighs the channels of each pixel with `weight` (K, C); "corner" answers each window with its own first
    value everywhere, so that what is blended at a pixel tells which windows lie over it; "lowest" with its least value,
    "highest" with its largest; "third" with 1/3 in float16.
    """

    def __init__(self, answers: str, weight: list[list[float]] | None = None):
        super().__init__()
        self.answers, self.weight = answers, weight

    def forward(self, x: Tensor) -> Tensor:
        self.remember(x)
        self.calls[-1] |= {"size": list(x.shape[2:]), "corners": x[:, 0, 0, 0].tolist()}
        if self.answers == "pixel":
            return torch.einsum("kc,bchw->bkhw", torch.tensor(self.weight).to(x), x)
        if self.answers == "third":
            return torch.full_like(x[:, :1], 1 / 3, dtype=torch.float16)
        extreme = torch.amax if self.answers == "highest" else torch.amin
        answer = x[:, :1, :1, :1] if self.answers == "corner" else extreme(x, dim=(1, 2, 3), keepdim=True)
        return answer.expand(-1, 1, *x.shape[2:]).clone()


class GatedNet(Recorder):
    """Attention gates at full size, half of it and so on, behind one norm: `(B, 3, H, W) → (B, 1, H, W)`.

    gates: the submission's own, for gates and skips of these `channels`. spare: one more, which is never called.
    fails: raises RuntimeError before the last gate. frozen: the norm is in eval mode, whatever mode the others are in.
    upwards: the last gate runs first. hooked: somebody else's hook is on each gate already, and every second weight is frozen.
    """

    def __init__(self, gates: list[nn.Module], channels: list[int], spare: nn.Module | None = None, fails: bool = False,
                 frozen: bool = False, upwards: bool = False, hooked: bool = False):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.levels = nn.ModuleList(nn.ModuleDict({"gate": gate}) for gate in gates)
        self.spare = spare
        self.channels, self.fails, self.upwards = channels, fails, upwards
        if hooked:
            for gate in gates:
                gate.register_forward_hook(lambda *_: None)
            for parameter in list(self.parameters())[::2]:
                parameter.requires_grad_(False)
        self.train()
        self.norm.train(not frozen)

    @property
    def modes(self) -> dict[str, bool]:
        """Each module's name → whether it is in train mode."""
        return {name: module.training for name, module in self.named_modules()}

    @property
    def learning(self) -> dict[str, bool]:
        """Each parameter's name → whether it requires a gradient."""
        return {name: parameter.requires_grad for name, parameter in self.named_parameters()}

    @property
    def hooks(self) -> int:
        """How many hooks there are on all modules together."""
        kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        return sum(len(getattr(module, kind)) for module in self.modules() for kind in kinds)

    def forward(self, x: Tensor) -> Tensor:
        self.remember(x)
        x = self.norm(x)
        logits = x[:, :1]
        order = range(len(self.levels))
        for level in reversed(order) if self.upwards else order:
            if self.fails and level == order[-1]:
                raise RuntimeError("this network breaks off on purpose")
            skip, below = (nn.functional.avg_pool2d(x, 2**depth) for depth in (level, level + 1))
            wide = [torch.cat([part] * count, dim=1)[:, :count] for part, count in zip((below, skip), self.channels)]
            logits = logits + self.levels[level]["gate"](*wide).mean()
        return logits


class Scratch:
    """A folder that goes with the session; `path` is a file in it that does not exist yet."""

    def __init__(self, name: str):
        self.folder = tempfile.TemporaryDirectory(prefix="unetlab-check-")
        self.path = str(Path(self.folder.name) / name)


def batches(images: Tensor, masks: Tensor, batch_size: int) -> DataLoader:
    """A real loader over these pictures in their order; the last batch may be smaller."""
    return DataLoader(TensorDataset(images, masks), batch_size=batch_size)


def sgd(model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """Plain gradient descent, whose steps can be worked out by hand."""
    return torch.optim.SGD(model.parameters(), lr=lr)


def adam(model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """Adam, whose steps are as large as lr while a gradient keeps its sign."""
    return torch.optim.Adam(model.parameters(), lr=lr)


def bce(reduction: str = "mean") -> nn.Module:
    """Binary cross-entropy of logits, the mean over all pixels, or their sum."""
    return nn.BCEWithLogitsLoss(reduction=reduction)


MODELS = {model.__name__: model for model in (PixelModel, ShiftModel, TinyUNet, WindowModel, GatedNet)}
KINDS = {**MODELS, "Scratch": Scratch, "batches": batches, "sgd": sgd, "adam": adam, "bce": bce, "device": torch.device}
