"""Finds and reads what was handed in: notebooks, modules, folders and zips of either.

Whatever is wrong with a file is said in a note or in `Unreadable`; nothing here runs any of it.
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
import tokenize
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath

import nbformat

from .definitions import RESERVED, Cell, Source
from .rubric import assignment, load_rubric

FILE_LIMIT = 256 * 2**20  # bytes, of one file
SUBMISSION_LIMIT = 512 * 2**20  # bytes of notebooks and modules, of one submission
ARCHIVE_LIMIT = 4 * 2**30  # bytes of notebooks and modules, of one zip
MEMBER_LIMIT = 20_000  # files in one zip
CODE_LIMIT = 800_000  # bytes, of a submission's code without outputs: what crosses the wall in one message
ZIP_DEPTH = 3
WORK = (".ipynb", ".py")
IGNORED = re.compile(r"(^|/)(\.(?!\./)|~|__pycache__|__MACOSX|site-packages(/|$)|node_modules(/|$)|venv(/|$))")
# Folder names that say nothing about whose work it is.
GENERIC = re.compile(
    r"(lab[s_ -]*\d*|starter|code|src|submissions?|notebooks?|solutions?|homework|unetlab|grader|utils|models?)$", re.I
)
LMS = [  # the student's name, then the file's own
    re.compile(r"(.+?)_\d+_assignsubmission_[a-z]+_?(.*)$", re.DOTALL),  # Moodle
    re.compile(r".+?_([^_]+)_attempt_[\d-]+_?(.*)$", re.DOTALL),  # Blackboard
    re.compile(r"(.+?)(?:_LATE)?_\d{3,}_\d{3,}_(.+)$", re.DOTALL),  # Canvas
]
COPY = re.compile(r"(?: ?\(\d+\)|-\d{1,2}| - Copy| copy)$")  # what browsers and Canvas add to a second copy
KIT = Path(__file__).resolve().parents[1]
EMPTY = "(empty folder)"
SAVE_AGAIN = "save it again from Jupyter or Colab"
PICK = "hand in .ipynb or .py"


class Unreadable(Exception):
    """A file that cannot be read as what it claims to be; the text names the file, the cause and the mend."""


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


@dataclass
class Submission:
    """What one student handed in, and what was noticed while reading it; `others` are files that are not code."""

    path: Path
    student: str
    files: list[File]
    notes: list[str] = field(default_factory=list)
    others: list[File] = field(default_factory=list)

    def sources(self) -> list[Source]:
        """The code, notebooks first and in order; notes are left on the way; Unreadable when nothing can be read."""
        sources, notes, size = [], [], 0
        for file in sorted(self.files, key=lambda file: (file.name.suffix.lower() != ".ipynb", file.name)):
            try:
                content = file.content()
                size += len(content)
                if size > SUBMISSION_LIMIT:
                    raise Unreadable(f"{file.shown}: more than {SUBMISSION_LIMIT >> 20} MB in all; clear the outputs")
                if not _is_the_kits(file, content):
                    sources.append(_read_source(file, content, notes))
            except Unreadable as problem:
                notes.append(str(problem))
            except Exception as fault:  # whatever it is: one file must not end the batch
                notes.append(f"{file.shown}: cannot be read ({type(fault).__name__}: {fault}); {SAVE_AGAIN}")
        if not sources:
            raise Unreadable("; ".join(notes) or f"{_plain(self.path)}: no notebook and no module in it; {PICK}")
        self.notes += [note for note in map(_plain, notes) if note not in self.notes]
        if sum(len(json.dumps(asdict(source))) for source in sources) > CODE_LIMIT:
            raise Unreadable(f"{_plain(self.path)}: more than {CODE_LIMIT:,} bytes of code; keep data out of the cells")
        return sources


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
            raise FileNotFoundError(f"{_plain(path)}: no such file or folder")
        found += _in_tree(path) if path.is_dir() or path.suffix.lower() == ".zip" else [_in_file(path)]
    _make_names_unique(found)
    return found


def _in_file(path: Path) -> Submission:
    file = _on_disk(path, PurePosixPath(path.name))
    if path.suffix.lower() not in WORK:
        file.read = functools.partial(_refuse, f"{_plain(path)}: neither a notebook nor a module; {PICK}")
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
    return Submission(_plain_path(place), name, work, [], others)


def _parents(path: Path) -> list[str]:
    return [parent.name for parent in path.resolve().parents][:3]


def _make_names_unique(found: list[Submission]) -> None:
    """Two hand-ins under one name must not end in one row of the gradebook."""
    taken: set[str] = set()
    for submission in found:
        name, number = submission.student, 1
        while submission.student.lower() in taken:
            number += 1
            submission.student = f"{name}_{number}"
        if number > 1:
            submission.notes.append(f"another hand-in is named {name} too; this one is {submission.student}")
        taken.add(submission.student.lower())


# ---- the tree of files ----


def _walk(folder: Path, prefix: PurePosixPath) -> Iterator[File]:
    """Every file below a folder; links are not followed, since they may lead to other people's files."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        reason = f"{_plain(folder)}: cannot be read ({error.strerror}); check its permissions"
        yield File(_plain(folder), prefix / "folder.zip", functools.partial(_refuse, reason), folder)
        return
    if not entries:
        yield File(_plain(folder), prefix / EMPTY, bytes, folder)
    for entry in entries:
        name, path = prefix / entry.name, Path(entry.path)
        if IGNORED.search(entry.name):
            continue
        if entry.is_symlink():
            reason = f"{_plain(path)}: a link, passed over; hand in the file itself"
            yield File(_plain(path), name, functools.partial(_refuse, reason), path)
        elif entry.is_dir():
            yield from _walk(path, name)
        elif entry.is_file():  # no pipes and devices: reading them may never end
            yield from _unzipped(_on_disk(path, name))


def _on_disk(path: Path, name: PurePosixPath) -> File:
    return File(_plain(path), name, functools.partial(_read_path, path), path)


def _read_path(path: Path) -> bytes:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable(f"{_plain(path)}: not a plain file; {PICK}")
    if status.st_size > FILE_LIMIT:
        raise _too_large(path, status.st_size)
    return path.read_bytes()


def _refuse(reason: str) -> bytes:
    raise Unreadable(reason)


def _unzipped(file: File, depth: int = 0) -> list[File]:
    """The file, or what is in it if it is a zip, below a folder of the zip's name; never unpacked to disk."""
    if file.name.suffix.lower() != ".zip":
        return [file]
    try:
        with _opened(file.read) as archive:
            inside = [_member(file, info) for info in archive.infolist() if not info.is_dir()]
            size = sum(info.file_size for info in archive.infolist() if info.filename.lower().endswith((*WORK, ".zip")))
    except Exception as error:  # zipfile raises many kinds
        return [_refused(file, f"not readable as a zip ({error or type(error).__name__}); pack it again")]
    inside = [member for member in inside if not IGNORED.search(str(member.name))]
    if len(inside) > MEMBER_LIMIT or size > ARCHIVE_LIMIT or depth >= ZIP_DEPTH:
        cause = f"{len(inside)} files of {size:,} bytes, {depth} zips deep: too large; hand in the code alone"
        return [_refused(file, cause)]
    below, left = _without_common_folder(inside)
    if not (GENERIC.match(file.name.stem) or _is_the_labs(file.name.stem) or any(map(_lms_owner, left))):
        inside = below  # `alice.zip` with `project/01_unet.ipynb` is alice's
    inside = inside or [replace(file, name=PurePosixPath(EMPTY))]
    folder = file.name.with_suffix("")
    return [found for m in inside for found in _unzipped(replace(m, name=folder / m.name), depth + 1)]


def _refused(file: File, cause: str) -> File:
    return replace(file, read=functools.partial(_refuse, f"{file.shown}: {cause}"))


def _member(file: File, info: zipfile.ZipInfo) -> File:
    name = PurePosixPath(info.filename.replace("\\", "/"))
    shown = _plain(f"{file.shown}: {info.filename}")
    read = functools.partial(_read_member, file.read, info.header_offset, shown)
    if name.is_absolute() or ".." in name.parts or ":" in name.parts[0] or stat.S_ISLNK(info.external_attr >> 16):
        read = functools.partial(_refuse, f"{shown}: passed over, a link or a path that leaves the zip")
        name = PurePosixPath(name.name)
    return File(shown, name, read, file.place)


def _read_member(read, offset: int, shown: str) -> bytes:
    with _opened(read) as archive:
        info = next(info for info in archive.infolist() if info.header_offset == offset)
        if info.file_size > FILE_LIMIT:
            raise _too_large(shown, info.file_size)
        return archive.read(info)  # never more than file_size, whatever the compressed data hold


def _opened(read) -> zipfile.ZipFile:
    if read.func is _read_path:
        return zipfile.ZipFile(read.args[0])  # from the disk: a class's zip may be large
    return zipfile.ZipFile(io.BytesIO(read()))


def _too_large(shown: Path | str, size: int) -> Unreadable:
    return Unreadable(f"{_plain(shown)}: {size / 2**20:.0f} MB is too large; clear its outputs and hand it in again")


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
    named = [name for name in left if _lms_owner(name)]
    if not files_that_count or _is_one(files_that_count, nested):
        names = [*named, *(left + own if by_folder else own + left)]
        # A folder without any work is no class; a zip or a student's folder without any is an empty hand-in.
        return [(_student(names), files)] if files_that_count or nested or files and not by_folder else []
    groups: dict[tuple, list[File]] = {}
    for file in files_that_count:
        groups.setdefault((len(file.name.parts) > 1, _owner(file.name.parts[0])), []).append(file)
    found = []
    for (is_folder, owner), group in groups.items():
        found += _split(group, [owner], False, nested=True) if is_folder else [(_clean(owner), group)]
    return found


def _is_one(files: list[File], nested: bool) -> bool:
    """Whether a tree is one student's: named as the lab names things, or code that imports its neighbour."""
    tops = {file.name.parts[0] for file in files}
    if any(map(_lms_owner, tops)):
        return len({_owner(top) for top in tops}) == 1 and nested
    at_top = [file for file in files if len(file.name.parts) == 1]
    if any(_is_the_labs(file.name.stem) for file in at_top) or any(GENERIC.match(top) for top in tops):
        return True
    if nested:  # a student's own folder, unless it holds the lab's file in several others: a section of the class
        return len({f.name.parts[0] for f in files if len(f.name.parts) > 1 and _is_the_labs(f.name.stem)}) < 2
    return bool(at_top) and _belong_together(at_top, tops)


def _belong_together(files: list[File], tops: set[str]) -> bool:
    """Whether one file imports another file or folder beside it, and no two files define the same thing."""
    stems = {PurePosixPath(top).stem for top in tops} - RESERVED - {"data_utils", "metrics", "viz"}
    names = {name for task in load_rubric().values() for name in task.names}
    if not stems:
        return False
    any_stem = b"|".join(re.escape(os.fsencode(stem)) for stem in stems)
    imports = re.compile(rb'(?:^|"|\\n)[ \t]*(?:from|import)[ \t]+\.?(' + any_stem + rb")\b", re.MULTILINE)
    defines = re.compile(rf'(?:^|"|\\n)[ \t]*(?:class|def)[ \t]+({"|".join(names)})\b'.encode(), re.MULTILINE)
    together, defined = False, set()
    for file in files:
        try:
            content = file.content()
        except Unreadable:
            continue
        found = {match.group(1) for match in defines.finditer(content)}
        if found & defined:
            return False  # two hand-ins of the same task
        defined |= found
        together |= any(match.group(1) != os.fsencode(file.name.stem) for match in imports.finditer(content))
    return together


def _owner(part: str) -> str:
    """The student in a file's or folder's name: `alice_01_unet.ipynb` and `alice_123_456_01_unet.ipynb` are alice's."""
    if owner := _lms_owner(part):
        return owner
    stem = PurePosixPath(part).stem if PurePosixPath(part).suffix.lower() in (*WORK, ".zip") else part
    shorter = re.sub(rf"[\s_.-]*(?:{_lab_names()})$", "", COPY.sub("", stem))
    return shorter or stem


def _lms_owner(part: str) -> str:
    """The student in a name that a learning platform gave; empty for any other name."""
    return next((match.group(1) for pattern in LMS if (match := pattern.match(part))), "")


def _is_the_labs(stem: str) -> bool:
    """Whether a file is named as the lab hands it out, so that its name tells nothing of its student."""
    return bool(re.fullmatch(_lab_names(), COPY.sub("", stem)))


@functools.lru_cache(maxsize=1)
def _lab_names() -> str:
    notebooks = {task.notebook for task in load_rubric().values()}
    return "|".join(map(re.escape, [*sorted(notebooks), f"{assignment()}_student", assignment()]))


def _student(candidates: list[str]) -> str:
    """The first name that is a student's and not the lab's or a folder's common one."""
    owners = [_owner(name) for name in candidates if name]
    telling = [name for name in owners if not GENERIC.match(name) and not _is_the_labs(name)]
    return _clean((telling or owners or [""])[0])


def _clean(name: str) -> str:
    return re.sub(r"[^\w.@-]+", "_", _plain(name)).strip("._-")[:60] or "nameless"


def _plain(text: object) -> str:
    """Text that can be written as UTF-8, which a file name with stray bytes cannot."""
    return str(text).encode("utf-8", "replace").decode()


def _plain_path(path: Path) -> Path:
    return Path(_plain(path))


# ---- reading ----


def _is_the_kits(file: File, content: bytes) -> bool:
    """Whether this is a copy of the kit's own code: students often hand in the whole folder."""
    parts = file.name.parts
    if "grader" in parts[:-1]:
        return (KIT / "grader").joinpath(*parts[parts.index("grader") + 1:]).is_file()
    own = KIT / file.name.name
    if file.name.name not in ("data_utils.py", "metrics.py", "viz.py") or not own.is_file():
        return False
    return own.read_bytes().split() == content.split()


def _read_source(file: File, content: bytes, notes: list[str]) -> Source:
    label, stem = _plain(file.name), _import_name(_plain(file.name.name))
    if file.name.suffix.lower() == ".py" and not _is_notebook(content):
        text, found = _decoded(file.shown, content, is_code=True)
        notes += found
        # A package's `__init__.py` is imported by the folder's name.
        name = file.name.parent.name if stem == "__init__" and file.name.parent.name else stem
        return Source(_plain(name), [Cell(label, text, [n for task in load_rubric().values() for n in task.names])])
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
            names = [name for task in tasks_of(cell) for name in rubric[task].names]
            yield Cell(f"cell {number} of {label}", cell.source, list(dict.fromkeys(names)))


def tasks_of(cell) -> list[str]:
    """The tasks whose code a cell holds: by nbgrader's id, else by the task marker in its source."""
    if "check(" in cell.source and len(cell.source.splitlines()) < 3:
        return []
    metadata = cell.metadata.get("nbgrader")
    id = str(metadata.get("grade_id", "")) if isinstance(metadata, dict) else ""
    by_id = re.findall(r"(\d+)_(\d+)", id) if id.startswith("task_") else []
    by_marker = re.findall(r"Task (\d+)\.(\d+)", cell.source)
    ids = [f"{part}.{number}" for part, number in by_id or by_marker]
    return [task for task in dict.fromkeys(ids) if task in load_rubric()]


def _decoded(shown: str, content: bytes, is_code: bool = False) -> tuple[str, list[str]]:
    if not content.strip(b"\0 \t\r\n\xef\xbb\xbf\xff\xfe"):
        raise Unreadable(f"{shown}: the file is empty; hand it in again")
    if len(content) > FILE_LIMIT:
        raise _too_large(shown, len(content))
    encoding = json.detect_encoding(content)  # UTF-8, -16 and -32, with their marks or without
    if encoding.startswith("utf-8") and is_code:
        try:
            encoding = tokenize.detect_encoding(io.BytesIO(content).readline)[0]
        except SyntaxError:  # bytes that are not UTF-8, or a cookie that names no encoding
            pass
    try:
        text = content.decode(encoding)
        return text, [] if encoding.startswith("utf-8") else [f"{shown}: read as {encoding}"]
    except (UnicodeError, LookupError):
        text = content.decode("utf-8", "replace")
    if text.isascii() or any(ord(letter) > 127 and letter != "\ufffd" for letter in text):
        return text, [f"{shown}: not UTF-8 throughout; characters that cannot be read were replaced"]
    return content.decode("cp1252", "replace"), [f"{shown}: not UTF-8, read as Windows-1252"]


def load_notebook(path: Path | str, content: bytes | None = None) -> tuple[nbformat.NotebookNode, list[str]]:
    """A notebook in format 4.5, repaired where it can be, with a note for each repair; Unreadable otherwise."""
    content = File(str(path), PurePosixPath(path), Path(path).read_bytes).content() if content is None else content
    text, notes = _decoded(str(path), content)
    try:
        raw = json.loads(text)
        if re.search(r"\\u[dD][89abAB]", text):  # half of a surrogate pair could not be written again
            raw = json.loads(json.dumps(raw, ensure_ascii=False).encode("utf-8", "replace"))
    except RecursionError:
        raise Unreadable(f"{path}: nested too deeply; clear its outputs and {SAVE_AGAIN}") from None
    except ValueError as error:
        raise Unreadable(f"{path}: not a notebook, since it is not JSON ({error}); {SAVE_AGAIN}") from None
    if not isinstance(raw, dict) or not ("cells" in raw or "worksheets" in raw):
        raise Unreadable(f"{path}: JSON, but not a notebook (it has no cells); hand in the .ipynb file itself")
    cells = _repaired_cells(str(path), _cells_of(str(path), raw, notes), notes)
    given = raw.get("metadata") if isinstance(raw.get("metadata"), dict) else {}
    # What the format constrains is set afresh: a student's kernel or language is of no use to the grader.
    metadata = {name: value for name, value in given.items() if name not in NOTEBOOK_METADATA}
    metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    try:
        return nbformat.from_dict(notebook), notes
    except RecursionError:
        raise Unreadable(f"{path}: nested too deeply; clear its outputs and {SAVE_AGAIN}") from None


NOTEBOOK_METADATA = ("kernelspec", "language_info", "orig_nbformat", "title", "authors")


def _cells_of(shown: str, raw: dict, notes: list[str]) -> list:
    """The cells; those of format 3 lie in worksheets."""
    if "cells" in raw:
        cells = raw["cells"]
    else:
        sheets = raw["worksheets"] if isinstance(raw["worksheets"], list) else [None]
        lists = [sheet.get("cells") if isinstance(sheet, dict) else None for sheet in sheets]
        whole = all(isinstance(cells, list) for cells in lists)
        cells = [_from_format_3(cell) for cells in lists for cell in cells] if whole else None
        notes.append(f"{shown}: format 3, converted to 4")
    if not isinstance(cells, list):
        raise Unreadable(f"{shown}: its cells are no list; {SAVE_AGAIN}")
    return cells


def _from_format_3(cell):
    """A cell of format 3 with the fields of format 4."""
    if not isinstance(cell, dict):
        return cell
    cell = {**cell, "source": cell.get("source", cell.get("input", ""))}
    if cell.get("cell_type") == "heading":
        level = cell.get("level") if cell.get("level") in range(1, 7) else 1
        cell |= {"cell_type": "markdown", "source": f"{'#' * level} {_text(cell['source'])}"}
    if "prompt_number" in cell:
        cell["execution_count"] = cell["prompt_number"]
    if isinstance(cell.get("outputs"), list):
        cell["outputs"] = [_output_from_3(output) for output in cell["outputs"]]
    return cell


TYPES_OF_3 = {
    "text": "text/plain", "html": "text/html", "svg": "image/svg+xml", "png": "image/png", "jpeg": "image/jpeg",
    "latex": "text/latex", "javascript": "application/javascript",
}


def _output_from_3(output):
    if not isinstance(output, dict):
        return output
    kind = output.get("output_type")
    if kind == "stream":
        return {"output_type": "stream", "name": output.get("stream", "stdout"), "text": output.get("text")}
    if kind == "pyerr":
        return {**output, "output_type": "error"}
    if kind not in ("pyout", "display_data"):
        return output
    data = {TYPES_OF_3[name]: value for name, value in output.items() if name in TYPES_OF_3}
    new = {"output_type": "execute_result" if kind == "pyout" else kind, "data": data}
    return new | {"metadata": output.get("metadata"), "execution_count": output.get("prompt_number")}


def _repaired_cells(shown: str, cells: list, notes: list[str]) -> list[dict]:
    """The cells with every field that the format asks for."""
    repaired: list[dict] = []
    ids: set[str] = set()
    for number, cell in enumerate(cells, start=1):
        if not isinstance(cell, dict):
            notes.append(f"{shown}: cell {number} is no cell and was passed over")
            continue
        kind = cell.get("cell_type")
        if kind not in ("code", "markdown", "raw"):
            kind = "code"
            notes.append(f"{shown}: cell {number} is of no known type and was taken for code")
        source = cell.get("source", cell.get("input", ""))
        if not isinstance(source, str) and not _is_lines(source):
            notes.append(f"{shown}: the source of cell {number} is no text; what can be read of it was kept")
        fixed = {"cell_type": kind, "id": _new_id(shown, number, cell, ids, notes)}
        fixed |= {"metadata": _cell_metadata(cell.get("metadata")), "source": _text(source)}
        if kind == "code":
            fixed |= {"execution_count": _count(cell), "outputs": _outputs(shown, number, cell.get("outputs"), notes)}
        elif attachments := _attachments(cell.get("attachments")):
            fixed["attachments"] = attachments
        repaired.append(fixed)
    return repaired


def _new_id(shown: str, number: int, cell: dict, ids: set[str], notes: list[str]) -> str:
    """The cell's id, or a new one where it has none, a malformed one, or another cell's."""
    id = cell.get("id") if isinstance(cell.get("id"), str) else ""
    if id and id in ids:
        notes.append(f"{shown}: cell {number} has the id of another cell ({id[:64]}) and got a new one")
    if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", id) or id in ids:
        id = f"cell-{number}"
        while id in ids:
            id += "-x"
    ids.add(id)
    return id


def _text(source) -> str:
    if isinstance(source, list):
        return "".join(line for line in source if isinstance(line, str))
    return source if isinstance(source, str) else ""


def _is_lines(value) -> bool:
    return isinstance(value, list) and all(isinstance(line, str) for line in value)


def _count(cell: dict) -> int | None:
    count = cell.get("execution_count")
    return count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None


# What the format says of these fields; the others are free.
CELL_METADATA = {
    "name": lambda value: isinstance(value, str) and bool(value) and "\n" not in value,
    "tags": lambda value: _is_lines(value) and len(set(value)) == len(value) and all(t and "," not in t for t in value),
    "jupyter": lambda value: isinstance(value, dict),
    "execution": lambda value: isinstance(value, dict) and all(isinstance(time, str) for time in value.values()),
    "collapsed": lambda value: isinstance(value, bool),
    "scrolled": lambda value: isinstance(value, bool) or value == "auto",
    "format": lambda value: isinstance(value, str),
}


def _cell_metadata(metadata) -> dict:
    if not isinstance(metadata, dict):
        return {}
    return {name: value for name, value in metadata.items() if CELL_METADATA.get(name, lambda _: True)(value)}


def _outputs(shown: str, number: int, outputs, notes: list[str]) -> list[dict]:
    """The outputs that are well-formed; nbformat's own validation takes a minute for 50 MB of them."""
    given = outputs if isinstance(outputs, list) else []
    good = [fixed for output in given if (fixed := _output(output)) is not None]
    if bad := len(given) - len(good):
        notes.append(f"{shown}: {bad} of the outputs of cell {number} are malformed and were left out")
    return good


def _output(output) -> dict | None:
    """The output with just the fields of its kind; None for what is none."""
    if not isinstance(output, dict):
        return None
    kind = output.get("output_type")
    text, data = output.get("text"), _bundle(output.get("data"))
    if kind == "stream" and (isinstance(text, str) or _is_lines(text)) and isinstance(output.get("name"), str):
        return {"output_type": kind, "name": output["name"], "text": _text(text)}
    if kind in ("display_data", "execute_result") and data is not None:
        metadata = output.get("metadata") if isinstance(output.get("metadata"), dict) else {}
        count = {"execution_count": _count(output)} if kind == "execute_result" else {}
        return {"output_type": kind, "data": data, "metadata": metadata, **count}
    error = {name: output.get(name) for name in ("ename", "evalue")}
    if kind == "error" and _is_lines(list(error.values())) and _is_lines(output.get("traceback")):
        return {"output_type": kind, "traceback": output["traceback"], **error}
    return None


def _bundle(data) -> dict | None:
    """Data by media type: text, except for JSON; None for anything else."""
    if not isinstance(data, dict):
        return None
    bundle = {}
    for kind, value in data.items():
        if re.fullmatch(r"application/(.*\+)?json", kind):
            bundle[kind] = value
        elif isinstance(value, str) or _is_lines(value):
            bundle[kind] = _text(value)
        else:
            return None
    return bundle


def _attachments(given) -> dict:
    """Pictures pasted into a text cell."""
    bundles = {name: _bundle(data) for name, data in given.items()} if isinstance(given, dict) else {}
    return {name: bundle for name, bundle in bundles.items() if bundle is not None}
