"""Networks by name.

What is a task of the lab comes from whoever wrote it: in the instructor's copy from `solutions/`, in a student's from the
notebooks that they filled (`grader.mine`). What is nobody's task comes from `networks/`. `FILE:CLASS` takes any class.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import nn

from networks import NETWORKS, DeepSupervision
from training.settings import Settings, _near

ROOT = Path(__file__).resolve().parents[1]
TASKS = {  # name → the class that a student writes, and its arguments
    "unet": ("UNet", {}),
    "unet-2015": ("UNet", {"batch_norm": False}),  # Ronneberger et al., padded, as annotated guides have it
    "unet-concat": ("SkipUNet", {"skip": "concat"}),
    "unet-add": ("SkipUNet", {"skip": "add"}),
    "unet-attention": ("SkipUNet", {"skip": "attention"}),
    "unet-no-skips": ("SkipUNet", {"skip": "none"}),
    "unet++": ("UNetPlusPlus", {}),
}


def names() -> list[str]:
    """Every name that `build` knows."""
    return [*TASKS, *NETWORKS]


def written(name: str):
    """A class or function that is a task of the lab, by whoever wrote it.

    Raises ValueError where no notebook of a student's copy defines it.
    """
    if (ROOT / "solutions").is_dir():
        if str(ROOT) not in sys.path:
            sys.path.insert(0, str(ROOT))
        from solutions.reference import reference  # the instructor's side of the wall

        return getattr(reference(), name)
    from grader import mine

    try:
        return getattr(mine, name)
    except ImportError as error:
        raise ValueError(str(error)) from None


def build(settings: Settings, out_channels: int) -> nn.Module:
    """The network that the settings name, with `out_channels` logits a pixel, initialised from torch's global generator.

    Raises ValueError for an unknown name, for arguments that the network does not take, and for a task not written yet.
    """
    make, given = _maker(settings.model)
    taken = inspect.signature(make).parameters
    given = {**given, "in_channels": 3, "out_channels": out_channels}
    if "features" in taken and settings.features:
        given["features"] = list(settings.features)
    itself = "deep_supervision" in taken
    if itself and settings.deep_supervision:
        given["deep_supervision"] = True
    anything = any(each.kind is each.VAR_KEYWORD for each in taken.values())
    needed = [name for name in ("in_channels", "out_channels") if name not in taken and not anything]
    if needed:
        raise ValueError(f"{settings.model} takes no {' and no '.join(needed)}: networks are built with in_channels=3 and out_channels={out_channels}.")
    if "in_channels" in settings.options or "out_channels" in settings.options:
        raise ValueError("in_channels and out_channels follow from the data: leave these options out.")
    unknown = [name for name in settings.options if name not in taken and not anything]
    if unknown:
        raise ValueError(f"{settings.model} takes no {', '.join(unknown)}; it takes {', '.join(taken)}.")
    try:
        network = make(**{**given, **settings.options})
    except NotImplementedError as error:
        raise ValueError(f"{settings.model} is not written yet: {error}") from None
    except ValueError:
        raise
    except Exception as error:  # a class of one's own may raise anything
        alone = " FILE:CLASS reads one file: put what it imports from its neighbours into it." if isinstance(error, NameError) else ""
        raise ValueError(f"{settings.model} cannot be built: {type(error).__name__}: {error}.{alone}") from error
    if not isinstance(network, nn.Module):
        raise ValueError(f"{settings.model} gives a {type(network).__name__}, no nn.Module: name a class of a network.")
    return DeepSupervision(network) if settings.deep_supervision and not itself else network


def supervises_itself(network: nn.Module) -> bool:
    """Whether a network has an argument `deep_supervision`, as Task 4.1 asks for: it gives a list then, the shallowest first."""
    return "deep_supervision" in inspect.signature(type(network)).parameters


def without_download(settings: Settings) -> Settings:
    """The same network for weights that are at hand: those of ImageNet are not fetched once more."""
    return replace(settings, options={**settings.options, "pretrained": False}) if settings.options.get("pretrained") else settings


def _maker(name: str) -> tuple[Callable, dict]:
    if name in NETWORKS:
        return NETWORKS[name], {}
    if name in TASKS:
        task, given = TASKS[name]
        return written(task), given
    if ":" in name:
        return from_file(name), {}
    known = names()
    raise ValueError(f"model {name!r}: choose one of {', '.join(known)}, or FILE:CLASS.{_near(name, known)}")


def from_file(name: str):
    """What `FILE:NAME` means: a definition of a module, or of a notebook, of which nothing but definitions runs.

    Raises ValueError for a file that is not there or cannot be read, and for a name that it does not define.
    """
    from grader.definitions import load
    from grader.reading import Unreadable
    from grader.submissions import find_submissions

    file, _, wanted = name.rpartition(":")
    if not Path(file).is_file():
        raise ValueError(f"{name}: there is no file {file}; FILE:CLASS names a .py or .ipynb file and a class in it.")
    try:
        submission, *_ = find_submissions([Path(file)]) or [None]
        loaded = load(submission.sources()) if submission else None
    except Unreadable as problem:
        raise ValueError(f"{file}: {problem}") from None
    found = loaded and loaded.namespace.get(wanted)
    if not callable(found):
        why = loaded.missing.get(wanted, "") if loaded else ""
        classes = [each for each, value in (loaded.namespace if loaded else {}).items() if inspect.isclass(value)]
        raise ValueError(f"{file} defines no {wanted}. {why}It defines {', '.join(classes) or 'no class'}.{_near(wanted, classes)}")
    return found
