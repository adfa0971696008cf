"""A class of eight, made up and graded through nbgrader: what the kit does, seen in three minutes."""

from __future__ import annotations

import ast
import time
from collections.abc import Callable
from pathlib import Path

import nbformat

from . import report
from .course import grade_class, open_course
from .rubric import assignment, load_rubric

MARKS = ("### BEGIN SOLUTION", "### END SOLUTION")
NOTEBOOK = "01_unet"
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
    """Make the release and eight hand-ins below `out`, grade them, say where things lie, and return the report."""
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
        "released notebook": course / "release" / assignment() / f"{NOTEBOOK}.ipynb",
        "hand-ins": handins,
    }


# ---- the class ----


def make_class(handins: Path, course: Path) -> list[Path]:
    """Write eight hand-ins as notebooks: the release with the stub cells replaced."""
    handins.mkdir(parents=True, exist_ok=True)
    released = course / "release" / assignment() / f"{NOTEBOOK}.ipynb"
    paths = []
    for student, cells in the_class(course).items():
        nb = nbformat.read(released, as_version=4)
        fill(nb, cells)
        if student == "heidi_cheat":
            _forge_outputs(nb)
        paths.append(handins / f"{student}_{NOTEBOOK}.ipynb")
        nbformat.write(nb, paths[-1])
    return paths


def the_class(course: Path) -> dict[str, dict[str, str]]:
    """Return each student's solution cells, by nbgrader id; a cell that is not named stays as it was handed out."""
    good = solution_cells(course)
    one, two = "task_1_1", "task_1_2"
    swapped = changed(good[one], "return features, pooled", "return pooled, features")
    no_padding = by_task(_wrong("1.2", "not_aligned"), good)
    unparsable = changed(good[two], "def forward(self, x, skip_features):", "def forward(self, x, skip_features)")
    endless = changed(good[two], "x = self.up(x)", "while True:\n            pass\n        x = self.up(x)")
    return {
        "ada_perfect": good,
        "blaise_other_style": by_task(_other_style(), good),
        "carla_swapped_return": {**good, one: swapped},
        "deniz_odd_sizes": no_padding,
        "emil_untouched": {},
        "fatma_syntax_error": {**good, two: unparsable},
        "gus_endless_loop": {**good, two: endless},
        "heidi_cheat": _cheat(course, good),
    }


def fill(nb: nbformat.NotebookNode, cells: dict[str, str]) -> None:
    """Replace the source of the cells with these nbgrader ids."""
    for cell in nb.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        cell.source = cells.get(name, cell.source)


def solution_cells(course: Path) -> dict[str, str]:
    """Return the reference's solution cells by nbgrader id, without nbgrader's marks."""
    nb = nbformat.read(course / "source" / assignment() / f"{NOTEBOOK}.ipynb", as_version=4)
    found = {}
    for cell in nb.cells:
        marks = cell.metadata.get("nbgrader", {})
        if marks.get("solution"):
            lines = [line for line in cell.source.splitlines() if not any(mark in line for mark in MARKS)]
            found[marks["grade_id"]] = "\n".join(lines)
    return found


def changed(source: str, old: str, new: str) -> str:
    """Replace the one occurrence of `old`; ValueError where there is not exactly one."""
    if source.count(old) != 1:
        raise ValueError(
            f"{old!r} occurs {source.count(old)} times instead of once: correct it in {Path(__file__).name}"
        )
    return source.replace(old, new)


def by_task(module: str, good: dict[str, str]) -> dict[str, str]:
    """Split a module into the notebook's solution cells: each takes what stands up to its last class."""
    lines, cells, start = module.splitlines(), {}, 0
    nodes = ast.parse(module).body
    for name, source in good.items():
        ends = [node.end_lineno for node in nodes if isinstance(node, ast.ClassDef) and f"class {node.name}(" in source]
        end = len(lines) if name == list(good)[-1] else max(ends, default=start)
        cells[name] = "\n".join(lines[start:end]).strip()
        start = max(start, end)
    return cells


def _other_style() -> str:
    styles = KIT / "solutions" / "alternatives"
    return (styles / "part_1" / "functional.py").read_text(encoding="utf-8")


def _wrong(task: str, name: str) -> str:
    from solutions.wrong import WRONG, wrong_source  # the instructor's side of the wall

    return wrong_source(next(wrong for wrong in WRONG if (wrong.task, wrong.name) == (task, name)))


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
