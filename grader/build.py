"""One source, three renderings: the student's notebooks, the starter module, the instructor's notebooks.

`solutions/lab_01_unet.py` is a notebook in jupytext's percent format whose cells carry their part in the lab:
`task="1.1"` (or `"1.3, 1.4"`), `check="1.1"`, `export="true"` (also goes into the starter module), and, on a
markdown cell, `manual="report"` (an answer that a person marks, by its name in the rubric).
nbgrader's own preprocessors strip the solutions, so `nbgrader generate_assignment` on the instructor's
notebooks gives the bytes in `labs/`, when the course's `nbgrader_config.py` says

    from grader.build import GENERATE_PREPROCESSORS
    c.GenerateAssignment.preprocessors = GENERATE_PREPROCESSORS

This module is for instructors: it needs the extra `[grade]` and the folder `solutions/`.
"""

import ast
import hashlib
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

import jupytext
import nbformat
from nbconvert.exporters import NotebookExporter
from nbgrader.preprocessors import (
    CheckCellMetadata,
    ClearHiddenTests,
    ClearMarkScheme,
    ClearOutput,
    ClearSolutions,
    ComputeChecksums,
    IncludeHeaderFooter,
    InstantiateTests,
    LockCells,
    SaveCells,
)
from traitlets import Dict
from traitlets.config import Config

from grader.parsing import parse
from grader.rubric import assignment, load_manual, load_rubric

ROOT = Path(__file__).resolve().parent.parent
ASSIGNMENT = assignment()
STARTER = f"starter/{ASSIGNMENT}_student.py"
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
TODO = re.compile(r"#\s*TODO Task (\d+\.\d+)\b")
HEADING = re.compile(r"^## Task (\d+\.\d+)\b", re.MULTILINE)
PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
NO_NAME_YET = 'raise NotImplementedError("<task>")'


class BuildError(Exception):
    """A fault in a lab's source: which file and line, what is wrong, how to mend it."""

    def __init__(self, file, line, cause, mend):
        super().__init__(f"{file}:{line}: {cause} To mend it: {mend}")
        self.file, self.line, self.cause, self.mend = file, line, cause, mend


@dataclass
class Cell:
    """One cell of a lab's source, with the line of its first line of text."""

    kind: str
    source: str
    line: int
    tasks: list = field(default_factory=list)
    check: str = ""
    export: bool = False
    manual: str = ""


@dataclass
class Lab:
    """One lab: `solutions/lab_01_unet.py` has the name `01_unet`, as in the rubric's `notebook`."""

    path: str
    name: str
    cells: list


# ---- nbgrader's stripping, with the task's name in the stub ----


class ClearTaskSolutions(ClearSolutions):
    """nbgrader's ClearSolutions whose stub says what is missing: "Need to implement for Task 1.1: DoubleConv.forward".

    The task comes from the nearest `# TODO Task 1.1:` comment above the region, in the same cell.
    """

    code_stub = Dict({"python": f"# YOUR CODE HERE\n{NO_NAME_YET}"}).tag(config=True)

    def _replace_solution_region(self, cell, language):
        messages = stub_messages(cell.source) if cell.cell_type == "code" else []
        replaced = super()._replace_solution_region(cell, language)
        for message in messages:
            cell.source = cell.source.replace(NO_NAME_YET, f'raise NotImplementedError("{message}")', 1)
        return replaced


GENERATE_PREPROCESSORS = [
    IncludeHeaderFooter,
    InstantiateTests,
    LockCells,
    ClearTaskSolutions,
    ClearOutput,
    CheckCellMetadata,
    ComputeChecksums,
    SaveCells,
    ClearHiddenTests,
    ClearMarkScheme,
    ComputeChecksums,
    CheckCellMetadata,
]
# Those of the list that work without a course folder and a gradebook.
STRIP_PREPROCESSORS = [p for p in GENERATE_PREPROCESSORS if p not in (IncludeHeaderFooter, InstantiateTests, SaveCells)]


def stub_messages(source):
    """Return the stub's error text for each solution region of a cell, in order."""
    messages = []
    for first, _, task in regions(source):
        name = enclosing_name(source, first)
        messages.append("Need to implement" + (f" for Task {task}" if task else "") + (f": {name}" if name else ""))
    return messages


def regions(source):
    """Return (first line, last line, task id or "") of each marked region; lines count from 1 within the cell.

    Raises ValueError with the line (in the cell) and the cause for marks that do not pair.
    """
    found, begin, task = [], None, ""
    lines = source.splitlines()
    for number, line in enumerate(lines, start=1):
        todo = TODO.search(line)
        if todo:
            task = todo[1]
        if BEGIN in line:
            if begin:
                raise ValueError(number, f"`{BEGIN}` inside a region that began on line {begin} of the cell.")
            begin = number
        elif END in line:
            if not begin:
                raise ValueError(number, f"`{END}` without `{BEGIN}` above it.")
            found.append((begin, number, task))
            begin = None
    if begin:
        raise ValueError(begin, f"`{BEGIN}` without `{END}` in its cell.")
    return found


def enclosing_name(source, line):
    """Return the dotted name of the innermost class or function around a line ("" at top level or if unparsable)."""
    try:
        nodes = parse(source).body
    except SyntaxError:
        return ""
    names = []
    while nodes:
        kinds = (ast.ClassDef, ast.FunctionDef)
        around = [node for node in nodes if isinstance(node, kinds) and node.lineno <= line <= node.end_lineno]
        names += [node.name for node in around]
        nodes = around[0].body if around else []
    return ".".join(names)


# ---- reading and checking a source ----


def read_labs(root=ROOT):
    """Read every `solutions/lab_*.py`, in order."""
    paths = sorted((Path(root) / "solutions").glob("lab_*.py"))
    if not paths:
        mend = "run this in the instructor's repository; a student's copy has no solutions/."
        raise BuildError("solutions", 0, "no lab_*.py here.", mend)
    return [read_lab(path, root) for path in paths]


def read_lab(path, root=ROOT):
    """Read one source and its cells' line numbers; the cells' contents are not judged here."""
    text = Path(path).read_text(encoding="utf-8")
    shown = Path(path).relative_to(root).as_posix()
    notebook = jupytext.reads(text, fmt="py:percent")
    lines = [number + 1 for number, line in enumerate(text.splitlines(), start=1) if line.startswith("# %%")]
    if len(lines) != len(notebook.cells):
        cause = f"{len(notebook.cells)} cells but {len(lines)} lines that start with `# %%`."
        raise BuildError(shown, 1, cause, "start the file with `# %% [markdown]` and every cell with `# %%`.")
    cells = [as_cell(cell, line) for cell, line in zip(notebook.cells, lines)]
    return Lab(path=shown, name=Path(path).stem.removeprefix("lab_"), cells=cells)


def as_cell(cell, line):
    """Turn a jupytext cell into ours."""
    marks = cell.metadata
    return Cell(
        kind=cell.cell_type,
        source=cell.source,
        line=line,
        tasks=[task.strip() for task in marks.get("task", "").split(",") if task.strip()],
        check=marks.get("check", ""),
        export=marks.get("export") == "true",
        manual=marks.get("manual", ""),
    )


def verify(lab, rubric):
    """Raise BuildError at the first mark, id or cell of a lab that does not fit the others."""
    for cell in lab.cells:
        verify_marks(lab, cell)
        verify_ids(lab, cell, rubric)
        if cell.check:
            verify_check(lab, cell)
    verify_agreement(lab, rubric)


def verify_marks(lab, cell):
    """Marks pair, stand in task cells only, and every task cell has some."""
    try:
        found = regions(cell.source)
    except ValueError as error:
        number, cause = error.args
        mend = f"give every `{BEGIN}` one `{END}` below it, in the same cell."
        raise BuildError(lab.path, cell.line + number - 1, cause, mend) from None
    if found and not cell.tasks and not cell.manual:
        cause = "a solution region in a cell that is no task cell: students would be given the solution."
        mend = 'write `# %% task="1.1"` (its task) above the cell.'
        raise BuildError(lab.path, cell.line + found[0][0] - 1, cause, mend)
    if (cell.tasks or cell.manual) and not found:
        cause = f"the cell of task {cell.manual or ', '.join(cell.tasks)} has no solution region: students would get it as it is."
        raise BuildError(lab.path, cell.line, cause, f"put `{BEGIN}` and `{END}` around what students write.")


def verify_ids(lab, cell, rubric):
    """Every id of a cell is in the rubric; each region's TODO names a task of its cell, and each task has a region."""
    for task in ids_of(cell):
        if task not in rubric:
            mend = f"correct the id, or add task {task} to grader/rubric.toml."
            raise BuildError(lab.path, cell.line, f"task {task} is not in the rubric.", mend)
    if cell.manual and (cell.manual not in load_manual() or cell.kind != "markdown"):
        mend = "name an item of [manual] in grader/rubric.toml, on a markdown cell."
        raise BuildError(lab.path, cell.line, f"manual={cell.manual!r} is no item that a person marks.", mend)
    named = set()
    for first, _, task in regions(cell.source) if not cell.manual else []:
        if task not in cell.tasks:
            belongs = f"the TODO above it says Task {task}" if task else "no `# TODO Task …:` stands above it"
            cause = f"a solution region in the cell of task {', '.join(cell.tasks)}, but {belongs}."
            raise BuildError(lab.path, cell.line + first - 1, cause, "make the TODO's id one of the cell's.")
        named.add(task)
    for task in cell.tasks:
        if task not in named:
            mend = f"write `# TODO Task {task}: …` above one of its regions, or drop the id from the cell's mark."
            raise BuildError(lab.path, cell.line, f"the cell says task {task}, but no TODO in it does.", mend)


def ids_of(cell):
    """Return every task id that a cell claims: as a task cell, as a check cell, or in its headings."""
    headings = HEADING.findall(cell.source) if cell.kind == "markdown" else []
    return [*cell.tasks, *headings, *([cell.check] if cell.check else [])]


def verify_check(lab, cell):
    """The check cell of task 1.1 ends with `check("1.1")`."""
    lines = cell.source.strip().splitlines() or [""]
    if lines[-1] != f'check("{cell.check}")':
        cause = f"the check cell of task {cell.check} ends with `{lines[-1]}`."
        line = cell.line + max(len(lines) - 1, 0)
        mend = f'end it with `check("{cell.check}")`: the report is the cell\'s value.'
        raise BuildError(lab.path, line, cause, mend)


def verify_agreement(lab, rubric):
    """Headings, task cells, check cells and the rubric name the same tasks of this lab, each once."""
    places = {"headings `## Task …`": [], "task cells": [], "check cells": []}
    for cell in lab.cells:
        if cell.kind == "markdown":
            places["headings `## Task …`"] += HEADING.findall(cell.source)
        places["task cells"] += cell.tasks
        if cell.check:
            places["check cells"].append(cell.check)
    wanted = sorted(task for task, entry in rubric.items() if entry.notebook == lab.name)
    without_cell = {task for task, entry in rubric.items() if entry.experiment}
    for place, ids in places.items():
        wanted_here = [task for task in wanted if place != "task cells" or task not in without_cell]
        if sorted(ids) != wanted_here:
            named, graded = ", ".join(ids) or "no task", ", ".join(wanted_here) or "none"
            cause = f"{place} name {named}; the rubric has {graded} for the notebook {lab.name}."
            raise BuildError(lab.path, 1, cause, "give each task one heading, one task cell and one check cell.")
    items = sorted(item.id for item in load_manual().values() if item.notebook == lab.name)
    if sorted(cell.manual for cell in lab.cells if cell.manual) != items:
        cause = f"the items that a person marks here are {', '.join(items) or 'none'} in the rubric, but not in the cells."
        raise BuildError(lab.path, 1, cause, 'give each item one markdown cell with `manual="…"`.')


# ---- rendering ----


def source_notebook(lab, rubric=None):
    """Return the instructor's nbgrader notebook of a lab: solutions in place, nbgrader metadata on graded cells."""
    rubric = load_rubric() if rubric is None else rubric
    verify(lab, rubric)
    cells, seen, heading = [], set(), ""
    for cell in lab.cells:
        if cell.kind == "markdown":
            heading = (HEADING.findall(cell.source) or [heading])[-1]
            made = nbformat.v4.new_markdown_cell(fill_in(lab, cell, heading, rubric))
            made.metadata.update(nbgrader_metadata(cell, rubric))
        else:
            made = nbformat.v4.new_code_cell(cell.source)
            made.metadata.update(nbgrader_metadata(cell, rubric))
        made.id = cell_id(made, seen)
        cells.append(made)
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata.kernelspec = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    notebook.metadata.language_info = {"name": "python"}
    notebook.nbformat_minor = 5
    nbformat.validate(notebook)
    return notebook


def fill_in(lab, cell, task, rubric):
    """Fill `{{title}}`, `{{minutes}}`, `{{difficulty}}` and `{{points}}` of a text cell from its task's entry."""

    def value(match):
        entry = load_manual()[cell.manual] if cell.manual else rubric[task] if task else None
        if not hasattr(entry, match[1]):
            line = cell.line + cell.source[: match.start()].count("\n")
            mend = "use title, minutes, difficulty or points, below a `## Task …` heading."
            raise BuildError(lab.path, line, f"{match[0]} has no value here.", mend)
        number = getattr(entry, match[1])
        return f"{number:g}" if isinstance(number, float) else str(number)

    return PLACEHOLDER.sub(value, cell.source)


def nbgrader_metadata(cell, rubric):
    """Return a cell's metadata: a solution cell, a locked grade cell worth its task's points (a bonus: 0), an answer for a person, or nothing."""
    marks = {"schema_version": 3, "grade": False, "solution": False, "locked": False, "task": False}
    if cell.tasks:
        return {"nbgrader": {**marks, "grade_id": grade_id("task", cell.tasks), "solution": True}}
    if cell.check:
        points = rubric[cell.check].counted
        graded = {"grade_id": grade_id("check", [cell.check]), "grade": True, "locked": True, "points": points}
        return {"nbgrader": {**marks, **graded}}
    if cell.manual:
        points = load_manual()[cell.manual].points
        return {"nbgrader": {**marks, "grade_id": cell.manual, "grade": True, "solution": True, "points": points}}
    return {}


def grade_id(kind, tasks):
    """`grade_id("task", ["1.3", "1.4"])` is "task_1_3_1_4"."""
    return "_".join([kind, *tasks]).replace(".", "_")


def cell_id(cell, seen):
    """Return an id that stays the same as long as the cell does: its grade id, or a digest of its text."""
    digest = hashlib.sha256(cell.source.encode()).hexdigest()[:8]
    name = cell.metadata.get("nbgrader", {}).get("grade_id", "").replace("_", "-") or f"{cell.cell_type[:4]}-{digest}"
    while name in seen:
        name += "x"
    seen.add(name)
    return name


def student_notebook(source):
    """Return the text of the student's notebook: nbgrader's preprocessors applied to the instructor's."""
    exporter = NotebookExporter(config=Config({"Exporter": {"default_preprocessors": []}}))
    for preprocessor in STRIP_PREPROCESSORS:
        exporter.register_preprocessor(preprocessor)
    text, _ = exporter.from_notebook_node(source)
    return text


def starter_module(labs, stubbed, rubric):
    """Return the starter module: imports, then every task's stub under its heading."""
    imports, blocks, bonus = set(), [], False
    for lab in labs:
        notebook = nbformat.reads(stubbed[lab.name], as_version=4)
        for cell, rendered in zip(lab.cells, notebook.cells):
            if cell.export and _only_imports(rendered.source):
                imports |= set(rendered.source.split("\n")) - {""}
            elif cell.export:
                blocks.append(rendered.source)
            elif cell.tasks:
                titles = [f"# ---- Task {task} · {rubric[task].title}{' (bonus)' * rubric[task].bonus} ----" for task in cell.tasks]
                if not bonus and all(rubric[task].bonus for task in cell.tasks):
                    titles, bonus = [*BONUS_HEADING, *titles], True
                blocks.append("\n".join(titles) + "\n\n\n" + rendered.source)
    return "\n\n\n".join([STARTER_DOCSTRING + "\n\n" + _sorted_imports(imports), *blocks]) + "\n"


def _only_imports(source):
    return all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in parse(source).body)


def _sorted_imports(lines):
    """Import lines as one block: the standard library's first, then the others."""
    ours = [line for line in lines if line.split()[1].split(".")[0] in sys.stdlib_module_names]
    others = lines - set(ours)
    key = lambda line: (line.startswith("from"), line.lower())  # noqa: E731
    return "\n".join(sorted(ours, key=key)) + "\n\n" * bool(ours) + "\n".join(sorted(others, key=key))


BONUS_HEADING = ["# ==== Bonus ====", "# Voluntary: its points come on top. What you leave as it is costs nothing.", ""]

STARTER_DOCSTRING = f'''"""The lab's TODOs as a plain module, for work in an editor instead of the notebooks.

The notebooks in labs/ explain each task. To check one, run in the repository's folder:

    unetlab check 1.1 {STARTER}

or without the task's number for all of them. Hand in this file or the notebooks.
"""'''


# ---- the commands ----


def renderings(root=ROOT, rubric=None):
    """Return what students get, built afresh: path inside the repository → text."""
    rubric = load_rubric() if rubric is None else rubric
    labs = read_labs(root)
    stubbed = {lab.name: student_notebook(source_notebook(lab, rubric)) for lab in labs}
    texts = {f"labs/{name}.ipynb": text for name, text in stubbed.items()}
    texts[STARTER] = starter_module(labs, stubbed, rubric)
    return texts


def build(root=ROOT, destination=None, rubric=None):
    """Write the student's renderings below `destination` (by default the repository) and return their paths."""
    return [write(Path(destination or root) / path, text) for path, text in renderings(root, rubric).items()]


def write_source(course, root=ROOT, rubric=None):
    """Write the instructor's notebooks to `<course>/source/lab04/` and return their paths.

    One without a task in the rubric is not part of the assignment: students get it, and nobody hands it in.
    """
    rubric = load_rubric() if rubric is None else rubric
    folder = Path(course) / "source" / ASSIGNMENT
    marked = {task.notebook for task in rubric.values()}
    paths = []
    for lab in read_labs(root):
        if lab.name not in marked:
            continue
        text = nbformat.writes(source_notebook(lab, rubric))
        paths.append(write(folder / f"{lab.name}.ipynb", text.rstrip("\n") + "\n"))
    return paths


def drift(root=ROOT, rubric=None):
    """Name the committed renderings that differ from a fresh build, are missing, or have lost their source."""
    fresh = renderings(root, rubric)
    found = []
    for path, text in fresh.items():
        here = Path(root) / path
        if not here.exists():
            found.append(f"{path}: missing; run `unetlab build`.")
        elif here.read_bytes() != text.encode():
            found.append(f"{path}: differs from a fresh build; change solutions/ instead, then run `unetlab build`.")
    for here in sorted((Path(root) / "labs").glob("*.ipynb")):
        path = here.relative_to(root).as_posix()
        if path not in fresh:
            found.append(f"{path}: has no source; delete it, or add solutions/lab_{here.stem}.py.")
    return found


def write(path, text):
    """Write a text with plain newlines on every system, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path
