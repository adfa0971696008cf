"""What nbgrader's gradebook says of a course: marks by hand, late penalties, which of the judge's marks it has."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator
from pathlib import Path

from nbgrader.api import Gradebook, MissingEntry
from nbgrader.apps import NbGraderAPI
from nbgrader.plugins import CsvExportPlugin
from sqlalchemy.exc import DatabaseError

from .durable import CourseError, database_fault
from .rubric import assignment, load_manual, load_rubric

GRADEBOOK = "gradebook.db"
CHECKS = {f"check_{id.replace('.', '_')}": id for id in load_rubric()}  # the cell of a task's check → the task


@contextlib.contextmanager
def opened(course: Path | NbGraderAPI) -> Iterator[Gradebook]:
    """The gradebook of a course; CourseError, with the cause and the mend, where it cannot be read or written."""
    url = course.coursedir.db_url if isinstance(course, NbGraderAPI) else f"sqlite:///{course / GRADEBOOK}"
    path = Path(url.removeprefix("sqlite:///"))
    try:
        with Gradebook(url) as gradebook:
            yield gradebook
    except DatabaseError as error:
        raise database_fault(path, str(error)) or CourseError(f"{path}: {error}") from None


# ---- marks by hand ----


def marks_by_hand(api: NbGraderAPI, result: dict) -> dict:
    """What persons and nbgrader's late policy made of a student's marks.

    `manual`: what a person marks, by item. `corrected`: by task the mark that a person put in the place of the judge's, None
    where the judge's has changed since and a person has to look again. `late_penalty`: points taken off.
    """
    found = {"manual": {}, "corrected": {}, "late_penalty": 0.0}
    with opened(api) as gradebook:
        found["manual"] = _manual_marks(gradebook, result["student"])
        with contextlib.suppress(MissingEntry):
            submission = gradebook.find_submission(assignment(), result["student"])
            found["late_penalty"] = float(submission.late_submission_penalty or 0.0)
            for grade in (grade for notebook in submission.notebooks for grade in notebook.grades):
                outcome = result["tasks"].get(CHECKS.get(grade.name))
                counts = grade.max_score or is_bonus(grade)
                if outcome and counts and (grade.manual_score is not None or grade.extra_credit):
                    scale = outcome["max_score"] / grade.max_score if grade.max_score else 1.0  # a course may count other points
                    score = None if grade.needs_manual_grade else round(grade.score * scale, 2)
                    found["corrected"][CHECKS[grade.name]] = {"score": score}
    return found


def _manual_marks(gradebook: Gradebook, student: str) -> dict[str, dict]:
    """What a person marks, by item: "to mark", "marked", or "no response" (0 points, as nbgrader gives them)."""
    marks = {}
    for item in load_manual().values():
        try:
            grade = gradebook.find_grade(item.id, item.notebook, assignment(), student)
        except MissingEntry:
            if _has_cell(gradebook, item):  # nbgrader could not take this hand-in
                marks[item.id] = {"status": "to mark", "score": None, "max_score": item.points}
            continue
        status = "marked" if grade.manual_score is not None else "no response"
        status = "to mark" if grade.needs_manual_grade else status
        score = None if grade.needs_manual_grade else grade.score
        marks[item.id] = {"status": status, "score": score, "max_score": grade.max_score}
    return marks


def _has_cell(gradebook: Gradebook, item) -> bool:
    """Whether the course has the cell of this item; one that was made before it has not."""
    try:
        return bool(gradebook.find_grade_cell(item.id, item.notebook, assignment()))
    except MissingEntry:
        return False


def settled_marks(api: NbGraderAPI, student: str) -> list[list]:
    """Notebook, cell and the judge's mark of all that a person has marked for good."""
    with opened(api) as gradebook:
        try:
            found = gradebook.find_submission(assignment(), student).notebooks
        except MissingEntry:
            return []
        grades = [(notebook.name, grade) for notebook in found for grade in notebook.grades]
        return [[name, g.name, g.auto_score] for name, g in grades if g.manual_score is not None and not g.needs_manual_grade]


def settle(api: NbGraderAPI, student: str, before: list[list]) -> None:
    """Take back nbgrader's wish to have marks looked at again, where the judge's mark beside them is what it was."""
    with opened(api) as gradebook:
        for notebook, name, auto_score in before:
            grade = gradebook.find_grade(name, notebook, assignment(), student)
            if grade.auto_score == auto_score:
                grade.needs_manual_grade = False
        gradebook.db.commit()


# ---- the judge's marks ----


def has_marks(api: NbGraderAPI, student: str, result: dict) -> bool:
    """Whether the gradebook has just these marks of the judge's, at the points that its cells are worth now."""
    with opened(api) as gradebook:
        try:
            notebooks = gradebook.find_submission(assignment(), student).notebooks
        except MissingEntry:  # a gradebook that was made anew
            return False
        return all(_is_mark_of(grade, result) for notebook in notebooks for grade in notebook.grades)


def _is_mark_of(grade, result: dict) -> bool:
    outcome = result["tasks"].get(CHECKS.get(grade.name))
    if outcome is None:  # not the judge's to mark
        return True
    wanted = score_in(grade, outcome)
    if wanted is None or grade.auto_score is None:
        return wanted is grade.auto_score
    return abs(grade.auto_score - wanted) < 1e-6


def score_in(grade, outcome: dict) -> float | None:
    """The judge's mark as a grade of the gradebook holds it: at the points of its cell, a bonus on top of 0; None where there is none."""
    if outcome["score"] is None or not outcome["max_score"]:
        return None
    if outcome.get("bonus") and not grade.max_score:
        return outcome["score"]
    return grade.max_score * outcome["score"] / outcome["max_score"]


def is_bonus(grade) -> bool:
    """Whether the points of a grade come on top: its cell is a bonus task's, and worth nothing in the assignment's maximum."""
    task = load_rubric().get(CHECKS.get(grade.name, ""))
    return task is not None and task.bonus and not grade.max_score


def export_csv(api: NbGraderAPI, outcome: dict, path: Path) -> None:
    """nbgrader's own CSV, without the score of students who have something left to mark.

    nbgrader counts that as 0, and the sum looks final; run the class again afterwards.
    """
    with opened(api) as gradebook:
        CsvExportPlugin(to=str(path), assignment=[assignment()]).export(gradebook)
        submissions = gradebook.assignment_submissions(assignment())
        unfinished = {submission.student_id for submission in submissions if submission.needs_manual_grade}
    unfinished |= {result["student"] for result in outcome["submissions"] if result["status"] != "graded"}
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["student_id"] in unfinished:
            row.update(raw_score="", score="")
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys() if rows else [])
        writer.writeheader()
        writer.writerows(rows)
