"""Our networks against the same ones of others: seconds for a training step and for a prediction, and memory.

    pip install -c constraints.txt -r benchmarks/requirements.txt
    OMP_NUM_THREADS=2 python benchmarks/architectures.py              on a CPU, with and without torch.compile
    python benchmarks/architectures.py --batch 16                     on a GPU, where there is one

| ours | peer |
|---|---|
| the lab's U-Net, widths 16 to 128 | the textbook's of `pipeline.py`, the same layers |
| `networks.ResNet34UNet` | `segmentation_models_pytorch.Unet("resnet34")`, the same layers |

Forward and backward at 128 px and inference at 200 px (224 for ResNet34: the peer takes multiples of 32 only), float32 in torch's
default layout and as `unetlab train` runs them (channels_last and mixed precision); the two of a pair take turns, and medians count.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline import FEATURES, TextbookUNet, now

from networks import ResNet34UNet
from solutions.reference import reference
from training.loop import half
from training.settings import Settings


def pairs() -> dict[str, tuple[nn.Module, nn.Module, int]]:
    """Name → ours, the peer, and the side of the picture to predict."""
    found = {"U-Net": (reference().UNet(features=list(FEATURES)), TextbookUNet(), 200)}
    try:
        import segmentation_models_pytorch
    except ImportError:
        print("segmentation_models_pytorch is not here: pip install -r benchmarks/requirements.txt")
    else:
        peer = segmentation_models_pytorch.Unet("resnet34", encoder_weights=None)
        found["ResNet34-UNet"] = (ResNet34UNet(), peer, 224)
    for name, (mine, peer, _) in found.items():
        counts = [sum(each.numel() for each in network.parameters()) for network in (mine, peer)]
        print(f"{name}: {counts[0]:,} parameters, the peer {counts[1]:,}")
    return found


def training_step(network: nn.Module, images: torch.Tensor, masks: torch.Tensor, dtype: torch.dtype | None) -> Callable:
    """A function that runs forward and backward once."""

    def step():
        with torch.autocast(images.device.type, dtype=dtype, enabled=dtype is not None):
            logits = network(images)
        F.binary_cross_entropy_with_logits(logits.float(), masks).backward()
        network.zero_grad()

    network.train()
    return step


def prediction(network: nn.Module, images: torch.Tensor, dtype: torch.dtype | None) -> Callable:
    """A function that predicts once."""

    @torch.inference_mode()
    def predict():
        with torch.autocast(images.device.type, dtype=dtype, enabled=dtype is not None):
            network(images)

    network.eval()
    return predict


def taking_turns(calls: list[Callable], rounds: int, device: torch.device) -> list[float]:
    """Median seconds of each call, in turns, after two that do not count."""
    seconds = [[] for _ in calls]
    for number in range(rounds + 2):
        for call, found in zip(calls, seconds):
            started = now(device)
            call()
            if number > 1:
                found.append(now(device) - started)
    return [statistics.median(found) for found in seconds]


def activations_mb(step: Callable, device: torch.device) -> float:
    """Megabytes held for the backward pass; on a GPU the peak of its memory."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated() / 1e6
    held: dict[int, int] = {}

    def note(tensor):
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        step()
    return sum(held.values()) / 1e6


def measure(name: str, mine: nn.Module, peer: nn.Module, side: int, options, device: torch.device) -> list[dict]:
    """A row for each way of running the pair."""
    rows = []
    ways = [("float32", None, torch.contiguous_format, False), ("as trained", half(Settings(), device), torch.channels_last, False)]
    if not options.without_compile:
        ways.append(("as trained, compiled", *ways[1][1:3], True))
    for way, dtype, layout, compiled in ways:
        networks = [copy.deepcopy(each).to(device, memory_format=layout) for each in (mine, peer)]
        images = torch.rand(options.batch, 3, 128, 128, device=device).to(memory_format=layout)
        masks = (torch.rand(options.batch, 1, 128, 128, device=device) > 0.5).float()
        picture = torch.rand(1, 3, side, side, device=device).to(memory_format=layout)
        run = [torch.compile(each) for each in networks] if compiled else networks
        steps = [training_step(each, images, masks, dtype) for each in run]
        step = taking_turns(steps, options.rounds, device)
        memory = [activations_mb(training_step(each, images, masks, dtype), device) for each in networks]
        predict = taking_turns([prediction(each, picture, dtype) for each in run], options.rounds, device)
        rows.append({"pair": name, "way": way, "step": step, "memory": memory, "predict": predict})
        ours, theirs = ((step[i], memory[i], predict[i]) for i in (0, 1))
        print(f"{name}, {way}: step {1e3 * ours[0]:.1f} ms, peer / ours {theirs[0] / ours[0]:.2f}; memory {ours[1]:.0f} MB, peer / ours "
              f"{theirs[1] / ours[1]:.2f}; {side} px {1e3 * ours[2]:.1f} ms, peer / ours {theirs[2] / ours[2]:.2f}", flush=True)  # fmt: skip
    return rows


def main() -> None:
    """Measure every pair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--without-compile", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    rows = [row for name, (mine, peer, side) in pairs().items() for row in measure(name, mine, peer, side, options, device)]
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
