"""One command for the instructor: hand-ins as they came in, marks, gradebook, feedback and class page out."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import unicodedata
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
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
from .rubric import assignment, load_rubric

SIZE_LIMIT = 300_000_000  # bytes of one hand-in, unpacked
ACTIVE = {".html", ".htm", ".xhtml", ".svg", ".js"}  # formgrader would serve them with the instructor's rights
SKIPPED = {
    "__MACOSX",
    "__pycache__",
    ".ipynb_checkpoints",
    "timestamp.txt",
}  # a student's timestamp would set the lateness


class CourseError(RuntimeError):
    """The course folder or the hand-ins cannot be used: what is wrong and how to mend it."""


@dataclass
class Handin:
    """What one student handed in: the files as they came, a safe name, and what had to be noted."""

    student: str
    original: Path
    files: list[Path]
    root: Path
    notes: list[str] = field(default_factory=list)
    problem: str = ""


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
    for handin in collected:
        hand_over(handin, course)
    say(f"judging {len(collected)} hand-ins")
    results = judge_class(collected, course, jobs, device, insecure, progress)
    for handin in collected:
        say(f"gradebook and feedback: {handin.student}")
        results[handin.student]["notes"] = into_gradebook(api, course, handin, results[handin.student])
    outcome = {"isolation": isolation, "submissions": [results[handin.student] for handin in collected]}
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


def notebooks() -> list[str]:
    """The names of the assignment's notebooks, without `.ipynb`."""
    return sorted({task.notebook for task in load_rubric().values()})


# ---- the hand-ins ----


def collect(handins: Path, course: Path) -> list[Handin]:
    """Find every student's hand-in: notebooks and modules side by side, a folder a student, zips, or one zip of all.

    Raises CourseError where there is nothing.
    """
    if not handins.exists():
        raise CourseError(f"{handins}: no such file or folder. Give the folder with the hand-ins.")
    if handins.resolve().is_relative_to(course):
        raise CourseError(f"{handins} lies inside the course, where files are replaced. Give a folder outside it.")
    if handins.is_file() and zipfile.is_zipfile(handins):
        try:
            unpacked = unpack(handins, course / "unpacked" / "class")
        except (zipfile.BadZipFile, NotImplementedError) as error:
            raise CourseError(f"{handins}: could not be unpacked ({error}). Pack it again.") from None
        if not any(path.stem in notebooks() for path in unpacked.glob("*.ipynb")):  # else it is one student's
            handins = unpacked
    groups: dict[tuple[str, str], list[Path]] = {}
    for path in sorted([handins] if handins.is_file() else handins.iterdir(), key=lambda p: p.name):
        if path.name in SKIPPED or path.name.startswith((".", "~")) or path.is_symlink() or path.resolve() == course:
            continue
        if path.is_dir() or path.suffix.lower() in (".ipynb", ".py", ".zip"):
            groups.setdefault((_kind(path), _owner(path)), []).append(path)
    if not groups:
        raise CourseError(f"{handins}: no notebook, module, folder or zip in it. Give the folder with the hand-ins.")
    taken: set[str] = set()
    # Sorted, so that a rerun gives the same names; a file's name comes before that of a folder which may hold anything.
    return [_handin(owner, paths, course, taken) for (_, owner), paths in sorted(groups.items())]


def _kind(path: Path) -> str:
    return "folder" if path.is_dir() else "zip" if path.suffix.lower() == ".zip" else "files"


def _owner(path: Path) -> str:
    """`alice_01_unet.ipynb` and `alice_02_skips.ipynb` are both alice's."""
    if path.is_dir():
        return path.name
    return re.sub(rf"[\s_.-]*({'|'.join(notebooks())}|{assignment()}_student)$", "", path.stem) or path.stem


def _handin(owner: str, paths: list[Path], course: Path, taken: set[str]) -> Handin:
    student, notes = safe_name(owner, taken)
    first = paths[0]
    handin = Handin(student, first, [path for path in paths if path.is_file()], first.parent, notes)
    try:
        kind = _kind(first)
        if kind == "folder":
            handin.root, handin.files = first, _files(first)
            zips = [path for path in handin.files if path.suffix.lower() == ".zip"]
            if len(zips) == 1 and not any(path.suffix in (".ipynb", ".py") for path in handin.files):
                first, kind = zips[0], "zip"
        if kind == "zip":
            handin.root = unpack(first, course / "unpacked" / student)
            handin.files = _files(handin.root)
    except (OSError, zipfile.BadZipFile, CourseError, RuntimeError, NotImplementedError, ValueError) as error:
        handin.problem, handin.files = f"{first.name} could not be unpacked: {error}", []
    return handin


def safe_name(name: str, taken: set[str]) -> tuple[str, list[str]]:
    """Return a name that is safe as a folder and a student id and not taken yet, and notes on what was changed."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    student = re.sub(r"[^A-Za-z0-9._-]+", "_", ascii_name).strip("._-")[:60] or "student"
    notes = [f"The student's name {name!r} was turned into {student!r}."] if student != name else []
    base, number = student, 1
    while student.lower() in taken:
        number += 1
        student = f"{base}_{number}"
    if number > 1:
        notes = [f"{name!r} names another hand-in too: this one is {student!r}. Are both the same person's?"]
    taken.add(student.lower())
    return student, notes


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a zip's regular files below `folder`, made afresh; CourseError for one that unpacks beyond the limit."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    with zipfile.ZipFile(archive) as content:
        if sum(entry.file_size for entry in content.infolist()) > SIZE_LIMIT * 10:
            raise CourseError(f"it unpacks to more than {SIZE_LIMIT * 10 // 10**6} MB")
        for entry in content.infolist():
            link = (entry.external_attr >> 16) & 0o170000 == 0o120000
            if not link and not entry.is_dir():
                content.extract(entry, folder)  # drops drive letters, leading slashes and ".."
    inside = [path for path in folder.iterdir() if path.name not in SKIPPED]
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def _files(folder: Path) -> list[Path]:
    found = []
    for path in sorted(folder.rglob("*")):
        hidden = any(part in SKIPPED or part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not path.is_symlink() and not hidden and path.resolve().is_relative_to(folder.resolve()):
            found.append(path)
    if sum(path.stat().st_size for path in found) > SIZE_LIMIT:
        raise CourseError(f"more than {SIZE_LIMIT // 10**6} MB")
    return found


# ---- into submitted/ ----


def hand_over(handin: Handin, course: Path) -> None:
    """Copy a hand-in to `submitted/<student>/<assignment>/`, under the names nbgrader expects; originals stay."""
    target = submitted(course, handin)
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(parents=True)
    try:
        chosen = choose_notebooks(handin)
        for path in handin.files:
            if path not in chosen.values() and path.suffix.lower() not in {".ipynb", *ACTIVE}:
                place = target / path.relative_to(handin.root)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)
        for name, path in chosen.items():
            shutil.copyfile(path, target / f"{name}.ipynb")
        if not chosen:
            _stand_in(handin, target)
    except OSError as error:
        handin.problem = f"{handin.original.name} could not be copied: {error}"
        _stand_in(handin, target)


def submitted(course: Path, handin: Handin) -> Path:
    """Where nbgrader looks for a student's hand-in."""
    return Path(course) / "submitted" / handin.student / assignment()


def choose_notebooks(handin: Handin) -> dict[str, Path]:
    """Return which file is which of the assignment's notebooks; notes say what was guessed."""
    files = [path for path in handin.files if path.suffix.lower() == ".ipynb"]
    chosen = {}
    for name in notebooks():
        exact = [path for path in files if path.stem == name]
        alike = [path for path in files if name in path.stem]
        rest = files if len(notebooks()) == 1 else []
        if not (exact or alike or rest):
            continue
        chosen[name] = max(exact or alike or rest, key=lambda path: (_markers(path), path.stat().st_mtime))
        if len(exact or alike or rest) > 1 or not (exact or alike) and handin.original.is_dir():
            handin.notes.append(f"Taken as {name}.ipynb: {chosen[name].relative_to(handin.root)}.")
    left = [path.name for path in files if path not in chosen.values()]
    if left:
        handin.notes.append(f"Not looked at: {', '.join(left)}.")
    return chosen


def _markers(path: Path) -> int:
    """How much of the lab a notebook speaks of: the more task markers and names, the likelier it is the one."""
    with open(path, "rb") as file:
        text = file.read(20_000_000).decode("utf-8", "replace")
    names = {name for task in load_rubric().values() for name in task.names}
    return sum(f"class {name}" in text for name in names) + sum(f"Task {task}" in text for task in load_rubric())


def _stand_in(handin: Handin, target: Path) -> None:
    """nbgrader only sees notebooks: make one that holds the handed-in modules, or only the reason why there is none."""
    modules = [path for path in handin.files if path.suffix == ".py"]
    if not modules and not handin.problem:
        handin.problem = f"{handin.original.name} holds no notebook and no Python module: ask for the hand-in again."
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
    nbformat.write(nb, target / f"{notebooks()[0]}.ipynb")


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
        results[handin.student] = {**result, "student": handin.student, "path": str(handin.original)}
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


def write_reports(api: NbGraderAPI, course: Path, outcome: dict) -> None:
    """Write nbgrader's own CSV and ours, the class page and the whole report as JSON."""
    course = Path(course)
    with Gradebook(api.coursedir.db_url, api.coursedir.course_id) as gradebook:
        CsvExportPlugin(to=str(course / "nbgrader_grades.csv"), assignment=[assignment()]).export(gradebook)
    report.write_csv(outcome, course / "grades.csv")
    report.write_class_page(outcome, course / "class.html", title=f"{assignment()}")
    unfinished = course / "report.json.part"
    unfinished.write_text(json.dumps(outcome, indent=1), encoding="utf-8")
    os.replace(unfinished, course / "report.json")
