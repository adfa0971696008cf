"""How a student's marks came about: every verdict of the judge, what the gradebook took, and what a person gave."""

from __future__ import annotations

from pathlib import Path

from nbgrader.api import MissingEntry

from .cards import number, plain
from .changes import changes_of
from .course import JOURNAL
from .durable import CourseError
from .gradebook import GRADEBOOK, opened
from .journal import Journal, standing_of
from .rubric import assignment

PASSED = {True: "passed", False: "failed", None: "not judged"}


def history(course: Path, student: str) -> list[dict]:
    """Return every line of the journal on a student, the oldest first (see `grader.journal.Journal`).

    Raises CourseError where the course or the student is not known.
    """
    path = Path(course) / JOURNAL
    if not path.exists():
        raise CourseError(f"{course}: no {JOURNAL} in it. Give the folder that `unetlab class --course` made.")
    lines = Journal(path).history(student)
    if not lines:
        raise CourseError(f"{path}: nothing on {student}. Give the name as it stands in grades.csv.")
    return lines


def audit_text(course: Path, student: str) -> str:
    """Return a student's history as text: what happened when, then mark by mark with the checks and their earlier verdicts."""
    lines = history(course, student)
    results = [line for line in lines if "result" in line]
    parts = [f"{plain(student)}, {assignment()}", "", "What happened", *_events(lines)]
    if results:
        parts += ["", "Mark by mark", *_marks(results)]
    by_hand = _by_hand(Path(course), student)
    return "\n".join([*parts, *(["", "By a person, in the gradebook", *by_hand] if by_hand else [])])


def _events(lines: list[dict]) -> list[str]:
    """What was judged and booked, and what each judging changed."""
    shown, before = [], None
    for line in lines:
        at = line["at"][:19].replace("T", " ")
        if "booked" in line:
            same = before is not None and standing_of(before) == line["booked"]
            shown.append(f"{at}  taken into the gradebook" + ("" if same else " (an earlier result)"))
        elif "result" in line:
            result = line["result"]
            shown.append(f"{at}  {result['status']}: {number(result['score'])} of {result['max_score']:g}{_bonus(result)}; hand-in {line['key'][:12]}")
            shown += [f"{'':21}{text}" for text in (_provenance(result), *map(plain, result["notes"])) if text]
            for row in changes_of(before, result) if before else []:
                shown.append(f"{'':21}{row['task']}: {number(row['before'])} → {number(row['after'])} of {row['of']:g}")
            before = result
    return shown


def _bonus(result: dict) -> str:
    return f" + {number(result['bonus'])} bonus" if result.get("bonus") else ""


def _provenance(result: dict) -> str:
    audit = result.get("audit")
    if not audit:
        return ""
    versions = ", ".join(f"{name} {version}" for name, version in audit["versions"].items())
    return f"kit {audit['kit']}, seed {audit['seed']}, {audit['device']}, {audit['isolation']}, {audit['seconds']:g} s; {versions}"


def _marks(results: list[dict]) -> list[str]:
    """The last result, task by task, with each check's verdict and those it had before."""
    shown = []
    for task, mark in results[-1]["result"]["tasks"].items():
        carried = ", with the reference's blocks standing in for earlier ones" * bool(mark.get("carried_forward"))
        shown.append(f"{task}  {number(mark['score'])} of {mark['max_score']:g}{' bonus' * bool(mark.get('bonus'))}  ({mark['status']}, kit {mark.get('kit')}{carried})")
        for check in mark["checks"]:
            earlier = [_verdict(line["result"], task, check["name"]) for line in results[:-1]]
            changed = [verdict for verdict in dict.fromkeys(earlier) if verdict != PASSED[check["passed"]]]
            kind = "hidden" if check["hidden"] else "public"
            shown.append(f"     {PASSED[check['passed']]:<7} {check['name']} ({check['points']:g} points, {kind}, {check['seconds']:g} s)"
                         + f"; earlier: {', '.join(changed)}" * bool(changed))
            if not check["passed"]:
                shown += [f"             {plain(line, 200)}" for line in str(check["message"]).splitlines()]
        shown += [f"     left out: {name}" for name in mark.get("left_out", [])]
        shown += [f"     likely: {plain(found['title'])}" for found in mark.get("diagnoses", [])]
    return shown


def _verdict(result: dict, task: str, check: str) -> str:
    found = [c["passed"] for c in result["tasks"].get(task, {"checks": []})["checks"] if c["name"] == check]
    return PASSED[found[0]] if found else "not there"


def _by_hand(course: Path, student: str) -> list[str]:
    """Marks, extra credit and comments that a person gave, and a late penalty."""
    if not (course / GRADEBOOK).exists():
        return []
    shown = []
    with opened(course) as gradebook:
        try:
            submission = gradebook.find_submission(assignment(), student)
        except MissingEntry:
            return []
        for notebook in submission.notebooks:
            for grade in notebook.grades:
                given = [] if grade.manual_score is None else [_given(grade)]
                given += [f"{grade.extra_credit:+g} extra"] if grade.extra_credit else []
                given += ["a person has to look at it"] if grade.needs_manual_grade else []
                shown += [f"{notebook.name}, {grade.name}: {', '.join(given)}"] if given else []
            shown += [f"{notebook.name}, {c.name}: “{plain(c.manual_comment)}”" for c in notebook.comments if c.manual_comment]
            shown += [f"{notebook.name}: late, −{late:g}"] if (late := notebook.late_submission_penalty) else []
    return shown


def _given(grade) -> str:
    return f"{grade.manual_score:g} of {grade.max_score:g} (the judge: {number(grade.auto_score)})"
