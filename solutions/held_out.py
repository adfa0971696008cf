"""The pictures that grade a trained network; no student sees them."""

from __future__ import annotations

import functools
import os

import torch

from data_utils import DATA_VARIABLE, OxfordPets, SyntheticPets
from grader.rubric import held_out

SEED = 7_340_912  # change it each year


@functools.lru_cache(maxsize=1)
def held_out_pictures() -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N, 3, S, S) in [0, 1] and masks (N, 1, S, S) of 0 and 1, as the rubric's [held_out] says.

    Raises ValueError for a kind of data that is not known, and FileNotFoundError for pets that are not there.
    """
    wanted = held_out()
    if wanted["data"] == "synthetic":
        pictures = SyntheticPets(wanted["count"], wanted["size"], SEED)
        chosen = range(wanted["count"])
    elif wanted["data"] == "pets":
        pictures = OxfordPets(os.environ.get(DATA_VARIABLE, "data"), "test", wanted["size"])
        order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(SEED))
        chosen = order[: wanted["count"]].tolist()
    else:
        raise ValueError(f'[held_out] data is "synthetic" or "pets" in grader/rubric.toml, not {wanted["data"]!r}')
    images, masks = zip(*(pictures[index] for index in chosen))
    return torch.stack(images), torch.stack(masks)
