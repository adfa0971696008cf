"""`unetlab pack`, and the last cell of the last notebook: everything to hand in as one zip, with a look at it first.

What is missing or would cost marks is said, and the zip is written all the same: the student decides. Nothing of the
notebooks runs but their definitions, to see whether the checkpoint fits the network.
"""

from __future__ import annotations

import html
import re
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from .experiment import CHECKPOINT, RECORD, RESULTS, experiment_here
from .mine import newest_copy
from .reading import Unreadable, load_notebook
from .rubric import assignment, bonus_notebooks, load_manual, load_rubric, notebooks

MARK = re.compile(r"# TODO Task ([\d.]+):")  # one in front of each stub
TODO = re.compile(r"Need to implement for Task ([\d.]+): ([\w.]+)")
ANSWER = "YOUR ANSWER HERE"
REPORTS = (".pdf", ".md", ".docx", ".odt", ".txt")
RESULT_KINDS = (".pth", ".pt", ".json", ".csv", ".png")
NOTEBOOK_MB = 20  # a larger one is slow to open for whoever marks it
ZIP_MB = 200


@dataclass
class Packed:
    """The zip that was written, what is in it, and what its owner should know; Jupyter and a terminal show it."""

    path: Path
    files: list[str]
    findings: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        size = self.path.stat().st_size / 2**20
        head = f"{self.path} · {size:.1f} MB · {len(self.files)} files"
        warnings = [f"  ! {finding}" for finding in self.findings] or ["  ✓ nothing is missing"]
        return "\n".join([head, *(f"    {name}" for name in self.files), *warnings])

    def _repr_html_(self) -> str:
        items = "".join(f"<li>⚠ {html.escape(finding)}</li>" for finding in self.findings)
        verdict = f"<p><b>Before you hand it in:</b></p><ul>{items}</ul>" if items else "<p>✓ Nothing is missing.</p>"
        size = self.path.stat().st_size / 2**20
        names = html.escape(", ".join(self.files))
        return f"<p><b>{html.escape(str(self.path))}</b> · {size:.1f} MB</p>{verdict}<p>In it: {names}</p>"


def pack(name: str, folder: Path | str = ".", out: Path | str | None = None) -> Packed:
    """Write `<name>_lab04.zip` with the notebooks, `results/` and the report of `folder`, and say what is amiss.

    name: whose work it is; letters, digits, `-`, `_` and `.` go into the file's name.
    folder: where the notebooks lie, or a folder with `labs/` in it. out: folder of the zip, `folder` unless said.
    Raises ValueError for an empty name, and FileNotFoundError where no notebook of the lab is.
    """
    folder = _work(Path(folder))
    owner = re.sub(r"[^\w.-]+", "_", name).strip("._-")
    if not owner:
        raise ValueError('pack needs your name, such as pack("Ada Lovelace"): the zip is named after it')
    wanted = sorted(notebooks())
    there = {notebook: path for notebook in wanted if (path := newest_copy(folder, notebook))}
    module = folder / f"{assignment()}_student.py"
    if not there and module.is_file():
        wanted = []  # worked in an editor: the module is the hand-in
    elif not there:
        raise FileNotFoundError(f"{folder}: none of {', '.join(f'{n}.ipynb' for n in wanted)} is here; name their folder")
    results = [path for path in sorted((folder / RESULTS).glob("*")) if _is_result(path)]
    reports = [path for path in sorted(folder.glob("*")) if "report" in path.name.lower() and path.suffix.lower() in REPORTS]
    modules = sorted(folder.glob("*.py"))  # helpers that the notebooks import
    findings = [f"{notebook}.ipynb is not here" for notebook in wanted if notebook not in {*there, *bonus_notebooks()}]
    findings += [f"{path.name} was taken for {n}.ipynb, the newest copy" for n, path in there.items() if path.stem != n]
    findings += [finding for notebook, path in there.items() for finding in _in_notebook(notebook, path, bool(reports))]
    findings += [] if there else _unwritten(module.name, [module.read_text(encoding="utf-8", errors="replace")])
    findings += _in_results(folder, list(there.values()) or [module])
    target = Path(out or folder) / f"{owner}_{assignment()}.zip"
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{target.parent}: no such folder; name one that exists for the zip")
    files = {f"{notebook}.ipynb": path for notebook, path in there.items()}
    files |= {path.relative_to(folder).as_posix(): path for path in [*modules, *results, *reports]}
    _write(target, files)
    if target.stat().st_size > ZIP_MB * 2**20:
        findings.append(f"the zip is larger than {ZIP_MB} MB; many learning platforms refuse that")
    return Packed(target, list(files), findings)


def _work(folder: Path) -> Path:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    below = folder / "labs"
    own = any(newest_copy(folder, name) for name in notebooks())
    return (below if below.is_dir() and not own else folder).resolve()


def _is_result(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in RESULT_KINDS and "progress" not in path.name


def _write(target: Path, files: dict[str, Path]) -> None:
    """Write the zip beside its place first, so that a full disk leaves no half of one."""
    unfinished = target.with_suffix(".part")
    try:
        with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
            for name, path in files.items():
                archive.write(path, name)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def _in_notebook(name: str, path: Path, has_report: bool) -> list[str]:
    """What would cost marks in one notebook."""
    try:
        notebook, notes = load_notebook(path)
    except Unreadable as problem:
        return [str(problem)]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    findings = _unwritten(path.name, [cell.source for cell in code])
    begun = _begun([cell.source for cell in code])
    checks = {id for id, task in load_rubric().items() if task.notebook == name and (not task.bonus or id in begun)}
    run = {task for cell in code for task in checks if f'check("{task}")' in cell.source and cell.get("outputs")}
    if idle := sorted(checks - run):
        findings.append(f"{path.name}: the check of Task {', '.join(idle)} was never run, or the notebook not saved after it")
    open_answers = sum(ANSWER in cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    open_answers -= has_report and open_answers > 0 and "report" in _answers(name)  # it came as a file
    if open_answers:
        findings.append(f"{path.name}: {open_answers} of {len(_answers(name))} written answers still say {ANSWER}")
    if path.stat().st_size > NOTEBOOK_MB * 2**20:
        findings.append(f"{path.name} has {path.stat().st_size / 2**20:.0f} MB; clear the outputs of cells with many pictures")
    return findings + notes


def _unwritten(name: str, texts: list[str]) -> list[str]:
    """The tasks of a file whose stubs are as they were handed out; a bonus of which nothing is written is none."""
    unwritten: dict[str, list[str]] = {}
    for task, function in (found for text in texts for found in TODO.findall(text)):
        unwritten.setdefault(task, []).append(function)
    begun = _begun(texts)
    return [
        f"{name}: Task {task} is not written ({', '.join(names)})" for task, names in unwritten.items()
        if task not in load_rubric() or not load_rubric()[task].bonus or task in begun
    ]


def _begun(texts: list[str]) -> set[str]:
    """The tasks for which something is written: they have a stub less than were handed out, or none."""
    found = {task for text in texts for task in MARK.findall(text)}
    stubs = Counter(task for text in texts for task, _ in TODO.findall(text))
    marks = Counter(task for text in texts for task in MARK.findall(text))
    return {task for task in found if stubs[task] < marks[task]}


def _answers(notebook: str) -> list[str]:
    return [item.id for item in load_manual().values() if item.notebook == notebook]


def _in_results(folder: Path, works: list[Path]) -> list[str]:
    """Whether the checkpoint is there and fits the network of the notebooks, or of the module."""
    from .notebook import check_namespace
    from .definitions import load
    from .submissions import find_submissions

    findings: list[str] = []
    experiment = experiment_here(folder, findings)
    if experiment.checkpoint is None:
        return [*findings, experiment.problem]
    findings += [] if (folder / RESULTS / RECORD).is_file() else [f"{RESULTS}/{RECORD} is not here; it says how the network was built"]
    try:
        sources = [source for s in find_submissions(works) for source in s.sources()]
        loaded = load(sources)
    except Unreadable as problem:
        return [*findings, str(problem)]
    for task in [task.id for task in load_rubric().values() if task.experiment]:
        for outcome in check_namespace(task, loaded.namespace, loaded.missing, experiment).outcomes:
            if outcome.passed is False:
                lines = [line for line in outcome.message.splitlines() if not line.startswith(("rule", "input"))]
                findings.append(f"{RESULTS}/{CHECKPOINT} does not load into your UNet ({'; '.join(lines)})")
    return findings
