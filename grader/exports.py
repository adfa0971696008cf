"""The marks of a class as CSV: for people (`grades.csv`), for statistics (`checks.csv`), for Canvas and Moodle.

What is not graded is an empty field beside its status, never 0. Names, notes and messages come from students: no cell of
ours begins as a formula does. Files that a learning platform exported keep every cell but the marks.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from pathlib import Path

from .cards import number, said
from .class_statistics import items_of, task_marks, tasks_of, total
from .text import visible

# A spreadsheet would run =HYPERLINK(...) out of a student's file name: at the start of a cell, and after what some take for
# the end of one.
FORMULA = re.compile(r"(^|[;\t])(?=\s*[=+\-@\t＝＋－＠])")
LONGEST = 30_000  # characters of a cell; Excel cuts at 32,767


def write_csv(path: Path, header: list[str], rows: Iterable[list]) -> Path:
    """Write a table of our own, with every cell harmless in a spreadsheet."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([cell(value) for value in row] for row in rows)
    return Path(path)


def cell(value: object) -> str:
    """A value as the text of a cell: on one line, without control characters, no formula; None is empty."""
    text = "" if value is None else visible(value).replace("\n", " ")[:LONGEST]
    return FORMULA.sub(r"\1'", text)


def field(score: float | None) -> str:
    """A mark, or nothing where there is none."""
    return "" if score is None else number(score)


def by_student(report: dict) -> list[dict]:
    """The results in the order in which people look for them."""
    return sorted(report["submissions"], key=lambda result: (result["student"].lower(), result["student"]))


# ---- a row a student ----


def write_grades(report: dict, path: Path) -> Path:
    """Write one row a student.

    `score` and the tasks' columns are what the judge gave, `bonus` what comes on top of it: neither `max_score` nor `total_max` holds
    any. `total` is score and bonus with the marks given by hand, with those that a person put in the place of the judge's
    (`corrected`), and without `late_penalty`, once nothing is left to mark.
    """
    tasks, items = tasks_of(report), items_of(report)
    marks = [f"{name} {part}" for name in (*tasks, *items) for part in ("score", "status")]
    sums = ["total", "total_max", "left_to_mark", "corrected", "late_penalty"]
    header = ["student", "status", "score", "max_score", "bonus", *marks, *sums, "carried_forward", "notes", "path"]
    return write_csv(path, header, (_grades(result, tasks, items) for result in by_student(report)))


def _grades(result: dict, tasks: list[str], items: list[str]) -> list:
    absent = {"score": None, "status": "ungraded"}
    marked = [result["tasks"].get(task, absent) for task in tasks]
    marked += [result.get("manual", {}).get(item, {**absent, "status": "to mark"}) for item in items]
    marks = [text for outcome in marked for text in (field(outcome["score"]), outcome["status"])]
    carried = " ".join(task for task in tasks if result["tasks"].get(task, {}).get("carried_forward"))
    sums = total(result)
    row = [result["student"], result["status"], field(result["score"]), result["max_score"], number(result.get("bonus", 0.0)), *marks]
    row += ["" if sums["open"] else field(sums["sum"]), sums["max_score"], number(sums["open"])]
    corrected = [f"{task}: {number(task_marks(result)[task]['score'])}" for task in tasks if task in result.get("corrected", {})]
    row += ["; ".join(corrected), number(result.get("late_penalty", 0.0)), carried]
    return [*row, " | ".join(result["notes"]), result["path"]]


# ---- a row a check ----

CHECKS = ["student", "task", "check", "hidden", "passed", "points", "max", "message", "diagnosis", "seconds", "status"]


def write_checks(report: dict, path: Path) -> Path:
    """Write one row for each student and check, the long form that statistics programs take.

    `passed` is true, false, or empty where the check did not apply; a task without a verdict has one row, with an empty check.
    """
    rows = (row for result in by_student(report) for task in tasks_of(report) for row in _checks(result, task))
    return write_csv(path, CHECKS, rows)


def _checks(result: dict, task: str) -> Iterable[list]:
    outcome = result["tasks"].get(task)
    if outcome is None:
        return
    student, status = result["student"], outcome["status"]
    diagnosis = "; ".join(d.get("title") or d.get("name", "") for d in outcome.get("diagnoses") or [])
    if not outcome["checks"] and not outcome.get("left_out"):
        reason = outcome.get("reason") or outcome.get("unreadable")
        yield [student, task, None, None, None, None, number(outcome["max_score"]), reason, diagnosis, None, status]
    for check in outcome["checks"]:
        passed = {True: "true", False: "false", None: ""}[check["passed"]]
        gained = {True: number(check["points"]), False: "0", None: ""}[check["passed"]]
        told = "" if check["passed"] else said(check)
        row = [student, task, check["name"], str(bool(check["hidden"])).lower(), passed, gained, number(check["points"])]
        yield [*row, told, "" if check["passed"] else diagnosis, check.get("seconds"), status]
    for name in outcome.get("left_out") or []:
        yield [student, task, name, None, None, None, None, None, None, None, status]
