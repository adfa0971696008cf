"""Marks submissions: runs every check on this side of the wall, the submission's code on the other.

A check that gets no answer, a broken one or a late one fails by name; a fault of the kit itself
leaves the task ungraded, never at zero and never at full marks.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import math
import threading
import time
from datetime import datetime, timezone

import torch

from . import gpu, marks, sandbox
from .definitions import DEFINITIONS, Source
from .fingerprint import kit_digest, task_digests, versions
from .parsing import parse
from .reading import Unreadable
from .rubric import Limits, Task, load_rubric, select
from .runner import Check, CheckFault, Outcome, checks_of, is_left_out, rule_and_hint, run_check
from .student import FAULTS, Experiment, JudgeFault, Student
from .submissions import Submission
from .wall import Child, Zygote

SEED = 0  # of a submission's random numbers in every check that asks for no other


class Judge:
    """Marks submissions; use it in a `with` block. Threads may share one.

    Raises ValueError for an unknown task or device, and sandbox.TooOpen below the floor of isolation.
    """

    def __init__(self, only: list[str] | None = None, insecure: bool = False, device: str = "cpu"):
        if device not in ("cpu", "cuda"):
            raise ValueError(f'device is "cpu" or "cuda", not {device!r}')
        if device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device is cuda, but torch sees no GPU here; use --device cpu")
        self.device = device
        self.tasks = select(only)
        self.rungs = sandbox.rungs(device)
        self.isolation = sandbox.isolation(self.rungs, insecure)
        self.checks: dict[str, list[Check]] = {}
        self.zygote: Zygote | None = None
        self.lock = threading.Lock()
        self.closed = False
        self.places = contextlib.nullcontext()  # for children on the GPU at a time
        self.gpu_mb = 0.0
        if device == "cuda":
            self.places = threading.BoundedSemaphore(gpu.places(self.tasks))
            self.gpu_mb = torch.cuda.mem_get_info()[1] / 2**20

    def __enter__(self) -> Judge:
        torch.set_num_threads(1)  # the comparisons are small, and the other core is the submission's
        self.zygote = Zygote(self.rungs)
        kit_digest()  # of the files as they are now, when the checks are read
        self.checks = {task.id: checks_of(task) + checks_of(task, hidden=True) for task in load_rubric().values()}
        return self

    def __exit__(self, *_) -> None:
        with self.lock:
            self.closed = True
            self.zygote.close()

    def grade(self, submission: Submission) -> dict:
        """Mark one submission; the result is the JSON of the report, and never an exception for what was handed in."""
        started = time.monotonic()
        notes, zygote = submission.notes, self.zygote
        try:
            found = self._marks(submission, zygote, notes)
        except Unreadable as problem:
            notes.append(str(problem))
            found = {task.id: _ungraded(task, str(problem)) for task in self.tasks}
        except JudgeFault as fault:
            notes.append(f"{FAULTS[1]}: {fault}")
            found = {task.id: _ungraded(task, str(fault)) for task in self.tasks}
            self._replace(zygote)
        except Exception as fault:  # whatever it is: it is this one's, and the class goes on
            reason = f"{type(fault).__name__}: {str(fault)[:300]}"
            notes.append(f"{FAULTS[1]}: {reason}")
            found = {task.id: _ungraded(task, reason) for task in self.tasks}
        measured = {"seconds": round(time.monotonic() - started, 3), "isolation": self.isolation, "device": self.device}
        return {
            "path": str(submission.path),
            "student": submission.student,
            **marks.sums(found),
            "notes": list(dict.fromkeys(notes)),
            "tasks": {id: {**mark, "kit": task_digests()[id]} for id, mark in found.items()},
            **measured,
            "audit": {"seed": SEED, "kit": kit_digest(), "versions": versions(), "graded_at": _now(), **measured},
        }

    def _marks(self, submission: Submission, zygote: Zygote, notes: list[str]) -> dict[str, dict]:
        """Every task's marks; earlier tasks that this one builds on are run as well, when they are not asked for."""
        sources = submission.sources()
        has_experiment = any(task.experiment for task in self.tasks)
        experiment = submission.experiment() if has_experiment else Experiment()
        wanted = {task.id for task in self.tasks}
        needed = wanted | {earlier for task in self.tasks for earlier in (*task.builds_on, *task.layout)}
        found: dict[str, dict] = {}
        with _Children(self, zygote, sources) as children:
            for task in load_rubric().values():
                if task.id in needed:
                    handed_in = experiment if task.experiment else Experiment()
                    found[task.id] = self._marked_task(task, children, found, notes, handed_in)
        return {id: mark for id, mark in found.items() if id in wanted}

    def _marked_task(self, task: Task, children: _Children, earlier: dict[str, dict], notes: list[str], experiment: Experiment) -> dict:
        """One task's marks; ungraded where the kit is at fault, or where too little was built to be run."""
        failed = {id: earlier[id] for id in task.builds_on if earlier[id]["score"] != earlier[id]["max_score"]}
        wrong_layout = any(_failed_in(earlier[id], name) for id, name in task.layout.items())
        hollow = any(earlier[id]["score"] is not None and earlier[id]["score"] < earlier[id]["max_score"] / 4 for id in task.layout)
        try:
            mark = self._mark(task, children, failed, wrong_layout, notes, experiment)
        except CheckFault as fault:
            notes.append(f"{task.id} is ungraded, by a fault of the kit, not of the submission")
            return _ungraded(task, str(fault))
        if hollow and mark.get("left_out"):
            notes.append(f"{task.id} is ungraded: too little of what it runs was built; read the code by hand")
            return _ungraded(task, "too little of what it runs was built")
        return mark

    def _mark(self, task: Task, children: _Children, failed: dict, wrong_layout: bool, notes: list[str],
              experiment: Experiment = Experiment()) -> dict:
        """One task's marks. Checks that fail are tried once more in a process of their own.

        Where earlier tasks failed, the second time the reference stands in for them, so that a slip costs where it was made.
        """

        def outcomes(checks: list[Check], child: Child, notes: list[str]) -> list[Outcome]:
            found = self._outcomes(checks, child, notes, experiment)
            return [_excused(outcome, task) for outcome in found] if wrong_layout else found

        checks = self.checks[task.id]
        # code that never ends in an earlier task would only use up this one's time as well
        if any(mark.get("late") for mark in failed.values()):
            child, is_first, late = None, False, False
            own = [Outcome(check, False, rule_and_hint(check), hint=check.hint) for check in checks]
        else:
            child, is_first = children.going_on(task)
            own, late = outcomes(checks, child, said := []), child.late
            if is_left_out(task, own):
                return marks.empty(task, marks.NOT_HANDED_IN, 0.0, late=late, diagnoses=[])
            notes += said
        lost = [outcome.check for outcome in own if outcome.passed is not True]
        if not lost:
            return {**_marked(task, own, notes), "late": late, "diagnoses": []}
        names = tuple(name for id in failed for name in load_rubric()[id].names)
        merged, helped = own, False
        if failed or not late and not is_first:
            child = children.fresh(task, names)
            again = outcomes(lost, child, [])
            if is_left_out(task, again) and len(again) == len(own):
                return marks.empty(task, marks.NOT_HANDED_IN, 0.0, late=False, diagnoses=[])
            merged = _merged(own, again)
            helped = bool(failed) and any(new.passed and not old.passed for new, old in zip(merged, own))
        if helped:
            slip = f"the slip in {', '.join(failed)} costs only there"
            notes.append(f"{task.id} was marked with the reference's {', '.join(names)}: {slip}")
        diagnoses = [] if late else self._diagnoses(task, merged, child)
        if names:
            children.end()  # the reference is in it
        return {**_marked(task, merged, notes), "late": late, "carried_forward": helped, "diagnoses": diagnoses}

    def _diagnoses(self, task: Task, outcomes: list[Outcome], child: Child) -> list[dict]:
        """The misconceptions whose numbers the submission reproduces where a check failed; they cost and give nothing."""
        from solutions.diagnosis import diagnose  # behind the wall's instructor side

        slips = [outcome for outcome in outcomes if outcome.passed is False and not outcome.message.startswith("to do:")]
        if task.experiment or not slips:
            return []
        try:
            child.next_task(task.limits)
            found = diagnose(task.id, Student(child, SEED))
        except Exception:  # whatever it is, the marks stand; what is wrong with the judge shows in the next task
            return []
        return [{"task": wrong.task, "name": wrong.name, "title": wrong.title, "hint": wrong.hint} for wrong in found]

    def _outcomes(self, checks: list[Check], child: Child, notes: list[str], experiment: Experiment) -> list[Outcome]:
        """Run checks on a child."""
        try:
            return [self._run(check, child, notes, experiment) for check in checks]
        finally:
            notes += child.notes

    def _run(self, check: Check, child: Child, notes: list[str], experiment: Experiment) -> Outcome:
        started = time.monotonic()
        student = Student(child, SEED, experiment)
        try:
            outcome = run_check(check, student)
        except CheckFault as fault:
            if not _holds_for_the_reference(check):
                raise
            notes.append(f"{check.name}: what came could not be read ({str(fault)[:160]}); the check failed, look at it by hand")
            outcome = Outcome(check, False, rule_and_hint(check), hint=check.hint)
        notes += student.notes
        outcome.seconds = round(time.monotonic() - started, 4)
        return outcome

    def _replace(self, broken: Zygote) -> None:
        with self.lock:
            if self.zygote is broken and not self.closed:  # another thread may have been here first
                broken.close()
                self.zygote = Zygote(self.rungs)


class _Children:
    """The processes of one submission, one at a time; use it in a `with` block.

    One serves task after task as long as every check passes: to fork, to load the definitions and to compute for the first
    time costs more than most checks do. What a task leaves behind can only cost a check, which is then tried in a fresh one.
    """

    def __init__(self, judge: Judge, zygote: Zygote, sources: list[Source]):
        self.judge, self.zygote, self.sources = judge, zygote, sources
        self.child: Child | None = None
        self.held = contextlib.ExitStack()  # the child and its place on the GPU

    def __enter__(self) -> _Children:
        return self

    def __exit__(self, *_) -> None:
        self.end()

    def going_on(self, task: Task) -> tuple[Child, bool]:
        """The child that served the task before, or a fresh one; and whether it is fresh."""
        if self.child is None or not _share_a_process(self.child.limits, task.limits):
            return self.fresh(task), True
        self.child.next_task(task.limits)
        return self.child, False

    def fresh(self, task: Task, stand_ins: tuple[str, ...] = ()) -> Child:
        """A child that has served nothing, with the reference's definitions of these names; the last one has ended."""
        self.end()
        judge = self.judge
        gpu_share = gpu.share(task.limits, judge.gpu_mb) if judge.gpu_mb else None
        cpu_seconds = sum(other.limits.cpu_seconds for other in load_rubric().values())
        with contextlib.ExitStack() as held:
            held.enter_context(judge.places)  # on the GPU it waits for a place
            self.child = Child(self.zygote, self.sources, _stand_ins(stand_ins), task.limits, cpu_seconds, judge.device, gpu_share)
            held.callback(self.child.close)
            self.held = held.pop_all()
        return self.child

    def end(self) -> None:
        """End the child, if there is one."""
        self.child = None
        self.held.close()


def _share_a_process(one: Limits, other: Limits) -> bool:
    """Whether all that is set when a process begins is the same."""
    return all(getattr(one, name) == getattr(other, name) for name in ("memory_mb", "file_mb", "gpu_memory_mb"))


def _holds_for_the_reference(check: Check) -> bool:
    """Whether a check that broke is sound all the same: then the answer was odd, and the kit is not to blame."""
    from solutions.reference import reference

    try:
        return run_check(check, Student.in_process(vars(reference()))).passed is True
    except CheckFault:
        return False


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _failed_in(mark: dict, name: str) -> bool:
    return any(check["name"] == name and not check["passed"] for check in mark["checks"])


def _excused(outcome: Outcome, task: Task) -> Outcome:
    """A network whose layers do not fit may not run at all: that costs the task that built it, not the one that runs it."""
    if not outcome.crashed:
        return outcome
    return Outcome(outcome.check, None, f"the network that Task {', '.join(task.layout)} built cannot be run")


def _merged(own: list[Outcome], again: list[Outcome]) -> list[Outcome]:
    """For each check the better outcome; texts come from the student's own run, since the other holds the reference."""
    second = {outcome.check.name: outcome for outcome in again}
    merged = []
    for outcome in own:
        other = second.get(outcome.check.name)
        if other and other.passed:
            outcome = other
        elif other and outcome.passed is None and other.passed is False:
            outcome = Outcome(outcome.check, False, rule_and_hint(outcome.check), other.seconds, hint=outcome.check.hint)
        merged.append(outcome)
    return merged


@functools.lru_cache(maxsize=None)
def _stand_ins(names: tuple[str, ...]) -> dict:
    """The reference's definitions of these names, as they go to a child."""
    from solutions.reference import reference_source  # behind the wall's instructor side, and only here

    return {"names": list(names), "source": _only(names, reference_source()) if names else ""}


def _only(names: tuple[str, ...], source: str) -> str:
    """Imports, these definitions and what they use: the child must not find the solution of the task it is judged on."""
    kept, wanted = [], set(names)
    for statement in reversed(parse(source).body):  # a definition stands above its uses
        used = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
        defined = {statement.name} if isinstance(statement, DEFINITIONS) else used
        if isinstance(statement, (ast.Import, ast.ImportFrom)) or defined & wanted:
            kept.append(ast.unparse(statement))
            wanted |= used
    return "\n".join(reversed(kept))


def _marked(task: Task, outcomes: list[Outcome], notes: list[str]) -> dict:
    """Points of the passed checks; those that do not apply leave their share to the others."""
    judged = [outcome for outcome in outcomes if outcome.passed is not None]
    for reason in dict.fromkeys(outcome.message for outcome in outcomes if outcome.passed is None):
        names = [outcome.check.name for outcome in outcomes if outcome.passed is None and outcome.message == reason]
        notes.append(f"{task.id}: left out: {', '.join(names)}, since {reason}")
    if not judged:
        notes.append(f"{task.id} is ungraded: nothing in it could be judged; read the code by hand")
        return _ungraded(task, "nothing in it could be judged")
    possible = sum(outcome.check.points for outcome in judged)
    passed = sum(outcome.check.points for outcome in judged if outcome.passed)
    score = task.points * passed / possible
    return {
        "status": "graded",
        "score": math.floor(score * 100 + 0.5) / 100,
        "max_score": task.points,
        **marks.is_bonus(task),
        "carried_forward": False,
        "left_out": [outcome.check.name for outcome in outcomes if outcome.passed is None],
        "checks": [_check_result(outcome) for outcome in judged],
    }


def _check_result(outcome: Outcome) -> dict:
    check = outcome.check
    return {
        "name": check.name, "hidden": check.hidden, "passed": outcome.passed, "message": outcome.message,
        "rule": check.rule, "hint": outcome.hint, "points": check.points, "seconds": outcome.seconds,
        "input": outcome.input, "came": outcome.came, "expected": outcome.expected,
    }


def _ungraded(task: Task, reason: str) -> dict:
    return marks.empty(task, reason=reason)
