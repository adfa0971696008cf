"""A hand-in on its way into nbgrader's `submitted/<student>/<assignment>/`, and out of there to the judge.

nbgrader wants every notebook of the assignment under its own name. What was not handed in gets a stand-in, and what the
folder's files cannot say stands on a slip beside them, `unetlab.json`.
"""

from __future__ import annotations

import functools
import html
import json
import os
import re
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

import nbformat
from nbformat import NotebookNode

from . import cards
from .durable import disk, sync
from .experiment import KINDS, checkpoint_limit, is_experiment, over_limit
from .reading import FILE_LIMIT, Unreadable, too_large
from .rubric import assignment, bonus_notebooks, load_rubric, notebooks
from .submissions import SUBMISSION_LIMIT, File, Submission
from .text import visible

KIT = Path(__file__).resolve().parent.parent
SLIP = "unetlab.json"
DOCUMENTS = (".pdf", ".docx", ".doc", ".odt", ".rtf", ".tex", ".md", ".txt")
# All that is copied. Formgrader serves these files with the instructor's rights, so nothing that a browser would run is
# among them, and a data set that came along does not fill the course's disk.
KEPT = {".py", ".json", ".csv", ".tsv", ".png", ".jpg", ".jpeg", ".gif", *DOCUMENTS, *KINDS}


@dataclass
class Slip:
    """What is known of a hand-in in `submitted/` besides its files."""

    problem: str = ""  # why there is nothing to judge
    stand_ins: dict[str, str] = field(default_factory=dict)  # notebooks that are ours: name → why theirs cannot be read, or ""
    left_out: dict[str, str] = field(default_factory=dict)  # files that are not here: path → why
    notes: list[str] = field(default_factory=list)


@dataclass
class Handin:
    """A submission on its way into the course; `key` stands for its state once it lies in `submitted/`."""

    submission: Submission
    slip: Slip = field(default_factory=Slip)
    key: str = ""

    @property
    def student(self) -> str:
        """The student's id in the gradebook and the name of their folder."""
        return self.submission.student

    @property
    def problem(self) -> str:
        """Why there is nothing to judge; empty where there is something."""
        return self.slip.problem

    @property
    def notes(self) -> list[str]:
        """What had to be noted about the hand-in."""
        return self.submission.notes


# ---- into submitted/ ----


def submitted(course: Path, handin: Handin) -> Path:
    """Where nbgrader looks for a student's hand-in."""
    return Path(course) / "submitted" / handin.student / assignment()


def released_path(coursedir, assignment: str, notebook: str) -> Path:
    """Where the course keeps the released notebook."""
    return Path(coursedir.format_path(coursedir.release_directory, ".", assignment), f"{notebook}.ipynb")


def hand_over(handin: Handin, course: Path) -> None:
    """Copy a hand-in to `submitted/<student>/<assignment>/`, under the names nbgrader expects; originals stay.

    It is made beside its place and moved there when all of it is on the disk, so that no half of a hand-in is judged.
    """
    target = submitted(course, handin)
    fresh = target.with_name(f".{target.name}.part")  # nbgrader looks at no name with a dot
    handin.slip = Slip()
    with disk(fresh):
        if fresh.exists():
            shutil.rmtree(fresh)
        fresh.mkdir(parents=True)
    _copy_all(handin, fresh, expected_in(course))
    _forget_the_place(handin)
    with disk(target):
        (fresh / SLIP).write_text(json.dumps(asdict(handin.slip), indent=1), encoding="utf-8")
        for path in [*fresh.rglob("*"), fresh]:
            sync(path)
        _put_in_place(fresh, target)


def _put_in_place(fresh: Path, target: Path) -> None:
    restore(target)
    old = _old(target)
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    sync(target.parent)
    if old.exists():
        shutil.rmtree(old)


def restore(target: Path) -> None:
    """Bring back the hand-in that a killed process had moved out of the way, and remove what it had not yet removed."""
    old = _old(target)
    if old.exists() and target.exists():
        shutil.rmtree(old)
    elif old.exists():
        old.rename(target)


def _old(target: Path) -> Path:
    return target.with_name(f".{target.name}.old")


def expected_in(course: Path) -> set[str]:
    """The notebooks that a course has marks for; a bonus is one of them where it was released with the others."""
    released = {path.stem for path in Path(course, "release", assignment()).glob("*.ipynb")}
    return notebooks() - (bonus_notebooks() - released)


def _copy_all(handin: Handin, target: Path, expected: set[str]) -> None:
    chosen = choose_notebooks(handin)
    unreadable = {}
    for name, file in chosen.items():
        unreadable[name] = _copy(file, target / f"{name}.ipynb")
    taken = 0
    for file in [*handin.submission.files, *handin.submission.others]:
        if reason := _why_not_taken(file):
            handin.notes.append(reason)
        elif is_kept(file.name) and taken <= SUBMISSION_LIMIT:
            taken += _copy_other(handin, file, target)
    if taken > SUBMISSION_LIMIT:
        handin.notes.append(f"more than {SUBMISSION_LIMIT >> 20} MB in all; the rest was left behind")
    missing = {name: unreadable.get(name) for name in sorted(notebooks()) if unreadable.get(name, "-")}
    _stand_in(handin, target, {name: reason for name, reason in missing.items() if reason or name in expected}, len(expected))


def _forget_the_place(handin: Handin) -> None:
    """What students read names their files, and not where they lie on the grading machine."""
    slip, place = handin.slip, handin.submission.path.parent
    slip.problem = visible(without_folder(slip.problem, place))
    for reasons in (slip.stand_ins, slip.left_out):
        reasons.update((name, visible(without_folder(reason, place))) for name, reason in reasons.items())
    handin.notes[:] = dict.fromkeys(visible(without_folder(note, place)) for note in handin.notes)
    slip.notes = list(handin.notes)


def is_kept(name: PurePosixPath) -> bool:
    """Whether a file that is no notebook goes into the course."""
    # Their timestamp would set the lateness, their slip what is judged.
    kind = name.suffix.lower()
    folders = {PurePosixPath(part).suffix.lower() for part in name.parts[:-1]}
    if {"timestamp.txt", SLIP} & set(name.parts) or folders & {".ipynb", ".py"}:
        return False  # a folder in the place of a file that others must find
    return kind in KEPT and (kind not in KINDS or is_experiment(name.name))


def _why_not_taken(file: File) -> str:
    """What a zip that could not be opened has to say; empty for any other file."""
    if file.name.suffix.lower() != ".zip":
        return ""
    try:
        file.content()
    except Unreadable as problem:
        return str(problem)
    return ""


def _copy_other(handin: Handin, file: File, target: Path) -> int:
    """Copy what is no notebook, and return its bytes; of a checkpoint that stays behind the judge is told why."""
    limit = checkpoint_limit() if is_experiment(file.name.name) else FILE_LIMIT >> 20
    reason = _copy(file, target / file.name, limit)
    if reason and is_experiment(file.name.name):
        handin.slip.left_out[str(file.name)] = reason.replace(file.shown, str(file.name))
    handin.notes.extend([reason] * bool(reason))
    return 0 if reason else (target / file.name).stat().st_size


def _copy(file: File, place: Path, limit_mb: float = FILE_LIMIT >> 20) -> str:
    """Copy one file and return "", or why it could not be; CourseError where no other file could be copied either."""
    try:
        content = file.content()
        if len(content) > limit_mb * 2**20:
            return over_limit(file.name, len(content), limit_mb)
        with disk(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
    except Unreadable as problem:
        return str(problem)
    except (OSError, ValueError) as error:  # a name that this disk does not take, or one in the place of another
        return f"{cards.plain(file.name, 200)}: passed over, the name cannot be used here ({cards.plain(error, 80)})"
    return ""


def without_folder(note: str, folder: Path) -> str:
    """A note as a student may read it: with the file's name, without the place on the grading machine."""
    for place in (folder, KIT):
        note = note.replace(f"{place}{os.sep}", "").replace(str(place), place.name)
    return note


# ---- which file is which notebook ----


def choose_notebooks(handin: Handin) -> dict[str, File]:
    """Return which file is which of the assignment's notebooks, by its name, else by what is in it; choices are noted."""
    files = [file for file in handin.submission.files if file.name.suffix.lower() == ".ipynb"]
    likeness = {id(file): _likeness(file) for file in files}
    chosen: dict[str, File] = {}
    for name in sorted(notebooks()):
        exact = [file for file in files if file.name.stem == name]
        found = exact or [file for file in files if name in file.name.stem]
        if found:
            chosen[name] = max(found, key=lambda file, name=name: likeness[id(file)][name])
    # A renamed notebook is of the part that it speaks of most; a file called after one part is no other part.
    renamed = [file for file in files if not any(name in file.name.stem for name in notebooks())]
    for file in sorted(renamed, key=lambda file: -max(likeness[id(file)].values())):
        name, count = max(likeness[id(file)].items(), key=lambda entry: entry[1])
        if name not in chosen and (count or not chosen):
            chosen[name] = file
    left = [file for file in files if all(file is not other for other in chosen.values()) and not file.is_unmarked_notebook]
    for name, file in chosen.items():
        if any(likeness[id(other)][name] or name in other.name.stem for other in left):
            handin.notes.append(f"Taken as {name}.ipynb: {file.name}.")
    if left:
        handin.notes.append(f"Not looked at: {', '.join(str(file.name) for file in left)}.")
    return chosen


def _likeness(file: File) -> dict[str, int]:
    """For each of the lab's notebooks how much of it a file holds: names that it defines, checks that it calls."""
    try:
        text = file.content().decode("utf-8", "replace")
    except Unreadable:
        return {name: 0 for name in sorted(notebooks())}
    found = dict.fromkeys(sorted(notebooks()), 0)
    for task in load_rubric().values():
        names = [] if task.experiment else task.names
        found[task.notebook] += sum(f"class {name}" in text or f"def {name}(" in text for name in names)
        found[task.notebook] += sum(mark.format(task.id) in text for mark in ('check(\\"{}\\")', "check('{}')", "TODO Task {}:"))
    return found


# ---- stand-ins ----


def _stand_in(handin: Handin, target: Path, missing: dict[str, str | None], expected: int) -> None:
    """Put a notebook of ours in the place of each that is missing, so that nbgrader takes the judge's marks for it.

    `missing` has for each why it could not be read, or None where it was not handed in; so many are expected. A bonus that is not
    there is worth no note.
    """
    modules = sorted(path for path in target.rglob("*") if path.suffix.lower() == ".py" and path.is_file())
    if not modules and len(missing) == expected:
        handin.slip.problem = _why_unreadable(handin.submission)
    names = ", ".join(path.name for path in modules)
    if modules and len(missing) == expected and not any(missing.values()):
        handin.notes.append(f"Handed in as {names}, without a notebook.")
        said = {name: f"Handed in as {names}, shown here as it came." for name in missing}
    else:
        said = {name: reason or handin.problem or not_handed_in(name) for name, reason in missing.items()}
        told = [text for name, text in said.items() if missing[name] or name not in bonus_notebooks()]
        handin.notes.extend(text for text in told if text not in handin.notes)
    for name, reason in missing.items():
        handin.slip.stand_ins[name] = reason or handin.problem
        cells = [nbformat.v4.new_markdown_cell(f"**{cards.plain(said[name])}**"), *map(_shown, modules)]
        with disk(target):
            nbformat.write(nbformat.v4.new_notebook(cells=cells), target / f"{name}.ipynb")


def not_handed_in(notebook: str) -> str:
    """What is said of a notebook that is not there."""
    if notebook in bonus_notebooks():
        return f"{notebook}.ipynb is voluntary and was not handed in. That costs nothing."
    return f"{notebook}.ipynb was not handed in. Its tasks are marked by what the other files define."


def _shown(module: Path) -> NotebookNode:
    # Shown, not run, and as HTML: in a code cell it would be taken for a task's cell.
    text = html.escape(module.read_text(encoding="utf-8", errors="replace"))
    return nbformat.v4.new_markdown_cell(f"{cards.plain(module.name)}\n\n<pre>\n{visible(text)}\n</pre>")


def _why_unreadable(submission: Submission) -> str:
    try:
        submission.sources()
    except Unreadable as problem:
        return str(problem)
    return f"{submission.path.name}: no notebook and no module in it; ask for the hand-in again"


# ---- out of submitted/ ----


def handed_in(course: Path) -> list[Handin]:
    """Every hand-in that lies in `submitted/`, by student, as it was handed over."""
    found = []
    for place in sorted(Path(course).glob("submitted/*"), key=lambda place: place.name.lower()):
        folder = place / assignment()
        if place.name.startswith(".") or not place.is_dir():
            continue
        restore(folder)
        if folder.is_dir():
            slip, submission = read_slip(folder), submission_in(folder, place.name)
            submission.notes += slip.notes
            found.append(Handin(submission, slip))
    return found


def read_slip(folder: Path) -> Slip:
    """The slip of a folder below `submitted/`; an empty one where the hand-in came another way."""
    try:
        given = json.loads((Path(folder) / SLIP).read_text(encoding="utf-8"))
        kinds = {name: type(value) for name, value in asdict(Slip()).items()}
        return Slip(**{name: given[name] for name, kind in kinds.items() if isinstance(given[name], kind)})
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return Slip()


def submission_in(folder: Path, student: str) -> Submission:
    """Return a folder below `submitted/` as the judge takes it: the assignment's notebooks, modules, and what else there is."""
    folder, slip = Path(folder), read_slip(folder)
    files, others = [], []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = PurePosixPath(path.relative_to(folder))
        if str(name) in (SLIP, "timestamp.txt") or path.suffix.lower() == ".ipynb" and not is_theirs(name, slip):
            continue
        file = File(str(name), name, functools.partial(_content, path))
        (files if path.suffix.lower() in (".ipynb", ".py") else others).append(file)
    for shown, reason in slip.left_out.items():
        others.append(File(shown, PurePosixPath(shown), functools.partial(_refuse, str(reason))))
    return Submission(folder, student, files, [], others)


def is_theirs(name: PurePosixPath, slip: Slip) -> bool:
    """Whether a notebook below `submitted/` is one of the assignment's, and no stand-in of ours."""
    return len(name.parts) == 1 and name.stem in notebooks() and name.stem not in slip.stand_ins


def _content(path: Path) -> bytes:
    if (size := path.stat().st_size) > FILE_LIMIT:
        raise too_large(path.name, size)
    return path.read_bytes()


def _refuse(reason: str) -> bytes:
    raise Unreadable(reason)


def documents(folder: Path) -> list[str]:
    """What a person may have to read beside the notebooks: a report, in any of the usual kinds; not the kit's own texts."""
    found = []
    for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
        if path.suffix.lower() in DOCUMENTS and path.name != "timestamp.txt" and path.name not in _kits_texts():
            found.append(path.relative_to(folder).as_posix())
    return found


@functools.lru_cache(maxsize=1)
def _kits_texts() -> set[str]:
    # Students often hand in the whole folder.
    own = {path.name for place in (KIT, KIT / "docs", KIT / "labs") for path in place.glob("*") if path.is_file()}
    return own | {"README.md", "LICENSE.txt", "requirements.txt"}


NAME = re.compile(r"^(?:class|def|async def)\s+(\w+)", re.MULTILINE)


def names_defined(submission: Submission) -> set[str]:
    """Every class and function at the top level of what can be read of a submission."""
    try:
        return {name for source in submission.sources() for cell in source.cells for name in NAME.findall(cell.source)}
    except Unreadable:
        return set()
