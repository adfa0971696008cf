"""Reads notebooks and modules as students' machines leave them: decoded, upgraded, repaired, with a note for each repair.

Whatever cannot be mended is said in `Unreadable`; nothing here runs any of it.
"""

from __future__ import annotations

import io
import json
import re
import tokenize
from pathlib import Path

import nbformat

from .rubric import load_rubric
from .text import visible

FILE_LIMIT = 256 * 2**20  # bytes, of one file
PIECE_LIMIT = 10_000_000  # values in a notebook's JSON: each costs up to 100 bytes of memory, however short it is
NEST_LIMIT = 100  # levels of its JSON: what copies and prints a notebook later calls itself for each
CELL_LIMIT = 5_000
SAVE_AGAIN = "save it again from Jupyter or Colab"


class Unreadable(Exception):
    """A file that cannot be read as what it claims to be; the text names the file, the cause and the mend."""


def too_large(shown: Path | str, size: int) -> Unreadable:
    """The refusal of a file of this size."""
    return Unreadable(f"{visible(shown)}: {size / 2**20:.0f} MB is too large; clear its outputs and hand it in again")


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


def decoded(shown: str, content: bytes, is_code: bool = False) -> tuple[str, list[str]]:
    """A file's text, and a note where it is not UTF-8; Unreadable when it is empty or too large."""
    if not content.strip(b"\0 \t\r\n\xef\xbb\xbf\xff\xfe"):
        raise Unreadable(f"{shown}: the file is empty; hand it in again")
    if len(content) > FILE_LIMIT:
        raise too_large(shown, len(content))
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


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Unreadable(f"{visible(path)}: cannot be read ({error.strerror}); check the file and hand it in again") from None


def load_notebook(path: Path | str, content: bytes | None = None) -> tuple[nbformat.NotebookNode, list[str]]:
    """A notebook in format 4.5, repaired where it can be, with a note for each repair; Unreadable otherwise."""
    content = _bytes_of(Path(path)) if content is None else content
    text, notes = decoded(str(path), content)
    _refuse_too_many_pieces(str(path), text)
    try:
        raw = json.loads(text)
        if re.search(r"\\u[dD][89abAB]", text):  # half of a surrogate pair could not be written again
            raw = json.loads(json.dumps(raw, ensure_ascii=False).encode("utf-8", "replace"))
    except RecursionError:
        raise _nested(path) from None
    except ValueError as error:
        raise Unreadable(f"{path}: not a notebook, since it is not JSON ({error}); {SAVE_AGAIN}") from None
    if not isinstance(raw, dict) or not ("cells" in raw or "worksheets" in raw):
        raise Unreadable(f"{path}: JSON, but not a notebook (it has no cells); hand in the .ipynb file itself")
    if _is_deep(raw):
        raise _nested(path)
    cells = _repaired_cells(str(path), _cells_of(str(path), raw, notes), notes)
    given = raw.get("metadata") if isinstance(raw.get("metadata"), dict) else {}
    # What the format constrains is set afresh: a student's kernel or language is of no use to the grader.
    metadata = {name: value for name, value in given.items() if name not in NOTEBOOK_METADATA}
    metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return nbformat.from_dict(notebook), notes


def _refuse_too_many_pieces(shown: str, text: str) -> None:
    """Unreadable where JSON of a few bytes a piece would fill the grader's memory."""
    if sum(map(text.count, "[{,")) > PIECE_LIMIT:  # those in what was printed as well: it is linear, and rarely so many
        raise Unreadable(f"{shown}: more than {PIECE_LIMIT:,} values in it; clear its outputs and {SAVE_AGAIN}")


def _is_deep(value) -> bool:
    level = [value]
    for _ in range(NEST_LIMIT):
        inner = [i for v in level for i in (v.values() if isinstance(v, dict) else v) if isinstance(i, (dict, list))]
        if not inner:
            return False
        level = inner
    return True


def _nested(path: Path | str) -> Unreadable:
    return Unreadable(f"{path}: nested too deeply; clear its outputs and {SAVE_AGAIN}")


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
    if len(cells) > CELL_LIMIT:
        raise Unreadable(f"{shown}: {len(cells):,} cells, of which {CELL_LIMIT:,} are taken; delete the empty ones and {SAVE_AGAIN}")
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
