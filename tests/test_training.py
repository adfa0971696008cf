"""`unetlab train`: settings, losses, steps, the loop, resuming, several processes, and what a run leaves."""

import contextlib
import json
import math
import os
import shutil
import subprocess
import sys
import types
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import sigmoid_focal_loss

import data_utils
from grader.cli import main
from metrics import evaluate
from solutions.reference import reference, reference_source
from training import distributed, loop
from training import folder as files
from training.losses import SegmentationLoss, make_loss
from training.models import TASKS, build, names
from training.scores import Counts, best_threshold, mirrored
from training.settings import AUGMENTATIONS, DATASETS, SCHEDULERS, Settings, from_dict, to_dict
from training.steps import Schedule, average_of, make_optimizer
from training.train import train

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
needs_pictures = pytest.mark.skipif(
    not SHARED.is_dir(), reason="real pictures are not in ../shared/data beside the repo (README: For students)"
)
pytestmark = pytest.mark.usefixtures("without_figures")
TINY = Settings(count=20, size=(16,), features=(4, 8), epochs=3, batch=4, amp=False)


def silent(text):
    pass


# ---- settings ----


def test_settings_know_what_data_utils_has():
    assert DATASETS == data_utils.DATASETS and AUGMENTATIONS == tuple(data_utils.AUGMENTATIONS)


def test_settings_survive_json():
    changed = replace(TINY, size=(18, 24), options={"upsampling": "bilinear"}, lr=1e-4)
    assert from_dict(json.loads(json.dumps(to_dict(changed)))) == changed


@pytest.mark.parametrize(
    "values, message",
    [
        ({"dat": "pets"}, "dat: no setting has this name. Did you mean data?"),
        ({"data": "pet"}, "data='pet': choose one of .* Did you mean pets?"),
        ({"lr": "fast"}, "lr = 'fast': a number must stand here"),
        ({"epochs": 2.5}, "epochs = 2.5: a whole number"),
        ({"epochs": True}, "a whole number"),
        ({"features": [8, "16"]}, "whole numbers must stand here"),
        ({"epochs": 0}, "epochs=0: must be 1 or more"),
        ({"lr": -1}, "lr=-1.0: must be 0 or more"),
        ({"lr": math.nan}, "must be 0 or more"),
        ({"average": 1}, "a decay is below 1"),
        ({"size": [1, 2, 3]}, "one side in pixels, or height and width"),
        ({"options": 3}, "a table must stand here"),
    ],
)
def test_wrong_settings_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        from_dict(values)


# ---- networks by name ----


@pytest.mark.parametrize("name", names())
def test_every_network_by_name_gives_logits_of_the_pictures_size(name):
    given = replace(TINY, model=name)
    if name.startswith("fcn"):
        given = replace(given, options={"width": 4, "hidden": 8})
    elif name == "resnet34":
        given = replace(given, options={"width": 8})
    network = build(given, out_channels=3).eval()
    assert network(torch.rand(1, 3, 64, 80)).shape == (1, 3, 64, 80)


def test_the_networks_of_tasks_are_the_references():
    assert type(build(TINY, 1)) is reference().UNet
    plain = build(replace(TINY, model="unet-2015"), 1)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in plain.modules())
    assert len(TASKS) == 7


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model": "unnet"}, "choose one of .* Did you mean unet?"),
        ({"model": "nowhere.py:Net"}, "there is no file nowhere.py"),
        ({"options": {"colour": 1}}, "unet takes no colour; it takes in_channels"),
    ],
)
def test_networks_that_cannot_be_built_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        build(replace(TINY, **change), 1)


OWN = """
import torch
from torch import nn

class Mine(nn.Module):
    def __init__(self, in_channels=3, out_channels=1):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, x):
        return self.conv(x)

class Loss(nn.Module):
    def forward(self, pred, target):
        return ((pred - target) ** 2).mean()

raise SystemExit("top-level code does not run")
"""


def test_a_students_own_file_is_trained_kept_and_used_again(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(OWN)
    own = replace(TINY, model=f"{file}:Mine", loss=f"{file}:Loss", epochs=1)
    result = train(own, tmp_path / "run", say=silent)
    assert result["parameters"] == 28
    file.write_text("class Mine: pass")  # what was trained stays usable
    from training.predict import load

    assert load(tmp_path / "run", "cpu").predict(torch.rand(1, 3, 8, 8)).shape == (1, 1, 8, 8)


def test_a_file_without_the_class_says_what_it_has(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(OWN)
    with pytest.raises(ValueError, match="defines no Mein. It defines Mine, Loss. Did you mean Mine?"):
        build(replace(TINY, model=f"{file}:Mein"), 1)


# ---- losses ----


def pair(classes, seed=0, ignored=False):
    generator = torch.Generator().manual_seed(seed)
    if classes == 1:
        return torch.randn(3, 1, 7, 9, generator=generator), torch.randint(2, (3, 1, 7, 9), generator=generator).float()
    labels = torch.randint(classes + ignored, (3, 7, 9), generator=generator)
    return torch.randn(3, classes, 7, 9, generator=generator), labels


def test_losses_of_one_logit_are_torchs_and_the_labs():
    logits, masks = pair(1)
    assert torch.allclose(SegmentationLoss({"ce": 1})(logits, masks), F.binary_cross_entropy_with_logits(logits, masks))
    ours = SegmentationLoss({"focal": 1})(logits, masks)
    assert torch.allclose(ours, sigmoid_focal_loss(logits, masks, alpha=-1, gamma=2, reduction="mean"))
    assert torch.allclose(SegmentationLoss({"dice": 1})(logits, masks), reference().DiceLoss(smooth=1.0)(logits, masks))
    both = SegmentationLoss({"ce": 0.3, "dice": 0.7})(logits, masks)
    parts = [SegmentationLoss({name: 1})(logits, masks) for name in ("ce", "dice")]
    assert torch.allclose(both, 0.3 * parts[0] + 0.7 * parts[1])


def test_losses_of_classes_leave_out_what_is_not_labelled():
    logits, labels = pair(5, ignored=True)
    assert torch.allclose(SegmentationLoss({"ce": 1}, 5)(logits, labels), F.cross_entropy(logits, labels, ignore_index=5))
    for name in ("ce", "dice", "focal"):
        loss, other = SegmentationLoss({name: 1}, 5), logits.clone()
        other.permute(0, 2, 3, 1)[labels == 5] = 50.0
        assert torch.allclose(loss(other, labels), loss(logits, labels))
        other.permute(0, 2, 3, 1)[labels == 0] = 50.0
        assert not torch.allclose(loss(other, labels), loss(logits, labels))


def test_dice_of_classes_is_the_mean_over_those_that_are_there():
    logits, labels = pair(4)
    labels[labels == 3] = 0
    probability = logits.softmax(1)
    scores = [
        (2 * probability[:, c][labels == c].sum() + 1) / (probability[:, c].sum() + (labels == c).sum() + 1) for c in range(3)
    ]
    assert torch.allclose(SegmentationLoss({"dice": 1})(logits, labels), 1 - torch.stack(scores).mean())


@pytest.mark.parametrize("name", ["ce", "dice", "focal"])
@pytest.mark.parametrize("classes", [1, 4])
def test_losses_stay_finite_and_are_0_for_the_right_answer(name, classes):
    _, target = pair(classes)
    one_hot = target if classes == 1 else F.one_hot(target, classes).permute(0, 3, 1, 2).float()
    for sign in (1, -1):
        logits = (sign * (200 * one_hot - 100)).requires_grad_()
        loss = SegmentationLoss({name: 1})(logits, target)
        loss.backward()
        assert loss.isfinite() and logits.grad.isfinite().all()
        assert (loss < 1e-4) == (sign == 1)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 6), st.integers(0, 1000), st.sampled_from(["ce", "dice", "focal"]))
def test_a_step_against_the_gradient_lowers_the_loss(classes, seed, name):
    logits, target = pair(classes, seed)
    logits.requires_grad_()
    loss = SegmentationLoss({name: 1})(logits, target)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert SegmentationLoss({name: 1})(logits - 1e-2 * gradient / gradient.norm(), target) < loss


@pytest.mark.parametrize("text", ["", "dyce", "ce+", "2ce", "0*ce", "ce-dice"])
def test_a_loss_that_is_none_is_named(text):
    with pytest.raises(ValueError, match="ce, dice, focal"):
        make_loss(text)


# ---- optimizer, schedule, average ----


def test_biases_and_norms_have_no_weight_decay_and_what_is_frozen_no_step():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 1, 1))
    network[2].requires_grad_(False)
    decayed, plain = make_optimizer(network, replace(TINY, weight_decay=0.1)).param_groups
    assert [len(decayed["params"]), decayed["weight_decay"]] == [1, 0.1]
    assert [len(plain["params"]), plain["weight_decay"]] == [3, 0.0]
    with pytest.raises(ValueError, match="all are frozen"):
        make_optimizer(network.requires_grad_(False), TINY)


def rates(name, steps=40, epochs=10, losses=None, optimizer="adamw"):
    given = replace(TINY, scheduler=name, epochs=epochs, lr=1.0, optimizer=optimizer)
    made = make_optimizer(torch.nn.Linear(1, 1), given)
    schedule, seen = Schedule(made, given, steps), []
    for epoch in range(epochs):
        for _ in range(steps // epochs):
            seen.append(schedule.lr)
            made.step()
            schedule.after_step()
        schedule.after_epoch(losses[epoch] if losses else 0.0)
    return seen


def test_schedules_go_as_they_are_named():
    assert rates("constant") == [1.0] * 40
    cosine = rates("cosine")
    assert cosine[0] == 1 and cosine[20] == pytest.approx(0.5, abs=0.01) and 0 < cosine[-1] < 0.01
    exponential = rates("exponential")
    assert exponential[0] == 1 and exponential[-1] == pytest.approx(0.01) and exponential[3] == 1 > exponential[4]
    one_cycle = rates("onecycle")
    assert one_cycle[0] < 0.05 and max(one_cycle) > 0.99 and 6 <= one_cycle.index(max(one_cycle)) <= 9 and one_cycle[-1] < 0.01
    assert rates("plateau", losses=[1.0] * 10)[-1] == 0.5 and rates("plateau", losses=list(range(10, 0, -1)))[-1] == 1


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_the_shortest_runs_have_a_schedule(name, optimizer):
    for steps in (1, 2, 3, 5):
        assert all(0 < rate <= 1 for rate in rates(name, steps, 1, optimizer=optimizer))


def test_the_average_follows_the_last_steps():
    network = torch.nn.BatchNorm2d(1)
    averaged = average_of(network, 0.75)
    seen = []
    for value in (4.0, *[8.0] * 40, 0.0, 0.0):
        network.weight.data.fill_(value)
        network.running_mean.fill_(value)
        network.num_batches_tracked += 1
        averaged.update_parameters(network)
        seen.append(averaged.module.weight.item())
        assert averaged.module.running_mean.item() == seen[-1]
    assert seen[0] == 4 and seen[1] == pytest.approx(4 + 4 * 10 / 11)  # at first nearly the newest
    assert seen[-3:] == pytest.approx([8, 6, 4.5], abs=1e-3)  # then three quarters of what was
    assert averaged.module.num_batches_tracked == 43
    assert average_of(network, 0.0) is None


# ---- scores ----


def test_counts_are_the_metrics():
    network, loader = torch.nn.Conv2d(3, 1, 3, padding=1), [(torch.rand(4, 3, 9, 9), torch.randint(2, (4, 1, 9, 9)).float())] * 2
    counts = Counts(1, torch.device("cpu"))
    for images, masks in loader:
        counts.add(network(images), masks)
    expected = evaluate(network, loader, "cpu")
    assert counts.scores() == pytest.approx({name: expected[name] for name in ("iou", "dice")})


def test_counts_of_classes_leave_out_what_is_absent_or_not_labelled():
    logits = F.one_hot(torch.tensor([[[0, 0, 1, 1]]]), 4).permute(0, 3, 1, 2).float()
    counts = Counts(4, torch.device("cpu"), ignore_index=9)
    counts.add(logits, torch.tensor([[[0, 1, 1, 9]]]))
    assert counts.scores() == pytest.approx({"iou": 1 / 2, "dice": 2 / 3})  # classes 0 and 1; 2 and 3 are absent


def test_the_threshold_is_the_best_of_all():
    probability = torch.tensor([0.1, 0.35, 0.38, 0.42, 0.6, 0.9]).view(1, 1, 1, 6)
    mask = torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0, 1.0]).view(1, 1, 1, 6)
    threshold, score = best_threshold(torch.logit, [(probability, mask)], torch.device("cpu"))
    assert 0.36 <= threshold <= 0.38 and score == 1.0
    # a perfect network: the plainest threshold
    assert best_threshold(lambda x: 40 * x - 20, [(mask, mask)], torch.device("cpu")) == (0.5, 1.0)


def test_mirrored_averages_both_ways_round():
    images = torch.rand(2, 3, 4, 6)
    weights = torch.linspace(0, 1, 6)
    predict = mirrored(lambda x: (x * weights).sum(1, keepdim=True))
    assert torch.allclose(predict(images), predict(images.flip(-1)).flip(-1))
    assert torch.allclose(predict(images), images.sum(1, keepdim=True) / 2)


# ---- the loop ----


def run_of(given):
    device = torch.device("cpu")
    return loop.prepare(given, loop.open_data(given, device), device)


def test_a_run_learns_and_the_seed_decides_it():
    given = replace(TINY, count=60, epochs=6, data="synthetic", augment="flip", lr=1e-2)
    first, again, other = run_of(given), run_of(given), run_of(replace(given, seed=1))
    histories = [{name: values for name, values in loop.fit(run).items() if name != "seconds"} for run in (first, again, other)]
    assert histories[0] == histories[1] != histories[2]
    loss = histories[0]["train_loss"]
    assert len(loss) == 6 and loss[-1] < 0.8 * loss[0]
    assert list(histories[0]) == ["train_loss", "train_iou", "train_dice", "val_loss", "val_iou", "val_dice", "lr"]


def test_groups_of_batches_give_the_gradient_of_the_whole(monkeypatch):
    seen = []
    monkeypatch.setattr(loop, "_step", lambda run: (seen.append([p.grad.clone() for p in run.network.parameters()]), run.optimizer.zero_grad()))
    given = replace(TINY, loss="ce", options={"batch_norm": False}, augment="none", count=20)  # 16 to train
    for batch, accumulate in ((16, 1), (4, 4), (8, 2)):
        loop.train_epoch(run_of(replace(given, batch=batch, accumulate=accumulate)))
    assert len(seen) == 3
    for other in seen[1:]:
        for one, two in zip(seen[0], other):
            assert torch.allclose(one, two, atol=1e-6)


@pytest.mark.parametrize("stop", [1, 2])
@pytest.mark.parametrize("scheduler", ["onecycle", "plateau"])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path, stop, scheduler):
    given = replace(TINY, scheduler=scheduler, count=40)
    whole = loop.fit(run_of(given))

    class Stop(Exception):
        pass

    def interrupt(run, better):
        if run.epoch == stop:
            files.write_tensors(tmp_path / "state.pt", loop.state_of(run))
            raise Stop

    with pytest.raises(Stop):
        loop.fit(run_of(given), interrupt)
    torch.rand(5)
    second = run_of(given)
    loop.resume(second, files.read_tensors(tmp_path / "state.pt"))
    going_on = loop.fit(second)
    assert [{**whole, "seconds": 0}] == [{**going_on, "seconds": 0}]


def test_a_loss_that_diverges_stops_the_run_and_keeps_what_was_good(tmp_path):
    with pytest.raises(loop.Diverged, match="The loss of epoch [123] is .*lower --lr than 1e"):
        train(replace(TINY, optimizer="sgd", lr=1e30, clip=0, scheduler="constant", options={"batch_norm": False}), tmp_path / "run", say=silent)


def test_mixed_precision_and_deep_supervision_train():
    history = loop.fit(run_of(replace(TINY, amp=True, deep_supervision=True, epochs=1)))
    assert math.isfinite(history["val_loss"][0])


def test_a_nested_network_of_ones_own_weighs_its_outputs_as_the_kits(tmp_path):
    (tmp_path / "mine.py").write_text(reference_source(), encoding="utf-8")
    given = replace(TINY, epochs=1, deep_supervision=True)
    kits, own = (loop.fit(run_of(replace(given, model=model))) for model in ("unet++", f"{tmp_path / 'mine.py'}:UNetPlusPlus"))
    assert own["train_loss"] == kits["train_loss"] and own["val_loss"] == kits["val_loss"]


@needs_pictures
@pytest.mark.figures
@pytest.mark.parametrize("data, model", [("pets", "unet"), ("carvana", "unet-2015"), ("camvid", "unet-no-skips")])
def test_real_pictures_train(tmp_path, data, model):
    given = replace(TINY, data=data, root=str(SHARED), model=model, size=(32, 48), epochs=1, count=12)
    result = train(given, tmp_path / "run", say=silent)
    names = {"mean_iou", "mean_dice", "iou_per_class"} if data == "camvid" else {"iou", "dice", "iou_per_image"}
    assert names <= set(result["test"]) and result["seconds"]["training"] >= 0
    assert {"settings.json", "history.csv", "last.pt", "best.pt", "result.json", "curves.png", "predictions.png", "tensorboard"} <= {
        path.name for path in (tmp_path / "run").iterdir()
    }
    assert any((tmp_path / "run" / "tensorboard").iterdir())


def test_drawn_parts_train_with_a_score_for_each(tmp_path):
    result = train(replace(TINY, data="parts", epochs=1), tmp_path / "run", say=silent)
    assert list(result["test"]["iou_per_class"]) == ["background", "legs", "tail", "body", "head"]


def test_without_held_out_pictures_all_are_trained_on_and_the_last_epoch_is_kept(tmp_path):
    result = train(replace(TINY, hold_out=False, mirror=True, epochs=2), tmp_path / "all", say=silent)
    assert result["best_epoch"] == 2 and "val" not in result and "threshold" not in result
    run = run_of(replace(TINY, hold_out=False))
    assert len(run.data.loaders.train.dataset) == 20 and len(run_of(TINY).data.loaders.train.dataset) == 16
    batches = list(run.data.loaders.train)
    assert len({image.sum().item() for images, _ in batches for image in images}) == 20


def test_a_run_begins_with_the_weights_of_another(tmp_path, capsys):
    train(replace(TINY, epochs=1), tmp_path / "first", say=silent)
    weights = files.weights_of(tmp_path / "first")
    wider = replace(TINY, features=(4, 8, 16), start=str(tmp_path / "first"))
    run = loop.prepare(wider, loop.open_data(wider, torch.device("cpu")), torch.device("cpu"), weights)
    own = run.network.state_dict()
    first = next(iter(own))
    assert torch.equal(own[first], weights[first])
    assert 0 < run.begun_with < len(weights)
    train(wider, tmp_path / "second")
    assert f"{run.begun_with} tensors come from" in capsys.readouterr().out
    with pytest.raises(ValueError, match="no weight of that run has a name and shape"):
        loop.prepare(TINY, run.data, run.device, {"strange": torch.zeros(1)})
    with pytest.raises(FileNotFoundError, match="best.pt is missing"):
        train(replace(TINY, start=str(tmp_path / "nowhere")), tmp_path / "third", say=silent)


def test_a_compiler_that_fails_is_named_with_the_mend(monkeypatch):
    """A real one: torch 2.15's Inductor on the gradient of a padding took half a minute, so it is a backend that fails."""

    def broken(graph, inputs):
        raise AssertionError("expected size 4==4, stride 1==2500 at dim=1;\nand more")

    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network: real(network, backend=broken))
    with pytest.raises(ValueError, match=r"Compiled, unet fails \(.*\)\. Leave out --compile, or take a --size"):
        loop.fit(run_of(replace(TINY, compile=True, epochs=1)))


def test_an_error_of_the_network_itself_stays_what_it_is(monkeypatch):
    monkeypatch.setattr(loop, "train_epoch", lambda run: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        loop.fit(run_of(replace(TINY, compile=True, epochs=1)))


def test_compiled_and_deterministic_runs_are_the_plain_ones(monkeypatch):
    plain = loop.fit(run_of(TINY))
    real, compiled = torch.compile, []
    monkeypatch.setattr(torch, "compile", lambda network: compiled.append(network) or real(network, backend="eager"))
    for change in ({"compile": True}, {"deterministic": True}):
        other = loop.fit(run_of(replace(TINY, **change)))
        assert other["train_loss"] == pytest.approx(plain["train_loss"], rel=1e-5)
    assert len(compiled) == 1
    assert torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    "change, recorded",
    [({}, True), ({"compile": True}, True), ({"graph": False}, False), ({"deterministic": True}, False), ({"accumulate": 2}, False),
     ({"model": "own.py:Net"}, False), ({"loss": "own.py:Loss"}, False), ({"amp": False}, True)],
    ids=str,
)  # fmt: skip
def test_what_is_recorded_on_a_gpu(monkeypatch, change, recorded):
    for has_bf16 in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True, has=has_bf16: has)
        given = replace(Settings(), **change)
        assert loop._can_be_recorded(given, torch.device("cuda")) == (recorded and (has_bf16 or not given.amp))  # fp16 is rescaled by what it finds
        assert not loop._can_be_recorded(given, torch.device("cpu"))


def test_weights_and_biases_gets_every_epoch_if_asked_for(tmp_path, monkeypatch):
    logged = []

    class Service(types.ModuleType):
        @staticmethod
        @contextlib.contextmanager
        def init(**how):
            logged.append(how["config"]["epochs"])
            yield types.SimpleNamespace(log=lambda row, step: logged.append((step, "val_iou" in row)))

    monkeypatch.setitem(sys.modules, "wandb", Service("wandb"))
    train(replace(TINY, epochs=2), tmp_path / "run", wandb=True, say=silent)
    assert logged == [2, (1, True), (2, True)]
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match="pip install wandb"):
        train(TINY, tmp_path / "other", wandb=True, say=silent)


def test_a_machine_without_tensorboard_is_told_how_to_get_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    train(replace(TINY, epochs=1), tmp_path / "run")
    assert "pip install tensorboard" in capsys.readouterr().out
    assert not (tmp_path / "run" / "tensorboard").exists()


# ---- several processes ----


def test_two_processes_train_as_one(tmp_path):
    given = ["--count", "45", "--size", "16", "--features", "4,8", "--epochs", "2", "--batch", "6", "--no-amp", "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    together = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "grader"]
    done = subprocess.run(
        [*together, "train", *given, "--out", tmp_path / "two"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr
    assert main(["train", *given, "--out", str(tmp_path / "one")]) == 0
    one, two = (files.read_history(tmp_path / name) for name in ("one", "two"))
    assert two["train_loss"] == pytest.approx(one["train_loss"], rel=1e-4) and two["lr"] == one["lr"]
    for name in ("val_loss", "train_iou", "val_iou"):
        # Sums in another order: Adam makes steps out of the noise in the gradient of a bias in front of a BatchNorm, which
        # nothing but the running mean sees, and a pixel may cross the threshold.
        assert two[name] == pytest.approx(one[name], rel=2e-3, abs=2e-3), name
    assert done.stdout.count("settings, history") == 1  # the first process alone speaks


# ---- the command line ----


def test_a_run_is_not_written_over_and_goes_on_by_name(tmp_path, capsys):
    out = str(tmp_path / "run")
    given = ["--count", "20", "--size", "16", "--features", "4", "--epochs", "1"]
    assert main(["train", *given, "--out", out]) == 0
    said = capsys.readouterr().out
    assert "threshold" in said and "test iou" in said and out in said
    assert main(["train", *given, "--out", out]) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert main(["train", "--resume", out]) == 0
    assert main(["train", "--resume", out, "--epochs", "7"]) == 2
    assert "another epochs" in capsys.readouterr().err
    assert main(["train", *given, "--model", "nowhere.py:Net", "--out", str(tmp_path / "failed")]) == 2
    assert "no file nowhere.py" in capsys.readouterr().err and not (tmp_path / "failed").exists()  # nothing half begun
    assert main(["train", "--resume", str(tmp_path / "nowhere")]) == 2
    assert "is missing" in capsys.readouterr().err


def test_the_arguments_are_the_settings(capsys):
    assert main(["train", "--model", "help"]) == 0
    assert capsys.readouterr().out.split() == names()
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    shown = capsys.readouterr().out
    for each in fields(Settings):
        assert ("--option" if each.name == "options" else f"--{each.name.replace('_', '-')}") in shown


# ---- what a run's folder holds, and what it has lost ----

SHORT = replace(TINY, epochs=2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    train(SHORT, out, say=silent)
    return out


@pytest.fixture
def copied(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_a_folder_without_its_last_state_is_still_a_run(copied):
    """Deleted to save room, it left the folder open to be written over, and its result to be given to other settings."""
    (copied / files.LAST).unlink()
    best = (copied / files.BEST).read_bytes()
    with pytest.raises(ValueError, match="holds a run already"):
        train(SHORT, copied, say=silent)
    with pytest.raises(ValueError, match="another data"):
        train(replace(SHORT, data="parts"), copied, go_on=True, say=silent)
    said = []
    assert train(SHORT, copied, go_on=True, say=said.append) == files.read_result(copied) and "nothing was trained" in said[0]
    (copied / files.RESULT).unlink()
    with pytest.raises(ValueError, match=r"last.pt is missing.*--start"):
        train(SHORT, copied, go_on=True, say=silent)
    assert (copied / files.BEST).read_bytes() == best


def test_a_run_killed_in_its_first_epoch_begins_again(copied):
    for name in (files.LAST, files.RESULT):
        (copied / name).unlink()
    files.write_history(copied, {name: values[:1] for name, values in files.read_history(copied).items()})
    assert train(SHORT, copied, go_on=True, say=silent)["best_epoch"] >= 1


def test_lost_scores_and_lost_weights_are_made_again(copied):
    before = files.read_result(copied)
    for content in ("{}", "no JSON", "[]"):
        (copied / files.RESULT).write_text(content)
        assert train(SHORT, copied, go_on=True, say=silent)["test"] == before["test"]
    (copied / files.RESULT).unlink()
    (copied / files.BEST).unlink()
    said = []
    train(SHORT, copied, go_on=True, say=said.append)
    assert any("the weights of the last epoch take its place" in text for text in said) and (copied / files.BEST).exists()


def other_state(run):
    shutil.copy(run / files.BEST, run / files.LAST)


def other_network(run):
    state = files.read_tensors(run / files.LAST)
    state["network"] = {name: torch.zeros(1) for name in state["network"]}
    files.write_tensors(run / files.LAST, state)


@pytest.mark.parametrize(
    "harm, message",
    [
        (other_state, "last.pt is not the state of a run"),
        (other_network, "last.pt does not fit unet"),
        (lambda run: (run / files.LAST).write_bytes(b"PK damaged"), "last.pt is damaged, or is no checkpoint"),
        (lambda run: (run / files.SETTINGS).write_text("[1]"), "settings.json holds a list"),
        (lambda run: (run / files.SETTINGS).write_text('{"mirror": "no"}'), "settings.json: mirror = 'no': true or false"),
    ],
)
def test_a_damaged_folder_is_named_with_the_mend(copied, harm, message, capsys):
    (copied / files.RESULT).unlink()
    harm(copied)
    assert main(["train", "--resume", str(copied)]) == 2
    assert message in capsys.readouterr().err


def test_the_loss_of_a_file_is_copied_into_the_run(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("import torch.nn.functional as F\n\ndef loss():\n    return F.binary_cross_entropy_with_logits\n")
    given = replace(SHORT, loss=f"{file}:loss")
    train(given, tmp_path / "run", say=silent)
    file.write_text("raise SystemExit")
    assert files.with_own_source(given, tmp_path / "run").loss == f"{tmp_path / 'run' / 'loss.py'}:loss"
    (tmp_path / "run" / files.RESULT).unlink()
    train(given, tmp_path / "run", go_on=True, say=silent)


MISFITS = """
import torch
import torch.nn.functional as F
from torch import nn
from blocks import conv

class NoArguments(nn.Module):
    def __init__(self):
        super().__init__()

class Net(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1)
    def forward(self, x):
        return self.conv(x)

class Neighbour(Net):
    def __init__(self, in_channels, out_channels):
        super().__init__(in_channels, out_channels)
        self.conv = conv(in_channels)

class Fails(Net):
    def forward(self, x):
        return self.cnov(x)

class Dict(Net):
    def forward(self, x):
        return {"logits": self.conv(x)}

class Half(Net):
    def forward(self, x):
        return F.max_pool2d(self.conv(x), 2)

class NoChannel(Net):
    def forward(self, x):
        return self.conv(x)[:, 0]

class LossOfArguments(nn.Module):
    def __init__(self, weight):
        super().__init__()

class LossOfPixels(nn.Module):
    def forward(self, pred, target):
        return (pred - target) ** 2

class LossOfOther(nn.Module):
    def forward(self, pred, target):
        return F.mse_loss(pred[..., 1:], target)
"""


@pytest.mark.parametrize(
    "what, message",
    [
        ("--model NoArguments", "takes no in_channels and no out_channels: networks are built with in_channels=3"),
        ("--model Neighbour", "name 'conv' is not defined. FILE:CLASS reads one file"),
        ("--model Fails", "fails on a picture (1, 3, 16, 16): AttributeError: 'Fails' object has no attribute 'cnov'"),
        ("--model Dict", "gives a dict for a picture (1, 3, 16, 16): logits (1, 1, 16, 16) are needed"),
        ("--model Half", "gives the shape (1, 1, 8, 8) for a picture (1, 3, 16, 16)"),
        ("--model NoChannel", "gives the shape (1, 16, 16) for a picture"),
        ("--loss LossOfArguments", "it is called without arguments"),
        ("--loss LossOfPixels", "gives the shape (1, 1, 16, 16): a tensor of one number is needed"),
        ("--loss LossOfOther", "fails on logits (1, 1, 16, 16) and a mask (1, 1, 16, 16): RuntimeError"),
    ],
)
def test_what_of_ones_own_does_not_fit_is_said_before_the_first_epoch(tmp_path, what, message, capsys):
    (tmp_path / "mine.py").write_text(MISFITS)
    option, name = what.split()
    given = ["--count", "20", "--size", "16", "--features", "4", "--epochs", "1", "--out", str(tmp_path / "run")]
    assert main(["train", *given, option, f"{tmp_path / 'mine.py'}:{name}"]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_the_picture_sent_ahead_changes_nothing():
    one, two = run_of(SHORT), run_of(SHORT)
    loop.see_that_it_fits(two)
    assert loop.fit(one)["train_loss"] == loop.fit(two)["train_loss"]


@pytest.mark.parametrize(
    "given, message",
    [
        (["--out", "FILE"], "is a file. Say another --out."),
        (["--out", "FILE/below"], "is a file. Say another --out."),
        (["--lr", "0"], "--lr 0: nothing would be learnt"),
        (["--seed", "-1"], "seed=-1: must be 0 or more"),
        (["--loss", "1.2.3*ce"], "a sum such as ce+dice"),
        (["--option", "out_channels=5"], "follow from the data"),
        (["--option", "features=3"], "unet cannot be built: TypeError"),
        (["--start", "FILE"], "best.pt is missing"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(tmp_path, given, message, capsys):
    (tmp_path / "file").write_text("")
    given = [part.replace("FILE", str(tmp_path / "file")) for part in given]
    out = [] if "--out" in given else ["--out", str(tmp_path / "run")]
    assert main(["train", "--count", "20", "--size", "16", "--epochs", "1", *given, *out]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("given", [["--features", ""], ["--size", "10x10x10"], ["--size", "0"]])
def test_numbers_that_are_none_are_refused(given, capsys):
    with pytest.raises(SystemExit):
        main(["train", *given])
    assert "such as" in capsys.readouterr().err


def test_a_reader_that_has_read_enough_is_no_error():
    command = f"{sys.executable} -m grader train --model help | head -1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "unet\n" and "Broken pipe" not in done.stderr


def test_norms_that_are_synchronised_keep_all_they_have():
    norm = torch.nn.BatchNorm2d(3, eps=1e-2, momentum=0.3).double().requires_grad_(False).eval()
    network = torch.nn.Sequential(torch.nn.Sequential(norm), torch.nn.BatchNorm2d(3, affine=False))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    synced = distributed.synchronised(network)
    (inner,) = synced[0]
    assert type(inner) is distributed.SyncedBatchNorm2d and type(synced[1]) is torch.nn.BatchNorm2d
    assert inner.weight.dtype == torch.float64 and not inner.weight.requires_grad and not inner.training
    assert (inner.eps, inner.momentum) == (1e-2, 0.3) and all(torch.equal(value, before[name]) for name, value in synced.state_dict().items())


def test_a_loss_of_ones_own_gets_float32_in_mixed_precision(monkeypatch):
    """A plain Dice overflows in fp16: its loss is 1 and its gradient 0, and nothing is learnt."""
    monkeypatch.setattr(loop, "half", lambda settings, device: torch.bfloat16)
    for given in (replace(SHORT, amp=True), replace(SHORT, amp=True, deep_supervision=True)):
        run, seen = run_of(given), []
        run.criterion = lambda outputs, target: seen.extend([outputs] if torch.is_tensor(outputs) else outputs) or seen[-1].mean()
        loop.train_epoch(run)
        loop.validate(run, run.data.loaders.val)
        assert {each.dtype for each in seen} == {torch.float32}
