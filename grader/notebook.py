"""`check("1.1")` in a notebook, and its table."""

from __future__ import annotations

import contextlib
import functools
import html
import sys
from dataclasses import dataclass

from .rubric import Task, select
from .runner import Outcome, checks_of, run_check
from .servant import Servant
from .student import Experiment, Student

STYLE = """<style>
.unetlab {font: 14px/1.45 system-ui, sans-serif; border-left: 4px solid #0072b2; padding: .2em .9em; max-width: 56em}
.unetlab.open {border-color: #d55e00}
.unetlab h4 {margin: .3em 0; font-size: 15px}
.unetlab ul {list-style: none; padding: 0; margin: .3em 0}
.unetlab li {margin: .15em 0}
.unetlab table {margin: .2em 0 .6em 1.6em; border-collapse: collapse; font-size: 13px}
.unetlab table td {text-align: left !important; vertical-align: top; padding: .1em .8em .1em 0; background: none; white-space: normal}
.unetlab table td:first-child {color: #666; white-space: nowrap}
</style>"""


@dataclass
class Report:
    """The outcomes of one task's public checks; Jupyter shows it as a table, a terminal as text."""

    task: Task
    outcomes: list[Outcome]

    @property
    def passed(self) -> bool:
        """Whether every check that applies passed."""
        return all(outcome.passed is not False for outcome in self.outcomes)

    @property
    def headline(self) -> str:
        """How many checks passed, and what that means."""
        count = sum(outcome.passed is True for outcome in self.outcomes)
        text = f"Task {self.task.id} · {self.task.title}: {count} of {len(self.outcomes)} checks passed"
        return text + (". The hidden checks go further." if self.passed else "")

    def __repr__(self) -> str:
        lines = [self.headline]
        for outcome, details in zip(self.outcomes, self._details()):
            lines.append(f"  {_mark(outcome)} {outcome.check.rule}")
            lines += [f"      {line}" for line in details]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        items = "".join(
            f"<li>{_mark(outcome)} {html.escape(outcome.check.rule)}{_table(details)}</li>"
            for outcome, details in zip(self.outcomes, self._details())
        )
        kind = "" if self.passed else " open"
        return f'{STYLE}<div class="unetlab{kind}"><h4>{html.escape(self.headline)}</h4><ul>{items}</ul></div>'


    def _details(self) -> list[list[str]]:
        """What each outcome says below its rule; an exception that several checks meet is told once."""
        told: set[str] = set()
        details = []
        for outcome in self.outcomes:
            lines = [line for line in outcome.message.splitlines() if not line.startswith("rule: ")]
            cause = "".join(line for line in lines if line.startswith(("came: ", "to do: ")))
            is_exception = "expected: no exception" in lines or cause.startswith("to do: ")
            details.append(["the same as above"] if is_exception and cause in told else lines)
            told.add(cause)
        return details


def check_live(task_id: str) -> Report:
    """Check the classes of the running notebook or script; ValueError for an unknown task."""
    task_id = str(task_id)
    return check_namespace(task_id, vars(sys.modules["__main__"]), experiment=_experiment_here(task_id))


def check_namespace(
    task_id: str, namespace: dict, missing: dict[str, str] | None = None, experiment: Experiment | None = None
) -> Report:
    """Run the public checks of one task on what `namespace` defines; `missing` says why a name is not there."""
    (task,) = select([task_id])
    with quiet_bars():
        outcomes = [
            run_check(check, Student(Servant(namespace, missing=missing), experiment=experiment)) for check in checks_of(task)
        ]
    return Report(task, outcomes)


def _experiment_here(task_id: str) -> Experiment | None:
    (task,) = select([task_id])
    if not task.experiment:
        return None
    from .experiment import experiment_here  # it reads notebooks too, and the other checks need not wait for that

    return experiment_here()


@contextlib.contextmanager
def quiet_bars():
    """Without the progress bars of the tiny trainings that checks run."""
    from tqdm.std import tqdm

    init = tqdm.__init__
    tqdm.__init__ = functools.partialmethod(init, disable=True)
    try:
        yield
    finally:
        tqdm.__init__ = init


def _mark(outcome: Outcome) -> str:
    return {True: "✓", False: "✗", None: "–"}[outcome.passed]


def _table(details: list[str]) -> str:
    rows = [line.partition(": ") for line in details]
    cells = "".join(f"<tr><td>{html.escape(name)}</td><td>{html.escape(text)}</td></tr>" for name, _, text in rows)
    return f"<table>{cells}</table>" if cells else ""
