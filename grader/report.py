"""What the terminal prints of a class: one table, and below it every note."""

from __future__ import annotations

from .cards import number, plain
from .class_statistics import parts_of, tasks_of
from .marks import handed_in, maximum

TABLE_WIDTH = 130  # characters


def summary_table(report: dict) -> str:
    """Return the class as a table for the terminal, with the notes below it; parts instead of tasks where it gets too wide."""
    tasks = tasks_of(report)
    results = sorted(report["submissions"], key=lambda r: r["student"])
    lines = _table(results, {task: [task] for task in tasks})
    if max(map(len, lines)) > TABLE_WIDTH:
        lines = _table(results, {f"part {part}": names for part, names in parts_of(tasks)})
    notes = [f"{plain(r['student'], 32)}: {plain(note, 300)}" for r in results for note in r["notes"]]
    left = maximum(outcome for r in results for outcome in r.get("manual", {}).values() if outcome["score"] is None)
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
    with_bonus = any(result.get("bonus") for result in results)
    rows = [["student", "status", *columns, "score", "of", *["bonus"] * with_bonus]]
    for result in results:
        marks = [_mark(result, names[0]) if len(names) == 1 else _sum(result, names) for names in columns.values()]
        rows.append([plain(result["student"], 32), result["status"], *marks, number(result["score"]), f"{result['max_score']:g}"])
        rows[-1] += [f"+{number(result['bonus'])}" if result.get("bonus") else ""] * with_bonus
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))).rstrip()
        for row in rows
    ]
    return [lines[0], "  ".join("─" * width for width in widths), *lines[1:]]


def _sum(result: dict, names: list[str]) -> str:
    marks = [result["tasks"][name] for name in names if name in result["tasks"] and handed_in(result["tasks"][name])]
    known = [outcome["score"] for outcome in marks if outcome["score"] is not None]
    if not marks:
        return "–"
    carried = "↷ " * any(outcome.get("carried_forward") for outcome in marks)
    return carried + (number(sum(known)) if known else "") + "?" * (len(known) < len(marks))


def _mark(result: dict, task: str) -> str:
    outcome = result["tasks"].get(task)
    if outcome is None or not handed_in(outcome):
        return "–"
    return ("↷ " if outcome.get("carried_forward") else "") + number(outcome["score"])
