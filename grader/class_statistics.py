"""What the results of a class say together: sums, marks, tasks, checks, misconceptions, time.

Everything here takes the report of a class (`isolation`, `submissions`) or its results and returns plain numbers and
dicts; what is not graded is left out of every figure, and counted.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from .cards import task_title
from .rubric import load_manual, load_rubric

BINS = 10  # bars of a histogram of marks, from 0 % to 100 %
ENOUGH = 10  # judged hand-ins from which on a correlation is shown
FULL = 0.99999  # share of the points from which on a mark is full


# ---- sums ----


def tasks_of(report: dict) -> list[str]:
    """The tasks of a report, in the rubric's order; what the rubric does not know comes last."""
    found = {task for result in report["submissions"] for task in result["tasks"]}
    known = [task for task in load_rubric() if task in found]
    return known + sorted(found - set(known))


def items_of(report: dict) -> list[str]:
    """What a person marks, as far as the report has it."""
    found = {item for result in report["submissions"] for item in result.get("manual", {})}
    return [item for item in load_manual() if item in found]


def parts_of(tasks: list[str]) -> list[tuple[str, list[str]]]:
    """The tasks by part: 1.1 and 1.2 belong to part 1."""
    parts: dict[str, list[str]] = {}
    for task in tasks:
        parts.setdefault(task.partition(".")[0], []).append(task)
    return list(parts.items())


def task_marks(result: dict) -> dict[str, dict]:
    """The marks of a student that count, by task: the judge's, or what a person put in their place (`corrected`)."""
    corrected = result.get("corrected", {})
    return {task: {**outcome, **corrected.get(task, {})} for task, outcome in result["tasks"].items()}


def total(result: dict) -> dict:
    """What is known of a student's marks, the judge's and those given by hand: score, max_score, and the points still open.

    A late penalty is taken off, as far as there are points, as nbgrader does it.
    """
    tasks = task_marks(result).values()
    outcomes = [*tasks, *result.get("manual", {}).values()]
    known = [outcome["score"] for outcome in outcomes if outcome["score"] is not None]
    open_points = sum(outcome["max_score"] for outcome in outcomes if outcome["score"] is None)
    # Where no task has a mark there is no sum, even if a person could not find an answer.
    has_marks = any(outcome["score"] is not None for outcome in tasks)
    score = round(max(0.0, sum(known) - result.get("late_penalty", 0.0)), 2) if has_marks else None
    return {"score": score, "max_score": sum(outcome["max_score"] for outcome in outcomes), "open": open_points}


# ---- marks and tasks ----


def distribution(shares: Iterable[float]) -> dict:
    """The spread of marks given as shares of the points: count, mean, quartiles (low, median, high; None where empty), bins."""
    shares = sorted(shares)
    bins = [0] * BINS
    for share in shares:
        bins[min(BINS - 1, max(0, int(share * BINS + 1e-9)))] += 1
    quartiles = statistics.quantiles(shares, n=4, method="inclusive") if len(shares) > 1 else shares * 3
    return {
        "count": len(shares),
        "mean": statistics.fmean(shares) if shares else None,
        "quartiles": quartiles or None,
        "bins": bins,
        "full": sum(share >= FULL for share in shares),
        "zero": sum(share <= 0 for share in shares),
    }


def judged_marks(results: list[dict]) -> dict:
    """The distribution of the judge's marks, of those who are fully graded."""
    graded = [r for r in results if r["status"] == "graded" and r["score"] is not None and r["max_score"]]
    return distribution(result["score"] / result["max_score"] for result in graded)


def final_marks(results: list[dict]) -> dict:
    """The distribution of the marks with those given by hand, of those who have nothing left to mark."""
    sums = [total(result) for result in results if result.get("manual")]
    return distribution(s["score"] / s["max_score"] for s in sums if s["score"] is not None and not s["open"] and s["max_score"])


def task_rows(report: dict) -> list[dict]:
    """For each task its title, points, distribution, how many are ungraded, and the seconds it took (median, longest)."""
    rows = []
    for task in tasks_of(report):
        outcomes = [result["tasks"][task] for result in report["submissions"] if task in result["tasks"]]
        marked = [outcome for outcome in outcomes if outcome["score"] is not None and outcome["max_score"]]
        row = distribution(outcome["score"] / outcome["max_score"] for outcome in marked)
        seconds = [sum(check.get("seconds", 0) for check in outcome["checks"]) for outcome in marked]
        row |= {"task": task, "title": task_title(task), "points": max(outcome["max_score"] for outcome in outcomes)}
        row |= {"ungraded": len(outcomes) - len(marked), "carried": sum(bool(o.get("carried_forward")) for o in marked)}
        rows.append(row | {"seconds": _median(seconds), "longest": max(seconds, default=None)})
    return rows


# ---- checks ----


def check_rows(report: dict) -> list[dict]:
    """For every check, in the rubric's order: task, name, rule, hidden, how often it was judged and passed, discrimination.

    Discrimination is the point-biserial correlation of the check with the share of points that the student got in all
    other checks: None where fewer than ENOUGH were judged, and where everybody or nobody passes.
    """
    rows: dict[tuple, dict] = {}
    rests: dict[tuple, list[tuple[bool, float]]] = {}
    for result in report["submissions"]:
        judged = [(task, check) for task, outcome in result["tasks"].items() for check in outcome["checks"]]
        judged = [(task, check) for task, check in judged if check["passed"] is not None]
        possible = sum(check["points"] for _, check in judged)
        gained = sum(check["points"] for _, check in judged if check["passed"])
        for task, check in judged:
            key = (task, check["name"])
            rows.setdefault(key, {"task": task, **{name: check[name] for name in ("name", "rule", "hidden")}})
            rest = possible - check["points"]
            share = (gained - check["points"] * check["passed"]) / rest if rest > 0 else 0.0
            rests.setdefault(key, []).append((check["passed"], share))
    order = [(id, name) for id, task in load_rubric().items() for name in task.checks]
    place = {key: number for number, key in enumerate(order)}
    keys = sorted(rows, key=lambda key: (place.get(key, len(place)), key))
    return [rows[key] | _rate(rests[key]) for key in keys]


def _rate(rests: list[tuple[bool, float]]) -> dict:
    passed = sum(passed for passed, _ in rests)
    return {"passed": passed, "judged": len(rests), "discrimination": discrimination(rests)}


def discrimination(rests: list[tuple[bool, float]]) -> float | None:
    """Point-biserial correlation of passing a check with the rest of the marks; None where it says nothing."""
    if len(rests) < ENOUGH:
        return None
    try:
        return statistics.correlation([float(passed) for passed, _ in rests], [rest for _, rest in rests])
    except statistics.StatisticsError:  # one of the two is the same for all
        return None


# ---- misconceptions and time ----


def misconceptions(report: dict) -> list[dict]:
    """The misconceptions whose numbers hand-ins reproduce, the most frequent first: task, name, title, students."""
    found: dict[tuple, dict] = {}
    for result in report["submissions"]:
        for task, outcome in result["tasks"].items():
            for diagnosis in outcome.get("diagnoses") or []:
                title = diagnosis.get("title") or diagnosis.get("name", "")
                row = {"task": task, "name": diagnosis.get("name", ""), "title": title, "students": []}
                row = found.setdefault((task, row["name"], title), row)
                if result["student"] not in row["students"]:
                    row["students"].append(result["student"])
    return sorted(found.values(), key=lambda row: (-len(row["students"]), row["task"], row["title"]))


def grading_time(results: list[dict]) -> dict:
    """Seconds that judging took: in all, a submission's median, the longest, and whose that was."""
    seconds = {result["student"]: result.get("seconds") or 0.0 for result in results}
    judged = {student: time for student, time in seconds.items() if time > 0}
    slowest = max(judged, key=judged.get, default=None)
    longest = judged.get(slowest)
    return {"total": sum(judged.values()), "median": _median(judged.values()), "longest": longest, "slowest": slowest}


def _median(numbers: Iterable[float]) -> float | None:
    numbers = list(numbers)
    return statistics.median(numbers) if numbers else None
