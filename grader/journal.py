"""What the judge says of a hand-in in `submitted/`, once for each state of it."""

from __future__ import annotations

import atexit
import copy
import functools
import hashlib
import json
import os
import re
from pathlib import Path

from .handover import is_theirs, names_defined, read_slip, submission_in, without_folder
from .reading import Unreadable, load_notebook
from .rubric import load_rubric, notebooks

KIT = Path(__file__).resolve().parent.parent
# Changing these changes no mark: they show marks, make the lab, or are examples of hand-ins.
SHOWING = re.compile(
    r"grader/(report|class_page|class_statistics|similarity|exports|platforms|cards|feedback|gradescope|nbgrader_glue|repair|defuse|course|demo|cli|build|release|pack|mine|notebook|executors)\.py"
    r"|solutions/(wrong|alternatives)/.*"
)


class Journal:
    """The judge's results as an append-only file of JSON lines; a torn last line is passed over."""

    def __init__(self, path: Path):
        self.path = Path(path)

    def get(self, key: str) -> dict | None:
        """Return the last result for a key, or None."""
        if not self.path.exists():
            return None
        stat = self.path.stat()
        return copy.deepcopy(_journal_lines(str(self.path), stat.st_mtime_ns, stat.st_size).get(key))

    def append(self, key: str, result: dict) -> None:
        """Write one result and have it on the disk before returning."""
        line = json.dumps({"key": key, "result": result}) + "\n"
        with open(self.path, "a+b") as file:
            file.seek(0, os.SEEK_END)
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # the process died while it wrote
                    line = "\n" + line
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())


@functools.lru_cache(maxsize=4)
def _journal_lines(path: str, modified: int, size: int) -> dict[str, dict]:
    found = {}
    for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
            found[entry["key"]] = entry["result"]
        except (ValueError, KeyError, TypeError):
            continue
    return found


# ---- which state a hand-in is in ----


def submission_key(folder: Path, assignment: str) -> str:
    """Digest of the hand-in's files, the assignment and everything that marks it."""
    folder = Path(folder)
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "timestamp.txt")
    # nbgrader asks once for each notebook, and a checkpoint may have 200 MB.
    state = tuple((str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns) for path in paths)
    return _digest(str(folder), assignment, state)


@functools.lru_cache(maxsize=16)
def _digest(folder: str, assignment: str, state: tuple) -> str:
    digest = hashlib.sha256(f"{assignment}\0{_kit_digest()}".encode())
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


@functools.lru_cache(maxsize=1)
def _kit_digest() -> str:
    # A corrected check, a changed rubric or other held-out pictures must be judged anew; reports and glue do not matter.
    digest = hashlib.sha256()
    for path in marking_files():
        digest.update(f"{path.relative_to(KIT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def marking_files() -> list[Path]:
    """The kit's files that marks depend on."""
    files = [*(KIT / "grader").rglob("*.py"), KIT / "grader" / "rubric.toml", *(KIT / "solutions").rglob("*.py")]
    files += [KIT / f"{name}.py" for name in ("data_utils", "drawn_pets", "metrics")]  # the held-out pictures and their measure
    return sorted(path for path in files if path.is_file() and not SHOWING.fullmatch(path.relative_to(KIT).as_posix()))


# ---- judging ----


def judge_once(folder: Path, student: str, insecure: bool = False, device: str = "cpu") -> dict:
    """Judge one hand-in with this process's own judge; any fault of it gives an ungraded result with the reason."""
    try:
        return set_aside(_judge(insecure, device).grade(submission_in(folder, student)), folder)
    except Exception as error:
        return ungraded(student, f"The judge failed, so nothing was graded: {error}", str(folder))


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
    return {"path": path, "student": student, **_sums(tasks), "notes": [reason], "seconds": 0.0, "tasks": tasks}


def _not_judged(task, reason: str = "") -> dict:
    empty = {"status": "ungraded", "score": None, "max_score": task.points, "carried_forward": False, "checks": []}
    return {**empty, "unreadable": reason} if reason else empty


def _sums(tasks: dict[str, dict]) -> dict:
    known = [task["score"] for task in tasks.values() if task["score"] is not None]
    status = "graded" if known and len(known) == len(tasks) else "partly graded" if known else "ungraded"
    score = round(sum(known), 2) if known else None
    return {"status": status, "score": score, "max_score": sum(task["max_score"] for task in tasks.values())}


def is_final(result: dict) -> bool:
    """Whether judging the same files again could say nothing else: no task is ungraded but for a file that cannot be read."""
    return all(task["score"] is not None or "unreadable" in task for task in result["tasks"].values())


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
            tasks[id] = _not_judged(task, unreadable[where[0]])
    notes = [*result["notes"], *(reason for reason in unreadable.values() if reason not in result["notes"])]
    return {**result, **_sums(tasks), "tasks": tasks, "notes": notes}


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
