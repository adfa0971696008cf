"""ImageNet weights, fetched by torchvision, and the input that they expect."""

from __future__ import annotations

from collections.abc import Mapping
from http.client import HTTPException
from pickle import UnpicklingError
from urllib.parse import urlsplit

import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum

# Of the red, green and blue of ImageNet's pictures in [0, 1]; torchvision's weights were trained on (x - mean) / std.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class InputNormalization(nn.Module):
    """(x - mean) / std of each channel: ImageNet's for pretrained networks, else 0 and 1, which changes nothing.

    Both numbers are buffers of every network with an encoder that can be pretrained. So a checkpoint brings along what
    its weights expect, and loads into a network that was built without `pretrained`.

    Shapes:
        x: (B, channels, H, W) in [0, 1] → the same
    """

    def __init__(self, channels: int, imagenet: bool = False):
        super().__init__()
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if imagenet else ([0.0] * channels, [1.0] * channels)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


def imagenet_weights(weights: WeightsEnum, in_channels: int, **sizes: tuple[int, int]) -> Mapping[str, Tensor]:
    """A torchvision network's trained tensors by name, from its cache or, with a check of the hash, from its server.

    sizes: name of an argument → (its value, the value that the weights were trained with). A network that is built on
    the meta device, for its shapes alone, gets none.
    Raises ValueError where these differ or pictures have not three channels, OSError where the weights cannot be had.
    """
    for name, (value, trained) in {"in_channels": (in_channels, 3), **sizes}.items():
        if value != trained:
            raise ValueError(f"{name}={value}: ImageNet weights need {name}={trained}; or say pretrained=False.")
    if torch.get_default_device().type == "meta":
        return {}
    try:
        return weights.get_state_dict(check_hash=True, weights_only=True, map_location="cpu")
    except (OSError, RuntimeError, EOFError, HTTPException, UnpicklingError) as error:
        file = urlsplit(weights.url).path.rpartition("/")[2]
        raise OSError(
            f"The weights {weights} cannot be had from {weights.url}: {error}. To mend it: go online, or put the file "
            f"{file} into {torch.hub.get_dir()}/checkpoints, or say pretrained=False. If it lies there already, it is "
            "broken: delete it."
        ) from error
