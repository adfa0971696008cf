"""What a run leaves behind: one folder, whole at any moment, from which the run goes on and predictions are made.

| file | holds |
|---|---|
| `settings.json` | the settings, versions and machine |
| `history.csv` | one line an epoch |
| `last.pt` | the state after the last epoch, to go on from |
| `best.pt` | the weights of the best validation IoU, loadable with `weights_only=True` |
| `network.py`, `loss.py` (or `.ipynb`) | the code of a network and of a loss of your own (`FILE:CLASS`) |
| `result.json` | scores, chosen threshold, time |
| `curves.png`, `predictions.png` | learning curves; pictures, masks and predictions of the validation set |
| `tensorboard/` | the same curves for TensorBoard, where it is installed |
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from training.settings import Settings, from_dict, to_dict

SETTINGS, HISTORY, LAST, BEST, RESULT = "settings.json", "history.csv", "last.pt", "best.pt", "result.json"
COPIES = {"model": "network", "loss": "loss"}  # setting → name of the copy of its FILE


def see_that_folder(folder: Path) -> None:
    """ValueError where a file stands in the place of a folder that is to be written."""
    for path in (folder, *folder.parents):
        if path.exists() and not path.is_dir():
            raise ValueError(f"{folder} cannot be a folder: {path} is a file. Say another --out.")


def write(path: Path, content: str | bytes) -> Path:
    """Write a file that is the old or the new one whole, whenever the process is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(content if isinstance(content, bytes) else content.encode())
    os.replace(part, path)
    return path


def write_json(path: Path, values: dict) -> Path:
    """Write plain values, one a line."""
    return write(path, json.dumps(values, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict:
    """Read what `write_json` wrote; FileNotFoundError or ValueError that names the file and the mend."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{path} is missing: is {path.parent} the folder of a run of `unetlab train`?") from None
    except ValueError as error:
        raise ValueError(f"{path} cannot be read ({error}): train again with another --out.") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds a {type(values).__name__} where settings by name belong: train again with another --out.")
    return values


def write_tensors(path: Path, values: dict) -> Path:
    """Write tensors and plain values."""
    buffer = io.BytesIO()
    torch.save(values, buffer)
    return write(path, buffer.getvalue())


def read_tensors(path: Path, device: torch.device | str = "cpu") -> dict:
    """Read what `write_tensors` wrote; nothing in the file is run. FileNotFoundError or ValueError names file and mend."""
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{path} is missing: a run writes it after its first epoch.") from None
    except Exception as error:  # a damaged file makes torch raise nearly anything
        cause = f"{type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else 'no more is known'}"
        raise ValueError(f"{path} is damaged, or is no checkpoint of `unetlab train` ({cause}): take a copy, or train again.") from None


def weights_of(folder: Path) -> dict:
    """The best weights of a run's folder; FileNotFoundError or ValueError where there are none."""
    return read_tensors(folder / BEST)


def read_state(folder: Path) -> dict:
    """What a run goes on from; FileNotFoundError or ValueError where it is missing or something else."""
    state = read_tensors(folder / LAST)
    if not isinstance(state, dict) or not {"network", "optimizer", "history"} <= state.keys():
        raise ValueError(f"{folder / LAST} is not the state of a run: begin a new one, with --start {folder} if {BEST} is whole.")
    return state


def read_result(folder: Path) -> dict | None:
    """The scores of a finished run; None where there are none, or not whole: they are computed again from the weights."""
    try:
        result = read_json(folder / RESULT)
    except (OSError, ValueError):
        return None
    return result if {"best_epoch", "seconds", "test"} <= result.keys() else None


def versions() -> dict[str, str]:
    """Versions and machine, for whoever repeats the run."""
    import numpy
    import torchvision

    found = {"python": platform.python_version(), "torch": torch.__version__, "torchvision": torchvision.__version__}
    found |= {"numpy": numpy.__version__, "system": platform.system(), "machine": platform.machine()}
    return found | {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else found


def check(folder: Path, settings: Settings, resume: bool) -> None:
    """See that a run may begin in the folder, or that it is the same run that goes on.

    Raises ValueError where the folder holds a run already and `resume` is not said, a run with other settings, or one whose
    `last.pt` is gone.
    """
    see_that_folder(folder)
    whole = (folder / LAST).exists() or read_result(folder) is not None
    if not whole and len(next(iter(read_history(folder).values()), ())) < 2:  # a run killed in its first epoch: nothing to lose
        return
    if not resume:
        raise ValueError(f"{folder} holds a run already: say --resume to go on with it, or another --out.")
    before, now = to_dict(read_settings(folder)), to_dict(settings)
    other = [name for name, value in now.items() if before[name] != value and name != "device"]
    if other:
        raise ValueError(
            f"{folder} holds a run with another {', '.join(other)}: leave these as they were, or begin a new run; "
            f"--start {folder} gives it these weights."
        )
    if not whole:
        raise ValueError(f"{folder / LAST} is missing, from which the run would go on: begin a new run; --start {folder} gives it these weights.")


def begin(folder: Path, settings: Settings) -> None:
    """Write down what is about to be trained, with the code of a network and of a loss of your own."""
    write_json(folder / SETTINGS, {**to_dict(settings), "versions": versions()})
    for name, said in _own(settings).items():
        # a copy: the student's file may change, the weights do not
        source = Path(said.rpartition(":")[0])
        write(folder / f"{COPIES[name]}{source.suffix}", source.read_bytes())


def _own(settings: Settings) -> dict[str, str]:
    return {name: getattr(settings, name) for name in COPIES if ":" in getattr(settings, name)}


def read_settings(folder: Path) -> Settings:
    """The settings of a run's folder; FileNotFoundError or ValueError where it is none."""
    values = read_json(folder / SETTINGS)
    values.pop("versions", None)
    try:
        return from_dict(values)
    except ValueError as error:
        raise ValueError(f"{folder / SETTINGS}: {error}") from None


def with_own_source(settings: Settings, folder: Path) -> Settings:
    """The settings with `FILE:CLASS` meaning the copies in the run's folder."""
    copied = {}
    for name, said in _own(settings).items():
        file, _, wanted = said.rpartition(":")
        copy = folder / f"{COPIES[name]}{Path(file).suffix}"
        if copy.exists():
            copied[name] = f"{copy}:{wanted}"
    return replace(settings, **copied)


def write_history(folder: Path, history: dict[str, list[float]]) -> Path:
    """Write one line an epoch."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["epoch", *history])
    writer.writerows([number, *row] for number, row in enumerate(zip(*history.values()), start=1))
    return write(folder / HISTORY, text.getvalue())


def read_history(folder: Path) -> dict[str, list[float]]:
    """Read it again, without the numbers of the epochs; nothing where there is none."""
    try:
        with open(folder / HISTORY, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else {}) if name != "epoch"}


@contextlib.contextmanager
def logs(
    folder: Path, settings: Settings, done: int, wandb: bool, say: Callable[[str], None]
) -> Iterator[Callable[[dict, int], None]]:
    """A function that logs an epoch's numbers to TensorBoard where it is installed, and to Weights & Biases if asked for.

    done: epochs that are done; what was logged of later ones, by a process that was killed, is taken back.
    Raises ValueError where Weights & Biases is asked for and not installed.
    """
    sinks = []
    with contextlib.ExitStack() as stack:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            say("No TensorBoard logs: `pip install tensorboard` brings it.")
        else:
            board = stack.enter_context(SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1 if done else None))
            sinks.append(lambda row, epoch: [board.add_scalar(name, value, epoch) for name, value in row.items()])
        if wandb:
            try:
                import wandb as service
            except ImportError:
                raise ValueError("--wandb needs Weights & Biases: pip install wandb, then wandb login.") from None
            run = stack.enter_context(service.init(project="unetlab", dir=str(folder), config=to_dict(settings)))
            sinks.append(lambda row, epoch: run.log(row, step=epoch))

        def log(row: dict, epoch: int) -> None:
            for sink in sinks:
                sink(row, epoch)

        yield log
