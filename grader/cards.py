"""What a student reads of a task's result: the card in the check cell, the comment below the solution.

Everything here takes the judge's result dicts. Text that a student can influence (messages, notes, names, paths)
only ever goes through jinja2's autoescape or `plain`.
"""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from .marks import handed_in
from .rubric import load_rubric
from .text import visible

MARKS = {True: "✓ passed", False: "✗ failed", None: "? not judged"}
# Shown in place of HTML's and markdown's active characters where a text cannot be escaped: nbgrader shows one
# and the same comment as plain text (formgrader's text box) and as markdown with raw HTML (feedback).
LOOKALIKES = str.maketrans({"<": "‹", ">": "›", "`": "ʼ", "$": "＄", "&": "＆", "\\": "＼"})
BRACKETS = str.maketrans("[]", "()")  # in the text of a markdown link


def card_html(task: str, outcome: dict) -> str:
    """Return one task's result as a self-contained piece of HTML; hidden checks show rule and hint only."""
    checks = [_shown(check) for check in outcome["checks"]]
    _tell_once(checks)
    lost = [check for check in checks if not check["passed"]]
    return CARD.render(
        task=task,
        title=task_title(task),
        tone=_tone(outcome),
        marks=_marks(outcome),
        lines=[_counted(outcome), *explained(task, outcome)] if lost or outcome["score"] is None else explained(task, outcome),
        diagnoses=_diagnoses(outcome),
        failed=lost,
        passed=[check for check in checks if check["passed"]],
    )


def comment_text(task: str, outcome: dict) -> str:
    """Return one task's result as text that is harmless and readable both as markdown and as plain text."""
    if not handed_in(outcome):
        return f"Task {task}: {_marks(outcome)}."
    lines = [f"Task {task}: {_headline(outcome)}.", "", *map(plain, explained(task, outcome))]
    for found in _diagnoses(outcome):
        cause = f"Likely cause: your numbers are those of a solution in which {plain(found['title'])}."
        lines.append(cause + (f" Hint: {plain(found['hint'])}" if found.get("hint") else ""))
    for check in outcome["checks"]:
        if not check["passed"]:
            lines.append(_comment_line(check, bool(outcome.get("bonus"))))
    return "\n".join(lines).strip()


def _comment_line(check: dict, bonus: bool = False) -> str:
    lost = f" (−{check['points']:g})" if check["passed"] is False and not bonus else ""
    rows = dict(rows_of(check))
    hint = rows.pop("hint", "")
    told = "; ".join(f"{label}: {text}" for label, text in rows.items())
    line = f"- {MARKS[check['passed']]}{lost}: {plain(check['rule'])}"
    return line + (f" `{plain(told)}`" if told else "") + (f" Hint: {plain(hint)}" if hint else "")


def _shown(check: dict) -> dict:
    """What the card shows of a check."""
    got = number(check["points"]) if check["passed"] else "0" if check["passed"] is False else "?"
    return {
        "rule": check["rule"],
        "hidden": check["hidden"],
        "passed": check["passed"],
        "sign": MARKS[check["passed"]][0],
        "marks": f"{got} / {number(check['points'])}",
        "rows": rows_of(check),
    }


def rows_of(check: dict) -> list[tuple[str, str]]:
    """What a failed check says beside its rule, labelled: input, yours, expected, hint; of a hidden one the hint alone."""
    rows = []
    if not check["hidden"]:
        rows = [("input", check.get("input")), ("yours", check.get("came")), ("expected", check.get("expected"))]
        if not check.get("came"):  # a stub that was not filled
            rows = [("to do", said(check).removeprefix("to do: "))]
    return [(label, str(text)) for label, text in [*rows, ("hint", check["hint"])] if text]


def _tell_once(checks: list[dict]) -> None:
    """Where several checks met one and the same exception, tell it at the first."""
    told = set()
    for check in checks:
        rows = dict(check["rows"])
        told_here = rows.get("yours") if rows.get("expected") == "no exception" else rows.get("to do")
        if told_here in told:
            check["rows"] = [(label, "the same as above") for label, text in check["rows"] if text == told_here]
        elif told_here:
            told.add(told_here)


def explained(task: str, outcome: dict) -> list[str]:
    """What a student has to know of how a task was marked."""
    lines = []
    if outcome.get("carried_forward"):
        earlier = ", ".join(load_rubric()[task].builds_on) if task in load_rubric() else ""
        lines.append(
            f"An earlier task{f' ({earlier})' if earlier else ''} lost marks, so this one was marked again with the reference's "
            "blocks standing in for yours, and the better mark counts: a slip costs only where it was made."
        )
    if outcome.get("unreadable"):
        lines.append(outcome["unreadable"])
    if left_out := outcome.get("left_out"):
        lines.append(f"Not counted, since it could not be judged here: {', '.join(name.replace('_', ' ') for name in left_out)}.")
    return lines


def _diagnoses(outcome: dict) -> list[dict]:
    """The misconceptions whose numbers the submission gives; none where nothing was lost."""
    return [found for found in outcome.get("diagnoses") or [] if found.get("title")]


def said(check: dict) -> str:
    """Return a check's message without the rule and the hint, which stand beside it."""
    beside = {f"rule: {check['rule']}", f"hint: {check['hint']}"}
    return "\n".join(line for line in str(check["message"]).splitlines() if line not in beside)


def network_notes() -> tuple[str, ...]:
    """How notes begin that tell how good a trained network is on pictures that nobody has seen."""
    return tuple(f"{task.id}: the trained network reaches" for task in load_rubric().values() if task.experiment)


def plain(text: str, limit: int = 600) -> str:
    """Return a text on one line, without control characters, markup replaced by look-alikes, at most `limit` long."""
    line = " ".join(visible(text).translate(LOOKALIKES).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def task_title(task: str) -> str:
    """Return a task's title; empty for one that the rubric does not know."""
    entry = load_rubric().get(task)
    return entry.title if entry else ""


def _headline(outcome: dict) -> str:
    if outcome["score"] is None:
        return f"not graded yet, an instructor will look at it (of {_points(outcome)})"
    counted = _counted(outcome).rstrip(".")
    return _marks(outcome) + (f", {counted}" if counted else "")


def _marks(outcome: dict) -> str:
    if not handed_in(outcome):
        return "a bonus that was not handed in, which costs nothing"
    if outcome["score"] is None:
        return f"not graded yet (of {_points(outcome)})"
    return f"{number(outcome['score'])} of {_points(outcome)}"


def _points(outcome: dict) -> str:
    return f"{outcome['max_score']:g} {'bonus points' if outcome.get('bonus') else 'points'}"


def _counted(outcome: dict) -> str:
    """How many checks passed."""
    checks = outcome["checks"]
    if outcome["score"] is None:
        return "Not a mark of 0: an instructor will look at it."
    passed = sum(check["passed"] is True for check in checks)
    return f"{passed} of {len(checks)} checks passed." if checks else ""


def _tone(outcome: dict) -> str:
    if outcome["score"] is None or not handed_in(outcome):
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
templates.filters["clean"] = visible
templates.filters["said"] = said
templates.globals.update(id=id)

# The card's styles stand on its elements: formgrader, feedback and JupyterLab bring sheets with no room for ours.
CARD = templates.get_template("card.html")
