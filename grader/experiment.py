"""What was handed in of the student's own training: a checkpoint, and how its network was built.

Nothing here opens a checkpoint: its bytes go to the submission's process, which loads tensors and nothing else.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from .reading import Unreadable
from .rubric import held_out, load_rubric
from .student import Experiment
from .text import visible

RESULTS = "results"  # the notebooks' folder for what training gives
CHECKPOINT = "unet.pth"
RECORD = "training.json"  # how the network was built and trained; the judge needs `features` and `size`
RECORD_LIMIT = 64 * 2**10  # bytes
SMALLEST, LARGEST = 32, 256  # sides of pictures on which a network is measured, in pixels
KINDS = (".pth", ".pt", ".ckpt")
NOT_THE_NETWORK = re.compile(r"progress|optimi[sz]er|scheduler|histor", re.IGNORECASE)
def is_experiment(name: str) -> bool:
    """Whether a file of this name is a checkpoint of the network or the record of its training."""
    path = Path(name)
    return path.name == RECORD or path.suffix.lower() in KINDS and not NOT_THE_NETWORK.search(path.name)


def experiment_of(files: list, notes: list[str]) -> Experiment:
    """The experiment among handed-in files (anything with `name` and `content()`); choices and faults go to `notes`."""
    checkpoints = [file for file in files if is_experiment(file.name.name) and file.name.name != RECORD]
    if not checkpoints:
        return Experiment()
    chosen = min(checkpoints, key=lambda file: (file.name.name != CHECKPOINT, "best" not in file.name.name, str(file.name)))
    if len(checkpoints) > 1:
        notes.append(visible(f"{len(checkpoints)} checkpoints were handed in; {chosen.name} was judged"))
    try:
        content = chosen.content()
    except Unreadable as problem:
        return Experiment(problem=str(problem).replace("clear its outputs", "save the state_dict alone"))
    if not content:
        return Experiment(problem=visible(f"{chosen.name}: the file is empty; save the weights again"))
    if len(content) > checkpoint_limit() * 2**20:
        return Experiment(problem=visible(over_limit(chosen.name, len(content), checkpoint_limit())))
    return Experiment(content, **_record(files, notes))


def experiment_here(folder: Path | None = None, notes: list[str] | None = None) -> Experiment:
    """The experiment in `results/` of the working folder, for the notebook's own check; choices and faults go to `notes`."""
    results = (folder or Path.cwd()) / RESULTS
    files = [_Here(path) for path in sorted(results.glob("*"))] if results.is_dir() else []
    found = experiment_of(files, [] if notes is None else notes)
    if found.checkpoint is None and found.problem == Experiment.problem:
        return Experiment(problem=f"there is no {RESULTS}/{CHECKPOINT} yet; the main training of notebook 03 writes it")
    return found


def checkpoint_limit() -> int:
    """Megabytes of a checkpoint that is opened."""
    return max(task.limits.checkpoint_mb for task in load_rubric().values())


def over_limit(name: object, size: int, limit: float) -> str:
    """What is said of a file of `size` bytes where `limit` megabytes are taken."""
    return f"{name}: {size / 2**20:.0f} MB, of which {limit:g} are taken; save the state_dict alone"


class _Here:
    def __init__(self, path: Path):
        self.name = path

    def content(self) -> bytes:
        """The bytes; Unreadable for a file that is too large to be handed in."""
        size = self.name.stat().st_size
        if size > checkpoint_limit() * 2**20:
            raise Unreadable(over_limit(self.name.name, size, checkpoint_limit()))
        return self.name.read_bytes()


def _record(files: list, notes: list[str]) -> dict:
    """What the record says of the network, in a form that can be used; a note on what cannot."""
    said: dict = {}
    for file in [file for file in files if file.name.name == RECORD]:
        try:
            content = file.content()
            if len(content) > RECORD_LIMIT:
                raise ValueError(f"{len(content):,} bytes, where a record has a few hundred")
            record = json.loads(content)
            features, size = record["features"], record.get("size")
            if not (1 <= len(features) <= 8 and all(type(width) is int and 1 <= width <= 1024 for width in features)):
                raise ValueError(f"features is {str(features)[:80]}, not a list of 1 to 8 numbers of channels")
            said = {"features": tuple(features)}
            if type(size) is int and SMALLEST <= size <= LARGEST:
                said["size"] = size
            elif size is not None:
                notes.append(visible(f"{file.name}: size {str(size)[:20]} is not between {SMALLEST} and {LARGEST}; measured at the usual one"))
            if record.get("data") not in (None, held_out()["data"]):
                notes.append(visible(f"{file.name}: trained on {str(record['data'])[:20]} pictures, but measured on {held_out()['data']} ones"))
        except (Unreadable, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            cause = f"{type(error).__name__}: {error}"[:200]
            notes.append(visible(f"{file.name}: passed over ({cause}); the lab's usual widths and size are tried"))
    return said
