"""The run itself: epochs of training and validation, with a state from which it goes on as if it had never stopped."""

from __future__ import annotations

import contextlib
import math
import random
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from data_utils import CLASSES, DeviceLoader, Loaders, joined, make_loaders
from networks import AuxiliaryLoss
from training import distributed
from training.losses import make_loss
from training.models import build, supervises_itself
from training.scores import Counts, mirrored
from training.settings import Settings
from training.steps import Schedule, average_of, make_optimizer


class Diverged(RuntimeError):
    """The loss is no finite number any more."""


@dataclass
class Data:
    """Loaders, and what their masks hold: `classes` logits a pixel are needed (1 for two classes), named `names`."""

    loaders: Loaders
    classes: int = 1
    ignore_index: int | None = None
    names: tuple[str, ...] = ("background", "foreground")


@dataclass
class Run:
    """One run in memory; `fit` trains it."""

    settings: Settings
    data: Data
    device: torch.device
    network: nn.Module  # what is trained, as built
    step_network: nn.Module  # the same, compiled and distributed where asked for
    criterion: Callable
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    scaler: torch.amp.GradScaler
    averaged: nn.Module | None
    recorded: Recorded | None = None  # the gradients of a batch as a CUDA graph
    begun_with: int = 0  # tensors that came from another run
    history: dict[str, list[float]] = field(default_factory=dict)
    best: float = -math.inf

    @property
    def judged(self) -> nn.Module:
        """The network that is validated and kept: the average of the weights where there is one."""
        return self.averaged.module if self.averaged else self.network

    @property
    def epoch(self) -> int:
        """Epochs that are done."""
        return len(self.history.get("train_loss", ()))


# ---- preparing ----


def device_of(settings: Settings) -> torch.device:
    """The device that the settings mean; ValueError where it is not there."""
    name = settings.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from None
    return device


def seed_all(seed: int, deterministic: bool = False) -> None:
    """Start every generator of random numbers from the seed, and choose algorithms that repeat bit by bit where asked for."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = not deterministic


def open_data(settings: Settings, device: torch.device) -> Data:
    """The pictures of the settings, each in memory once, decoded now and not in the first epoch.

    Raises FileNotFoundError and ValueError as `make_loaders` does.
    """
    made = make_loaders(
        settings.data, settings.height_width, settings.batch, root=settings.root or None, count=settings.count or None,
        seed=settings.split_seed, device=device,
    )  # fmt: skip
    shard = (distributed.rank(), distributed.processes())
    pictures = made.train.dataset if settings.hold_out else joined(made.train.dataset, made.val.dataset)
    train = DeviceLoader(
        pictures, settings.batch, shuffle=True, augment=False if settings.augment == "none" else settings.augment,
        seed=settings.seed, device=device, shard=shard, drop_last=len(pictures) >= settings.batch,
    )  # fmt: skip
    if settings.batch < shard[1]:
        raise ValueError(f"batch={settings.batch} cannot be shared out to {shard[1]} processes: take as many pictures or more.")
    loaders = Loaders(train, made.val, made.test)
    for loader in loaders:
        next(iter(loader))
    train.load_state_dict(DeviceLoader(made.val.dataset, seed=settings.seed).state_dict())  # as if it had not been used
    if settings.data in CLASSES:
        names, ignore_index = CLASSES[settings.data]
        return Data(loaders, len(names), ignore_index, names)
    return Data(loaders)


def prepare(settings: Settings, data: Data, device: torch.device, weights: dict[str, Tensor] | None = None) -> Run:
    """A run before its first step; the seed decides the weights, but for those of `weights` whose names and shapes agree.

    Raises ValueError for settings that name what there is not, and for weights of which none fits.
    """
    seed_all(settings.seed, settings.deterministic)
    network = build(settings, data.classes)
    begun_with = _begin_with(network, weights) if weights else 0
    network = network.to(device, memory_format=torch.channels_last)
    step_network = distributed.synchronised(network) if distributed.processes() > 1 else network
    if settings.compile:
        step_network = torch.compile(step_network)
    if distributed.processes() > 1:
        step_network = DistributedDataParallel(step_network)
    optimizer = make_optimizer(network, settings)
    criterion = AuxiliaryLoss(make_loss(settings.loss, data.ignore_index))
    steps = settings.epochs * math.ceil(len(data.loaders.train) / settings.accumulate)
    averaged = average_of(network, settings.average)
    scaler = torch.amp.GradScaler(device.type, enabled=half(settings, device) == torch.float16)
    schedule = Schedule(optimizer, settings, steps)
    recorded = Recorded() if _can_be_recorded(settings, device) else None
    return Run(settings, data, device, network, step_network, criterion, optimizer, schedule, scaler, averaged, recorded, begun_with)


def _can_be_recorded(settings: Settings, device: torch.device) -> bool:
    """Whether `Recorded` may take the place of `_gradients`: known networks and losses, of which none waits for the GPU."""
    if device.type != "cuda" or not settings.graph or settings.deterministic or ":" in settings.model + settings.loss:
        return False
    return settings.accumulate == 1 and distributed.processes() == 1 and half(settings, device) != torch.float16


def _begin_with(network: nn.Module, weights: dict[str, Tensor]) -> int:
    """Copy what fits into the network; how many tensors that were."""
    own = network.state_dict()
    fitting = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    if not fitting:
        raise ValueError("start: no weight of that run has a name and shape of this network's: begin with a relative of it.")
    network.load_state_dict(fitting, strict=False)
    return len(fitting)


@torch.no_grad()
def see_that_it_fits(run: Run) -> None:
    """Send one picture through network and loss before the first epoch; ValueError that says what came and what is needed.

    In eval mode, so that neither weights nor statistics nor random numbers change.
    """
    images, target = (part[:1] for part in next(iter(run.data.loaders.val)))
    model, wanted = run.settings.model, (1, run.data.classes, *images.shape[-2:])
    with _told(f"{model} fails on a picture {tuple(images.shape)}"):
        outputs = _forward(run, run.network.eval(), images)
    logits = outputs[0] if isinstance(outputs, (list, tuple)) and outputs else outputs
    came = f"the shape {tuple(logits.shape)}" if torch.is_tensor(logits) else f"a {type(logits).__name__}"
    if not torch.is_tensor(logits) or tuple(logits.shape) != wanted:
        raise ValueError(f"{model} gives {came} for a picture {tuple(images.shape)}: logits {wanted} are needed, one a pixel and class.")
    with _told(f"The loss {run.settings.loss} fails on logits {wanted} and a mask {tuple(target.shape)}"):
        loss = run.criterion(logits, target)
    if not torch.is_tensor(loss) or loss.numel() != 1:
        came = f"the shape {tuple(loss.shape)}" if torch.is_tensor(loss) else f"a {type(loss).__name__}"
        raise ValueError(f"The loss {run.settings.loss} gives {came}: a tensor of one number is needed, such as a mean.")


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a network of one's own may raise anything
        place = traceback.extract_tb(error.__traceback__)[-1]
        said = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200] if str(error).strip() else ''}"
        raise ValueError(f"{what}: {said} ({Path(place.filename).name}, line {place.lineno}).") from error


def half(settings: Settings, device: torch.device) -> torch.dtype | None:
    """The type of mixed precision: bf16 where the machine computes in it, fp16 on other GPUs, None for float32 alone."""
    if not settings.amp:
        return None
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if device.type == "cpu" and has_bf16() else None


def has_bf16() -> bool:
    """Whether this CPU multiplies in bf16; elsewhere it would be slower than float32."""
    known = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.11 and later
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


# ---- training ----


def fit(run: Run, after_epoch: Callable[[Run, bool], None] = lambda run, better: None) -> dict[str, list[float]]:
    """Train until all epochs are done, and return the history: lists of one number an epoch.

    after_epoch: called with the run, and whether its weights are the best so far by validation IoU.
    Raises Diverged when the loss is no number any more; what the run was after the last good epoch stays saved. Raises
    ValueError where torch.compile fails.
    """
    while run.epoch < run.settings.epochs:
        lr, started = run.schedule.lr, time.perf_counter()
        try:
            trained = train_epoch(run)
        except Exception as error:
            if not (run.settings.compile and _of_the_compiler(error)):
                raise
            raise ValueError(
                f"Compiled, {run.settings.model} fails ({type(error).__name__}: {str(error).strip().splitlines()[0]}). "
                "Leave out --compile, or take a --size that every pool halves evenly: torch.compile cannot differentiate some paddings."
            ) from error
        seconds = time.perf_counter() - started
        validated = validate(run, run.data.loaders.val) if run.settings.hold_out else {}
        run.schedule.after_epoch(validated.get("loss", trained["loss"]))
        row = {f"train_{name}": value for name, value in trained.items()} | {f"val_{name}": value for name, value in validated.items()}
        for name, value in {**row, "lr": lr, "seconds": seconds}.items():
            run.history.setdefault(name, []).append(value)
        score = validated.get("iou", run.epoch)  # where nothing is held out, the last epoch counts
        better, run.best = score > run.best, max(run.best, score)
        after_epoch(run, better)
    return run.history


def _of_the_compiler(error: Exception) -> bool:
    """Whether the error came out of torch.compile's own code."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    return any(part in file for file in files for part in ("_inductor", "_dynamo", "torchinductor"))


def train_epoch(run: Run) -> dict[str, float]:
    """One pass over the training pictures; the mean loss, and pooled IoU and Dice of the predictions on the way."""
    run.network.train()
    counts = Counts(run.data.classes, run.device, run.data.ignore_index)
    losses, loader, every = [], run.data.loaders.train, run.settings.accumulate
    gradients = run.recorded or _gradients
    for number, (images, target) in enumerate(loader, start=1):
        group = min(every, len(loader) - (number - 1) // every * every)  # the last group may be smaller
        loss, logits = gradients(run, images, target, group)
        if number % every == 0 or number == len(loader):
            _step(run)
        losses.append(loss.clone())
        counts.add(logits, target)
    mean = torch.stack(losses).mean().item()
    if not math.isfinite(mean):
        raise Diverged(
            f"The loss of epoch {run.epoch + 1} is {mean}: the training has diverged. Take a lower --lr than "
            f"{run.settings.learning_rate:g}" + (", or --clip 1." if not run.settings.clip else ".")
            + (" The checkpoints are those of the epoch before." if run.epoch else "")
        )
    return {"loss": mean, **counts.scores()}


def _gradients(run: Run, images: Tensor, target: Tensor, group: int) -> tuple[Tensor, Tensor]:
    """Add the gradient of a batch, one of a group; its loss and main logits."""
    outputs = _forward(run, run.step_network, images)
    loss = run.criterion(outputs, target)
    run.scaler.scale(loss / group).backward()
    return loss.detach(), _main(outputs).detach()


class Recorded:
    """`_gradients` as a CUDA graph: recorded at the first batch, then started as a whole, where Python would start kernel after kernel.

    A small network's kernels are shorter than the time that it takes to start them. For float32 and bf16 on one GPU, batches of
    one shape, and one batch a step: gradients lie in the graph's memory, which each batch overwrites.
    Raises ValueError for what cannot be recorded, such as a network that waits for the GPU (`.item()`, `.cpu()`).
    Source: Nguyen et al.: Accelerating PyTorch with CUDA Graphs, 2021 (pytorch.org).
    """

    WARM_UP = 3  # batches before the recording, in which libraries choose algorithms and take memory

    def __init__(self):
        self.graph = None

    def __call__(self, run: Run, images: Tensor, target: Tensor, group: int) -> tuple[Tensor, Tensor]:
        if self.graph is None:
            self._record(run, images, target)
        self.images.copy_(images)
        self.target.copy_(target)
        self.graph.replay()
        return self.loss, self.logits

    def _record(self, run: Run, images: Tensor, target: Tensor) -> None:
        self.images, self.target = images.clone(), target.clone()
        buffers = [buffer.clone() for buffer in run.network.buffers()]
        random = torch.cuda.get_rng_state(run.device)
        beside = torch.cuda.Stream(run.device)
        beside.wait_stream(torch.cuda.current_stream(run.device))
        with torch.cuda.stream(beside):
            for _ in range(self.WARM_UP):
                run.optimizer.zero_grad()
                _gradients(run, self.images, self.target, 1)
        torch.cuda.current_stream(run.device).wait_stream(beside)
        run.optimizer.zero_grad()
        self.graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(self.graph):
                self.loss, self.logits = _gradients(run, self.images, self.target, 1)
        except RuntimeError as error:
            said = str(error).strip().splitlines()[0]
            raise ValueError(f"A step of {run.settings.model} cannot be recorded ({said}): say --no-graph.") from error
        with torch.no_grad():
            for buffer, before in zip(run.network.buffers(), buffers):
                buffer.copy_(before)
        torch.cuda.set_rng_state(random, run.device)


def _step(run: Run) -> None:
    if run.settings.clip:
        run.scaler.unscale_(run.optimizer)
        nn.utils.clip_grad_norm_(run.network.parameters(), run.settings.clip)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    if not run.recorded:  # a graph writes gradients over those of the step before
        run.optimizer.zero_grad()
    run.schedule.after_step()
    if run.averaged:
        run.averaged.update_parameters(run.network)


@torch.no_grad()
def validate(run: Run, loader) -> dict[str, float]:
    """Mean loss over the batches, pooled IoU and Dice of the network that is kept."""
    network, counts, losses = run.judged.eval(), Counts(run.data.classes, run.device, run.data.ignore_index), []
    for images, target in loader:
        logits = _main(_forward(run, network, images))
        losses.append(run.criterion(logits, target))
        counts.add(logits, target)
    return {"loss": torch.stack(losses).mean().item(), **counts.scores()}


def _forward(run: Run, network: nn.Module, images: Tensor) -> Tensor | list[Tensor]:
    """Logits; in training with deep supervision a list, the main ones first."""
    dtype = half(run.settings, run.device)
    with torch.autocast(run.device.type, dtype=dtype, enabled=dtype is not None):
        outputs = network(images.to(memory_format=torch.channels_last))
    if torch.is_tensor(outputs):
        return outputs.float()  # losses are computed in float32, also those of FILE:CLASS, which may not see to it
    if not isinstance(outputs, (list, tuple)):
        return outputs
    outputs = [each.float() for each in outputs]
    return outputs[::-1] if supervises_itself(run.network) else outputs


def _main(outputs: Tensor | list[Tensor]) -> Tensor:
    return outputs if torch.is_tensor(outputs) else outputs[0]


def predictor(run: Run) -> Callable[[Tensor], Tensor]:
    """Pictures → float32 logits of the network that is kept, in eval mode and without gradients."""
    network = run.judged.eval()

    @torch.no_grad()
    def predict(images: Tensor) -> Tensor:
        return _main(_forward(run, network, images.to(run.device))).float()

    return mirrored(predict) if run.settings.mirror else predict


# ---- going on ----


def state_of(run: Run) -> dict:
    """Everything that `resume` needs, as tensors and plain values."""
    parts = {"optimizer": run.optimizer, "schedule": run.schedule, "scaler": run.scaler, "loader": run.data.loaders.train}
    state = {name: part.state_dict() for name, part in parts.items()}
    state |= {"network": run.network.state_dict(), "history": run.history, "best": run.best, "random": torch.get_rng_state()}
    if run.averaged:
        state["averaged"] = run.averaged.state_dict()
    if run.device.type == "cuda":
        state["random_cuda"] = torch.cuda.get_rng_state(run.device)
    return state


def resume(run: Run, state: dict) -> None:
    """Put a run of the same settings where `state_of` left another: the epochs that follow are the same."""
    run.network.load_state_dict(state["network"])
    parts = {"optimizer": run.optimizer, "schedule": run.schedule, "scaler": run.scaler, "loader": run.data.loaders.train}
    for name, part in parts.items():
        part.load_state_dict(state[name])
    if run.averaged:
        run.averaged.load_state_dict(state["averaged"])
    run.history, run.best = state["history"], state["best"]
    torch.set_rng_state(state["random"])
    if run.device.type == "cuda" and "random_cuda" in state:
        torch.cuda.set_rng_state(state["random_cuda"], run.device)
