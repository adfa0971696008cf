"""On an NVIDIA GPU: networks, loaders, training, prediction and the judge. Each test is skipped where there is none."""

import copy
import json
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.data import TensorDataset

from data_utils import AUGMENTATIONS, DeviceLoader
from grader.cli import main
from training import folder as files
from training import loop
from training.models import build, names
from training.settings import Settings
from training.steps import average_of
from training.train import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")

ROOT = Path(__file__).resolve().parents[1]
GPU = torch.device("cuda")
TINY = Settings(count=40, size=(32,), features=(8, 16), epochs=3, batch=8, device="cuda")
SMALL_OPTIONS = {"fcn32s": {"width": 4, "hidden": 8}, "fcn16s": {"width": 4, "hidden": 8}, "fcn8s": {"width": 4, "hidden": 8}, "resnet34": {"width": 8}}


def run_of(given):
    return loop.prepare(given, loop.open_data(given, GPU), GPU)


def waits(work):
    """How often the CPU waited for the GPU."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return [f"{each.filename}:{each.lineno}" for each in caught if "synchroniz" in str(each.message)]


@pytest.mark.parametrize("name", names())
def test_networks_give_on_the_gpu_what_they_give_on_the_cpu(name):
    torch.manual_seed(0)
    network = build(replace(TINY, model=name, options=SMALL_OPTIONS.get(name, {})), 2).double().eval()
    other = copy.deepcopy(network).to(GPU)
    images = torch.rand(2, 3, 64, 48, dtype=torch.float64)
    expected = network(images)
    expected.square().mean().backward()
    found = other(images.to(GPU))
    found.square().mean().backward()
    assert torch.allclose(found.cpu(), expected, rtol=1e-6, atol=1e-9)
    for (label, one), two in zip(network.named_parameters(), other.parameters()):
        assert (one.grad is None) == (two.grad is None), label
        if one.grad is not None:
            assert torch.allclose(one.grad, two.grad.cpu(), rtol=1e-5, atol=1e-9), label


@pytest.mark.parametrize("augment", [False, *AUGMENTATIONS])
def test_a_loader_never_waits_for_the_gpu_between_batches(augment):
    pictures = TensorDataset(torch.rand(24, 3, 16, 16), torch.randint(2, (24, 1, 16, 16)).float())
    few, many = (DeviceLoader(pictures, size, shuffle=True, augment=augment, device=GPU) for size in (12, 2))
    for loader in (few, many):
        list(loader)  # moves the pictures
    assert len(waits(lambda: list(few))) == len(waits(lambda: list(many)))


def test_a_step_of_training_never_waits_for_the_gpu():
    """Whatever waits, waits once an epoch: for the mean loss and the scores."""
    found = []
    for batch in (16, 4):
        run = run_of(replace(TINY, batch=batch))
        loop.train_epoch(run)
        found.append(waits(lambda run=run: loop.train_epoch(run)))
    assert len(found[0]) == len(found[1]), found


def test_the_average_of_the_weights_is_the_cpus():
    torch.manual_seed(0)
    networks = [torch.nn.BatchNorm2d(3)]
    networks.append(copy.deepcopy(networks[0]).to(GPU))
    averages = [average_of(network, 0.75) for network in networks]
    for step in range(20):
        for network, average in zip(networks, averages):
            network.weight.data.fill_(step % 7)
            network.num_batches_tracked += 1
            average.update_parameters(network)
    one, two = (average.module.state_dict() for average in averages)
    assert all(torch.allclose(one[name].double(), two[name].cpu().double()) for name in one)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16, None])
@pytest.mark.parametrize("change", [{}, {"compile": True}, {"data": "parts"}, {"deep_supervision": True, "accumulate": 2}], ids=str)
def test_training_learns_in_every_precision(monkeypatch, half, change):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: half == torch.bfloat16)
    given = replace(TINY, count=120, epochs=8, augment="flip", lr=1e-2, amp=half is not None, **change)
    run = run_of(given)
    assert loop.half(given, GPU) == half and run.scaler.is_enabled() == (half == torch.float16)
    loss = loop.fit(run)["train_loss"]
    assert loss[-1] < 0.8 * loss[0]
    assert {parameter.dtype for parameter in run.network.parameters()} == {torch.float32}


@pytest.mark.parametrize("change", [{}, {"accumulate": 2}, {"deep_supervision": True}, {"clip": 0.0, "average": 0.0}], ids=str)
def test_a_compiled_run_is_the_plain_one(change):
    given = replace(TINY, amp=False, augment="flip", lr=1e-3, **change)
    plain, compiled = (loop.fit(run_of(replace(given, compile=flag))) for flag in (False, True))
    assert compiled["train_loss"] == pytest.approx(plain["train_loss"], rel=2e-2)


@pytest.mark.parametrize("model", names())
def test_every_network_by_name_can_be_recorded(model):
    """The same kernels in the same order: the history is the one without a graph, but for the order in which sums are taken."""
    given = replace(TINY, model=model, options=SMALL_OPTIONS.get(model, {}), data="parts", size=(64,), count=20, epochs=2, amp=False, lr=1e-4)
    plain, recorded = run_of(replace(given, graph=False)), run_of(given)
    assert recorded.recorded and not plain.recorded
    assert loop.fit(recorded)["train_loss"] == pytest.approx(loop.fit(plain)["train_loss"], rel=5e-2)


@pytest.mark.parametrize("change", [{"deep_supervision": True}, {"average": 0.0, "clip": 0.0}, {"optimizer": "sgd", "lr": 1e-2}], ids=str)
def test_a_recorded_run_is_the_plain_one(change):
    given = replace(TINY, amp=False, augment="flip", **{"lr": 1e-3, **change})
    plain, recorded = (loop.fit(run_of(replace(given, graph=flag))) for flag in (False, True))
    assert recorded["train_loss"] == pytest.approx(plain["train_loss"], rel=2e-2)


@pytest.mark.parametrize("model", ["unet", "attention-residual", "fcn8s", "unet++"])
def test_deterministic_runs_repeat_bit_by_bit_and_go_on_so(tmp_path, model):
    given = replace(TINY, model=model, options=SMALL_OPTIONS.get(model, {}), deterministic=True)
    try:
        whole, again = loop.fit(run_of(given)), loop.fit(run_of(given))
        assert {**whole, "seconds": 0} == {**again, "seconds": 0}

        class Stop(Exception):
            pass

        def interrupt(run, better):
            if run.epoch == 1:
                files.write_tensors(tmp_path / "state.pt", loop.state_of(run))
                raise Stop

        with pytest.raises(Stop):
            loop.fit(run_of(given), interrupt)
        torch.rand(5, device=GPU)
        second = run_of(given)
        loop.resume(second, files.read_tensors(tmp_path / "state.pt"))
        assert {**whole, "seconds": 0} == {**loop.fit(second), "seconds": 0}
    finally:
        torch.use_deterministic_algorithms(False)


def test_what_was_trained_on_the_gpu_predicts_on_the_cpu_and_the_other_way_round(tmp_path):
    from PIL import Image

    Image.new("RGB", (70, 50), (200, 30, 90)).save(tmp_path / "picture.png")
    for device, other in (("cuda", "cpu"), ("cpu", "cuda")):
        out = tmp_path / device
        train(replace(TINY, epochs=1, device=device), out, say=lambda text: None)
        for more in ([], ["--window", "32"], ["--mirror"]):
            assert main(["predict", str(out), str(tmp_path / "picture.png"), "--device", other, "--out", str(tmp_path / "masks"), *more]) == 0
    assert json.loads((tmp_path / "cuda" / "result.json").read_text())["test"]["iou"] >= 0


def test_one_process_of_torchrun_trains_as_none(tmp_path):
    """NCCL, DistributedDataParallel and synchronised BatchNorm; more processes need more GPUs."""
    given = ["--count", "40", "--size", "32", "--features", "8,16", "--epochs", "2", "--batch", "8", "--no-amp", "--device", "cuda"]
    together = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1", "-m", "grader"]
    done = subprocess.run(
        [*together, "train", *given, "--out", tmp_path / "one"], cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr
    assert main(["train", *given, "--out", str(tmp_path / "plain")]) == 0
    one, plain = (files.read_history(tmp_path / name) for name in ("one", "plain"))
    assert one["train_loss"] == pytest.approx(plain["train_loss"], rel=1e-2)


def test_the_judge_marks_on_the_gpu_as_on_the_cpu():
    from grader.judge import Judge
    from solutions.reference import reference_source
    from tests.helpers import module

    with Judge(["1.1", "1.2", "1.3", "1.4"], device="cuda") as judge:
        result = judge.grade(module(reference_source()))
    assert result["device"] == "cuda" and result["score"] == result["max_score"], [
        (task, check["name"], check["message"]) for task, outcome in result["tasks"].items() for check in outcome["checks"] if not check["passed"]
    ]
