"""The judge inside nbgrader: read any hand-in, repair it, write the judge's marks instead of parsing outputs.

`nbgrader_config` writes the settings that put these classes in their places; `nbgrader autograde lab04` then works by
itself. All preprocessors derive from NbGraderPreprocessor: nbgrader silently leaves out any other in its lists.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from urllib.parse import quote

import nbformat
from nbconvert.exporters import NotebookExporter
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.exchange.default import ExchangeCollect
from nbgrader.preprocessors import SaveAutoGrades
from nbgrader.utils import compute_checksum, is_grade, is_solution
from traitlets import Bool, Unicode

from . import cards, marks
from .defuse import DefuseHtml, strip
from .durable import alone_in, whole
from .feedback import NOTES, FeedbackGrades
from .gradebook import score_in
from .handover import documents, not_handed_in, read_slip, released_path, without_folder
from .journal import Journal, is_final, judge_once, standing_of, submission_key, take_up, ungraded
from .reading import Unreadable, load_notebook
from .repair import CHECK, TASK, RepairSubmission
from .rubric import bonus_notebooks, load_rubric, notebooks

CHECKPOINTS = ("*.pth", "*.pt", "*.ckpt")
SUBMISSION_KB = 1_000_000  # what is collected of one student: a few checkpoints, of which the judge takes one

# What courses' nbgrader_config.py names.
__all__ = [
    "CHECKPOINTS", "CollectCheckpoints", "DefuseHtml", "FeedbackGrades", "JudgeGrades", "LenientNotebookExporter", "RepairSubmission",
    "find_alembic",
]


# ---- reading: one broken notebook never stops the batch ----


class LenientNotebookExporter(NotebookExporter):
    """nbgrader's notebook exporter, reading hand-ins through the kit's lenient reader.

    A file that cannot be read at all, or was never handed in, becomes the released notebook with a note on top.
    """

    def from_file(self, file_stream, resources=None, **keywords):
        """Read and convert an open notebook file."""
        path = Path(file_stream.name)
        if not getattr(self.parent, "_sanitizing", True):  # the second pass reads what the first one wrote
            return super().from_file(file_stream, resources=resources, **keywords)
        stand_ins, kept, notes = read_slip(path.parent).stand_ins, {}, []
        if path.stem in stand_ins:
            top = nbformat.read(path, as_version=4).cells  # ours, made by hand_over
            nb = self._released_below(resources["nbgrader"], top)
            kept = {"stand_in": True, **({"unreadable": stand_ins[path.stem]} if stand_ins[path.stem] else {})}
        else:
            try:
                nb, notes = load_notebook(path)
                strip(nb)
            except Exception as error:  # whatever it is: this student's file must not end the others' grading
                reason = str(error) if isinstance(error, Unreadable) else f"{path.name} could not be read: {error}"
                kept = {"unreadable": without_folder(reason, path.parent)}
                notes = [reason]
        if "unreadable" in kept:
            said = f"**This notebook could not be read.** {cards.plain(kept['unreadable'])}"
            said += "\n\nBelow is the released notebook instead."
            nb = self._released_below(resources["nbgrader"], [nbformat.v4.new_markdown_cell(said)])
        nb.metadata = NotebookNode(unetlab={**kept, "notes": [without_folder(note, path.parent) for note in notes]})
        return self.from_notebook_node(nb, resources=resources, **keywords)

    def _released_below(self, ids: dict, top: list[NotebookNode]) -> NotebookNode:
        released = released_path(self.parent.coursedir, ids["assignment"], ids["notebook"])
        nb = nbformat.read(released, as_version=4) if released.exists() else nbformat.v4.new_notebook()
        nb.cells = [*top, *nb.cells]
        return nb


# ---- marking: the judge's marks into the gradebook ----


class JudgeGrades(SaveAutoGrades):
    """SaveAutoGrades whose marks and comments are the judge's; a student's printed output earns nothing."""

    insecure = Bool(False, help="Grade even where the sandbox is below its floor").tag(config=True)
    device = Unicode("cpu", help="Where student code runs: cpu or cuda").tag(config=True)
    retry = Bool(True, help="Judge again what the journal has as ungraded").tag(config=True)

    def preprocess(self, nb, resources):
        """Write one notebook's marks and comments, and the result cards into its check cells."""
        self.coursedir = self.parent.parent.coursedir
        with alone_in(self.coursedir.root, "nbgrader autograde"):
            return self._mark(nb, resources)

    def _mark(self, nb, resources):
        ids = resources["nbgrader"]
        self.kept = nb.metadata.get("unetlab", {})
        folder = Path(self.coursedir.format_path(self.coursedir.submitted_directory, ids["student"], ids["assignment"]))
        slip, self.documents = read_slip(folder), documents(folder)
        key = submission_key(folder, ids["assignment"])
        self.result = ungraded(ids["student"], slip.problem) if slip.problem else self._judged(folder, ids, key)
        told = [without_folder(note, folder) for note in self.result["notes"]]
        told = [note for note in told if _concerns(note, ids["notebook"])]
        self.notes = list(dict.fromkeys([*slip.notes, *self.kept.get("notes", []), *told]))
        self.notes_to_show = list(self.notes)
        # Nobody can say of an answer that it is missing where the notebook, or all of the hand-in, was not read.
        self.blind = "unreadable" in self.kept or self.result["status"] == "ungraded"
        nb, resources = super().preprocess(nb, resources)
        self._name_documents(nb)
        self._mark_missing(ids, folder)
        nb.metadata["unetlab"] = {**self.kept, "notes": self.notes, "status": self.result["status"], "key": key,
                                  "marks": standing_of(self.result)}
        return nb, resources

    def _judged(self, folder: Path, ids: dict, key: str) -> dict:
        journal = Journal(Path(self.coursedir.root, "judge.jsonl"))
        result = journal.get(key)
        if result is None or self.retry and not is_final(result):
            result = take_up(result, judge_once(folder, ids["student"], self.insecure, self.device))
            journal.append(key, result)
        return result

    def _outcome(self, task: str) -> dict:
        if task in self.result["tasks"]:
            return self.result["tasks"][task]
        if task in load_rubric():
            return marks.empty(load_rubric()[task])
        return {"status": "ungraded", "score": None, "max_score": 0.0, "carried_forward": False, "checks": []}

    def _find(self, kind: str, cell: NotebookNode):
        find = getattr(self.gradebook, f"find_{kind}")
        return find(cell.metadata["nbgrader"]["grade_id"], self.notebook_id, self.assignment_id, self.student_id)

    def _add_score(self, cell, resources):
        tasks = CHECK.findall(cell.source)
        if is_solution(cell) or len(tasks) != 1:
            return self._add_score_by_hand(cell, resources)
        outcome = self._outcome(tasks[0])
        set_grade(self._find("grade", cell), outcome)
        self.gradebook.db.commit()
        card = {"text/html": cards.card_html(tasks[0], outcome), "text/plain": cards.comment_text(tasks[0], outcome)}
        cell.outputs = [nbformat.v4.new_output("display_data", data=card)]
        cell.execution_count = None

    def _add_score_by_hand(self, cell, resources):
        """As nbgrader does it, 0 for an answer that was not touched, unless it may stand elsewhere."""
        super()._add_score(cell, resources)
        if self._why_open(cell):
            grade = self._find("grade", cell)
            grade.auto_score, grade.needs_manual_grade = None, True
            self.gradebook.db.commit()

    def _why_open(self, cell: NotebookNode) -> str:
        """Why a person has to look at an answer although its cell is as it was handed out; empty where nobody has to."""
        if not is_grade(cell) or cell.metadata.nbgrader.get("checksum") != compute_checksum(cell):
            return ""
        if self.blind:
            return "The hand-in could not be read."
        if cell.metadata["nbgrader"]["grade_id"] in self.kept.get("beside", []):
            return "The cell is as it was handed out, but something was written in a cell beside it."
        if self.documents:
            names = ", ".join(cards.plain(name, 80) for name in self.documents[:5])
            return f"The cell is as it was handed out; handed in beside the notebooks: {names}."
        return ""

    def _add_comment(self, cell, resources):
        source = self._find_source(cell)
        tasks = sorted(set(TASK.findall(source)))
        untouched = cell.metadata.nbgrader.get("checksum") == compute_checksum(cell)
        parts = [cards.comment_text(task, self._outcome(task)) for task in tasks]
        if untouched and "stand_in" in self.kept and "unreadable" not in self.kept:
            parts += [] if tasks else [self._why_open(cell) or not_handed_in(self.notebook_id).split(". ")[0] + "."]
        elif untouched:
            said = "No response: the cell is as it was handed out."
            expected = not tasks or any(marks.handed_in(self._outcome(task)) for task in tasks)
            parts = [*[said if tasks else self._why_open(cell) or said] * expected, *parts]
        if self.notes_to_show:
            shown = "\n".join(f"- `{cards.plain(note)}`" for note in self.notes_to_show)
            parts.insert(0, f"{NOTES}\n\n{shown}")
            self.notes_to_show = []
        self._find("comment", cell).auto_comment = "\n\n".join(parts) or None
        self.gradebook.db.commit()

    def _find_source(self, cell: NotebookNode) -> str:
        name = cell.metadata["nbgrader"]["grade_id"]
        return self.gradebook.find_source_cell(name, self.notebook_id, self.assignment_id).source or ""

    def _name_documents(self, nb: NotebookNode) -> None:
        """Above each answer that a person marks, the documents that came along, as links that formgrader follows."""
        texts = [cards.plain(name, 80).translate(cards.BRACKETS) for name in self.documents[:20]]
        links = ", ".join(f"[{text}]({quote(os.fsencode(name))})" for text, name in zip(texts, self.documents))
        places = [i for i, cell in enumerate(nb.cells) if is_grade(cell) and is_solution(cell)]
        for place in reversed(places if links else []):
            nb.cells.insert(place, nbformat.v4.new_markdown_cell(f"*Handed in beside the notebooks:* {links}"))

    def _mark_missing(self, ids: dict, folder: Path) -> None:
        """Give a notebook that was not handed in its marks too, where no stand-in was made for it.

        nbgrader has given it 0 points without a word.
        """
        with Gradebook(ids["db_url"]) as gradebook:
            for notebook in gradebook.find_submission(ids["assignment"], ids["student"]).notebooks:
                if (folder / f"{notebook.name}.ipynb").exists():
                    continue
                said = not_handed_in(notebook.name)
                self.notes += [said] * (said not in self.notes and notebook.name not in bonus_notebooks())
                for grade in notebook.grades:
                    source = gradebook.find_source_cell(grade.name, notebook.name, ids["assignment"]).source or ""
                    tasks = CHECK.findall(source)
                    set_grade(grade, self._outcome(tasks[0] if len(tasks) == 1 else ""))
                for comment in notebook.comments:
                    comment.auto_comment = said
            gradebook.db.commit()


def set_grade(grade, outcome: dict) -> None:
    """Put the judge's mark into a grade of the gradebook; what the judge did not mark is left to a person."""
    grade.auto_score = score_in(grade, outcome)
    grade.needs_manual_grade = grade.manual_score is not None or grade.auto_score is None


def _concerns(note: str, notebook: str) -> bool:
    """Whether a note of the judge's belongs into this notebook's feedback: not what names another one, or its task."""
    task = re.match(r"(\d+\.\d+)\b", note)
    if task and task[1] in load_rubric():
        return load_rubric()[task[1]].notebook == notebook
    return not note.startswith(tuple(f"{other}.ipynb:" for other in notebooks() - {notebook}))


# ---- the settings ----


class CollectCheckpoints(ExchangeCollect):
    """nbgrader's collect, with the checkpoints that its other steps leave where they are, and with files of their size."""

    def do_copy(self, src, dest, log=None):
        """Copy a submission out of the exchange."""
        course = self.coursedir
        before = course.ignore, course.max_file_size, course.max_dir_size
        course.ignore = [pattern for pattern in course.ignore if pattern not in CHECKPOINTS]
        course.max_file_size = course.max_dir_size = SUBMISSION_KB
        try:
            super().do_copy(src, dest, log)
        finally:
            course.ignore, course.max_file_size, course.max_dir_size = before


def find_alembic() -> None:
    """Put this Python's programs on the PATH: nbgrader calls `alembic`, and fails in a venv that is not activated."""
    if shutil.which("alembic") is None:
        os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


CONFIG = '''\
"""nbgrader's settings for this course. Written once by unetlab; yours to change."""
import os

from grader.build import GENERATE_PREPROCESSORS
from grader.nbgrader_glue import CHECKPOINTS, find_alembic

find_alembic()
c = get_config()
c.CourseDirectory.root = os.path.dirname(os.path.abspath(__file__))
# Checkpoints are judged where they lie, in submitted/; nbgrader would copy each two more times.
c.CourseDirectory.ignore = [".ipynb_checkpoints", "*.pyc", "__pycache__", "feedback", *CHECKPOINTS, "unetlab.json"]

c.ExchangeFactory.collect = "grader.nbgrader_glue.CollectCheckpoints"

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
c.GenerateFeedback.exporter_class = "grader.feedback.FeedbackExporter"
c.GenerateFeedback.preprocessors = [
    "grader.feedback.FeedbackGrades",
    "nbconvert.preprocessors.CSSHTMLHeaderPreprocessor",
]

# c.JudgeGrades.insecure = True      # grade where the sandbox is below its floor
# c.CourseDirectory.course_id = ...  # needed for nbgrader's exchange only
'''


def nbgrader_config(course: Path) -> Path:
    """Write `nbgrader_config.py` into a course that has none, and return its path."""
    path = Path(course) / "nbgrader_config.py"
    if not path.exists():
        with whole(path) as part:  # half of it would leave nbgrader to run what students wrote
            part.write_text(CONFIG, encoding="utf-8")
    return path
