"""The pictures that grade a trained network; no student sees them."""

from __future__ import annotations

import functools
import os

import torch

from data_utils import DATA_VARIABLE, OxfordPets, SyntheticPets
from grader.rubric import held_out

# 128 bits, since a submission may draw pictures too and could try short seeds until they match. Change it each year.
SEED = 0x5671026a654b085a2f0c0bba9f0d4bd8


FEWEST = 24  # pictures, however large: fewer would make the mark a matter of luck


@functools.lru_cache(maxsize=8)
def held_out_pictures(size: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N, 3, S, S) in [0, 1] and masks (N, 1, S, S) of 0 and 1, as the rubric's [held_out] says.

    size: pixels a side, since a network does well at the size that it learnt; the rubric's unless said. Larger pictures are fewer.

    Raises ValueError for a kind of data that is not known, and FileNotFoundError for pets that are not there.
    """
    wanted = held_out()
    size = size or wanted["size"]
    count = min(wanted["count"], max(FEWEST, wanted["count"] * wanted["size"] ** 2 // size**2))
    if wanted["data"] == "synthetic":
        pictures = SyntheticPets(count, size, SEED)
        chosen = range(count)
    elif wanted["data"] == "pets":
        pictures = OxfordPets(os.environ.get(DATA_VARIABLE, "data"), "test", size)
        order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(SEED % 2**63))
        chosen = order[:count].tolist()
    else:
        raise ValueError(f'[held_out] data is "synthetic" or "pets" in grader/rubric.toml, not {wanted["data"]!r}')
    images, masks = zip(*(pictures[index] for index in chosen))
    return torch.stack(images), torch.stack(masks)
