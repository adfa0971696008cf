"""Seconds a submission: stock nbgrader against the judge, on the same twenty notebooks, in one run.

    python benchmarks/grading.py [COUNT]

Stock nbgrader executes each notebook in a kernel of its own; its check cells run the public checks
(`assert check("1.1").passed`). The judge runs public and hidden checks, each task in a sandbox.
Start-up is counted on both sides. The notebooks hold the tasks' code and the check cells, nothing else.
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
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from grader.judge import grade_all  # noqa: E402
from grader.rubric import load_rubric  # noqa: E402
from grader.submissions import find_submissions  # noqa: E402
from solutions.reference import reference_source  # noqa: E402
from solutions.wrong import WRONG, wrong_source  # noqa: E402

ASSIGNMENT, NOTEBOOK = "bench", "01_unet"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", nargs="?", type=int, default=20)
    count = parser.parse_args().count
    # nbgrader runs alembic by name; the venv's own comes first
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as folder:
        course = Path(folder)
        notebooks = make_course(course, count)
        judged = {jobs: timed(lambda: judge(notebooks, jobs)) for jobs in (1, 2)}
        stock, stock_scores = timed(lambda: stock_nbgrader(course, count))
    print(f"{count} submissions, {platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'':34}{'s/submission':>13}{'ratio':>8}")
    print(f"{'stock nbgrader, public checks':34}{stock / count:13.2f}{1:8.1f}")
    for jobs, (seconds, results) in judged.items():
        print(f"{f'judge, public and hidden, {jobs} job(s)':34}{seconds / count:13.2f}{stock / seconds:8.1f}")
    floor = sum(c["seconds"] for r in judged[1][1] for t in r["tasks"].values() for c in t["checks"])
    print(f"of the judge's {judged[1][0]:.1f} s with one job, checks took {floor:.1f} s")
    assert len(stock_scores) == count and all(r["status"] == "graded" for r in judged[1][1])


def timed(work):
    """(seconds, result) of a function."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def make_course(course: Path, count: int) -> list[Path]:
    """A stock nbgrader course with `count` submissions; every fifth is right, the others are known-wrong variants."""
    step = max(1, len(WRONG) // count)
    texts = [reference_source() if n % 5 == 0 else wrong_source(WRONG[n * step % len(WRONG)]) for n in range(count)]
    write(course / "source" / ASSIGNMENT, notebook(reference_source()))
    return [
        write(course / "submitted" / f"student{n:02}" / ASSIGNMENT, notebook(text)) for n, text in enumerate(texts)
    ]


def notebook(code: str) -> nbformat.NotebookNode:
    """One solution cell with all the code, and a check cell for each task."""
    cells = [cell("from grader import check", "setup", grade=False, locked=True), cell(code, "task", solution=True)]
    for task in load_rubric().values():
        source = f'assert check("{task.id}").passed'
        cells.append(cell(source, f"check_{task.id.replace('.', '_')}", grade=True, locked=True, points=int(task.points)))
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})


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
