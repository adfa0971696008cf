"""What the instructor reads of a class: the CSV, the class page, the terminal's table.

Everything here takes the judge's result dicts. Text that a student can influence (messages, notes, names, paths)
only ever goes through jinja2's autoescape, the csv module or `plain`.
"""

from __future__ import annotations

import csv
import itertools
import statistics
from pathlib import Path

from .cards import CONTROL, number, plain, task_title, templates
from .rubric import load_manual, load_rubric

TABLE_WIDTH = 130  # characters of the terminal's table


def write_csv(report: dict, path: Path) -> Path:
    """Write one row a student; what is not marked yet is an empty field beside its status, never 0.

    `score` is what the judge gave; `total` is that with the marks given by hand, once nothing is left to mark.
    """
    tasks, items = _tasks(report), _items(report)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        marks = [f"{name} {part}" for name in (*tasks, *items) for part in ("score", "status")]
        sums = ["total", "total_max", "left_to_mark"]
        writer.writerow(["student", "status", "score", "max_score", *marks, *sums, "carried_forward", "notes", "path"])
        for result in sorted(report["submissions"], key=lambda r: r["student"]):
            writer.writerow([_cell(value) for value in _row(result, tasks, items)])
    return Path(path)


def _row(result: dict, tasks: list[str], items: list[str]) -> list:
    absent = {"score": None, "status": "ungraded"}
    marked = [result["tasks"].get(task, absent) for task in tasks]
    marked += [result.get("manual", {}).get(item, {**absent, "status": "to mark"}) for item in items]
    marks = [text for outcome in marked for text in (_field(outcome["score"]), outcome["status"])]
    carried = " ".join(task for task in tasks if result["tasks"].get(task, {}).get("carried_forward"))
    sums = total(result)
    return [
        result["student"],
        result["status"],
        _field(result["score"]),
        result["max_score"],
        *marks,
        "" if sums["open"] else _field(sums["score"]),
        sums["max_score"],
        number(sums["open"]),
        carried,
        " | ".join(result["notes"]),
        result["path"],
    ]


def _field(score: float | None) -> str:
    return "" if score is None else number(score)


def total(result: dict) -> dict:
    """What is known of a student's marks, the judge's and those given by hand: score, max_score, and the points still open."""
    outcomes = [*result["tasks"].values(), *result.get("manual", {}).values()]
    known = [outcome["score"] for outcome in outcomes if outcome["score"] is not None]
    open_points = sum(outcome["max_score"] for outcome in outcomes if outcome["score"] is None)
    # A mark of the judge's that is missing is no sum, even if a person could not find an answer.
    score = round(sum(known), 2) if known and result["score"] is not None else None
    return {"score": score, "max_score": sum(outcome["max_score"] for outcome in outcomes), "open": open_points}


def _cell(value: object) -> str:
    text = CONTROL.sub("", str(value)).replace("\n", " ")
    # A spreadsheet would run =HYPERLINK(...) out of a student's file name.
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t") else text


def write_class_page(report: dict, path: Path, title: str = "Lab 4") -> Path:
    """Write the class as one HTML file without scripts or links to elsewhere."""
    results = sorted(report["submissions"], key=lambda r: r["student"])
    tasks = _tasks(report)
    page = CLASS_PAGE.render(
        title=title,
        isolation=report["isolation"],
        tasks=[(task, task_title(task)) for task in tasks],
        parts=_parts(tasks),
        items=[(item, load_manual()[item].title if item in load_manual() else item) for item in _items(report)],
        points=_points(results),
        results=results,
        totals={id(result): total(result) for result in results},
        subtotals={id(result): _subtotals(result, tasks) for result in results},
        attention=[{**r, "notes": repairs(r)} for r in results if r["status"] != "graded" or repairs(r)],
        rates=pass_rates(report),
        facts=_facts(results),
        strays=report.get("passed_over", []),
    )
    Path(path).write_text(page, encoding="utf-8", errors="replace")
    return Path(path)


def _parts(tasks: list[str]) -> list[tuple[str, list[str]]]:
    """The tasks by part: 1.1 and 1.2 belong to part 1."""
    return [(part, list(group)) for part, group in itertools.groupby(tasks, key=lambda task: task.partition(".")[0])]


def _points(results: list[dict]) -> dict[str, float]:
    """What each task and each item marked by hand is worth."""
    outcomes = [entry for r in results for entry in (*r["tasks"].items(), *r.get("manual", {}).items())]
    return {name: outcome["max_score"] for name, outcome in outcomes}


def _subtotals(result: dict, tasks: list[str]) -> dict[str, dict]:
    """A student's marks by part."""
    found = {}
    for part, names in _parts(tasks):
        marks = {name: result["tasks"][name] for name in names if name in result["tasks"]}
        found[part] = total({"tasks": marks, "score": 0.0})
    return found


def repairs(result: dict) -> list[str]:
    """Return the notes that ask for a look: all but those on errors carried forward and on the network, which the marks show."""
    carried = tuple(
        f"{task} was marked with" for task, outcome in result["tasks"].items() if outcome["carried_forward"]
    )
    network = tuple(f"{task.id}: the trained network reaches" for task in load_rubric().values() if task.experiment)
    return [note for note in result["notes"] if not note.startswith(carried + network)]


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
        "to_mark": sum(m["status"] == "to mark" for r in results for m in r.get("manual", {}).values()),
        "median": f"{statistics.median(shares):.0f} %" if shares else "–",
        "full": sum(share >= 99.999 for share in shares),
    }


def summary_table(report: dict) -> str:
    """Return the class as a table for the terminal, with the notes below it; parts instead of tasks where it gets too wide."""
    tasks = _tasks(report)
    results = sorted(report["submissions"], key=lambda r: r["student"])
    lines = _table(results, {task: [task] for task in tasks})
    if max(map(len, lines)) > TABLE_WIDTH:
        lines = _table(results, {f"part {part}": names for part, names in _parts(tasks)})
    notes = [f"{plain(r['student'], 32)}: {plain(note, 300)}" for r in results for note in r["notes"]]
    left = sum(outcome["max_score"] for r in results for outcome in r.get("manual", {}).values() if outcome["score"] is None)
    key = ["↷ marked with the reference's blocks standing in for earlier ones; ? ungraded, which is not 0"]
    return "\n".join(
        lines
        + key * any("↷" in line or "?" in line for line in lines)
        + [f"by hand: {left:g} points are left to mark, and not in this table"] * bool(left)
        + [""] * bool(notes)
        + notes
        + ["", f"isolation: {plain(report['isolation'])}"]
    )


def _table(results: list[dict], columns: dict[str, list[str]]) -> list[str]:
    """Aligned lines with a column for each group of tasks."""
    rows = [["student", "status", *columns, "score", "of"]]
    for result in results:
        marks = [_mark(result, names[0]) if len(names) == 1 else _sum(result, names) for names in columns.values()]
        rows.append([plain(result["student"], 32), result["status"], *marks, number(result["score"]), f"{result['max_score']:g}"])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))).rstrip()
        for row in rows
    ]
    return [lines[0], "  ".join("─" * width for width in widths), *lines[1:]]


def _sum(result: dict, names: list[str]) -> str:
    marks = [result["tasks"][name] for name in names if name in result["tasks"]]
    known = [outcome["score"] for outcome in marks if outcome["score"] is not None]
    carried = "↷ " * any(outcome.get("carried_forward") for outcome in marks)
    return carried + (number(sum(known)) if known else "") + "?" * (len(known) < len(marks))


def _mark(result: dict, task: str) -> str:
    outcome = result["tasks"].get(task)
    if outcome is None:
        return "–"
    return ("↷ " if outcome.get("carried_forward") else "") + number(outcome["score"])


def _items(report: dict) -> list[str]:
    found = {item for result in report["submissions"] for item in result.get("manual", {})}
    return [item for item in load_manual() if item in found]


def _tasks(report: dict) -> list[str]:
    found = {task for result in report["submissions"] for task in result["tasks"]}
    known = [task for task in load_rubric() if task in found]
    return known + sorted(found - set(known))


# ---- the template ----

CLASS_PAGE = templates.get_template("class.html")
