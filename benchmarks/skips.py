"""What training gives: the four skip modes on drawn and on real pets, with the reference's own training loop.

    python benchmarks/skips.py synthetic                   three seeds, concat and none, quick mode's recipe
    python benchmarks/skips.py pets ../shared/data --size 64
    python benchmarks/skips.py speed                       seconds an epoch and memory by precision (needs a GPU)

Each prints one table; the peer is the same network without skips (or in float32), trained in the same run.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data_utils import make_loaders
from metrics import evaluate
from solutions.reference import reference

MODES = ("concat", "add", "attention", "none")
COLUMNS = ("iou", "iou_per_image", "dice", "dice_per_image", "boundary_f1")
# The notebook's quick mode.
QUICK = {"size": 64, "count": 2000, "batch_size": 16, "features": (8, 16, 32, 64), "epochs": 10, "lr": 2e-3}


def train(model: nn.Module, loaders, epochs: int, lr: float, device: torch.device) -> float:
    """Train with the lab's own loop; seconds an epoch."""
    started = time.perf_counter()
    reference().train_model(model, loaders.train, loaders.val, epochs=epochs, lr=lr, device=device)
    return (time.perf_counter() - started) / epochs


def network(mode: str, features, seed: int) -> nn.Module:
    """The lab's U-Net ("unet") or a SkipUNet of this mode, with the same start for the same seed."""
    torch.manual_seed(seed)
    made = reference().UNet(features=list(features)) if mode == "unet" else reference().SkipUNet(features=list(features), skip=mode)
    return made.to(memory_format=torch.channels_last)  # what a CPU convolves fastest


def synthetic(options, device: torch.device) -> list[dict]:
    """Validation scores of the lab's U-Net, and of concat and none, for three seeds on drawn pets."""
    rows = []
    for seed in range(options.seeds):
        loaders = make_loaders("synthetic", QUICK["size"], QUICK["batch_size"], count=QUICK["count"], seed=42)
        for mode in ("unet", "concat", "none"):
            model = network(mode, QUICK["features"], seed)
            seconds = train(model, loaders, options.epochs or QUICK["epochs"], QUICK["lr"], device)
            rows.append({"skips": mode, "seed": seed, **scores(model, loaders.val, device), "s/epoch": seconds})
            print_row(rows[-1])
    return rows


def pets(options, device: torch.device) -> list[dict]:
    """Test scores of the four modes on Oxford-IIIT Pet, trained on trainval."""
    loaders = make_loaders("pets", options.size, 16, root=options.root, augment=True)
    rows = []
    for mode in MODES:
        model = network(mode, options.features, seed=0)
        seconds = train(model, loaders, options.epochs or 30, 1e-3, device)
        rows.append({"skips": mode, "size": options.size, **scores(model, loaders.test, device), "s/epoch": seconds})
        print_row(rows[-1])
    return rows


def speed(options, device: torch.device) -> list[dict]:
    """Seconds an epoch and peak memory of the full-width network at 200 px: float32, mixed precision, channels_last."""
    if device.type != "cuda":
        raise SystemExit("speed needs a GPU: on a CPU mixed precision gains nothing")
    loaders = make_loaders("synthetic", 200, 16, count=640)
    rows = []
    for name, mixed, layout in (("float32", False, None), ("mixed", True, None), ("mixed, channels_last", True, torch.channels_last)):
        model = network("concat", (64, 128, 256, 512), seed=0).to(device, memory_format=layout or torch.contiguous_format)
        seconds, memory = epoch_cost(model, loaders.train, device, mixed)
        rows.append({"precision": name, "s/epoch": seconds, "peak MB": memory})
        print_row(rows[-1])
    return rows


def epoch_cost(model: nn.Module, loader, device: torch.device, mixed: bool) -> tuple[float, float]:
    """Seconds of the second epoch, and the peak of the GPU's memory in megabytes."""
    optimizer, criterion = torch.optim.Adam(model.parameters(), lr=1e-3), reference().CombinedLoss()
    dtype = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    torch.cuda.reset_peak_memory_stats()
    for _ in range(2):
        torch.cuda.synchronize()
        started = time.perf_counter()
        for images, masks in loader:
            with torch.autocast("cuda", dtype=dtype, enabled=mixed):
                logits = model(images.to(device))
            optimizer.zero_grad()
            criterion(logits, masks.to(device)).backward()
            optimizer.step()
        torch.cuda.synchronize()
    return time.perf_counter() - started, torch.cuda.max_memory_allocated() / 1e6


def scores(model: nn.Module, loader, device: torch.device) -> dict[str, float]:
    """The columns of the table."""
    found = evaluate(model, loader, device)
    return {name: found[name] for name in COLUMNS}


def print_row(row: dict) -> None:
    """One line, with the names on each value: runs take long, and a line may be all that is left of one."""
    print("  ".join(f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}" for name, value in row.items()), flush=True)


def main() -> None:
    """Run one measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["synthetic", "pets", "speed"])
    parser.add_argument("root", nargs="?", help="folder with the pets")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--features", type=lambda text: tuple(map(int, text.split(","))), default=(16, 32, 64, 128))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = {"synthetic": synthetic, "pets": pets, "speed": speed}[options.what](options, device)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
