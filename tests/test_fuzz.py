"""Mangled hand-ins: whatever a file went through, nothing crashes, no mark is gained, and every repair leaves a note.

`UNETLAB_LONG=1` runs thousands of examples; the usual run is a sample. The code in them is the lab's own.
"""

import copy
import io
import json
import os
import random
import zipfile
from functools import partial
from pathlib import Path, PurePosixPath

import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grader.definitions import load
from grader.reading import Unreadable, load_notebook
from grader.repair import repair
from grader.submissions import File, Submission, find_submissions
from solutions.reference import reference_source
from tests.helpers import ROOT, replaced, scores

THOROUGH = bool(os.environ.get("UNETLAB_LONG"))
LAB = json.loads((ROOT / "labs/01_unet.ipynb").read_text())


def examples(usual: int, thorough: int):
    return settings(max_examples=thorough if THOROUGH else usual, deadline=None, suppress_health_check=list(HealthCheck))


def solved(source: str) -> dict:
    """The lab's first notebook with each task's cell replaced by this source's definitions."""
    made = copy.deepcopy(LAB)
    first = True
    for cell in made["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("solution") and cell["cell_type"] == "code":
            cell["source"] = source if first else "pass"
            first = False
    return made


RIGHT, WRONG = solved(reference_source()), solved(replaced(("return features, pooled", "return pooled, features")))
BASES = {"right": RIGHT, "wrong": WRONG, "untouched": LAB}

# ---- what happens to the cells ----


def _pick(chance, notebook):
    return chance.choice(notebook["cells"])


def delete_cell(chance, notebook):
    del notebook["cells"][chance.randrange(len(notebook["cells"]))]


def double_cell(chance, notebook):
    notebook["cells"].insert(chance.randrange(len(notebook["cells"]) + 1), copy.deepcopy(_pick(chance, notebook)))


def shuffle_cells(chance, notebook):
    chance.shuffle(notebook["cells"])


def merge_cells(chance, notebook):
    at = chance.randrange(len(notebook["cells"]) - 1)
    notebook["cells"][at]["source"] = text_of(notebook["cells"][at]) + "\n" + text_of(notebook["cells"].pop(at + 1))


def split_cell(chance, notebook):
    at = chance.randrange(len(notebook["cells"]))
    cell, lines = notebook["cells"][at], text_of(notebook["cells"][at]).splitlines(True)
    cut = chance.randrange(len(lines) + 1)
    notebook["cells"].insert(at + 1, {**copy.deepcopy(cell), "source": lines[cut:]})
    cell["source"] = lines[:cut]


def lose_metadata(chance, notebook):
    for cell in notebook["cells"]:
        cell["metadata"] = {}


def odd_metadata(chance, notebook):
    odd = [None, 3, [], "text", {"nbgrader": 5}, {"nbgrader": {"grade_id": ["x"]}}, {"nbgrader": {"grade_id": "task_9_9", "points": 1e9}}, {"tags": 5}]
    _pick(chance, notebook)["metadata"] = chance.choice(odd)
    notebook["metadata"] = chance.choice([None, [], {"kernelspec": 5}, {"language_info": {"name": "julia"}}, {"unetlab": {"stand_in": True}}])


def claim_points(chance, notebook):
    for cell in notebook["cells"]:
        if "points" in (marks := nbgrader_of(cell)):
            marks["points"] = 10**6


def same_ids(chance, notebook):
    for cell in notebook["cells"]:
        cell["id"] = "one"


def drop_check_cells(chance, notebook):
    notebook["cells"] = [cell for cell in notebook["cells"] if "check(" not in text_of(cell)] or [{"cell_type": "raw", "source": ""}]


def alter_locked_cells(chance, notebook):
    for cell in notebook["cells"]:
        if nbgrader_of(cell).get("locked"):
            cell["source"] = "print('20 / 20')"


def odd_outputs(chance, notebook):
    odd = [None, 5, {}, {"output_type": "stream"}, {"output_type": "error", "ename": 3}, {"output_type": "display_data", "data": {"text/plain": 5}},
           {"output_type": "stream", "name": "stdout", "text": "20/20 \x1b[2J" * 1000}]
    _pick(chance, notebook).update(cell_type="code", outputs=chance.choice([None, 5, odd, odd[-1:]]), execution_count=chance.choice([None, -1, "x", True]))


def magics(chance, notebook):
    cell = _pick(chance, notebook)
    cell["source"] = chance.choice(["%matplotlib inline\n", "!pip install torch\n", "%%time\n", "%%bash\n", "?x\n", "%%writefile x.py\n"]) + text_of(cell)


def huge_strings(chance, notebook):
    cell = _pick(chance, notebook)
    cell["source"] = text_of(cell) + "\n" + chance.choice(["x = '" + "y" * 200_000 + "'", "# " + "é" * 100_000, "(" * 5000, "\n" * 50_000, "x = " + "9" * 9000])


def odd_sources(chance, notebook):
    cell = _pick(chance, notebook)
    cell["source"] = chance.choice([None, 5, [text_of(cell), 5], {"a": 1}, "\0" + text_of(cell), text_of(cell) + "\ud800", "\ufeff" + text_of(cell)])


def odd_kinds(chance, notebook):
    _pick(chance, notebook)["cell_type"] = chance.choice([None, "heading", "Code", 5])
    notebook["cells"].append(chance.choice([None, 5, "x", []]))


def from_colab(chance, notebook):
    notebook["metadata"] = {"colab": {"provenance": []}, "accelerator": "GPU", "kernelspec": {"name": "python3"}}
    for cell in notebook["cells"]:
        cell["metadata"] = {"id": "aB3_x", "colab": {"base_uri": "https://localhost:8080/"}, "outputId": "x"}
        cell.pop("id", None)


def from_vs_code(chance, notebook):
    notebook["nbformat_minor"] = 2
    for cell in notebook["cells"]:
        cell["metadata"] = {"vscode": {"languageId": "python"}}
        cell.pop("id", None)


def format_3(chance, notebook):
    cells = notebook.pop("cells")
    for cell in cells:
        if isinstance(cell, dict):
            cell["input"] = cell.get("source", "")
    notebook.update(worksheets=[{"cells": cells, "metadata": {}}], nbformat=3, nbformat_minor=0)


CELL_EDITS = [delete_cell, double_cell, shuffle_cells, merge_cells, split_cell, lose_metadata, odd_metadata, claim_points, same_ids, drop_check_cells,
              alter_locked_cells, odd_outputs, magics, huge_strings, odd_sources, odd_kinds, from_colab, from_vs_code]
NOTED = {  # where a repair of this kind has to be said
    same_ids: "has the id of another cell", odd_kinds: "no cell and was passed over", format_3: "format 3, converted to 4",
}

# ---- what happens to the bytes ----


def flip(chance, content):
    changed = bytearray(content)
    for _ in range(chance.randrange(1, 20)):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


BYTE_EDITS = {
    "none": lambda chance, content: content,
    "flip": flip,
    "cut": lambda chance, content: content[: chance.randrange(len(content))],
    "lose a piece": lambda chance, content: content[: (at := chance.randrange(len(content)))] + content[at + chance.randrange(3000) :],
    "mark": lambda chance, content: b"\xef\xbb\xbf" + content,
    "utf-16": lambda chance, content: content.decode("utf-8", "replace").encode("utf-16"),
    "utf-32": lambda chance, content: content.decode("utf-8", "replace").encode("utf-32"),
    "windows": lambda chance, content: content.decode("utf-8", "replace").encode("cp1252", "replace").replace(b"\n", b"\r\n"),
    "zeros": lambda chance, content: content + bytes(1000),
    "twice": lambda chance, content: content + content,
}


def text_of(cell) -> str:
    source = cell.get("source", "") if isinstance(cell, dict) else ""
    return "".join(map(str, source)) if isinstance(source, list) else str(source)


def nbgrader_of(cell) -> dict:
    marks = cell.get("metadata") if isinstance(cell, dict) else None
    marks = marks.get("nbgrader") if isinstance(marks, dict) else None
    return marks if isinstance(marks, dict) else {}


def mangled(base: str, seed: int, count: int, edit: str = "none") -> bytes:
    """A notebook after `count` things that happened to its cells and one to its bytes."""
    chance, notebook = random.Random(seed), copy.deepcopy(BASES[base])
    for _ in range(count):
        notebook["cells"] = [cell for cell in notebook["cells"] if isinstance(cell, dict)] or [{"cell_type": "code", "source": "", "metadata": {}}] * 2
        notebook["cells"] += [{"cell_type": "raw", "source": "", "metadata": {}}] * (2 - len(notebook["cells"]))
        chance.choice(CELL_EDITS)(chance, notebook)
    if chance.randrange(8) == 0:
        format_3(chance, notebook)
    return BYTE_EDITS[edit](chance, json.dumps(notebook).encode())


def handed_in(content: bytes, name: str = "01_unet.ipynb") -> Submission:
    return Submission(Path("ada"), "ada", [File(name, PurePosixPath(name), partial(bytes, content))])


seeds, counts = st.integers(0, 2**40), st.integers(0, 8)


@examples(60, 6000)
@given(st.sampled_from(sorted(BASES)), seeds, counts, st.sampled_from(sorted(BYTE_EDITS)))
def test_a_mangled_notebook_is_read_or_refused_with_a_cause(base, seed, count, edit):
    submission = handed_in(mangled(base, seed, count, edit))
    try:
        sources = submission.sources()
    except Unreadable as problem:
        cause, _, mend = str(problem).partition("; ")
        assert cause.startswith(("01_unet.ipynb: ", "ada: ")) and mend
        return
    assert sources and json.dumps([cell.source for source in sources for cell in source.cells], ensure_ascii=False).encode()


@examples(25, 1500)
@given(st.sampled_from(sorted(BASES)), seeds, counts)
def test_a_mangled_notebook_is_valid_and_repaired_once_for_all(base, seed, count):
    try:
        notebook, _ = load_notebook("01_unet.ipynb", mangled(base, seed, count))
    except Unreadable:
        return
    notebook.metadata.pop("unetlab", None)
    nbformat.validate(notebook)
    wanted = [cell for cell in nbformat.reads(json.dumps(LAB), as_version=4).cells if "nbgrader" in cell.metadata]
    before = {cell.metadata.nbgrader.grade_id for cell in wanted} - {nbgrader_of(cell).get("grade_id") for cell in notebook.cells
                                                                    if isinstance(nbgrader_of(cell).get("grade_id"), str)}
    notes = repair(notebook, wanted)
    got = [cell.metadata.nbgrader for cell in notebook.cells if "nbgrader" in cell.metadata]
    assert sorted(marks.grade_id for marks in got) == sorted(cell.metadata.nbgrader.grade_id for cell in wanted)
    assert {json.dumps(marks, sort_keys=True) for marks in got} == {json.dumps(cell.metadata.nbgrader, sort_keys=True) for cell in wanted}
    for name in before:
        assert any(name in note for note in notes), "what had lost its mark was found or put back, and it is said"
    nbformat.validate(notebook)
    assert repair(notebook, wanted) == []


def test_marks_that_are_no_marks_cost_nothing():
    notebook = nbformat.reads(json.dumps(LAB), as_version=4)
    wanted = [copy.deepcopy(cell) for cell in notebook.cells if "nbgrader" in cell.metadata]
    for cell in notebook.cells:
        cell.metadata["nbgrader"] = 5
    assert any("metadata was lost" in note for note in repair(notebook, wanted))


@pytest.mark.parametrize("edit", NOTED, ids=lambda edit: edit.__name__)
def test_each_repair_is_said(edit):
    notebook = copy.deepcopy(RIGHT)
    edit(random.Random(0), notebook)
    _, notes = load_notebook("01_unet.ipynb", json.dumps(notebook).encode())
    assert any(NOTED[edit] in note for note in notes)


@examples(10, 400)
@given(st.sampled_from(["right", "wrong"]), seeds, counts, st.sampled_from(["none", "flip", "lose a piece", "windows"]))
def test_the_definitions_of_a_mangled_notebook_load(base, seed, count, edit):
    try:
        sources = handed_in(mangled(base, seed, count, edit)).sources()
    except Unreadable:
        return
    loaded = load(sources)
    names = {"DoubleConv", "EncoderBlock", "DecoderBlock", "UNet"}
    for name in names - loaded.namespace.keys():
        written = any(f"class {name}(" in cell.source for source in sources for cell in source.cells)
        assert not written or loaded.missing.get(name) or loaded.notes, f"{name} was written and is not there: it is said why"


@examples(40, 3000)
@given(seeds, st.integers(0, 40), st.sampled_from(["plain", "nested", "several"]))
def test_a_mangled_zip_loses_nobody_and_never_raises(tmp_path_factory, seed, flips, kind):
    chance, buffer = random.Random(seed), io.BytesIO()
    with zipfile.ZipFile(buffer, "w", chance.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for name in {"plain": ["01_unet.ipynb"], "nested": ["a/b/01_unet.ipynb", "a/x.py"], "several": ["bob_01_unet.ipynb", "cy.py"]}[kind]:
            archive.writestr(name, "x = 1" if name.endswith(".py") else json.dumps({"cells": []}))
    content = bytearray(buffer.getvalue())
    for _ in range(flips):
        content[chance.randrange(len(content))] = chance.randrange(256)
    if chance.randrange(4) == 0:
        del content[chance.randrange(len(content)) :]
    folder = tmp_path_factory.mktemp("class")
    (folder / "ada.zip").write_bytes(bytes(content))
    (folder / "dan.py").write_text("y = 1")
    found = find_submissions([folder])
    assert [s.sources()[0].cells[0].source for s in found if s.student == "dan"] == ["y = 1"] and len(found) >= 2
    for submission in found:
        try:
            submission.sources()
        except Unreadable as problem:
            assert str(problem)


@pytest.fixture(scope="module")
def honest(judge):
    return {base: scores(judge.grade(handed_in(json.dumps(notebook).encode()))) for base, notebook in BASES.items()}


@examples(3, 150)
@given(st.sampled_from(["wrong", "untouched"]), seeds, counts, st.sampled_from(["none", "none", "flip", "windows"]))
def test_no_mark_is_gained_by_mangling(judge, honest, base, seed, count, edit):
    result = judge.grade(handed_in(mangled(base, seed, count, edit)))
    assert set(honest["untouched"].values()) == {0.0} and sum(honest["wrong"].values()) < sum(honest["right"].values())
    for task, mark in result["tasks"].items():
        assert mark["score"] is None or mark["score"] <= honest[base][task], (task, result["notes"])
    assert result["status"] == "graded" or result["notes"]
