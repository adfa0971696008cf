"""One command for the instructor: hand-ins as they came in, marks, gradebook, feedback and class page out."""

from __future__ import annotations

import copy
import csv
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import nbformat
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.apps import NbGraderAPI
from nbgrader.coursedir import CourseDirectory
from nbgrader.plugins import CsvExportPlugin
from sqlalchemy.exc import SAWarning
from traitlets.config import PyFileConfigLoader

from . import cards, class_page, exports, sandbox
from .executors import grade_all
from .handover import CourseError, Handin, hand_over, submission_in, submitted, without_folder
from .journal import Journal, is_final, set_aside, submission_key, ungraded
from .nbgrader_glue import find_alembic, marks_of, nbgrader_config
from .rubric import assignment, load_manual, notebooks
from .similarity import similar_in_course
from .submissions import find_submissions, passed_over


def grade_class(
    handins: Path,
    course: Path,
    jobs: int = 1,
    *,
    device: str = "cpu",
    insecure: bool = False,
    progress: Callable | None = None,
    executor: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict:
    """Grade every hand-in below `handins` into `course` (made where missing) and return the report.

    `say` is given a line at each step, `progress` goes to the judge, `executor` names a Dask cluster (dask://HOST:PORT) that
    judges. A fault with one student becomes a note on that student. Raises CourseError where there is nothing to grade or
    the course cannot be set up, and sandbox.TooOpen below the floor of isolation.
    """
    handins, course = Path(handins).resolve(), Path(course).resolve()
    isolation = sandbox.isolation(sandbox.rungs(device), insecure)
    api = open_course(course)
    # The gradebook takes what the report takes; a second try now could make them differ.
    api.config.JudgeGrades.update(retry=False, insecure=insecure, device=device)
    collected = collect(handins, course)
    strays = passed_over(handins, [handin.submission for handin in collected])
    if strays:
        say(f"no hand-ins, passed over (hand in .ipynb or .py): {', '.join(strays)}")
    for handin in collected:
        try:
            hand_over(handin, course)
        except OSError as error:  # whatever is odd about this one, the others go on
            handin.slip.problem = f"could not be copied into the course ({cards.plain(error, 120)}); look at the files"
    say(f"judging {len(collected)} hand-ins")
    results = judge_class(collected, course, jobs, device, insecure, progress, executor)
    for handin in collected:
        say(f"gradebook and feedback: {handin.student}")
        results[handin.student]["notes"] = into_gradebook(api, course, handin, results[handin.student])
        results[handin.student]["manual"] = manual_marks(api, handin.student)
    outcome = {"isolation": isolation, "passed_over": strays, "submissions": [results[handin.student] for handin in collected]}
    write_reports(api, course, outcome)
    return outcome


# ---- the course ----


def open_course(course: Path) -> NbGraderAPI:
    """Open a course, setting up whatever it lacks: configuration, source, release, gradebook."""
    course = Path(course).resolve()
    find_alembic()
    config_file = nbgrader_config(course)
    config = PyFileConfigLoader(config_file.name, path=str(course)).load_config()
    coursedir = CourseDirectory(config=config)
    api = NbGraderAPI(coursedir, config=config)
    source, release = (course / step / assignment() for step in ("source", "release"))
    if not list(source.glob("*.ipynb")):
        from .build import write_source  # needs solutions/, which a course that is set up does not

        write_source(course)
    known = (course / "gradebook.db").exists()
    if not known or not list(release.glob("*.ipynb")):
        done = api.generate_assignment(assignment())
        if not done["success"]:
            raise CourseError(f"{course}: nbgrader could not make the release from {source}. {_last_line(done)}")
    return api


def _last_line(done: dict) -> str:
    lines = done.get("error", done.get("log", "")).strip().splitlines()
    return lines[-1] if lines else "It gave no reason."


# ---- the hand-ins ----


def collect(handins: Path, course: Path) -> list[Handin]:
    """Find every student's hand-in in a folder or zip, as it came from the students or the learning platform.

    Raises CourseError where there is nothing.
    """
    if handins.resolve().is_relative_to(course):
        raise CourseError(f"{handins} lies inside the course, where files are replaced. Give a folder outside it.")
    try:
        found = find_submissions([handins])
    except FileNotFoundError as error:
        raise CourseError(f"{error}. Give the folder with the hand-ins.") from None
    found = [submission for submission in found if not submission.path.resolve().is_relative_to(course)]
    if not found:
        raise CourseError(f"{handins}: no notebook, module, folder or zip in it. Give the folder with the hand-ins.")
    return [Handin(submission) for submission in sorted(found, key=lambda submission: submission.student.lower())]


# ---- judging ----


def judge_class(
    collected: list[Handin], course: Path, jobs: int, device: str, insecure: bool, progress: Callable | None,
    executor: str | None = None,
) -> dict[str, dict]:
    """Return each student's result, judged or out of the journal; what is the same in every byte is judged once."""
    journal, results, waiting = Journal(course / "judge.jsonl"), {}, {}
    for handin in collected:
        handin.key = submission_key(submitted(course, handin), assignment())
        known = journal.get(handin.key)
        if handin.problem:
            results[handin.student] = ungraded(handin.student, handin.problem)
        elif known and is_final(known):
            results[handin.student] = known
        else:
            waiting.setdefault(handin.key, []).append(handin)
    judged = _judge_waiting(waiting, course, journal, jobs, device, insecure, progress, executor) if waiting else {}
    for handin in collected:
        result = results.get(handin.student) or copy.deepcopy(judged[handin.key])
        if not is_final(result):  # the gradebook takes it from here; the next run tries again
            journal.append(handin.key, result)
        origin = {"path": str(handin.submission.path), "lms_id": handin.submission.lms_id}
        results[handin.student] = {**result, "student": handin.student, **origin}
    return results


def _judge_waiting(
    waiting: dict[str, list[Handin]], course: Path, journal: Journal, jobs: int, *options
) -> dict[str, dict]:
    """Return a result for each key, journaled as it comes in; a fault of the judge leaves the rest ungraded."""
    device, insecure, progress, executor = options
    firsts = {str(submitted(course, handins[0])): key for key, handins in waiting.items()}
    submissions = [submission_in(Path(folder), waiting[key][0].student) for folder, key in firsts.items()]
    judged, reason = {}, "The judge gave no result."
    try:
        for result in grade_all(submissions, jobs=jobs, device=device, insecure=insecure, progress=progress, executor=executor):
            key = firsts[result["path"]]
            judged[key] = set_aside(result, Path(result["path"]))
            journal.append(key, judged[key])
    except Exception as error:  # whatever it is: what was judged stays judged
        reason = f"The judge failed, so nothing was graded: {error}"
    return {key: judged.get(key) or ungraded(handins[0].student, reason) for key, handins in waiting.items()}


# ---- gradebook, feedback, reports ----


def into_gradebook(api: NbGraderAPI, course: Path, handin: Handin, result: dict) -> list[str]:
    """Have nbgrader autograde one student and write the feedback; return all notes on the student.

    What the gradebook has already is left alone: nbgrader would ask for every mark given by hand to be looked at again.
    """
    folder = submitted(course, handin)
    notes = [*handin.notes, *(without_folder(note, folder) for note in result["notes"])]
    marked = course / "autograded" / handin.student / assignment()
    done = {"success": True} if _is_marked(api, marked, handin, result) else _autograde(api, handin.student)
    for kept in _kept(marked):
        notes += [note for note in kept.get("notes", []) if note not in notes]
    if not done["success"]:
        return [*notes, f"nbgrader could not take this hand-in: {_last_line(done)}"]
    done = api.generate_feedback(assignment(), handin.student)
    if not done["success"]:
        notes.append(f"nbgrader could not write the feedback: {_last_line(done)}")
    return list(dict.fromkeys(notes))


def _autograde(api: NbGraderAPI, student: str) -> dict:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)  # nbgrader's own, at every new submission
        return api.autograde(assignment(), student)


def _kept(marked: Path) -> list[dict]:
    """What autograding left in each notebook of a student: notes, the state of the hand-in, the marks."""
    return [nbformat.read(path, as_version=4).metadata.get("unetlab", {}) for path in sorted(marked.glob("*.ipynb"))]


def _is_marked(api: NbGraderAPI, marked: Path, handin: Handin, result: dict) -> bool:
    """Whether the gradebook has these marks of this very hand-in."""
    kept = _kept(marked)
    same = [(found.get("key"), found.get("marks")) == (handin.key, marks_of(result)) for found in kept]
    if len(same) != len(notebooks()) or not all(same):
        return False
    with Gradebook(api.coursedir.db_url, api.coursedir.course_id) as gradebook:
        try:
            return bool(gradebook.find_submission(assignment(), handin.student))
        except MissingEntry:  # a gradebook that was made anew
            return False


def manual_marks(api: NbGraderAPI, student: str) -> dict[str, dict]:
    """What a person marks, by item: "to mark", "marked", or "no response" (0 points, as nbgrader gives them)."""
    marks = {}
    with Gradebook(api.coursedir.db_url, api.coursedir.course_id) as gradebook:
        for item in load_manual().values():
            try:
                grade = gradebook.find_grade(item.id, item.notebook, assignment(), student)
            except MissingEntry:  # a course that was made before the item
                continue
            status = "marked" if grade.manual_score is not None else "no response"
            status = "to mark" if grade.needs_manual_grade else status
            score = None if grade.needs_manual_grade else grade.score
            marks[item.id] = {"status": status, "score": score, "max_score": grade.max_score}
    return marks


def _blank_unfinished(exported: Path, students: set[str]) -> None:
    """Empty the score of students who have something left to mark: nbgrader counts it as 0, and the sum looks final."""
    with open(exported, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["student_id"] in students:
            row.update(raw_score="", score="")
    with open(exported, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys() if rows else [])
        writer.writeheader()
        writer.writerows(rows)


def write_reports(api: NbGraderAPI, course: Path, outcome: dict) -> None:
    """Write nbgrader's own CSV and ours, the class page and the whole report as JSON.

    nbgrader's CSV leaves the score empty as long as a person has something to mark; run the class again afterwards.
    """
    course = Path(course)
    with Gradebook(api.coursedir.db_url, api.coursedir.course_id) as gradebook:
        exported = course / "nbgrader_grades.csv"
        CsvExportPlugin(to=str(exported), assignment=[assignment()]).export(gradebook)
        submissions = gradebook.assignment_submissions(assignment())
        unfinished = {submission.student_id for submission in submissions if submission.needs_manual_grade}
    _blank_unfinished(exported, unfinished | {r["student"] for r in outcome["submissions"] if r["status"] != "graded"})
    outcome["similar"] = similar_in_course(course, [result["student"] for result in outcome["submissions"]])
    exports.write_grades(outcome, course / "grades.csv")
    exports.write_checks(outcome, course / "checks.csv")
    class_page.write_class_page(outcome, course / "class.html")
    part = course / "report.json.part"
    part.write_text(json.dumps(outcome, indent=1), encoding="utf-8")
    os.replace(part, course / "report.json")
