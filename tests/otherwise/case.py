"""What a case is, and how one is made of a right solution."""

from dataclasses import dataclass, replace

RIGHT: list["Style"] = []  # every style of every part


@dataclass(frozen=True)
class Case:
    """A wrong solution of one task.

    Args:
        task: id of the task; the mistake stands in its names.
        names: the known-wrong variants that a diagnosis may name. Empty: no name is right. Several: each is right, either
            because no number tells them apart, or because there are two mistakes in two definitions, as `about` then says.
        source: Python text that defines all of the task's names; it follows the reference's text.
        style: the manner in which it is written.
        about: what is wrong, where no single variant's name says it.
    """

    task: str
    names: frozenset[str]
    source: str
    style: str
    about: str = ""


@dataclass(frozen=True)
class Style:
    """A right solution of some tasks in one manner, and the wrong ones made of it."""

    tasks: tuple[str, ...]
    name: str
    source: str

    def wrong(self, names: str, *edits: tuple[str, str], about: str = "") -> Case:
        """The case with these pieces replaced, each of which must be there; `names` are separated by blanks."""
        text = self.source
        for old, new in edits:
            assert old in text, (self.name, names, old)
            text = text.replace(old, new)
        return Case(self.tasks[0], frozenset(names.split()), text, self.name, about)

    def other(self, about: str, *edits: tuple[str, str]) -> Case:
        """A case that has no name among the variants."""
        return self.wrong("", *edits, about=about)


def style(tasks: str, name: str, source: str) -> Style:
    """Write down a style; `tasks` are separated by blanks."""
    made = Style(tuple(tasks.split()), name, source)
    RIGHT.append(made)
    return made


def of_task(task: str, cases: list[Case]) -> list[Case]:
    """The cases as those of another task than the first of their style."""
    return [replace(case, task=task) for case in cases]
