"""What a course of 2,000 students costs: time and memory against the number of students, from measured parts.

    python benchmarks/course.py [COUNT ...] [--project 2000] [--jobs 2]        (default: 50 100 200)

For each count, in a process of its own: hand-ins are made up (three notebooks each, one in ten with a checkpoint), ten of them
are really judged, and `unetlab class` runs on all of them with those ten results in turn, through nbgrader's gradebook,
feedback pages and all reports. So judging is measured by the submission, everything else by the class. The exponent says how a
part grows from the smallest to the largest count: 1 is linear. The projection takes the slope between the two
largest counts, and the power where a part grows faster than linear.

Last, the judge alone: its memory after 20, 100 and 200 submissions of one task, in one run.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import functools
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

JUDGED = 10  # really, in each class
PARTS = {  # functions of grader.course, by what they do
    "collect": "read hand-ins", "hand_over": "into submitted/", "judge_class": "journal", "into_gradebook": "gradebook, feedback",
    "marks_by_hand": "gradebook, feedback", "write_reports": "reports",
}
MARKS = (20, 100, 200)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("counts", nargs="*", type=int, default=[50, 100, 200])
    parser.add_argument("--project", type=int, default=2000, help="students of the course that is reckoned")
    parser.add_argument("--jobs", type=int, default=2, help="submissions judged at a time")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one or options.memory:
        print(json.dumps(measure_class(options.one, options.jobs) if options.one else measure_memory()))
        return
    rows = {count: in_a_process("--one", str(count), "--jobs", str(options.jobs)) for count in sorted(options.counts)}
    print_parts(rows, options.project)
    print("\nmemory of the judge and its warm process, MB:", in_a_process("--memory"))


def in_a_process(*arguments: str) -> dict:
    """What this file prints when it is run with these arguments."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, env=environment, check=True)
    return json.loads(done.stdout.splitlines()[-1])


# ---- a class ----


def measure_class(count: int, jobs: int) -> dict[str, float]:
    """Seconds by part, and the most memory of this process in MB."""
    from grader import course as courses

    with tempfile.TemporaryDirectory() as folder:
        course, handins = Path(folder, "course"), Path(folder, "handins")
        courses.open_course(course)
        make_hand_ins(handins, course, count)
        seconds: dict[str, float] = defaultdict(float)
        real = courses.grade_all
        courses.grade_all = functools.partial(replayed, real, seconds)
        for name, part in PARTS.items():
            setattr(courses, name, clocked(getattr(courses, name), part, seconds))
        with contextlib.redirect_stdout(sys.stderr):
            outcome = courses.grade_class(handins, course, jobs=jobs)
    assert [result["status"] for result in outcome["submissions"]].count("graded") == count
    seconds["journal"] -= seconds["judging"]
    seconds["judging"] *= count / min(JUDGED, count)
    return {**seconds, "memory, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def clocked(function, part: str, seconds: dict[str, float]):
    """The function, whose seconds are added up under its part."""

    @functools.wraps(function)
    def wrapper(*arguments, **options):
        started = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            seconds[part] += time.perf_counter() - started

    return wrapper


def replayed(real, seconds: dict[str, float], submissions, **options):
    """Judge the first few; give their results to the others in turn."""
    started = time.perf_counter()
    results = list(real(submissions[:JUDGED], **options))
    seconds["judging"] += time.perf_counter() - started
    yield from results
    for number, submission in enumerate(submissions[JUDGED:]):
        result = copy.deepcopy(results[number % len(results)])
        yield {**result, "path": str(submission.path), "student": submission.student}


def make_hand_ins(handins: Path, course: Path, count: int) -> None:
    """A folder of three notebooks for each student; every known-wrong variant comes up in turn, no two are the same in every byte."""
    import nbformat

    from grader.demo import by_task, fill, solution_cells
    from solutions.reference import reference_source
    from solutions.wrong import WRONG, wrong_source

    good = solution_cells(course)
    released = {path: nbformat.read(path, as_version=4) for path in sorted((course / "release").rglob("*.ipynb"))}
    for number in range(count):
        text = reference_source() if number % 5 == 0 else wrong_source(WRONG[number * 7 % len(WRONG)])
        cells = by_task(text, good)
        folder = handins / f"student{number:04}"
        folder.mkdir(parents=True)
        for path, notebook in released.items():
            notebook = copy.deepcopy(notebook)
            fill(notebook, cells)
            notebook.cells.append(nbformat.v4.new_markdown_cell(f"Handed in by student {number}.", id="own"))
            nbformat.write(notebook, folder / path.name)
        if number % 10 == 0:
            shutil.copytree(ROOT / "solutions" / "trained", folder / "results")


def print_parts(rows: dict[int, dict[str, float]], project: int) -> None:
    """Seconds by part and count, how they grow, and what they come to in a large course."""
    counts = list(rows)
    names = [name for name in dict.fromkeys(["judging", *PARTS.values(), "memory, MB"])]
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'':22}" + "".join(f"{count:>10}" for count in counts) + f"{'exponent':>10}{project:>10}")
    totals = dict.fromkeys([*counts, project], 0.0)
    for name in names:
        values = [row.get(name, 0.0) for row in rows.values()]
        power, reckoned = growth(counts, values, project)
        print(f"{name:22}" + "".join(f"{value:10.1f}" for value in values) + f"{power:10.2f}{reckoned:10.0f}")
        if name != "memory, MB":
            for count, value in zip([*counts, project], [*values, reckoned]):
                totals[count] += value
    print(f"{'all, seconds':22}" + "".join(f"{totals[count]:10.1f}" for count in counts) + f"{'':10}{totals[project]:10.0f}")


def growth(counts: list[int], values: list[float], project: int) -> tuple[float, float]:
    """The exponent of a part's growth and its value in the large course."""
    if len(counts) < 2 or min(values[0], values[-1]) <= 0:
        return math.nan, values[-1] * project / counts[-1]
    power = math.log(values[-1] / values[0]) / math.log(counts[-1] / counts[0])
    slope = (values[-1] - values[-2]) / (counts[-1] - counts[-2])
    linear = values[-1] + max(slope, 0) * (project - counts[-1])
    return power, max(linear, values[-1] * (project / counts[-1]) ** power) if power > 1.1 else linear


# ---- the judge alone ----


def measure_memory() -> dict[str, int]:
    """MB of this process and of the warm one after so many submissions."""
    import psutil

    from grader.executors import grade_all
    from tests.helpers import module
    from solutions.reference import reference_source

    found, me = {}, psutil.Process()
    submissions = (module(f"{reference_source()}\nNUMBER = {number}\n", f"student{number}") for number in range(max(MARKS)))
    for done, _ in enumerate(grade_all(submissions, only=["2.1"]), start=1):
        if done in MARKS:
            warm = sum(process.memory_info().rss for process in me.children(recursive=True))
            found[str(done)] = {"judge": me.memory_info().rss >> 20, "warm process": warm >> 20}
    return found


if __name__ == "__main__":
    main()
