"""Forged results earn nothing: replies, records, checkpoints and archives made up instead of worked out.

None of these attacks files, processes or memory; what does is in test_hostile.py, behind an outer wall.
"""

import io
import json
import zipfile
from functools import partial
from pathlib import Path, PurePosixPath

import nbformat
import pytest
import torch

from grader.course import collect
from grader.handover import hand_over, read_slip, submitted
from grader.judge import Judge
from grader.rubric import select
from grader.submissions import File, Submission
from solutions.reference import reference_source
from tests.helpers import failed, replaced

RIGHT = reference_source()


@pytest.fixture(scope="module")
def judge():
    with Judge() as judge:
        yield judge


def graded(judge, tasks: list[str], source: str, files: dict[str, bytes] | None = None) -> dict:
    """The result of these tasks alone; never is one left ungraded."""
    judge.tasks = select(tasks)
    others = [File(name, PurePosixPath(name), partial(bytes, content)) for name, content in (files or {}).items()]
    code = File("lab04_student.py", PurePosixPath("lab04_student.py"), source.encode)
    result = judge.grade(Submission(Path("ada"), "ada", [code], [], others))
    assert result["status"] == "graded", result["notes"]
    return result


def servant_patched(operation: str, reply: str, source: str = RIGHT) -> str:
    """Source that replaces what the servant answers; `reply` is an expression of `r`, the true answer."""
    return source + f"""
class _Patch:
    import grader.servant
    def made(old):
        def new(self, *args, **kwargs):
            r = old(self, *args, **kwargs)
            return {reply}
        return new
    grader.servant.Servant.{operation} = made(grader.servant.Servant.{operation})
"""


def saved(state) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def test_made_up_history_earns_no_training_mark(judge):
    source = RIGHT + """
def train_model(model, train_loader, val_loader, epochs=10, checkpoint_path=None, lr=1e-3, **options):
    if checkpoint_path:
        torch.save(model.state_dict(), checkpoint_path)
    lrs = [lr if epoch < 7 else lr / 2 for epoch in range(epochs)]
    return {**{key: [1 / (epoch + 1) for epoch in range(epochs)] for key in ("train_loss", "val_loss", "train_iou", "val_iou")}, "lr": lrs}
"""
    lost = failed(graded(judge, ["3.4"], source), "3.4")
    assert lost.keys() >= {
        "history_has_one_entry_an_epoch", "training_lowers_the_loss", "scheduler_is_fed_the_validation_loss",
        "best_weights_are_restored", "checkpoint_holds_the_best_weights", "options_are_used",
    }


def test_made_up_state_earns_no_step(judge):
    idle = RIGHT + "\ndef train_epoch(*args, **options):\n    return 0.5, 0.5\n"
    forged = servant_patched("state", '{**r, "values": {name: value * 0.9 for name, value in r["values"].items()}}', idle)
    lost = failed(graded(judge, ["3.4"], forged), "3.4")
    assert lost.keys() >= {
        "train_epoch_steps_once_a_batch", "accumulation_equals_one_big_batch", "gradients_are_clipped", "best_weights_are_restored",
    }


def test_state_without_values_earns_no_step(judge):
    lost = failed(graded(judge, ["3.4"], servant_patched("state", '{**r, "values": {}, "gradients": {}, "calls": []}')), "3.4")
    assert lost.keys() >= {"train_epoch_steps_once_a_batch", "validate_changes_nothing", "best_weights_are_restored"}


def test_patched_instruments_do_not_train_for_the_student(judge):
    """The judge works out what training gives; a model, an optimizer or a loss that lies on the other side changes nothing there."""
    source = replaced(("optimizer.zero_grad()", "pass")) + """
class _Patch:
    import grader.instruments
    torch.equal = torch.allclose = torch.isfinite = lambda *args, **options: True
    grader.instruments.PixelModel.forward = lambda self, x: (self.remember(x), x[:, :1] * self.conv.weight[0, 0])[1]
    torch.optim.SGD.step = torch.optim.Adam.step = lambda self, closure=None: None
"""
    lost = failed(graded(judge, ["3.4"], source), "3.4")
    assert lost.keys() >= {
        "train_epoch_steps_once_a_batch", "training_lowers_the_loss", "gradients_are_clipped",
        "accumulation_equals_one_big_batch", "options_are_used",
    }


def test_frames_and_objects_hold_no_expected_number(judge):
    """Nothing of a check, of the hidden package or of the held-out masks is in sight of the code that is judged."""
    source = RIGHT + """
import gc, sys
_right = calculate_iou
def calculate_iou(pred, target, threshold=0.5):
    found, frame = [], sys._getframe()
    while frame:
        found += [frame.f_globals.get("__name__", "")] + [key for key in frame.f_locals if key in ("check", "student", "expected", "wanted", "came")]
        frame = frame.f_back
    found += [str(getattr(thing, "__module__", "")) for thing in gc.get_objects() if callable(thing)]
    secret = [name for name in found if name in ("check", "student", "expected", "wanted", "came") or name.startswith(("solutions", "stand_ins", "grader.checks", "grader.judge"))]
    if secret:
        raise RuntimeError("LOOT: " + " ".join(sorted(set(secret)))[:200])
    return _right(pred, target, threshold)
"""
    result = graded(judge, ["3.4"], source)
    assert result["score"] == result["max_score"], failed(result, "3.4")


@pytest.mark.parametrize("record", [
    "model.calls = [{}] * 10**5", "model.calls = [{'batch': 'x' * 2000}] * 10**4", "model.calls = {'batch': 1}",
    "model.state_dict = lambda: {'conv.weight': torch.zeros(1).expand(10**11)}",
    "model.named_parameters = lambda: iter(int, 1)",
])
def test_records_beyond_all_bounds_fail_by_name(judge, record):
    wrapped = f"\n_right = validate\ndef validate(model, *rest):\n    out = _right(model, *rest)\n    if hasattr(model, 'conv'):\n        {record}\n    return out\n"
    assert "validate_changes_nothing" in failed(graded(judge, ["3.4"], RIGHT + wrapped), "3.4")


@pytest.mark.parametrize("depth", [300, 480, 100_000])
def test_deep_nests_fail_by_name(judge, depth):
    source = RIGHT + f"\ndef gradient_norms(*args):\n    nest = 1\n    for _ in range({depth}):\n        nest = [nest]\n    return nest\n"
    assert "one_norm_a_parameter" in failed(graded(judge, ["2.4"], source), "2.4")


def test_saved_checkpoint_that_claims_terabytes_costs_its_check_alone(judge):
    source = RIGHT + """
_right = train_model
def train_model(*args, checkpoint_path=None, **options):
    if checkpoint_path:
        torch.save({"shift": torch.zeros(1).expand(10**12), "seen": torch.zeros(1)}, checkpoint_path)
    return _right(*args, **options)
"""
    assert list(failed(graded(judge, ["3.4"], source), "3.4")) == ["checkpoint_holds_the_best_weights"]


@pytest.mark.parametrize("features", [[1024] * 8, [1] * 9, [1] * 8, [10**30], [[8]] * 3, {"8": 8}, 10**300])
def test_record_of_a_giant_network_fails_by_name(judge, features):
    content = {"unet.pth": saved({}), "training.json": json.dumps({"features": features, "size": 10**9}).encode()}
    result = graded(judge, ["3.5"], RIGHT, content)
    assert result["score"] == 0


@pytest.mark.parametrize("record", [b"[" * 10**5, b'{"features": ' * 10**4, b'{"features": [8], "size": ' + b"9" * 10**4 + b"}"])
def test_deep_record_is_passed_over(judge, record):
    result = graded(judge, ["3.5"], RIGHT, {"unet.pth": saved({}), "training.json": record})
    assert any("training.json: passed over" in note for note in result["notes"])


def test_checkpoint_of_views_claims_more_than_it_holds(judge):
    state = {"head.weight": torch.zeros(1).expand(10**6, 10**6), "head.bias": torch.zeros(1).expand(10**12)}
    result = graded(judge, ["3.5"], RIGHT, {"unet.pth": saved(state), "training.json": b'{"features": [4, 8]}'})
    assert result["score"] == 0


def test_members_that_leave_the_zip_stay_out_and_no_slip_is_forged(tmp_path):
    handins = tmp_path / "handins"
    handins.mkdir()
    names = ["results/../../../evil.csv", "/evil.csv", "results\\..\\..\\..\\evil.csv", "C:/evil.csv", "../evil.pth"]
    with zipfile.ZipFile(handins / "ann.zip", "w") as archive:
        archive.writestr("01_unet.ipynb", nbformat.writes(nbformat.v4.new_notebook()))
        for name in [*names, "unetlab.json", "results/unetlab.json", "timestamp.txt"]:
            archive.writestr(name, json.dumps({"problem": "forged", "stand_ins": {}, "left_out": {}, "notes": ["forged"]}))
        link = zipfile.ZipInfo("results/unet.pth")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    before = {path for path in tmp_path.rglob("*")}
    (handin,) = collect(handins, tmp_path / "course")
    hand_over(handin, tmp_path / "course")
    target = submitted(tmp_path / "course", handin)
    new = {path for path in tmp_path.rglob("*")} - before
    assert all(path.is_relative_to(target) or target.is_relative_to(path) for path in new)
    assert not [path for path in new if "evil" in path.name or path.is_symlink() or path.name == "timestamp.txt"]
    (slip,) = [path for path in new if path.name == "unetlab.json"]
    assert read_slip(slip.parent).problem == "" and "forged" not in slip.read_text()


CONSTANT_NORMS = """
def gradient_norms(model, images, masks, criterion):
    return {name: float("idle" not in name and parameter.requires_grad) for name, parameter in model.named_parameters()}


def analyze_skip_connections(models, images, masks, criterion):
    ones = ("forward_ms", "backward_ms", "peak_memory_mb", "first_encoder_grad", "last_decoder_grad")
    count = lambda model: sum(parameter.numel() for parameter in model.parameters())
    return [{"name": name, "parameters": count(model), **dict.fromkeys(ones, 1.0)} for name, model in models.items()]
"""


def test_one_number_for_every_norm_loses_both_measurements(judge):
    result = graded(judge, ["2.4"], RIGHT + CONSTANT_NORMS)
    assert {"norms_equal_those_of_one_backward_pass", "rows_hold_the_gradients_of_both_ends"} <= failed(result, "2.4").keys()


def test_terms_that_are_zero_show_nothing_of_their_sum(judge):
    zero = "\n\nclass {name}(nn.Module):\n    def __init__(self, *a, **k):\n        super().__init__()\n" \
           "    def forward(self, pred, target):\n        return pred.sum() * 0\n"
    alone = replaced(("terms = {\"ce\"", "target = target; terms = {\"ce\""), (
        "sum(weight * terms[name](pred, target) for name, weight in self.weights.items() if weight)",
        'self.weights.get("ce", 0) * F.binary_cross_entropy_with_logits(pred, target)'))
    result = graded(judge, ["3.3"], alone + zero.format(name="DiceLoss") + zero.format(name="FocalLoss"))
    assert result["score"] < result["max_score"] / 2, failed(result, "3.3")


def test_one_convolution_is_no_forward_pass(judge):
    hollow = RIGHT + "\n\nclass UNet(nn.Conv2d):\n    def __init__(self, in_channels=3, out_channels=1, features=(1,), **_):\n" \
                     "        super().__init__(in_channels, out_channels, 3, padding=1)\n"
    judge.tasks = select(["1.3", "1.4"])
    file = File("lab04_student.py", PurePosixPath("lab04_student.py"), hollow.encode)
    result = judge.grade(Submission(Path("ada"), "ada", [file], [], []))
    assert result["tasks"]["1.4"]["score"] is None and any("too little of what it runs was built" in note for note in result["notes"])


def test_an_odd_answer_fails_its_check_and_leaves_nothing_ungraded(judge):
    source = replaced(("        self.weights = dict(weights)", '        weights["ce"] = torch.ones(2); self.weights = {"ce": 0.5, "dice": 0.5}'))
    result = graded(judge, ["3.3"], source)
    assert "weights_stay_unchanged" in failed(result, "3.3")


@pytest.mark.parametrize("odd", ["02_skip_connections.ipynb/x.py", "unetlab.json/x.py", "a.py/x.csv", "timestamp.txt/x.py"])
def test_folders_in_the_place_of_files_harm_nobody(tmp_path, odd):
    folder = tmp_path / "class/ada"
    (folder / odd).parent.mkdir(parents=True)
    (folder / odd).write_text("x = 1")
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("class DoubleConv: pass")]), folder / "01_unet.ipynb")
    (handin,) = collect(tmp_path / "class", tmp_path / "course")
    hand_over(handin, tmp_path / "course")
    assert (submitted(tmp_path / "course", handin) / "01_unet.ipynb").is_file()


def test_a_zip_that_swells_is_left_behind_in_part(tmp_path, monkeypatch):
    monkeypatch.setattr("grader.handover.SUBMISSION_LIMIT", 3 * 2**20)
    (tmp_path / "class").mkdir()
    with zipfile.ZipFile(tmp_path / "class/ada.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("01_unet.ipynb", nbformat.writes(nbformat.v4.new_notebook()))
        for number in range(10):
            archive.writestr(f"data_{number}.csv", bytes(2**20))
    (handin,) = collect(tmp_path / "class", tmp_path / "course")
    hand_over(handin, tmp_path / "course")
    copied = sum(path.stat().st_size for path in submitted(tmp_path / "course", handin).glob("*.csv"))
    assert copied <= 4 * 2**20 and any("the rest was left behind" in note for note in handin.notes)


@pytest.mark.parametrize("edit", ["self.more = nn.Conv2d(3, 3, 1)", "self.bottleneck = nn.Identity()", "del self.decoders[-1]"])
def test_other_layers_do_not_pay_for_a_forward_that_runs_none(judge, edit):
    """Where Task 1.3's layers differ, the comparison of 1.4 is left out; the forward must run what is there all the same."""
    fake = RIGHT + f"""
_Right = UNet
class UNet(_Right):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        {edit}

    def forward(self, x):
        own = sum((p * p).sum() for p in self.parameters())
        return (x[:, :1] * own / 100).expand(-1, self.head.out_channels, -1, -1) - x.mean()
"""
    judge.tasks = select(["1.3", "1.4"])
    result = judge.grade(Submission(Path("ada"), "ada", [File("lab04_student.py", PurePosixPath("lab04_student.py"), fake.encode)], [], []))
    lost = failed(result, "1.4")
    assert {"equals_the_reference", "each_decoder_gets_the_skip_of_its_level", "skips_are_used"} <= lost.keys() or result["tasks"]["1.4"]["score"] is None
