"""Figures for the notebooks: the U itself, predictions, the inside of a network, learning curves, tables, sliders.

Every function but the last three returns a matplotlib Figure and leaves nothing open. A notebook shows it where the
call ends a cell; elsewhere `display(figure)`, and outside notebooks `figure.savefig("name.png")`.
Colours are Okabe and Ito's, told apart by colour-blind readers too.
"""

from __future__ import annotations

import html
import io
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from torch import Tensor

from metrics import binarize, boundary_f1, dice, iou, mean_iou

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#5F6B75"
SKY, CREAM, ROSE = "#D6EAF5", "#FBEBC8", "#F0DCE8"  # pale fills under dark text
OUTCOMES = {"true positive": GREEN, "false positive": ORANGE, "false negative": "#CC79A7"}
SERIES = (BLUE, ORANGE, GREEN, "#CC79A7", "#56B4E9", RED, "#000000")  # one a model; then again with another line
SEGNET_COLOURS = tuple(  # of CamVid's eleven classes, in the order of data_utils.CAMVID_CLASSES, as in SegNet's figures
    (red / 255, green / 255, blue / 255)
    for red, green, blue in (
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0), (192, 128, 128),
        (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    )
)  # fmt: skip
LINES, MARKERS = ("-", "--", ":"), "os^Dv<>"  # a second sign beside the colour


# ---------------------------------------------------------------------------------------------- the U


def draw_unet(
    features: Sequence[int] = (64, 128, 256, 512),
    size: tuple[int, int] | int = (200, 200),
    in_channels: int = 3,
    out_channels: int = 1,
    skip: str | None = "skip",
) -> Figure:
    """Draw a U-Net level by level with the shape (C, H, W) of every feature map.

    features: channels of the encoder levels, outermost first. size: (H, W) of the input, or one number for both.
    skip: what to write over the skip connections, for example "add"; None draws a network without them.
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
    figure, ((axes,),) = _subplots(1, 1, (10, 1.15 * (levels + 1.8)))
    _draw_encoder(axes, features, sizes, in_channels)
    _draw_decoder(axes, features, sizes, out_channels)
    if skip:
        _draw_skips(axes, levels, skip)
    axes.set(xlim=(0, 10), ylim=(-levels - 0.4, 1.4))
    axes.axis("off")
    _draw_key(axes, bool(skip))
    return figure


def draw_nested_unet(levels: int = 4) -> Figure:
    """Draw the triangle of nodes X[i][j] of a UNet++ of so many levels: what each node sees, and which depth needs it.

    The dotted lines are drawn for the last node of the top row alone, which sees all others of its row.
    Raises ValueError for less than one level.
    Source: Zhou et al.: UNet++, 2018, arXiv:1807.10165, figure 1.
    """
    if levels < 1:
        raise ValueError(f"levels={levels}: one or more are needed.")
    figure, ((axes,),) = _subplots(1, 1, (8.5, 0.95 * (levels + 1.6)))
    fills = ("white", SKY, CREAM, ROSE)
    x, y, r = (lambda i, j: 2.2 * j + 1.1 * i), (lambda i: -1.0 * i), 0.3
    for i in range(levels + 1):
        for j in range(levels + 1 - i):
            fill = fills[(i + j) % 4] if i + j else "white"
            axes.add_patch(FancyBboxPatch((x(i, j) - 0.5, y(i) - r / 1.3), 1.0, 2 * r / 1.3, boxstyle="round,pad=0,rounding_size=0.1",
                                          facecolor=fill, edgecolor=GREY, lw=1.2))
            axes.text(x(i, j), y(i), f"X[{i}][{j}]", ha="center", va="center", fontsize=10)
            if i + j < levels:
                _arrow(axes, (x(i, j) + 0.5, y(i)), (x(i, j + 1) - 0.5, y(i)), GREEN, "--")
                if j == 0:
                    _arrow(axes, (x(i, 0) + 0.15, y(i) - 0.24), (x(i + 1, 0) - 0.3, y(i + 1) + 0.24), RED)
            if j:
                _arrow(axes, (x(i + 1, j - 1) + 0.3, y(i + 1) + 0.24), (x(i, j) - 0.15, y(i) - 0.24), BLUE)
    for j in range(levels - 1):  # those that are not next to the last one
        bow = {"connectionstyle": f"arc3,rad={-0.16 - 0.02 * (levels - j)}", "arrowstyle": "-|>", "mutation_scale": 10, "lw": 1.2}
        axes.add_patch(FancyArrowPatch((x(0, j), 0.24), (x(0, levels), 0.24), color=GREEN, linestyle=":", **bow))
    for depth in range(1, levels + 1):
        axes.text(x(0, depth) + 0.06, -0.32, f"depth {depth}", ha="left", va="top", fontsize=9, color=GREY)
    keys = [(RED, "-", "2×2 max pool"), (BLUE, "-", "upsampled, ×2"), (GREEN, "--", "joined"), (GREEN, ":", "joined, of the whole row")]
    handles = [Line2D([], [], color=colour, linestyle=line, lw=1.8, label=label) for colour, line, label in keys]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    axes.set(xlim=(-0.7, x(0, levels) + 0.7), ylim=(y(levels) - 0.5, 0.35 + 0.32 * levels))
    axes.axis("off")
    return figure


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
        note = _missing(sizes[level], sizes[level + 1])
        axes.text(MIDDLE, -level - 0.08, note, ha="center", va="top", fontsize=10, linespacing=1.3)
    _box(axes, RIGHT, 1, "logits", (out_channels, *sizes[0]), "white")
    _arrow(axes, (RIGHT, BOX_Y), (RIGHT, 1 - BOX_Y), GREY)


def _draw_skips(axes: Axes, levels: int, skip: str) -> None:
    for level in range(levels):
        inset = _inset(level, levels) + BOX_X
        _arrow(axes, (LEFT + inset, -level), (RIGHT - inset, -level), GREEN, "--")
        axes.text(MIDDLE, -level + 0.05, skip, ha="center", va="bottom", color=GREEN, fontsize=11)


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


def _draw_key(axes: Axes, skips: bool) -> None:
    entries = [
        (RED, "-", "2×2 max pool"),
        (BLUE, "-", "up-convolution, ×2"),
        *[(GREEN, "--", "skip connection")] * skips,
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
    return figure


def show_predictions(images: Tensor, masks: Tensor, logits: Tensor, threshold: float = 0.5, count: int = 4) -> Figure:
    """Show pictures, masks and where each prediction is right, too large or too small, with its IoU.

    images: `(B, 3, H, W)` in [0, 1]. masks: `(B, 1, H, W)` of 0 and 1. logits: `(B, 1, H, W)`, raw.
    threshold: probability above which a pixel is pet. count: pictures at most.
    Raises ValueError for other shapes, for normalised pictures and for NaN logits.
    """
    _check(images, masks=masks, logits=logits)
    count = max(1, min(count, len(images)))
    figure, axes = _grid(3, count, key_height=0.35)
    for column in range(count):
        axes[0, column].imshow(_pixels(images[column]))
        axes[1, column].imshow(_plane(masks[column]), cmap="gray", vmin=0, vmax=1)
        score = _show_outcome(axes[2, column], images[column], masks[column], logits[column], threshold)
        axes[2, column].set_title(f"IoU {score:.2f}", fontsize=10)
    _name_rows(axes, ("picture", "mask", "prediction"))
    _outcome_key(figure)
    return figure


def show_progress(
    snapshots: Mapping[int | str, Tensor], images: Tensor, masks: Tensor, threshold: float = 0.5, count: int = 4
) -> Figure:
    """Show how the predictions of the same pictures change over training, one column a snapshot, with each IoU.

    snapshots: epoch → raw logits `(B, 1, H, W)`; a name in place of the epoch compares models instead.
    images: `(B, 3, H, W)` in [0, 1]. masks: `(B, 1, H, W)` of 0 and 1. All three may come without B for one picture.
    threshold: probability above which a pixel is pet. count: pictures at most; of many snapshots 8 are shown, the
    first, the last and evenly between. Raises ValueError for no snapshots and for what `show_predictions` refuses.
    """
    images, masks = (part if part.ndim == 4 else part[None] for part in (images, masks))
    if not isinstance(snapshots, Mapping) or not snapshots:
        raise ValueError("No dict of snapshots: keep snapshots[epoch] = model(images).detach() every few epochs.")
    snapshots = {name: logits if logits.ndim == 4 else logits[None] for name, logits in snapshots.items()}
    _check(images, masks=masks, **{f"snapshots[{name!r}]": logits for name, logits in snapshots.items()})
    count = max(1, min(count, len(images)))
    names = list(snapshots)
    names = [names[i] for i in sorted(set(np.linspace(0, len(names) - 1, 8).round().astype(int)))]
    figure, axes = _grid(count, 2 + len(names), key_height=0.7)
    for row in range(count):
        axes[row, 0].imshow(_pixels(images[row]))
        axes[row, 1].imshow(_plane(masks[row]), cmap="gray", vmin=0, vmax=1)
        for cell, name in zip(axes[row, 2:], names):
            score = _show_outcome(cell, images[row], masks[row], snapshots[name][row], threshold)
            heading = "" if row else f"epoch {name}\n" if isinstance(name, int) else f"{name}\n"
            cell.set_title(f"{heading}IoU {score:.2f}", fontsize=10)
    axes[0, 0].set_title("picture", fontsize=10)
    axes[0, 1].set_title("mask", fontsize=10)
    _outcome_key(figure)
    return figure


def _show_outcome(cell: Axes, image: Tensor, mask: Tensor, logits: Tensor, threshold: float) -> float:
    """Draw one prediction in the colours of OUTCOMES and return its IoU."""
    # The network may still lie on the GPU while pictures and masks do not.
    mask, predicted = mask.detach().cpu(), binarize(logits.detach(), threshold).cpu()
    cell.imshow(_outcomes(_pixels(image), _plane(mask) > 0, _plane(predicted) > 0))
    return float(iou(predicted[None], mask[None]))


def _outcome_key(figure: Figure) -> None:
    keys = [Patch(color=colour, label=name) for name, colour in OUTCOMES.items()]
    columns = min(len(keys), max(1, int(figure.get_figwidth() / 1.5)))  # an inch and a half for each
    figure.legend(handles=keys, loc="outside lower center", ncols=columns, frameon=False, fontsize=10)


def _outcomes(picture: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The picture in grey under the colours of OUTCOMES, `(H, W, 3)`."""
    shown = 0.35 + 0.5 * picture.mean(-1, keepdims=True).repeat(3, -1)
    where = (true & predicted, ~true & predicted, true & ~predicted)
    for pixels, colour in zip(where, OUTCOMES.values()):
        shown[pixels] = 0.25 * shown[pixels] + 0.75 * np.array(to_rgb(colour))
    return shown


# ---------------------------------------------------------------------------------------------- classes


def show_classes(
    images: Tensor,
    labels: Tensor,
    predicted: Tensor | Mapping[str, Tensor],
    names: Sequence[str],
    ignore_index: int | None = None,
    count: int = 4,
    colours: Sequence = SEGNET_COLOURS,
) -> Figure:
    """Show pictures, their classes and the predicted ones in colours, with each picture's mean IoU and a key.

    images: `(B, 3, H, W)` in [0, 1]. labels, predicted: int64 `(B, H, W)` of 0 … len(names) - 1; labels may hold
    ignore_index, which is black and counts nowhere. predicted may be several ones by name, a row each, or none: {}.
    names: the classes'. count: pictures at most.
    colours: one a class, RGB in [0, 1] or anything matplotlib takes; SegNet's for CamVid unless said.
    Raises ValueError for other shapes, for labels without a name and for fewer colours than classes.
    """
    _check(images)
    rows = dict(predicted) if isinstance(predicted, Mapping) else {"prediction": predicted}
    if len(colours) < len(names):
        raise ValueError(f"{len(colours)} colours for {len(names)} classes: pass colours= with one for each.")
    _check_labels("labels", labels, images, len(names), ignore_index)
    for name, plane in rows.items():
        _check_labels(name, plane, images, len(names))
    count = max(1, min(count, len(images)))
    palette = np.array([to_rgb(colour) for colour in colours[: len(names)]] + [(0.0, 0.0, 0.0)])
    rows_of_key = math.ceil(len(names) / max(2, count))
    figure, axes = _grid(2 + len(rows), count)
    high = 1.9 * images.shape[-2] / images.shape[-1] + 0.1  # inches, of a picture 1.9 wide
    figure.set_size_inches(figure.get_figwidth(), (2 + len(rows)) * high + 0.5 + 0.25 * rows_of_key)
    for column in range(count):
        truth = labels[column].cpu()
        axes[0, column].imshow(_pixels(images[column]))
        for row, plane in enumerate([truth, *(found[column].cpu() for found in rows.values())], start=1):
            coloured = plane if ignore_index is None else torch.where(plane == ignore_index, len(names), plane)
            axes[row, column].imshow(palette[coloured.numpy()])
            if row > 1:
                score = mean_iou(plane[None], truth[None], len(names), ignore_index=ignore_index)
                axes[row, column].set_title(f"mIoU {score:.2f}", fontsize=10)
    _name_rows(axes, ("picture", "classes", *rows))
    shown = [*zip(palette, names), *[((0, 0, 0), "not labelled")] * (ignore_index is not None)]
    keys = [Patch(facecolor=colour, edgecolor=GREY, label=name) for colour, name in shown]
    figure.legend(handles=keys, loc="outside lower center", ncols=max(2, count), frameon=False, fontsize=9)
    return figure


def _check_labels(name: str, plane: Tensor, images: Tensor, classes: int, ignore_index: int | None = None) -> None:
    expected = (len(images), *images.shape[2:])
    if tuple(plane.shape) != expected or plane.is_floating_point():
        raise ValueError(f"{name} {plane.dtype} {tuple(plane.shape)}: class numbers {expected} are expected; labels_from(logits).")
    wrong = (plane < 0) | (plane >= classes)
    if ignore_index is not None:
        wrong &= plane != ignore_index
    if wrong.any():
        raise ValueError(f"{name} holds {int(plane[wrong][0])}, but names has 0 to {classes - 1}: pass ignore_index for others.")


# ---------------------------------------------------------------------------------------------- inside a network


def show_seams(image: Tensor, logits_by_name: Mapping[str, Tensor], window: int | None = None) -> Figure:
    """Predictions of one picture side by side, and below how far each one's probabilities are from the first one's.

    image: `(1, 3, H, W)` in [0, 1]. logits_by_name: name → `(1, 1, H, W)`, raw; two or more, the first is the measure.
    window: side of the windows in pixels, drawn as a square in the corner of the picture for its size.
    Raises ValueError for shapes that do not fit, or less than two predictions.
    """
    _check(image, **{name: logits for name, logits in logits_by_name.items()})
    if len(image) != 1 or len(logits_by_name) < 2:
        raise ValueError(f"{len(image)} pictures and {len(logits_by_name)} predictions: one picture and two or more are expected.")
    probabilities = {name: torch.sigmoid(logits[0, 0].detach().float().cpu()) for name, logits in logits_by_name.items()}
    first = next(iter(probabilities.values()))
    most = max(float((other - first).abs().max()) for other in probabilities.values()) or 1.0
    columns, ratio = len(probabilities), image.shape[-2] / image.shape[-1]
    figure, axes = _grid(2, columns)
    figure.set_size_inches(2.9 * columns, 2.5 * ratio * 2 + 0.8)
    for column, (name, probability) in enumerate(probabilities.items()):
        axes[0, column].imshow(probability.numpy(), cmap="gray", vmin=0, vmax=1)
        axes[0, column].set_title(name, fontsize=10)
        if column:
            off = (probability - first).abs()
            shown = axes[1, column].imshow(off.numpy(), cmap="viridis", vmin=0, vmax=most)
            axes[1, column].set_xlabel(f"mean {float(off.mean()):.4f}", fontsize=9)
    axes[1, 0].imshow(_pixels(image[0]))
    if window:
        axes[1, 0].add_patch(plt.Rectangle((0, 0), window, window, fill=False, edgecolor=RED, lw=2))
        axes[1, 0].set_xlabel(f"picture; the square: one window of {window}", fontsize=9)
    figure.colorbar(shown, ax=axes[1, 1:].tolist(), shrink=0.8, label=f"distance from '{next(iter(probabilities))}'")
    return figure


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
    return figure


def show_attention(image: Tensor, alphas: Sequence[Tensor] | Mapping[str, Tensor], own_scale: bool = False) -> Figure:
    """Lay the attention of every level over the picture, one panel a level with its size and range.

    image: `(3, H, W)` or `(1, 3, H, W)` in [0, 1]. alphas: `(1, h, w)` or `(1, 1, h, w)` each, in [0, 1]: the
    `alpha` of every gate after a forward pass of that picture, in a list or named in a dict; shown bilinear at H × W.
    own_scale: colours from the least to the largest value of each level, to see what differs little; else 0 to 1.
    Raises ValueError for no maps, for more than one picture at once and for values outside [0, 1].
    """
    image = image if image.ndim == 4 else image[None]
    _check(image)
    alphas = [alphas] if isinstance(alphas, Tensor) else alphas
    names = [f"{name}, " for name in alphas] if isinstance(alphas, Mapping) else [""] * len(alphas)
    maps = [_attention_map(alpha) for alpha in (alphas.values() if isinstance(alphas, Mapping) else alphas)]
    if len(image) != 1 or not maps:
        raise ValueError(
            f"{len(image)} pictures and {len(maps)} maps: one picture (image[:1]) and a map or more are expected; "
            "run model(image) first, then gather alpha from every gate."
        )
    grey = _pixels(image[0]).mean(-1)
    figure, (axes,) = _subplots(1, 1 + len(maps), (2.6 * (1 + len(maps)), 2.5))
    axes[0].imshow(_pixels(image[0]))
    axes[0].set_title("picture", fontsize=10)
    for cell, name, alpha in zip(axes[1:], names, maps):
        low, high = float(alpha.min()), float(alpha.max())
        large = F.interpolate(alpha, grey.shape, mode="bilinear", align_corners=False)
        cell.imshow(grey, cmap="gray", vmin=-0.5, vmax=1)  # lightened: dark fur would hide the colours
        span = {"vmin": low, "vmax": high} if own_scale else {"vmin": 0, "vmax": 1}
        shown = cell.imshow(large[0, 0].numpy(), cmap="viridis", alpha=0.6, **span)
        figure.colorbar(shown, ax=cell, shrink=0.75, label="α")
        cell.set_title(f"{name}{alpha.shape[2]}×{alpha.shape[3]}\nα {low:.2f} to {high:.2f}", fontsize=10)
    for cell in axes:
        cell.axis("off")
    return figure


def _attention_map(alpha: Tensor | None) -> Tensor:
    """One map as `(1, 1, h, w)`, checked."""
    if alpha is None:
        raise ValueError("An alpha is None: a gate has one only after a forward pass; run model(image) first.")
    alpha = alpha.detach().float().cpu()
    alpha = alpha if alpha.ndim == 4 else alpha[None]
    if alpha.ndim != 4 or tuple(alpha.shape[:2]) != (1, 1):
        raise ValueError(f"alpha {tuple(alpha.shape)}: (1, 1, h, w) is expected; pass alpha[:1] of a batch.")
    if not (alpha.min() >= 0 and alpha.max() <= 1):  # false for NaN too
        raise ValueError(
            f"alpha ranges over [{alpha.min():.3g}, {alpha.max():.3g}], attention over [0, 1]: "
            "keep what comes out of the sigmoid."
        )
    return alpha


def plot_gradient_flow(norms_by_model: Mapping[str, Mapping[str, float]], title: str | None = None) -> Figure:
    """Plot how much gradient reaches every block, from the first encoder to the head, one line a model.

    norms_by_model: model name → {parameter name → L2 norm of its gradient}, parameters in the order of depth. Lists
    side by side in the decoder (`ups.0 … ups.3, decoders.0 … decoders.3`) are put level by level.
    Lines: the norm over all parameters of a block, `encoders.0` or `bottleneck`. Dots: single weights; biases have
    none. A norm of 0 stands as a cross at the foot.
    Raises ValueError for no models, a model without norms, and norms that are negative, infinite or NaN.
    """
    _check_norms(norms_by_model)
    grouped = {model: _by_block(norms) for model, norms in norms_by_model.items()}
    blocks = _merged_blocks(grouped.values())
    figure, ((axes,),) = _subplots(1, 1, (min(max(0.55 * len(blocks) + 2, 7), 14), 4.6))
    drawn = [norm for by_block in grouped.values() for norms in by_block.values() for norm in _drawn(norms)]
    foot = 10.0 ** math.floor(math.log10(min((norm for norm in drawn if norm > 0), default=1e-8)) - 0.5)
    for position, (model, by_block) in enumerate(grouped.items()):
        style = {"color": SERIES[position % 7], "marker": MARKERS[position % 7], "linestyle": LINES[position // 7 % 3]}
        _draw_flow(axes, by_block, blocks, foot, style, model)
    for position in range(0, len(blocks), 2):
        axes.axvspan(position - 0.5, position + 0.5, color="0.96", zorder=0)
    if 0 in drawn:
        axes.text(0.995, foot, "0: no gradient", transform=axes.get_yaxis_transform(), ha="right", va="bottom")
    axes.set(yscale="log", xlim=(-0.5, len(blocks) - 0.5), ylabel="L2 norm of the gradient", title=title)
    axes.set_xticks(range(len(blocks)), blocks, rotation=45, ha="right", rotation_mode="anchor", fontsize=9)
    axes.set_xlabel("line: whole block, dots: its single weights (biases left out)", fontsize=9)
    axes.grid(axis="y", color="0.88")
    figure.legend(frameon=False, fontsize=9, ncols=min(len(grouped), 5), loc="outside lower center")
    return figure


def _check_norms(norms_by_model: Mapping[str, Mapping[str, float]]) -> None:
    if not norms_by_model or not all(isinstance(norms, Mapping) and norms for norms in norms_by_model.values()):
        raise ValueError('Norms by model are expected: pass {"concat": gradient_norms(model, …)}, a dict in a dict.')
    for model, norms in norms_by_model.items():
        wrong = [name for name, norm in norms.items() if not 0 <= norm < math.inf]
        if wrong:
            raise ValueError(
                f"{model}: the norm of {wrong[0]} is {norms[wrong[0]]}, no finite number from 0 on. The loss has "
                "diverged: look at it, and at the learning rate."
            )


def _by_block(norms: Mapping[str, float]) -> dict[str, dict[str, float]]:
    blocks: dict[str, dict[str, float]] = {}
    for name, norm in norms.items():
        first, second, *_ = [*name.split("."), ""]
        listed = second.isdigit() and first != "head"  # a head of several layers is one block
        blocks.setdefault(f"{first}.{second}" if listed else first, {})[name] = float(norm)
    return blocks


def _merged_blocks(orders) -> list[str]:
    """The blocks of all models in the order of depth."""
    merged: list[str] = []
    for order in orders:
        position = 0
        for block in order:
            if block in merged:
                position = merged.index(block) + 1
            else:  # right behind what comes before it in its own model
                merged.insert(position, block)
                position += 1
    runs = [list(run) for _, run in groupby(merged, key=lambda block: "." in block)]
    lists = [run for run in runs if "." in run[0]]
    for run in lists[1:]:  # behind the bottleneck; the encoder's own order is its depth
        run.sort(key=lambda block: int(block.split(".")[1]))
    return [block for run in runs for block in run]


def _drawn(norms: Mapping[str, float]) -> list[float]:
    """The norm over a whole block, then those of its weights."""
    # Biases in front of a BatchNorm have no gradient but rounding errors, which would stretch the scale.
    return [math.hypot(*norms.values()), *(norm for name, norm in norms.items() if not name.endswith("bias"))]


def _split_points(points) -> tuple[list[float], list[float]]:
    points = list(points)
    return [x for x, _ in points], [y for _, y in points]


def _draw_flow(axes: Axes, by_block: dict, blocks: list[str], foot: float, style: dict, model: str) -> None:
    dots, line = [], []
    for position, block in enumerate(blocks):
        norms = by_block.get(block)
        if norms is None:
            continue
        whole, *weights = _drawn(norms)
        line.append((position, whole))
        places = np.linspace(-0.3, 0.3, len(weights)) if len(weights) > 1 else [0]
        dots += [(position + place, norm) for place, norm in zip(places, weights)]
    axes.plot(*zip(*((x, max(y, foot)) for x, y in line)), **style, markersize=5, lw=1.6, label=model)
    colour = style["color"]
    axes.scatter(*_split_points(p for p in dots if p[1] > 0), s=8, color=colour, alpha=0.45, lw=0)
    axes.scatter(*_split_points((x, foot) for x, y in dots + line if y == 0), s=50, color=colour, marker="x")


# ---------------------------------------------------------------------------------------------- training

NAMES = {
    "loss": "loss", "iou": "IoU", "lr": "learning rate", "dice": "Dice", "boundary_f1": "boundary F1",
    "memory_mb": "peak memory (MB)", "seconds": "seconds an epoch",
}  # fmt: skip
PARTS = {"train": ("training", BLUE, "--"), "val": ("validation", RED, "-"), "": ("", GREY, "-")}


def plot_history(history: Mapping[str, Sequence[float]], title: str | None = None) -> Figure:
    """Plot the learning curves of one run: loss, IoU with its best epoch, learning rate, and whatever else it holds.

    history: lists with one number an epoch, `train_loss`, `val_loss`, `train_iou`, `val_iou`, `lr` and any more
    (`val_dice`, `seconds`); `train_` and `val_` of a quantity share a panel. Lists may be short while training runs.
    Raises ValueError where no list holds a number yet.
    """
    panels = _panels(history)
    columns = min(len(panels), 3)
    rows = math.ceil(len(panels) / columns)
    figure, axes = _subplots(rows, columns, (4.2 * columns, 3.1 * rows))
    best = _best(history.get("val_iou", ()), "iou")
    for cell, (quantity, parts) in zip(axes.flat, panels.items()):
        for part, values in parts.items():
            label, colour, line = PARTS[part]
            _draw_curve(cell, values, label or None, colour, line)
        if best and quantity in ("iou", "loss"):
            cell.axvline(best[0], color=GREY, lw=1, ls=":", zorder=1)
        if best and quantity == "iou":
            cell.plot(*best, "*", color=RED, ms=13, mec="white", label=f"best {best[1]:.3f}, epoch {best[0]}", ls="")
        _dress(cell, quantity, list(parts.values()))
    for cell in axes.flat[len(panels) :]:
        cell.set_visible(False)
    if title:
        figure.suptitle(title, fontsize=12)
    return figure


def compare_histories(
    histories: Mapping[str, Mapping[str, Sequence[float]]], key: str = "val_iou", title: str | None = None
) -> Figure:
    """Plot one curve of several runs together, with the best epoch of each where there is a best.

    histories: name of the run → its history, as in `plot_history`. key: which list, for example "val_loss".
    The best of a loss is its least value, of other scores the largest; learning rate, time and memory have none.
    Raises ValueError for no histories and for a key that one of them lacks.
    """
    if not isinstance(histories, Mapping) or not all(isinstance(each, Mapping) for each in histories.values()):
        raise ValueError('Histories by name are expected, for example {"dice": history, "focal": other_history}.')
    lacking = [name for name, history in histories.items() if not len(history.get(key, ()))]
    if not histories or lacking:
        held = ", ".join(dict.fromkeys(name for history in histories.values() for name in history))
        raise ValueError(f"No {key!r} in {lacking or 'no histories'}: they hold {held or 'nothing yet'}.")
    figure, ((axes,),) = _subplots(1, 1, (9, max(4, 0.7 + 0.2 * len(histories))))  # the legend is a column of names
    quantity = _split(key)[1]
    for position, (name, history) in enumerate(histories.items()):
        colour, line = SERIES[position % 7], LINES[position // 7 % 3]
        best = _best(history[key], quantity)
        label = f"{_short(name)}: best {best[1]:.3f}, epoch {best[0]}" if best else _short(name)
        _draw_curve(axes, history[key], label, colour, line)
        if best:
            axes.plot(*best, "*", color=colour, ms=13, mec="white", zorder=3)
    _dress(axes, quantity, [history[key] for history in histories.values()])
    axes.get_legend().remove()  # many runs leave no free corner
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    axes.set_title("")
    figure.suptitle(title or f"{PARTS[_split(key)[0]][0]} {NAMES.get(quantity, quantity)}".strip(), fontsize=12)
    return figure


def plot_scores(scores: Mapping[str, tuple[float, float]], label: str, title: str | None = None) -> Figure:
    """Plot one score of several runs as points with their spread, the best at the top.

    scores: name of the run → (mean, standard deviation over seeds; 0 where there is one seed). label: the score's name.
    Raises ValueError for no scores.
    """
    if not scores:
        raise ValueError("No scores: at least one run is needed.")
    ordered = sorted(scores.items(), key=lambda item: item[1][0])
    figure, ((axes,),) = _subplots(1, 1, (7, 0.8 + 0.38 * len(ordered)))
    places = range(len(ordered))
    means, spreads = [value[0] for _, value in ordered], [value[1] for _, value in ordered]
    axes.errorbar(means, places, xerr=spreads, fmt="o", color=BLUE, capsize=4, lw=1.6)
    axes.set_yticks(places, [_short(name) for name, _ in ordered])
    axes.set(xlabel=label, ylim=(-0.6, len(ordered) - 0.4))
    axes.grid(axis="x", color="#DDDDDD", lw=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    if title:  # over the names too: an axes' title is centred over the points alone
        figure.suptitle(textwrap.fill(title, 70), fontsize=12)
    return figure


def _short(name: str) -> str:
    """A long name with its middle left out: beside curves and points it would take their room."""
    return name if len(name) <= 42 else f"{name[:26]} … {name[-13:]}"


def _split(key: str) -> tuple[str, str]:
    """`val_iou` as `("val", "iou")`, `lr` as `("", "lr")`."""
    part, _, quantity = key.partition("_")
    return (part, quantity) if part in ("train", "val") and quantity else ("", key)


def _panels(history: Mapping[str, Sequence[float]]) -> dict[str, dict[str, list[float]]]:
    """quantity → part → numbers, loss, IoU and learning rate first."""
    panels: dict[str, dict[str, list[float]]] = {"loss": {}, "iou": {}, "lr": {}}
    for key, values in history.items() if isinstance(history, Mapping) else ():
        if isinstance(values, (list, tuple, np.ndarray, Tensor)) and len(values):
            part, quantity = _split(key)
            panels.setdefault(quantity, {})[part] = [float(value) for value in values]
    panels = {quantity: parts for quantity, parts in panels.items() if parts}
    if not panels:
        raise ValueError("No numbers in the history: pass train_model's dict of lists, after the first epoch or later.")
    return panels


def _best(values: Sequence[float], quantity: str) -> tuple[int, float] | None:
    """Epoch, counted from 1, and value of the best entry; None where there is none."""
    finite = {epoch: float(value) for epoch, value in enumerate(values, start=1) if math.isfinite(value)}
    if not finite or quantity in ("lr", "seconds", "memory_mb"):
        return None
    epoch = (min if "loss" in quantity else max)(finite, key=finite.get)
    return epoch, finite[epoch]


def _draw_curve(axes: Axes, values: Sequence[float], label: str | None, colour: str, line: str) -> None:
    values = np.array([float(value) for value in values])
    shown = np.where(np.isfinite(values), values, np.nan)  # a gap where the run diverged
    # A line of one point would not be seen.
    marker = "o" if len(values) <= 12 or np.isfinite(values).sum() <= 2 else None
    axes.plot(range(1, len(values) + 1), shown, color=colour, ls=line, marker=marker, ms=3.5, lw=1.8, label=label)
    if not np.isfinite(values).all():
        first = int(np.argmin(np.isfinite(values))) + 1
        axes.plot([], [], "x", color=colour, label=f"not finite from epoch {first}")


def _dress(axes: Axes, quantity: str, curves: list[Sequence[float]]) -> None:
    longest = max(len(curve) for curve in curves)
    axes.set(xlabel="epoch", title=NAMES.get(quantity, quantity.replace("_", " ")))
    axes.set_xlim(1 - 0.03 * longest, longest * 1.03) if longest > 1 else axes.set_xlim(0.5, 1.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    positive = [float(value) for curve in curves for value in curve if 0 < value < math.inf]
    if quantity == "lr" and positive:
        axes.set(yscale="log", ylim=(min(positive) / 2, max(positive) * 2))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(positive) < 100 * min(positive) else (1,)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=9)


def plot_focal(gammas: Sequence[float] = (0, 1, 2, 5)) -> Figure:
    """Plot the focal loss of one pixel, and the weight it leaves to it, against the probability of the right class.

    gammas: exponents of 0 or more; 0 is the binary cross-entropy. Raises ValueError for none and for negative ones.
    Source: Lin, Goyal, Girshick, He, Dollár: Focal Loss for Dense Object Detection, ICCV 2017, figure 1; no α here.
    """
    if not len(gammas) or not min(gammas) >= 0:
        raise ValueError(f"gammas={gammas}: one exponent or more, each of 0 or more, for example (0, 1, 2, 5).")
    right = np.linspace(0.01, 0.995, 400)  # at 0 the loss is infinite
    figure, ((left, weights),) = _subplots(1, 2, (9.5, 3.6))
    for position, gamma in enumerate(gammas):
        weight = (1 - right) ** gamma
        style = {"color": SERIES[position % 7], "ls": LINES[position // 7 % 3], "lw": 2}
        label = f"γ = {gamma:g}" + (", cross-entropy" if gamma == 0 else "")
        left.plot(right, -weight * np.log(right), label=label, **style)
        weights.plot(right, weight, **style)
    left.set(ylim=(0, 4.6), ylabel="loss of the pixel", title="(1 − p)$^γ$ · (−log p)")
    weights.set(yscale="log", ylim=(1e-5, 2), ylabel="share of the cross-entropy left", title="(1 − p)$^γ$")
    for axes in (left, weights):
        axes.axvspan(0.5, 1, color="0.95", zorder=0)
        axes.set(xlim=(0, 1), xlabel="probability p of the right class")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="0.88")
    weights.text(0.75, 1.1, "pixel is right", ha="center", va="bottom", fontsize=9)
    left.legend(frameon=False, fontsize=9)
    return figure


# ---------------------------------------------------------------------------------------------- tables


class ResultsTable:
    """A table of texts that a notebook shows as HTML and `print` as plain text; made by `results_table`.

    columns: headings. cells: rows of (text, is it the best of its column).
    """

    def __init__(self, columns: list[str], cells: list[list[tuple[str, bool]]], numeric: list[bool]):
        self.columns, self.cells, self.numeric = columns, cells, numeric

    def _repr_html_(self) -> str:
        sides = [f'style="text-align: {"right" if number else "left"}"' for number in self.numeric]
        head = "".join(f"<th {side}>{html.escape(name)}</th>" for side, name in zip(sides, self.columns))
        body = ""
        for row in self.cells:
            texts = (f"<b>{html.escape(text)}</b>" if best else html.escape(text) for text, best in row)
            body += "<tr>" + "".join(f"<td {side}>{text}</td>" for side, text in zip(sides, texts)) + "</tr>\n"
        return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"

    def __repr__(self) -> str:
        stars = [any(best for _, best in column) for column in zip(*self.cells)]  # others in the column get a space
        lines = [[text + (" *"[best] if star else "") for (text, best), star in zip(row, stars)] for row in self.cells]
        lines.insert(0, [name + " " * star for name, star in zip(self.columns, stars)])
        widths = [max(map(len, column)) for column in zip(*lines)]
        sides = [f"{'>' if number else '<'}{width}" for number, width in zip(self.numeric, widths)]
        aligned = ["  ".join(map(format, line, sides)).rstrip() for line in lines]
        return "\n".join([*aligned, *["* best of its column"] * any(stars)])


def results_table(
    rows: Sequence[Mapping[str, object]],
    columns: Sequence[str] | None = None,
    precision: int = 3,
    best: Mapping[str, Callable] | None = None,
) -> ResultsTable:
    """Lay results out as a table, one dict a row, the best value of chosen columns in bold.

    rows: column → value; numbers, one-element tensors and anything that str() shows; a missing value is a dash.
    columns: which and in which order; all that occur unless said. precision: decimals of fractions.
    best: column → max or min, for example {"val_iou": max, "forward_ms": min}; equal bests are all bold.
    Raises ValueError for rows that are no dicts and for columns that no row has.
    """
    if isinstance(rows, Mapping) or not rows or not all(isinstance(row, Mapping) for row in rows):
        raise ValueError('rows: a list of one dict or more is expected, for example [{"name": "add", "val_iou": 0.8}].')
    found = list(dict.fromkeys(name for row in rows for name in row))
    columns, best = list(found if columns is None else columns), dict(best or {})
    unknown = [name for name in (*columns, *best) if name not in found]
    if unknown or not columns:
        raise ValueError(f"columns or best name {unknown}, which no row has: the rows have {found}.")
    values = {name: [_plain(row.get(name)) for row in rows] for name in columns}
    winners = {}
    for name, choose in best.items():
        numbers = [value for value in values.get(name, ()) if _is_number(value) and not math.isnan(value)]
        winners[name] = choose(numbers) if numbers else None
    cells = [
        [(_as_text(values[name][i], precision), _is_number(values[name][i]) and values[name][i] == winners.get(name))
         for name in columns]
        for i in range(len(rows))
    ]  # fmt: skip
    numeric = [all(value is None or _is_number(value) for value in values[name]) for name in columns]
    return ResultsTable([str(name) for name in columns], cells, numeric)


def _plain(value: object) -> object:
    """A number out of a one-element tensor or array."""
    return value.item() if hasattr(value, "item") and math.prod(np.shape(value)) == 1 else value


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _as_text(value: object, precision: int) -> str:
    if value is None:
        return "–"
    if isinstance(value, float) and math.isfinite(value):
        tiny = 0 < abs(value) < 0.5 * 10**-precision  # would read as 0
        return f"{value:.{max(precision - 1, 0)}e}" if tiny else f"{value:,.{precision}f}"
    return f"{value:,}" if _is_number(value) else str(value)


# ---------------------------------------------------------------------------------------------- slider


def threshold_slider(images: Tensor, masks: Tensor, logits: Tensor, index: int = 0):
    """A slider over the threshold, with the prediction, its IoU, Dice and boundary F1 following it.

    images: `(B, 3, H, W)` in [0, 1]. masks: `(B, 1, H, W)` of 0 and 1. logits: `(B, 1, H, W)`, raw.
    index: the picture shown first. Returns an ipywidgets VBox of: slider of the threshold, slider of the picture,
    scores (HTML), picture (PNG). Needs a notebook to be moved; elsewhere it stands still.
    Raises ValueError for what `show_predictions` refuses and for an index outside the batch.
    """
    import ipywidgets as widgets  # here alone: the other figures need no notebook

    _check(images, masks=masks, logits=logits)
    if not 0 <= index < len(images):
        raise ValueError(f"index={index}: there are {len(images)} pictures, so 0 to {len(images) - 1}.")
    images, masks, logits = (part.detach().cpu() for part in (images, masks, logits))
    binarize(logits)  # says so here if there are NaN: an error while sliding would be lost in the notebook's log
    wide = {"layout": widgets.Layout(width="420px"), "style": {"description_width": "80px"}}
    threshold = widgets.FloatSlider(value=0.5, min=0, max=1, step=0.01, description="threshold", **wide)
    picture = widgets.IntSlider(
        value=index, min=0, max=len(images) - 1, description="picture", disabled=len(images) == 1, **wide
    )
    scores, view = widgets.HTML(), widgets.Image(format="png")

    def follow(_change=None):
        i = slice(picture.value, picture.value + 1)
        scores.value = _scores(masks[i], binarize(logits[i], threshold.value))
        view.value = _outcome_png(images[i], masks[i], logits[i], threshold.value)

    for slider in (threshold, picture):
        slider.observe(follow, names="value")
    follow()
    return widgets.VBox([threshold, picture, scores, view])


def _scores(mask: Tensor, predicted: Tensor) -> str:
    scores = {"IoU": iou(predicted, mask), "Dice": dice(predicted, mask), "boundary F1": boundary_f1(predicted, mask)}
    shares = f"pet {predicted.mean():.0%} of the picture, {mask.float().mean():.0%} in the mask"
    return " · ".join([*(f"{name} <b>{float(score):.3f}</b>" for name, score in scores.items()), shares])


def _outcome_png(image: Tensor, mask: Tensor, logits: Tensor, threshold: float) -> bytes:
    figure, axes = _grid(1, 3, key_height=0.5)
    axes[0, 0].imshow(_pixels(image[0]))
    axes[0, 1].imshow(torch.sigmoid(logits[0, 0].float()).numpy(), cmap="gray", vmin=0, vmax=1)
    _show_outcome(axes[0, 2], image[0], mask[0], logits[0], threshold)
    for cell, name in zip(axes[0], ("picture", "probability of pet", f"above {threshold:.2f}")):
        cell.set_title(name, fontsize=10)
    _outcome_key(figure)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=100)
    return data.getvalue()


def attention_viewer(images: Tensor, maps: Mapping[str, Tensor], index: int = 0):
    """Sliders over the attention of a network: which picture, which gate, how opaque, and from which α on.

    images: `(B, 3, H, W)` in [0, 1]. maps: name of a gate → `(B, 1, h, w)` in [0, 1], shown bilinear at H × W.
    index: the picture shown first. Returns an ipywidgets VBox of: picture, gate, opacity, threshold, own colours, range (HTML),
    picture (PNG). Needs a notebook to be moved; elsewhere it stands still.
    Raises ValueError for no maps, values outside [0, 1], other numbers of maps than of pictures, and an index outside the batch.
    """
    import ipywidgets as widgets  # here alone: the other figures need no notebook

    _check(images)
    if not maps or not 0 <= index < len(images):
        raise ValueError(f"{len(maps)} gates and picture {index} of {len(images)}: one gate or more, and one of the pictures.")
    if wrong := [name for name, alpha in maps.items() if len(alpha) != len(images)]:
        raise ValueError(f"{wrong[0]} has {len(maps[wrong[0]])} maps for {len(images)} pictures: one map a picture is expected.")
    images = images.detach().cpu()
    alphas = {name: [_attention_map(alpha[i : i + 1]) for i in range(len(images))] for name, alpha in maps.items()}
    wide = {"layout": widgets.Layout(width="420px"), "style": {"description_width": "80px"}}
    picture = widgets.IntSlider(
        value=index, min=0, max=len(images) - 1, description="picture", disabled=len(images) == 1, **wide
    )
    gate = widgets.Dropdown(options=list(alphas), description="gate", **wide)
    opacity = widgets.FloatSlider(value=0.6, min=0, max=1, step=0.05, description="opacity", **wide)
    threshold = widgets.FloatSlider(value=0, min=0, max=1, step=0.01, description="α at least", **wide)
    own_scale = widgets.Checkbox(value=False, description="colours from this map's least to its largest α", indent=False)
    span, view = widgets.HTML(), widgets.Image(format="png")

    def follow(_change=None):
        alpha = alphas[gate.value][picture.value]
        above = float((alpha >= threshold.value).float().mean())
        span.value = f"α from <b>{float(alpha.min()):.3f}</b> to <b>{float(alpha.max()):.3f}</b>, {above:.0%} of the positions shown"
        view.value = _attention_png(images[picture.value], alpha, opacity.value, threshold.value, own_scale.value)

    for control in (picture, gate, opacity, threshold, own_scale):
        control.observe(follow, names="value")
    follow()
    return widgets.VBox([picture, gate, opacity, threshold, own_scale, span, view])


def _attention_png(image: Tensor, alpha: Tensor, opacity: float, threshold: float, own_scale: bool) -> bytes:
    grey = _pixels(image).mean(-1)
    large = F.interpolate(alpha, grey.shape, mode="bilinear", align_corners=False)[0, 0].numpy()
    figure, axes = _grid(1, 2)
    axes[0, 0].imshow(_pixels(image))
    axes[0, 1].imshow(grey, cmap="gray", vmin=-0.5, vmax=1)  # lightened: dark fur would hide the colours
    limits = {"vmin": float(alpha.min()), "vmax": float(alpha.max())} if own_scale else {"vmin": 0, "vmax": 1}
    shown = axes[0, 1].imshow(np.ma.masked_less(large, threshold), cmap="viridis", alpha=opacity, **limits)
    figure.colorbar(shown, ax=axes[0, 1], shrink=0.85, label="α")
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=100)
    return data.getvalue()


# ---------------------------------------------------------------------------------------------- shared


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
    figure, axes = _subplots(rows, columns, size)
    for cell in axes.flat:
        cell.set(xticks=[], yticks=[])
        cell.spines[:].set_visible(False)
    return figure, axes


def _name_rows(axes: np.ndarray, names: Sequence[str]) -> None:
    for cell, name in zip(axes[:, 0], names):
        cell.set_ylabel(name, fontsize=10)


def _subplots(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, np.ndarray]:
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    # pyplot would show an open figure once more than the cell that returns it, and a half-drawn one after an error.
    plt.close(figure)
    return figure, axes
