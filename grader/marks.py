"""What the marks of tasks add up to. Bonus points come on top of the maximum, and are never part of it."""

from __future__ import annotations

from collections.abc import Iterable

from .rubric import Task

NOT_HANDED_IN = "not handed in"  # the status of a bonus task that was left out, which costs nothing


def maximum(outcomes: Iterable[dict]) -> float:
    """What can be reached without bonus: 100 %, wherever marks are shown or summed."""
    return sum(outcome["max_score"] for outcome in outcomes if not outcome.get("bonus"))


def gained(outcomes: Iterable[dict], bonus: bool = False) -> float:
    """The points that are known, of the bonus or of all else."""
    scores = [outcome["score"] for outcome in outcomes if bool(outcome.get("bonus")) is bonus]
    return round(sum(score for score in scores if score is not None), 2)


def sums(tasks: dict[str, dict]) -> dict:
    """A result's status, its score (None where nothing is known) and maximum without bonus, and the bonus points."""
    outcomes = list(tasks.values())
    known = [outcome for outcome in outcomes if outcome["score"] is not None]
    status = "ungraded" if not known else "graded" if len(known) == len(outcomes) else "partly graded"
    score = gained(outcomes) if known else None
    return {"status": status, "score": score, "max_score": maximum(outcomes), "bonus": gained(outcomes, bonus=True)}


def empty(task: Task, status: str = "ungraded", score: float | None = None, **more) -> dict:
    """A task's outcome without a check."""
    outcome = {"status": status, "score": score, "max_score": task.points, **is_bonus(task)}
    return {**outcome, "carried_forward": False, "checks": [], **more}


def is_bonus(task: Task) -> dict:
    """What an outcome says of it: {"bonus": True}, or nothing."""
    return {"bonus": True} if task.bonus else {}


def handed_in(outcome: dict) -> bool:
    """Whether there was anything to judge."""
    return outcome.get("status") != NOT_HANDED_IN
