"""Points, limits and dependencies of every task, read from rubric.toml."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it on Python 3.10

PATH = Path(__file__).with_name("rubric.toml")


@dataclass(frozen=True)
class Limits:
    """What one task of one submission may use: seconds for one answer, of wall and CPU time; megabytes of memory, GPU, file and checkpoint."""

    answer_seconds: float
    wall_seconds: float
    cpu_seconds: int
    memory_mb: int
    gpu_memory_mb: int
    file_mb: int
    checkpoint_mb: int


@dataclass(frozen=True)
class Task:
    """One task of the lab; `checks` maps the name of a check to its points."""

    id: str
    title: str
    notebook: str
    difficulty: str
    minutes: int
    names: tuple[str, ...]
    builds_on: tuple[str, ...]
    layout: dict[str, str]  # task → its check that what this task runs was built as described
    checks: dict[str, float]
    limits: Limits
    experiment: bool = False  # judged by what the student's training gave, without a TODO of its own
    bonus: bool = False  # voluntary: its points come on top of the lab's maximum

    @property
    def points(self) -> float:
        """All points of the task."""
        return sum(self.checks.values())

    @property
    def counted(self) -> float:
        """What the task adds to the lab's maximum: nothing where it is a bonus."""
        return 0.0 if self.bonus else self.points


@dataclass(frozen=True)
class Manual:
    """What a person marks: the cell `id` of a notebook, worth `points`."""

    id: str
    title: str
    notebook: str
    points: float


def _read() -> dict:
    return tomllib.loads(PATH.read_text(encoding="utf-8"))


@functools.lru_cache(maxsize=1)
def assignment() -> str:
    """The assignment's name in the gradebook."""
    return _read()["assignment"]


@functools.lru_cache(maxsize=1)
def load_rubric() -> dict[str, Task]:
    """Every task by its id, in the order of the file."""
    content = _read()
    return {id: _task(id, fields, content["limits"]) for id, fields in content["tasks"].items()}


@functools.lru_cache(maxsize=1)
def load_manual() -> dict[str, Manual]:
    """Every item that a person marks by its id, in the order of the file."""
    return {id: Manual(id=id, **fields) for id, fields in _read()["manual"].items()}


@functools.lru_cache(maxsize=1)
def held_out() -> dict:
    """What a trained network is measured on: `data`, `size` in pixels and `count` of pictures."""
    return _read()["held_out"]


def notebooks() -> set[str]:
    """The names of the assignment's notebooks, without `.ipynb`."""
    return {task.notebook for task in load_rubric().values()}


@functools.lru_cache(maxsize=1)
def bonus_notebooks() -> frozenset[str]:
    """Those of them that are voluntary: they hold nothing but bonus."""
    whole = {task.notebook for task in load_rubric().values() if not task.bonus} | {item.notebook for item in load_manual().values()}
    return frozenset(notebooks() - whole)


@functools.lru_cache(maxsize=1)
def unmarked_notebooks() -> frozenset[str]:
    """The names of notebooks that students get but that hold no task."""
    return frozenset(_read()["unmarked"])


def defined_names() -> list[str]:
    """Every name that some task asks for, once, in the order of the tasks."""
    return list(dict.fromkeys(name for task in load_rubric().values() for name in task.names))


def select(only: list[str] | None) -> list[Task]:
    """The tasks named in `only`, or all of them; ValueError for a task that does not exist."""
    rubric = load_rubric()
    unknown = [id for id in only or [] if id not in rubric]
    if unknown:
        raise ValueError(f"no task {', '.join(unknown)}; there are {', '.join(rubric)}")
    return [rubric[id] for id in rubric if not only or id in only]


def _task(id: str, fields: dict, limits: dict) -> Task:
    fields = dict(fields)
    own_limits = fields.pop("limits", {})
    return Task(
        id=id,
        names=tuple(fields.pop("names")),
        builds_on=tuple(fields.pop("builds_on")),
        layout=fields.pop("layout", {}),
        checks={name: float(points) for name, points in fields.pop("checks").items()},
        limits=Limits(**{**limits, **own_limits}),
        **fields,
    )
