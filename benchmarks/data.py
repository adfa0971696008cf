"""How long 1000 drawn pairs of 64 px take, against plain PIL decoding and resizing of as many real pets.

Run from the repo root: `python benchmarks/data.py [folder with oxford-iiit-pet]`; the folder may also stand in
UNETLAB_DATA. Both sides run in turn in this one process, `ROUNDS` times; the medians and their ratio are printed.
"""

import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from data_utils import DATA_VARIABLE, OxfordPets, SyntheticPets

COUNT, SIZE, ROUNDS = 1000, 64, 5


def plain_pil(images, trimaps):
    """Decode and shrink COUNT pairs with PIL alone, starting over where there are fewer."""
    for i in range(COUNT):
        picture = Image.open(images[i % len(images)]).convert("RGB")
        np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
        trimap = Image.open(trimaps[i % len(trimaps)])
        np.asarray(trimap.resize((SIZE, SIZE), Image.Resampling.NEAREST))


def seconds(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.environ.get(DATA_VARIABLE, "data")
    try:
        pets = OxfordPets(folder)
    except FileNotFoundError as error:
        pets = None
        print(f"No peer to compare with. {error}")
    SyntheticPets(64, SIZE)  # the first call pays for torch's start
    drawn, decoded = [], []
    for _ in range(ROUNDS):
        drawn.append(seconds(SyntheticPets, COUNT, SIZE))
        if pets:
            decoded.append(seconds(plain_pil, pets.images, pets.trimaps))
    mine = statistics.median(drawn)
    print(
        f"torch threads {torch.get_num_threads()}, {os.cpu_count()} cores, {COUNT} pairs of {SIZE} px, {ROUNDS} rounds"
    )
    print(f"SyntheticPets  {mine:6.2f} s  (from {min(drawn):.2f} to {max(drawn):.2f})")
    if pets:
        peer = statistics.median(decoded)
        print(
            f"plain PIL      {peer:6.2f} s  (from {min(decoded):.2f} to {max(decoded):.2f}), {len(pets)} different pairs"
        )
        print(f"drawn / decoded = {mine / peer:.2f}")


if __name__ == "__main__":
    main()
