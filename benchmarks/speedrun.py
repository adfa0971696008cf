"""The pets speedrun: how well a network segments Oxford-IIIT Pet, and how fast it learnt to.

    python benchmarks/speedrun.py ../shared/data                              the recipe of the track "scratch", three seeds
    python benchmarks/speedrun.py ../shared/data --track pretrained           an encoder with ImageNet's weights
    python benchmarks/speedrun.py FOLDER --download                           the full set, fetched (800 MB)
    python benchmarks/speedrun.py ../shared/data --record "what is new"       writes a line into benchmarks/speedrun.md

Rules, as in benchmarks/speedrun.md: trained on trainval, scored on test once a seed; what was tuned, was tuned on the held-out fifth
of trainval (`--validate` shows its scores instead of the test's); border counts as pet; scores pooled over all pixels; time from the
first step to the last, pictures in memory before.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from data_utils import make_loaders
from training import loop
from training.scores import Counts
from training.settings import Settings, from_dict

PAGE = Path(__file__).with_name("speedrun.md")
TRACKS = {
    "scratch": {"model": "unet", "augment": "lab", "epochs": 80, "mirror": True},
    "pretrained": {"model": "resnet34", "options": {"pretrained": True}, "augment": "lab", "epochs": 20, "lr": 1e-3, "mirror": True},
}


def one_run(given: Settings, part: str, device: torch.device) -> dict[str, float]:
    """Train with one seed; IoU and Dice of `part`, pooled, and the seconds from the first step to the last."""
    data = loop.open_data(given, device)
    run = loop.prepare(given, data, device)
    started = time.perf_counter()
    loop.fit(run)
    if device.type == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    counts, predict = Counts(1, device), loop.predictor(run)
    for images, masks in getattr(data.loaders, part):
        counts.add(predict(images), masks)
    return {**counts.scores(), "seconds": seconds, "pictures": len(data.loaders.train.dataset), "scored": len(getattr(data.loaders, part).dataset)}


def machine(device: torch.device) -> str:
    """What the time was measured on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} CPU cores"


def commit() -> str:
    """The commit, with a plus where files differ from it."""
    done = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def main() -> None:
    """Run a track."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder with the pets")
    parser.add_argument("--track", choices=list(TRACKS), default="scratch")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--download", action="store_true")
    parser.add_argument("--validate", action="store_true", help="to tune: train on four fifths, score the held-out fifth")
    parser.add_argument("--record", metavar="WHAT", help="write a line into benchmarks/speedrun.md")
    options = parser.parse_args()
    if options.seeds < 3 and options.record:
        raise SystemExit("A record is the mean of three seeds or more.")
    if options.download:
        make_loaders("pets", options.size, root=options.root, download=True)
    given = from_dict({**TRACKS[options.track], "data": "pets", "root": str(options.root), "size": options.size})
    given = replace(given, hold_out=options.validate)
    device, part = loop.device_of(given), "val" if options.validate else "test"
    rows = []
    for seed in range(options.seeds):
        rows.append(one_run(replace(given, seed=seed), part, device))
        print(f"seed {seed}: {part} " + "  ".join(f"{name} {value:.4g}" for name, value in rows[-1].items()), flush=True)
    mean = {name: statistics.mean(row[name] for row in rows) for name in rows[0]}
    spread = {name: statistics.stdev(row[name] for row in rows) if len(rows) > 1 else 0.0 for name in rows[0]}
    print(f"{part} Dice {mean['dice']:.4f} ± {spread['dice']:.4f}  IoU {mean['iou']:.4f} ± {spread['iou']:.4f}  {mean['seconds']:.0f} s")
    if options.record and part == "test":
        line = (
            f"| {date.today()} | {options.track} | {options.record} | {mean['pictures']:.0f} / {mean['scored']:.0f}, {options.size}² | "
            f"{mean['dice']:.4f} ± {spread['dice']:.4f} | {mean['iou']:.4f} ± {spread['iou']:.4f} | {mean['seconds']:.0f} s | "
            f"{options.seeds} | {machine(device)} | {commit()} |\n"
        )
        PAGE.write_text(PAGE.read_text(encoding="utf-8").rstrip("\n") + "\n" + line, encoding="utf-8")


if __name__ == "__main__":
    main()
