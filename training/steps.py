"""Steps of a run: optimizers and schedules by name, and the moving average of the weights."""

from __future__ import annotations

import copy
from itertools import chain

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler

from training.settings import Settings

PER_STEP = ("cosine", "onecycle")  # these schedules move with every step, the others with every epoch
WARM_UP = 0.2  # share of the steps in which one-cycle rises
LAST = 1e-2  # exponential: the learning rate of the last epoch, as a share of the first
PATIENCE = 5  # plateau: epochs without a better validation loss


def make_optimizer(network: nn.Module, settings: Settings) -> Optimizer:
    """The optimizer of the settings; biases, norms' scales and frozen parameters get no weight decay, or no step at all."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not trained:
        raise ValueError(f"{settings.model} has no parameter to train: all are frozen.")
    groups = [
        {"params": [each for each in trained if each.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [each for each in trained if each.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=0.9, nesterov=True)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.optimizer]
    return kind(groups, lr=settings.learning_rate, fused=trained[0].device.type in ("cpu", "cuda"))


class Schedule:
    """The learning rate over a run of `steps` steps in `epochs` epochs; one of `SCHEDULERS`.

    one-cycle: Smith, Topin: Super-Convergence, arXiv:1708.07120. cosine: Loshchilov, Hutter: SGDR, arXiv:1608.03983,
    without restarts.
    """

    def __init__(self, optimizer: Optimizer, settings: Settings, steps: int):
        name, self.optimizer, self.per_step = settings.scheduler, optimizer, settings.scheduler in PER_STEP
        cycle = max(4, steps + 1)  # torch divides by zero in shorter ones
        self.by_loss = name == "plateau"
        self._torch = {
            "constant": lambda: lr_scheduler.ConstantLR(optimizer, 1.0),
            "plateau": lambda: lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=PATIENCE),
            "cosine": lambda: lr_scheduler.CosineAnnealingLR(optimizer, steps),
            "exponential": lambda: lr_scheduler.ExponentialLR(optimizer, LAST ** (1 / max(1, settings.epochs - 1))),
            "onecycle": lambda: lr_scheduler.OneCycleLR(
                optimizer, settings.learning_rate, cycle, pct_start=max(WARM_UP, 2 / cycle), cycle_momentum=settings.optimizer == "sgd"
            ),
        }[name]()

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return self.optimizer.param_groups[0]["lr"]

    def after_step(self) -> None:
        """Move on by a step of the optimizer."""
        if self.per_step:
            self._torch.step()

    def after_epoch(self, val_loss: float) -> None:
        """Move on by an epoch that ended with this validation loss."""
        if self.by_loss:
            self._torch.step(val_loss)
        elif not self.per_step:
            self._torch.step()

    def state_dict(self) -> dict:
        """What `load_state_dict` needs to go on."""
        return self._torch.state_dict()

    def load_state_dict(self, state: dict) -> None:
        """Go on from a state."""
        self._torch.load_state_dict(state)


class Average(nn.Module):
    """An exponential moving average of weights and BatchNorm statistics over the last 1 / (1 - decay) steps, or a tenth of those so far.

    Call `update_parameters(network)` after each step; `module` is the averaged network. What torch's AveragedModel does, in one
    kernel and without waiting for a GPU twice a step.
    Source: Polyak, Juditsky: Acceleration of stochastic approximation by averaging, 1992.
    """

    def __init__(self, network: nn.Module, decay: float):
        super().__init__()
        self.module, self.decay = copy.deepcopy(network).requires_grad_(False), decay
        self.register_buffer("n_averaged", torch.tensor(0))  # on the CPU: reading it must not wait

    @torch.no_grad()
    def update_parameters(self, network: nn.Module) -> None:
        """Move towards the network, by less the more steps there were."""
        # Early weights change fast: averaged over many steps, they and their BatchNorm statistics no longer fit together.
        share = max(1 - self.decay, 10 / (10 + int(self.n_averaged))) if self.n_averaged else 1.0
        self.n_averaged += 1
        averaged, current = (list(chain(each.parameters(), each.buffers())) for each in (self.module, network))
        pairs = [pair for pair in zip(averaged, current) if pair[0].is_floating_point()]
        torch._foreach_lerp_(*map(list, zip(*pairs)), share)
        counters = [pair for pair in zip(averaged, current) if not pair[0].is_floating_point()]  # batches that a BatchNorm saw
        if counters:
            torch._foreach_copy_(*map(list, zip(*counters)))


def average_of(network: nn.Module, decay: float) -> Average | None:
    """The average of a network that is about to be trained; None for decay 0."""
    return Average(network, decay) if decay else None
