"""Which of the kit's files marks depend on, as digests: one for each task, one for all of them.

A task's digest covers its checks with the helpers that they import, its entry in the rubric, the tasks that it builds on,
and what all tasks share: the judge with all that it imports, and the reference. A report or a command is in none of it,
since the judge imports none.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import platform
import re
from collections.abc import Iterable
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from .parsing import parse
from .rubric import held_out, load_rubric

KIT = Path(__file__).resolve().parent.parent
# What runs on each side of the wall, and what students may call; their imports are followed.
JUDGING = ["grader/judge.py", "grader/zygote.py", "data_utils.py", "drawn_pets.py", "metrics.py"]
# What decides which files are judged and which marks are left open; what these import to show things is not followed.
BESIDE = ["grader/handover.py", "grader/journal.py"]
# Imported by these, but no mark comes from it: the student's own check, where submissions run, what a mistake is called, this file.
NO_MARKS = re.compile(r"grader/(notebook|executors|gpu|fingerprint)\.py|solutions/(diagnosis\.py|(wrong|facets|alternatives)/.*)")
CHECKS = re.compile(r"(grader|solutions)/checks/.*")
LABS = re.compile(r"solutions/lab_\w+\.py")
REFERENCE = re.compile(r"^# %% .*\b(?:task|export)=.*\n(?:(?!# %%).*\n?)*", re.MULTILINE)  # what of a lab is no teaching text
PACKAGES = ("torch", "torchvision", "numpy", "nbgrader", "unetlab")
TEXTS = ("title", "difficulty", "minutes")  # of a task's entry in the rubric


@functools.lru_cache(maxsize=1)
def task_digests() -> dict[str, str]:
    """For each task a digest of all that its marks depend on, but for the hand-in."""
    shared = _of_files(shared_files()) + _reference_digest()
    own = {id: _digest(shared, _own_parts(id)) for id in load_rubric()}
    digests = {}
    for id, task in load_rubric().items():
        earlier = sorted({*task.builds_on, *task.layout})
        digests[id] = _digest(own[id], [own[name] for name in earlier], {name: digests.get(name) for name in earlier})[:16]
    return digests


@functools.lru_cache(maxsize=1)
def kit_digest() -> str:
    """One digest for all tasks together: the state of the kit that marked."""
    return _digest(task_digests())[:16]


@functools.lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """What a mark may depend on besides the kit: the version of Python and of the packages that matter."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def marking_files() -> list[Path]:
    """Every file of the kit that some mark depends on, and the rubric."""
    own = (path for id in load_rubric() for path in check_files(id))
    return sorted({*shared_files(), *own, *_labs(), KIT / "grader" / "rubric.toml"})


@functools.lru_cache(maxsize=1)
def shared_files() -> list[Path]:
    """The files that every task's marks depend on."""
    found = {path for path in imported(JUDGING) if not CHECKS.fullmatch(_name(path))}
    return sorted({*found, *(KIT / name for name in BESIDE)})


@functools.lru_cache(maxsize=None)
def check_files(task: str) -> list[Path]:
    """The files of a task's checks, public and hidden, and the helpers that they import."""
    name = f"checks/test_task_{task.replace('.', '_')}.py"
    return sorted(imported([f"grader/{name}", f"solutions/{name}"]) - set(shared_files()))


def _own_parts(id: str) -> list:
    task = load_rubric()[id]
    entry = {name: value for name, value in asdict(task).items() if name not in TEXTS}
    return [_of_files(check_files(id)), entry, held_out() if task.experiment else None]


def imported(names: Iterable[str]) -> set[Path]:
    """These files of the kit and all of the kit that they import, wherever in the file the import stands."""
    found, waiting = set(), [KIT / name for name in names]
    while waiting:
        path = waiting.pop()
        if path in found or not path.is_file() or NO_MARKS.fullmatch(_name(path)) or LABS.fullmatch(_name(path)):
            continue
        found.add(path)
        waiting += [KIT / f"{name}{end}" for name in _names_imported(path) for end in (".py", "/__init__.py")]
    return found


def _names_imported(path: Path) -> set[str]:
    return _imports_in(path.read_text(encoding="utf-8"), path.relative_to(KIT).parts)


@functools.lru_cache(maxsize=None)
def _imports_in(text: str, place: tuple[str, ...]) -> set[str]:
    """What a file may import, as paths without an ending: `from . import wire` gives grader and grader/wire."""
    names = set()
    for node in ast.walk(parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name.replace(".", "/") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = place[: -node.level] if node.level else ()
            module = "/".join([*above, *(node.module or "").split(".")]).strip("/")
            names |= {module, *(f"{module}/{alias.name}" for alias in node.names)}
    return names


def _reference_digest() -> str:
    return _digest([REFERENCE.findall(path.read_text(encoding="utf-8")) for path in _labs()])


def _labs() -> list[Path]:
    return sorted(path for path in (KIT / "solutions").glob("*.py") if LABS.fullmatch(_name(path)))


def _name(path: Path) -> str:
    return path.relative_to(KIT).as_posix()


def _of_files(paths: Iterable[Path]) -> str:
    return _digest([[_name(path), hashlib.sha256(path.read_bytes()).hexdigest()] for path in paths])


def _digest(*parts) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
