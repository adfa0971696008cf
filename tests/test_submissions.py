"""Finding and reading hand-ins: bad files, folders and zips of every shape, whose they are, and what is said."""

import copy
import io
import json
import os
import pickle
import random
import shutil
import struct
import time
import zipfile
from pathlib import Path, PurePosixPath

import jupytext
import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grader import submissions as submissions_module
from grader.definitions import load
from grader.reading import Unreadable, load_notebook
from grader.submissions import File, Submission, find_submissions
from solutions.reference import reference_source
from tests.helpers import ROOT

LAB = json.loads((ROOT / "labs/01_unet.ipynb").read_text(encoding="utf-8"))
few = settings(max_examples=60, deadline=None)


def notebook(*sources: str, **fields) -> dict:
    """A notebook of code cells, as JSON would give it."""
    made = [
        {"cell_type": "code", "id": f"c{n}", "metadata": {}, "execution_count": None, "outputs": [], "source": source}
        for n, source in enumerate(sources or ["class UNet: pass"])
    ]
    return {"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5} | fields


def read(content) -> tuple:
    """Load a notebook from bytes or JSON; whatever comes back must be valid and writable."""
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    loaded, notes = load_notebook("hw.ipynb", content)
    nbformat.validate(loaded)
    assert len({cell.id for cell in loaded.cells}) == len(loaded.cells)
    nbformat.writes(loaded).encode()
    assert all(note.startswith("hw.ipynb: ") for note in notes)
    return loaded, notes


def refused(content) -> str:
    """The text with which a file is refused; it names the file, and what to do after a semicolon."""
    with pytest.raises(Unreadable) as caught:
        read(content)
    text = str(caught.value)
    assert text.startswith("hw.ipynb: ") and "; " in text
    return text


def put(folder: Path, *names: str, text: str = "") -> Path:
    """Write a file of each name, whatever its kind, below a folder."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made(name, text))
    return folder


def made(name: str, text: str = "") -> bytes:
    """The content of a file of this name."""
    text = text or "class UNet: pass"
    return json.dumps(notebook(text)).encode() if name.endswith(".ipynb") else text.encode()


def zipped(*names: str, text: str = "", **contents: bytes) -> bytes:
    """A zip with a file of each name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, made(name, text))
        for name, content in contents.items():
            archive.writestr(name.replace("__", "."), content)
    return buffer.getvalue()


def found(*paths: Path) -> dict[str, list[str]]:
    """Student → the files of the submission, by their paths within it."""
    submissions = find_submissions(paths)
    by_student = {s.student: sorted(str(file.name) for file in s.files) for s in submissions}
    assert len(by_student) == len(submissions)
    return by_student


def problem(submission: Submission) -> str:
    """Why a submission cannot be read."""
    with pytest.raises(Unreadable) as caught:
        submission.sources()
    return str(caught.value)


def only(*paths: Path) -> Submission:
    """The one submission in these paths."""
    (submission,) = find_submissions(paths)
    return submission


# ---- one notebook ----


@pytest.mark.parametrize(
    "content, cause",
    [
        (b"", "empty"), (b" \n\t", "empty"), (b"\xef\xbb\xbf", "empty"), (b"\xff\xfe", "empty"), (b"\0" * 9000, "empty"),
        (b"{", "not JSON"), (b"class UNet: pass", "not JSON"), (b"<html>", "not JSON"), (b"PK\x03\x04", "not JSON"),
        (b"[]", "no cells"), (b"3", "no cells"), (b"null", "no cells"), (b"{}", "no cells"), (b'"cells"', "no cells"),
        (b'{"cells": 3}', "no list"), (b'{"cells": null}', "no list"), (b'{"cells": {"a": {}}}', "no list"),
        (b'{"worksheets": 3}', "no list"), (b'{"worksheets": [{"cells": null}]}', "no list"), (b'{"worksheets": [3]}', "no list"),
        (b'{"cells": ' + b"[" * 100_000, "nested too deeply"), (b'{"cells": [], "x": ' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"cells": [], "metadata": {"a": ' + b"[" * 800 + b"]" * 800 + b"}}", "nested too deeply"),
        (json.dumps(LAB).encode()[:-200], "not JSON"), (b"\x89PNG\r\n\x1a\n\0\0", "not JSON"),
    ],
)  # fmt: skip
def test_what_is_no_notebook_is_refused_with_cause_and_mend(content, cause):
    assert cause in refused(content)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_encodings(encoding):
    loaded, notes = read(json.dumps(notebook("x = 'naïve ü'"), ensure_ascii=False).encode(encoding))
    assert loaded.cells[0].source == "x = 'naïve ü'"
    assert bool(notes) is (not encoding.startswith("utf-8"))


def test_one_broken_byte_does_not_spoil_the_other_letters():
    loaded, notes = read(json.dumps(notebook("'ü' + '@'"), ensure_ascii=False).encode().replace(b"@", b"\xff"))
    assert loaded.cells[0].source == "'ü' + '\ufffd'" and "not UTF-8" in notes[0]


def test_half_a_surrogate_pair_can_be_written_again():
    assert read(rb'{"cells": [{"cell_type": "code", "source": "x = \"\ud83d\""}]}')[0].cells[0].source == 'x = "?"'
    assert read(rb'{"cells": [{"cell_type": "code", "source": "\ud83d\ude00"}]}')[0].cells[0].source == "😀"


def test_format_3_is_converted():
    old = {
        "nbformat": 3, "nbformat_minor": 0, "metadata": {"name": "x"},
        "worksheets": [{"cells": [
            {"cell_type": "heading", "level": 2, "source": ["Title"]}, {"cell_type": "markdown", "source": "text"},
            {"cell_type": "code", "input": ["class UNet:\n", "    pass"], "language": "python", "prompt_number": 3, "outputs": [
                {"output_type": "pyout", "prompt_number": 3, "text": ["3"], "png": "AAAA"}, {"output_type": "stream", "stream": "stderr", "text": "w"},
                {"output_type": "pyerr", "ename": "E", "evalue": "v", "traceback": ["t"]}, {"output_type": "display_data", "html": "<b>"}, 5,
            ]},
        ]}, {"cells": [3]}],
    }  # fmt: skip
    loaded, notes = read(old)
    title, text, code = loaded.cells
    assert (title.source, text.source, code.source, code.execution_count) == ("## Title", "text", "class UNet:\n    pass", 3)
    assert code.outputs[0].data == {"text/plain": "3", "image/png": "AAAA"} and code.outputs[1].name == "stderr"
    assert [output.output_type for output in code.outputs] == ["execute_result", "stream", "error", "display_data"]
    assert any("format 3" in note for note in notes) and any("1 of the outputs of cell 3" in note for note in notes)


def test_cells_are_repaired_or_passed_over():
    given_cells = [
        3, None, "x = 1", {}, {"cell_type": "code"}, {"cell_type": "code", "source": 5}, {"cell_type": "heading", "source": "T"},
        {"cell_type": "code", "source": ["a = 1\n", 4, "b = 2"], "metadata": None, "execution_count": True, "outputs": {}},
        {"cell_type": "markdown", "source": "t", "outputs": [1], "attachments": {"a.png": {"image/png": "AA"}, "b": 3}},
    ]  # fmt: skip
    loaded, notes = read(notebook(cells=given_cells))
    assert [cell.source for cell in loaded.cells] == ["", "", "", "T", "a = 1\nb = 2", "t"]
    assert loaded.cells[-1].attachments == {"a.png": {"image/png": "AA"}}
    assert sum("is no cell" in note for note in notes) == 3 and sum("is no text" in note for note in notes) == 2


def test_metadata_of_any_kind():
    bad = {
        "name": "", "tags": ["a,b", "a,b"], "collapsed": 1, "scrolled": 1, "jupyter": 3, "execution": {"a": 1}, "format": 3,
        "nbgrader": {"grade_id": "task_1_1"}, "mine": [1],
    }  # fmt: skip
    loaded, _ = read(notebook(cells=[{"cell_type": "code", "source": "x", "metadata": bad}], metadata=None))
    assert loaded.cells[0].metadata == {"nbgrader": {"grade_id": "task_1_1"}, "mine": [1]}
    strange = {"kernelspec": {"name": 3}, "language_info": 5, "title": 3, "authors": 3, "orig_nbformat": 0, "unetlab": {"a": 1}}
    loaded, _ = read(notebook(metadata=strange, nbformat=99, nbformat_minor="x", more=1))
    assert loaded.metadata.kernelspec.name == "python3" and loaded.metadata.unetlab == {"a": 1}


def test_cell_ids_are_made_unique():
    made_cells = [{"cell_type": "code", "source": "", "id": id} for id in ("a", "a", "", 3, "cell-6", None, "b b", "x" * 65)]
    loaded, notes = read(notebook(cells=made_cells))
    assert loaded.cells[0].id == "a" and loaded.cells[4].id == "cell-6"
    assert notes == ["hw.ipynb: cell 2 has the id of another cell (a) and got a new one"]


def test_outputs_are_kept_mended_or_left_out():
    good = [
        {"output_type": "stream", "name": "stdout", "text": ["a\n", "b"], "metadata": {}},
        {"output_type": "display_data", "data": {"image/png": "AA", "application/vnd.plotly.v1+json": {"x": [1]}}},
        {"output_type": "execute_result", "data": {}, "metadata": None, "execution_count": -1},
        {"output_type": "error", "ename": "E", "evalue": "", "traceback": []},
    ]
    bad = [
        3, None, {}, {"output_type": "stream"}, {"output_type": "stream", "name": 1, "text": ""}, {"output_type": "pyout"},
        {"output_type": "display_data", "data": {"text/plain": 3}}, {"output_type": "error", "ename": "E", "evalue": "", "traceback": "t"},
        {"output_type": "stream", "name": "stdout", "text": [1]}, {"output_type": ["stream"]},
    ]  # fmt: skip
    one = notebook("x = 1")
    one["cells"][0]["outputs"] = bad + good
    loaded, notes = read(one)
    assert [output.output_type for output in loaded.cells[0].outputs] == ["stream", "display_data", "execute_result", "error"]
    assert loaded.cells[0].outputs[0].text == "a\nb"
    assert notes == ["hw.ipynb: 10 of the outputs of cell 1 are malformed and were left out"]


@pytest.mark.parametrize(
    "output, count",
    [
        ({"output_type": "display_data", "metadata": {}, "data": {"image/png": "A" * 50_000_000}}, 1),
        ({"output_type": "stream", "name": "stdout", "text": ["x" * 200]}, 200_000),
        ({"output_type": "stream", "name": "stdout", "text": ["x" * 50 + "\n"] * 1_000_000}, 1),
    ],
    ids=["a picture", "many prints", "many lines"],
)
def test_fifty_megabytes_of_outputs_take_seconds(output, count):
    one = copy.deepcopy(LAB)
    next(cell for cell in one["cells"] if cell["cell_type"] == "code")["outputs"] = [output] * count
    content, started = json.dumps(one).encode(), time.process_time()
    loaded, notes = load_notebook("hw.ipynb", content)
    assert time.process_time() - started < 10 and notes == [] and len(loaded.cells) == len(LAB["cells"])


# ---- one submission ----


def test_the_whole_solved_lab_loads_without_a_note(tmp_path):
    solved = jupytext.read(ROOT / "solutions/lab_01_unet.py")
    (tmp_path / "ada_01_unet.ipynb").write_text(nbformat.writes(solved), encoding="utf-8")
    submission = only(tmp_path / "ada_01_unet.ipynb")
    loaded = load(submission.sources())
    assert submission.notes == loaded.notes == [] and loaded.missing == {}
    assert {"DoubleConv", "EncoderBlock", "DecoderBlock", "UNet"} <= loaded.namespace.keys()
    assert not {"model", "loaders", "images", "x"} & loaded.namespace.keys(), "the top level did not run"


def test_files_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    put(tmp_path / "eve", "01_unet.ipynb", "helper.py")
    (tmp_path / "eve/empty.py").write_bytes(b"")
    submission = only(tmp_path / "eve")
    reads = Path.read_bytes
    denied = lambda path: (_ for _ in ()).throw(PermissionError(13, "Permission denied")) if path.name == "helper.py" else reads(path)  # noqa: E731
    monkeypatch.setattr(Path, "read_bytes", denied)
    assert [source.name for source in submission.sources()] == ["01_unet"]
    assert len(submission.notes) == 2 and all(str(tmp_path / "eve") in note for note in submission.notes)
    assert "helper.py: cannot be read (Permission denied); " in " ".join(submission.notes)
    submission.sources()
    assert len(submission.notes) == 2, "reading twice says nothing twice"


def test_what_vanishes_or_breaks_between_finding_and_reading_is_unreadable(tmp_path):
    path = put(tmp_path, "ada.py") / "ada.py"
    submission = only(path)
    path.unlink()
    assert "ada.py: cannot be read (No such file or directory)" in problem(submission)
    for error in (RuntimeError("odd"), RecursionError(), MemoryError(), zipfile.BadZipFile("crc")):
        def broken(error=error):
            raise error
        assert "x.py: cannot be read" in problem(Submission(path, "x", [File("x.py", PurePosixPath("x.py"), broken)]))


def test_a_fault_in_one_file_does_not_lose_the_others(tmp_path, monkeypatch):
    put(tmp_path / "ada", "01_unet.ipynb", "b.py")
    monkeypatch.setattr(submissions_module, "load_notebook", lambda *_: 1 / 0)
    submission = only(tmp_path / "ada")
    assert [source.name for source in submission.sources()] == ["b"] and "ZeroDivisionError" in submission.notes[0]


def test_a_module_in_another_encoding(tmp_path):
    (tmp_path / "ada.py").write_bytes("# -*- coding: latin-1 -*-\nname = 'é'".encode("latin-1"))
    (tmp_path / "bob.py").write_bytes("name = 'é'".encode("cp1252"))
    (tmp_path / "cy.py").write_bytes("name = 'é'".encode("utf-16"))
    for submission in find_submissions([tmp_path]):
        assert "é" in submission.sources()[0].cells[0].source, submission.student


def test_a_notebook_called_py_is_read_as_a_notebook(tmp_path):
    (tmp_path / "ada.py").write_text(json.dumps(notebook("class UNet: pass"), indent=1))
    assert only(tmp_path / "ada.py").sources()[0].cells[0].source == "class UNet: pass"


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "ada.pdf").write_bytes(b"%PDF")
    assert "neither a notebook nor a module; hand in .ipynb or .py" in problem(only(tmp_path / "ada.pdf"))


def test_too_much_is_refused(tmp_path, monkeypatch):
    (tmp_path / "ada.py").write_text("x = '" + "y" * 900_000 + "'")
    assert "bytes of code" in problem(only(tmp_path / "ada.py"))
    monkeypatch.setattr(submissions_module, "FILE_LIMIT", 1000)
    assert "too large; clear its outputs" in problem(only(tmp_path / "ada.py"))
    monkeypatch.setattr(submissions_module, "SUBMISSION_LIMIT", 100)
    assert "MB in all" in problem(only(put(tmp_path / "bob", "01_unet.ipynb")))


def test_the_kits_own_files_in_a_hand_in_are_not_the_students(tmp_path):
    for name in ("labs/01_unet.ipynb", "data_utils.py", "metrics.py", "grader/judge.py", "starter/lab04_student.py"):
        put(tmp_path / "ada/unetlab", name).joinpath(name).write_bytes((ROOT / name).read_bytes())
    for package in ("networks", "training"):
        for path in (ROOT / package).glob("*.py"):
            put(tmp_path / "ada/unetlab", f"{package}/{path.name}").joinpath(f"{package}/{path.name}").write_bytes(path.read_bytes())
    put(tmp_path / "ada/unetlab", "viz.py", text="def own(): pass")
    put(tmp_path / "ada/unetlab", "networks/unet.py", text="class UNet: pass")
    submission = only(tmp_path / "ada")
    assert submission.student == "ada" and [s.name for s in submission.sources()] == ["01_unet", "unet", "lab04_student", "viz"]


def test_submissions_travel_to_other_processes(tmp_path):
    put(tmp_path, "class/ada.py")
    (tmp_path / "class/bob.zip").write_bytes(zipped("UNet.py", inner__zip=zipped("a.py", "link.py", "../x.py")))
    for submission in find_submissions([tmp_path / "class"]):
        there = pickle.loads(pickle.dumps(submission))
        assert [s.cells for s in there.sources()] == [s.cells for s in submission.sources()]


# ---- whose it is ----


@pytest.mark.parametrize(
    "name, student",
    [
        ("alice.ipynb", "alice"), ("alice_01_unet.ipynb", "alice"), ("alice-01_unet.ipynb", "alice"), ("alice_lab04_student.py", "alice"),
        ("alice/01_unet.ipynb", "alice"), ("alice/lab04/01_unet.ipynb", "alice"), ("alice/01_unet (1).ipynb", "alice"),
        ("alice_01_unet-2.ipynb", "alice"), ("alice_12345_67890_01_unet.ipynb", "alice"), ("alice_LATE_12345_67890_01_unet-1.ipynb", "alice"),
        ("Alice Smith_123_assignsubmission_file_01_unet.ipynb", "Alice_Smith"), ("Alice Smith_123_assignsubmission_file_/01_unet.ipynb", "Alice_Smith"),
        ("Lab_alice_attempt_2024-01-02-03-04-05_01_unet.ipynb", "alice"), ("Zoë O'Neil.py", "Zoë_O_Neil"), ("a@b.org_01_unet.ipynb", "a@b.org"),
        ("..strange...py", "strange"), ("alice/lab04_student.py", "alice"), ("ALICE_01_unet.IPYNB", "ALICE"), ("王芳.py", "王芳"),
    ],
)  # fmt: skip
def test_student_of_a_single_file(tmp_path, name, student):
    assert only(put(tmp_path / "class", name) / name).student == student


@pytest.mark.parametrize(
    "names, expected",
    [
        (["ada.py", "bob.py"], {"ada": ["ada.py"], "bob": ["bob.py"]}),
        (["ada.py"], {"ada": ["ada.py"]}),
        (["ada_01_unet.ipynb", "bob_01_unet.ipynb"], {"ada": ["ada_01_unet.ipynb"], "bob": ["bob_01_unet.ipynb"]}),
        (["ada_01_unet.ipynb", "ada_lab04_student.py", "bob.py"], {"ada": ["ada_01_unet.ipynb", "ada_lab04_student.py"], "bob": ["bob.py"]}),
        (["ada/01_unet.ipynb", "bob/01_unet.ipynb"], {"ada": ["01_unet.ipynb"], "bob": ["01_unet.ipynb"]}),
        (["ada/lab04/01_unet.ipynb", "bob/lab04/01_unet.ipynb"], {"ada": ["01_unet.ipynb"], "bob": ["01_unet.ipynb"]}),
        (["ada/01_unet.ipynb", "ada/old/01_unet.ipynb", "bob/m.py"], {"ada": ["01_unet.ipynb", "old/01_unet.ipynb"], "bob": ["m.py"]}),
        (["ada/a.py", "ada/b.py", "bob/m.py", "cy.py"], {"ada": ["a.py", "b.py"], "bob": ["m.py"], "cy": ["cy.py"]}),
        (["s1/ada/01_unet.ipynb", "s1/bob/01_unet.ipynb", "s2/cy/01_unet.ipynb", "s2/di/01_unet.ipynb"],
         {student: ["01_unet.ipynb"] for student in ("ada", "bob", "cy", "di")}),
        (["ada_111_222_01_unet.ipynb", "ada_111_223_help.py", "bob_112_224_01_unet-1.ipynb", "cy_LATE_113_225_report.pdf"],
         {"ada": ["ada_111_222_01_unet.ipynb", "ada_111_223_help.py"], "bob": ["bob_112_224_01_unet-1.ipynb"], "cy": []}),
        (["A B_1_assignsubmission_file_/01_unet.ipynb", "C D_2_assignsubmission_file_/x.py", "E_3_assignsubmission_onlinetext_/t.html"],
         {"A_B": ["01_unet.ipynb"], "C_D": ["x.py"], "E": []}),
        (["A B_1_assignsubmission_file_/01_unet.ipynb"], {"A_B": ["01_unet.ipynb"]}),
        (["ada/01_unet.ipynb", "bob/report.pdf"], {"ada": ["01_unet.ipynb"], "bob": []}),
        (["ada.py", ".git/x.py", "__MACOSX/._ada.py", ".ipynb_checkpoints/ada.ipynb", "README.md", "venv/lib/z.py"], {"ada": ["ada.py"]}),
    ],
)  # fmt: skip
def test_a_class_in_a_folder_and_in_a_zip(tmp_path, names, expected):
    put(tmp_path / "class", *names)
    assert found(tmp_path / "class") == expected
    (tmp_path / "handins.zip").write_bytes(zipped(*names))
    if len(expected) > 1 or "_1_" in names[0]:
        assert found(tmp_path / "handins.zip") == expected


@pytest.mark.parametrize(
    "names, text",
    [
        (["01_unet.ipynb"], ""), (["01_unet.ipynb", "helper.py"], ""), (["01_unet.ipynb", "02_skip_connections.ipynb"], ""),
        (["lab04_student.py", "x.py"], ""), (["labs/01_unet.ipynb", "starter/lab04_student.py"], ""), (["lab04/01_unet.ipynb"], ""),
        (["UNet.py", "losses.py"], "from losses import Block"), (["main.py", "models/unet.py"], "from models.unet import UNet"),
        (["main.py", "parts/__init__.py", "parts/unet.py"], "import parts"), (["01_unet.ipynb", "pictures/a.png", "code/x.py"], ""),
    ],
)  # fmt: skip
def test_one_students_folder_and_zip(tmp_path, names, text):
    for name in names:
        put(tmp_path / "ada", name, text=text or f"class C{len(name)}: pass")
    if text:
        (tmp_path / "ada" / names[1]).write_text("class UNet: pass")
        (tmp_path / "ada" / names[0]).write_text(text)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.write(tmp_path / "ada" / name, f"project/{name}")
    (tmp_path / "bea.zip").write_bytes(buffer.getvalue())
    (folder,), (archive,) = find_submissions([tmp_path / "ada"]), find_submissions([tmp_path / "bea.zip"])
    assert (folder.student, archive.student) == ("ada", "bea")
    assert [s.cells for s in folder.sources()] == [s.cells for s in archive.sources()] and folder.notes == []
    code = [name for name in names if name.endswith((".py", ".ipynb"))]
    assert len(folder.sources()) == len(code) and len(folder.others) == len(names) - len(code)


def test_a_class_of_modules_that_share_an_import_is_still_a_class(tmp_path):
    for name in ("ada.py", "bob.py"):
        put(tmp_path / "class", name, text="import helper, torch, data_utils\nclass UNet: pass")
    put(tmp_path / "class", "helper.py", "torch.py", text="x = 1")
    assert {"ada", "bob"} <= found(tmp_path / "class").keys()


def test_a_hand_in_with_an_archive_in_it(tmp_path):
    (tmp_path / "class/bob").mkdir(parents=True)
    (tmp_path / "class/bob/lab04.zip").write_bytes(zipped("lab04/01_unet.ipynb", "lab04/helper.py"))
    (tmp_path / "class/ada.zip").write_bytes(zipped("my project/01_unet.ipynb"))
    (tmp_path / "class/cy_111_222_work.zip").write_bytes(zipped("x.py"))
    expected = {"ada": ["01_unet.ipynb"], "bob": ["01_unet.ipynb", "helper.py"], "cy": ["x.py"]}
    assert found(tmp_path / "class") == expected
    outer = tmp_path / "all.zip"
    outer.write_bytes(zipped(ada__zip=zipped("01_unet.ipynb"), bob__zip=zipped("p/01_unet.ipynb", "p/helper.py")))
    assert found(outer) == {"ada": ["01_unet.ipynb"], "bob": ["01_unet.ipynb", "helper.py"]}
    for submission in find_submissions([outer]):
        assert submission.sources() and submission.notes == []


def test_files_that_a_platform_renamed_still_import_each_other(tmp_path):
    put(tmp_path, "class/ada_123_456_blocks-1.py", text="class DoubleConv: pass")
    put(tmp_path, "class/ada_123_457_main.py", text="from blocks import DoubleConv\nclass UNet(DoubleConv): pass")
    put(tmp_path, "class/bob_124_457_lab04_student.py")
    ada, bob = find_submissions([tmp_path / "class"])
    loaded = load(ada.sources())
    assert loaded.notes == [] and issubclass(loaded.namespace["UNet"], loaded.namespace["DoubleConv"])
    assert bob.sources()[0].name == "lab04_student"


def test_two_hand_ins_under_one_name_stay_two(tmp_path):
    put(tmp_path, "a/ada.py", "b/ada.ipynb", "c/Ada.py")
    first, second, third = find_submissions([tmp_path / "a", tmp_path / "b", tmp_path / "c"])
    assert (first.student, second.student, third.student) == ("ada", "ada_2", "Ada_3")
    assert second.notes == ["another hand-in is named ada too; this one is ada_2"] and first.notes == []
    put(tmp_path / "class", "x y.py", "x_y.py", "x-y/01_unet.ipynb", "x_y/01_unet.ipynb")
    assert len(found(tmp_path / "class")) == 4


def test_an_unlucky_second_name_is_unique_too(tmp_path):
    put(tmp_path, "a/ada.py", "b/ada_2.py", "c/ada.py")
    assert [s.student for s in find_submissions([tmp_path / n for n in "abc"])] == ["ada", "ada_2", "ada_3"]


# ---- what must not be followed, and what cannot be opened ----


def test_links_are_not_followed(tmp_path):
    secret = put(tmp_path, "secret/solution.py") / "secret"
    put(tmp_path / "class", "ada/01_unet.ipynb", "bob/01_unet.ipynb")
    (tmp_path / "class/ada/helper.py").symlink_to(secret / "solution.py")
    (tmp_path / "class/bob/more").symlink_to(secret)
    (tmp_path / "class/eve.py").symlink_to(secret / "solution.py")
    (tmp_path / "class/loop").symlink_to(tmp_path / "class")
    ada, bob, eve = find_submissions([tmp_path / "class"])
    assert [len(s.sources()) for s in (ada, bob)] == [1, 1] and "helper.py: a link, passed over" in ada.notes[0]
    assert "a link, passed over; hand in the file itself" in problem(eve)
    (tmp_path / "named.py").symlink_to(secret / "solution.py")
    assert only(tmp_path / "named.py").sources(), "a link that the instructor names is meant"


def test_pipes_are_not_waited_for(tmp_path):
    put(tmp_path / "ada", "01_unet.ipynb")
    os.mkfifo(tmp_path / "ada/pipe.py")
    assert found(tmp_path / "ada") == {"ada": ["01_unet.ipynb"]}
    assert "not a plain file" in problem(only(tmp_path / "ada/pipe.py"))


def test_folders_that_cannot_be_entered_are_named(tmp_path, monkeypatch):
    put(tmp_path / "class", "ada/01_unet.ipynb", "bob/01_unet.ipynb")
    scan = os.scandir
    def denied(path):  # noqa: E306
        if Path(path).name == "bob":
            raise PermissionError(13, "Permission denied")
        return scan(path)
    monkeypatch.setattr(os, "scandir", denied)
    ada, bob = find_submissions([tmp_path / "class"])
    assert ada.sources() and bob.student == "bob" and "Permission denied" in problem(bob)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_without_permission(tmp_path):
    put(tmp_path, "ada.py").joinpath("ada.py").chmod(0)
    assert "Permission denied" in problem(only(tmp_path / "ada.py"))


def test_a_path_that_is_not_there(tmp_path):
    for name in ("nothing.py", "x" * 5000, "nul\0.py"):
        with pytest.raises(FileNotFoundError, match="no such file or folder"):
            find_submissions([tmp_path / name])


def test_empty_folders(tmp_path):
    assert find_submissions([tmp_path]) == []
    put(tmp_path, "ada/01_unet.ipynb", "bob/01_unet.ipynb")
    (tmp_path / "cy").mkdir()
    ada, bob, cy = find_submissions([tmp_path])
    assert cy.student == "cy" and "no notebook and no module" in problem(cy) and cy.others == []


def test_file_names_that_are_no_text(tmp_path):
    (tmp_path / "class").mkdir()
    with open(os.fsencode(tmp_path / "class") + b"/ad\xff.py", "wb") as file:
        file.write(b"x = 1")
    submission = only(tmp_path / "class")
    text = json.dumps([str(submission.path), submission.student, submission.notes, submission.sources()[0].name], ensure_ascii=False)
    assert text.encode()


def spoilt(name: str) -> bytes:
    """A zip with something wrong."""
    good = zipped("01_unet.ipynb")
    if name == "cut":
        return good[: len(good) // 2]
    if name == "bytes changed":
        return good[:60] + bytes(20) + good[80:]
    if name == "encrypted":
        central = good.index(b"PK\1\2")
        return good[:6] + b"\1" + good[7 : central + 8] + b"\1" + good[central + 9 :]
    if name == "unknown packing":
        central = good.index(b"PK\1\2")
        return good[:8] + b"\x63" + good[9 : central + 10] + b"\x63" + good[central + 11 :]
    if name == "declares little, holds much":
        bomb = zipped(text="", **{"01_unet__ipynb": b" " * 50_000_000})
        central = bomb.index(b"PK\1\2")
        return bomb[:22] + struct.pack("<I", 10) + bomb[26 : central + 24] + struct.pack("<I", 10) + bomb[central + 28 :]
    if name == "declares much":
        central = good.index(b"PK\1\2")
        return good[: central + 24] + struct.pack("<I", 2**32 - 2) + good[central + 28 :]
    return {"text": b"hello", "empty": b"", "no files": zipped(), "only others": zipped("a.pdf", "__MACOSX/._a.py")}[name]


@pytest.mark.parametrize(
    "name",
    ["cut", "bytes changed", "encrypted", "unknown packing", "declares little, holds much", "declares much", "text", "empty", "no files", "only others"],
)  # fmt: skip
def test_spoilt_zips_are_named_and_cost_nobody_else(tmp_path, name):
    put(tmp_path / "class", "ada/01_unet.ipynb")
    (tmp_path / "class/bob.zip").write_bytes(spoilt(name))
    ada, bob = find_submissions([tmp_path / "class"])
    assert ada.sources() and bob.student == "bob" and bob.path.name == "bob.zip"
    text = problem(bob)
    assert "bob.zip" in text and "; " in text
    alone = only(tmp_path / "class/bob.zip")
    assert alone.student == "bob" and "bob.zip" in problem(alone)


def test_zips_that_reach_out_of_themselves(tmp_path):
    path = tmp_path / "ada.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("01_unet.ipynb", "../../out.py", "/etc/abs.py", "C:\\x\\drive.py", "a\\back.py"):
            archive.writestr(name, made(name))
        link = zipfile.ZipInfo("link.py")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    submission = only(path)
    assert [source.name for source in submission.sources()] == ["01_unet", "back"]
    assert sum("passed over, a link or a path that leaves the zip" in note for note in submission.notes) == 4


def test_zip_bombs(tmp_path, monkeypatch):
    monkeypatch.setattr(submissions_module, "FILE_LIMIT", 1_000_000)
    monkeypatch.setattr(submissions_module, "ARCHIVE_LIMIT", 5_000_000)
    put(tmp_path / "class", "ada/01_unet.ipynb")
    (tmp_path / "class/bob.zip").write_bytes(zipped(a__py=b"#" * 2_000_000))
    (tmp_path / "class/cy.zip").write_bytes(zipped(**{f"{n}__py": b"#" * 900_000 for n in "abcdefgh"}))
    deep = zipped("a.py")
    for _ in range(6):
        deep = zipped(inner__zip=deep)
    (tmp_path / "class/dan.zip").write_bytes(deep)
    ada, bob, cy, dan = find_submissions([tmp_path / "class"])
    assert ada.sources() and all("too large" in problem(submission) for submission in (bob, cy, dan))
    monkeypatch.setattr(submissions_module, "MEMBER_LIMIT", 5)
    assert "8 files" in problem(only(tmp_path / "class/cy.zip"))


def test_what_systems_add_to_a_zip_is_no_hand_in(tmp_path):
    (tmp_path / "ada.zip").write_bytes(zipped("p/01_unet.ipynb", "__MACOSX/p/._01_unet.ipynb", "p/.DS_Store", "p/.ipynb_checkpoints/01_unet-checkpoint.ipynb"))
    assert found(tmp_path / "ada.zip") == {"ada": ["01_unet.ipynb"]}


# ---- whatever comes ----

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
loose_output = st.fixed_dictionaries(
    {},
    optional={
        "output_type": st.sampled_from(["stream", "error", "display_data", "execute_result", "pyout", 3]) | anything,
        "name": anything, "text": st.lists(st.text(max_size=5)) | anything, "metadata": anything, "execution_count": anything,
        "data": st.dictionaries(st.sampled_from(["text/plain", "application/json", "application/json\n", "image/png"]), anything),
        "ename": st.text(max_size=3), "evalue": st.text(max_size=3), "traceback": st.lists(st.text(max_size=3)) | anything,
    },
)  # fmt: skip
loose_cell = anything | st.fixed_dictionaries(
    {},
    optional={
        "cell_type": st.sampled_from(["code", "markdown", "raw", "heading"]) | anything,
        "id": st.sampled_from(["a", "b", "cell-2"]) | anything,
        "source": anything, "input": anything, "level": anything, "attachments": anything, "execution_count": anything,
        "metadata": anything | st.dictionaries(st.sampled_from(["name", "tags", "collapsed", "scrolled", "jupyter", "execution", "format"]), anything),
        "outputs": anything | st.lists(loose_output | anything, max_size=3),
    },
)  # fmt: skip
loose_notebook = st.fixed_dictionaries(
    {},
    optional={
        "cells": st.lists(loose_cell, max_size=4) | anything,
        "worksheets": st.lists(st.fixed_dictionaries({"cells": st.lists(loose_cell, max_size=3)}) | anything, max_size=2) | anything,
        "metadata": anything | st.dictionaries(st.sampled_from(["kernelspec", "language_info", "title", "authors", "orig_nbformat"]), anything),
        "nbformat": anything, "nbformat_minor": anything,
    },
)  # fmt: skip


def valid_or_refused(content) -> None:
    """A notebook comes back valid, or is refused with a reason; nothing else happens."""
    try:
        loaded, _ = read(content)
    except Unreadable as problem:
        assert str(problem).startswith("hw.ipynb: ")
        return
    Submission(Path("hw.ipynb"), "hw", [File("hw.ipynb", PurePosixPath("hw.ipynb"), lambda: nbformat.writes(loaded).encode())]).sources()


@few
@given(loose_notebook | anything)
def test_any_json_is_a_notebook_or_refused(value):
    valid_or_refused(value)


@few
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_a_notebook_or_refused(content):
    valid_or_refused(content)
    wrapped = b'{"cells": [{"cell_type": "code", "source": "' + content + b'"}]}'
    valid_or_refused(wrapped)


def solved_lab() -> dict:
    """The lab's notebook with the reference in its first task cell, and outputs as a kernel writes them."""
    solved = copy.deepcopy(LAB)
    code = [cell for cell in solved["cells"] if cell["cell_type"] == "code"]
    code[3]["source"] = reference_source().splitlines(True)
    code[4]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["a\n"]}, {"output_type": "display_data", "metadata": {}, "data": {"image/png": "AA"}}]
    return solved


def places(value, path=()):
    """Every place inside a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def mutated(base: dict, chance: random.Random, edits: int) -> dict:
    """The notebook with pieces dropped, doubled, shuffled, cut, or of another type."""
    made = copy.deepcopy(base)
    for _ in range(edits):
        path = chance.choice([path for path in places(made) if path] or [("cells",)])
        parent = made
        for key in path[:-1]:
            parent = parent[key]
        kind, old = chance.randrange(5), parent.get(path[-1]) if isinstance(parent, dict) else parent[path[-1]]
        if kind == 0:
            del parent[path[-1]]
        elif kind == 1 and isinstance(parent, list):
            parent.insert(chance.randrange(len(parent) + 1), copy.deepcopy(old))
        elif kind == 2 and isinstance(old, list):
            chance.shuffle(old)
        elif kind == 3 and isinstance(old, (str, list)):
            parent[path[-1]] = old[: chance.randrange(len(old) + 1)]
        else:
            parent[path[-1]] = chance.choice([None, 3, -1, True, "text", [], ["a", 1], {}, {"a": 1}, "\ud800", 1.5])
        if not made:
            made = {"cells": []}
    return made


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 30))
def test_mutilated_notebooks_are_valid_or_refused(seed, edits):
    valid_or_refused(mutated(solved_lab(), random.Random(seed), edits))


@few
@given(st.integers(0, 2**32), st.integers(1, 8))
def test_mutilated_bytes_are_valid_or_refused(seed, edits):
    chance, content = random.Random(seed), bytearray(json.dumps(solved_lab(), ensure_ascii=False).encode())
    for _ in range(edits):
        at = chance.randrange(len(content))
        if chance.randrange(4) == 0:
            del content[at : at + chance.randrange(2000)]
        else:
            content[at] = chance.randrange(256)
    valid_or_refused(bytes(content))


@few
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_mutilated_zips_never_raise(tmp_path_factory, seed, edits):
    chance = random.Random(seed)
    content = bytearray(zipped("ada/01_unet.ipynb", "bob/x.py", inner__zip=zipped("c.py")))
    for _ in range(edits):
        content[chance.randrange(len(content))] = chance.randrange(256)
    path = tmp_path_factory.getbasetemp() / "spoilt.zip"
    path.write_bytes(bytes(content))
    for submission in find_submissions([path]):
        try:
            submission.sources()
        except Unreadable as reason:
            assert str(reason)


# ---- a notebook that holds no task ----


def _with_tour(folder, extra=""):
    """A student's folder with two notebooks of the lab, one of them without tasks."""
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "labs/01_unet.ipynb", folder)
    tour = nbformat.read(ROOT / "labs/05_fcn_and_residual.ipynb", as_version=4)
    tour.cells.append(nbformat.v4.new_code_cell(extra))
    nbformat.write(tour, folder / "05_fcn_and_residual (1).ipynb")


def test_a_notebook_without_tasks_is_no_student_and_is_not_read(tmp_path):
    _with_tour(tmp_path / "class" / "ada")
    for place in (tmp_path / "class", tmp_path / "class" / "ada"):
        (submission,) = find_submissions([place])
        assert submission.student == "ada" and len(submission.files) == 2
        assert [source.name for source in submission.sources()] == ["01_unet"] and submission.notes == []


def test_a_task_that_was_written_there_is_read_all_the_same(tmp_path):
    _with_tour(tmp_path / "ada", "\nclass DoubleConv: pass\n")
    (submission,) = find_submissions([tmp_path / "ada"])
    assert len(submission.sources()) == 2
