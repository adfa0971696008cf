"""How long 1000 drawn pairs of 64 px take, and what the loaders give a second, against decoding real pets with PIL.

Run from the repo root: `python benchmarks/data.py [folder with oxford-iiit-pet]`; the folder may also stand in
UNETLAB_DATA. All sides run in turn in this one process, `ROUNDS` times; the medians and their ratios are printed.
"""

import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from data_utils import DATA_VARIABLE, Augmented, DeviceLoader, OxfordPets, SyntheticPets

COUNT, SIZE, ROUNDS, BATCH = 1000, 64, 5, 16


def plain_pil(images, trimaps):
    """Decode and shrink COUNT pairs with PIL alone, starting over where there are fewer."""
    for i in range(COUNT):
        picture = Image.open(images[i % len(images)]).convert("RGB")
        np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
        trimap = Image.open(trimaps[i % len(trimaps)])
        np.asarray(trimap.resize((SIZE, SIZE), Image.Resampling.NEAREST))


class PlainPets(Dataset):
    """The peer of the loaders: decodes both files each time, as most tutorials do."""

    def __init__(self, pets):
        self.pets, self.side = pets, pets.size[::-1]  # PIL's order

    def __len__(self):
        return len(self.pets)

    def __getitem__(self, index):
        picture = Image.open(self.pets.image_paths[index]).convert("RGB").resize(self.side, Image.Resampling.BILINEAR)
        trimap = Image.open(self.pets.mask_paths[index]).resize(self.side, Image.Resampling.NEAREST)
        image = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
        return image, torch.from_numpy(np.array(trimap) != 2)[None].float()


def seconds(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def epoch(loader):
    for images, _ in loader:
        images.sum()  # as a network does, touch every pixel
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def compare_drawing(pets):
    """The drawn animals against plain PIL, COUNT pairs each."""
    SyntheticPets(64, SIZE)  # the first call pays for torch's start
    drawn, decoded = [], []
    for _ in range(ROUNDS):
        drawn.append(seconds(SyntheticPets, COUNT, SIZE))
        if pets:
            decoded.append(seconds(plain_pil, pets.image_paths, pets.mask_paths))
    mine = statistics.median(drawn)
    print(f"SyntheticPets  {mine:6.2f} s  (from {min(drawn):.2f} to {max(drawn):.2f})")
    if pets:
        peer = statistics.median(decoded)
        span = f"(from {min(decoded):.2f} to {max(decoded):.2f})"
        print(f"plain PIL      {peer:6.2f} s  {span}, {len(pets)} different pairs")
        print(f"drawn / decoded = {mine / peer:.2f}")


def compare_loaders(folder, size):
    """One epoch of the real pets from each loader, in turn, after all were decoded once."""
    pets, sides = OxfordPets(folder, size=size), {}
    sides["PIL each time, DataLoader"] = DataLoader(PlainPets(pets), BATCH, shuffle=True)
    sides["cached, DataLoader"] = DataLoader(pets, BATCH, shuffle=True)
    sides["cached, DataLoader, augmented"] = DataLoader(Augmented(pets), BATCH, shuffle=True)
    for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
        for augment, word in ((False, ""), (True, ", augmented")):
            name = f"DeviceLoader on {device}{word}"
            sides[name] = DeviceLoader(pets, BATCH, shuffle=True, augment=augment, device=device)
    print(f"{len(pets)} pairs of {size} px, batches of {BATCH}; all decoded once in {seconds(pets.preload):.2f} s")
    times = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, loader in sides.items():
            times[name].append(seconds(epoch, loader))
    peer, *_ = (statistics.median(spent) for spent in times.values())
    for name, spent in times.items():
        middle = statistics.median(spent)
        print(f"{name:34s} {len(pets) / middle:9.0f} pictures/s  x {peer / middle:.1f}")


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.environ.get(DATA_VARIABLE, "data")
    try:
        pets = OxfordPets(folder)
    except FileNotFoundError as error:
        pets = None
        print(f"No peer to compare with. {error}")
    print(
        f"torch threads {torch.get_num_threads()}, {os.cpu_count()} cores, {COUNT} pairs of {SIZE} px, {ROUNDS} rounds"
    )
    compare_drawing(pets)
    for size in (64, 200) if pets else ():
        compare_loaders(folder, size)


if __name__ == "__main__":
    main()
