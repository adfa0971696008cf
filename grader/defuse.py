"""Takes out of hand-ins what would run or spy in the pages that show them: formgrader and feedback have the reader's rights."""

from __future__ import annotations

import base64
import re

import nbformat
from bleach.css_sanitizer import CSSSanitizer
from bleach.sanitizer import ALLOWED_ATTRIBUTES, ALLOWED_TAGS, Cleaner
from bs4 import BeautifulSoup
from nbconvert.filters.markdown_mistune import markdown2html_mistune
from nbformat import NotebookNode
from nbgrader.preprocessors import NbGraderPreprocessor

from .handover import released_path

PICTURES = ("image/png", "image/jpeg", "image/gif")
MARKUP = re.compile(r"<\s*[A-Za-z/!]")
# A markdown picture that is not from here: neither attached, nor a plain path, nor in the text itself.
REMOTE_PICTURE = re.compile(r"!(?=\[)(?!\[[^\[\]]*\]\((?:attachment:|data:image/(?:png|jpeg|gif);|(?!\s*//)[\w./ %-]+\)))")
ATTACHED = re.compile(r"!\[([^\[\]]*)\]\(attachment:((?:[^()\s]|\([^()\s]*\))*)[^)]*\)")
AUTOLINK = re.compile(r"<(https?://[^\s<>]*)>")
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
AS_TYPED = "*Shown as it was typed, since it holds a link that leads to no web page:*"
HREF = re.compile(r"\\(?:href|url|require)(?![A-Za-z])")  # MathJax makes links of these, javascript: as well


# ---- what a hand-in says about itself ----


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
        if isinstance(files, dict) and re.fullmatch(r"[\w. ()-]+", name)
    }
    return NotebookNode({name: files for name, files in kinds.items() if files})


def _is_picture(kind: str, data: object) -> bool:
    return kind in PICTURES and isinstance(data, str) and re.fullmatch(r"[A-Za-z0-9+/=\s]+", data) is not None


# ---- what is shown ----


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
            elif cell.source not in ours:
                cell.source = self._text(_without_missing_pictures(cell))
        return nb, resources

    def _text(self, source: str) -> str:
        """A text cell without pictures from elsewhere, which would tell their server who reads, and without scripts."""
        source = REMOTE_PICTURE.sub("", HREF.sub(r"\\mbox", source))
        source = AUTOLINK.sub(r"\1", source)  # to the cleaner it is an unknown element
        source = self.cleaner.clean(source) if MARKUP.search(source) else source
        return source if _can_be_shown(source) else _as_typed(source)

    def _output(self, output: NotebookNode) -> NotebookNode:
        if "data" not in output:
            return output  # streams and errors: nbconvert escapes them
        data = {kind: _joined(value) for kind, value in output.data.items() if not kind.endswith("json")}
        kept = {kind: data[kind] for kind in ("text/plain", "text/latex") if kind in data}
        kept.update((kind, value) for kind, value in data.items() if _is_picture(kind, value))
        if "text/latex" in kept:
            kept["text/latex"] = HREF.sub(r"\\mbox", kept["text/latex"])
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


def _without_missing_pictures(cell: NotebookNode) -> str:
    """A text without pictures that are not attached: on one of them nbconvert gives up the whole page."""
    there = cell.get("attachments", {})
    return ATTACHED.sub(lambda found: found[0] if found[2] in there else found[1], cell.source)


def _can_be_shown(source: str) -> bool:
    """Whether nbconvert makes a page of a text, in which every link leads to a web page; markdown has many ways to write one."""
    try:
        links = BeautifulSoup(markdown2html_mistune(source), "html.parser").find_all(href=True)
    except Exception:  # whatever it stumbles over, it would again in formgrader
        return False
    found = [ADDRESS.match(re.sub(r"[\x00-\x20]", "", link["href"])) for link in links]  # as browsers read it
    return all(address is None or address[0].lower() in ("http:", "https:", "mailto:") for address in found)


def _as_typed(source: str) -> str:
    fence = "`" * (3 + max(map(len, re.findall("`+", source)), default=0))
    return f"{AS_TYPED}\n\n{fence}text\n{source}\n{fence}"


def _joined(value: object) -> str:
    return value if isinstance(value, str) else "".join(map(str, value)) if isinstance(value, list) else ""
