"""One command for the instructor: hand-ins as they came in, marks, gradebook, feedback and class page out."""

from __future__ import annotations

import copy
import csv
import json
import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbgrader.api import Gradebook
from nbgrader.apps import NbGraderAPI
from nbgrader.coursedir import CourseDirectory
from nbgrader.plugins import CsvExportPlugin
from sqlalchemy.exc import SAWarning
from traitlets.config import PyFileConfigLoader

from . import report, sandbox
from .judge import grade_all
from .nbgrader_glue import (
    Journal,
    find_alembic,
    nbgrader_config,
    submission_in,
    submission_key,
    ungraded,
    without_folder,
)
from .reading import Unreadable
from .rubric import assignment, defined_names, load_rubric, notebooks
from .submissions import File, Submission, find_submissions, passed_over

ACTIVE = {".html", ".htm", ".xhtml", ".svg", ".js"}  # formgrader would serve them with the instructor's rights


class CourseError(RuntimeError):
    """The course folder or the hand-ins cannot be used: what is wrong and how to mend it."""


@dataclass
class Handin:
    """A submission on its way into the course; `problem` says why there is nothing to judge."""

    submission: Submission
    problem: str = ""

    @property
    def student(self) -> str:
        """The student's id in the gradebook and the name of their folder."""
        return self.submission.student

    @property
    def notes(self) -> list[str]:
        """What had to be noted about the hand-in."""
        return self.submission.notes


def grade_class(
    handins: Path,
    course: Path,
    jobs: int = 1,
    *,
    device: str = "cpu",
    insecure: bool = False,
    progress: Callable | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict:
    """Grade every hand-in below `handins` into `course` (made where missing) and return the report.

    `say` is given a line at each step, `progress` goes to the judge. A fault with one student becomes a note on that
    student. Raises CourseError where there is nothing to grade or the course cannot be set up, and sandbox.TooOpen
    below the floor of isolation.
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
        hand_over(handin, course)
    say(f"judging {len(collected)} hand-ins")
    results = judge_class(collected, course, jobs, device, insecure, progress)
    for handin in collected:
        say(f"gradebook and feedback: {handin.student}")
        results[handin.student]["notes"] = into_gradebook(api, course, handin, results[handin.student])
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


# ---- into submitted/ ----


def hand_over(handin: Handin, course: Path) -> None:
    """Copy a hand-in to `submitted/<student>/<assignment>/`, under the names nbgrader expects; originals stay."""
    target = submitted(course, handin)
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(parents=True)
    chosen = choose_notebooks(handin)
    for name, file in chosen.items():
        _copy(handin, file, target / f"{name}.ipynb")
    for file in [*handin.submission.files, *handin.submission.others]:
        # a student's timestamp would set the lateness
        if file.name.suffix.lower() not in {".ipynb", ".zip", *ACTIVE} and file.name.name != "timestamp.txt":
            _copy(handin, file, target / file.name)
    if not any(target.glob("*.ipynb")):
        _stand_in(handin, target)


def _copy(handin: Handin, file: File, place: Path) -> None:
    try:
        content = file.content()
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    except Unreadable as problem:
        handin.notes.append(str(problem))
    except OSError as error:
        raise CourseError(f"{place}: cannot be written ({error.strerror}). Free the disk or mend its rights.") from None


def submitted(course: Path, handin: Handin) -> Path:
    """Where nbgrader looks for a student's hand-in."""
    return Path(course) / "submitted" / handin.student / assignment()


def choose_notebooks(handin: Handin) -> dict[str, File]:
    """Return which file is which of the assignment's notebooks; notes say what was guessed."""
    files = [file for file in handin.submission.files if file.name.suffix.lower() == ".ipynb"]
    chosen = {}
    for name in sorted(notebooks()):
        exact = [file for file in files if file.name.stem == name]
        alike = [file for file in files if name in file.name.stem]
        rest = files if len(notebooks()) == 1 else []
        found = exact or alike or rest
        if not found:
            continue
        chosen[name] = max(found, key=_markers) if len(found) > 1 else found[0]
        if len(found) > 1:
            handin.notes.append(f"Taken as {name}.ipynb: {chosen[name].name}.")
    left = [str(file.name) for file in files if file not in chosen.values()]
    if left:
        handin.notes.append(f"Not looked at: {', '.join(left)}.")
    return chosen


def _markers(file: File) -> int:
    """How much of the lab a notebook speaks of: the more task markers and names, the likelier it is the one."""
    try:
        text = file.content().decode("utf-8", "replace")
    except Unreadable:
        return -1
    return sum(f"class {name}" in text for name in defined_names()) + sum(f"Task {task}" in text for task in load_rubric())


def _why_unreadable(submission: Submission) -> str:
    try:
        submission.sources()
    except Unreadable as problem:
        return str(problem)
    return f"{submission.path.name}: no notebook and no module in it; ask for the hand-in again"


def _stand_in(handin: Handin, target: Path) -> None:
    """nbgrader only sees notebooks: make one that holds the handed-in modules, or only the reason why there is none."""
    modules = [path for path in sorted(target.rglob("*.py"))]
    if not modules:
        handin.problem = _why_unreadable(handin.submission)
    names = ", ".join(path.name for path in modules)
    cells = [
        nbformat.v4.new_markdown_cell(
            f"**{report.plain(handin.problem or f'Handed in as {names}, shown here as it came.')}**"
        )
    ]
    for path in [] if handin.problem else modules:
        # Shown, not run: the judge takes the modules themselves.
        text = path.read_text(encoding="utf-8", errors="replace").replace("~~~", "~ ~ ~")
        cells.append(nbformat.v4.new_markdown_cell(f"{report.plain(path.name)}\n\n~~~python\n{text}\n~~~"))
    nb = nbformat.v4.new_notebook(cells=cells)
    # Without this word the judge would mark an empty notebook with 0.
    nb.metadata["unetlab"] = {"unreadable": handin.problem} if handin.problem else {"stand_in": True}
    if not handin.problem:
        handin.notes.append(f"Handed in as {names}, without a notebook.")
    nbformat.write(nb, target / f"{min(notebooks())}.ipynb")


# ---- judging ----


def judge_class(
    collected: list[Handin], course: Path, jobs: int, device: str, insecure: bool, progress: Callable | None
) -> dict[str, dict]:
    """Return each student's result, judged or out of the journal; what is the same in every byte is judged once."""
    journal, results, waiting = Journal(course / "judge.jsonl"), {}, {}
    keys = {handin.student: submission_key(submitted(course, handin), assignment()) for handin in collected}
    for handin in collected:
        known = journal.get(keys[handin.student])
        if handin.problem:
            results[handin.student] = ungraded(handin.student, handin.problem)
        elif known and known["status"] == "graded":
            results[handin.student] = known
        else:
            waiting.setdefault(keys[handin.student], []).append(handin)
    judged = _judge_waiting(waiting, course, journal, jobs, device, insecure, progress) if waiting else {}
    for handin in collected:
        result = results.get(handin.student) or copy.deepcopy(judged[keys[handin.student]])
        if result["status"] != "graded":  # the gradebook takes it from here; the next run tries again
            journal.append(keys[handin.student], result)
        results[handin.student] = {**result, "student": handin.student, "path": str(handin.submission.path)}
    return results


def _judge_waiting(
    waiting: dict[str, list[Handin]], course: Path, journal: Journal, jobs: int, *options
) -> dict[str, dict]:
    """Return a result for each key, journaled as it comes in; a fault of the judge leaves the rest ungraded."""
    device, insecure, progress = options
    firsts = {str(submitted(course, handins[0])): key for key, handins in waiting.items()}
    submissions = [submission_in(Path(folder), waiting[key][0].student) for folder, key in firsts.items()]
    judged, reason = {}, "The judge gave no result."
    try:
        for result in grade_all(submissions, jobs=jobs, device=device, insecure=insecure, progress=progress):
            judged[firsts[result["path"]]] = result
            journal.append(firsts[result["path"]], result)
    except Exception as error:  # whatever it is: what was judged stays judged
        reason = f"The judge failed, so nothing was graded: {error}"
    return {key: judged.get(key) or ungraded(handins[0].student, reason) for key, handins in waiting.items()}


# ---- gradebook, feedback, reports ----


def into_gradebook(api: NbGraderAPI, course: Path, handin: Handin, result: dict) -> list[str]:
    """Have nbgrader autograde one student and write the feedback; return all notes on the student."""
    folder = submitted(course, handin)
    notes = [*handin.notes, *(without_folder(note, folder) for note in result["notes"])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)  # nbgrader's own, at every new submission
        done = api.autograde(assignment(), handin.student)
    marked = course / "autograded" / handin.student / assignment()
    for path in sorted(marked.glob("*.ipynb")):
        kept = nbformat.read(path, as_version=4).metadata.get("unetlab", {})
        notes += [note for note in kept.get("notes", []) if note not in notes]
    if not done["success"]:
        notes.append(f"nbgrader could not take this hand-in: {_last_line(done)}")
        return notes
    done = api.generate_feedback(assignment(), handin.student)
    if not done["success"]:
        notes.append(f"nbgrader could not write the feedback: {_last_line(done)}")
    return notes


def _blank_ungraded(exported: Path, students: set[str]) -> None:
    """nbgrader exports what nobody has marked as 0.0; an empty field is what it is."""
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
    """Write nbgrader's own CSV and ours, the class page and the whole report as JSON."""
    course = Path(course)
    with Gradebook(api.coursedir.db_url, api.coursedir.course_id) as gradebook:
        exported = course / "nbgrader_grades.csv"
        CsvExportPlugin(to=str(exported), assignment=[assignment()]).export(gradebook)
    _blank_ungraded(exported, {r["student"] for r in outcome["submissions"] if r["status"] != "graded"})
    report.write_csv(outcome, course / "grades.csv")
    report.write_class_page(outcome, course / "class.html", title=f"{assignment()}")
    unfinished = course / "report.json.part"
    unfinished.write_text(json.dumps(outcome, indent=1), encoding="utf-8")
    os.replace(unfinished, course / "report.json")
