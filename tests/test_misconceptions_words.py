"""What the library of misconceptions says to students: a name and a hint for each known-wrong variant."""

import ast
import re
from collections import Counter
from functools import cache

import jupytext
import pytest

from solutions.reference import HERE, MARKS
from solutions.wrong import WRONG

SOLUTION = re.compile(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", re.DOTALL)
TOKEN = re.compile(r"\w+|\*\*|//|[-+*/<>=!]=|[^\w\s]")
NAMED = [wrong for wrong in WRONG if wrong.title]


def fragments(text: str) -> set[tuple[str, ...]]:
    """Every three tokens that follow each other on one line."""
    lines = (TOKEN.findall(line) for line in text.splitlines())
    return {part for tokens in lines for part in zip(tokens, tokens[1:], tokens[2:])}


@cache
def lab(part: str) -> tuple[str, str]:
    """(reference code without comments, all that students of this part have been shown)."""
    hidden, shown = [], []
    for path in sorted(HERE.glob("lab_*.py")):
        for cell in jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent").cells:
            hidden += [(path, code) for code in SOLUTION.findall(cell.source) if cell.cell_type == "code"]
            if path.name < f"lab_0{int(part) + 1}":
                shown.append(SOLUTION.sub("", cell.source))
    code = "\n".join(re.sub(r"  # .*", "", code) for path, code in hidden if path.name.startswith(f"lab_0{part}"))
    return code, "\n".join(shown)


@cache
def secrets(part: str) -> frozenset[str]:
    """Names that the reference uses and the notebooks of this part and those before never mention."""
    names = set()
    code, shown = lab(part)
    for path in HERE.glob(f"lab_0{part}*.py"):
        for cell in jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent").cells:
            if cell.cell_type == "code" and "### BEGIN SOLUTION" in cell.source:
                nodes = list(ast.walk(ast.parse(MARKS.sub("", cell.source + "\n"))))
                names |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
                names |= {node.id for node in nodes if isinstance(node, ast.Name)}
    return frozenset(names & set(re.findall(r"\w+", code)) - set(re.findall(r"\w+", shown)))


def given_away(part: str, hint: str) -> set:
    """What a hint tells of the reference's code, and no notebook so far: fragments of three tokens, and names."""
    code, shown = lab(part)
    return fragments(hint) & fragments(code) - fragments(shown) | set(re.findall(r"\w+", hint)) & secrets(part)


@pytest.mark.parametrize("wrong", NAMED, ids=lambda wrong: f"{wrong.task}-{wrong.name}")
def test_title_and_hint_are_short_and_give_nothing_away(wrong):
    assert len(wrong.title) <= 90 and "\n" not in wrong.title
    assert wrong.title[0].islower() and wrong.title[-1] not in ".,:;!?…", wrong.title
    assert 20 <= len(wrong.hint) <= 220 and "\n" not in wrong.hint, len(wrong.hint)
    assert wrong.hint[0].isupper() and wrong.hint[-1] in ".?", wrong.hint
    assert "  " not in wrong.title + wrong.hint
    assert not given_away(wrong.task[0], wrong.hint)


def test_titles_tell_the_variants_of_a_task_apart():
    titles = Counter((wrong.task, wrong.title) for wrong in NAMED)
    assert not [title for title, count in titles.items() if count > 1]


@pytest.mark.parametrize(
    "part, hint",
    [
        ("1", "Write pooled = self.pool(features) instead."),
        ("1", "What does torch.cat([skip_features, x], dim=1) give?"),
        ("1", "Iterate over reversed(skips) on the way up."),
        ("1", "Keep the blocks in a ModuleList."),
        ("2", "There is an Identity for this."),
        ("2", "Is it norm**2 that adds up?"),
        ("3", "Compute (shared + 1e-6) above the fraction."),
        ("3", "Call clip_grad_norm_ before the step."),
        ("3", "Add self.smooth below, too: total + self.smooth."),
    ],
)
def test_a_hint_that_gives_code_away_is_caught(part, hint):
    assert given_away(part, hint)
