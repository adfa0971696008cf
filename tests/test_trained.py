"""Task 3.5: the handed-in checkpoint, in the submission's own network, behind the wall."""

import io
import json
from functools import partial
from pathlib import Path, PurePosixPath

import pytest
import torch

from grader.judge import Judge
from grader.submissions import File, Submission, find_submissions
from solutions.reference import reference, reference_source
from solutions.train_reference import FOLDER, RECIPE
from tests.helpers import failed

TASK = "3.5"
RECORD = json.dumps({"features": RECIPE["features"]}).encode()


@pytest.fixture(scope="module")
def judge():
    with Judge([TASK]) as judge:
        yield judge


def handed_in(judge, files: dict[str, bytes], source: str = ""):
    """The result of the reference's code, or `source`, with these files beside it; and the notes."""
    code = source or reference_source()
    file = lambda name, content: File(name, PurePosixPath(name), partial(bytes, content))  # noqa: E731
    others = [file(name, content) for name, content in files.items()]
    return judge.grade(Submission(Path("ada"), "ada", [file("lab04_student.py", code.encode())], [], others))


def saved(state) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def weights(features=(4, 8)):
    torch.manual_seed(0)
    return reference().UNet(features=list(features)).state_dict()


TRAINED = (FOLDER / "unet.pth").read_bytes()


@pytest.mark.parametrize("name, record", [("results/unet.pth", RECORD), ("best_model.pt", None)])
def test_trained_network_earns_every_band(judge, name, record):
    result = handed_in(judge, {name: TRAINED, **({"results/training.json": record} if record else {})})
    assert result["score"] == result["max_score"], failed(result, TASK)
    assert any("reaches an IoU of 0.8" in note or "reaches an IoU of 0.9" in note for note in result["notes"])


def test_network_is_measured_at_the_size_it_learnt(judge):
    """At another size it would lose bands; a size beyond the limits counts for nothing."""
    for size, full in ((64, True), (200, False), (100_000, True)):
        record = json.dumps({"features": RECIPE["features"], "size": size}).encode()
        result = handed_in(judge, {"unet.pth": TRAINED, "training.json": record})
        assert (result["score"] == result["max_score"]) is full, (size, result["notes"])


def test_untrained_network_earns_loading_alone(judge):
    result = handed_in(judge, {"unet.pth": saved(weights()), "training.json": b'{"features": [4, 8]}'})
    assert set(failed(result, TASK)) == {f"iou_at_least_{band}" for band in (60, 70, 80, 85)}


@pytest.mark.parametrize("wrapped", ["state_dict", "model_state_dict"])
def test_wrapped_state_dict_is_unwrapped(judge, wrapped):
    content = saved({wrapped: weights(), "epoch": 3})
    result = handed_in(judge, {"unet.pth": content, "training.json": b'{"features": [4, 8]}'})
    assert "checkpoint_loads_into_your_unet" not in failed(result, TASK)


class Bomb:
    """Code that unpickling would run."""

    def __reduce__(self):
        return exec, ("raise SystemExit('ran')",)


@pytest.mark.parametrize("content, said", [
    (b"hello", "no checkpoint of tensors alone"),
    (b"", "the file is empty"),
    (saved({"model": Bomb()}), "no checkpoint of tensors alone"),
    (saved(torch.nn.Linear(1, 1)), "no checkpoint of tensors alone"),
    (saved([1, 2]), "came: "),
    (saved({"epoch": 3}), "weights of other layers"),
    (saved(weights([2])), "weights of other layers"),
    (bytes(201 * 2**20), "201 MB, of which 200 are taken"),
])
def test_other_files_are_named_for_what_they_are(judge, content, said):
    result = handed_in(judge, {"unet.pth": content, "training.json": b'{"features": [4, 8]}'})
    assert result["status"] == "graded" and result["score"] == 0
    assert said in failed(result, TASK)["checkpoint_loads_into_your_unet"]


def test_no_checkpoint_is_said(judge):
    result = handed_in(judge, {})
    assert result["score"] == 0 and "no checkpoint was handed in" in failed(result, TASK)["checkpoint_loads_into_your_unet"]


@pytest.mark.parametrize("record", [b"{", b"[]", b'{"features": "many"}', b'{"features": [0]}', b'{"features": [true]}', b"\xff" * 9])
def test_broken_record_is_noted_and_the_usual_widths_tried(judge, record):
    result = handed_in(judge, {"unet.pth": TRAINED, "training.json": record})
    assert result["score"] == result["max_score"] and any("training.json: passed over" in note for note in result["notes"])


def test_training_by_products_are_not_taken_for_the_network(judge):
    result = handed_in(judge, {"progress.pth": b"x", "unet.pth": TRAINED, "training.json": RECORD})
    assert result["score"] == result["max_score"]


@pytest.mark.parametrize("answer", ["None", "x", "torch.full((1,), float('nan'))", "torch.ones(9, 1, 2, 2)"])
def test_network_that_answers_nonsense_fails_by_name(judge, answer):
    source = f"import torch\nfrom torch import nn\nclass UNet(nn.Module):\n    def __init__(self, *a, **k):\n" \
             f"        super().__init__()\n    def forward(self, x):\n        return {answer}\n"
    result = handed_in(judge, {"unet.pth": saved({}), "training.json": RECORD}, source)
    assert result["status"] == "graded" and result["score"] <= 3


def test_the_checkpoint_of_two_gigabytes_is_never_read(tmp_path, judge):
    (tmp_path / "lab04_student.py").write_text(reference_source())
    with open(tmp_path / "unet.pth", "wb") as file:
        file.truncate(2 * 2**30)  # a sparse file
    (submission,) = find_submissions([tmp_path])
    result = judge.grade(submission)
    assert "2048 MB is too large" in failed(result, TASK)["checkpoint_loads_into_your_unet"]
