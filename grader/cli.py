"""The command line: `unetlab COMMAND`, or `python -m grader COMMAND`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from training.command import add_commands

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 when it did its work, 1 when a check or the work failed, 2 for unusable arguments."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, RuntimeError) as error:
        print(f"unetlab {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("unetlab: interrupted; what was finished is kept", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="unetlab", description="Teach, check and grade the U-Net lab.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    adders = [_add_check, _add_pack, _add_grade, _add_class, _add_regrade, _add_audit, _add_export, _add_build, _add_release]
    for add in (*adders, _add_gradescope, _add_demo):
        add(commands)
    add_commands(commands)  # train, predict, compare
    return parser


def _add_check(commands) -> None:
    command = commands.add_parser("check", help="students: run the public checks on a module or notebook")
    command.add_argument("task", nargs="?", help="a task such as 1.1 (default: all)")
    command.add_argument("file", type=Path, help="lab04_student.py, or a notebook")
    command.set_defaults(run=_check)


def _check(options) -> int:
    from .definitions import load
    from .notebook import check_namespace
    from .reading import Unreadable
    from .rubric import select
    from .runner import is_left_out
    from .submissions import find_submissions

    if options.task and not options.file.exists() and Path(options.task).exists():
        options.task, options.file = str(options.file), Path(options.task)
    tasks = select([options.task] if options.task else None)
    submission, *others = find_submissions([options.file]) or [None]
    if submission is None:
        raise ValueError(f"{options.file}: no notebook and no module in it")
    if others:
        raise ValueError(f"{options.file}: several submissions; name one file")
    try:
        loaded = load(submission.sources())
    except Unreadable as problem:
        raise ValueError(str(problem)) from None
    for note in [*submission.notes, *loaded.notes]:
        print(f"note: {note}", file=sys.stderr)
    reports = [check_namespace(task.id, loaded.namespace, loaded.missing) for task in tasks]
    left_out = [report for report in reports if not options.task and is_left_out(report.task, report.outcomes)]
    reports = [report for report in reports if report not in left_out]
    print("\n\n".join(map(repr, reports)))
    if left_out:
        print(f"\nBonus, of which nothing is written: Task {', '.join(report.task.id for report in left_out)}")
    return 0 if all(report.passed for report in reports) else 1


def _add_pack(commands) -> None:
    command = commands.add_parser("pack", help="students: look at your work and put it into one zip to hand in")
    command.add_argument("name", help="your name, for the name of the zip")
    command.add_argument("folder", type=Path, nargs="?", default=Path("."), help="folder with your notebooks (default: here)")
    command.add_argument("--out", type=Path, metavar="FOLDER", help="where the zip goes (default: beside the notebooks)")
    command.set_defaults(run=_pack)


def _pack(options) -> int:
    from .pack import pack

    print(pack(options.name, options.folder, options.out))
    return 0


def _add_judging(command) -> None:
    command.add_argument("--only", type=_tasks, help="tasks, such as 1.1,1.4 (default: all)")
    _add_walls(command)


def _tasks(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _jobs(text: str) -> int:
    if text == "auto":
        from .executors import usable_cores

        return usable_cores()
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a number from 1 up or auto, not {text!r}")
    return int(text)


def _add_walls(command) -> None:
    command.add_argument("--jobs", type=_jobs, default=1, metavar="N", help="submissions at a time, or auto: one for each core (default: 1)")
    command.add_argument("--executor", metavar="dask://HOST:PORT", help="grade on the workers of this Dask cluster, whatever --jobs says")
    command.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    command.add_argument("--insecure", action="store_true", help="grade even where submissions cannot be walled in")


def _add_grade(commands) -> None:
    command = commands.add_parser("grade", help="instructors: mark notebooks, modules, folders and zips")
    command.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the whole report here (- for standard output)")
    _add_judging(command)
    command.set_defaults(run=_grade)


def _grade(options) -> int:
    from .executors import grade_all
    from .report import summary_table
    from .rubric import select
    from .submissions import find_submissions

    _require_solutions("grade")
    select(options.only)
    if options.json and options.json != Path("-") and (options.json.is_dir() or not options.json.resolve().parent.is_dir()):
        raise ValueError(f"--json {options.json}: cannot be written; name a file in a folder that exists")
    submissions = find_submissions(options.paths)
    if not submissions:
        raise ValueError(f"{', '.join(map(str, options.paths))}: no notebook, module or zip in it")
    judged = grade_all(submissions, options.jobs, options.only, options.device, options.insecure, executor=options.executor)
    results = []
    try:
        for result in _with_bar(judged, submissions):
            results.append(result)
    except KeyboardInterrupt:
        print(f"\nstopped: {len(results)} of {len(submissions)} were judged; only these are in the report", file=sys.stderr)
        if not results:
            return 130
    order = {(str(s.path), s.student): number for number, s in enumerate(submissions)}
    results.sort(key=lambda result: order[result["path"], result["student"]])
    isolation = next((result["isolation"] for result in results if result["status"] != "ungraded"), results[0]["isolation"])
    report = {"isolation": isolation, "submissions": results}
    text = json.dumps(report, indent=2, ensure_ascii=False)
    if options.json == Path("-"):
        print(text)
        return 0
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    print(summary_table(report))
    return 0


def _with_bar(results, submissions):
    from tqdm import tqdm

    return tqdm(results, total=len(submissions), unit="submission", file=sys.stderr)


def _add_class(commands) -> None:
    command = commands.add_parser("class", help="instructors: hand-ins to gradebook, feedback, CSV and class page")
    command.add_argument("handins", type=Path, help="folder with what the students handed in, as it comes")
    command.add_argument("--course", type=Path, default=Path("course"), help="nbgrader course folder (default: course)")
    _add_walls(command)
    command.set_defaults(run=_class)


def _class(options) -> int:
    from .course import grade_class
    from .report import summary_table

    _require_solutions("class")
    how = {"jobs": options.jobs, "device": options.device, "insecure": options.insecure, "executor": options.executor}
    report = grade_class(options.handins, options.course, **how, say=print)
    print(summary_table(report))
    return 0


def _add_export(commands) -> None:
    command = commands.add_parser("export", help="instructors: a graded course's marks for Canvas or Moodle")
    command.add_argument("course", type=Path, help="course folder, graded by `unetlab class`")
    for name, file in (("canvas", "the gradebook"), ("moodle", "the grading worksheet")):
        text = f"write {name}.csv: {file} that {name.title()} exported with the marks in it, or without it a file of our own"
        command.add_argument(f"--{name}", nargs="?", type=Path, const=False, metavar="EXPORTED.csv", help=text)
    command.add_argument("--column", help="the assignment's column in Canvas's gradebook (default: the one of the assignment's name)")
    command.add_argument("--scale", action="store_true", help="convert the marks where the platform gives other points")
    command.set_defaults(run=_export)


def _export(options) -> int:
    from . import platforms

    if options.canvas is None and options.moodle is None:
        raise ValueError("say --canvas or --moodle, if possible with the file that it exported")
    report = platforms.read_report(options.course)
    if options.canvas is not None:
        merged = platforms.canvas(report, options.canvas or None, options.column, options.scale)
        print(*platforms.write(merged, options.course / "canvas.csv", options.canvas or None), sep="\n")
    if options.moodle is not None:
        merged = platforms.moodle(report, options.moodle or None, options.scale)
        print(*platforms.write(merged, options.course / "moodle.csv", options.moodle or None), sep="\n")
    return 0


def _add_regrade(commands) -> None:
    command = commands.add_parser("regrade", help="instructors: after a check or points changed, judge again what that touches")
    command.add_argument("course", type=Path, help="the course folder")
    command.add_argument("--student", action="append", default=[], help="only this one (may be said several times)")
    command.add_argument("--dry-run", action="store_true", help="show what would change, and write nothing")
    _add_walls(command)
    command.set_defaults(run=_regrade)


def _regrade(options) -> int:
    from .changes import changes_table
    from .regrade import regrade

    _require_solutions("regrade")
    walls = {"jobs": options.jobs, "device": options.device, "insecure": options.insecure, "executor": options.executor}
    outcome = regrade(options.course, options.student, dry_run=options.dry_run, say=print, **walls)
    print(changes_table(outcome))
    for problem in outcome["problems"]:
        print(problem)
    if options.dry_run:
        print("A dry run: nothing was written.")
    return 1 if outcome["kept"] or outcome["problems"] else 0


def _add_audit(commands) -> None:
    command = commands.add_parser("audit", help="instructors: how a student's marks came about")
    command.add_argument("course", type=Path, help="the course folder")
    command.add_argument("student")
    command.set_defaults(run=_audit)


def _audit(options) -> int:
    from .audit import audit_text

    print(audit_text(options.course, options.student))
    return 0


def _add_build(commands) -> None:
    command = commands.add_parser("build", help="maintainers: write labs/ and starter/ from solutions/")
    command.set_defaults(run=_build)


def _build(options) -> int:
    _require_solutions("build")
    from .build import build

    for path in build(ROOT):
        print(path)
    return 0


def _add_release(commands) -> None:
    command = commands.add_parser("release", help="instructors: write what students get")
    command.add_argument("directory", type=Path)
    command.add_argument("--repo", metavar="URL", help="where students will find it, for Colab's badges and set-up")
    command.set_defaults(run=_release)


def _release(options) -> int:
    _require_solutions("release")
    from .release import release

    release(options.directory, options.repo)
    print(f"the students' copy lies in {options.directory}")
    return 0


def _add_gradescope(commands) -> None:
    command = commands.add_parser("gradescope", help="instructors: write an autograder zip for Gradescope")
    command.add_argument("out", type=Path, metavar="OUT.zip")
    command.add_argument("--only", type=_tasks, help="tasks, such as 1.1,1.4 (default: all)")
    when = "when students see the hidden checks' results: visible, after_due_date, after_published (default), hidden"
    command.add_argument("--hidden", default="after_published", metavar="WHEN", help=when)
    index = "index of torch's builds without CUDA (PyTorch's install page names it); the image gets much smaller"
    command.add_argument("--torch-index", default="", metavar="URL", help=index)
    command.set_defaults(run=_gradescope)


def _gradescope(options) -> int:
    _require_solutions("gradescope")
    from .gradescope import write_zip

    print(write_zip(options.out, options.only, options.hidden, options.torch_index))
    return 0


def _add_demo(commands) -> None:
    command = commands.add_parser("demo", help="a class of ten, from release to gradebook")
    command.add_argument("directory", type=Path, nargs="?", default=Path("demo"))
    command.set_defaults(run=_demo)


def _demo(options) -> int:
    _require_solutions("demo")
    from .demo import demo

    demo(options.directory)
    return 0


def _require_solutions(command: str) -> None:
    """ValueError in a student's copy; else the hidden half becomes importable, here and in no other place."""
    if not (ROOT / "solutions").is_dir():
        raise ValueError(f"this is a student's copy, without solutions/; `unetlab {command}` needs the instructor's")
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
