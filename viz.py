"""Pictures for the notebooks: the U itself, pairs, predictions, feature maps.

Every function returns a matplotlib Figure and leaves nothing open. A notebook shows it where the call ends a cell;
elsewhere `display(figure)`, and outside notebooks `figure.savefig("name.png")`.
Colours are Okabe and Ito's, told apart by colour-blind readers too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch
from torch import Tensor

from metrics import binarize, iou

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#5F6B75"
SKY, CREAM, ROSE = "#D6EAF5", "#FBEBC8", "#F0DCE8"  # pale fills under dark text
OUTCOMES = {"true positive": GREEN, "false positive": ORANGE, "false negative": "#CC79A7"}


# ---------------------------------------------------------------------------------------------- the U


def draw_unet(
    features: Sequence[int] = (64, 128, 256, 512),
    size: tuple[int, int] | int = (200, 200),
    in_channels: int = 3,
    out_channels: int = 1,
) -> Figure:
    """Draw a U-Net level by level with the shape (C, H, W) of every feature map.

    features: channels of the encoder levels, outermost first. size: (H, W) of the input, or one number for both.
    Where halving drops a row or a column the drawing says so beside the decoder that has to make up for it.
    Raises ValueError for no features, for a channel count below 1 and for a size too small for that many levels.
    Source: Ronneberger, Fischer, Brox: U-Net, MICCAI 2015, figure 1, with padded convolutions.
    """
    features = list(features)
    size = (size, size) if isinstance(size, int) else tuple(size)
    levels = len(features)
    if not features or min(*features, in_channels, out_channels) < 1:
        raise ValueError(
            f"features={features}, in_channels={in_channels}, out_channels={out_channels}: "
            "one level or more and channel counts of 1 or more are needed, for example features=(64, 128)."
        )
    if len(size) != 2 or min(size) < 2**levels:
        raise ValueError(
            f"size={size} cannot be halved {levels} times: H and W must be {2**levels} or more for {levels} levels. "
            "Take a larger size or fewer features."
        )
    sizes = [(size[0] >> level, size[1] >> level) for level in range(levels + 1)]  # a pool rounds down
    figure, axes = plt.subplots(figsize=(10, 1.15 * (levels + 1.8)), layout="constrained")
    _draw_encoder(axes, features, sizes, in_channels)
    _draw_decoder(axes, features, sizes, out_channels)
    axes.set(xlim=(0, 10), ylim=(-levels - 0.4, 1.4))
    axes.axis("off")
    _draw_key(axes)
    return _finish(figure)


# Axes units: a level is one unit high; boxes are given by half their width and height.
BOX_X, BOX_Y = 0.95, 0.25
LEFT, MIDDLE, RIGHT = 1.0, 5.0, 9.0


def _inset(level: int, levels: int) -> float:
    """How far a level's boxes stand in from the sides: the slope of the U."""
    return level * min(0.45, 1.6 / levels)


def _draw_encoder(axes: Axes, features: list[int], sizes: list, in_channels: int) -> None:
    levels = len(features)
    _box(axes, LEFT, 1, "image", (in_channels, *sizes[0]), "white")
    _arrow(axes, (LEFT, 1 - BOX_Y), (LEFT, BOX_Y), GREY)
    for level, channels in enumerate(features):
        x, below = LEFT + _inset(level, levels), LEFT + _inset(level + 1, levels)
        _box(axes, x, -level, f"encoder {level + 1}", (channels, *sizes[level]), SKY)
        last = level == levels - 1
        end = (MIDDLE - BOX_X, -levels) if last else (below, -level - 1 + BOX_Y)
        _arrow(axes, (x, -level - BOX_Y), end, RED)
    _box(axes, MIDDLE, -levels, "bottleneck", (2 * features[-1], *sizes[-1]), ROSE)


def _draw_decoder(axes: Axes, features: list[int], sizes: list, out_channels: int) -> None:
    levels = len(features)
    for level, channels in enumerate(features):
        x, below = RIGHT - _inset(level, levels), RIGHT - _inset(level + 1, levels)
        _box(axes, x, -level, f"decoder {level + 1}", (channels, *sizes[level]), CREAM)
        last = level == levels - 1
        start = (MIDDLE + BOX_X, -levels) if last else (below, -level - 1 + BOX_Y)
        _arrow(axes, start, (x, -level - BOX_Y), BLUE)
        _arrow(axes, (LEFT + _inset(level, levels) + BOX_X, -level), (x - BOX_X, -level), GREEN, "--")
        axes.text(MIDDLE, -level + 0.05, "skip", ha="center", va="bottom", color=GREEN, fontsize=11)
        note = _missing(sizes[level], sizes[level + 1])
        axes.text(MIDDLE, -level - 0.08, note, ha="center", va="top", fontsize=10, linespacing=1.3)
    _box(axes, RIGHT, 1, "logits", (out_channels, *sizes[0]), "white")
    _arrow(axes, (RIGHT, BOX_Y), (RIGHT, 1 - BOX_Y), GREY)


def _missing(size: tuple[int, int], pooled: tuple[int, int]) -> str:
    """What doubling cannot give back after a pool that rounded down; empty where it gives all."""
    doubled = (2 * pooled[0], 2 * pooled[1])
    lost = [name for name, want, got in zip(("a row", "a column"), size, doubled) if want != got]
    if not lost:
        return ""
    verb = "are" if len(lost) > 1 else "is"
    small, got, want = (f"{height}×{width}" for height, width in (pooled, doubled, size))
    return f"{small} doubles to {got}:\n{' and '.join(lost)} {verb} missing,\npad or resize to {want}"


def _box(axes: Axes, x: float, y: float, name: str, shape: tuple, fill: str) -> None:
    corner = (x - BOX_X, y - BOX_Y)
    style = "round,pad=0,rounding_size=0.08"
    axes.add_patch(FancyBboxPatch(corner, 2 * BOX_X, 2 * BOX_Y, boxstyle=style, facecolor=fill, edgecolor=GREY, lw=1.2))
    axes.text(x, y + 0.03, name, ha="center", va="bottom", fontsize=10, weight="bold")
    axes.text(x, y - 0.03, f"({', '.join(map(str, shape))})", ha="center", va="top", fontsize=10)


def _arrow(axes: Axes, start: tuple, end: tuple, colour: str, line: str = "-") -> None:
    style = {"arrowstyle": "-|>", "mutation_scale": 14, "shrinkA": 1, "shrinkB": 1, "lw": 1.8}
    axes.add_patch(FancyArrowPatch(start, end, color=colour, linestyle=line, **style))


def _draw_key(axes: Axes) -> None:
    entries = [
        (RED, "-", "2×2 max pool"),
        (BLUE, "-", "up-convolution, ×2"),
        (GREEN, "--", "skip connection"),
        (GREY, "-", "input and 1×1 output convolution"),
    ]
    keys = [Line2D([], [], color=colour, linestyle=line, lw=2, label=text) for colour, line, text in entries]
    place = {"loc": "center", "bbox_to_anchor": (MIDDLE, 1.0), "bbox_transform": axes.transData}
    axes.legend(handles=keys, title="feature maps as (C, H, W)", frameon=False, fontsize=10, **place)


# ---------------------------------------------------------------------------------------------- pictures


def show_pairs(images: Tensor, masks: Tensor, count: int = 6) -> Figure:
    """Show the first pictures above their masks, with the pet's share of the picture.

    images: `(B, 3, H, W)` in [0, 1]. masks: `(B, 1, H, W)` of 0 and 1. count: pictures at most.
    Raises ValueError for other shapes and for normalised pictures (values outside [0, 1]).
    """
    _check(images, masks=masks)
    count = max(1, min(count, len(images)))
    figure, axes = _grid(2, count)
    for column in range(count):
        axes[0, column].imshow(_pixels(images[column]))
        axes[1, column].imshow(_plane(masks[column]), cmap="gray", vmin=0, vmax=1)
        axes[1, column].set_title(f"pet {float(masks[column].float().mean()):.0%}", fontsize=10)
    return _finish(figure)


def show_predictions(images: Tensor, masks: Tensor, logits: Tensor, threshold: float = 0.5, count: int = 4) -> Figure:
    """Show pictures, masks and where each prediction is right, too large or too small, with its IoU.

    images: `(B, 3, H, W)` in [0, 1]. masks: `(B, 1, H, W)` of 0 and 1. logits: `(B, 1, H, W)`, raw.
    threshold: probability above which a pixel is pet. count: pictures at most.
    Raises ValueError for other shapes, for normalised pictures and for NaN logits.
    """
    _check(images, masks=masks, logits=logits)
    count = max(1, min(count, len(images)))
    images, masks = images[:count], masks[:count]
    predicted = binarize(logits[:count].detach(), threshold)
    scores = iou(predicted, masks, per_image=True)
    figure, axes = _grid(3, count, key_height=0.35)
    for column in range(count):
        picture = _pixels(images[column])
        axes[0, column].imshow(picture)
        axes[1, column].imshow(_plane(masks[column]), cmap="gray", vmin=0, vmax=1)
        axes[2, column].imshow(_outcomes(picture, _plane(masks[column]) > 0, _plane(predicted[column]) > 0))
        axes[2, column].set_title(f"IoU {scores[column]:.2f}", fontsize=10)
    _name_rows(axes, ("picture", "mask", "prediction"))
    keys = [Patch(color=colour, label=name) for name, colour in OUTCOMES.items()]
    figure.legend(handles=keys, loc="outside lower center", ncols=1 if count == 1 else 3, frameon=False, fontsize=10)
    return _finish(figure)


def show_feature_maps(
    features: Tensor, image: Tensor | None = None, count: int = 8, title: str | None = None
) -> Figure:
    """Show the first channels of a feature map, each on its own scale, beside the picture they come from.

    features: `(1, C, H, W)`. image: `(3, H, W)` or `(1, 3, H, W)` in [0, 1], or None. count: channels at most.
    Raises ValueError for other shapes, so for more than one picture at once.
    """
    if features.ndim != 4 or len(features) != 1:
        raise ValueError(f"features {tuple(features.shape)}: (1, C, H, W) is expected; pass features[:1] of a batch.")
    if image is not None:
        image = image if image.ndim == 4 else image[None]
        _check(image)
    count = max(1, min(count, features.shape[1]))
    cells = count + (image is not None)
    columns = min(cells, 5)
    figure, axes = _grid(math.ceil(cells / columns), columns)
    cells = list(axes.flat)
    if image is not None:
        cell = cells.pop(0)
        cell.imshow(_pixels(image[0]))
        cell.set_title("picture", fontsize=10)
    for channel, cell in zip(range(count), cells):
        cell.imshow(features[0, channel].detach().float().cpu().numpy(), cmap="viridis")
        cell.set_title(f"channel {channel}", fontsize=10)
    for cell in cells[count:]:
        cell.set_visible(False)
    shape = f"({', '.join(map(str, features.shape))})"
    figure.suptitle(f"{title}, {shape}" if title else f"features {shape}", fontsize=11)
    return _finish(figure)


def _outcomes(picture: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The picture in grey under the colours of OUTCOMES, `(H, W, 3)`."""
    shown = 0.35 + 0.5 * picture.mean(-1, keepdims=True).repeat(3, -1)
    where = (true & predicted, ~true & predicted, true & ~predicted)
    for pixels, colour in zip(where, OUTCOMES.values()):
        shown[pixels] = 0.25 * shown[pixels] + 0.75 * np.array(to_rgb(colour))
    return shown


def _pixels(image: Tensor) -> np.ndarray:
    return image.detach().float().clamp(0, 1).permute(1, 2, 0).cpu().numpy()


def _plane(mask: Tensor) -> np.ndarray:
    return mask[0].detach().float().cpu().numpy()


def _check(images: Tensor, **planes: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or len(images) == 0:
        raise ValueError(f"images {tuple(images.shape)}: (B, 3, H, W) is expected; image[None] makes a batch of one.")
    for name, plane in planes.items():
        expected = (len(images), 1, *images.shape[2:])
        if tuple(plane.shape) != expected:
            raise ValueError(f"{name} {tuple(plane.shape)}: {expected} is expected, one channel for each picture.")
    low, high = float(images.min()), float(images.max())
    if not (low >= -0.02 and high <= 1.02):  # an interpolated picture may overshoot by a hair
        raise ValueError(
            f"images range over [{low:.3g}, {high:.3g}], pictures to be shown over [0, 1]. Normalised ones: "
            "show images * std + mean. Bytes: show images / 255."
        )


def _grid(rows: int, columns: int, key_height: float = 0.0) -> tuple[Figure, np.ndarray]:
    size = (max(1.9 * columns, 3.2), 2.1 * rows + key_height)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for cell in axes.flat:
        cell.set(xticks=[], yticks=[])
        cell.spines[:].set_visible(False)
    return figure, axes


def _name_rows(axes: np.ndarray, names: Sequence[str]) -> None:
    for cell, name in zip(axes[:, 0], names):
        cell.set_ylabel(name, fontsize=10)


def _finish(figure: Figure) -> Figure:
    # pyplot would show an open figure once more than the cell that returns it, and keep it in memory.
    plt.close(figure)
    return figure
