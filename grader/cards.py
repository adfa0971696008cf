"""What a student reads of a task's result: the card in the check cell, the comment below the solution.

Everything here takes the judge's result dicts. Text that a student can influence (messages, notes, names, paths)
only ever goes through jinja2's autoescape or `plain`.
"""

from __future__ import annotations

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from .rubric import load_rubric

MARKS = {True: "✓ passed", False: "✗ failed", None: "? not judged"}
# Shown in place of HTML's and markdown's active characters where a text cannot be escaped: nbgrader shows one
# and the same comment as plain text (formgrader's text box) and as markdown with raw HTML (feedback).
LOOKALIKES = str.maketrans({"<": "‹", ">": "›", "`": "ʼ", "$": "＄", "&": "＆", "\\": "＼"})
BRACKETS = str.maketrans("[]", "()")  # in the text of a markdown link
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x1b\ufffe\uffff\ud800-\udfff]")


def card_html(task: str, outcome: dict) -> str:
    """Return one task's result as a self-contained piece of HTML; hidden checks show rule and hint only."""
    return CARD.render(task=task, title=task_title(task), outcome=outcome, tone=_tone(outcome), headline=_headline(outcome))


def comment_text(task: str, outcome: dict) -> str:
    """Return one task's result as text that is harmless and readable both as markdown and as plain text."""
    lines = [f"Task {task}: {_headline(outcome)}."]
    if outcome.get("carried_forward"):
        lines.append("Judged with the reference's blocks standing in for your earlier ones: that mark was better.")
    if outcome.get("unreadable"):
        lines.append(plain(outcome["unreadable"]))
    for check in outcome["checks"]:
        if check["passed"]:
            continue
        lost = f" (−{check['points']:g})" if check["passed"] is False else ""
        line = f"- {MARKS[check['passed']]}{lost}: {plain(check['rule'])}"
        if said(check) and not check["hidden"]:
            line += f" `{plain(said(check).replace(chr(10), '; '))}`"
        if check["hint"]:
            line += f" Hint: {plain(check['hint'])}"
        lines.append(line)
    return "\n".join(lines[:1] + [""] + lines[1:]).strip()


def said(check: dict) -> str:
    """Return a check's message without the rule and the hint, which stand beside it."""
    beside = {f"rule: {check['rule']}", f"hint: {check['hint']}"}
    return "\n".join(line for line in str(check["message"]).splitlines() if line not in beside)


def plain(text: str, limit: int = 600) -> str:
    """Return a text on one line, without control characters, markup replaced by look-alikes, at most `limit` long."""
    line = " ".join(CONTROL.sub("", str(text)).translate(LOOKALIKES).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def task_title(task: str) -> str:
    """Return a task's title; empty for one that the rubric does not know."""
    entry = load_rubric().get(task)
    return entry.title if entry else ""


def _headline(outcome: dict) -> str:
    checks = outcome["checks"]
    if outcome["score"] is None:
        return f"not graded yet, an instructor will look at it (of {outcome['max_score']:g} points)"
    passed = sum(check["passed"] is True for check in checks)
    counted = f", {passed} of {len(checks)} checks passed" if checks else ""
    return f"{number(outcome['score'])} of {outcome['max_score']:g} points{counted}"


def _tone(outcome: dict) -> str:
    if outcome["score"] is None:
        return "#767676"
    return "#0072B2" if outcome["score"] >= outcome["max_score"] else "#B34700"


def number(value: float | None) -> str:
    """Return a mark with at most two decimals; "?" where there is none."""
    return "?" if value is None else f"{value:.2f}".rstrip("0").rstrip(".")


# ---- the templates ----

templates = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)
templates.filters["mark"] = number
templates.filters["clean"] = lambda text: CONTROL.sub("", str(text))
templates.filters["said"] = said
templates.globals.update(marks=MARKS, id=id)

# The card's styles stand on its elements: formgrader, feedback and JupyterLab bring sheets with no room for ours.
CARD = templates.get_template("card.html")
