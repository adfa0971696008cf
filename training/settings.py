"""What decides a run: one frozen record, read from the command line, from TOML or from a run's folder."""

from __future__ import annotations

import difflib
import math
from dataclasses import asdict, dataclass, field, fields, replace

# As in data_utils, which would load torch for `unetlab --help`; a test compares them.
DATASETS = ("synthetic", "parts", "pets", "carvana", "camvid")
AUGMENTATIONS = ("flip", "lab", "strong")
OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULERS = ("constant", "plateau", "cosine", "exponential", "onecycle")
LEARNING_RATES = {"adam": 1e-3, "adamw": 3e-3, "sgd": 3e-2}  # where none is said
SIZES = {"camvid": (180, 240), "carvana": (160, 240)}  # others: 64 x 64


def _said(default, text: str, choices: tuple[str, ...] = ()):
    metadata = {"help": text, "choices": choices}
    return field(default_factory=dict, metadata=metadata) if default == {} else field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """One run. Two runs with equal settings, versions and kind of machine give equal results where `deterministic` is set.

    Raises ValueError for values that are out of range or do not go together, with the mend.
    """

    data: str = _said("synthetic", "data set", DATASETS)
    root: str = _said("", "folder with the pictures (default: UNETLAB_DATA, or data)")
    count: int = _said(0, "pictures for training and validation (default: all; drawn ones: 1000)")
    size: tuple[int, ...] = _said((), "side in pixels, or HEIGHTxWIDTH (default: 64; camvid 180x240, carvana 160x240)")
    augment: str = _said("strong", "how training pictures are altered", ("none", *AUGMENTATIONS))
    model: str = _said("unet", "network by name, or FILE:CLASS for one of your own; `--model help` lists the names")
    features: tuple[int, ...] = _said((16, 32, 64, 128), "channels of the levels, for networks that take them")
    options: dict = _said({}, "more arguments of the network")
    start: str = _said("", "folder of a run whose weights to begin with, where names and shapes agree (FCN-16s after FCN-32s)")
    deep_supervision: bool = _said(False, "train the inner decoders with heads of their own, too")
    loss: str = _said("ce+dice", "sum of ce, dice and focal, such as ce+dice or 0.3*ce+0.7*dice; or FILE:CLASS")
    optimizer: str = _said("adamw", "optimizer", OPTIMIZERS)
    scheduler: str = _said("onecycle", "schedule of the learning rate", SCHEDULERS)
    lr: float = _said(0.0, "learning rate, the largest one (default: 1e-3 adam, 3e-3 adamw, 3e-2 sgd)")
    weight_decay: float = _said(1e-2, "weight decay; biases and norms have none")
    epochs: int = _said(40, "epochs")
    batch: int = _said(16, "pictures in a batch, over all processes together")
    accumulate: int = _said(1, "batches for one step of the optimizer")
    clip: float = _said(1.0, "largest norm of the gradient; 0: any")
    average: float = _said(0.99, "decay of the moving average of the weights, which is validated and kept; 0: none")
    hold_out: bool = _said(True, "keep validation pictures apart; without, once all is tuned, train on them too and keep the last epoch")
    mirror: bool = _said(False, "predict each picture mirrored, too, and take the mean")
    seed: int = _said(0, "seed of the weights, of the order of the batches and of the augmentation")
    split_seed: int = _said(42, "seed of the split into training and validation, and of drawn pictures")
    amp: bool = _said(True, "mixed precision: bf16 where the machine has it, else fp16 on GPUs")
    compile: bool = _said(False, "torch.compile: slow to start, then faster")
    graph: bool = _said(True, "on a GPU, record a step and replay it (CUDA graph): small networks train several times as fast")
    deterministic: bool = _said(False, "the same bits in every run on the same machine; slower on GPUs")
    device: str = _said("auto", "cpu, cuda, cuda:1 … (default: auto, a GPU where there is one)")

    def __post_init__(self):
        for each in fields(self):
            choices, value = each.metadata["choices"], getattr(self, each.name)
            if choices and value not in choices:
                raise ValueError(f"{each.name}={value!r}: choose one of {', '.join(choices)}.{_near(value, choices)}")
        positive = {"epochs": self.epochs, "batch": self.batch, "accumulate": self.accumulate, "features": min(self.features, default=1)}
        least = {"lr": self.lr, "weight_decay": self.weight_decay, "clip": self.clip, "count": self.count}
        for name, value in positive.items():
            if value < 1:
                raise ValueError(f"{name}={value}: must be 1 or more.")
        for name, value in least.items():
            if not 0 <= value < math.inf:
                raise ValueError(f"{name}={value}: must be 0 or more.")
        for name, value in {"seed": self.seed, "split_seed": self.split_seed}.items():
            if not 0 <= value < 2**32:
                raise ValueError(f"{name}={value}: must be 0 or more, and below 2**32.")
        if not 0 <= self.average < 1:
            raise ValueError(f"average={self.average}: a decay is below 1, such as 0.99; 0 takes no average.")
        if len(self.size) > 2 or (self.size and min(self.size) < 1):
            raise ValueError(f"size={self.size}: one side in pixels, or height and width.")

    @property
    def height_width(self) -> tuple[int, int]:
        """Pixels of every picture of the run."""
        size = self.size or SIZES.get(self.data, (64, 64))
        return (size[0], size[-1])

    @property
    def learning_rate(self) -> float:
        """The largest learning rate of the run."""
        return self.lr or LEARNING_RATES[self.optimizer]


def from_dict(values: dict, base: Settings | None = None) -> Settings:
    """Settings out of plain values, as TOML and JSON give them; what is not said is as in `base`.

    Raises ValueError for a name that no setting has, and for a value of another type.
    """
    kinds = {each.name: type(getattr(Settings, each.name, {})) for each in fields(Settings)}
    read = {}
    for name, value in values.items():
        if name not in kinds:
            raise ValueError(f"{name}: no setting has this name.{_near(name, kinds)}")
        read[name] = _typed(name, value, kinds[name])
    return replace(base or Settings(), **read)


def _typed(name: str, value, kind: type):
    if kind is tuple:
        value = (value,) if isinstance(value, int) else tuple(value) if isinstance(value, (list, tuple)) else value
        right = isinstance(value, tuple) and all(type(each) is int for each in value)
    elif kind is float:
        right = type(value) in (int, float)
        value = float(value) if right else value
    else:
        right = type(value) is kind
    if not right:
        what = {tuple: "whole numbers", float: "a number", int: "a whole number", bool: "true or false", str: "a text", dict: "a table"}
        raise ValueError(f"{name} = {value!r}: {what[kind]} must stand here.")
    return value


def to_dict(settings: Settings) -> dict:
    """Plain values for JSON, which `from_dict` reads again."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(settings).items()}


def _near(value: object, choices) -> str:
    found = difflib.get_close_matches(str(value), list(choices), 1)
    return f" Did you mean {found[0]}?" if found else ""
