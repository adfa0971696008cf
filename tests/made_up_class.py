"""Classes that nobody sat in: a few students each with their own trouble, and any number of them drawn from a seed."""

import math
import random

from grader.marks import NOT_HANDED_IN, empty, is_bonus, sums
from grader.rubric import load_manual, load_rubric

NOTES = [
    "cell {n} of 01_unet.ipynb, line {n}: SyntaxError: '(' was never closed; this cell was passed over",
    "02_skip_connections.ipynb was not handed in. Its tasks are marked by what the other files define.",
    "Taken as 01_unet.ipynb: final_v{n}.ipynb.",
]
SLIPS = {
    "1.1": ("returns_swapped", "the pooled map comes first and the features second"),
    "3.1": ("per_image", "every picture has a Dice of its own, and the loss is their mean"),
    "3.4": ("raw_logits", "IoU thresholds logits as if they were probabilities"),
}


def made_up_report(students: int, seed: int = 0, rules: dict | None = None) -> dict:
    """Return a report; students differ in ability, checks in difficulty, and one check in fifty goes the wrong way."""
    rng = random.Random(seed)
    checks = [(task.id, name) for task in load_rubric().values() for name in task.checks]
    hardness = {key: rng.gauss(-1.2, 1.0) for key in checks}
    slope = {key: -1.0 if rng.random() < 0.02 else 1.5 for key in checks}
    results = [_student(f"student_{number:04}", rng, hardness, slope, rules or {}) for number in range(students)]
    return {"isolation": "full: made up", "passed_over": ["essay.docx"], "submissions": results}


def _student(name: str, rng: random.Random, hardness: dict, slope: dict, rules: dict) -> dict:
    ability, broken = rng.gauss(0, 1), rng.random() < 0.02
    tasks = {task.id: _task(task, ability, rng, hardness, slope, rules, broken) for task in load_rubric().values()}
    known = [task["score"] for task in tasks.values() if task["score"] is not None]
    notes = [note.format(n=rng.randint(2, 30)) for note in NOTES if rng.random() < 0.06]
    notes += ["01_unet.ipynb: not a notebook, since it is not JSON (Expecting value: line 1 column 1); save it again"] * broken
    versions = {"python": "3.11.7", "torch": "2.15.0", "numpy": "2.4.0", "nbgrader": "0.9.6", "unetlab": "0.1.0"}
    seconds = round(math.exp(rng.gauss(1.2, 0.4)), 2) if known else 0.0
    return {
        "path": f"handins/{name}.zip",
        "student": name,
        **sums(tasks),
        "notes": notes,
        "tasks": tasks,
        "seconds": seconds,
        "isolation": "full: made up",
        "device": "cpu",
        "manual": {item: _by_hand(item, rng) for item in load_manual()},
        "audit": {
            "seed": 0,
            "kit": "5f0c" * 16,
            "versions": versions,
            "device": "cpu",
            "isolation": "full: made up",
            "graded_at": f"2026-11-25T20:{rng.randint(10, 59)}:00+00:00",
            "seconds": seconds,
        },
    }


def _task(task, ability: float, rng: random.Random, hardness: dict, slope: dict, rules: dict, broken: bool) -> dict:
    if broken and (task.notebook == "01_unet" or rng.random() < 0.3):
        return empty(task)
    if task.bonus and ability < 0.5:
        return empty(task, NOT_HANDED_IN, 0.0)
    checks = []
    for number, (name, points) in enumerate(task.checks.items()):
        key = (task.id, name)
        passed = rng.random() < 1 / (1 + math.exp(slope[key] * (hardness[key] - ability)))
        rule, hint = rules.get(key, (f"rule of {name.replace('_', ' ')}", "a hint"))
        message = "" if passed else f"rule: {rule}\ninput: x of shape (2, 3, 8, 8)\ncame: 1.25\nexpected: 1.5\nhint: {hint}"
        checks.append(
            {
                "name": name,
                "hidden": number % 3 == 2,
                "passed": passed,
                "message": message,
                "rule": rule,
                "hint": hint,
                "points": points,
                "seconds": round(rng.random() / 20, 4),
            }
        )
    lost = sum(check["points"] for check in checks if not check["passed"])
    found = [
        {"task": task.id, "name": n, "title": t, "hint": ""} for n, t in [SLIPS.get(task.id, ("", ""))] if n and lost > task.points / 4
    ]
    return {
        "status": "graded",
        "score": task.points - lost,
        "max_score": task.points,
        **is_bonus(task),
        "carried_forward": lost and rng.random() < 0.05,
        "left_out": [],
        "checks": checks,
        "diagnoses": found,
    }


def _by_hand(item: str, rng: random.Random) -> dict:
    points, drawn = load_manual()[item].points, rng.random()
    if drawn < 0.1:
        return {"status": "to mark", "score": None, "max_score": points}
    if drawn < 0.15:
        return {"status": "no response", "score": 0.0, "max_score": points}
    return {"status": "marked", "score": round(points * rng.uniform(0.4, 1)), "max_score": points}


# ---- a few students, written out ----

HOSTILE = "<script>alert(1)</script>\x1b[31m `x` $y$ & \ud800"


def check(name, passed, hidden=False, message="", points=2.0):
    return {
        "name": name,
        "hidden": hidden,
        "passed": passed,
        "message": message,
        "rule": f"rule of {name}",
        "hint": "a hint",
        "points": points,
    }


def outcome(score, checks, maximum=4.0, carried=False):
    status = "ungraded" if score is None else "graded"
    return {"status": status, "score": score, "max_score": maximum, "carried_forward": carried, "checks": checks}


def result(student, tasks, notes=()):
    scores = [task["score"] for task in tasks.values()]
    known = [score for score in scores if score is not None]
    status = "graded" if len(known) == len(scores) else "partly graded" if known else "ungraded"
    maximum = sum(task["max_score"] for task in tasks.values())
    total = sum(known) if known else None
    return {
        "path": f"handins/{student}.ipynb",
        "student": student,
        "status": status,
        "score": total,
        "max_score": maximum,
        "notes": list(notes),
        "seconds": 1.0,
        "tasks": tasks,
    }


def class_report():
    good = {"1.1": outcome(4.0, [check("a", True), check("b", True, hidden=True)])}
    slip = {"1.1": outcome(2.0, [check("a", True), check("b", False, hidden=True, message="came 3, expected SECRET")], carried=True)}
    hostile = {"1.1": outcome(0.0, [check("a", False, message=HOSTILE), check("b", False, hidden=True)])}
    broken = {"1.1": outcome(None, [])}
    students = [
        result("ada", good),
        result("bob", slip),
        result("=cmd()", hostile, [HOSTILE]),
        result("dan", broken, ["not JSON"]),
    ]
    return {"isolation": "full: everything", "submissions": students}


def by_hand():
    """Two parts and a written answer: one student has it marked, one not, one wrote none."""
    marks = {"1.1": outcome(4.0, []), "1.2": outcome(2.0, []), "2.1": outcome(3.0, []), "2.2": outcome(None, [])}
    answers = {
        "ada": {"status": "marked", "score": 7.5, "max_score": 10.0},
        "bob": {"status": "to mark", "score": None, "max_score": 10.0},
        "eve": {"status": "no response", "score": 0.0, "max_score": 10.0},
    }
    students = []
    for name, answer in answers.items():
        tasks = {**marks, "2.2": outcome(1.0, [])} if name != "eve" else marks
        students.append({**result(name, tasks), "manual": {"report": answer}})
    return {"isolation": "none", "submissions": students}
