"""A class of ten, made up and graded through nbgrader: what the kit does, seen in a few minutes."""

from __future__ import annotations

import ast
import json
import pickle
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nbformat

from . import report
from .course import grade_class, open_course
from .experiment import CHECKPOINT, RECORD, RESULTS
from .pack import pack
from .parsing import parse
from .rubric import assignment, bonus_notebooks, load_manual, load_rubric, notebooks

MARKS = ("### BEGIN SOLUTION", "### END SOLUTION")
KIT = Path(__file__).resolve().parent.parent

CHEAT = """\
class DoubleConv(nn.Module):
    # Runs as soon as the class is defined, wherever that is.
    import os, sqlite3, sys
    found = ""
    for path in [{witness!r}, {gradebook!r}]:
        try:
            open(path, "ab").close()
        except Exception:
            pass
    try:
        with open({witness!r}, "w") as file:
            file.write("the sandbox let me write")
    except Exception:
        pass
    try:
        book = sqlite3.connect({gradebook!r})
        book.execute("update grade set auto_score = 1000, manual_score = 1000")
        book.commit()
    except Exception:
        pass
    try:
        sys.path.insert(0, {kit!r})
        found = open({solution!r}).read()
        import solutions.reference
        found = solutions.reference.reference_source()
    except Exception:
        pass
"""
STOLEN = '''\
if DoubleConv.found:
    exec(DoubleConv.found)


class {name}(globals().get({name!r}, nn.Module)):
    pass
'''


def demo(out: Path, jobs: int = 2, say: Callable[[str], None] = print) -> dict:
    """Make the release and ten hand-ins below `out`, grade them, say where things lie, and return the report."""
    started = time.perf_counter()
    out = Path(out).resolve()
    course, handins = out / "course", out / "handins"
    say("making the course and its release")
    open_course(course)
    make_class(handins, course)
    outcome = grade_class(handins, course, jobs=jobs, say=say)
    say("\n" + report.summary_table(outcome) + "\n")
    for what, path in where(course, handins).items():
        say(f"{what:<22}{path}")
    say(
        f"\n{time.perf_counter() - started:.0f} s for {len(outcome['submissions'])} hand-ins, with the set-up."
    )
    say(f"To look at it in nbgrader: cd {course} && jupyter lab, then Nbgrader → Formgrader.")
    return outcome


def where(course: Path, handins: Path) -> dict[str, Path]:
    """Name what a graded course holds and where."""
    return {
        "class page": course / "class.html",
        "marks": course / "grades.csv",
        "nbgrader's own export": course / "nbgrader_grades.csv",
        "whole report": course / "report.json",
        "feedback": course / "feedback",
        "gradebook": course / "gradebook.db",
        "released notebooks": course / "release" / assignment(),
        "hand-ins": handins,
    }


# ---- the class ----


@dataclass
class Student:
    """What one student hands in: cells by nbgrader id (the others stay as handed out), a checkpoint, answers."""

    cells: dict[str, str]
    checkpoint: str = ""  # "trained", "pickled", or none
    answers: bool = True
    zipped: bool = True
    bonus: bool = False


def make_class(handins: Path, course: Path) -> list[Path]:
    """Write ten hand-ins: the release with the stub cells replaced, as the zip that `unetlab pack` makes, or loose."""
    handins.mkdir(parents=True, exist_ok=True)
    work = handins.with_name("work")
    for name, student in the_class(course).items():
        folder = work / name
        folder.mkdir(parents=True, exist_ok=True)
        left_out = set() if student.bonus else bonus_notebooks()
        for notebook in sorted(notebooks() - left_out):
            nb = nbformat.read(_released(course, notebook), as_version=4)
            fill(nb, {**student.cells, **(_answers(course) if student.answers else {})})
            if name == "heidi_cheat":
                _forge_outputs(nb)
            nbformat.write(nb, folder / f"{notebook}.ipynb")
        _add_results(folder, student.checkpoint)
        if student.zipped:
            pack(name, folder, handins)
        else:
            shutil.copytree(folder, handins / name, dirs_exist_ok=True)
    shutil.rmtree(work)
    return sorted(handins.iterdir())


def the_class(course: Path) -> dict[str, Student]:
    """Return the ten students by name."""
    good = solution_cells(course)
    one, two = "task_1_1", "task_1_2"
    swapped = changed(good[one], "return features, pooled", "return pooled, features")
    unparsable = changed(good["task_3_1"], "def forward(self, pred, target):", "def forward(self, pred, target)")
    endless = changed(good[two], "x = self.up(x)", "while True:\n            pass\n        x = self.up(x)")
    return {
        "ada_perfect": Student(good, "trained", bonus=True),
        "blaise_other_style": Student(_other_style(good)),
        "carla_swapped_return": Student({**good, one: swapped}),
        "deniz_odd_sizes": Student({**good, **_wrong("1.2", "not_aligned", good)}, "trained", zipped=False),
        "emil_untouched": Student({}, answers=False, bonus=True),  # the notebook, with nothing in it
        "fatma_syntax_error": Student({**good, "task_3_1": unparsable}, "trained"),
        "gus_endless_loop": Student({**good, two: endless}, zipped=False),
        "heidi_cheat": Student(_cheat(course, good), answers=False, zipped=False),
        "ivo_pickled_model": Student(good, "pickled"),
        "jana_never_zeroes": Student({**good, **_wrong("3.4", "never_zeroed", good)}, "trained"),
    }


def _released(course: Path, notebook: str) -> Path:
    return course / "release" / assignment() / f"{notebook}.ipynb"


def fill(nb: nbformat.NotebookNode, cells: dict[str, str]) -> None:
    """Replace the source of the cells with these nbgrader ids."""
    for cell in nb.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        cell.source = cells.get(name, cell.source)


def _source_cells(course: Path) -> dict[str, str]:
    """Every cell that students write, by nbgrader id, as the instructor's notebooks have it, without nbgrader's marks."""
    found = {}
    for notebook in sorted(notebooks()):
        nb = nbformat.read(course / "source" / assignment() / f"{notebook}.ipynb", as_version=4)
        for cell in nb.cells:
            marks = cell.metadata.get("nbgrader", {})
            if marks.get("solution"):
                lines = [line for line in cell.source.splitlines() if not any(mark in line for mark in MARKS)]
                found[marks["grade_id"]] = "\n".join(lines)
    return found


def solution_cells(course: Path) -> dict[str, str]:
    """Return the reference's solution cells by nbgrader id."""
    return {name: text for name, text in _source_cells(course).items() if name not in load_manual()}


def _answers(course: Path) -> dict[str, str]:
    return {name: text for name, text in _source_cells(course).items() if name in load_manual()}


def _add_results(folder: Path, checkpoint: str) -> None:
    """The training's outcome: the reference's trained network, or a pickled object with code in it."""
    if not checkpoint:
        return
    results = folder / RESULTS
    results.mkdir(exist_ok=True)
    record = json.loads((KIT / "solutions" / "trained" / RECORD).read_text(encoding="utf-8"))
    (results / RECORD).write_text(json.dumps(record), encoding="utf-8")
    if checkpoint == "trained":
        shutil.copy(KIT / "solutions" / "trained" / CHECKPOINT, results)
    else:
        (results / CHECKPOINT).write_bytes(pickle.dumps(_Bomb(str(folder.parent.parent / "cheated.txt"))))


class _Bomb:
    """What unpickling would run: a file beside the class that tells of it."""

    def __init__(self, witness: str):
        self.witness = witness

    def __reduce__(self):
        return Path(self.witness).write_text, ("a checkpoint ran code",)


def changed(source: str, old: str, new: str) -> str:
    """Replace the one occurrence of `old`; ValueError where there is not exactly one."""
    if source.count(old) != 1:
        raise ValueError(
            f"{old!r} occurs {source.count(old)} times instead of once: correct it in {Path(__file__).name}"
        )
    return source.replace(old, new)


def by_task(module: str, cells: dict[str, str]) -> dict[str, str]:
    """Split a module into these solution cells: each takes what stands up to its last class or function."""
    lines, found, start = module.splitlines(), {}, 0
    nodes = [node for node in parse(module).body if isinstance(node, (ast.ClassDef, ast.FunctionDef))]
    for name, source in cells.items():
        own = {node.name for node in parse(source).body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
        ends = [node.end_lineno for node in nodes if node.name in own]
        end = len(lines) if name == list(cells)[-1] else max(ends, default=start)
        found[name] = "\n".join(lines[start:end]).strip()
        start = max(start, end)
    return found


def _other_style(good: dict[str, str]) -> dict[str, str]:
    """The reference with Part 1 written in another style."""
    text = (KIT / "solutions" / "alternatives" / "part_1" / "functional.py").read_text(encoding="utf-8")
    return {**good, **by_task(text, {name: source for name, source in good.items() if name.startswith("task_1")})}


def _wrong(task: str, name: str, good: dict[str, str]) -> dict[str, str]:
    """The cells of the task with a known-wrong variant's mistake."""
    from solutions.wrong import WRONG, wrong_cells  # the instructor's side of the wall

    (variant,) = (wrong for wrong in WRONG if (wrong.task, wrong.name) == (task, name))
    cells = wrong_cells(variant)
    return {id: cells[index] for index, id in enumerate(id for id in good if task.replace(".", "_") in id)}


def _cheat(course: Path, good: dict[str, str]) -> dict[str, str]:
    """Honest in 1.1, with an attack in the class body; hoping in the rest for what the attack brings."""
    attack = CHEAT.format(
        witness=str(course.parent / "cheated.txt"),
        gradebook=str(course / "gradebook.db"),
        solution=str(next((KIT / "solutions").glob("lab_01*.py"))),
        kit=str(KIT),
    )
    stolen = {"task_1_2": STOLEN.format(name="DecoderBlock"), "task_1_3_1_4": STOLEN.format(name="UNet")}
    return {"task_1_1": changed(good["task_1_1"], "class DoubleConv(nn.Module):\n", attack + "\n"), **stolen}


def _forge_outputs(nb: nbformat.NotebookNode) -> None:
    """What a check cell would show after full marks, typed in by hand."""
    points = {task.id: task.points for task in load_rubric().values()}
    for cell in nb.cells:
        if cell.cell_type == "code" and cell.source.strip().startswith("check("):
            task = cell.source.split('"')[1]
            cell.outputs = [
                nbformat.v4.new_output("execute_result", data={"text/plain": f"{points[task]:g}"}, execution_count=1)
            ]
            cell.execution_count = 1
