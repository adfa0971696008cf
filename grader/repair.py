"""Gives each graded cell of a hand-in its nbgrader metadata back, which Colab, VS Code and students take away."""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.preprocessors import NbGraderPreprocessor

from .handover import released_path

OUTPUT_LIMIT = 1_000_000  # bytes a cell; beyond it a browser stops opening the feedback
CHECK = re.compile(r"""\bcheck\(\s*["'](\d+\.\d+)["']""")
TASK = re.compile(r"(?:TODO|implement for) Task (\d+\.\d+)")
NAME = re.compile(r"^(?:class|def)\s+(\w+)", re.MULTILINE)


class RepairSubmission(NbGraderPreprocessor):
    """Match the student's cells with the released ones and restore what nbgrader needs; notes say what was done."""

    def preprocess(self, nb, resources):
        """Repair a notebook in place."""
        ids = resources["nbgrader"]
        released = released_path(self.parent.parent.coursedir, ids["assignment"], ids["notebook"])
        with Gradebook(ids["db_url"]) as gradebook:
            wanted = graded_cells(gradebook, ids["notebook"], ids["assignment"], released)
        notes = repair(nb, wanted)
        handed_out = nbformat.read(released, as_version=4).cells if released.exists() else wanted
        if "stand_in" in nb.metadata.unetlab:  # what is there is ours
            notes = []
        else:
            nb.metadata.unetlab["beside"] = answered_beside(nb, wanted, {flat(cell.source) for cell in [*handed_out, *wanted]})
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
    handed_out = nbformat.read(released, as_version=4).cells if released.exists() else []
    order = [_grade_id(cell) for cell in handed_out]
    prompts = {_grade_id(cell): flat(before.source) for before, cell in zip(handed_out, handed_out[1:])}
    for cell in cells:
        cell.metadata["prompt"] = prompts.get(_grade_id(cell), "")
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
        theirs = _marks(nb.cells[found[name]]) if name in found else {}
        if "points" in theirs and theirs["points"] != cell.metadata.nbgrader.get("points"):
            notes.append(f"The points of {name} had been changed: set back.")
    if lost:
        notes.append(f"nbgrader's metadata was lost on {', '.join(lost)} (Colab and VS Code do that): restored.")
    for cell in nb.cells:
        cell.metadata.pop("nbgrader", None)
    _put_in_place(nb, wanted, {name: nb.cells[index] for name, index in found.items()}, notes)
    return notes


def is_answer(original: NotebookNode) -> bool:
    """Whether a wanted cell is a written answer, which a person marks."""
    return original.cell_type == "markdown" and bool(original.metadata.nbgrader.solution)


def flat(source: str) -> str:
    """A text without the differences that editors make: line ends, indents, blank lines."""
    return " ".join(source.split())


def says_nothing_new(source: str, original: str) -> bool:
    """Whether an answer has no line beyond those that were handed out."""
    return {flat(line) for line in source.splitlines()} <= {flat(line) for line in original.splitlines()} | {""}


def answered_beside(nb: NotebookNode, wanted: list[NotebookNode], handed_out: set[str]) -> list[str]:
    """The written answers that were left as handed out while text was written in a cell next to them."""
    ids = {_grade_id(cell): cell for cell in nb.cells if _grade_id(cell)}
    found = []
    for original in filter(is_answer, wanted):
        cell = ids[_grade_id(original)]
        place = _index(nb, cell)
        around = [*_run_of_text(reversed(nb.cells[:place]), handed_out), *_run_of_text(nb.cells[place + 1 :], handed_out)]
        if cell.source == original.source and any(around):
            found.append(_grade_id(original))
    return found


def _run_of_text(cells: Iterable[NotebookNode], handed_out: set[str]) -> Iterator[str]:
    """The texts up to the first cell that is code, graded or as it was handed out."""
    for cell in cells:
        if cell.cell_type == "code" or _grade_id(cell) or flat(cell.source) in handed_out - {""}:
            return
        yield flat(cell.source)


def _put_in_place(nb: NotebookNode, wanted: list[NotebookNode], found: dict, notes: list[str]) -> None:
    """Restore the matched cells and insert the missing ones, each behind the wanted cell before it."""
    before = None
    for original in wanted:
        name = _grade_id(original)
        cell = found.get(name)
        if cell is None:
            cell = copy.deepcopy(original)
            place = _below_prompt(nb.cells, original) if is_answer(original) else None
            nb.cells.insert(_behind(nb, before, wanted, found, name) if place is None else place, cell)
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
    if original.metadata.nbgrader.locked or is_answer(original) and says_nothing_new(cell.source, original.source):
        cell.source = original.source  # nbgrader knows an untouched answer by its checksum
    cell.metadata["nbgrader"] = copy.deepcopy(original.metadata.nbgrader)


def match(cells: list[NotebookNode], wanted: list[NotebookNode]) -> tuple[dict[str, int], list[str]]:
    """Find each wanted cell: by nbgrader id, by the cell's own id, by the task marker in the source, by the names it defines.

    A written answer has no marker; it is known by the first line that was handed out with it, if no other answer has it,
    or by the text above it.
    Returns the index for each id that was found, and the ids that were found without nbgrader's own.
    """
    found: dict[str, int] = {}
    lost = []
    first_lines = Counter(_first_line(cell) for cell in wanted if is_answer(cell))

    def same_first_line(cell: NotebookNode, original: NotebookNode) -> bool:
        if cell.cell_type == "code" or not is_answer(original) or first_lines[_first_line(original)] > 1:
            return False
        return _first_line(original) in {flat(line) for line in cell.source.splitlines()}

    for likeness in (_same_id, _same_cell_id, _same_marker, _same_names, same_first_line):
        for original in wanted:
            name = _grade_id(original)
            if name in found:
                continue
            fits = [i for i, cell in enumerate(cells) if i not in found.values() and likeness(cell, original)]
            if fits:
                # Of two copies the later one defines what counts; a copy that lost the definition, or the answer, is none.
                found[name] = max(fits, key=lambda i: (_has_work(cells[i], original), i))
                lost += [name] * (likeness is not _same_id)
    for original in filter(is_answer, wanted):
        name, place = _grade_id(original), _below_prompt(cells, original)
        if name not in found and place is not None and _may_be_answer(cells, place, found, wanted):
            found[name] = place
            lost.append(name)
    return found, [_grade_id(cell) for cell in wanted if _grade_id(cell) in lost]


def _below_prompt(cells: list[NotebookNode], original: NotebookNode) -> int | None:
    """The place below the text that stands above an answer in the notebook as it was handed out."""
    prompt = original.metadata.get("prompt")
    return next((i + 1 for i, cell in enumerate(cells) if prompt and flat(cell.source) == prompt), None)


def _may_be_answer(cells: list[NotebookNode], place: int, found: dict[str, int], wanted: list[NotebookNode]) -> bool:
    prompts = {cell.metadata.get("prompt") for cell in wanted}
    free = place < len(cells) and place not in found.values()
    return free and cells[place].cell_type != "code" and flat(cells[place].source) not in prompts


def _marks(cell: NotebookNode) -> dict:
    """nbgrader's metadata of a cell, which may be anything in a hand-in."""
    marks = cell.metadata.get("nbgrader")
    return marks if isinstance(marks, dict) else {}


def _grade_id(cell: NotebookNode) -> str:
    name = _marks(cell).get("grade_id", "")
    return name if isinstance(name, str) else ""


def _same_id(cell: NotebookNode, original: NotebookNode) -> bool:
    if _grade_id(cell) != _grade_id(original):
        return False
    # An id moved onto a cell of another kind would have that cell's text overwritten.
    return not (original.metadata.nbgrader.locked and NAME.search(cell.source) and not CHECK.search(cell.source))


def _same_cell_id(cell: NotebookNode, original: NotebookNode) -> bool:
    # build.py names cells after their nbgrader id, and editors that drop metadata may keep the name.
    return cell.get("id") == _grade_id(original).replace("_", "-") and not _grade_id(cell)


def _first_line(cell: NotebookNode) -> str:
    return next(filter(None, map(flat, cell.source.splitlines())), "")


def _has_work(cell: NotebookNode, original: NotebookNode) -> bool:
    if is_answer(original):
        return not says_nothing_new(cell.source, original.source)
    return _same_names(cell, original)


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
