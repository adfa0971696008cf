"""What differs between two results of one hand-in: whose mark rises or falls, by how much, in which task, and why."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timezone
from pathlib import Path

from . import cards
from .cards import number
from .durable import whole
from .exports import cell
from .rubric import load_rubric

COLUMNS = ["at", "student", "task", "before", "after", "change", "of", "total_before", "total_after", "why"]


def changes_of(old: dict, new: dict) -> list[dict]:
    """One dict for each task whose mark or verdicts differ: student, task, before, after, change, of, totals, why.

    A mark that is missing is None, and so is the change from or to it.
    """
    rows = []
    for task in load_rubric():
        was, now = old["tasks"].get(task), new["tasks"].get(task)
        if was is None or now is None or not (why := _why(was, now)):
            continue
        known = was["score"] is not None and now["score"] is not None
        rows.append({
            "student": new["student"], "task": task, "before": was["score"], "after": now["score"],
            "change": round(now["score"] - was["score"], 2) if known else None, "of": now["max_score"],
            "was_of": was["max_score"], "total_before": _total(old), "total_after": _total(new), "why": why,
        })
    return rows


def _total(result: dict) -> float | None:
    """The judge's marks with the bonus."""
    return None if result["score"] is None else round(result["score"] + result.get("bonus", 0.0), 2)


def _why(was: dict, now: dict) -> list[str]:
    """What differs between two results of a task; empty where a student would see no difference."""
    old, new = ({check["name"]: check for check in mark["checks"]} for mark in (was, now))
    why = []
    for name, check in new.items():
        points = f" ({check['points']:g} points)"
        if name not in old:
            why.append(f"{name}: new, {'passed' if check['passed'] else 'failed'}{points}{_said(check)}")
        elif check["passed"] != old[name]["passed"]:
            why.append(f"{name}: {'failed → passed' if check['passed'] else 'passed → failed'}{points}{_said(check)}")
        elif check["points"] != old[name]["points"]:
            why.append(f"{name}: {old[name]['points']:g} → {check['points']:g} points")
    why += [f"{name}: no longer counted" for name in old if name not in new and now["score"] is not None]
    if was["score"] is None and now["score"] is not None:
        why.insert(0, "was ungraded")
    if now["score"] is None and was["score"] is not None:
        why.insert(0, f"ungraded: {now.get('reason') or now.get('unreadable') or 'see the notes'}")
    if not why and (was["score"], was["max_score"]) != (now["score"], now["max_score"]):
        why.append("the checks that count have other points")
    return why


def _said(check: dict) -> str:
    """What a failed check found, in short."""
    lines = [line for line in cards.said(check).splitlines() if line.startswith(("came:", "expected:", "to do:"))]
    return "" if check["passed"] or not lines else f": {'; '.join(lines)}"


def append_changes(changes: list[dict], path: Path) -> None:
    """Add the changes below those of earlier runs; one row a student and task."""
    if not changes:
        return
    at, text = datetime.now(timezone.utc).isoformat(timespec="seconds"), io.StringIO()
    writer = csv.writer(text)
    if not path.exists():
        writer.writerow(COLUMNS)
    for row in changes:
        fields = {**row, "at": at, "why": " | ".join(row["why"])}
        values = [fields[name] for name in COLUMNS]
        writer.writerow([value if isinstance(value, float) else cell(value) for value in values])  # -2 is no formula
    earlier = path.read_bytes() if path.exists() else b""
    with whole(path) as part:
        part.write_bytes(earlier + text.getvalue().encode())


def changes_table(outcome: dict) -> str:
    """What changes, for the terminal: who gains or loses, by how much, in which task, and why."""
    if not outcome["changes"] and not outcome["kept"]:
        return "No mark changes."
    by_student: dict[str, list[dict]] = {}
    for row in outcome["changes"]:
        by_student.setdefault(row["student"], []).append(row)
    lines = [line for student, rows in by_student.items() for line in _lines(student, rows)]
    for row in outcome["kept"]:
        lines.append(f"{cards.plain(row['student'], 32)}: {row['task']} keeps its mark, since it could not be judged again; look at the hand-in")
    net = [round(sum(row["change"] or 0 for row in rows), 2) for rows in by_student.values()]
    return "\n".join([*lines, "", f"{sum(change > 0 for change in net)} gain, {sum(change < 0 for change in net)} lose."])


def _lines(student: str, rows: list[dict]) -> list[str]:
    lines = [f"{cards.plain(student, 32)}: {number(rows[0]['total_before'])} → {number(rows[0]['total_after'])}"]
    for row in rows:
        change = "" if row["change"] is None else f" ({row['change']:+g})"
        lines.append(f"  {row['task']}: {number(row['before'])} → {number(row['after'])} of {row['of']:g}{change}")
        lines += [f"      {cards.plain(reason, 300)}" for reason in row["why"]]
    return lines
