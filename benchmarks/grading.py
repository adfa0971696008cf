"""Seconds a submission: stock nbgrader, otter-grader, the judge, and the checks alone, on the same twenty hand-ins in one run.

    python benchmarks/grading.py [COUNT] [--without otter,stock] [--whole]

A hand-in is the lab's three notebooks with all tasks, every fourth with a trained checkpoint; every fifth is right, the others
are known-wrong variants. The notebooks are bare: imports, definitions and check cells, without the lab's pictures and
training, which only the graders that execute notebooks would pay for (`--whole`: the first notebook as it is, alone).

- stock nbgrader executes each notebook in a kernel, with the public checks in its cells (`assert check("1.1").passed`);
- otter-grader does the same, with the public checks as its tests (`pip install -c constraints.txt -r benchmarks/requirements.txt`);
- the judge runs public and hidden checks, each task in a sandbox, start-up included;
- the floor is the same public and hidden checks called in one warm process, without any wall.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import logging
import os
import platform
import shutil
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import nbformat
import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from grader.build import read_labs, source_notebook  # noqa: E402
from grader.definitions import load  # noqa: E402
from grader.demo import by_task, fill  # noqa: E402
from grader.executors import grade_all  # noqa: E402
from grader.rubric import load_manual, load_rubric  # noqa: E402
from grader.runner import CheckFault, checks_of, run_check  # noqa: E402
from grader.student import Student  # noqa: E402
from grader.submissions import find_submissions  # noqa: E402
from solutions.reference import reference_source  # noqa: E402
from solutions.wrong import WRONG, wrong_source  # noqa: E402

ASSIGNMENT = "bench"
TRAINED = ROOT / "solutions" / "trained"
DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", nargs="?", type=int, default=20)
    parser.add_argument("--without", default="", help="peers to leave out: stock, otter")
    parser.add_argument("--whole", action="store_true", help="the first notebook as students hand it in")
    options = parser.parse_args()
    # nbgrader runs alembic by name; the venv's own comes first
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))  # for the kernels
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        course = Path(folder)
        handins = make_course(course, options.count, options.whole)
        rows = measure(course, handins, options.whole, options.without.split(","))
    print_table(rows, options.count, "whole first notebooks" if options.whole else "hand-ins of three bare notebooks")


def measure(course: Path, handins: list[Path], whole: bool, without: list[str]) -> dict[str, float]:
    """Seconds for all hand-ins, by row of the table."""
    tasks = [task.id for task in load_rubric().values() if not whole or task.notebook == "01_unet"]
    work = {
        "judge, --jobs 1": lambda: judge(handins, tasks, 1),
        "judge, --jobs 2": lambda: judge(handins, tasks, 2),
        "otter-grader, public checks": lambda: otter(course, handins, tasks),
        "stock nbgrader, public checks": lambda: stock_nbgrader(course, handins),
    }
    rows = {"floor: the checks alone": floor(handins, tasks)}
    for name, function in work.items():
        if name.split("-")[0].split()[0] not in without:
            rows[name] = timed(function)
            print(f"{name}: {rows[name] / len(handins):.2f} s/submission", file=sys.stderr, flush=True)
    return rows


def print_table(rows: dict[str, float], count: int, what: str) -> None:
    """Seconds a submission, against stock nbgrader and against the floor."""
    stock, floor = rows.get("stock nbgrader, public checks"), rows["floor: the checks alone"]
    load = os.getloadavg()[0]
    print(f"{count} {what}, {platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {load:.1f} at the end")
    print(f"{'':34}{'s/submission':>13}{'stock/this':>12}{'this/floor':>12}")
    for name, seconds in sorted(rows.items(), key=lambda row: -row[1]):
        against_stock = f"{stock / seconds:12.1f}" if stock else f"{'':12}"
        print(f"{name:34}{seconds / count:13.2f}{against_stock}{seconds / floor:12.2f}")


def timed(work) -> float:
    """Seconds that a function takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


# ---- the hand-ins ----


def make_course(course: Path, count: int, whole: bool) -> list[Path]:
    """A stock nbgrader course with `count` submissions; the folder of each."""
    step = max(1, len(WRONG) // count)
    texts = [reference_source() if n % 5 == 0 else wrong_source(WRONG[n * step % len(WRONG)]) for n in range(count)]
    write(course / "source" / ASSIGNMENT, reference_source(), whole)
    folders = []
    for number, text in enumerate(texts):
        folder = course / "submitted" / f"student{number:02}" / ASSIGNMENT
        write(folder, text, whole)
        if number % 4 == 0 and not whole:
            shutil.copytree(TRAINED, folder / "results", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        folders.append(folder)
    return folders


def write(folder: Path, code: str, whole: bool) -> None:
    """The notebooks with this module's classes and functions in their task cells."""
    folder.mkdir(parents=True)
    notebooks = [nbformat.from_dict(source_notebook(lab)) for lab in read_labs()[: 1 if whole else None]]
    good = {name: c.source for notebook in notebooks for c in notebook.cells if (name := task_cell(c))}
    cells = by_task(code, good)
    strict = {f"check_{id.replace('.', '_')}": f'assert check("{id}").passed' for id in load_rubric()}
    for notebook, name in zip(notebooks, sorted({task.notebook for task in load_rubric().values()})):
        fill(notebook, {**cells, **strict})
        notebook.cells = [c for c in notebook.cells if "def find_lab_files" not in c.source] if whole else bare(notebook)
        nbformat.write(notebook, folder / f"{name}.ipynb")


def task_cell(cell: nbformat.NotebookNode) -> str:
    """The name of the cell in which a task is written, or nothing."""
    marks = cell.metadata.get("nbgrader", {})
    return marks["grade_id"] if marks.get("solution") and marks["grade_id"] not in load_manual() else ""


def bare(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """All imports in one cell, then the cells that only define something, and the check cells."""
    imports, kept = ["from grader import check"], []
    for cell in (c for c in notebook.cells if c.cell_type == "code" and "def find_lab_files" not in c.source):
        body = ast.parse(cell.source).body
        mine = [node for node in body if isinstance(node, ast.ImportFrom) and node.module == "grader.mine"]
        if "nbgrader" in cell.metadata or mine or body and all(isinstance(node, DEFINITIONS) for node in body):
            kept.append(cell)
        imports += [ast.unparse(node) for node in body if isinstance(node, (ast.Import, ast.ImportFrom)) and node not in mine]
    return [nbformat.v4.new_code_cell("\n".join(dict.fromkeys(imports)), id="imports"), *kept]


# ---- the graders ----


def judge(handins: list[Path], tasks: list[str], jobs: int) -> None:
    """Every submission by our judge."""
    submissions = [submission for handin in handins for submission in find_submissions([handin])]
    results = list(grade_all(submissions, jobs=jobs, only=tasks))
    assert len(results) == len(handins) and all(result["status"] != "ungraded" for result in results)


def floor(handins: list[Path], tasks: list[str]) -> float:
    """Seconds for every submission's checks in this process, warm, on definitions loaded as the sandbox does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.backends.mkldnn.set_flags(False)  # as in the sandbox
    checks = {id: checks_of(load_rubric()[id]) + checks_of(load_rubric()[id], hidden=True) for id in tasks}
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere), contextlib.redirect_stdout(nowhere):
        in_process(handins[0], tasks, checks)  # what is imported or compiled once
        seconds = timed(lambda: [in_process(handin, tasks, checks) for handin in handins])
    torch.set_num_threads(threads)
    torch.backends.mkldnn.set_flags(True)
    return seconds


def in_process(handin: Path, tasks: list[str], checks: dict) -> None:
    """One submission's checks, without a wall."""
    (submission,) = find_submissions([handin])
    namespace, experiment = load(submission.sources()).namespace, submission.experiment()
    for id in tasks:
        student = Student.in_process(namespace, experiment if load_rubric()[id].experiment else None)
        for check in checks[id]:
            with contextlib.suppress(CheckFault):  # an odd answer of a wrong variant
                run_check(check, student)
        torch.backends.mkldnn.set_flags(False)  # loading a checkpoint switches it on


def otter(course: Path, handins: list[Path], tasks: list[str]) -> None:
    """Every notebook by otter-grader's `run`, with the public checks as its tests."""
    from otter.api import grade_submission

    rubric, archives = load_rubric(), {}
    for id in tasks:
        archives.setdefault(rubric[id].notebook, []).append(id)
    for notebook, ids in archives.items():
        with zipfile.ZipFile(course / f"{notebook}.zip", "w") as archive:
            archive.writestr("otter_config.json", json.dumps({"pdf": False, "show_stdout": False}))
            for id in ids:
                archive.writestr(f"tests/task_{id.replace('.', '_')}.py", otter_test(id, rubric[id].points))
    for handin in handins:
        os.environ["UNETLAB_WORK"] = str(handin)  # otter takes one notebook at a time; grader.mine finds the others there
        for notebook in archives:
            submission = course / "submission.zip"
            with zipfile.ZipFile(submission, "w") as archive:
                for path in [handin / f"{notebook}.ipynb", *sorted(handin.glob("results/*"))]:
                    archive.write(path, path.relative_to(handin))
            results = grade_submission(str(submission), str(course / f"{notebook}.zip"), quiet=True)
            assert results.possible > 0
    del os.environ["UNETLAB_WORK"]


def otter_test(id: str, points: float) -> str:
    """A test file in otter's OK format."""
    case = {"code": f">>> from grader import check\n>>> bool(check({id!r}).passed)\nTrue", "hidden": False, "locked": False}
    suite = {"cases": [case], "scored": True, "setup": "", "teardown": "", "type": "doctest"}
    return f"OK_FORMAT = True\n\ntest = {dict(name=f'task_{id}', points=points, suites=[suite])!r}\n"


def stock_nbgrader(course: Path, handins: list[Path]) -> None:
    """Every student by nbgrader as it comes."""
    from nbgrader.api import Gradebook
    from nbgrader.apps import NbGraderAPI
    from traitlets.config import Config

    config = Config()
    config.CourseDirectory.root = str(course)
    config.Execute.timeout = 1200  # a busy machine shall only make it slow
    api = NbGraderAPI(config=config)
    done = api.generate_assignment(ASSIGNMENT)
    assert done["success"], json.dumps(done)[-2000:]
    for handin in handins:
        done = api.autograde(ASSIGNMENT, handin.parent.name)
        assert done["success"], json.dumps(done)[-2000:]
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        assert len(gradebook.assignment_submissions(ASSIGNMENT)) == len(handins)


if __name__ == "__main__":
    main()
