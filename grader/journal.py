"""What the judge says of a hand-in in `submitted/`, once for each state of it."""

from __future__ import annotations

import atexit
import functools
import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from . import marks
from .durable import disk
from .fingerprint import task_digests
from .handover import is_theirs, names_defined, read_slip, submission_in, without_folder
from .reading import Unreadable, load_notebook
from .rubric import load_rubric, notebooks
from .student import FAULTS


class Journal:
    """All that the judge ever said in a course, and what of it went into the gradebook: an append-only file of JSON lines.

    A line has `at` (UTC), `key` (the state of a hand-in) and `students`; and `result`, what the judge said, or `booked`,
    the standing (see `standing_of`) that the gradebook took, or `settled`, what a person had marked before it did. A torn line,
    of a process that died, is passed over.
    """

    def __init__(self, path: Path):
        self.path = Path(path)

    def get(self, key: str) -> dict | None:
        """Return the last result for a key, or None."""
        place = _index(self.path).results.get(key)
        return self._entry(place)["result"] if place else None

    def last(self, kind: str, student: str) -> dict | None:
        """Return a student's last line of a kind ("result", "booked" or "settled"), or None."""
        place = _index(self.path).last.get((kind, student))
        return self._entry(place) if place else None

    def append(self, key: str, result: dict, students: Iterable[str] = ()) -> None:
        """Write one result, of all students who handed this in, and have it on the disk before returning."""
        self.write({"key": key, "students": sorted(students) or [result.get("student", "")], "result": result})

    def write(self, entry: dict) -> None:
        """Write one line and have it on the disk before returning; CourseError where that cannot be."""
        entry = {"at": datetime.now(timezone.utc).isoformat(timespec="milliseconds"), **entry}
        line = json.dumps(entry).encode() + b"\n"
        with disk(self.path), open(self.path, "a+b", buffering=0) as file:
            file.seek(0, os.SEEK_END)
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # the process died while it wrote
                    line = b"\n" + line
            written = file.write(line)
            while written < len(line):  # the next try says why
                written += file.write(line[written:])
            os.fsync(file.fileno())

    def history(self, student: str) -> list[dict]:
        """Return every line that concerns a student, the oldest first."""
        return [self._entry(place) for place in _index(self.path).lines.get(student, [])]

    def _entry(self, place: tuple[int, int]) -> dict:
        with open(self.path, "rb") as file:
            file.seek(place[0])
            return json.loads(file.read(place[1]))


@dataclass
class _Index:
    """Where in a journal what stands, as far as it was read: (start, length) of lines."""

    inode: int = 0
    end: int = 0
    results: dict[str, tuple[int, int]] = field(default_factory=dict)  # the last by key
    last: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)  # by kind and student
    lines: dict[str, list[tuple[int, int]]] = field(default_factory=dict)  # by student

    def add(self, start: int, line: bytes) -> None:
        """Note one whole line, unless it is torn."""
        place = start, len(line)
        try:
            entry = json.loads(line)
            kind = next(kind for kind in ("result", "booked", "settled") if kind in entry)
            key, students = entry["key"], list(entry["students"])
        except (ValueError, KeyError, TypeError, StopIteration):
            return
        if kind == "result":
            self.results[key] = place
        for student in students:
            self.last[kind, student] = place
            self.lines.setdefault(student, []).append(place)


_indexes: dict[Path, _Index] = {}


def _index(path: Path) -> _Index:
    """What a journal holds; only what was added since the last time is read."""
    path = path.resolve()
    if not path.exists():
        _indexes.pop(path, None)
        return _Index()
    with open(path, "rb") as file:
        state = os.fstat(file.fileno())
        known = _indexes.get(path)
        if known is None or known.inode != state.st_ino or known.end > state.st_size:
            known = _indexes[path] = _Index(state.st_ino)
        file.seek(known.end)
        for line in file:
            if not line.endswith(b"\n"):  # being written, or torn
                break
            known.add(known.end, line)
            known.end += len(line)
    return known


# ---- which state a hand-in is in ----


def submission_key(folder: Path, assignment: str) -> str:
    """Digest of the hand-in's files and the assignment.

    The checks are not part of it: when they change, marks stay as they are until `unetlab regrade` says what changes.
    """
    folder = Path(folder)
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "timestamp.txt")
    # nbgrader asks once for each notebook, and a checkpoint may have 200 MB.
    state = tuple((str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns) for path in paths)
    return _digest(str(folder), assignment, state)


@functools.lru_cache(maxsize=16)
def _digest(folder: str, assignment: str, state: tuple) -> str:
    digest = hashlib.sha256(assignment.encode())
    slip = read_slip(Path(folder))
    digest.update(json.dumps([slip.problem, slip.stand_ins, slip.left_out]).encode())  # what the notes say marks nothing
    for name, size, _ in state:
        if name == "unetlab.json" or Path(name).stem in slip.stand_ins and name.endswith(".ipynb"):
            continue
        digest.update(f"{name}\0{size}\0".encode("utf-8", "surrogateescape"))
        with open(Path(folder, name), "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    return digest.hexdigest()


def stale_tasks(result: dict) -> list[str]:
    """The tasks that were judged with other checks, points or limits than there are now, or could not be judged."""
    now, found = task_digests(), result["tasks"]
    return [id for id in now if id not in found or found[id].get("kit") != now[id] or not is_settled(found[id])]


def merged(old: dict, new: dict, tasks: Iterable[str]) -> dict:
    """The old result with these tasks judged anew; tasks that the rubric no longer has are gone.

    `new` may hold other tasks as well, which are left as they were.
    """
    tasks = set(tasks) & set(new["tasks"])
    sources = {id: new if id in tasks else old for id in load_rubric()}
    found = {id: source["tasks"][id] for id, source in sources.items() if id in source["tasks"]}
    kept = [note for note in old["notes"] if _task_of(note) not in tasks and not note.startswith(FAULTS)]
    added = [note for note in new["notes"] if _task_of(note) in tasks or not _task_of(note)]
    return {**old, **new, **marks.sums(found), "tasks": found, "notes": list(dict.fromkeys([*kept, *added]))}


def take_up(old: dict | None, new: dict) -> dict:
    """The new result, with the marks that the old one has already: judging again must change none."""
    if old is None:
        return new
    return merged(old, new, [id for id in new["tasks"] if id not in old["tasks"] or not is_settled(old["tasks"][id])])


def standing_of(result: dict) -> dict[str, str]:
    """For each task a digest of its mark and the checks' verdicts: whether gradebook and feedback have a result or another."""
    standing = {}
    for task, mark in result["tasks"].items():
        verdicts = json.dumps([mark["score"], [[check["name"], check["passed"], check["points"]] for check in mark["checks"]]])
        standing[task] = hashlib.sha256(verdicts.encode()).hexdigest()[:16]
    return standing


def _task_of(note: str) -> str:
    task = re.match(r"\d+\.\d+\b", note)
    return task[0] if task and task[0] in load_rubric() else ""


# ---- judging ----


def judge_once(folder: Path, student: str, insecure: bool = False, device: str = "cpu") -> dict:
    """Judge one hand-in with this process's own judge; any fault of it gives an ungraded result with the reason."""
    try:
        return set_aside(_judge(insecure, device).grade(submission_in(folder, student)), folder)
    except Exception as error:
        return ungraded(student, f"{FAULTS[0]}, so nothing was graded: {error}", str(folder))


@functools.lru_cache(maxsize=1)
def _judge(insecure: bool, device: str):
    from .judge import Judge  # starts no process before it is needed

    judge = Judge(insecure=insecure, device=device)
    started = judge.__enter__()
    atexit.register(judge.__exit__, None, None, None)
    return started


def ungraded(student: str, reason: str, path: str = "") -> dict:
    """Return a result in which nothing is graded and the reason is said."""
    tasks = {task.id: _not_judged(task) for task in load_rubric().values()}
    return {"path": path, "student": student, **marks.sums(tasks), "notes": [reason], "seconds": 0.0, "tasks": tasks}


def _not_judged(task, reason: str = "") -> dict:
    return marks.empty(task, **({"unreadable": reason} if reason else {}))


def is_final(result: dict) -> bool:
    """Whether judging the same files again could say nothing else: no task is ungraded but for a file that cannot be read."""
    return all(map(is_settled, result["tasks"].values()))


def is_settled(task: dict) -> bool:
    """Whether a task has its mark, or waits for a person and not for the judge."""
    return task["score"] is not None or "unreadable" in task


def set_aside(result: dict, folder: Path) -> dict:
    """Leave to a person what the judge could only mark as missing, since the notebook that has it cannot be read.

    A task is left open when something that it asks for is defined in no readable file and belongs to an unreadable notebook.
    """
    unreadable = unreadable_notebooks(folder)
    if not unreadable or result["status"] == "ungraded":
        return result
    defined = names_defined(submission_in(folder, result["student"]))
    homes: dict[str, set] = {}
    for task in load_rubric().values():
        for name in task.names if not task.experiment else ():
            homes.setdefault(name, set()).add(task.notebook)
    tasks = dict(result["tasks"])
    for id, task in load_rubric().items():
        lost = {home for name in task.names if name not in defined for home in homes.get(name, {task.notebook})}
        if id in tasks and (where := sorted(lost & set(unreadable))):
            tasks[id] = {**_not_judged(task, unreadable[where[0]]), "kit": tasks[id].get("kit")}
    notes = [*result["notes"], *(reason for reason in unreadable.values() if reason not in result["notes"])]
    return {**result, **marks.sums(tasks), "tasks": tasks, "notes": notes}


def unreadable_notebooks(folder: Path) -> dict[str, str]:
    """The handed-in notebooks of a folder below `submitted/` that cannot be read, and why."""
    folder, slip = Path(folder), read_slip(folder)
    found = {name: reason for name, reason in slip.stand_ins.items() if reason}
    for path in sorted(folder / f"{name}.ipynb" for name in notebooks()):
        if path.is_file() and is_theirs(path.relative_to(folder), slip):
            try:
                load_notebook(path)
            except Unreadable as problem:
                found[path.stem] = without_folder(str(problem), folder)
            except Exception as fault:  # as the judge takes it: one file must not end the batch
                found[path.stem] = f"{path.name}: cannot be read ({type(fault).__name__}: {fault})"
    return found
