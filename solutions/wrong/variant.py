"""A known-wrong variant: the reference with one mistake, as edits of its text."""

import ast
import re
from dataclasses import dataclass, replace
from functools import cache

import jupytext

from solutions.reference import HERE, MARKS


Edits = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Wrong:
    """One mistake, as edits of the reference's cells of `task`, and what to say of it.

    `misconception` is the belief behind it, for instructors. `title` and `hint` are for the student: the title completes
    "a solution in which …", the hint leads on without giving the answer away.
    An edit is (old, new). `old` is either text that occurs exactly once in those cells, or `"class Name"` / `"def name"`:
    then the whole top-level definition is replaced. Lines after the first are indented as the line where `old` begins.
    `also` are other edits that make the same mistake with other numbers; `like` is the name of another variant, where no
    behaviour tells the two apart: then that one's title and hint are true of both.
    """

    task: str
    name: str
    misconception: str
    title: str
    hint: str
    edits: Edits
    also: tuple[Edits, ...] = ()
    like: str = ""


@cache
def _cells() -> tuple[tuple[frozenset, str], ...]:
    """Every definition cell (`export` or `task`) of `solutions/lab_*.py`, in order, as (its task ids, its code)."""
    cells = []
    for path in sorted(HERE.glob("lab_*.py")):
        for cell in jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent").cells:
            if cell.cell_type == "code" and ("export" in cell.metadata or "task" in cell.metadata):
                tasks = frozenset(re.findall(r"\d+\.\d+", cell.metadata.get("task", "")))
                cells.append((tasks, MARKS.sub("", cell.source + "\n")))
    return tuple(cells)


def wrong_source(wrong: Wrong) -> str:
    """The reference as one plain module, with the edits of `wrong` applied to the cells of its task."""
    edited = iter(wrong_cells(wrong))
    return "\n\n".join(next(edited) if wrong.task in tasks else code for tasks, code in _cells())


def wrong_sources(wrong: Wrong) -> list[str]:
    """Every way of making the mistake, each as `wrong_source` gives it."""
    return [wrong_source(replace(wrong, edits=edits)) for edits in (wrong.edits, *wrong.also)]


def wrong_cells(wrong: Wrong) -> list[str]:
    """The cells of the variant's task, with its edits; ValueError where an edit has not exactly one place."""
    own = [code for tasks, code in _cells() if wrong.task in tasks]
    for old, new in wrong.edits:
        found = [(number, span) for number, code in enumerate(own) for span in _places(code, old)]
        if len(found) != 1:
            raise ValueError(f"{wrong.task} {wrong.name}: found {len(found)} times instead of once: {old!r}")
        number, (start, end) = found[0]
        code = own[number]
        own[number] = code[:start] + new.replace("\n", _margin(code, start)) + code[end:]
    return own


def _margin(code: str, position: int) -> str:
    """A newline and the indentation of the line that holds `position`."""
    return "\n" + re.match(r" *", code[code.rfind("\n", 0, position) + 1 :])[0]


def _places(code: str, old: str) -> list[tuple[int, int]]:
    """Where `old` stands in `code`: (start, end) of each occurrence."""
    if re.fullmatch(r"(class|def) \w+", old):
        lines = code.splitlines(keepends=True)
        return [
            (sum(map(len, lines[: node.lineno - 1])), sum(map(len, lines[: node.end_lineno])) - 1)
            for node in ast.parse(code).body
            if getattr(node, "name", None) == old.split()[1]
        ]
    starts = [match.start() for match in re.finditer(re.escape(old.partition("\n")[0]), code)]
    texts = [old.replace("\n", _margin(code, start)) for start in starts]
    return [(start, start + len(text)) for start, text in zip(starts, texts) if code.startswith(text, start)]
