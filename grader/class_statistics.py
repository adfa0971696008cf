"""What the results of a class say together: sums, marks, tasks, checks, misconceptions, time.

Everything here takes the report of a class (`isolation`, `submissions`) or its results and returns plain numbers and
dicts; what is not graded is left out of every figure, and counted.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from .cards import task_title
from .marks import gained, handed_in, maximum
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
    """What is known of a student's marks, the judge's and those given by hand, and the points still open.

    `score` and `max_score` are without bonus, `bonus` comes on top, and `sum` is both. A late penalty is taken off, as far as there
    are points, as nbgrader does it, from the bonus last.
    """
    tasks = task_marks(result).values()
    outcomes = [*tasks, *result.get("manual", {}).values()]
    # Where no task has a mark there is no sum, even if a person could not find an answer.
    has_marks = any(outcome["score"] is not None for outcome in tasks)
    unknown = [outcome for outcome in outcomes if outcome["score"] is None]
    # A bonus that waits for somebody keeps a mark open; where nothing is known, nobody knows of any.
    open_points = sum(outcome["max_score"] for outcome in unknown) if has_marks else maximum(unknown)
    found = {"score": None, "bonus": 0.0, "sum": None, "max_score": maximum(outcomes), "open": open_points}
    if has_marks:
        penalty, score, bonus = result.get("late_penalty", 0.0), gained(outcomes), gained(outcomes, bonus=True)
        found["sum"] = round(max(0.0, score + bonus - penalty), 2)
        found["score"] = round(max(0.0, score - penalty), 2)
        found["bonus"] = round(found["sum"] - found["score"], 2)
    return found


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
        results = [result for result in report["submissions"] if task in result["tasks"]]
        outcomes = [outcome for result in results if handed_in(outcome := result["tasks"][task])]
        marked = [outcome for outcome in outcomes if outcome["score"] is not None and outcome["max_score"]]
        row = distribution(outcome["score"] / outcome["max_score"] for outcome in marked)
        seconds = [sum(check.get("seconds", 0) for check in outcome["checks"]) for outcome in marked]
        row |= {"task": task, "title": task_title(task), "points": max(result["tasks"][task]["max_score"] for result in results)}
        row |= {"bonus": any(result["tasks"][task].get("bonus") for result in results), "left_out": len(results) - len(outcomes)}
        row |= {"ungraded": len(outcomes) - len(marked), "carried": sum(bool(o.get("carried_forward")) for o in marked)}
        rows.append(row | {"seconds": _median(seconds), "longest": max(seconds, default=None)})
    return rows


# ---- checks ----


def check_rows(report: dict) -> list[dict]:
    """For every check, in the rubric's order: task, name, rule, hidden, how often it was judged and passed, discrimination.

    Bonus tasks count those who handed them in. Discrimination is the point-biserial correlation of the check with the share of points that the student got in
    all other checks but the bonus: None where fewer than ENOUGH were judged, and where everybody or nobody passes.
    """
    rows: dict[tuple, dict] = {}
    rests: dict[tuple, list[tuple[bool, float]]] = {}
    for result in report["submissions"]:
        judged = [(task, check) for task, outcome in result["tasks"].items() for check in outcome["checks"]]
        judged = [(task, check) for task, check in judged if check["passed"] is not None]
        others = [check for task, check in judged if not result["tasks"][task].get("bonus")]
        possible, reached = (sum(check["points"] for check in some) for some in (others, [c for c in others if c["passed"]]))
        for task, check in judged:
            key = (task, check["name"])
            rows.setdefault(key, {"task": task, **{name: check[name] for name in ("name", "rule", "hidden")}})
            own = 0.0 if result["tasks"][task].get("bonus") else check["points"]
            rest = possible - own
            share = (reached - own * check["passed"]) / rest if rest > 0 else 0.0
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
