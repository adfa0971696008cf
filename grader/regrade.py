"""After a check was mended or points were changed: judge again what that touches, and say whose mark changes, and why.

Nothing changes in silence: each change is in the course's `changes.csv`, with its reason, before the gradebook takes it, and every
earlier result stays in the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import nbformat
from nbgrader.api import MissingEntry
from nbgrader.apps import NbGraderAPI

from . import sandbox
from .changes import changes_of
from .course import JOURNAL, NBGRADER_FAULT, booked, into_gradebook, is_marked, keyed, open_course, report_of, write_reports
from .durable import CourseError, alone_in, check_database, whole
from .executors import grade_all
from .gradebook import GRADEBOOK, opened
from .handover import Handin
from .journal import Journal, is_settled, merged, set_aside, stale_tasks, ungraded
from .rubric import assignment, load_rubric
from .student import FAULTS


def regrade(
    course: Path,
    students: Iterable[str] = (),
    jobs: int = 1,
    *,
    dry_run: bool = False,
    device: str = "cpu",
    insecure: bool = False,
    progress: Callable | None = None,
    executor: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict:
    """Judge again the tasks whose checks, points or limits changed, for these students or all, and return what changes.

    Returns `changes` (one dict a student and task, see `changes_of`), `kept` (student and task whose second judging
    failed, so that the mark stays), `judged` (how many hand-ins), `tasks` (which) and `problems` (what nbgrader could not do,
    by student; run it again when that is mended). A dry run writes nothing.
    Raises CourseError where there is no course, no such student, or where it cannot be written.
    """
    course = Path(course).resolve()
    if not (course / GRADEBOOK).exists():
        raise CourseError(f"{course}: no {GRADEBOOK} in it. Give the folder that `unetlab class --course` made.")
    isolation = sandbox.isolation(sandbox.rungs(device), insecure)
    with alone_in(course, "unetlab regrade"):
        api = open_course(course)
        api.config.JudgeGrades.update(retry=False, insecure=insecure, device=device)
        everybody = keyed(course)
        chosen = _chosen(everybody, set(students), course)
        before = {handin.student: booked(course, handin) for handin in chosen}
        results, outcome = _judge_again(chosen, course, (jobs, device, insecure, progress, executor), dry_run, say)
        pairs = [(before[student] or result, result) for student, result in results.items()]
        outcome["changes"] = [row for old, new in pairs for row in changes_of(old, new)]
        if not dry_run:
            if not students:
                _take_points(api, course, outcome["changes"])
            lacking = [h for h in chosen if not is_marked(api, course, h, results[h.student])]  # or at other points
            outcome["problems"] = _publish(api, course, everybody, {h.student: results[h.student] for h in lacking}, isolation, say)
    return outcome


def _chosen(everybody: list[Handin], students: set[str], course: Path) -> list[Handin]:
    there = {handin.student for handin in everybody}
    if unknown := sorted(students - there):
        raise CourseError(f"{course}: no hand-in of {', '.join(unknown)}; there are {', '.join(sorted(there)) or 'none'}.")
    if not there:
        raise CourseError(f"{course}: nothing in submitted/. Run `unetlab class` first.")
    keys = {handin.key for handin in everybody if not students or handin.student in students}
    return [handin for handin in everybody if handin.key in keys]  # who handed in the same gets the same


# ---- judging ----


def _judge_again(chosen: list[Handin], course: Path, how: tuple, dry_run: bool, say: Callable) -> tuple[dict[str, dict], dict]:
    """Each student's result with what had to be judged anew, and what was done; in the journal unless it is a dry run."""
    journal, sharing, groups = Journal(course / JOURNAL), {}, {}
    for handin in chosen:
        sharing.setdefault(handin.key, []).append(handin)
    known = {key: journal.get(key) for key in sharing}
    for key, handins in sharing.items():
        stale = stale_tasks(known[key]) if known[key] else list(load_rubric())
        if stale and not handins[0].problem:
            groups.setdefault(tuple(stale), []).append(key)
    tasks = sorted({task for stale in groups for task in stale})
    count = sum(map(len, groups.values()))
    say(f"judging again: Task {', '.join(tasks)} of {count} hand-ins" if count else "no check, point or limit has changed")
    kept = []
    for stale, keys in groups.items():
        for key, result in _grade(stale, {key: sharing[key][0] for key in keys}, *how):
            known[key], left = _taken(known[key], result)
            kept += [{"student": handin.student, "task": task} for handin in sharing[key] for task in left]
            if not dry_run:
                journal.append(key, known[key], [handin.student for handin in sharing[key]])
    results = {
        handin.student: {**(known[handin.key] or ungraded(handin.student, handin.problem)), "student": handin.student}
        for handin in chosen
    }
    return results, {"judged": count, "tasks": tasks, "kept": kept, "problems": []}


def _grade(tasks: tuple[str, ...], handins: dict[str, Handin], jobs: int, device: str, insecure: bool, progress, executor):
    """The key and the new result of each; a fault of the judge gives results in which nothing is graded."""
    keys = {str(handin.submission.path): key for key, handin in handins.items()}
    try:
        submissions = [handin.submission for handin in handins.values()]
        options = {"device": device, "insecure": insecure, "progress": progress, "executor": executor}
        for result in grade_all(submissions, jobs=jobs, only=list(tasks), **options):
            yield keys.pop(result["path"]), set_aside(result, Path(result["path"]))
    except CourseError:  # raised where this is called from
        raise
    except Exception as error:  # whatever it is: the marks that are there stay
        for key in list(keys.values()):
            yield key, ungraded(handins[key].student, f"{FAULTS[0]}, so nothing was judged again: {error}")


def _taken(old: dict | None, new: dict) -> tuple[dict, list[str]]:
    """The old result with what was judged anew, and the tasks that keep their mark, since the second judging gave none."""
    if old is None:
        return new, []
    left = [id for id, mark in new["tasks"].items() if not is_settled(mark) and is_settled(old["tasks"].get(id, mark))]
    return merged(old, new, set(new["tasks"]) - set(left)), left


# ---- the gradebook and the reports ----


def _take_points(api: NbGraderAPI, course: Path, changes: list[dict]) -> None:
    """Give the source notebooks' cells, and by nbgrader the gradebook's, the rubric's new points; an instructor's own points stay."""
    old = {row["task"]: row["was_of"] for row in changes if row["was_of"] != row["of"]}
    touched = [_has_new_points(api, course, task, points) for task, points in old.items()]
    if any(touched):
        done = api.generate_assignment(assignment())
        if not done["success"]:
            raise CourseError(f"{course}: nbgrader could not take the new points. Run `nbgrader generate_assignment {assignment()}` there.")


def _has_new_points(api: NbGraderAPI, course: Path, task: str, old: float) -> bool:
    """Put a task's points into its check cell where the old ones stand; whether the gradebook has the old ones still."""
    entry, name = load_rubric()[task], f"check_{task.replace('.', '_')}"
    path = course / "source" / assignment() / f"{entry.notebook}.ipynb"
    nb = nbformat.read(path, as_version=4)
    cells = [cell for cell in nb.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == name]
    if not cells or cells[0].metadata.nbgrader.get("points") not in (old, entry.counted):
        return False
    cells[0].metadata.nbgrader["points"] = entry.counted
    with whole(path) as part:
        nbformat.write(nb, part)
    with opened(api) as gradebook:
        try:
            return gradebook.find_grade_cell(name, entry.notebook, assignment()).max_score == old
        except MissingEntry:  # an assignment without this cell
            return False


def _publish(api: NbGraderAPI, course: Path, everybody: list[Handin], changed: dict[str, dict], isolation: str, say) -> list[str]:
    """Gradebook and feedback of those whose marks are not there yet, and the reports of all; what nbgrader could not do."""
    check_database(course / GRADEBOOK)
    problems = []
    for handin in everybody:
        if handin.student in changed:
            say(f"gradebook and feedback: {handin.student}")
            notes = into_gradebook(api, course, handin, changed[handin.student])
            problems += [f"{handin.student}: {note}" for note in notes if note.startswith(NBGRADER_FAULT)]
    write_reports(api, course, report_of(api, course, everybody, isolation))
    return problems
