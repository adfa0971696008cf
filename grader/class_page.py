"""The class on one page, for the instructor: one HTML file that loads nothing from elsewhere.

Text that a student can influence only ever goes through jinja2's autoescape. The page's one script sorts and filters the
table of marks; its digest stands in the content security policy, so no other script runs, whatever a name holds.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
from markupsafe import Markup

from . import class_statistics
from .cards import network_notes, task_title, templates
from .class_statistics import items_of, parts_of, task_marks, tasks_of, total
from .exports import by_student
from .rubric import assignment, load_manual, notebooks
from .text import visible

SCRIPT = Path(__file__).parent / "templates" / "class.js"
MANY = 15  # students who need a person, from which on they are grouped by what is the matter
DETAILED = 60  # hand-ins up to which the page repeats what each failed check said
SHOWN = 40  # names in a row; more are counted
URGENCY = {"ungraded": 0, "partly graded": 1, "graded": 2}
ALIKE = 80  # characters by which notes are alike, without names, numbers and what is quoted
MOST_ODD = 10  # checks that are doubted one by one; of more, something else is the matter
HARDEST = 8  # checks that are picked out
VARIES = re.compile(r"`[^`]*`|'[^']*'|\"[^\"]*\"|[^\s:,;()]*\.(?:ipynb|py|zip|pth|pt|json|pdf)\b|\d+(?:[.,]\d+)*")


def write_class_page(report: dict, path: Path, title: str = "") -> Path:
    """Write the page of a class; feedback is linked where it lies below the page's folder, as nbgrader writes it."""
    path, results, tasks = Path(path), by_student(report), tasks_of(report)
    checks = class_statistics.check_rows(report)
    script = SCRIPT.read_text(encoding="utf-8")
    page = templates.get_template("class.html").render(
        title=title or assignment(),
        script=Markup(script),
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        results=results,
        attention=attention(results),
        strays=report.get("passed_over", []),
        late=out_of_time(results),
        marks_judged=class_statistics.judged_marks(results),
        marks_final=class_statistics.final_marks(results),
        to_mark=sum(m["status"] == "to mark" for r in results for m in r.get("manual", {}).values()),
        task_rows=class_statistics.task_rows(report),
        checks=checks,
        odd_checks=[(check, why) for check in checks if (why := oddity(check))],
        most_odd=MOST_ODD,
        hardest=sorted((c for c in checks if c["passed"] < c["judged"]), key=lambda c: c["passed"] / c["judged"])[:HARDEST],
        map=check_map(results, checks),
        misconceptions=class_statistics.misconceptions(report),
        similar=report.get("similar"),
        time=class_statistics.grading_time(results),
        audit=audit(report),
        tasks=[(task, task_title(task)) for task in tasks],
        parts=parts_of(tasks),
        items=[(item, load_manual()[item].title) for item in items_of(report)],
        columns=1 + len(tasks) + sum(len(names) > 1 for _, names in parts_of(tasks)) + len(items_of(report)),
        points=_points(results),
        bonus={task for result in results for task, outcome in result["tasks"].items() if outcome.get("bonus")},
        totals={id(result): total(result) for result in results},
        marks={id(result): task_marks(result) for result in results},
        subtotals={id(result): _subtotals(result, tasks) for result in results},
        failed={id(result): list(_failed(result)) for result in results},
        feedback={id(result): _feedback(result["student"], path.parent) for result in results},
        detailed=len(results) <= DETAILED,
        shown=SHOWN,
    )
    path.write_text(page, encoding="utf-8", errors="replace")
    return path


# ---- what needs a person ----


def repairs(result: dict) -> list[str]:
    """The notes that ask for a look: all but those on errors carried forward and on the network, which the marks show."""
    carried = tuple(f"{task} was marked with" for task, o in result["tasks"].items() if o.get("carried_forward"))
    return [note for note in result["notes"] if not note.startswith(carried + network_notes())]


def attention(results: list[dict]) -> dict:
    """What a person has to look at: `students` one by one, or `kinds` (status, what, who with which note) where they are many."""
    students = [{**r, "notes": repairs(r)} for r in results if r["status"] != "graded" or repairs(r)]
    students.sort(key=lambda result: URGENCY.get(result["status"], 0))
    kinds = _kinds(students) if len(students) > MANY else []
    return {"count": len(students), "students": [] if kinds else students, "kinds": kinds}


def _kinds(students: list[dict]) -> list[dict]:
    """The notes of many students, alike ones together, ungraded hand-ins first; the first note stands for its kind."""
    found = defaultdict(list)
    for result in students:
        for note in result["notes"] or ["no note says why"]:
            what = VARIES.sub("…", note.replace(result["student"], "…"))
            found[result["status"], what[:ALIKE]].append((result["student"], note))
    kinds = [{"status": status, "who": who} for (status, _), who in found.items()]
    return sorted(kinds, key=lambda kind: (URGENCY.get(kind["status"], 0), -len(kind["who"]), kind["who"]))


def out_of_time(results: list[dict]) -> list[str]:
    """Who ran out of time in which tasks: of one it is the code, of many it may be the machine."""
    found = {r["student"]: [task for task, outcome in r["tasks"].items() if outcome.get("late")] for r in results}
    return [f"{student} ({', '.join(tasks)})" for student, tasks in found.items() if tasks]


def oddity(check: dict) -> str:
    """Why a check may be worth a look itself; empty where it is not."""
    if check["judged"] >= class_statistics.ENOUGH and not check["passed"]:
        return "nobody passes it"
    # Two standard errors of a correlation of 0: in a small class some are negative by chance.
    if check["discrimination"] is not None and check["discrimination"] < -2 / math.sqrt(check["judged"]):
        return "those who pass it have fewer marks elsewhere than those who fail it"
    return ""


# ---- the picture of all checks ----

BLUE, ORANGE, GREY = (0, 114, 178), (213, 94, 0), (236, 236, 236)


def check_map(results: list[dict], checks: list[dict]) -> dict | None:
    """A picture with a row for each check and a column for each student, the best first; None where there is nothing to show."""
    ranked = sorted(results, key=lambda result: -(result["score"] or 0))
    if not checks or not ranked:
        return None
    row_of = {(check["task"], check["name"]): row for row, check in enumerate(checks)}
    pixels = np.full((len(checks), len(ranked), 3), GREY, dtype=np.uint8)
    for column, result in enumerate(ranked):
        for task, outcome in result["tasks"].items():
            for check in outcome["checks"]:
                if check["passed"] is not None:
                    pixels[row_of[task, check["name"]], column] = BLUE if check["passed"] else ORANGE
    counts = Counter(check["task"] for check in checks)
    return {"png": _png(pixels), "rows": len(checks), "columns": len(ranked), "tasks": list(counts.items())}


def _png(pixels: np.ndarray) -> str:
    from PIL import Image  # comes with matplotlib

    file = io.BytesIO()
    Image.fromarray(pixels).quantize(8).save(file, "png", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


# ---- a student's row ----


def _points(results: list[dict]) -> dict[str, float]:
    """What each task and each item marked by hand is worth."""
    outcomes = [entry for r in results for entry in (*r["tasks"].items(), *r.get("manual", {}).items())]
    return {name: outcome["max_score"] for name, outcome in outcomes}


def _subtotals(result: dict, tasks: list[str]) -> dict[str, dict]:
    """A student's marks by part."""
    found = {}
    for part, names in parts_of(tasks):
        found[part] = total({"tasks": {name: mark for name, mark in task_marks(result).items() if name in names}})
    return found


def _failed(result: dict) -> Iterator[tuple[str, list[dict]]]:
    """The failed checks of a student by task."""
    for task, outcome in result["tasks"].items():
        if failed := [check for check in outcome["checks"] if check["passed"] is False]:
            yield task, failed


def _feedback(student: str, folder: Path) -> list[tuple[str, str]]:
    """What nbgrader wrote for a student: notebook and the link to its page."""
    found = []
    for notebook in sorted(notebooks()):
        place = Path("feedback", student, assignment(), f"{notebook}.html")
        if (folder / place).is_file():
            found.append((notebook, quote(place.as_posix(), errors="replace")))
    return found


# ---- the foot ----


def audit(report: dict) -> list[tuple[str, str]]:
    """What the marks rest on, as label and text; where hand-ins differ, every value with how many have it."""
    records = [result.get("audit") or {} for result in report["submissions"]]
    isolation = Counter(str(r.get("isolation") or report.get("isolation", "")) for r in records or [{}])
    lines = [("isolation", _counted(isolation))]
    for name, label in (("device", "device"), ("seed", "seed"), ("kit", "digest of the kit")):
        values = Counter(str(record[name])[:16] for record in records if record.get(name) is not None)
        lines += [(label, _counted(values))] * bool(values)
    versions = Counter(_versions(record["versions"]) for record in records if record.get("versions"))
    lines += [("versions", _counted(versions))] * bool(versions)
    times = sorted(str(record["graded_at"]) for record in records if record.get("graded_at"))
    return lines + [("judged", " to ".join(dict.fromkeys([times[0], times[-1]])))] if times else lines


def _versions(versions: dict) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _counted(values: Counter) -> str:
    """The values; with their numbers where there are several."""
    if len(values) == 1:
        return visible(next(iter(values)))
    return "; ".join(f"{value} ({number} hand-ins)" for value, number in values.most_common())
