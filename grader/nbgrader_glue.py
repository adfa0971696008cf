"""The judge inside nbgrader: read any hand-in, repair it, write the judge's marks instead of parsing outputs.

`nbgrader_config` writes the settings that put these classes in their places; `nbgrader autograde lab04` then works by
itself. All preprocessors derive from NbGraderPreprocessor: nbgrader silently leaves out any other in its lists.
"""

from __future__ import annotations

import atexit
import base64
import copy
import functools
import hashlib
import json
import os
import re
import shutil
import sys
from pathlib import Path, PurePosixPath

import nbformat
from bleach.css_sanitizer import CSSSanitizer
from bleach.sanitizer import ALLOWED_ATTRIBUTES, ALLOWED_TAGS, Cleaner
from nbconvert.exporters import NotebookExporter
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.preprocessors import NbGraderPreprocessor, SaveAutoGrades
from nbgrader.utils import compute_checksum, is_solution
from traitlets import Bool, Unicode

from . import report
from .reading import Unreadable, load_notebook
from .rubric import load_rubric, notebooks
from .submissions import File, Submission

KIT = Path(__file__).resolve().parent.parent
OUTPUT_LIMIT = 1_000_000  # bytes a cell; beyond it a browser stops opening the feedback
PICTURES = ("image/png", "image/jpeg", "image/gif")
CHECK = re.compile(r"""\bcheck\(\s*["'](\d+\.\d+)["']""")
TASK = re.compile(r"(?:TODO|implement for) Task (\d+\.\d+)")
NAME = re.compile(r"^(?:class|def)\s+(\w+)", re.MULTILINE)
MARKUP = re.compile(r"<\s*[A-Za-z/!]")


# ---- reading: one broken notebook never stops the batch ----


class LenientNotebookExporter(NotebookExporter):
    """nbgrader's notebook exporter, reading hand-ins through the kit's lenient reader.

    A file that cannot be read at all becomes the released notebook with a note on top, and stays ungraded.
    """

    def from_file(self, file_stream, resources=None, **keywords):
        """Read and convert an open notebook file."""
        path = Path(file_stream.name)
        if not getattr(self.parent, "_sanitizing", True):  # the second pass reads what the first one wrote
            return super().from_file(file_stream, resources=resources, **keywords)
        kept = {}
        try:
            nb, notes = load_notebook(path)
            said = nb.metadata.get("unetlab", {})  # course.py's stand-in for a hand-in without a notebook
            if "unreadable" in said:
                raise Unreadable(str(said["unreadable"]))
            kept.update({"stand_in": True} if "stand_in" in said else {})
            strip(nb)
        except Exception as error:  # whatever it is: this student's file must not end the others' grading
            reason = str(error) if isinstance(error, Unreadable) else f"{path.name} could not be read: {error}"
            reason = without_folder(reason, path.parent)
            nb, notes = self._placeholder(resources["nbgrader"], reason), [reason]
            kept["unreadable"] = reason
        nb.metadata = NotebookNode(unetlab={**kept, "notes": [without_folder(note, path.parent) for note in notes]})
        return self.from_notebook_node(nb, resources=resources, **keywords)

    def _placeholder(self, ids: dict, reason: str) -> NotebookNode:
        released = released_path(self.parent.coursedir, ids["assignment"], ids["notebook"])
        nb = nbformat.read(released, as_version=4) if released.exists() else nbformat.v4.new_notebook()
        text = f"**This hand-in could not be read.** {report.plain(reason)}\n\nBelow is the released notebook instead."
        nb.cells.insert(0, nbformat.v4.new_markdown_cell(text))
        return nb


def without_folder(note: str, folder: Path) -> str:
    """A note as a student may read it: with the file's name, without the place on the grading machine."""
    for place in (folder, KIT):
        note = note.replace(f"{place}{os.sep}", "").replace(str(place), place.name)
    return note


def released_path(coursedir, assignment: str, notebook: str) -> Path:
    """Where the course keeps the released notebook."""
    return Path(coursedir.format_path(coursedir.release_directory, ".", assignment), f"{notebook}.ipynb")


def strip(nb: NotebookNode) -> None:
    """Take away what a hand-in says about itself, except the cells' nbgrader metadata, which `repair` replaces."""
    for cell in nb.cells:
        marks = cell.metadata.get("nbgrader")
        cell.metadata = NotebookNode(nbgrader=marks if isinstance(marks, dict) else {})
        if "attachments" in cell:
            cell.attachments = _pictures(cell.attachments)


def _pictures(attachments: object) -> NotebookNode:
    """Keep what is a picture of a markdown cell's attachments: nbconvert puts them into the page as they are."""
    if not isinstance(attachments, dict):
        return NotebookNode()
    kinds = {
        name: {k: v for k, v in files.items() if _is_picture(k, v)}
        for name, files in attachments.items()
        if isinstance(files, dict)
    }
    return NotebookNode({name: files for name, files in kinds.items() if files})


def _is_picture(kind: str, data: object) -> bool:
    return kind in PICTURES and isinstance(data, str) and re.fullmatch(r"[A-Za-z0-9+/=\s]+", data) is not None


# ---- repairing: each graded cell gets its nbgrader metadata back ----


class RepairSubmission(NbGraderPreprocessor):
    """Match the student's cells with the released ones and restore what nbgrader needs; notes say what was done."""

    def preprocess(self, nb, resources):
        """Repair a notebook in place."""
        ids = resources["nbgrader"]
        released = released_path(self.parent.parent.coursedir, ids["assignment"], ids["notebook"])
        with Gradebook(ids["db_url"]) as gradebook:
            wanted = graded_cells(gradebook, ids["notebook"], ids["assignment"], released)
        notes = repair(nb, wanted)
        if "stand_in" in nb.metadata.unetlab:  # a hand-in of modules: none of the notebook's cells were ever there
            notes = []
        nb.metadata.unetlab["notes"] = [*nb.metadata.unetlab.get("notes", []), *notes]
        for note in notes:
            self.log.warning("%s: %s", ids["student"], note)
        return nb, resources


def graded_cells(gradebook: Gradebook, notebook: str, assignment: str, released: Path) -> list[NotebookNode]:
    """Return the graded cells as the gradebook knows them, in the released notebook's order."""
    known = gradebook.find_notebook(notebook, assignment)
    points = {cell.name: cell.max_score for cell in [*known.grade_cells, *known.task_cells]}
    solutions, tasks = ({cell.name for cell in cells} for cells in (known.solution_cells, known.task_cells))
    cells = []
    for row in known.source_cells:
        make = nbformat.v4.new_code_cell if row.cell_type == "code" else nbformat.v4.new_markdown_cell
        marks = {"schema_version": 3, "grade_id": row.name, "cell_type": row.cell_type, "checksum": row.checksum}
        marks.update(grade=row.name in points and row.name not in tasks, solution=row.name in solutions)
        marks.update(locked=bool(row.locked), task=row.name in tasks)
        if row.name in points:
            marks["points"] = points[row.name]
        cells.append(make(row.source or "", metadata={"nbgrader": marks}))
    order = []
    if released.exists():
        order = [_grade_id(cell) for cell in nbformat.read(released, as_version=4).cells]
    place = {name: index for index, name in enumerate(order)}
    return sorted(cells, key=lambda cell: (place.get(_grade_id(cell), len(place)), _grade_id(cell)))


def repair(nb: NotebookNode, wanted: list[NotebookNode]) -> list[str]:
    """Give `nb` every wanted cell once, with its metadata, and return a note for each thing that was amiss."""
    notes = drop_big_outputs(nb)
    found, lost = match(nb.cells, wanted)
    claims = [_grade_id(cell) for cell in nb.cells]
    for cell in wanted:
        name = _grade_id(cell)
        if claims.count(name) > 1:
            notes.append(
                f"The cell {name} was there {claims.count(name)} times: the last finished one is judged."
            )
        theirs = nb.cells[found[name]].metadata.nbgrader if name in found else {}
        if "points" in theirs and theirs["points"] != cell.metadata.nbgrader.get("points"):
            notes.append(f"The points of {name} had been changed: set back.")
    if lost:
        notes.append(f"nbgrader's metadata was lost on {', '.join(lost)} (Colab and VS Code do that): restored.")
    for cell in nb.cells:
        cell.metadata.pop("nbgrader", None)
    _put_in_place(nb, wanted, {name: nb.cells[index] for name, index in found.items()}, notes)
    return notes


def _put_in_place(nb: NotebookNode, wanted: list[NotebookNode], found: dict, notes: list[str]) -> None:
    """Restore the matched cells and insert the missing ones, each behind the wanted cell before it."""
    before = None
    for original in wanted:
        name = _grade_id(original)
        cell = found.get(name)
        if cell is None:
            cell = copy.deepcopy(original)
            nb.cells.insert(_behind(nb, before, wanted, found, name), cell)
            notes.append(f"The cell {name} was missing: put back as it was handed out.")
        elif original.metadata.nbgrader.locked and cell.source.strip() != original.source.strip():
            kept = copy.deepcopy(cell)
            kept.id = nbformat.v4.new_code_cell().id
            nb.cells.insert(_index(nb, cell), kept)
            notes.append(
                f"The cell {name} had been altered: set back, the altered text stands above it as a plain cell."
            )
        _restore(cell, original)
        before = cell
        found[name] = cell


def _behind(nb: NotebookNode, before: NotebookNode | None, wanted: list, found: dict, name: str) -> int:
    if before is not None:
        return _index(nb, before) + 1
    later = [
        _index(nb, found[_grade_id(cell)]) for cell in wanted if _grade_id(cell) in found and _grade_id(cell) != name
    ]
    return min(later, default=len(nb.cells))


def _index(nb: NotebookNode, cell: NotebookNode) -> int:
    return next(index for index, other in enumerate(nb.cells) if other is cell)  # equal cells may occur twice


def _restore(cell: NotebookNode, original: NotebookNode) -> None:
    if cell.cell_type != original.cell_type:
        cell.cell_type = original.cell_type
        for field, value in (("outputs", []), ("execution_count", None)):
            cell.pop(field, None)
            if original.cell_type == "code":
                cell[field] = value
    if original.metadata.nbgrader.locked:
        cell.source = original.source
    cell.metadata["nbgrader"] = copy.deepcopy(original.metadata.nbgrader)


def match(cells: list[NotebookNode], wanted: list[NotebookNode]) -> tuple[dict[str, int], list[str]]:
    """Find each wanted cell: by nbgrader id, then by the task marker in the source, then by the names it defines.

    Returns the index for each id that was found, and the ids that were found without nbgrader's own.
    """
    found: dict[str, int] = {}
    lost = []
    for likeness in (_same_id, _same_marker, _same_names):
        for original in wanted:
            name = _grade_id(original)
            if name in found:
                continue
            fits = [i for i, cell in enumerate(cells) if i not in found.values() and likeness(cell, original)]
            if fits:
                # Of two copies the later one defines what counts; a copy that lost the definition is no copy.
                found[name] = max(fits, key=lambda i: (_same_names(cells[i], original), i))
                lost += [name] * (likeness is not _same_id)
    return found, [_grade_id(cell) for cell in wanted if _grade_id(cell) in lost]


def _grade_id(cell: NotebookNode) -> str:
    marks = cell.metadata.get("nbgrader")
    name = marks.get("grade_id", "") if isinstance(marks, dict) else ""
    return name if isinstance(name, str) else ""


def _same_id(cell: NotebookNode, original: NotebookNode) -> bool:
    if _grade_id(cell) != _grade_id(original):
        return False
    # An id moved onto a cell of another kind would have that cell's text overwritten.
    return not (original.metadata.nbgrader.locked and NAME.search(cell.source) and not CHECK.search(cell.source))


def _same_marker(cell: NotebookNode, original: NotebookNode) -> bool:
    if cell.cell_type != "code":
        return False
    pattern = CHECK if original.metadata.nbgrader.locked else TASK
    return bool(set(pattern.findall(original.source)) & set(pattern.findall(cell.source)))


def _same_names(cell: NotebookNode, original: NotebookNode) -> bool:
    if cell.cell_type != "code" or original.metadata.nbgrader.locked:
        return False
    return bool(set(NAME.findall(original.source)) & set(NAME.findall(cell.source)))


def drop_big_outputs(nb: NotebookNode) -> list[str]:
    """Replace the outputs of cells that have more than a megabyte of them; return a note for each."""
    notes = []
    for number, cell in enumerate(nb.cells, start=1):
        if cell.cell_type == "code" and (size := len(json.dumps(cell.outputs))) > OUTPUT_LIMIT:
            note = f"Cell {number} had {size / 1e6:.1f} MB of outputs: left out here, the hand-in still has them."
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=note + "\n")]
            notes.append(note)
    return notes


# ---- defusing: formgrader and feedback show student HTML with the reader's own rights ----


class DefuseHtml(NbGraderPreprocessor):
    """Take scripts out of what the student wrote and printed; pictures, tables and text stay to be seen.

    nbgrader shows outputs and markdown unescaped, so a script in them would run in the instructor's formgrader.
    """

    tags = ALLOWED_TAGS | frozenset(
        ["div", "span", "p", "br", "hr", "pre", "img", "table", "thead", "tbody", "tfoot", "tr", "th", "td", "caption"]
        + ["h1", "h2", "h3", "h4", "h5", "h6", "sub", "sup", "s", "u", "details", "summary", "center"]
    )
    attributes = {
        **ALLOWED_ATTRIBUTES,
        "*": ["align", "colspan", "rowspan", "style", "title", "alt", "width", "height"],
        "a": lambda tag, name, value: (
            name == "title" or name == "href" and value.startswith(("http://", "https://", "#"))
        ),
        # No pictures from elsewhere: they would tell their server who reads the feedback.
        "img": lambda tag, name, value: (
            name in ("alt", "width", "height") or name == "src" and value.startswith("data:image/")
        ),
    }

    def preprocess(self, nb, resources):
        """Defuse a notebook in place; what equals the released text is left alone."""
        ids = resources["nbgrader"]
        released = released_path(self.parent.parent.coursedir, ids["assignment"], ids["notebook"])
        ours = {cell.source for cell in nbformat.read(released, as_version=4).cells} if released.exists() else set()
        self.cleaner = Cleaner(
            tags=self.tags,
            attributes=self.attributes,
            protocols={"http", "https", "data"},
            strip=True,
            css_sanitizer=CSSSanitizer(),
        )
        for cell in nb.cells:
            if cell.cell_type == "code":
                cell.outputs = [self._output(output) for output in cell.outputs]
            elif cell.source not in ours and MARKUP.search(cell.source):
                cell.source = self.cleaner.clean(cell.source)
        return nb, resources

    def _output(self, output: NotebookNode) -> NotebookNode:
        if "data" not in output:
            return output  # streams and errors: nbconvert escapes them
        data = {kind: _text(value) for kind, value in output.data.items() if not kind.endswith("json")}
        kept = {kind: data[kind] for kind in ("text/plain", "text/latex") if kind in data}
        kept.update((kind, value) for kind, value in data.items() if _is_picture(kind, value))
        if "image/svg+xml" in data and not set(kept) & set(PICTURES):
            # A picture element shows an SVG and runs no script inside it.
            kept["text/html"] = (
                f'<img src="data:image/svg+xml;base64,{base64.b64encode(data["image/svg+xml"].encode()).decode()}">'
            )
        elif "text/html" in data:
            kept["text/html"] = self.cleaner.clean(data["text/html"])
        left_out = {"text/plain": f"(left out here: an output of the kind {', '.join(output.data)})"}
        output.data, output.metadata = NotebookNode(kept or left_out), NotebookNode()
        return output


def _text(value: object) -> str:
    return value if isinstance(value, str) else "".join(map(str, value)) if isinstance(value, list) else ""


# ---- the journal: what the judge said, once for each state of a hand-in ----


class Journal:
    """The judge's results as an append-only file of JSON lines; a torn last line is passed over."""

    def __init__(self, path: Path):
        self.path = Path(path)

    def get(self, key: str) -> dict | None:
        """Return the last result for a key, or None."""
        if not self.path.exists():
            return None
        stat = self.path.stat()
        return copy.deepcopy(_journal_lines(str(self.path), stat.st_mtime_ns, stat.st_size).get(key))

    def append(self, key: str, result: dict) -> None:
        """Write one result and have it on the disk before returning."""
        line = json.dumps({"key": key, "result": result}) + "\n"
        with open(self.path, "a+b") as file:
            file.seek(0, os.SEEK_END)
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # the process died while it wrote
                    line = "\n" + line
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())


@functools.lru_cache(maxsize=4)
def _journal_lines(path: str, modified: int, size: int) -> dict[str, dict]:
    found = {}
    for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
            found[entry["key"]] = entry["result"]
        except (ValueError, KeyError, TypeError):
            continue
    return found


def submission_key(folder: Path, assignment: str) -> str:
    """Digest of the hand-in's files, the assignment and everything that marks it."""
    digest = hashlib.sha256(f"{assignment}\0{_kit_digest()}".encode())
    for path in sorted(p for p in Path(folder).rglob("*") if p.is_file() and p.name != "timestamp.txt"):
        digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode("utf-8", "surrogateescape"))
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    return digest.hexdigest()


@functools.lru_cache(maxsize=1)
def _kit_digest() -> str:
    # A corrected check or a changed rubric must be judged anew; reports and glue do not matter.
    digest = hashlib.sha256()
    files = [*(KIT / "grader").rglob("*.py"), KIT / "grader" / "rubric.toml", *(KIT / "solutions").rglob("*.py")]
    shown = {"report.py", "nbgrader_glue.py", "course.py", "demo.py", "cli.py", "build.py", "release.py", "wrong.py"}
    for path in sorted(path for path in files if path.exists() and path.name not in shown):
        digest.update(path.read_bytes())
    return digest.hexdigest()


# ---- marking: the judge's marks into the gradebook ----


class JudgeGrades(SaveAutoGrades):
    """SaveAutoGrades whose marks and comments are the judge's; a student's printed output earns nothing."""

    insecure = Bool(False, help="Grade even where the sandbox is below its floor").tag(config=True)
    device = Unicode("cpu", help="Where student code runs: cpu or cuda").tag(config=True)
    retry = Bool(True, help="Judge again what the journal has as ungraded").tag(config=True)

    def preprocess(self, nb, resources):
        """Write one notebook's marks and comments, and the result cards into its check cells."""
        ids = resources["nbgrader"]
        self.coursedir = self.parent.parent.coursedir
        kept = nb.metadata.get("unetlab", {})
        self.notes = list(kept.get("notes", []))
        folder = Path(self.coursedir.format_path(self.coursedir.submitted_directory, ids["student"], ids["assignment"]))
        self.stand_in = "stand_in" in kept
        if "unreadable" in kept:
            self.result = ungraded(ids["student"], kept["unreadable"])
        else:
            self.result = self._judged(folder, ids)
        told = [without_folder(note, folder) for note in self.result["notes"]]
        self.notes += [note for note in told if note not in self.notes]
        self.notes_to_show = list(self.notes)
        nb, resources = super().preprocess(nb, resources)
        self._reopen_missing(ids)
        nb.metadata["unetlab"] = {**kept, "notes": self.notes, "status": self.result["status"]}
        return nb, resources

    def _judged(self, folder: Path, ids: dict) -> dict:
        journal = Journal(Path(self.coursedir.root, "judge.jsonl"))
        key = submission_key(folder, ids["assignment"])
        result = journal.get(key)
        if result is None or self.retry and result["status"] != "graded":
            result = judge_once(folder, ids["student"], self.insecure, self.device)
            journal.append(key, result)
        return result

    def _outcome(self, task: str) -> dict:
        empty = {"status": "ungraded", "score": None, "max_score": 0.0, "carried_forward": False, "checks": []}
        if task in load_rubric():
            empty["max_score"] = load_rubric()[task].points
        return self.result["tasks"].get(task, empty)

    def _add_score(self, cell, resources):
        tasks = CHECK.findall(cell.source)
        if is_solution(cell) or len(tasks) != 1:
            return super()._add_score(cell, resources)  # marked by hand, as nbgrader does it
        outcome = self._outcome(tasks[0])
        name = cell.metadata["nbgrader"]["grade_id"]
        grade = self.gradebook.find_grade(name, self.notebook_id, self.assignment_id, self.student_id)
        grade.auto_score = None
        if outcome["score"] is not None and outcome["max_score"]:
            grade.auto_score = grade.max_score * outcome["score"] / outcome["max_score"]
        grade.needs_manual_grade = grade.manual_score is not None or grade.auto_score is None
        self.gradebook.db.commit()
        card = {"text/html": report.card_html(tasks[0], outcome), "text/plain": report.comment_text(tasks[0], outcome)}
        cell.outputs = [nbformat.v4.new_output("display_data", data=card)]
        cell.execution_count = None

    def _add_comment(self, cell, resources):
        name = cell.metadata["nbgrader"]["grade_id"]
        source = self.gradebook.find_source_cell(name, self.notebook_id, self.assignment_id).source or ""
        tasks = sorted(set(TASK.findall(source)))
        if not tasks:
            return super()._add_comment(cell, resources)
        parts = [report.comment_text(task, self._outcome(task)) for task in tasks]
        if cell.metadata.nbgrader.get("checksum") == compute_checksum(cell) and not self.stand_in:
            parts.insert(0, "No response: the cell is as it was handed out.")
        if self.notes_to_show:
            shown = "\n".join(f"- `{report.plain(note)}`" for note in self.notes_to_show)
            parts.insert(0, f"Notes on this hand-in:\n\n{shown}")
            self.notes_to_show = []
        comment = self.gradebook.find_comment(name, self.notebook_id, self.assignment_id, self.student_id)
        comment.auto_comment = "\n\n".join(parts)
        self.gradebook.db.commit()

    def _reopen_missing(self, ids: dict) -> None:
        # nbgrader gives a notebook that was not handed in 0 points without a word; a person should decide that.
        folder = Path(self.coursedir.format_path(self.coursedir.submitted_directory, ids["student"], ids["assignment"]))
        with Gradebook(ids["db_url"]) as gradebook:
            for notebook in gradebook.find_submission(ids["assignment"], ids["student"]).notebooks:
                if (folder / f"{notebook.name}.ipynb").exists():
                    continue
                self.notes.append(f"{notebook.name}.ipynb was not handed in.")
                for grade in notebook.grades:
                    grade.auto_score, grade.needs_manual_grade = None, True
                for comment in notebook.comments:
                    comment.auto_comment = f"{notebook.name}.ipynb was not handed in."
            gradebook.db.commit()


def ungraded(student: str, reason: str, path: str = "") -> dict:
    """Return a result in which nothing is graded and the reason is said."""
    tasks = {
        task.id: {"status": "ungraded", "score": None, "max_score": task.points, "carried_forward": False, "checks": []}
        for task in load_rubric().values()
    }
    total = sum(task["max_score"] for task in tasks.values())
    result = {"path": path, "student": student, "status": "ungraded", "score": None, "max_score": total}
    return {**result, "notes": [reason], "seconds": 0.0, "tasks": tasks}


def judge_once(folder: Path, student: str, insecure: bool = False, device: str = "cpu") -> dict:
    """Judge one hand-in with this process's own judge; any fault of it gives an ungraded result with the reason."""
    try:
        judge = _judge(insecure, device)
        return judge.grade(submission_in(folder, student))
    except Exception as error:
        return ungraded(student, f"The judge failed, so nothing was graded: {error}", str(folder))


def submission_in(folder: Path, student: str) -> Submission:
    """Return a folder below `submitted/` as the judge takes it: the assignment's notebooks and all modules."""
    paths = [path for path in folder.glob("*.ipynb") if path.stem in notebooks()] + sorted(folder.rglob("*.py"))
    files = [File(path.relative_to(folder).as_posix(), PurePosixPath(path.relative_to(folder)), path.read_bytes) for path in paths]
    return Submission(folder, student, files)


@functools.lru_cache(maxsize=1)
def _judge(insecure: bool, device: str):
    from .judge import Judge  # starts no process before it is needed

    judge = Judge(insecure=insecure, device=device)
    started = judge.__enter__()
    atexit.register(judge.__exit__, None, None, None)
    return started


# ---- the settings ----


def find_alembic() -> None:
    """Put this Python's programs on the PATH: nbgrader calls `alembic`, and fails in a venv that is not activated."""
    if shutil.which("alembic") is None:
        os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


CONFIG = '''\
"""nbgrader's settings for this course. Written once by unetlab; yours to change."""
import os

from grader.build import GENERATE_PREPROCESSORS
from grader.nbgrader_glue import find_alembic

find_alembic()
c = get_config()
c.CourseDirectory.root = os.path.dirname(os.path.abspath(__file__))

# nbgrader's own steps, with a stub that names the task.
c.GenerateAssignment.preprocessors = [f"{step.__module__}.{step.__name__}" for step in GENERATE_PREPROCESSORS]

# No Execute: student code runs in the judge's sandbox only. No ClearOutput: what students plotted stays to be seen.
c.Autograde.exporter_class = "grader.nbgrader_glue.LenientNotebookExporter"
c.Autograde.sanitize_preprocessors = [
    "grader.nbgrader_glue.RepairSubmission",
    "nbgrader.preprocessors.OverwriteKernelspec",
    "nbgrader.preprocessors.OverwriteCells",
    "grader.nbgrader_glue.DefuseHtml",
    "nbgrader.preprocessors.CheckCellMetadata",
]
c.Autograde.autograde_preprocessors = [
    "grader.nbgrader_glue.JudgeGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
]

# c.JudgeGrades.insecure = True      # grade where the sandbox is below its floor
# c.CourseDirectory.course_id = ...  # needed for nbgrader's exchange only
'''


def nbgrader_config(course: Path) -> Path:
    """Write `nbgrader_config.py` into a course that has none, and return its path."""
    path = Path(course) / "nbgrader_config.py"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(CONFIG, encoding="utf-8")
    return path
