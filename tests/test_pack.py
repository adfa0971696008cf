"""`unetlab pack`: what it puts into the zip, what it says first, and that the grader takes the zip as it is."""

import io
import json
import shutil
import zipfile

import nbformat
import pytest
import torch

from grader import cli
from grader.build import read_labs, source_notebook
from grader.judge import Judge
from grader.pack import pack
from grader.submissions import find_submissions
from solutions.reference import reference, reference_source
from tests.helpers import ROOT, TRAINED, failed, replaced

FEATURES = [8, 16]


@pytest.fixture
def work(tmp_path):
    """A finished student's folder: solved notebooks with run checks, a checkpoint, a record, a report."""
    for lab in read_labs():
        notebook = source_notebook(lab)
        for cell in notebook.cells:
            if cell.cell_type == "code" and "check(" in cell.source:
                cell.outputs = [nbformat.v4.new_output("stream", text="3 of 3 checks passed")]
        nbformat.write(notebook, tmp_path / f"{lab.name}.ipynb")
    (tmp_path / "results").mkdir()
    torch.manual_seed(0)
    torch.save(reference().UNet(features=FEATURES).state_dict(), tmp_path / "results/unet.pth")
    (tmp_path / "results/training.json").write_text(json.dumps({"features": FEATURES}))
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.4")
    return tmp_path


def test_finished_work_is_packed_without_a_word(work):
    packed = pack("Ada Lovelace", work)
    assert packed.findings == [] and "nothing is missing" in repr(packed) and "Nothing is missing" in packed._repr_html_()
    assert packed.path == work / "Ada_Lovelace_lab04.zip"
    names = {"01_unet.ipynb", "02_skip_connections.ipynb", "03_losses_and_training.ipynb", "04_bonus.ipynb", "report.pdf"}
    assert set(zipfile.ZipFile(packed.path).namelist()) == names | {"results/unet.pth", "results/training.json"}


def test_the_grader_takes_the_zip_as_it_is(work):
    (work / "class").mkdir()
    pack("Ada Lovelace", work, work / "class")
    for submissions in (find_submissions([work / "class"]), find_submissions([work / "class/Ada_Lovelace_lab04.zip"])):
        (submission,) = submissions
        assert submission.student == "Ada_Lovelace"
    with Judge(["1.1", "2.1", "3.1", "3.5"]) as judge:
        result = judge.grade(submission)
    marks = result["tasks"]
    assert {task: failed(result, task) for task in ("1.1", "2.1", "3.1")} == {"1.1": {}, "2.1": {}, "3.1": {}}
    passed = [check["name"] for check in marks["3.5"]["checks"] if check["passed"]]
    assert passed == ["checkpoint_loads_into_your_unet"], "it fits, and an untrained network earns no band"


def test_untouched_work_is_told_what_is_open(tmp_path):
    for path in (ROOT / "labs").glob("*.ipynb"):
        shutil.copy(path, tmp_path)
    findings = pack("x", tmp_path).findings
    assert any("Task 1.1 is not written (DoubleConv.__init__, DoubleConv.forward" in finding for finding in findings)
    assert any("Task 3.4 is not written (calculate_iou, train_epoch, validate, train_model)" in finding for finding in findings)
    assert any("check of Task 2.1, 2.2, 2.3, 2.4 was never run" in finding for finding in findings)
    assert any("written answers still say YOUR ANSWER HERE" in finding for finding in findings)
    assert any("no results/unet.pth yet" in finding for finding in findings)


@pytest.mark.parametrize("content, said", [
    (b"no checkpoint", "no checkpoint of tensors alone"),
    (None, "weights of other layers"),
])
def test_checkpoint_that_does_not_load_is_told(work, content, said):
    if content is None:
        buffer = io.BytesIO()
        torch.save(reference().UNet(features=[4]).state_dict(), buffer)
        content = buffer.getvalue()
    (work / "results/unet.pth").write_bytes(content)
    (finding,) = pack("x", work).findings
    assert "does not load into your UNet" in finding and said in finding


def test_missing_parts_are_told(work):
    (work / "02_skip_connections.ipynb").unlink()
    (work / "results/training.json").unlink()
    findings = pack("x", work).findings
    assert "02_skip_connections.ipynb is not here" in findings
    assert any("training.json is not here" in finding for finding in findings)


def test_the_newest_copy_is_taken_under_the_labs_name(work):
    (work / "01_unet.ipynb").rename(work / "Copy of 01_unet.ipynb")
    packed = pack("x", work)
    assert packed.findings == ["Copy of 01_unet.ipynb was taken for 01_unet.ipynb, the newest copy"]
    assert "01_unet.ipynb" in zipfile.ZipFile(packed.path).namelist()


def test_a_record_of_no_use_is_told(work):
    (work / "results/training.json").write_text(json.dumps({"features": FEATURES, "size": 1000, "data": "pets"}))
    wrong_size, wrong_kind = pack("x", work).findings
    assert "size 1000 is not between" in wrong_size and "trained on pets pictures, but measured on synthetic" in wrong_kind


def test_an_unreadable_newer_copy_does_not_replace_the_notebook(work):
    (work / "backup 02_skip_connections.ipynb").write_text("")
    assert pack("x", work).findings == []


def test_the_module_alone_can_be_packed(tmp_path):
    shutil.copy(ROOT / "starter/lab04_student.py", tmp_path)
    packed = pack("x", tmp_path)
    assert packed.files == ["lab04_student.py"] and any("no results/unet.pth yet" in finding for finding in packed.findings)
    assert any(finding.startswith("lab04_student.py: Task 1.2 is not written (DecoderBlock.__init__") for finding in packed.findings)


def test_a_checkpoint_is_tried_on_the_modules_network_too(tmp_path):
    shutil.copytree(TRAINED, tmp_path / "results", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for text, fits in ((reference_source(), True), (replaced(("self.bottleneck", "self.bottom")), False)):
        (tmp_path / "lab04_student.py").write_text(text)
        said = [finding for finding in pack("Ada", tmp_path).findings if "does not load into your UNet" in finding]
        assert bool(said) != fits, said


def test_broken_notebook_is_told_and_packed(work):
    (work / "01_unet.ipynb").write_text("{")
    packed = pack("x", work)
    assert any("01_unet.ipynb: not a notebook" in finding for finding in packed.findings)
    assert "01_unet.ipynb" in packed.files


def test_command_line_and_its_errors(work, capsys):
    assert cli.main(["pack", "Ada", str(work), "--out", str(work)]) == 0
    assert "Ada_lab04.zip" in capsys.readouterr().out
    assert cli.main(["pack", " / ", str(work)]) == 2 and "needs your name" in capsys.readouterr().err
    (work / "empty").mkdir()
    assert cli.main(["pack", "Ada", str(work / "empty")]) == 2 and "none of 01_unet.ipynb" in capsys.readouterr().err
