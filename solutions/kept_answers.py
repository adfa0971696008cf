"""What the known-wrong variants answer, kept on the disk: the same for every class, and a minute's work to find out anew."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

import platformdirs
import torch

ROOT = Path(__file__).resolve().parent.parent
# What the answers depend on besides the variants themselves, whose text is in each key.
ASKING = [
    *sorted((ROOT / "solutions" / "facets").glob("*.py")), ROOT / "solutions/checks/training.py",
    *(ROOT / "grader" / name for name in ("checks/inputs.py", "checks/losses.py", "checks/training.py", "expect.py",
                                          "instruments.py", "runner.py", "servant.py", "student.py")),
]


class KeptAnswers:
    """A dict of answers by key that is read from one file, and written back as it grows; without a place to write, a plain dict.

    Nothing but tensors, numbers, strings, lists and dicts is read from the file.
    """

    def __init__(self, folder: Path | None = None):
        self.path = (folder or platformdirs.user_cache_path("unetlab")) / f"answers-{_digest()}.pt"
        self.answers: dict[str, object] = {}
        with contextlib.suppress(Exception):  # there is none, or it is damaged: then all is asked anew
            self.answers = torch.load(self.path, weights_only=True)
        self.written = len(self.answers)

    def get(self, key: str, ask) -> object:
        """The answer to a key; `ask()` is called where it is not known yet."""
        if key not in self.answers:
            self.answers[key] = ask()
        return self.answers[key]

    def keep(self) -> None:
        """Write the file when it has grown by a quarter: so often that little is lost, so seldom that it costs nothing."""
        if len(self.answers) < 1.25 * self.written + 20:
            return
        with contextlib.suppress(OSError):  # a home that cannot be written: the answers are there all the same
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, part = tempfile.mkstemp(dir=self.path.parent, prefix=self.path.name)
            os.close(handle)
            torch.save(self.answers, part)
            os.replace(part, self.path)
            self.written = len(self.answers)


def _digest() -> str:
    digest = hashlib.sha256(torch.__version__.encode())
    for path in ASKING:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
