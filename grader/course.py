"""One command for the instructor: hand-ins as they came in, marks, gradebook, feedback and class page out."""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import json
import shutil
import sqlite3
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import nbformat
from nbgrader.api import MissingEntry
from nbgrader.apps import NbGraderAPI
from nbgrader.coursedir import CourseDirectory
from sqlalchemy.exc import SAWarning
from traitlets.config import PyFileConfigLoader

from . import cards, class_page, exports, sandbox
from .changes import append_changes, changes_of
from .durable import CourseError, alone_in, check_database, disk, sync, whole
from .executors import grade_all
from .fingerprint import imported, versions
from .gradebook import GRADEBOOK, export_csv, has_marks, marks_by_hand, opened, settle, settled_marks
from .handover import Handin, expected_in, hand_over, handed_in, submission_in, submitted, without_folder
from .journal import Journal, is_final, set_aside, stale_tasks, standing_of, submission_key, take_up, ungraded
from .nbgrader_glue import find_alembic, nbgrader_config
from .rubric import assignment
from .similarity import similar_in_course
from .student import FAULTS
from .submissions import find_submissions, passed_over

JOURNAL = "judge.jsonl"
CHANGES = "changes.csv"  # every mark that changed though the hand-in did not, and why
REPORT = "report.json"
NBGRADER_FAULT = "nbgrader could not"  # how a note begins on what nbgrader failed to do


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
    collected = collect(handins, course)
    strays = passed_over(handins, [handin.submission for handin in collected])
    if strays:
        say(f"no hand-ins, passed over (hand in .ipynb or .py): {', '.join(strays)}")
    outcome = {"isolation": isolation, "passed_over": strays}
    with alone_in(course, "unetlab class"):
        api = open_course(course)
        # The gradebook takes what the report takes; a second try now could make them differ.
        api.config.JudgeGrades.update(retry=False, insecure=insecure, device=device)
        outcome["submissions"] = _grade(api, course, collected, (jobs, device, insecure, progress, executor), say)
        write_reports(api, course, _with_the_others(api, course, outcome))
    return outcome


def _with_the_others(api: NbGraderAPI, course: Path, outcome: dict) -> dict:
    """The outcome with all who handed in before: late ones graded out of a folder of their own drop nobody from the reports."""
    now = {result["student"] for result in outcome["submissions"]}
    others = [handin for handin in keyed(course) if handin.student not in now]
    earlier = report_of(api, course, others, outcome["isolation"])["submissions"]
    return {**outcome, "submissions": [*outcome["submissions"], *earlier]}


def keyed(course: Path) -> list[Handin]:
    """Every hand-in that lies in a course, with the key of its state."""
    found = handed_in(course)
    for handin in found:
        handin.key = submission_key(handin.submission.path, assignment())
    return found


def _grade(api: NbGraderAPI, course: Path, collected: list[Handin], how: tuple, say: Callable[[str], None]) -> list[dict]:
    for handin in collected:
        try:
            hand_over(handin, course)
        except OSError as error:  # whatever is odd about this one, the others go on
            handin.slip.problem = f"could not be copied into the course ({cards.plain(error, 120)}); look at the files"
    say(f"judging {len(collected)} hand-ins")
    results = judge_class(collected, course, *how)
    outdated = [student for student, result in results.items() if is_final(result) and stale_tasks(result)]
    if outdated:
        say(f"judged before the checks changed, marks left as they were: {len(outdated)}; `unetlab regrade {course}` judges them anew")
    check_database(course / GRADEBOOK)
    for handin in collected:
        say(f"gradebook and feedback: {handin.student}")
        results[handin.student]["notes"] = into_gradebook(api, course, handin, results[handin.student])
        results[handin.student] |= marks_by_hand(api, results[handin.student])
    return [results[handin.student] for handin in collected]


# ---- the course ----


def open_course(course: Path) -> NbGraderAPI:
    """Open a course, setting up whatever it lacks: configuration, source, release, gradebook.

    Raises CourseError where the disk, the gradebook or nbgrader stands in the way.
    """
    course = Path(course).resolve()
    find_alembic()
    with disk(course):
        config_file = nbgrader_config(course)
    config = PyFileConfigLoader(config_file.name, path=str(course)).load_config()
    api = NbGraderAPI(CourseDirectory(config=config), config=config)
    source, release = (course / step / assignment() for step in ("source", "release"))
    if not list(source.glob("*.ipynb")):
        _write_source(course, source)
    check_database(course / GRADEBOOK)
    _remove_unfinished_gradebook(course / GRADEBOOK)
    if not (course / GRADEBOOK).exists() or not all(map(_is_whole, [release / path.name for path in source.glob("*.ipynb")])):
        with alone_in(course, "unetlab, setting up"):
            done = api.generate_assignment(assignment())
        if not done["success"]:
            check_room(course)
            raise CourseError(f"{course}: nbgrader could not make the release from {source}. {_last_line(done)}")
    return api


def _write_source(course: Path, source: Path) -> None:
    """The instructor's notebooks, all at once: what is there already is the instructor's to change."""
    from .build import write_source  # needs solutions/, which a course that is set up does not

    with disk(source), tempfile.TemporaryDirectory(dir=course, prefix=".setup-") as fresh:
        write_source(Path(fresh))
        source.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(source, ignore_errors=True)  # empty, or without a notebook
        (Path(fresh) / "source" / assignment()).rename(source)


def _remove_unfinished_gradebook(path: Path) -> None:
    """Take away a gradebook that nbgrader was making when it was killed: without a version it would never be upgraded."""
    if not path.exists():
        return
    with contextlib.closing(sqlite3.connect(path)) as book:
        tables = {name for (name,) in book.execute("select name from sqlite_master")}
        made = "alembic_version" in tables and book.execute("select count(*) from alembic_version").fetchone()[0]
        used = "student" in tables and book.execute("select count(*) from student").fetchone()[0]
    if not made and not used:
        path.unlink()


def _is_whole(path: Path) -> bool:
    """Whether a notebook is there and not half-written."""
    try:
        nbformat.read(path, as_version=4)
    except (OSError, ValueError, nbformat.reader.NotJSONError):
        return False
    return True


def check_room(course: Path) -> None:
    """CourseError where nothing more can be written into a course: the disk is full, or not ours."""
    with whole(course / ".room") as part:
        part.write_bytes(bytes(1 << 20))
    (course / ".room").unlink()
    check_database(course / GRADEBOOK)


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
    journal, results, waiting = Journal(course / JOURNAL), {}, {}
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
        last = journal.last("result", handin.student) or {}
        if last.get("key") != handin.key or last["result"]["tasks"] != result["tasks"]:  # of an earlier hand-in, or of another's run
            journal.append(handin.key, result, [handin.student])
        origin = {"path": str(handin.submission.path), "lms_id": handin.submission.lms_id}
        results[handin.student] = {**result, "student": handin.student, **origin}
    return results


def _judge_waiting(
    waiting: dict[str, list[Handin]], course: Path, journal: Journal, jobs: int, *options
) -> dict[str, dict]:
    """Return a result for each key, journaled as it comes in; a fault of the judge leaves the rest ungraded.

    Of what was judged before, only that is taken anew which was ungraded then.
    """
    device, insecure, progress, executor = options
    firsts = {str(submitted(course, handins[0])): key for key, handins in waiting.items()}
    submissions = [submission_in(Path(folder), waiting[key][0].student) for folder, key in firsts.items()]
    judged, reason = {}, "The judge gave no result."
    try:
        for result in grade_all(submissions, jobs=jobs, device=device, insecure=insecure, progress=progress, executor=executor):
            key = firsts[result["path"]]
            judged[key] = take_up(journal.get(key), set_aside(result, Path(result["path"])))
            journal.append(key, judged[key], [handin.student for handin in waiting[key]])
    except CourseError:  # the journal cannot be written
        raise
    except Exception as error:  # whatever it is: what was judged stays judged
        reason = f"{FAULTS[0]}, so nothing was graded: {error}"
    lost = {key: ungraded(handins[0].student, reason) for key, handins in waiting.items() if key not in judged}
    return {**judged, **{key: take_up(journal.get(key), result) for key, result in lost.items()}}


# ---- gradebook, feedback, reports ----


def into_gradebook(api: NbGraderAPI, course: Path, handin: Handin, result: dict) -> list[str]:
    """Have nbgrader autograde one student and write the feedback; return all notes on the student.

    What the gradebook has already is left alone: nbgrader would ask for every mark given by hand to be looked at again.
    Raises CourseError where the disk or the gradebook, and not this hand-in, stands in the way.
    """
    done = {"success": True} if is_marked(api, course, handin, result) else _book(api, course, handin, result)
    notes = _all_notes(course, handin, result)
    if not done["success"]:
        return [*notes, f"{NBGRADER_FAULT} take this hand-in: {_last_line(done)}"]
    done = write_feedback(api, course, handin.student)
    if not done["success"]:
        notes.append(f"{NBGRADER_FAULT} write the feedback: {_last_line(done)}")
    return list(dict.fromkeys(notes))


def write_feedback(api: NbGraderAPI, course: Path, student: str) -> dict:
    """Have nbgrader write a student's feedback, unless it is there, whole, and of what the gradebook says now."""
    folder, state = course / "feedback" / student / assignment(), _feedback_state(api, course, student)
    mark = folder / ".state"  # nbgrader removes the folder before it writes it anew
    if mark.is_file() and mark.read_text(encoding="utf-8") == state:
        return {"success": True}
    done = _asked(lambda: api.generate_feedback(assignment(), student), course)
    if done["success"]:
        with disk(folder):
            for path in folder.iterdir():
                sync(path)
            mark.write_text(state, encoding="utf-8")
    return done


def _feedback_state(api: NbGraderAPI, course: Path, student: str) -> str:
    """Digest of all that a student's feedback shows: notebooks, marks, comments, and what makes the page of it."""
    marked = course / "autograded" / student / assignment()
    state = [_page_makers(), *(_digest_of(path) for path in [*sorted(marked.glob("*.ipynb")), course / "nbgrader_config.py"])]
    with opened(api) as gradebook:
        with contextlib.suppress(MissingEntry):
            for notebook in gradebook.find_submission(assignment(), student).notebooks:
                marks = [(g.name, g.auto_score, g.manual_score, g.extra_credit, g.max_score, g.needs_manual_grade) for g in notebook.grades]
                comments = [(c.name, c.auto_comment, c.manual_comment) for c in notebook.comments]
                state.append([notebook.name, notebook.late_submission_penalty, sorted(marks), sorted(comments)])
    return hashlib.sha256(repr(state).encode()).hexdigest()


@functools.lru_cache(maxsize=1)
def _page_makers() -> list[str]:
    """What turns a marked notebook into a page: nbgrader, our steps in it with all that they import, templates."""
    templates = [path for path in sorted((Path(__file__).parent / "templates").rglob("*")) if path.is_file()]
    return [str(versions()), *map(_digest_of, [*sorted(imported(["grader/nbgrader_glue.py"])), *templates])]


def _digest_of(path: Path) -> str:
    return f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}"


def _all_notes(course: Path, handin: Handin, result: dict) -> list[str]:
    """What was noted of a hand-in on its way in, by the judge, and by nbgrader's steps."""
    folder = submitted(course, handin)
    notes = [*handin.notes, *(without_folder(note, folder) for note in result["notes"])]
    for kept in _kept(course / "autograded" / handin.student / assignment()):
        notes += kept.get("notes", [])
    return list(dict.fromkeys(notes))


def _book(api: NbGraderAPI, course: Path, handin: Handin, result: dict) -> dict:
    """Have nbgrader take a student's marks into the gradebook, and say so in the journal.

    nbgrader wants every mark that a person gave looked at again; where the same files are taken once more, that is only
    asked for where the judge's own mark beside it changed.
    """
    journal, whose = Journal(course / JOURNAL), {"key": handin.key, "students": [handin.student]}
    append_changes(changes_of(booked(course, handin) or result, result), course / CHANGES)
    before = _before(api, journal, handin)
    journal.write({**whose, "settled": before})  # a process that dies in between must not forget it
    done = _asked(lambda: _autograde(api, handin.student), course)
    if done["success"]:
        settle(api, handin.student, before)
        journal.write({**whose, "booked": standing_of(result)})
    return done


def _before(api: NbGraderAPI, journal: Journal, handin: Handin) -> list[list]:
    """Notebook, cell and the judge's mark of all that a person has marked for good, if it was in this very hand-in."""
    settled, booked = (journal.last(kind, handin.student) or {} for kind in ("settled", "booked"))
    if settled.get("at", "") > booked.get("at", ""):  # begun and not finished
        return settled["settled"] if settled["key"] == handin.key else []
    if booked.get("key") != handin.key:
        return []
    return settled_marks(api, handin.student)


def _asked(nbgrader: Callable[[], dict], course: Path) -> dict:
    """What nbgrader did; CourseError where it failed for want of room or of the gradebook, KeyboardInterrupt where it was one."""
    done = nbgrader()
    if not done["success"]:
        if _last_line(done) == "KeyboardInterrupt":  # nbgrader takes it for a fault of the hand-in
            raise KeyboardInterrupt
        check_room(course)  # waits where another program holds the gradebook
        done = nbgrader()
    return done


def _autograde(api: NbGraderAPI, student: str) -> dict:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)  # nbgrader's own, at every new submission
        return api.autograde(assignment(), student)


def _kept(marked: Path) -> list[dict]:
    """What autograding left in each whole notebook of a student: notes, the state of the hand-in, the marks."""
    paths = sorted(filter(_is_whole, marked.glob("*.ipynb")))
    return [nbformat.read(path, as_version=4).metadata.get("unetlab", {}) for path in paths]


def booked(course: Path, handin: Handin) -> dict | None:
    """The judge's result whose marks of this very hand-in the gradebook has; the last one where nobody can say.

    None where it was never judged.
    """
    journal = Journal(course / JOURNAL)
    results = [entry["result"] for entry in journal.history(handin.student) if "result" in entry and entry["key"] == handin.key]
    line = journal.last("booked", handin.student) or {}
    same = [result for result in results if line.get("key") == handin.key and standing_of(result) == line["booked"]]
    return (same or results or [journal.get(handin.key)])[-1]


def is_marked(api: NbGraderAPI, course: Path, handin: Handin, result: dict) -> bool:
    """Whether gradebook and marked notebooks have these marks of this very hand-in."""
    kept = _kept(course / "autograded" / handin.student / assignment())
    same = [(found.get("key"), found.get("marks")) == (handin.key, standing_of(result)) for found in kept]
    return len(same) == len(expected_in(course)) and all(same) and has_marks(api, handin.student, result)


def report_of(api: NbGraderAPI, course: Path, handins: list[Handin], isolation: str) -> dict:
    """The report of all that lies in a course, out of the journal and the gradebook."""
    journal, earlier = Journal(course / JOURNAL), {"isolation": isolation, "passed_over": []}
    with contextlib.suppress(OSError, ValueError):
        earlier = json.loads((course / REPORT).read_text(encoding="utf-8"))
    origins = {r["student"]: {name: r[name] for name in ("path", "lms_id") if name in r} for r in earlier.get("submissions", [])}
    results = []
    for handin in handins:
        result = journal.get(handin.key) or ungraded(handin.student, handin.problem or "It was not judged yet; run the class again.")
        result |= {"student": handin.student, "path": str(handin.submission.path), **origins.get(handin.student, {})}
        result["notes"] = _all_notes(course, handin, result)
        results.append({**result, **marks_by_hand(api, result)})
    return {"isolation": earlier["isolation"], "passed_over": earlier["passed_over"], "submissions": results}


def write_reports(api: NbGraderAPI, course: Path, outcome: dict) -> None:
    """Write nbgrader's own CSV and ours, the class page and the whole report as JSON, each whole or not at all."""
    course = Path(course)
    outcome["similar"] = similar_in_course(course, [result["student"] for result in outcome["submissions"]])
    writers = {
        "nbgrader_grades.csv": lambda path: export_csv(api, outcome, path),
        "grades.csv": lambda path: exports.write_grades(outcome, path),
        "checks.csv": lambda path: exports.write_checks(outcome, path),
        "class.html": lambda path: class_page.write_class_page(outcome, path),
        REPORT: lambda path: path.write_text(json.dumps(outcome, indent=1), encoding="utf-8"),
    }
    for name, write in writers.items():
        with whole(course / name) as part:
            write(part)
