"""A textbook's way to train a U-Net on real pets against `unetlab train`'s: pictures a second, time to the same Dice, quality in the same time.

    python benchmarks/pipeline.py ../shared/data --size 64 --epochs 40        two CPU cores: six minutes
    python benchmarks/pipeline.py ../shared/data --size 256 --epochs 30 --workers 8        a GPU

The textbook, as in many student reports: pictures decoded with PIL in every epoch by worker processes, mirrored at random, a
U-Net in float32 (fp16 with a GradScaler on a GPU), binary cross-entropy and Dice, AdamW with a cosine. Ours: the same network,
loss, optimizer, schedule, batches and mirroring; pictures kept as bytes, batches made where the network is, channels_last,
bf16 (fp16 where a GPU has none), a fused optimizer; with --compile, compiled. Same split, same validation, same seed.

"In its time": `unetlab train`'s own recipe (one-cycle, the lab's augmentation, an average of the weights, mirrored prediction) for as many
epochs as fit into the textbook's seconds of training. Test scores are pooled at the threshold 0.5; border counts as pet.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data_utils import OxfordPets, make_loaders
from training import loop
from training.scores import Counts
from training.settings import Settings

FEATURES, BATCH, LR = (16, 32, 64, 128), 16, 1e-3


# ---- the textbook ----


def two_convolutions(before: int, after: int) -> nn.Sequential:
    """Conv, BatchNorm, ReLU, twice."""
    layers = []
    for channels in (before, after):
        layers += [nn.Conv2d(channels, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class TextbookUNet(nn.Module):
    """The U-Net as it stands in most reports; `(B, 3, H, W)` → `(B, 1, H, W)`."""

    def __init__(self, features=FEATURES):
        super().__init__()
        widths = [3, *features, 2 * features[-1]]
        self.down = nn.ModuleList(two_convolutions(*pair) for pair in zip(widths, widths[1:]))
        upwards = list(zip(widths[:0:-1], widths[-2:0:-1]))
        self.up = nn.ModuleList(nn.ConvTranspose2d(deep, shallow, 2, 2) for deep, shallow in upwards)
        self.merge = nn.ModuleList(two_convolutions(2 * shallow, shallow) for _, shallow in upwards)
        self.head = nn.Conv2d(features[0], 1, 1)

    def forward(self, x):
        skips = []
        for block in self.down[:-1]:
            skips.append(block(x))
            x = F.max_pool2d(skips[-1], 2)
        x = self.down[-1](x)
        for up, merge in zip(self.up, self.merge):
            skip, x = skips.pop(), up(x)
            if x.shape != skip.shape:  # an odd side was halved
                x = F.interpolate(x, skip.shape[-2:])
            x = merge(torch.cat([skip, x], 1))
        return self.head(x)


class Files(Dataset):
    """Picture and mask decoded anew at each use."""

    def __init__(self, images: list[Path], masks: list[Path], size: int, mirror: bool):
        self.images, self.masks, self.size, self.mirror = images, masks, (size, size), mirror

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = Image.open(self.images[index]).convert("RGB").resize(self.size, Image.BILINEAR)
        mask = Image.open(self.masks[index]).resize(self.size, Image.NEAREST)
        if self.mirror and random.random() < 0.5:
            image, mask = (each.transpose(Image.FLIP_LEFT_RIGHT) for each in (image, mask))
        image = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        return image, torch.from_numpy(np.array(mask) != 2).float()[None]


def bce_and_dice(logits, masks):
    """The sum of both, Dice over the batch."""
    probability = torch.sigmoid(logits)
    dice = 1 - (2 * (probability * masks).sum() + 1) / (probability.sum() + masks.sum() + 1)
    return F.binary_cross_entropy_with_logits(logits, masks) + dice


def textbook(options, train: Dataset, val: Dataset, device: torch.device) -> tuple[list[dict], nn.Module]:
    """Train; one row an epoch: seconds of training so far, pictures a second, validation Dice; and the network."""
    loop.seed_all(0)
    loaders = [
        DataLoader(part, BATCH, shuffle=part is train, drop_last=part is train, num_workers=options.workers,
                   pin_memory=device.type == "cuda", persistent_workers=options.workers > 0)
        for part in (train, val)
    ]  # fmt: skip
    network = TextbookUNet().to(device)
    optimizer = torch.optim.AdamW(network.parameters(), LR)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)
    scaler, half = torch.amp.GradScaler(device.type, enabled=device.type == "cuda"), device.type == "cuda"
    rows, spent = [], 0.0
    for _ in range(options.epochs):
        started, seen = now(device), 0
        network.train()
        for images, masks in loaders[0]:
            images, masks = images.to(device, non_blocking=True), masks.to(device, non_blocking=True)
            with torch.autocast(device.type, torch.float16, enabled=half):
                logits = network(images)
            loss = bce_and_dice(logits.float(), masks)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            seen += len(images)
        schedule.step()
        seconds = now(device) - started
        spent += seconds
        network.eval()
        rows.append({"seconds": spent, "pictures/s": seen / seconds, "val_dice": scores_of(network, loaders[1], device)["dice"]})
    return rows, network


@torch.no_grad()
def scores_of(predict: Callable, loader, device: torch.device) -> dict[str, float]:
    """Pooled IoU and Dice."""
    counts = Counts(1, device)
    for images, masks in loader:
        counts.add(predict(images.to(device)), masks.to(device))
    return counts.scores()


# ---- ours ----


ALIKE = {"augment": "flip", "scheduler": "cosine", "lr": LR, "clip": 0.0}  # what the textbook does, too
OWN = {"augment": "lab", "mirror": True}


def ours(options, device: torch.device, epochs: int, recipe: dict) -> tuple[list[dict], Callable]:
    """A run by `unetlab train`'s loop; rows as of the textbook, and the prediction."""
    given = Settings(
        data="pets", root=str(options.root), size=(options.size,), features=FEATURES, epochs=epochs, batch=BATCH,
        compile=options.compile, device=str(device), **recipe,
    )  # fmt: skip
    run = loop.prepare(given, loop.open_data(given, device), device)
    pictures = len(run.data.loaders.train) * BATCH
    history = loop.fit(run)
    spent = np.cumsum(history["seconds"])
    rows = [
        {"seconds": total, "pictures/s": pictures / seconds, "val_dice": dice}
        for total, seconds, dice in zip(spent, history["seconds"], history["val_dice"])
    ]
    return rows, loop.predictor(run)


def now(device: torch.device) -> float:
    """The clock, when the device has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def summary(rows: list[dict], target: float) -> dict:
    """The median pictures a second after the first epoch, the best Dice, and the seconds until Dice `target`."""
    rates = sorted(row["pictures/s"] for row in rows[1:] or rows)
    reached = [row["seconds"] for row in rows if row["val_dice"] >= target]
    return {
        "pictures/s": rates[len(rates) // 2], "first epoch s": rows[0]["seconds"], "seconds": rows[-1]["seconds"], "best val Dice": max(row["val_dice"] for row in rows),
        "seconds to Dice": reached[0] if reached else float("nan"),
    }  # fmt: skip


def print_rows(name: str, rows: list[dict]) -> None:
    """What is known before the comparison: a run takes long, and a line may be all that is left of one."""
    print(f"{name:<12}pictures/s by epoch: " + " ".join(f"{row['pictures/s']:.0f}" for row in rows), flush=True)


def main() -> None:
    """Run both on the same machine, one after the other, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder with the pets")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    made = make_loaders("pets", options.size, BATCH, root=options.root)
    files = OxfordPets(options.root, "trainval", options.size)
    parts = [
        Files([files.image_paths[i] for i in loader.dataset.indices], [files.mask_paths[i] for i in loader.dataset.indices], options.size, mirror)
        for loader, mirror in ((made.train, True), (made.val, False))
    ]
    found = {"textbook": textbook(options, *parts, device)}
    print_rows("textbook", found["textbook"][0])
    found["ours"] = ours(options, device, options.epochs, ALIKE)
    print_rows("ours", found["ours"][0])
    seconds = {name: rows[-1]["seconds"] for name, (rows, _) in found.items()}
    fitting = max(1, round(options.epochs * seconds["textbook"] / seconds["ours"]))
    found["in its time"] = ours(options, device, fitting, OWN)
    target = max(row["val_dice"] for row in found["textbook"][0])
    table = {name: {**summary(rows, target), **scores_of(predict, made.test, device)} for name, (rows, predict) in found.items()}
    for name, row in table.items():
        print(f"{name:<12}" + "  ".join(f"{label} {value:.3f}" for label, value in row.items()))
    one, two, three = table.values()
    print(f"pictures a second, ours / textbook: {two['pictures/s'] / one['pictures/s']:.2f}")
    print(f"time to the textbook's best Dice {target:.3f}, textbook / its time: {one['seconds to Dice'] / three['seconds to Dice']:.2f}")
    print(f"in the textbook's time, {fitting} epochs, test errors 1 - IoU, ours / textbook: {(1 - three['iou']) / (1 - one['iou']):.2f}")
    if options.json:
        options.json.write_text(json.dumps({"settings": vars(options) | {"root": "", "json": ""}, **{name: rows for name, (rows, _) in found.items()}}, indent=1, default=str))


if __name__ == "__main__":
    main()
