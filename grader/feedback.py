"""The feedback page of a student: nbgrader's notebook with the marks at the top, and nothing in it that runs or loads.

It has no script, and its content security policy forbids any; formulas are MathML, pictures are in the page. So it reads
the same without a network, and tells nobody that it is read.
"""

from __future__ import annotations

import base64
import functools
import html
import mimetypes
import re
import secrets
from pathlib import Path
from xml.etree.ElementTree import tostring

import nbformat
from bleach.css_sanitizer import CSSSanitizer
from bleach.sanitizer import Cleaner
from jinja2 import pass_context
from latex2mathml.converter import convert_to_element
from nbconvert.exporters import HTMLExporter
from nbconvert.filters import Highlight2HTML
from nbconvert.filters.markdown_mistune import InvalidNotebook, IPythonRenderer, MarkdownWithMath
from nbgrader.api import Gradebook
from nbgrader.preprocessors import GetGrades
from nbgrader.utils import is_grade, is_solution
from traitlets.config import Config

from .cards import number
from .defuse import PICTURES, DefuseHtml
from .gradebook import CHECKS, is_bonus
from .handover import released_path
from .rubric import load_manual, load_rubric
from .text import visible

TEMPLATES = Path(__file__).with_name("templates")
PICTURE_MB = 8  # a picture that came along goes into the page up to this size
TEX_CHARACTERS = 4000  # a longer formula is shown as it was typed
UNSAFE = re.compile(r"on\w+|.*href|src|style|class|id", re.IGNORECASE)  # attributes that no formula needs
NOTES = "Notes on this hand-in:"  # how the part of a comment begins that stands at the top of the page already


# ---- the marks ----


class FeedbackGrades(GetGrades):
    """GetGrades that says which marks are still missing, which nbgrader shows as 0, and gathers all marks for the top."""

    def preprocess(self, nb, resources):
        """Put marks and comments into a notebook, and the student's marks in all notebooks into the resources."""
        nb, resources = super().preprocess(nb, resources)
        with Gradebook(self.db_url) as gradebook:
            submission = gradebook.find_submission(self.assignment_id, self.student_id)
            resources["unetlab"] = summary(submission, self.notebook_id, nb.metadata.get("unetlab", {}).get("notes", []))
        given = self._given()
        for cell in nb.cells:
            cell.metadata["given"] = cell.cell_type == "code" and not cell.outputs and cell.source in given
        return nb, resources

    def _given(self) -> set[str]:
        """The code that students were handed out and had nothing to do with."""
        released = released_path(self.parent.parent.coursedir, self.assignment_id, self.notebook_id)
        cells = nbformat.read(released, as_version=4).cells if released.exists() else []
        return {cell.source for cell in cells if not is_solution(cell)}

    def _find(self, kind, cell):
        ids = cell.metadata.nbgrader["grade_id"], self.notebook_id, self.assignment_id, self.student_id
        return getattr(self.gradebook, f"find_{kind}")(*ids)

    def _get_score(self, cell, resources):
        super()._get_score(cell, resources)
        grade = self._find("grade", cell)
        cell.metadata.nbgrader["said"], cell.metadata.nbgrader["unmarked"] = _state(grade), _unmarked(grade)
        cell.metadata.nbgrader["marks"] = _marks(grade, " points")

    def _get_comment(self, cell, resources):
        """A person's comment; the automatic one as far as the card below the cell does not say the same."""
        comment = self._find("comment", cell)
        by_hand, automatic = comment.manual_comment, _without_notes(comment.auto_comment or "")
        if not is_grade(cell):
            automatic = re.split(r"^Task \d", automatic, maxsplit=1, flags=re.MULTILINE)[0]
        cell.metadata.nbgrader["comment"] = by_hand or automatic.strip()
        cell.metadata.nbgrader["by_hand"] = bool(by_hand)


def _without_notes(comment: str) -> str:
    return comment.split("\n\n", 2)[-1] if comment.startswith(NOTES) else comment


def summary(submission, notebook: str, notes: list[str]) -> dict:
    """What stands at the top of a page: every mark of a student, by notebook, and what is still open."""
    parts = [_part(each, notebook) for each in sorted(submission.notebooks, key=lambda each: each.name)]
    penalty = sum(each.late_submission_penalty or 0 for each in submission.notebooks)
    every = [grade for each in submission.notebooks for grade in each.grades]
    whole, bonus = submission.score - penalty, sum(grade.score for grade in every if is_bonus(grade))
    score = max(0.0, whole - bonus)  # a penalty takes the bonus last
    return {
        "student": submission.student_id,
        "assignment": submission.assignment.name,
        "parts": parts,
        "score": "–" if every and all(map(_unmarked, every)) else number(score),
        "bonus": number(whole - score),
        "points": number(submission.max_score),
        "open": number(sum(part["open"] for part in parts)),
        "penalty": number(penalty),
        "notes": notes,
    }


def _part(notebook, here: str) -> dict:
    """One notebook's marks."""
    titles = {f"check_{id.replace('.', '_')}": f"{id} {task.title}" for id, task in load_rubric().items()}
    titles.update((item.id, f"{item.title} (by hand)") for item in load_manual().values())
    places = {name: place for place, name in enumerate(titles)}
    grades = sorted(notebook.grades, key=lambda grade: places.get(grade.name, len(places)))
    page = "" if notebook.name == here else f"{notebook.name}.html"
    return {
        "name": notebook.name,
        "page": page,
        "marks": _sum(grades, notebook),
        "open": sum(grade.max_score for grade in grades if _unmarked(grade)),
        "rows": [
            {
                "title": titles.get(grade.name, grade.name),
                "link": f"{page}#{grade.name}",
                "marks": _marks(grade),
                "share": 0 if _unmarked(grade) or not _worth(grade) else min(1, max(0, grade.score / _worth(grade))),
                "said": _state(grade),
            }
            for grade in grades
        ],
    }


def _worth(grade) -> float:
    """The points of a grade; of a bonus those that can be had."""
    return load_rubric()[CHECKS[grade.name]].points if is_bonus(grade) else grade.max_score


def _marks(grade, unit: str = "") -> str:
    """A mark and what it is of; of a bonus what comes on top."""
    if is_bonus(grade):
        return "–" if _unmarked(grade) else f"+{number(grade.score)} bonus{unit}" if grade.score else "no bonus"
    return f"{'–' if _unmarked(grade) else number(grade.score)} / {number(grade.max_score)}{unit}"


def _sum(grades: list, notebook) -> str:
    """The same of a whole notebook."""
    if grades and all(map(is_bonus, grades)):
        return f"+{number(notebook.score)} bonus" if notebook.score else "no bonus"
    return f"{'–' if grades and all(map(_unmarked, grades)) else number(notebook.score)} / {number(notebook.max_score)}"


def _unmarked(grade) -> bool:
    return grade.needs_manual_grade and grade.manual_score is None and grade.auto_score is None


def _state(grade) -> str:
    """What a student has to know of a mark beside the number; empty where it is the judge's and final."""
    if _unmarked(grade):
        return "Not marked yet: a person will look at it."
    said = [f"A bonus: up to {number(_worth(grade))} points on top."] if is_bonus(grade) else []
    if grade.manual_score is None and not grade.auto_score and grade.name in load_manual():
        said.append("No answer.")
    if grade.manual_score is not None:
        given = f", instead of the {number(grade.auto_score)} of the automatic checks" if grade.auto_score is not None else ""
        said.append(f"Marked by a person{given}.")
    if grade.extra_credit:
        said.append(f"With {number(grade.extra_credit)} points of extra credit.")
    if grade.needs_manual_grade:
        said.append("A person will look at it again.")
    return " ".join(said)


# ---- the page ----


class FeedbackExporter(HTMLExporter):
    """A notebook as a page that runs nothing and loads nothing; whatever students wrote in it is cleaned once more."""

    def __init__(self, config=None, **keywords):
        own = {"template_name": "feedback_page", "extra_template_basedirs": [str(TEMPLATES)], "exclude_anchor_links": True}
        config = Config(config or {})
        config.merge(Config({"FeedbackExporter": own}))  # nbgrader sets its own template for every HTMLExporter
        super().__init__(config=config, **keywords)
        self.cleaner = Cleaner(
            tags=DefuseHtml.tags | {"dl", "dt", "dd", "del"},
            attributes=_is_harmless,
            protocols={"http", "https", "data"},
            strip=True,
            css_sanitizer=CSSSanitizer(),
        )

    def from_notebook_node(self, nb, resources=None, **keywords):
        """A page of a notebook; HTMLExporter would parse it once more, for half of the time, to describe pictures as the template does."""
        return super(HTMLExporter, self).from_notebook_node(nb, resources, **keywords)

    def default_filters(self):
        """nbconvert's filters, and those of the template."""
        yield from super().default_filters()
        yield "highlight_code", _highlighted
        yield "mathml", lambda tex: mathml(tex.strip().strip("$"), "block")
        yield "text", lambda value: html.escape(visible(value))
        yield "harmless", self.cleaner.clean
        yield "mark", number

    @pass_context
    def markdown2html(self, context, source):
        """Markdown as clean HTML with formulas as MathML and the pictures that came along."""
        folder = context.get("resources", {}).get("metadata", {}).get("path", "")
        renderer = _Renderer(folder, context.get("cell", {}).get("attachments", {}))
        return renderer.with_formulas(self.cleaner.clean(MarkdownWithMath(renderer=renderer).render(source)))


@functools.lru_cache(maxsize=1000)  # most of a notebook's code is the same in every student's
def _highlighted(code: str) -> str:
    return Highlight2HTML(pygments_lexer="ipython3")(code)


def _is_harmless(tag: str, name: str, value: str) -> bool:
    if tag == "a" and name == "href":
        return value.startswith(("http://", "https://", "#")) or not re.match(r"\s*(//|[^/]*:)", value)
    if tag == "img" and name == "src":
        return value.startswith(tuple(f"data:{kind};" for kind in (*PICTURES, "image/svg+xml")))
    if name == "class":  # the highlighting's
        return value == "highlight" or tag == "span" and re.fullmatch(r"[a-z0-9]{1,3}", value) is not None
    return name in DefuseHtml.attributes["*"]


class _Renderer(IPythonRenderer):
    """Markdown to HTML; a formula leaves a token behind, which nothing that a student writes can look like."""

    def __init__(self, folder: str, attachments: dict):
        super().__init__(escape=False, exclude_anchor_links=True, embed_images=True, path=folder, attachments=attachments)
        self.formulas: list[str] = []
        self.token = secrets.token_hex(16)

    def with_formulas(self, page: str) -> str:
        """The cleaned page with its formulas back in their places."""
        return re.sub(rf"{self.token}-(\d+)\.", lambda found: self.formulas[int(found[1])], page)

    def block_math(self, body):
        return self._keep(body, "block")

    def inline_math(self, body):
        return self._keep(body, "inline")

    def latex_environment(self, name, body):
        return self._keep(f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")

    def _keep(self, tex: str, display: str) -> str:
        self.formulas.append(mathml(tex, display))
        return f"{self.token}-{len(self.formulas) - 1}."

    def block_mermaidjs(self, code):
        return f"<pre>{self.escape_html(code)}</pre>"

    def _embed_image_or_attachment(self, src):
        try:
            return super()._embed_image_or_attachment(src)
        except InvalidNotebook:  # an attachment that is not there is no reason to give no feedback
            return ""

    def _src_to_base64(self, src):
        """A picture file that came along, as a data address; None for anything else."""
        try:
            path = (Path(self.path) / src).resolve()
            kind = mimetypes.guess_type(path.name)[0]
            inside = path.is_relative_to(Path(self.path).resolve()) and kind in PICTURES
            if inside and path.is_file() and path.stat().st_size <= PICTURE_MB * 2**20:
                return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
        except (OSError, ValueError):  # a name that no disk takes
            pass
        return None


def mathml(tex: str, display: str) -> str:
    """A formula as MathML, "block" or "inline"; as it was typed where it cannot be read."""
    try:
        if len(tex) > TEX_CHARACTERS:
            raise ValueError("too long")
        root = convert_to_element(tex, display=display)
    except Exception:  # whatever the converter makes of what was typed
        return f"<code>{html.escape(tex)}</code>"
    for node in root.iter():  # texts hold entities, and tostring escapes them
        node.text = visible(html.unescape(node.text)) if node.text else node.text
        node.attrib = {name: visible(value) for name, value in node.attrib.items() if not UNSAFE.fullmatch(name)}
    return tostring(root, encoding="unicode")
