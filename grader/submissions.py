"""Finds what was handed in: notebooks, modules, folders and zips of either, and whose it is.

A folder and a zip are read alike, as one tree of files (a zip in it is one more folder). The tree is
then split into submissions: by the names that Canvas, Moodle and Blackboard give, by student's
folder, or by the name in front of the lab's (`alice_01_unet.ipynb`).
"""

from __future__ import annotations

import functools
import io
import json
import os
import re
import stat
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath

from .definitions import RESERVED, Cell, Source
from .experiment import experiment_of
from .reading import FILE_LIMIT, SAVE_AGAIN, Unreadable, decoded, load_notebook, tasks_of, too_large
from .rubric import assignment, defined_names, load_rubric, notebooks, unmarked_notebooks
from .student import Experiment
from .text import visible

SUBMISSION_LIMIT = 512 * 2**20  # bytes of notebooks and modules, of one submission
ARCHIVE_LIMIT = 4 * 2**30  # bytes of notebooks and modules, of one zip
MEMBER_LIMIT = 20_000  # files in one zip
TREE_LIMIT = 100_000  # files in one zip on the disk and in all the zips inside it
WORK_LIMIT = 500  # notebooks and modules of one submission
NAME_LIMIT, DEPTH_LIMIT = 1000, 40  # characters of a path within a hand-in, and its folders
CODE_LIMIT = 800_000  # bytes, of a submission's code without outputs: what crosses the wall in one message
ZIP_DEPTH = 3
WORK = (".ipynb", ".py")
IGNORED = re.compile(r"(^|/)(\.(?!\./)|~|__pycache__|__MACOSX|site-packages(/|$)|node_modules(/|$)|venv(/|$))")
# Folder names that say nothing about whose work it is.
GENERIC = re.compile(
    r"(lab[s_ -]*\d*|starter|code|src|submissions?|notebooks?|solutions?|homework|unetlab|grader|networks?|training|utils|models?|"
    r"results|checkpoints)$",
    re.I,
)
LMS = [  # the student's name, then the file's own
    re.compile(r"(.+?)_\d+_assignsubmission_[a-z]+_?(.*)$", re.DOTALL),  # Moodle
    re.compile(r".+?_([^_]+)_attempt_[\d-]+_?(.*)$", re.DOTALL),  # Blackboard
    re.compile(r"(.+?)(?:_LATE)?_\d{3,}_\d{3,}_(.+)$", re.DOTALL),  # Canvas
]
# The number by which Moodle and Canvas know a student: two of one name are two students.
MOODLES_NUMBER = re.compile(r".+?_(\d+)_assignsubmission_[a-z]+", re.DOTALL)
CANVAS_NUMBER = re.compile(r".+?(?:_LATE)?_(\d{3,})_\d{3,}_.+$", re.DOTALL)
COPY = re.compile(r"(?: ?\(\d+\)|-\d{1,2}| - Copy| copy)$")  # what browsers and Canvas add to a second copy
KIT = Path(__file__).resolve().parents[1]
EMPTY = "(empty folder)"
PICK = "hand in .ipynb or .py"
TOO_DEEP = "passed over, its path is too long or too deep; hand in the lab's files alone"


@dataclass
class File:
    """One file that was handed in: where it lies for people, its path within the hand-in, its bytes when asked for."""

    shown: str
    name: PurePosixPath
    read: callable = field(repr=False)  # no closure: it goes to the judges' processes
    place: Path | None = None  # the file on the disk: this one, or the zip it is in

    def content(self) -> bytes:
        """The bytes; Unreadable, whatever stands in the way."""
        try:
            return self.read()
        except Unreadable:
            raise
        except Exception as error:  # zipfile alone raises six kinds for a broken archive
            cause = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Unreadable(f"{self.shown}: cannot be read ({cause}); check the file and hand it in again") from None

    @property
    def is_work(self) -> bool:
        """Whether this is a notebook, a module, or an archive that could not be opened."""
        return self.name.suffix.lower() in (*WORK, ".zip")

    @property
    def is_unmarked_notebook(self) -> bool:
        """Whether this has the name of a notebook that holds no task, or of a copy of it."""
        return self.name.suffix.lower() == ".ipynb" and COPY.sub("", self.name.stem) in unmarked_notebooks()


@dataclass
class Submission:
    """What one student handed in, and what was noticed while reading it; `others` are files that are not code."""

    path: Path
    student: str
    files: list[File]
    notes: list[str] = field(default_factory=list)
    others: list[File] = field(default_factory=list)
    lms_id: str = ""  # the learning platform's number for the student, where the names of the files tell it

    def sources(self) -> list[Source]:
        """The code, notebooks first and in order; notes are left on the way; Unreadable when nothing can be read."""
        sources, notes, size = [], [], 0
        files = sorted(self.files, key=lambda file: (file.name.suffix.lower() != ".ipynb", file.name))
        if len(files) > WORK_LIMIT:
            notes.append(f"{visible(self.path)}: {len(files):,} notebooks and modules, of which {WORK_LIMIT} are read; hand in the lab alone")
        for file in files[:WORK_LIMIT]:
            try:
                content = file.content()
                size += len(content)
                if size > SUBMISSION_LIMIT:
                    notes.append(f"{file.shown}: more than {SUBMISSION_LIMIT >> 20} MB in all; clear the outputs")
                    break
                if not _is_the_kits(file, content):
                    sources.append(_read_source(file, content, notes))
            except Unreadable as problem:
                notes.append(str(problem))
            except Exception as fault:  # whatever it is: one file must not end the batch
                notes.append(f"{file.shown}: cannot be read ({type(fault).__name__}: {fault}); {SAVE_AGAIN}")
        if not sources:
            raise Unreadable("; ".join(notes) or f"{visible(self.path)}: no notebook and no module in it; {PICK}")
        self.notes += [note for note in map(visible, notes) if note not in self.notes]
        if sum(len(json.dumps(asdict(source))) for source in sources) > CODE_LIMIT:
            raise Unreadable(f"{visible(self.path)}: more than {CODE_LIMIT:,} bytes of code; keep data out of the cells")
        return sources

    def experiment(self) -> Experiment:
        """The checkpoint that was handed in and how its network was built; notes are left on the way."""
        return experiment_of(self.others, self.notes)


# ---- finding ----


def find_submissions(paths: Iterable[Path]) -> list[Submission]:
    """Every submission in these files and folders; FileNotFoundError for a path that does not exist."""
    found: list[Submission] = []
    for path in map(Path, paths):
        try:
            there = path.exists()
        except (OSError, ValueError):  # a name that no file system takes
            there = False
        if not there:
            raise FileNotFoundError(f"{visible(path)}: no such file or folder")
        found += _in_tree(path) if path.is_dir() or path.suffix.lower() == ".zip" else [_in_file(path)]
    _make_names_unique(found)
    return found


def passed_over(folder: Path, found: list[Submission]) -> list[str]:
    """Loose files of a class's folder that belong to no submission, such as a .docx: somebody's hand-in all the same."""
    if not folder.is_dir():
        return []
    taken = {file.place for submission in found for file in [*submission.files, *submission.others]}
    loose = [path for path in sorted(folder.iterdir()) if path.is_file() and not IGNORED.search(path.name)]
    return [visible(path.name) for path in loose if path not in taken]


def _in_file(path: Path) -> Submission:
    file = _on_disk(path, PurePosixPath(path.name))
    if path.suffix.lower() not in WORK:
        file.read = functools.partial(_refuse, f"{visible(path)}: neither a notebook nor a module; {PICK}")
    return Submission(_plain_path(path), _student([path.stem, *_parents(path)]), [file])


def _in_tree(path: Path) -> list[Submission]:
    if path.is_dir():
        files, own = list(_walk(path, PurePosixPath())), [path.resolve().name, *_parents(path)]
    else:
        files, own = _unzipped(_on_disk(path, PurePosixPath(path.name))), [path.stem, *_parents(path)]
        files = [replace(file, name=PurePosixPath(*(file.name.parts[1:] or file.name.parts))) for file in files]
    return [_submission(name, group) for name, group in _split(files, own, path.is_dir())]


def _submission(name: str, files: list[File]) -> Submission:
    work, others = [f for f in files if f.is_work], [f for f in files if not f.is_work and f.name.name != EMPTY]
    place = Path(os.path.commonpath([file.place for file in files]))
    numbers = {number for file in files if (number := _lms_number(*re.split(r"[/\\]|: ", file.shown)))}
    lms_id = numbers.pop() if len(numbers) == 1 else ""
    if lms_id and name.casefold() == "participant":  # as Moodle calls everybody where marking is anonymous
        name = f"{name}_{lms_id}"
    return Submission(_plain_path(place), name, work, [], others, lms_id)


def _parents(path: Path) -> list[str]:
    return [parent.name for parent in path.resolve().parents][:3]


def _make_names_unique(found: list[Submission]) -> None:
    """Two hand-ins under one name must not end in one row of the gradebook."""
    taken: set[str] = set()
    for submission in sorted(found, key=lambda submission: not submission.files):  # who handed in work keeps the name
        name, number = submission.student, 1
        while submission.student.lower() in taken:
            number += 1
            submission.student = f"{name}_{submission.lms_id if submission.lms_id and number == 2 else number}"
        if number > 1:
            submission.notes.append(f"another hand-in is named {name} too; this one is {submission.student}")
        taken.add(submission.student.lower())


# ---- the tree of files ----


def _walk(folder: Path, prefix: PurePosixPath) -> Iterator[File]:
    """Every file below a folder; links are not followed, since they may lead to other people's files."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        reason = f"{visible(folder)}: cannot be read ({error.strerror}); check its permissions"
        yield File(visible(folder), prefix / "folder.zip", functools.partial(_refuse, reason), folder)
        return
    if not entries:
        yield File(visible(folder), prefix / EMPTY, bytes, folder)
    for entry in entries:
        name, path = prefix / entry.name, Path(entry.path)
        if IGNORED.search(entry.name):
            continue
        if len(name.parts) > DEPTH_LIMIT:
            yield _refused(File(visible(folder), prefix / "folder.zip", bytes, folder), TOO_DEEP)
            return
        if entry.is_symlink():
            reason = f"{visible(path)}: a link, passed over; hand in the file itself"
            yield File(visible(path), name, functools.partial(_refuse, reason), path)
        elif entry.is_dir():
            yield from _walk(path, name)
        elif entry.is_file():  # no pipes and devices: reading them may never end
            yield from _unzipped(_on_disk(path, name))


def _on_disk(path: Path, name: PurePosixPath) -> File:
    return File(visible(path), name, functools.partial(_read_path, path), path)


def _read_path(path: Path) -> bytes:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable(f"{visible(path)}: not a plain file; {PICK}")
    if status.st_size > FILE_LIMIT:
        raise too_large(path, status.st_size)
    return path.read_bytes()


def _refuse(reason: str) -> bytes:
    raise Unreadable(reason)


class _TooMany(Exception):
    """A zip on the disk that holds more than TREE_LIMIT files, with those of the zips inside it."""


def _unzipped(file: File) -> list[File]:
    """The file, or what is in it if it is a zip, below a folder of the zip's name; never unpacked to disk."""
    try:
        return _inside(file, 0, [0])
    except _TooMany:
        return [_refused(file, f"more than {TREE_LIMIT:,} files in the zips inside it; unpack it, and grade the folder")]


def _inside(file: File, depth: int, counted: list[int]) -> list[File]:
    if file.name.suffix.lower() != ".zip":
        return [file]
    try:
        with _opened(file.read) as archive:
            inside = [_member(file, info) for info in archive.infolist() if not info.is_dir()]
            size = sum(info.file_size for info in archive.infolist() if info.filename.lower().endswith((*WORK, ".zip")))
    except Exception as error:  # zipfile raises many kinds
        return [_refused(file, f"not readable as a zip ({error or type(error).__name__}); pack it again")]
    counted[0] += len(inside)
    if counted[0] > TREE_LIMIT:
        raise _TooMany
    inside = [member for member in inside if not IGNORED.search(str(member.name))]
    if len(inside) > MEMBER_LIMIT or size > ARCHIVE_LIMIT or depth >= ZIP_DEPTH:
        cause = f"{len(inside)} files of {size:,} bytes, {depth} zips deep: too large; hand in the code alone"
        return [_refused(file, cause)]
    below, left = _without_common_folder(inside)
    if not (GENERIC.match(file.name.stem) or _is_the_labs(file.name.stem) or any(map(_lms_owner, left))):
        inside = below  # `alice.zip` with `project/01_unet.ipynb` is alice's
    inside = inside or [replace(file, name=PurePosixPath(EMPTY))]
    folder = file.name.with_suffix("")
    return [found for m in inside for found in _inside(replace(m, name=folder / m.name), depth + 1, counted)]


def _refused(file: File, cause: str) -> File:
    return replace(file, read=functools.partial(_refuse, f"{file.shown}: {cause}"))


def _member(file: File, info: zipfile.ZipInfo) -> File:
    path = info.filename.replace("\\", "/")
    shown = visible(f"{file.shown}: {info.filename[:NAME_LIMIT]}")
    if len(path) > NAME_LIMIT or path.count("/") > DEPTH_LIMIT:
        return _refused(File(shown, PurePosixPath(path[-100:].rpartition("/")[2]), bytes, file.place), TOO_DEEP)
    name = PurePosixPath(path)
    read = functools.partial(_read_member, file.read, info.header_offset, shown)
    if not name.name or name.is_absolute() or ".." in name.parts or ":" in name.parts[0] or stat.S_ISLNK(info.external_attr >> 16):
        read = functools.partial(_refuse, f"{shown}: passed over, a link or a path that leaves the zip")
        name = PurePosixPath(name.name or "nameless")
    return File(shown, name, read, file.place)


def _read_member(read, offset: int, shown: str) -> bytes:
    archive, by_offset = _kept_open(read, read.args[0].stat().st_mtime_ns if read.func is _read_path else 0)
    info = by_offset[offset]
    if info.file_size > FILE_LIMIT:
        raise too_large(shown, info.file_size)
    return archive.read(info)  # never more than file_size, whatever the compressed data hold


@functools.lru_cache(maxsize=2)  # one for each of two jobs: the members of a large zip are read one after the other
def _kept_open(read, changed: int) -> tuple[zipfile.ZipFile, dict[int, zipfile.ZipInfo]]:
    """The zip that `read` gives, as it was at the time `changed`, and its members by their place."""
    archive = _opened(read)
    return archive, {info.header_offset: info for info in archive.infolist()}


def _opened(read) -> zipfile.ZipFile:
    if read.func is _read_path:
        return zipfile.ZipFile(read.args[0])  # from the disk: a class's zip may be large
    return zipfile.ZipFile(io.BytesIO(read()))


def _without_common_folder(files: list[File]) -> tuple[list[File], list[str]]:
    """The files below the folder that all the work lies in, and the names of the folders left out, innermost first."""
    left: list[str] = []
    while True:
        tops = {file.name.parts[0] if len(file.name.parts) > 1 else "" for file in files if _counts(file)}
        if len(tops) != 1 or "" in tops:
            return files, left
        (top,) = tops
        below = [file for file in files if file.name.parts[0] == top and len(file.name.parts) > 1]
        files = [replace(file, name=PurePosixPath(*file.name.parts[1:])) for file in below]
        left.insert(0, top)


def _counts(file: File) -> bool:
    """Whether a file tells of a submission: work, or the sole trace of a student who handed in nothing of use."""
    return file.is_work or len(file.name.parts) > 1 or bool(_lms_owner(file.name.name))


# ---- one tree, several students ----


def _split(files: list[File], own: list[str], by_folder: bool, nested: bool = False) -> list[tuple[str, list[File]]]:
    """The tree's submissions, as student and files; `own` are names for a single one, the likeliest first."""
    files, left = _without_common_folder(files)
    files_that_count = [file for file in files if _counts(file)]
    named = [name for name in reversed(left) if _lms_owner(name)]  # the outer folder is the platform's, the inner one anybody's
    if not files_that_count or _is_one(files_that_count, nested):
        names = [*named, *(left + own if by_folder else own + left)]
        # A folder without any work is no class; a zip or a student's folder without any is an empty hand-in.
        return [(_student(names), files)] if files_that_count or nested or files and not by_folder else []
    groups: dict[tuple, list[File]] = {}
    for file in files_that_count:
        top = file.name.parts[0]
        groups.setdefault((len(file.name.parts) > 1, _owner(top), _lms_number(top)), []).append(file)
    direct, claimed = [], []  # a name that only stands inside another's hand-in takes it from nobody
    for (is_folder, owner, _), group in groups.items():
        if is_folder and not _lms_owner(group[0].name.parts[0]):
            for name, theirs in _split(group, [owner], False, nested=True):
                (direct if name == _clean(owner) else claimed).append((name, theirs))
        else:
            direct.append((_clean(owner), _without_common_folder(group)[0] if is_folder else group))
    return direct + claimed


def _is_one(files: list[File], nested: bool) -> bool:
    """Whether a tree is one student's: named as the lab names things, or code that imports its neighbour."""
    tops = {file.name.parts[0] for file in files}
    if any(map(_lms_owner, tops)):
        return len({(_owner(top), _lms_number(top)) for top in tops}) == 1 and nested
    at_top = [file for file in files if len(file.name.parts) == 1]
    if any(_is_the_labs(file.name.stem) for file in at_top) or any(GENERIC.match(top) for top in tops):
        return True
    if nested:  # a student's own folder, unless it holds the lab's file in several others: a section of the class
        return len({f.name.parts[0] for f in files if len(f.name.parts) > 1 and _is_the_labs(f.name.stem)}) < 2
    return bool(at_top) and _belong_together(at_top, tops)


@functools.lru_cache(maxsize=1)
def _defines() -> re.Pattern:
    """Finds what a file defines of the tasks' names, in a module or in a notebook's JSON."""
    return re.compile(rf'(?:^|"|\\n)[ \t]*(?:class|def)[ \t]+({"|".join(defined_names())})\b'.encode(), re.MULTILINE)


IMPORTED = re.compile(rb'(?:^|"|\\n)[ \t]*(?:from|import)[ \t]+\.?([\w\x80-\xff]+)', re.MULTILINE)


def _belong_together(files: list[File], tops: set[str]) -> bool:
    """Whether one file imports another file or folder beside it, and no two files define the same thing."""
    stems = {PurePosixPath(top).stem for top in tops} - RESERVED - {"data_utils", "drawn_pets", "metrics", "viz"}
    if not stems:
        return False
    stems = {os.fsencode(stem) for stem in stems}
    together, defined = False, set()
    for file in files:
        try:
            content = file.content()
        except Unreadable:
            continue
        found = set(_defines().findall(content))
        if found & defined:
            return False  # two hand-ins of the same task
        defined |= found
        together |= bool(set(IMPORTED.findall(content)) & stems - {os.fsencode(file.name.stem)})
    return together


def _owner(part: str) -> str:
    """The student in a file's or folder's name: `alice_01_unet.ipynb` and `alice_123_456_01_unet.ipynb` are alice's."""
    if owner := _lms_owner(part):
        return owner
    stem = PurePosixPath(part).stem if PurePosixPath(part).suffix.lower() in (*WORK, ".zip") else part
    named = COPY.sub("", stem)
    shorter = re.sub(rf"(?:{_lab_names()})$", "", named)
    return (shorter.rstrip(" _.-") if shorter != named else named) or stem


def _lms_owner(part: str) -> str:
    """The student in a name that a learning platform gave; empty for any other name."""
    return next((match.group(1) for pattern in LMS if (match := pattern.match(part))), "")


def _lms_number(*parts: str) -> str:
    """The number that a learning platform put into the names along a path; Moodle's, which is plainer, before Canvas's."""
    found = [match.group(1) for pattern in (MOODLES_NUMBER, CANVAS_NUMBER) for part in reversed(parts) if (match := pattern.match(part))]
    return found[0] if found else ""


def _is_the_labs(stem: str) -> bool:
    """Whether a file is named as the lab hands it out, so that its name tells nothing of its student."""
    return bool(re.fullmatch(_lab_names(), COPY.sub("", stem)))


@functools.lru_cache(maxsize=1)
def _lab_names() -> str:
    return "|".join(map(re.escape, [*sorted(notebooks() | unmarked_notebooks()), f"{assignment()}_student", assignment()]))


def _student(candidates: list[str]) -> str:
    """The first name that is a student's and not the lab's or a folder's common one."""
    owners = [_owner(name) for name in candidates if name]
    telling = [name for name in owners if not GENERIC.match(name) and not _is_the_labs(name)]
    return _clean((telling or owners or [""])[0])


def _clean(name: str) -> str:
    return re.sub(r"[^\w.@-]+", "_", visible(name)).strip("._-")[:60] or "nameless"


def _plain_path(path: Path) -> Path:
    return Path(visible(path))


# ---- reading ----


def _is_the_kits(file: File, content: bytes) -> bool:
    """Whether this is a copy of the kit's own code, or a notebook without a task: students often hand in the whole folder."""
    parts = file.name.parts
    if file.is_unmarked_notebook and not _defines().search(content):
        return True
    if "grader" in parts[:-1]:
        return (KIT / "grader").joinpath(*parts[parts.index("grader") + 1:]).is_file()
    packaged = len(parts) > 1 and parts[-2] in ("networks", "training")
    if not packaged and parts[-1] not in ("data_utils.py", "drawn_pets.py", "metrics.py", "viz.py"):
        return False
    own = KIT.joinpath(*parts[-2:] if packaged else parts[-1:])
    # Students write files of their own under these names, too.
    return own.is_file() and own.read_bytes().split() == content.split()


def _read_source(file: File, content: bytes, notes: list[str]) -> Source:
    label, stem = visible(file.name), _import_name(visible(file.name.name))
    if file.name.suffix.lower() == ".py" and not _is_notebook(content):
        text, found = decoded(file.shown, content, is_code=True)
        notes += found
        # A package's `__init__.py` is imported by the folder's name.
        name = file.name.parent.name if stem == "__init__" and file.name.parent.name else stem
        return Source(visible(name), [Cell(label, text, defined_names())])
    notebook, found = load_notebook(file.shown, content)
    notes += found
    return Source(stem, list(_cells(notebook, label)))


def _import_name(name: str) -> str:
    """The name by which other files import this one: without what learning platforms and browsers added."""
    for pattern in LMS:
        if (match := pattern.match(name)) and match.group(2):
            name = match.group(2)
    stem = PurePosixPath(name).stem
    return COPY.sub("", stem) or stem


def _is_notebook(content: bytes) -> bool:
    """Whether a file called .py is a notebook all the same: as Python it would be one dict, and marked 0."""
    return content.lstrip()[:1] == b"{" and b'"cells"' in content and b'"nbformat"' in content


def _cells(notebook, label: str) -> Iterable[Cell]:
    rubric = load_rubric()
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "code" and cell.source.strip():
            tasks = tasks_of(cell)
            names = [name for task in tasks for name in rubric[task].names]
            known = f" (Task {', '.join(tasks)})" if tasks else ""  # Jupyter shows no cell's number in the file
            yield Cell(f"cell {number}{known} of {label}", cell.source, list(dict.fromkeys(names)))
