"""`unetlab predict`: masks for pictures, by the network of a run's folder, whole or by sliding window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from data_utils import CLASSES
from training import folder as files
from training.loop import device_of, half
from training.models import build, without_download, written
from training.scores import mirrored
from training.settings import Settings

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
OURS = ("_mask.png", "_beside.png")  # what we write, and do not read again


class Trained(NamedTuple):
    """A network of a run's folder: pictures `(B, 3, H, W)` in [0, 1] → float32 logits, with what it was trained for."""

    settings: Settings
    predict: Callable[[Tensor], Tensor]
    device: torch.device
    names: tuple[str, ...]  # of the classes; none for pet against background
    threshold: float


def load(folder: Path, device: str = "auto", mirror: bool = False) -> Trained:
    """The best network of a run's folder, in eval mode.

    mirror: average with the prediction of the mirrored picture.
    Raises FileNotFoundError or ValueError where the folder holds no run, or weights that do not fit its network.
    """
    settings = files.read_settings(folder)
    on = device_of(files.from_dict({"device": device}))
    names, _ = CLASSES.get(settings.data, ((), None))
    network = build(without_download(files.with_own_source(settings, folder)), max(1, len(names)))
    try:
        network.load_state_dict(files.read_tensors(folder / files.BEST))
    except RuntimeError as error:
        raise ValueError(
            f"{folder / files.BEST} does not fit {settings.model}: {str(error).splitlines()[-1].strip()[:200]} "
            "The file is another network's, or the network's code has changed since; train again."
        ) from None
    network = network.to(on, memory_format=torch.channels_last).eval()
    dtype = half(settings, on)

    @torch.no_grad()
    def predict(images: Tensor) -> Tensor:
        images = images.to(on, memory_format=torch.channels_last)
        with torch.autocast(on.type, dtype=dtype, enabled=dtype is not None):
            return network(images).float()

    result = files.read_json(folder / files.RESULT) if (folder / files.RESULT).exists() else {}
    return Trained(settings, mirrored(predict) if mirror or settings.mirror else predict, on, names, result.get("threshold", 0.5))


def find_pictures(paths: Iterable[Path]) -> dict[Path, Path]:
    """The picture files named, and those in the folders named, each with the path under which its results are written.

    Files of one name from several folders keep their folder's. Raises FileNotFoundError for a path that is not there and for
    folders without a picture, ValueError where two would be written to one place.
    """
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        if path.is_file():
            found[path] = Path(path.name)
        elif path.is_dir():
            inside = [each for each in sorted(path.rglob("*")) if each.suffix.lower() in PICTURES and not each.name.endswith(OURS)]
            found |= {each: each.relative_to(path) for each in inside}
        else:
            raise FileNotFoundError(f"{path}: there is no such picture or folder.")
    if not found:
        raise FileNotFoundError(f"{', '.join(map(str, paths))}: no picture in it ({', '.join(PICTURES)}).")
    often = Counter(found.values())
    found = {file: file.resolve().parent.name / name if often[name] > 1 else name for file, name in found.items()}
    often = Counter(found.values())
    same = [str(file) for file, name in found.items() if often[name] > 1]
    if same:
        raise ValueError(f"{', '.join(same)}: the results of these would be written to one place; name a folder that holds them all.")
    stems = Counter(name.with_suffix("") for name in found.values())
    # cat.jpg beside cat.png: both keep their ending
    return {file: name if stems[name.with_suffix("")] > 1 else name.with_suffix("") for file, name in found.items()}


def read_picture(path: Path) -> Tensor:
    """A picture as float32 `(1, 3, H, W)` in [0, 1], turned as its camera says; ValueError where it cannot be read."""
    from PIL import ImageOps

    try:
        with Image.open(path) as picture:
            pixels = np.array(_eight_bits(ImageOps.exif_transpose(picture)).convert("RGB"))
    except Exception as error:  # a damaged file makes PIL raise nearly anything
        raise ValueError(f"{path} cannot be read as a picture ({error}).") from None
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Grey pictures of 16 or 32 bits with 8; PIL by itself makes white of all that is above 255, and black of fractions."""
    if picture.mode[0] not in "IF":
        return picture
    values = np.array(picture).astype(np.float64)
    least, most = values.min(), values.max()
    if picture.mode == "F":
        whole = 1
    else:
        whole = 65535 if picture.mode.startswith("I;16") or most > 255 else 255
    if not (0 <= least and most <= whole):
        raise ValueError(f"values from {least:g} to {most:g}, where 0 to {whole} are expected: save it with 8 or 16 bits")
    return Image.fromarray((values / whole * 255).round().astype(np.uint8))


def logits_of(trained: Trained, image: Tensor, window: tuple[int, int] | None = None, overlap: float = 0.5, blend: str = "gaussian") -> Tensor:
    """Logits `(1, K, H, W)` of a picture `(1, 3, H, W)` at its own size.

    Without a window the picture is resized to the size that the network was trained on, and the logits back; with one, windows
    of that size slide over the picture as it is, and what overlaps is blended.
    """
    if window:
        slide = written("sliding_window_inference")
        try:
            return slide(trained.predict, image.to(trained.device), window, overlap, blend).cpu()
        except NotImplementedError as error:
            raise ValueError(f"A window slides by what you write in the bonus notebook, which is not written yet: {error}") from None
    resize = {"mode": "bilinear", "align_corners": False}
    small = F.interpolate(image, trained.settings.height_width, antialias=True, **resize)
    return F.interpolate(trained.predict(small).cpu(), image.shape[-2:], **resize)


def predict_files(
    trained: Trained,
    paths: Iterable[Path],
    out: Path,
    *,
    window: tuple[int, int] | None = None,
    overlap: float = 0.5,
    blend: str = "gaussian",
    threshold: float | None = None,
) -> Iterator[tuple[Path, dict | ValueError]]:
    """Write `NAME_mask.png` and `NAME_beside.png` for each picture; yields each file with what was found, or what is wrong with it.

    Masks are 0 and 255, or class numbers. threshold: a probability; that of the run (chosen on its validation pictures) unless said.
    """
    threshold = trained.threshold if threshold is None else threshold
    files.see_that_folder(out)
    if window:
        _see_that_window_fits(trained, window)
    for path, name in find_pictures(paths).items():
        try:
            image = read_picture(path)
        except ValueError as problem:
            yield path, problem
            continue
        logits = logits_of(trained, image, window, overlap, blend)
        target = out / name.parent / name.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not trained.names:
            mask = (logits.sigmoid() > threshold)[0, 0].numpy()
            found = {"foreground": float(mask.mean())}
            values, shown = mask.astype(np.uint8) * 255, _overlay(image, mask)
        else:
            values, found, shown = _classes(logits, trained.names)
        Image.fromarray(values).save(f"{target}_mask.png")
        pixels = (image[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        Image.fromarray(np.concatenate([pixels, shown], axis=1)).save(f"{target}_beside.png")
        yield path, found


def _see_that_window_fits(trained: Trained, window: tuple[int, int]) -> None:
    try:
        trained.predict(torch.zeros(1, 3, *window))
    except (RuntimeError, ValueError) as error:
        size, cause = "x".join(map(str, window)), str(error).splitlines()[0][:160]
        raise ValueError(f"--window {size}: {trained.settings.model} cannot take so few pixels ({cause}); take a larger one.") from None


def _overlay(image: Tensor, mask: np.ndarray) -> np.ndarray:
    """The picture, dark where nothing was found; uint8 `(H, W, 3)`."""
    pixels = image[0].permute(1, 2, 0).numpy()
    return (pixels * np.where(mask, 1.0, 0.25)[..., None] * 255).round().astype(np.uint8)


def _classes(logits: Tensor, names: tuple[str, ...]) -> tuple[np.ndarray, dict, np.ndarray]:
    from viz import SEGNET_COLOURS

    labels = logits.argmax(1)[0].numpy()
    shares = {name: float((labels == number).mean()) for number, name in enumerate(names)}
    palette = (np.array(SEGNET_COLOURS) * 255).round().astype(np.uint8)
    return labels.astype(np.uint8), {name: share for name, share in shares.items() if share}, palette[labels]
