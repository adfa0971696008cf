"""What the library of misconceptions says to students: a name and a hint for each known-wrong variant."""

import re
from collections import Counter
from functools import cache

import jupytext
import pytest

from solutions.reference import HERE
from solutions.wrong import WRONG

SOLUTION = re.compile(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", re.DOTALL)
ENGLISH = {"mode"}  # an argument of Upsample, and what eval() sets
TOKEN = re.compile(r"\w+|\*\*|//|[-+*/<>=!]=|[^\w\s]")


def fragments(text: str) -> set[tuple[str, ...]]:
    """Every three tokens that follow each other on one line."""
    lines = (TOKEN.findall(line) for line in text.splitlines())
    return {part for tokens in lines for part in zip(tokens, tokens[1:], tokens[2:])}


@cache
def lab(part: str) -> tuple[str, str]:
    """(the reference's code of this part, without comments; all that the notebooks up to this part show)."""
    hidden, shown = "", ""
    for path in sorted(HERE.glob("lab_*.py"))[: int(part)]:
        cells = jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent").cells
        hidden = "\n".join(code for cell in cells if cell.cell_type == "code" for code in SOLUTION.findall(cell.source))
        shown += "\n".join(SOLUTION.sub("", cell.source) for cell in cells)
    return re.sub(r"#.*", "", hidden), shown


def given_away(part: str, hint: str) -> set:
    """What a hint tells of the reference's code that no notebook has told: fragments of three tokens, and words."""
    code, shown = lab(part)
    words = [set(re.findall(r"\w+", text)) for text in (hint, code, shown)]
    return fragments(hint) & fragments(code) - fragments(shown) | words[0] & words[1] - words[2] - ENGLISH


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: f"{wrong.task}-{wrong.name}")
def test_title_and_hint_are_short_and_give_nothing_away(wrong):
    assert len(wrong.title) <= 90 and "\n" not in wrong.title
    assert wrong.title[0].islower() and wrong.title[-1] not in ".,:;!?…", wrong.title
    assert 20 <= len(wrong.hint) <= 220 and "\n" not in wrong.hint, len(wrong.hint)
    assert wrong.hint[0].isupper() and wrong.hint[-1] in ".?", wrong.hint
    assert "  " not in wrong.title + wrong.hint
    assert not given_away(wrong.task[0], wrong.hint)


def test_titles_tell_the_variants_of_a_task_apart():
    titles = Counter((wrong.task, wrong.title) for wrong in WRONG)
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
