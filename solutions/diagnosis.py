"""Names a misconception by what a submission computes: a known-wrong variant that gives the same numbers, where there is exactly one.

The library is `solutions.wrong`; what is compared are the facets of `solutions.facets`. A variant's answers are worked out
here, in this process, when they are first needed, and kept.
"""

from __future__ import annotations

import functools
import hashlib
import threading
import warnings
from types import CodeType, MappingProxyType

from grader.student import Student
from solutions.facets import SUBJECTS, Subject, observe, same
from solutions.facets.asking import Facet, only_raised
from solutions.kept_answers import KeptAnswers
from solutions.reference import reference_source
from solutions.wrong import WRONG, Wrong, wrong_sources

# What the contract leaves free and shows in the numbers all the same: (as the reference has it, otherwise written).
HABITS = {
    "1.2": (
        ("align_corners=False", "align_corners=True"),
        ("nn.Conv2d(in_channels, up_channels, kernel_size=1)", "nn.Conv2d(in_channels, up_channels, kernel_size=3, padding=1)"),
    ),
    "2.3": (("align_corners=False", "align_corners=True"),),
    "3.4": (("ReduceLROnPlateau(optimizer, ", "ReduceLROnPlateau(optimizer, factor=0.5, "),),
}
LOCK = threading.RLock()  # variants are seeded through torch's one random state


def diagnose(task: str, student: Student) -> list[Wrong]:
    """The misconceptions whose numbers a submission reproduces in this task; none where it is not clear which.

    One for the task where one variant is alike in everything; else one for each subject that is alike in one variant alone,
    as long as what the subject is built from is right or wrong in the same way. Raises NoAnswer where the submission stops answering.
    """
    subjects = SUBJECTS.get(task, [])
    seen = {subject.name: [observe(facet, student) for facet in subject.facets] for subject in subjects}
    with LOCK:
        try:
            return next(filter(None, (_explained(task, habits, subjects, seen) for habits in _habits(task))), [])
        finally:
            _kept().keep()


def ask_all(task: str) -> None:
    """Work out and keep what every variant of a task answers, so that no submission has to wait for it."""
    with LOCK:
        for subject in SUBJECTS.get(task, []):
            for source in (reference_source(), *library(task)):
                for facet in subject.facets:
                    _known(source, facet)
        _kept().keep()


def _habits(task: str) -> list[tuple]:
    """Every choice of what is free, the reference's first."""
    choices: list[tuple] = [()]
    for habit in HABITS.get(task, ()):
        choices += [(*chosen, habit) for chosen in choices]
    return choices


def _explained(task: str, habits: tuple, subjects: list[Subject], seen: dict[str, list]) -> list[Wrong]:
    right = _written(reference_source(), habits)

    def alike(source: str, subject: Subject) -> bool:
        return all(same(came, _known(_written(source, habits), facet)) for facet, came in zip(subject.facets, seen[subject.name]))

    odd = [subject for subject in subjects if not alike(reference_source(), subject)]
    if not any(_tells(right, subject, seen[subject.name]) for subject in odd):
        return []
    matches = {subject.name: {source for source in library(task) if alike(source, subject)} for subject in odd}
    everywhere = {source for source in library(task) if all(source in matches[subject.name] for subject in odd)}
    everywhere = {source for source in everywhere if all(alike(source, other) for other in subjects if other not in odd)}
    if everywhere:
        return _if_one(task, everywhere)
    found = []
    for subject in odd:
        below = [matches[used] for used in subject.uses if used in matches]
        found += _if_one(task, matches[subject.name].intersection(*below)) if _tells(right, subject, seen[subject.name]) else []
    return list(dict.fromkeys(found))


def _tells(right: str, subject: Subject, answers: list) -> bool:
    """Whether something else than an exception differs from the right source: many mistakes end in the same one."""
    return any(not only_raised(came) and not same(came, _known(right, facet)) for facet, came in zip(subject.facets, answers))


def _if_one(task: str, sources: set[str]) -> list[Wrong]:
    """The misconception that these sources have in common, where there is one."""
    names = {library(task)[source].like or library(task)[source].name for source in sources}
    return [wrong for wrong in WRONG if wrong.task == task and wrong.name in names] if len(names) == 1 else []


@functools.lru_cache(maxsize=None)
def library(task: str) -> MappingProxyType[str, Wrong]:
    """Every way of making one of the known mistakes of a task: source → the misconception."""
    return MappingProxyType({source: wrong for wrong in WRONG if wrong.task == task for source in wrong_sources(wrong)})


def _written(source: str, habits: tuple) -> str:
    for usual, other in habits:
        source = source.replace(usual, other)
    return source


@functools.lru_cache(maxsize=1)
def _kept() -> KeptAnswers:
    return KeptAnswers()


@functools.lru_cache(maxsize=None)
def _known(source: str, facet: Facet) -> object:
    """What a solution answers."""
    key = f"{hashlib.sha256(source.encode()).hexdigest()} {facet.__module__} {facet.__qualname__}"
    return _kept().get(key, lambda: _asked(source, facet))


def _asked(source: str, facet: Facet) -> object:
    """What a solution answers, asked here; it is defined anew each time, since some mistakes change their own defaults."""
    namespace = {"__name__": "variant"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # and no bars and no prints: the terminal is the instructor's
        exec(_code(source), namespace)
        namespace.update(print=lambda *_, **__: None, tqdm=lambda epochs, **_: epochs)
        return observe(facet, Student.in_process(namespace))


@functools.lru_cache(maxsize=None)
def _code(source: str) -> CodeType:
    return compile(source, "<variant>", "exec")
