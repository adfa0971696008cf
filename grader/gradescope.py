"""An autograder for Gradescope from the same checks: the zip that is uploaded, and what runs in it.

The zip holds `setup.sh`, `run_autograder` and the kit. In Gradescope's container `python -m grader.gradescope` judges the
submission with the judge of `unetlab class`, and writes `results.json` as Gradescope's "Autograder Specifications" describe it.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import shutil
import sys
import tempfile
import traceback
import zipfile
from pathlib import Path

from .cards import explained, network_notes, number, rows_of, task_title
from .durable import whole
from .handover import Handin, hand_over, submission_in, submitted, without_folder
from .journal import set_aside, ungraded
from .release import repository_files
from .marks import maximum
from .rubric import load_manual, select
from .submissions import Submission, find_submissions
from .text import visible

ROOT = Path(__file__).resolve().parents[1]
TEMPLATES = Path(__file__).with_name("templates") / "gradescope"
LEFT_OUT = ("tests", "benchmarks", "docs", ".ci")
WHEN = ("visible", "after_due_date", "after_published", "hidden")
TEXT_LIMIT = 4000  # characters of one output
FAULT = (
    "This submission was not graded, by a fault of the autograder and not of yours. It is not a mark of 0: "
    "an instructor sees what happened and will run it again."
)


# ---- the zip ----


def write_zip(out: Path, only: list[str] | None = None, hidden: str = "after_published", torch_index: str = "", root: Path = ROOT) -> Path:
    """Write the autograder's zip and return its path.

    `hidden` says when students see the hidden checks' results, `torch_index` where pip finds builds of torch without CUDA.
    Raises ValueError for an unknown task or time, or where the name is no .zip.
    """
    select(only)
    out = Path(out)
    if out.suffix.lower() != ".zip" or not out.resolve().parent.is_dir():
        raise ValueError(f"{out}: name a .zip in a folder that exists")
    if hidden not in WHEN:
        raise ValueError(f"hidden checks are shown {', '.join(WHEN)}; not {hidden!r}")
    options = ["--hidden", hidden, *(["--only", ",".join(only)] if only else [])]
    filled = {"@OPTIONS@": shlex.join(options), "@TORCH_INDEX@": shlex.quote(torch_index)}
    with whole(out) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("setup.sh", "run_autograder"):
            text = (TEMPLATES / name).read_text(encoding="utf-8")
            for mark, value in filled.items():
                text = text.replace(mark, value)
            _add(archive, name, text.encode(), 0o755)
        for path in repository_files(root):
            if path.split("/")[0] not in LEFT_OUT:
                _add(archive, f"kit/{path}", (Path(root) / path).read_bytes(), 0o644)
    return out


def _add(archive: zipfile.ZipFile, name: str, content: bytes, mode: int) -> None:
    """Add a file; one date for all, so that the same kit gives the same zip."""
    info = zipfile.ZipInfo(name)
    info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, (0o100000 | mode) << 16
    archive.writestr(info, content)


# ---- in the container ----


def main(arguments: list[str] | None = None) -> int:
    """Judge one submission and write results.json, whatever happens."""
    parser = argparse.ArgumentParser(prog="run_autograder")
    parser.add_argument("submission", type=Path, nargs="?")
    parser.add_argument("results", type=Path, nargs="?")
    parser.add_argument("--prepare", action="store_true", help="work out once what every submission would wait for")
    parser.add_argument("--only", type=lambda text: text.split(","))
    parser.add_argument("--hidden", choices=WHEN, default="after_published")
    options = parser.parse_args(arguments)
    if options.prepare:
        prepare(options.only)
        return 0
    try:
        result = judge(options.submission, options.only)
        document = results(result, options.hidden)
        print(f"isolation: {result.get('isolation', 'none, nothing was run')}")
        print("\n".join(map(visible, result["notes"])))
    except Exception:  # whatever it is, and for instructors only: it may show what students must not see
        traceback.print_exc(file=sys.stdout)
        document = not_graded(FAULT)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    with whole(options.results) as part:
        part.write_text(json.dumps(document, indent=1), encoding="utf-8")
    return 0


def prepare(only: list[str] | None = None) -> None:
    """Keep the known-wrong variants' answers in the image: each container is a fresh one, and asking takes a minute."""
    from solutions.diagnosis import ask_all

    for task in select(only):
        ask_all(task.id)


def judge(folder: Path, only: list[str] | None = None) -> dict:
    """The judge's result for all that lies in a folder, as one student's hand-in; whatever the judge raises."""
    from .judge import Judge

    handin = Handin(_whole(folder))
    work = Path(tempfile.mkdtemp(prefix="unetlab-handin-"))
    try:
        hand_over(handin, work)
        place = submitted(work, handin)
        if handin.problem:
            return _selected(ungraded(handin.student, handin.problem), only)
        with Judge(only) as judging:
            result = set_aside(judging.grade(submission_in(place, handin.student)), place)
        notes = [without_folder(note, place) for note in [*handin.notes, *result["notes"]]]
        return {**result, "notes": list(dict.fromkeys(notes))}
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _whole(folder: Path) -> Submission:
    """Everything in the folder as one submission: on Gradescope a folder is one student's, whatever its files are called."""
    found = find_submissions([folder])
    files = [file for each in found for file in each.files]
    others = [file for each in found for file in each.others]
    return Submission(Path(folder).resolve(), "student", files, [], others)


def _selected(result: dict, only: list[str] | None) -> dict:
    wanted = {task.id for task in select(only)}
    return {**result, "tasks": {id: task for id, task in result["tasks"].items() if id in wanted}}


# ---- results.json ----


def results(result: dict, hidden: str = "after_published") -> dict:
    """A judge's result in Gradescope's form: one test a check, with the check's share of its task's points.

    The score of all that is graded stands on top, with the bonus, which Gradescope lets go beyond the assignment's points. What is ungraded has no score; where all is, there is none at all, and
    Gradescope reports that the autograder failed.
    """
    tasks = result["tasks"]
    open_tasks = {id: task for id, task in tasks.items() if task["score"] is None}
    kept_back = [_clean(note) for note in result["notes"] if hidden != "visible" and _is_of_hidden_checks(note, tasks)]
    notes = [note for note in map(_clean, result["notes"]) if note not in kept_back]
    if len(open_tasks) == len(tasks):
        return not_graded("This submission was not graded. It is not a mark of 0: an instructor will look at it.", *notes)
    said = []
    if open_tasks:
        points = maximum(open_tasks.values())
        said.append(
            f"NOT FINAL: {', '.join(open_tasks)} ({number(points)} points) could not be graded and counts for nothing yet. "
            "It is not a mark of 0: an instructor will look at it."
        )
    if by_hand := [item for item in load_manual().values() if {t.notebook for t in select(list(tasks))} & {item.notebook}]:
        said.append(f"Not in this score, a person marks it: {', '.join(f'{item.title} ({item.points:g})' for item in by_hand)}.")
    document = _document("\n".join([*said, *(f"- {note}" for note in notes)]))
    tests = [test for id, task in tasks.items() for test in (_open_test(id, task) if id in open_tasks else _tests(id, task, hidden))]
    if kept_back:
        tests.append({"name": "Notes on hidden checks", "output": "\n".join(kept_back), "output_format": "text", "visibility": hidden})
    score = round(sum(task["score"] for id, task in tasks.items() if id not in open_tasks), 2)
    extra = {"status": result["status"], "isolation": result.get("isolation", ""), **result.get("audit", {})}
    return {**document, "score": score, "execution_time": round(result["seconds"]), "tests": tests, "extra_data": extra}


def _is_of_hidden_checks(note: str, tasks: dict) -> bool:
    """Whether a note tells what came out of a hidden check, such as how good the network is on pictures that nobody has seen."""
    names = [check["name"] for task in tasks.values() for check in task["checks"] if check["hidden"]]
    return note.startswith((*(f"{name}: " for name in names), *network_notes()))


def not_graded(reason: str, *notes: str) -> dict:
    """A document without any score: Gradescope takes it for a failed run, and shows no mark."""
    return _document("\n".join([reason, *(f"- {_clean(note)}" for note in notes)]))


def _document(output: str) -> dict:
    return {"output": output[:TEXT_LIMIT], "output_format": "text", "visibility": "visible", "stdout_visibility": "hidden", "tests": []}


def _open_test(id: str, task: dict) -> list[dict]:
    name = f"{id} {task_title(id)}: not graded yet, of {number(task['max_score'])} points"
    return [{"number": id, "name": name, "output": "Not a mark of 0: an instructor will look at it.", "visibility": "visible"}]


def _tests(id: str, task: dict, hidden: str) -> list[dict]:
    """One task's checks; what the task says of itself stands at the first that failed. A bonus adds nothing to what can be reached."""
    checks = task["checks"]
    said = _of_the_task(id, task)
    tests = []
    for place, (check, share) in enumerate(zip(checks, _shares(task)), start=1):
        lines = [] if check["passed"] else [f"{label}: {text}" for label, text in rows_of(check)]
        if said and not check["passed"]:
            lines, said = [*lines, "", *said], []
        kind = " (bonus)" * bool(task.get("bonus")) + " (hidden check)" * bool(check["hidden"])
        tests.append({
            "number": f"{id}.{place}",
            "name": _clean(f"{id} {task_title(id)}: {check['rule']}{kind}"),
            "name_format": "text",
            "score": share if check["passed"] else 0.0,
            "max_score": 0.0 if task.get("bonus") else share,
            "status": "passed" if check["passed"] else "failed",
            "output": _clean("\n".join(lines)),
            "output_format": "text",
            "visibility": hidden if check["hidden"] else "visible",
        })  # fmt: skip
    return tests


def _shares(task: dict) -> list[float]:
    """What each check is worth, in hundredths: they add up to the task's points, and those of the passed ones to its score."""
    checks = task["checks"]
    possible, weight, before, shares = sum(check["points"] for check in checks), 0, 0.0, [0.0] * len(checks)
    for place in sorted(range(len(checks)), key=lambda place: not checks[place]["passed"]):
        weight += checks[place]["points"]
        reached = math.floor(100 * task["max_score"] * weight / possible + 0.5) / 100 if possible else 0.0
        shares[place], before = round(reached - before, 2), reached
    return shares


def _of_the_task(id: str, task: dict) -> list[str]:
    causes = [
        f"Likely cause: your numbers are those of a solution in which {found['title']}. Hint: {found.get('hint', '')}"
        for found in task.get("diagnoses") or []
    ]
    return [*causes, *explained(id, task)]


def _clean(text: str) -> str:
    text = visible(text)
    return text if len(text) <= TEXT_LIMIT else text[: TEXT_LIMIT - 1] + "…"


if __name__ == "__main__":
    sys.exit(main())
