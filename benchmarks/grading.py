"""Seconds a submission: stock nbgrader against the judge, on the same twenty notebooks, in one run.

    python benchmarks/grading.py [COUNT] [--whole]

Stock nbgrader executes each notebook in a kernel of its own; its check cells run the public checks
(`assert check("1.1").passed`). The judge runs public and hidden checks, each task in a sandbox.
Start-up is counted on both sides. The notebooks are the lab's own, filled in; without --whole, as bare
ones that hold the tasks' code and the check cells and nothing else, which spares stock nbgrader the
lab's pictures and feature maps.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from grader.build import read_labs, source_notebook  # noqa: E402
from grader.demo import by_task, fill  # noqa: E402
from grader.judge import grade_all  # noqa: E402
from grader.rubric import load_rubric  # noqa: E402
from grader.submissions import find_submissions  # noqa: E402
from solutions.reference import reference_source  # noqa: E402
from solutions.wrong import WRONG, wrong_source  # noqa: E402

ASSIGNMENT, NOTEBOOK = "bench", "01_unet"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", nargs="?", type=int, default=20)
    parser.add_argument("--whole", action="store_true", help="the lab's whole notebook, as students hand it in")
    options = parser.parse_args()
    count = options.count
    # nbgrader runs alembic by name; the venv's own comes first
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as folder:
        course = Path(folder)
        notebooks = make_course(course, count, whole_notebook if options.whole else bare_notebook)
        judged = {jobs: timed(lambda: judge(notebooks, jobs)) for jobs in (1, 2)}
        stock, stock_scores = timed(lambda: stock_nbgrader(course, count))
    kind = "whole" if options.whole else "bare"
    machine = platform.processor() or platform.machine()
    print(f"{count} {kind} notebooks, {machine}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'':36}{'s/submission':>13}{'ratio':>8}")
    print(f"{'stock nbgrader, public checks':36}{stock / count:13.2f}{1:8.1f}")
    for jobs, (seconds, results) in judged.items():
        print(f"{f'judge, public and hidden, --jobs {jobs}':36}{seconds / count:13.2f}{stock / seconds:8.1f}")
    single = sorted(result["seconds"] for result in judged[1][1])
    print(f"judge with one job: median submission {single[count // 2]:.2f} s, without the start-up")
    assert len(stock_scores) == count and all(result["status"] == "graded" for result in judged[1][1])


def timed(work):
    """(seconds, result) of a function."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def make_course(course: Path, count: int, notebook: Callable[[str], nbformat.NotebookNode]) -> list[Path]:
    """A stock nbgrader course with `count` submissions; every fifth is right, the others are known-wrong variants."""
    step = max(1, len(WRONG) // count)
    texts = [reference_source() if n % 5 == 0 else wrong_source(WRONG[n * step % len(WRONG)]) for n in range(count)]
    write(course / "source" / ASSIGNMENT, notebook(reference_source()))
    return [
        write(course / "submitted" / f"student{n:02}" / ASSIGNMENT, notebook(text)) for n, text in enumerate(texts)
    ]


def bare_notebook(code: str) -> nbformat.NotebookNode:
    """One solution cell with all the code, and a check cell for each task."""
    cells = [cell("from grader import check", "setup", grade=False, locked=True), cell(code, "task", solution=True)]
    for task in load_rubric().values():
        name = f"check_{task.id.replace('.', '_')}"
        cells.append(cell(strict(task.id), name, grade=True, locked=True, points=int(task.points)))
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})


def whole_notebook(code: str) -> nbformat.NotebookNode:
    """The lab's notebook with this code in its task cells, and check cells that fail where a check does."""
    notebook = nbformat.from_dict(source_notebook(read_labs()[0]))
    good = {c.metadata.nbgrader.grade_id: c.source for c in notebook.cells if c.metadata.get("nbgrader", {}).get("solution")}
    fill(notebook, by_task(code, good))
    for task in load_rubric().values():
        fill(notebook, {f"check_{task.id.replace('.', '_')}": strict(task.id)})
    setup = f"import sys; sys.path.insert(0, {str(ROOT)!r})"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(setup, id="where"))
    notebook.cells = [c for c in notebook.cells if "def find_lab_files" not in c.source]
    return notebook


def strict(task: str) -> str:
    """A check cell as stock nbgrader needs it: it raises."""
    return f'assert check("{task}").passed'


def cell(source: str, id: str, grade=False, solution=False, locked=False, **more) -> nbformat.NotebookNode:
    """A code cell with nbgrader's metadata."""
    part = {"grade_id": id, "grade": grade, "solution": solution, "locked": locked, "task": False, "schema_version": 3}
    return nbformat.v4.new_code_cell(source, id=id, metadata={"nbgrader": {**part, **more}})


def write(folder: Path, content: nbformat.NotebookNode) -> Path:
    """The notebook's path in that folder."""
    folder.mkdir(parents=True)
    path = folder / f"{NOTEBOOK}.ipynb"
    nbformat.write(content, path)
    return path


def judge(notebooks: list[Path], jobs: int) -> list[dict]:
    """Every submission's result by our judge."""
    return list(grade_all(find_submissions(notebooks), jobs=jobs))


def stock_nbgrader(course: Path, count: int) -> dict[str, float]:
    """Every student's score by nbgrader as it comes."""
    from nbgrader.api import Gradebook
    from nbgrader.apps import NbGraderAPI
    from traitlets.config import Config

    logging.disable(logging.CRITICAL)
    config = Config()
    config.CourseDirectory.root = str(course)
    api = NbGraderAPI(config=config)
    done = api.generate_assignment(ASSIGNMENT)
    assert done["success"], json.dumps(done)[-2000:]
    shutil.rmtree(course / "autograded", ignore_errors=True)
    for number in range(count):
        done = api.autograde(ASSIGNMENT, f"student{number:02}")
        assert done["success"], done.get("log", "")[-2000:]
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        return {s.student.id: s.score for s in gradebook.assignment_submissions(ASSIGNMENT)}


if __name__ == "__main__":
    main()
