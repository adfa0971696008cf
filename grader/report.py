"""What people read of a result: the card in a notebook, the comment, the CSV, the class page, the terminal's table.

Everything here takes the judge's result dicts. Text that a student can influence (messages, notes, names, paths)
only ever goes through jinja2's autoescape, the csv module or `plain`.
"""

from __future__ import annotations

import csv
import re
import statistics
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from .rubric import load_rubric

MARKS = {True: "✓ passed", False: "✗ failed", None: "? not judged"}
# Shown in place of HTML's and markdown's active characters where a text cannot be escaped: nbgrader shows one
# and the same comment as plain text (formgrader's text box) and as markdown with raw HTML (feedback).
LOOKALIKES = str.maketrans({"<": "‹", ">": "›", "`": "ʼ", "$": "＄", "&": "＆", "\\": "＼"})
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x1b\ufffe\uffff\ud800-\udfff]")


# ---- for the student: the card in the check cell, the comment below the solution ----


def card_html(task: str, outcome: dict) -> str:
    """Return one task's result as a self-contained piece of HTML; hidden checks show rule and hint only."""
    return CARD.render(task=task, title=_title(task), outcome=outcome, tone=_tone(outcome), headline=_headline(outcome))


def comment_text(task: str, outcome: dict) -> str:
    """Return one task's result as text that is harmless and readable both as markdown and as plain text."""
    lines = [f"Task {task}: {_headline(outcome)}."]
    if outcome.get("carried_forward"):
        lines.append("Judged with the reference's blocks standing in for your earlier ones: that mark was better.")
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


def _title(task: str) -> str:
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


# ---- for the instructor: CSV, class page, terminal ----


def write_csv(report: dict, path: Path) -> Path:
    """Write one row a student; an ungraded mark is an empty field beside its status, never 0."""
    tasks = _tasks(report)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        marks = [f"{task} {part}" for task in tasks for part in ("score", "status")]
        writer.writerow(["student", "status", "score", "max_score", *marks, "carried_forward", "notes", "path"])
        for result in sorted(report["submissions"], key=lambda r: r["student"]):
            writer.writerow([_cell(value) for value in _row(result, tasks)])
    return Path(path)


def _row(result: dict, tasks: list[str]) -> list:
    marks = []
    for task in tasks:
        outcome = result["tasks"].get(task, {"score": None, "status": "ungraded"})
        marks += [number(outcome["score"]).replace("?", ""), outcome["status"]]
    carried = " ".join(task for task in tasks if result["tasks"].get(task, {}).get("carried_forward"))
    score = number(result["score"]).replace("?", "")
    return [
        result["student"],
        result["status"],
        score,
        result["max_score"],
        *marks,
        carried,
        " | ".join(result["notes"]),
        result["path"],
    ]


def _cell(value: object) -> str:
    text = CONTROL.sub("", str(value)).replace("\n", " ")
    # A spreadsheet would run =HYPERLINK(...) out of a student's file name.
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t") else text


def write_class_page(report: dict, path: Path, title: str = "Lab 4") -> Path:
    """Write the class as one HTML file without scripts or links to elsewhere."""
    results = sorted(report["submissions"], key=lambda r: r["student"])
    page = CLASS_PAGE.render(
        title=title,
        isolation=report["isolation"],
        tasks=[(task, _title(task)) for task in _tasks(report)],
        results=results,
        attention=[{**r, "notes": repairs(r)} for r in results if r["status"] != "graded" or repairs(r)],
        rates=pass_rates(report),
        facts=_facts(results),
        strays=report.get("passed_over", []),
    )
    Path(path).write_text(page, encoding="utf-8", errors="replace")
    return Path(path)


def repairs(result: dict) -> list[str]:
    """Return the notes that ask for a look: all but those on errors carried forward, which the marks show."""
    carried = tuple(
        f"{task} was marked with" for task, outcome in result["tasks"].items() if outcome["carried_forward"]
    )
    return [note for note in result["notes"] if not note.startswith(carried)]


def pass_rates(report: dict) -> list[dict]:
    """Return task, check, whether hidden, passed, and judged for every check, in the rubric's order."""
    rows = {}
    for result in report["submissions"]:
        for task, outcome in result["tasks"].items():
            for check in outcome["checks"]:
                row = {
                    "task": task,
                    "name": check["name"],
                    "rule": check["rule"],
                    "hidden": check["hidden"],
                    "passed": 0,
                    "judged": 0,
                }
                row = rows.setdefault((task, check["name"]), row)
                row["passed"] += check["passed"] is True
                row["judged"] += check["passed"] is not None
    order = {
        (id, name): place
        for place, (id, name) in enumerate((id, n) for id, t in load_rubric().items() for n in t.checks)
    }
    return [rows[key] for key in sorted(rows, key=lambda key: (key[0], order.get(key, len(order))))]


def _facts(results: list[dict]) -> dict:
    shares = [
        100 * r["score"] / r["max_score"]
        for r in results
        if r["score"] is not None and r["status"] == "graded" and r["max_score"]
    ]
    return {
        "students": len(results),
        "graded": len(shares),
        "median": f"{statistics.median(shares):.0f} %" if shares else "–",
        "full": sum(share >= 99.999 for share in shares),
    }


def summary_table(report: dict) -> str:
    """Return the class as a table for the terminal, with the notes below it."""
    tasks = _tasks(report)
    rows = [["student", "status", *tasks, "score", "of"]]
    for result in sorted(report["submissions"], key=lambda r: r["student"]):
        rows.append(
            [
                plain(result["student"], 32),
                result["status"],
                *(_mark(result, task) for task in tasks),
                number(result["score"]),
                f"{result['max_score']:g}",
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("─" * width for width in widths))
    notes = [
        f"{plain(r['student'], 32)}: {plain(note, 300)}"
        for r in sorted(report["submissions"], key=lambda r: r["student"])
        for note in r["notes"]
    ]
    key = ["↷ marked with the reference's blocks standing in for earlier ones; ? ungraded, which is not 0"]
    return "\n".join(
        lines
        + key * any("↷" in line or "?" in line for line in lines)
        + [""] * bool(notes)
        + notes
        + ["", f"isolation: {plain(report['isolation'])}"]
    )


def _mark(result: dict, task: str) -> str:
    outcome = result["tasks"].get(task)
    if outcome is None:
        return "–"
    return ("↷ " if outcome.get("carried_forward") else "") + number(outcome["score"])


def _tasks(report: dict) -> list[str]:
    found = {task for result in report["submissions"] for task in result["tasks"]}
    known = [task for task in load_rubric() if task in found]
    return known + sorted(found - set(known))


# ---- the templates ----

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters["mark"] = number
_environment.filters["clean"] = lambda text: CONTROL.sub("", str(text))
_environment.filters["said"] = said
_environment.globals["marks"] = MARKS

# The card's styles stand on its elements: formgrader, feedback and JupyterLab bring sheets with no room for ours.
CARD = _environment.get_template("card.html")
CLASS_PAGE = _environment.get_template("class.html")
