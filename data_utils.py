"""Data sets and loaders of the lab: drawn animals for every machine, Oxford-IIIT Pet where it is at hand.

Every data set here gives `(image, mask)`: image float32 `(3, H, W)` in [0, 1], mask float32 `(1, H, W)` of 0 and 1.
Pictures stay in [0, 1] on purpose. Who normalises them (`(x - mean) / std`) must undo it before plotting:
normalised pictures go below 0 and above 1, and `imshow` then clips them to wrong colours.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, random_split
from torchvision.datasets import OxfordIIITPet

from drawn_pets import SyntheticPets

DATA_VARIABLE = "UNETLAB_DATA"  # environment variable: the folder that holds the pets
DATASETS = ("synthetic", "pets")
BORDERS = ("pet", "background")
SPLITS = ("trainval", "test")
PETS_FOLDER = "oxford-iiit-pet"  # torchvision's name for it
PET, BACKGROUND, BORDER = 1, 2, 3  # values of an Oxford trimap


class Loaders(NamedTuple):
    """The three loaders of a run; each batch is `images (B, 3, H, W)`, `masks (B, 1, H, W)`."""

    train: DataLoader
    val: DataLoader
    test: DataLoader


def make_loaders(
    name: str | None = None,
    size: int | None = None,
    batch_size: int = 16,
    *,
    root: str | Path | None = None,
    count: int | None = None,
    seed: int = 42,
    download: bool = False,
    num_workers: int = 0,
) -> Loaders:
    """Loaders for training (shuffled), validation and test, the first two an 80/20 split.

    name: "synthetic" or "pets"; None takes "pets" where the variable UNETLAB_DATA names a folder, else "synthetic".
    size: side of the square pictures in pixels, 64 unless said (the handout's own size is 200).
    root: folder with the pets; UNETLAB_DATA or ./data unless said.
    count: pictures for training and validation together, a quarter as many for test. Synthetic: 1000 unless said.
    Pets: all unless said; a smaller count draws that many by the seed (the official list is sorted by breed).
    seed: decides the drawn pictures, the split and the order of the batches.
    Raises ValueError for an unknown name and FileNotFoundError for pets that are not there.
    """
    folder = os.environ.get(DATA_VARIABLE)
    name = name or ("pets" if folder else "synthetic")
    size = 64 if size is None else size
    trainval, test = _datasets(name, size, root or folder or "data", count, seed, download)
    train, val = split_trainval(trainval, seed=seed)
    # Workers that live on keep the decoded pictures of their first epoch.
    options = {"batch_size": batch_size, "num_workers": num_workers, "persistent_workers": num_workers > 0}
    order = torch.Generator().manual_seed(seed)
    return Loaders(
        DataLoader(train, shuffle=True, generator=order, **options),
        DataLoader(val, **options),
        DataLoader(test, **options),
    )


def _datasets(name, size, root, count, seed, download) -> tuple[Dataset, Dataset]:
    """Training with validation, and test."""
    if count is not None and count < 4:
        raise ValueError(f"count={count} is too few: it is shared out to train, val and test; give 4 or more.")
    if name == "synthetic":
        count = 1000 if count is None else count
        trainval = SyntheticPets(count, size, seed)
        # Another stream of random numbers, so that the test pictures depend on neither count nor split.
        test = SyntheticPets(count // 4, size, seed + 2**32)
    elif name == "pets":
        trainval = _at_most(OxfordPets(root, "trainval", size, download=download), count, seed)
        test = _at_most(OxfordPets(root, "test", size), count and count // 4, seed)
    else:
        raise ValueError(f"Unknown data set {name!r}: choose one of {', '.join(map(repr, DATASETS))}.")
    return trainval, test


def split_trainval(dataset: Dataset, val_fraction: float = 0.2, seed: int = 42) -> tuple[Subset, Subset]:
    """Split a data set at random into training and validation, the same way for the same seed.

    Returns `(train, val)` with `round(len · val_fraction)` pictures in val.
    Raises ValueError where a part would be empty.
    """
    val = round(len(dataset) * val_fraction)
    train = len(dataset) - val
    if val < 1 or train < 1:
        raise ValueError(
            f"val_fraction={val_fraction} of {len(dataset)} pictures leaves {train} for training and {val} for "
            "validation: take a fraction between 0 and 1 and more pictures."
        )
    return tuple(random_split(dataset, [train, val], generator=torch.Generator().manual_seed(seed)))


def _at_most(dataset: Dataset, count: int | None, seed: int) -> Dataset:
    if count is None or count >= len(dataset):
        return dataset
    chosen = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))[:count]
    return Subset(dataset, chosen.tolist())


# ---------------------------------------------------------------------------------------------- Oxford-IIIT Pet


class OxfordPets(Dataset):
    """Oxford-IIIT Pet with one mask a picture, square pictures of the size asked for.

    Item: image float32 `(3, size, size)` in [0, 1], mask float32 `(1, size, size)` of 0 and 1.
    root: folder that holds `oxford-iiit-pet/`, that folder itself, or a folder one level above its holder.
    split: "trainval" (80 % of it trains, see `split_trainval`) or the official "test".
    border: the trimap's third label, a band of a few pixels around the animal, counts as "pet" (as in most
    published results on Pets) or as "background".
    download: fetch it (about 800 MB) where it is missing; torchvision checks the archives' checksums.
    A picture is decoded at its first use and kept as bytes, 4 · size² of them.
    Raises FileNotFoundError, OSError or ValueError that names the missing, unreadable or wrong file.
    Source: Parkhi, Vedaldi, Zisserman, Jawahar: Cats and Dogs, CVPR 2012; read by torchvision's OxfordIIITPet.
    """

    def __init__(self, root, split="trainval", size=200, border="pet", *, download=False):
        if split not in SPLITS:
            raise ValueError(f"Unknown split {split!r}: choose one of {', '.join(map(repr, SPLITS))}.")
        if border not in BORDERS:
            raise ValueError(f"Unknown border {border!r}: choose one of {', '.join(map(repr, BORDERS))}.")
        if size < 1:
            raise ValueError(f"size={size} is no picture size: give the side in pixels, for example 200.")
        pets = _open_pets(Path(root), split, download)
        # torchvision opens pictures without saying which one failed, so it lists and we open.
        self.images, self.trimaps = pets._images, pets._segs
        self.size, self.border = size, border
        self._cache: dict[Path, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        path = self.images[index]
        if path not in self._cache:
            self._cache[path] = self._decode(path, self.trimaps[index])
        image, trimap = self._cache[path]
        mask = trimap != BACKGROUND if self.border == "pet" else trimap == PET
        return image.float() / 255, mask[None].float()

    def _decode(self, image_path: Path, trimap_path: Path) -> tuple[Tensor, Tensor]:
        image = _read_picture(image_path, self.size, Image.Resampling.BILINEAR, "RGB")  # PIL shrinks with antialias
        # Labels are names, not amounts: no blending between them (NEAREST) and no division by 255 (ToTensor).
        trimap = _read_picture(trimap_path, self.size, Image.Resampling.NEAREST)
        labels = np.unique(trimap)
        if trimap.ndim != 2 or not set(labels.tolist()) <= {PET, BACKGROUND, BORDER}:
            raise ValueError(
                f"{trimap_path} is not an Oxford trimap: values {labels[:8].tolist()} with shape {trimap.shape}, "
                "where 1 (pet), 2 (background) and 3 (border) in one channel are expected. Put the original file back."
            )
        return torch.from_numpy(image).permute(2, 0, 1).contiguous(), torch.from_numpy(trimap)


def _read_picture(path: Path, size: int, resampling: Image.Resampling, mode: str | None = None) -> np.ndarray:
    mend = "Put the original file back, or delete the folder and fetch the data set again with download=True."
    try:
        with Image.open(path) as picture:
            picture = picture.convert(mode) if mode else picture
            return np.array(picture.resize((size, size), resampling))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} is missing, though the split lists it. {mend}") from error
    except (OSError, SyntaxError, ValueError) as error:  # PIL raises any of them for damaged files
        raise OSError(f"{path} cannot be read as a picture ({error}). {mend}") from error


def _open_pets(root: Path, split: str, download: bool) -> OxfordIIITPet:
    holder = _find_holder(root)
    if holder is None and not download:
        raise FileNotFoundError(
            f"No {PETS_FOLDER}/images with {PETS_FOLDER}/annotations in {root} or one folder below it. Set "
            f"{DATA_VARIABLE} to the folder that holds {PETS_FOLDER}, or pass download=True to fetch it (about 800 MB)."
        )
    try:
        return OxfordIIITPet(holder or root, split, target_types="segmentation", download=download)
    except (OSError, RuntimeError, ValueError) as error:
        raise OSError(
            f"Oxford-IIIT Pet in {holder or root} cannot be opened ({error}). Delete its {PETS_FOLDER} folder "
            "and fetch it again with download=True; a fetch needs the network and about 1.6 GB of disk."
        ) from error


def _find_holder(root: Path) -> Path | None:
    """The folder that holds `oxford-iiit-pet/`: root, the folder above it, or one folder below it."""
    below = sorted(folder for folder in root.iterdir() if folder.is_dir()) if root.is_dir() else []
    above = [root.parent] if root.name == PETS_FOLDER else []
    for folder in [root, *above, *below]:
        if all((folder / PETS_FOLDER / part).is_dir() for part in ("images", "annotations")):
            return folder
    return None
