"""Hand-ins made to stop the reader, or to pass for another's: what they cost is bounded, and only their own."""

import io
import json
import zipfile

import nbformat
import pytest

from grader import submissions
from grader.reading import CELL_LIMIT, NEST_LIMIT, PIECE_LIMIT, Unreadable, load_notebook
from grader.submissions import find_submissions

NOTEBOOK = nbformat.writes(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("class DoubleConv: pass")]))


def zipped(*members: tuple) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def handed_in(folder, **files) -> dict:
    """Student → submission of a class's folder; `__` in a name stands for a dot."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_bytes(content if isinstance(content, bytes) else content.encode())
    return {submission.student: submission for submission in find_submissions([folder])}


def refusal(content: str | bytes) -> str:
    with pytest.raises(Unreadable) as caught:
        load_notebook("hw.ipynb", content if isinstance(content, bytes) else content.encode())
    return str(caught.value)


def nested(depth: int) -> str:
    return json.dumps({"cells": [], "metadata": {"x": "HERE"}}).replace('"HERE"', "[" * depth + "]" * depth)


def test_values_of_a_few_bytes_do_not_fill_the_memory():
    assert f"{PIECE_LIMIT:,} values" in refusal('{"cells": [' + "{}," * (PIECE_LIMIT // 2 + 1) + "{}]}")


def test_cells_without_end_are_refused():
    assert f"{CELL_LIMIT:,} are taken" in refusal(json.dumps({"cells": [{"cell_type": "code", "source": ""}] * (CELL_LIMIT + 1)}))


@pytest.mark.parametrize("depth", [NEST_LIMIT, 300, 900, 100_000])
def test_what_is_too_deep_for_those_who_copy_it_is_refused(depth):
    assert "nested too deeply" in refusal(nested(depth))


def test_what_is_not_too_deep_can_be_copied_and_written():
    notebook, _ = load_notebook("hw.ipynb", nested(NEST_LIMIT - 10).encode())
    assert nbformat.reads(nbformat.writes(notebook), as_version=4) == notebook


@pytest.mark.parametrize("name", ["_" * 60_000 + ".py", "a/" * 20_000 + "x.py", "b/" * 50 + "x.py", ".", "./."], ids=lambda name: name[:4])
def test_names_beyond_measure_are_passed_over(tmp_path, name):
    ada = handed_in(tmp_path / "class", ada__zip=zipped(("lab04_student.py", "x = 1"), (name, "y = 1")))["ada"]
    assert [source.name for source in ada.sources()] == ["lab04_student"]
    assert any("passed over" in note and len(note) < 2000 for note in ada.notes) or not name.strip("./")


def test_folders_without_end_are_named(tmp_path):
    deep = tmp_path / "class" / "ada" / "/".join("d" * 60)
    deep.mkdir(parents=True)
    (deep / "x.py").write_text("x = 1")
    found = handed_in(tmp_path / "class", bob__py="y = 1")
    assert found["bob"].sources() and found.keys() == {"ada", "bob"}
    with pytest.raises(Unreadable, match="too deep"):
        found["ada"].sources()


def test_zips_that_multiply_are_counted_together(tmp_path, monkeypatch):
    monkeypatch.setattr(submissions, "TREE_LIMIT", 100)
    inner = zipped(*[(f"{number}.png", b"") for number in range(30)])
    bomb = zipped(*[(f"{number}.zip", inner) for number in range(5)])
    found = handed_in(tmp_path / "class", ada__zip=bomb, bob__zip=zipped(("x.py", "y = 1")))
    assert found["bob"].sources()
    with pytest.raises(Unreadable, match="more than 100 files in the zips inside it; unpack it"):
        found["ada"].sources()


def test_a_zip_within_a_zip_is_opened_once_for_all_its_members(tmp_path, monkeypatch):
    opened, real = [], submissions._opened
    monkeypatch.setattr(submissions, "_opened", lambda read: opened.append(read) or real(read))
    members = [("lab04_student.py", "x = 1"), *((f"m{number}.py", "x = 1") for number in range(50))]
    (ada,) = handed_in(tmp_path / "class", ada__zip=zipped(("inner.zip", zipped(*members)))).values()
    opened.clear()
    assert len(ada.sources()) == 51 and len(opened) <= 2


def test_reading_stops_where_the_limit_is_reached(tmp_path, monkeypatch):
    monkeypatch.setattr(submissions, "SUBMISSION_LIMIT", 1000)
    monkeypatch.setattr(submissions, "WORK_LIMIT", 40)
    members = [("lab04_student.py", "x = 1"), *((f"m{number:02}.py", "#" * 100) for number in range(80))]
    ada = handed_in(tmp_path / "class", ada__zip=zipped(*members))["ada"]
    read = []
    for file in ada.files:
        file.read = lambda file=file, content=file.read: read.append(file) or content()
    assert len(ada.sources()) == 10 and len(read) == 11
    assert any("81 notebooks and modules, of which 40 are read" in note for note in ada.notes) and any("in all" in note for note in ada.notes)


# ---- passing for another ----

EVIL, GOOD = "evil = 1", "good = 1"
INSIDE = {
    "files": zipped(("bob_1111_2222_01_unet.ipynb", NOTEBOOK), ("zoe_1111_2223_01_unet.ipynb", NOTEBOOK)),
    "folders": zipped(("bob/lab04_student.py", EVIL), ("zoe/lab04_student.py", EVIL)),
    "a folder": zipped(("bob_1111_2222_x/lab04_student.py", EVIL)),
}


@pytest.mark.parametrize("inside", INSIDE)
@pytest.mark.parametrize("ada", ["ada.zip", "ada_123_456_work.zip"])
@pytest.mark.parametrize("bob", ["bob.zip", "bob_124_457_work.zip"])
def test_who_hands_in_under_anothers_name_takes_nothing_from_them(tmp_path, inside, ada, bob):
    theirs = {ada.replace(".", "__"): INSIDE[inside], bob.replace(".", "__"): zipped(("lab04_student.py", GOOD))}
    found = handed_in(tmp_path / "class", **theirs)
    (tmp_path / "class.zip").write_bytes(zipped(*[(name.replace("__", "."), content) for name, content in theirs.items()]))
    packed = {submission.student: submission for submission in find_submissions([tmp_path / "class.zip"])}
    for students in (found, packed):
        assert students["bob"].sources()[0].cells[0].source == GOOD and students["bob"].notes == []
        assert "_" not in ada or students.keys() == {"ada", "bob"}, "a platform's name is one student's"


def test_the_platforms_folder_goes_before_one_inside_it(tmp_path):
    for name, text in {"ada_1_assignsubmission_file_/bob_2_assignsubmission_file_/x.py": EVIL, "bob_2_assignsubmission_file_/x.py": GOOD}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert {s.student: s.sources()[0].cells[0].source for s in find_submissions([tmp_path])} == {"ada": EVIL, "bob": GOOD}


# ---- what a terminal obeys ----

OBEYED = "\x1b]0;gone\x07\x1b[2J\x9b31m\u202egnp.x\u2066\x08"


def test_names_that_a_terminal_obeys_are_shown_without_their_power(tmp_path):
    ada = handed_in(tmp_path / "class", **{f"ada{OBEYED}__zip": zipped((f"01_unet{OBEYED}.ipynb", "{"), ("lab04_student.py", "x = 1"))})
    (submission,) = ada.values()
    shown = [*submission.notes, submission.student, str(submission.path), *(source.name for source in submission.sources()), *submission.notes]
    assert len(shown) > 3 and not any(letter in text for text in shown for letter in "\x1b\x07\x9b\u202e\u2066\x08")
