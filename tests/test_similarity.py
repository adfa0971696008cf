"""Near-identical hand-ins: copies are found whatever was changed to hide them, independent right solutions are not."""

import ast
import json
import random
import re
import textwrap

import pytest

pytest.importorskip("copydetect")

from grader.definitions import Cell, Source
from grader.rubric import assignment
from grader.similarity import ENOUGH, THRESHOLD, find_similar, released_code, similar_in_course
from solutions.reference import reference_source
from tests.helpers import ROOT

ALTERNATIVES = ROOT / "solutions" / "alternatives"
RELEASED = released_code()


def module(code, name="lab04_student"):
    return [Source(name, [Cell(f"{name}.py", code, [])])]


def groups(*hand_ins, **options):
    return find_similar(hand_ins, RELEASED, **options)["groups"]


@pytest.fixture(scope="module")
def part_1():
    """The reference's Part 1 as one student's module."""
    wanted = ("DoubleConv", "EncoderBlock", "DecoderBlock", "UNet")
    text = reference_source()
    lines = text.splitlines()
    nodes = [node for node in ast.parse(text).body if getattr(node, "name", "") in wanted]
    return "\n\n\n".join("\n".join(lines[node.lineno - 1 : node.end_lineno]) for node in nodes)


def renamed(code):
    names = {"features": "widths", "skip": "side", "pooled": "smaller", "norm": "bn", "level": "depth", "width": "many"}
    for old, new in names.items():
        code = re.sub(rf"\b{old}\b", new, code)
    return code


def commented(code):
    lines = [line + "  # as I see it" if line.strip() and line.count('"') == 0 else line for line in code.splitlines()]
    return "\n\n".join(lines)


def reordered(code):
    pieces = re.split(r"^(?=class )", code, flags=re.MULTILINE)[1:]
    random.Random(1).shuffle(pieces)
    return "\n\n".join(pieces)


def conditional(code):
    return "if True:\n" + textwrap.indent(code, "    ") + "\n    other = 1\nelse:\n    pass\n"


def test_a_copy_inside_a_block_is_found(part_1):
    (group,) = groups(("ada", module(part_1)), ("bob", module(conditional(renamed(part_1)))))
    places = {place["name"]: place for place in group["pairs"][0]["places"]}
    assert group["similarity"] >= THRESHOLD and places["DecoderBlock"]["share"] > 0.7


@pytest.mark.parametrize("change", [renamed, commented, reordered, lambda code: reordered(commented(renamed(code)))])
def test_a_copy_in_disguise_is_found(part_1, change):
    disguised = change(part_1)
    assert disguised != part_1
    (group,) = groups(("ada", module(part_1)), ("bob", module(disguised)))
    assert group["students"] == ["ada", "bob"] and group["similarity"] >= THRESHOLD and not group["identical"]
    places = {place["name"]: place for place in group["pairs"][0]["places"]}
    assert places["DecoderBlock"]["task"] == "1.2" and places["DecoderBlock"]["share"] > 0.7
    line = 1 + disguised.splitlines().index(next(text for text in disguised.splitlines() if text.startswith("class DecoderBlock")))
    assert places["DecoderBlock"]["where"][1] == f"lab04_student.py, line {line}"


def test_independent_right_solutions_are_not(monkeypatch):
    files = [path for part in ("part_1", "part_2", "part_3") for path in sorted((ALTERNATIVES / part).glob("*.py"))]
    assert len(files) > 15
    hand_ins = [(f"{path.parent.name} {path.stem}", module(path.read_text(encoding="utf-8"))) for path in files]
    found = find_similar(hand_ins, RELEASED)
    assert found["groups"] == [] and found["compared"] > 15
    monkeypatch.setattr("grader.similarity.CANDIDATE", 0.0)  # every pair is compared
    assert groups(*hand_ins, threshold=0.6) == [] and groups(*hand_ins, threshold=0.3) and THRESHOLD > 0.6


def test_the_same_to_the_letter_comes_first_whatever_holds_it(part_1):
    other = (ALTERNATIVES / "part_1" / "functional.py").read_text(encoding="utf-8")
    notebook = [
        Source(
            "01_unet", [Cell(f"cell {n} of 01_unet.ipynb", text, []) for n, text in enumerate(re.split(r"^(?=class )", part_1, flags=re.MULTILINE))]
        )
    ]
    first, second = groups(("cy", module(other)), ("dee", module(renamed(other))), ("bob", notebook), ("ada", module(part_1)))
    assert first["identical"] == [["ada", "bob"]] and first["similarity"] == 1.0
    assert second["students"] == ["cy", "dee"] and second["identical"] == []


def test_the_untouched_release_and_what_was_handed_out_do_not_count(part_1):
    starter = (ROOT / "starter" / "lab04_student.py").read_text(encoding="utf-8")
    found = find_similar([("ada", module(starter)), ("bob", module(starter))], RELEASED)
    assert found["groups"] == [] and found["left_out"] == ["ada", "bob"] and found["compared"] == 0
    other = (ALTERNATIVES / "part_1" / "functional.py").read_text(encoding="utf-8")
    handed_out = [re.sub(r"^(def|class) .*$", rf"\g<0>  # {who}", starter, flags=re.MULTILINE) for who in ("ada", "bob")]
    both = zip(("ada", "bob"), (module(f"{text}\n\n{own}") for text, own in zip(handed_out, (part_1, other))))
    assert groups(*both, threshold=0.6) == []


def test_little_code_is_left_out_and_named(part_1):
    little = "def helper(x):\n    return x + 1\n"
    found = find_similar([("ada", module(little)), ("bob", module(little)), ("cy", module(part_1))], RELEASED)
    assert found["groups"] == [] and found["left_out"] == ["ada", "bob"] and ENOUGH > len(little)


def test_what_half_a_large_class_wrote_is_no_sign(part_1):
    crowd = [(f"s{n:02}", module(f"{part_1}\n\ndef own_{n}(x):\n    return x\n")) for n in range(30)]
    assert groups(*crowd) == []  # the one way to write it, it seems
    pair = [("x", module(renamed(part_1))), ("y", module(part_1))]
    others = [
        (f"s{n:02}", module(f"def f{n}(x):\n    return {' + '.join(f'g{i}(x)[{n * i}]' for i in range(1, 40 + n))}\n")) for n in range(28)
    ]
    assert [group["students"] for group in groups(*pair, *others) if "x" in group["students"]] == [["x", "y"]]


@pytest.mark.parametrize(
    "code",
    ["class A(:\n  def f(self)\n" * 40, "def f(" * 3000, "\0def f(): pass\n", "def f():\n  x = '" + "(" * 5000, "def f(): pass\n" * 20000],
)
def test_broken_code_ends_nothing(part_1, code):
    (group,) = groups(("ada", module(part_1)), ("bob", module(renamed(part_1))), ("eve", module(code)))
    assert group["students"] == ["ada", "bob"]


def test_a_course_is_compared_by_what_was_submitted_and_only_once(part_1, tmp_path, monkeypatch):
    for student, code in [("ada", part_1), ("bob", renamed(part_1))]:
        folder = tmp_path / "submitted" / student / assignment()
        folder.mkdir(parents=True)
        (folder / "lab04_student.py").write_text(code, encoding="utf-8")
    found = similar_in_course(tmp_path, ["ada", "bob", "nobody"])
    assert [group["students"] for group in found["groups"]] == [["ada", "bob"]]
    (tmp_path / "report.json").write_text(json.dumps({"similar": found}))
    monkeypatch.setattr("grader.similarity._fingerprints", lambda code: pytest.fail("compared again"))
    assert similar_in_course(tmp_path, ["ada", "bob", "nobody"]) == found
    monkeypatch.setattr("grader.similarity._fingerprints", lambda code: 1 / 0)
    (tmp_path / "submitted" / "bob" / assignment() / "lab04_student.py").write_text(part_1, encoding="utf-8")
    assert "ZeroDivisionError" in similar_in_course(tmp_path, ["ada", "bob"])["problem"]
