"""Finds and reads what was handed in: notebooks, modules, folders and zips of either.

Whatever is wrong with a file is said in a note or in `Unreadable`; nothing here runs any of it.
"""

from __future__ import annotations

import io
import json
import re
import stat
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import nbformat

from .definitions import Cell, Source
from .rubric import assignment, load_rubric

FILE_LIMIT = 256 * 2**20  # bytes, of one file
ARCHIVE_LIMIT = 1024 * 2**20  # bytes, of everything in one zip
MEMBER_LIMIT = 20_000  # files in one zip
SUFFIXES = (".ipynb", ".py", ".zip")
IGNORED = re.compile(r"(^|/)(\.|__pycache__|__MACOSX)")


class Unreadable(Exception):
    """A file that cannot be read as what it claims to be; the text names the file, the cause and the mend."""


@dataclass
class File:
    """One file that was handed in: where it lies for people, its name within the hand-in, its bytes when asked for."""

    shown: str
    name: PurePosixPath
    read: callable = field(repr=False)


@dataclass
class Submission:
    """What one student handed in, and what was noticed while reading it."""

    path: Path
    student: str
    files: list[File]
    notes: list[str] = field(default_factory=list)

    def sources(self) -> list[Source]:
        """The code, notebooks first and in order; notes are left on the way; Unreadable when nothing can be read."""
        sources, problems = [], []
        for file in sorted(self.files, key=lambda file: (file.name.suffix != ".ipynb", file.name)):
            try:
                sources.append(_read_source(file, self.notes))
            except Unreadable as problem:
                problems.append(str(problem))
        if not sources:
            raise Unreadable("; ".join(problems) or f"{self.path}: no notebook and no module in it; hand in .ipynb or .py")
        self.notes += problems
        return sources


def find_submissions(paths: Iterable[Path]) -> list[Submission]:
    """Every submission in these files and folders; FileNotFoundError for a path that does not exist."""
    found: list[Submission] = []
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file or folder")
        found += _in_folder(path) if path.is_dir() else _in_file(path)
    return found


def _in_file(path: Path) -> list[Submission]:
    if path.suffix == ".zip":
        return _in_zip(path, path.read_bytes, _student(path))
    return [Submission(path, _student(path), [File(str(path), PurePosixPath(path.name), path.read_bytes)])]


def _in_folder(folder: Path) -> list[Submission]:
    """One submission, when its files belong together; else one for each file and each folder inside."""
    entries = [entry for entry in sorted(folder.iterdir()) if not IGNORED.search(entry.name) and not entry.is_symlink()]
    files = [entry for entry in entries if entry.is_file() and entry.suffix in SUFFIXES]
    folders = [entry for entry in entries if entry.is_dir() and _holds_work(entry)]
    code = [File(str(f), PurePosixPath(f.name), f.read_bytes) for f in files if f.suffix != ".zip"]
    if code and not folders and _belong_together(code):
        return [Submission(folder, _clean(folder.resolve().name), code)]
    single = [submission for file in files for submission in _in_file(file)]
    return single + [submission for entry in folders for submission in _in_folder(entry)]


def _holds_work(folder: Path) -> bool:
    return any(f.suffix in SUFFIXES and not IGNORED.search(str(f.relative_to(folder))) for f in folder.rglob("*"))


def _in_zip(path: Path, read, student: str) -> list[Submission]:
    """A zip is read in memory, never unpacked; it holds one submission, or one in each folder or inner zip."""
    try:
        files, notes = _members(str(path), read())
    except (zipfile.BadZipFile, Unreadable, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        return [Submission(path, student, [], [f"{path}: not readable as a zip ({error}); pack it again"])]
    groups = _groups(files)
    if len(groups) == 1:
        return [Submission(path, student, group, notes) for group in groups.values()]
    return [Submission(path, _clean(name), group, notes) for name, group in groups.items()] or [
        Submission(path, student, [], notes)
    ]


def _groups(files: list[File]) -> dict[str, list[File]]:
    """The files of a zip by submission: all together, or by their first differing folder or own name."""
    files = _without_common_folder(files)
    top = [file for file in files if len(file.name.parts) == 1]
    if len(top) == len(files) and (len(files) <= 1 or _belong_together(files)):
        return {"": files} if files else {}
    groups: dict[str, list[File]] = {}
    for file in files:
        key = file.name.parts[0] if len(file.name.parts) > 1 else file.name.stem
        groups.setdefault(key, []).append(File(file.shown, PurePosixPath(*file.name.parts[-1:]), file.read))
    return groups


def _without_common_folder(files: list[File]) -> list[File]:
    while files and all(len(file.name.parts) > 1 for file in files) and len({file.name.parts[0] for file in files}) == 1:
        files = [File(file.shown, PurePosixPath(*file.name.parts[1:]), file.read) for file in files]
    return files


def _members(shown: str, content: bytes, depth: int = 0) -> tuple[list[File], list[str]]:
    archive = zipfile.ZipFile(io.BytesIO(content))
    infos = [info for info in archive.infolist() if not info.is_dir() and not IGNORED.search(info.filename)]
    if len(infos) > MEMBER_LIMIT or sum(info.file_size for info in infos) > ARCHIVE_LIMIT:
        raise Unreadable(f"{len(infos)} files of {sum(i.file_size for i in infos):,} bytes unpacked: too large")
    files, notes = [], []
    for info in infos:
        name = PurePosixPath(info.filename.replace("\\", "/"))
        inside = f"{shown}: {info.filename}"
        if name.is_absolute() or ".." in name.parts or stat.S_ISLNK(info.external_attr >> 16):
            notes.append(f"{inside}: passed over, a link or a path that leaves the zip")
        elif name.suffix == ".zip" and depth < 2 and info.file_size <= FILE_LIMIT:
            inner, inner_notes = _members(inside, archive.read(info), depth + 1)
            files += [File(f.shown, name.with_suffix("") / f.name, f.read) for f in inner]
            notes += inner_notes
        elif name.suffix in (".ipynb", ".py"):
            files.append(File(inside, name, lambda info=info: archive.read(info)))
    return files, notes


def _belong_together(files: list[File]) -> bool:
    """Whether files are parts of one hand-in: the lab's numbered notebooks, or code that imports a neighbour."""
    if len(files) == 1:
        return files[0].name.stem in _notebooks()
    if any(file.name.stem in _notebooks() for file in files if file.name.suffix == ".ipynb"):
        return True
    stems = "|".join(re.escape(file.name.stem) for file in files)
    imports = re.compile(rf"\b(?:from|import)\s+({stems})\b".encode())
    return any(
        match.group(1).decode() != file.name.stem for file in files for match in imports.finditer(file.read())
    )


def _notebooks() -> set[str]:
    return {task.notebook for task in load_rubric().values()}


def _student(path: Path) -> str:
    """`alice_01_unet.ipynb` and `alice/01_unet.ipynb` are both alice's."""
    stem = path.stem
    for generic in sorted([*_notebooks(), f"{assignment()}_student", assignment()], key=len, reverse=True):
        if stem == generic:
            return _clean(path.resolve().parent.name)
        stem = stem.removesuffix(generic)
    return _clean(stem.rstrip("_- ") or path.stem)


def _clean(name: str) -> str:
    return re.sub(r"[^\w.@-]+", "_", name).strip("._") or "nameless"


def _read_source(file: File, notes: list[str]) -> Source:
    label = file.name.name
    if file.name.suffix == ".py":
        text, found = _decode(file.shown, file.read())
        notes += found
        return Source(file.name.stem, [Cell(label, text.replace("\0", ""), [])])
    notebook, found = load_notebook(file.shown, file.read())
    notes += found
    return Source(file.name.stem, list(_cells(notebook, label)))


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


def load_notebook(path: Path | str, content: bytes | None = None) -> tuple[nbformat.NotebookNode, list[str]]:
    """A notebook in format 4.5, repaired where it can be, with a note for each repair; Unreadable otherwise."""
    content = Path(path).read_bytes() if content is None else content
    text, notes = _decode(str(path), content)
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{path}: not a notebook, since it is not JSON ({error}); save it again from Jupyter or Colab") from None
    if not isinstance(raw, dict) or not ("cells" in raw or "worksheets" in raw):
        raise Unreadable(f"{path}: JSON, but not a notebook (it has no cells); hand in the .ipynb file itself")
    raw = _upgraded(str(path), raw, notes)
    raw["cells"] = _repaired_cells(str(path), raw.get("cells"), notes)
    metadata = raw.get("metadata") if isinstance(raw.get("metadata"), dict) else {}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    if not isinstance(metadata.get("kernelspec"), dict):
        metadata["kernelspec"] = kernel
    notebook = {"cells": raw["cells"], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return nbformat.from_dict(notebook), notes


def _decode(shown: str, content: bytes) -> tuple[str, list[str]]:
    if not content.strip():
        raise Unreadable(f"{shown}: the file is empty; hand it in again")
    if len(content) > FILE_LIMIT:
        raise Unreadable(f"{shown}: {len(content) / 2**20:.0f} MB is too large; clear its outputs and hand it in again")
    for encoding in ("utf-8-sig", "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"):
        try:
            text = content.decode(encoding)
            return text, [] if encoding == "utf-8-sig" else [f"{shown}: read as {encoding}"]
        except UnicodeDecodeError:
            continue
    return content.decode("utf-8", "replace"), [f"{shown}: not UTF-8; characters that cannot be read were replaced"]


def _upgraded(shown: str, raw: dict, notes: list[str]) -> dict:
    """Format 3 as format 4."""
    if "worksheets" not in raw:
        return raw
    try:
        for sheet in raw["worksheets"]:
            for cell in sheet["cells"]:
                cell.setdefault("metadata", {})
                cell.setdefault("outputs", [])
        upgraded = nbformat.convert(nbformat.from_dict({"metadata": {}, "nbformat_minor": 0, **raw, "nbformat": 3}), 4)
    except Exception as error:
        raise Unreadable(f"{shown}: a notebook of format 3 that cannot be converted ({error}); save it again") from None
    notes.append(f"{shown}: format 3, converted to 4")
    return json.loads(nbformat.writes(upgraded, version=nbformat.NO_CONVERT))


def _repaired_cells(shown: str, cells, notes: list[str]) -> list[dict]:
    """The cells with every field that the format asks for."""
    if not isinstance(cells, list):
        raise Unreadable(f"{shown}: its cells are no list; save it again from Jupyter or Colab")
    repaired, ids = [], set()
    for number, cell in enumerate(cells, start=1):
        if not isinstance(cell, dict):
            notes.append(f"{shown}: cell {number} is no cell and was passed over")
            continue
        kind = cell.get("cell_type") if cell.get("cell_type") in ("code", "markdown", "raw") else "code"
        source = cell.get("source", cell.get("input", ""))
        metadata = cell.get("metadata") if isinstance(cell.get("metadata"), dict) else {}
        id = str(cell.get("id", ""))
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", id) or id in ids:
            if id in ids:
                notes.append(f"{shown}: cell {number} has the id of another cell ({id}) and got a new one")
            id = f"cell-{number}-{len(ids)}"
        ids.add(id)
        fixed = {"cell_type": kind, "id": id, "metadata": metadata, "source": _text(source)}
        if kind == "code":
            fixed |= {"execution_count": _count(cell), "outputs": _outputs(shown, number, cell.get("outputs"), notes)}
        repaired.append(fixed)
    return repaired


def _text(source) -> str:
    if isinstance(source, list):
        return "".join(line for line in source if isinstance(line, str))
    return source if isinstance(source, str) else ""


def _count(cell: dict) -> int | None:
    count = cell.get("execution_count")
    return count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None


def _outputs(shown: str, number: int, outputs, notes: list[str]) -> list[dict]:
    """The outputs that are well-formed by the notebook format."""
    good = []
    for output in outputs if isinstance(outputs, list) else []:
        try:
            nbformat.validate(output, ref="output", version=4, version_minor=5)
            good.append(output)
        except Exception:  # jsonschema raises many kinds, and the output of a mangled file may be anything
            notes.append(f"{shown}: an output of cell {number} is malformed and was left out")
    return good
