"""A judge that makes its results up, for tests of what is done with results."""

from grader.marks import is_bonus, sums
from grader.rubric import load_rubric
from grader.runner import checks_of


def cell_of(nb, grade_id):
    """The cell of this nbgrader id."""
    return next(cell for cell in nb.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == grade_id)


def made_up(slips: dict[str, dict[str, str]], notes: dict[str, list[str]] = {}):
    """A `grade_all`: full marks, but for each student's tasks in `slips`, where all checks fail with that text."""

    def grade_all(submissions, **options):
        for submission in submissions:
            slip = slips.get(submission.student, {})
            tasks = {id: outcome_of(task, slip.get(id)) for id, task in load_rubric().items()}
            yield {
                "path": str(submission.path), "student": submission.student,
                **sums(tasks), "notes": list(notes.get(submission.student, [])), "tasks": tasks, "seconds": 0.1, "isolation": "made up", "device": "cpu",
            }  # fmt: skip

    return grade_all


def outcome_of(task, came: str | None) -> dict:
    """A task's result: full marks, or none where something wrong came."""
    checks = [
        {
            "name": check.name, "hidden": check.hidden, "passed": came is None, "rule": check.rule, "hint": check.hint,
            "points": check.points, "seconds": 0.01, "message": f"came: {came}", "input": came or "", "came": came or "",
            "expected": "something else",
        }
        for check in checks_of(task) + checks_of(task, hidden=True)
    ]  # fmt: skip
    score = task.points if came is None else 0.0
    found = [] if came is None else [{"task": task.id, "name": "x", "title": f"it is {came}", "hint": "Look again."}]
    return {"status": "graded", "score": score, "max_score": task.points, **is_bonus(task), "carried_forward": False, "left_out": [], "checks": checks,
            "diagnoses": found}
