"""The lab's own pictures: drawn animals in varied shapes and coats on cluttered ground, made in memory.

Students meet them through `data_utils`. Bodies are smooth unions of round cones (after Quilez's signed distances).
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

# Pictures are drawn this many at a time, one random stream a group: groups are always drawn whole,
# so that picture i does not depend on how many are asked for.
GROUP = 32

FUR = torch.tensor(
    [
        [0.55, 0.38, 0.24], [0.36, 0.25, 0.18], [0.78, 0.58, 0.36], [0.85, 0.78, 0.66],
        [0.45, 0.44, 0.44], [0.20, 0.19, 0.20], [0.88, 0.86, 0.84], [0.72, 0.45, 0.22],
    ]
)  # fmt: skip
SURROUNDINGS = torch.tensor(
    [
        [0.35, 0.48, 0.22], [0.52, 0.58, 0.36], [0.58, 0.44, 0.32], [0.40, 0.28, 0.20],
        [0.72, 0.68, 0.62], [0.50, 0.50, 0.52], [0.30, 0.36, 0.46], [0.80, 0.72, 0.58],
        [0.56, 0.30, 0.28], [0.24, 0.25, 0.24],
    ]
)  # fmt: skip


PART_CLASSES = ("background", "legs", "tail", "body", "head")
LAYERS = torch.tensor([1, 2, 3, 1, 4, 4], dtype=torch.uint8)  # class of what `_limbs` lays over each other, back to front


class SyntheticPets(Dataset):
    """Drawn animals of varied shape, pose, scale and coat on cluttered ground, made in memory without any download.

    Item: image float32 `(3, size, size)` in [0, 1], mask float32 `(1, size, size)` of 0 and 1.
    Picture i depends on seed, size and i only, not on count; two sizes show the same scene apart from the grain.
    Bodies are smooth unions of round cones (after Quilez's signed distances). Within a picture the coat stands off
    from the ground; but any colour of fur is ground in other pictures, and some clutter wears the coat's colours, so
    that the animal has to be found by its shape and cannot be read off the colour.
    Raises ValueError for a negative count or seed and for a size below 8.
    """

    def __init__(self, count: int, size: int = 64, seed: int = 0):
        self.images, parts = _draw(count, size, seed)
        self.masks = parts[:, None] > 0  # bool (count, 1, size, size)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index].float() / 255, self.masks[index].float()


class SyntheticParts(Dataset):
    """The pictures of `SyntheticPets` with five classes, `PART_CLASSES`: background, and what is in front of it.

    Item: image as there, class numbers int64 `(size, size)`; above 0 exactly where that mask is 1.
    Raises ValueError as `SyntheticPets` does.
    """

    mask_dtype = torch.int64

    def __init__(self, count: int, size: int = 64, seed: int = 0):
        self.images, self.masks = _draw(count, size, seed)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index].float() / 255, self.masks[index].long()


def _draw(count: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images uint8 `(count, 3, size, size)` and their parts uint8 `(count, size, size)`."""
    if count < 0 or seed < 0 or size < 8:
        raise ValueError(
            f"count={count}, size={size}, seed={seed}: count and seed start at 0, size at 8 pixels; "
            "give for example SyntheticPets(1000, size=64, seed=0)."
        )
    images = torch.empty(count, 3, size, size, dtype=torch.uint8)
    parts = torch.empty(count, size, size, dtype=torch.uint8)
    # Hundreds of small steps: a second thread gains nothing, and on a busy machine each step waits for it.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for start in range(0, count, GROUP):
            drawn, labels = _draw_group(size, seed, start // GROUP)
            images[start : start + GROUP] = drawn[: count - start]
            parts[start : start + GROUP] = labels[: count - start]
    finally:
        torch.set_num_threads(threads)
    return images, parts


class _Dice:
    """Random numbers for one group of pictures, as float32 tensors with GROUP rows."""

    def __init__(self, seed: int, group: int):
        # The group first: a seed above 2^32 fills two words, and [seed, group] would then repeat a smaller seed's stream.
        self.rng = np.random.default_rng([group, seed])

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return torch.from_numpy(self.rng.random((GROUP, *shape), dtype=np.float32)) * (high - low) + low

    def chance(self, probability: float, *shape: int) -> Tensor:
        return self.uniform(0, 1, *shape) < probability

    def colour(self, palette: Tensor) -> Tensor:  # (GROUP, 3)
        chosen = palette[torch.from_numpy(self.rng.integers(len(palette), size=GROUP))]
        return chosen + self.uniform(-0.04, 0.04, 3) + self.uniform(-0.06, 0.06, 1)

    def unlike(self, colours: Tensor) -> Tensor:  # (GROUP, 3)
        """A colour of fur or surroundings that stands off from all of `(n, GROUP, 3)`: the best of six."""
        drawn = torch.stack([self.colour(torch.cat([FUR, SURROUNDINGS])) for _ in range(6)])
        contrast = (drawn[:, None] - colours).norm(dim=3).amin(1)  # to the nearest of them, (6, GROUP)
        return drawn[contrast.argmax(0), torch.arange(GROUP)]

    def cloud(self, cells: int, size: int, channels: int = 1) -> Tensor:  # (GROUP, channels, size, size)
        """Smooth noise of unit variance at its nodes, `cells` nodes a side, the same scene at every size."""
        nodes = self.rng.standard_normal((GROUP, channels, cells, cells), dtype=np.float32)
        spread = F.interpolate(torch.eye(cells)[None], size=size, mode="linear")[0].T  # (size, cells)
        return spread @ torch.from_numpy(nodes) @ spread.T


class _Canvas:
    """Pixel centres in [-1, 1], y upwards; distances are `(GROUP, size, size)`, negative inside."""

    def __init__(self, size: int):
        centres = (torch.arange(size) + 0.5) * (2 / size) - 1
        self.size, self.pixel = size, 2 / size
        self.x, self.y = centres[None, None, :], -centres[None, :, None]

    def along(self, angle: Tensor, x: Tensor | float = 0.0, y: Tensor | float = 0.0) -> Tensor:
        """Coordinate along a direction, zero at (x, y); split in x and y so that one full-size sum is enough."""
        cos, sin = torch.cos(angle), torch.sin(angle)
        return _rows(cos) * self.x + (_rows(sin) * self.y - _rows(cos * x + sin * y))

    def cone(self, ax, ay, bx, by, ra, rb) -> Tensor:
        """Distance to a line from a to b that is ra thick at a and rb at b."""
        length = torch.hypot(bx - ax, by - ay).clamp_min(1e-4)
        angle = torch.atan2(by - ay, bx - ax)
        u, v = self.along(angle, ax, ay), self.along(angle + math.pi / 2, ax, ay)
        on_line = torch.minimum(u.clamp_min(0), _rows(length))
        return torch.hypot(u - on_line, v).sub_(_rows(ra)).addcmul_(on_line, _rows((ra - rb) / length))

    def cover(self, distance: Tensor) -> Tensor:
        """How much of each pixel lies inside, 0 to 1: a soft edge one pixel wide."""
        return (0.5 - distance / self.pixel).clamp_(0, 1)


def _rows(values: Tensor) -> Tensor:
    return values[:, None, None]


def _smooth_union(a: Tensor, b: Tensor, k: Tensor) -> Tensor:
    """Union of two shapes with a fillet of width k, `(GROUP, 1, 1)`: Quilez's polynomial smooth minimum."""
    overlap = (k - (a - b).abs()).clamp_min_(0)
    return torch.minimum(a, b).sub_(overlap.square_().div_(4 * k))


def _draw_group(size: int, seed: int, group: int) -> tuple[Tensor, Tensor]:
    """GROUP pictures: images uint8 `(GROUP, 3, size, size)` and their parts uint8 `(GROUP, size, size)`."""
    dice, canvas = _Dice(seed, group), _Canvas(size)
    frame = _frame(dice)
    layers = [_draw_layer(canvas, _place(cones, frame), frame) for cones in _limbs(dice, frame)]
    outline = layers[0]
    for layer in layers[1:]:
        outline = _smooth_union(outline, layer, _rows(0.10 * frame["scale"]))
    outline += _rows(dice.uniform(0.005, 0.02)) * dice.cloud(34, size)[:, 0]  # ragged fur
    coat = torch.stack([dice.colour(FUR), dice.colour(FUR)])  # (2, GROUP, 3)
    animal = _animal(canvas, dice, layers, frame, coat)
    ground = _ground(canvas, dice, coat)
    image = _light(canvas, dice, ground.lerp_(animal, canvas.cover(outline)[:, None]))
    return (image.clamp_(0, 1) * 255).round_().to(torch.uint8), _parts(layers, outline)


def _parts(layers: list[Tensor], outline: Tensor) -> Tensor:
    """Class of the foremost layer at each pixel of the animal; in fillets and ragged fur, of the nearest one."""
    parts = LAYERS[torch.stack(layers).argmin(0)]
    for layer, part in zip(layers, LAYERS):
        parts = torch.where(layer < 0, part, parts)
    return parts * (outline < 0)


def _frame(dice: _Dice) -> dict[str, Tensor]:
    """Where the animal stands in the picture and how it is turned; `(GROUP,)` each."""
    kind = dice.uniform(0, 1)
    return {
        "sits": (kind > 0.45) & (kind < 0.75),
        "lies": kind >= 0.75,
        "turn": dice.uniform(0.25, 1.0),  # 1: seen from the side; less: turned towards the viewer, foreshortened
        "mirror": torch.where(dice.chance(0.5), 1.0, -1.0),
        "tilt": dice.uniform(-0.3, 0.3),
        "scale": dice.uniform(0.5, 0.78),
        "x": dice.uniform(-0.25, 0.25),
        "y": dice.uniform(-0.25, 0.05),
    }


def _place(cones: list, frame: dict[str, Tensor]) -> list:
    """Cones in the animal's own units, mirrored, tilted, scaled and moved into the picture."""

    def move(x, y):
        cos, sin, x = torch.cos(frame["tilt"]), torch.sin(frame["tilt"]), x * frame["mirror"]
        return (cos * x - sin * y) * frame["scale"] + frame["x"], (sin * x + cos * y) * frame["scale"] + frame["y"]

    return [
        (*move(ax, ay), *move(bx, by), ra * frame["scale"], rb * frame["scale"]) for ax, ay, bx, by, ra, rb in cones
    ]


def _draw_layer(canvas: _Canvas, cones: list, frame: dict[str, Tensor]) -> Tensor:
    distance = canvas.cone(*cones[0])
    for cone in cones[1:]:
        distance = _smooth_union(distance, canvas.cone(*cone), _rows(0.15 * frame["scale"]))
    return distance


def _limbs(dice: _Dice, frame: dict[str, Tensor]) -> list[list]:
    """Layers from back to front, each a list of cones `(ax, ay, bx, by, ra, rb)`; the animal looks along +x."""
    sits, lies, turn = frame["sits"], frame["lies"], frame["turn"]
    pitch = torch.where(sits, dice.uniform(0.6, 1.1), dice.uniform(-0.1, 0.15))
    half, hip_r, chest_r = dice.uniform(0.6, 1.0), dice.uniform(0.32, 0.46), dice.uniform(0.34, 0.50)
    dx, dy = half * turn * torch.cos(pitch), half * torch.sin(pitch)
    hip, chest = (-dx, -dy), (dx, dy)
    floor = -dy - torch.where(lies, hip_r, torch.where(sits, hip_r, hip_r + dice.uniform(0.5, 1.1)))
    far, near = (
        _leg(dice, *hip, 0.5 * hip_r, floor, frame, front=False) + _leg(dice, *chest, 0.5 * chest_r, floor, frame)
        for _ in range(2)
    )
    neck = dice.uniform(0.5, 1.3)
    neck_length = chest_r * 0.7 + dice.uniform(0.15, 0.5)
    head = chest[0] + neck_length * torch.cos(neck), chest[1] + neck_length * torch.sin(neck)
    head_r = dice.uniform(0.28, 0.42)
    body = [(*hip, *chest, hip_r, chest_r), (*chest, *head, chest_r * 0.7, head_r * 0.7)]
    nod, snout = dice.uniform(-0.6, 0.1), (head_r + dice.uniform(-0.05, 0.3)) * turn
    frame["head"] = torch.stack([*head, head_r])  # for the eyes, (3, GROUP)
    frame["nose"] = torch.stack([head[0] + snout * torch.cos(nod), head[1] + snout * torch.sin(nod) - 0.08])
    face = [(*head, *head, head_r, head_r), (*head, *frame["nose"], head_r * 0.6, head_r * 0.4)]
    return [far, _tail(dice, *hip, hip_r), body, near, _ears(dice, *head, head_r, turn), face]


def _leg(dice: _Dice, x, y, spread, floor, frame, front=True) -> list:
    """Thigh and shank from a joint near (x, y) to the floor, bent at the knee; thin at the foot."""
    x = x + dice.uniform(-0.6, 0.6) * spread
    forward = dice.uniform(0.5, 0.8) * (frame["lies"] if front else frame["lies"] | frame["sits"])
    foot_x = x + (forward + dice.uniform(-0.25, 0.25)) * frame["turn"].clamp_min(0.5)
    thick, thin = dice.uniform(0.10, 0.16), dice.uniform(0.06, 0.09)
    bend = dice.uniform(-0.12, 0.12) + (0.0 if front else 0.15)
    knee = (x + foot_x) / 2 + bend, (y + floor) / 2 + 0.1 * forward
    toe = foot_x + 0.12 * frame["turn"]
    return [
        (x, y, *knee, thick, (thick + thin) / 2),
        (*knee, foot_x, floor, thin, thin),
        (foot_x, floor, toe, floor, thin, thin),
    ]


def _tail(dice: _Dice, x, y, hip_r) -> list:
    angle, curl = dice.uniform(1.9, 4.0), dice.uniform(-0.8, 0.8)
    thick, step = dice.uniform(0.06, 0.13), dice.uniform(0.2, 0.45)
    x, y = x + 0.7 * hip_r * torch.cos(angle), y + 0.7 * hip_r * torch.sin(angle)
    cones = []
    for part in range(3):
        end = x + step * torch.cos(angle), y + step * torch.sin(angle)
        cones.append((x, y, *end, thick * (1 - 0.2 * part), thick * (0.8 - 0.2 * part)))
        (x, y), angle = end, angle + curl
    return cones


def _ears(dice: _Dice, x, y, head_r, turn) -> list:
    """Two ears: pointed and upright, or round and hanging."""
    hang, length, cones = dice.chance(0.4), dice.uniform(0.25, 0.6), []
    for side in (-1, 1):
        root = math.pi / 2 - side * dice.uniform(0.35, 0.6) + 0.4 * turn  # further back in side view
        ax, ay = x + 0.85 * head_r * torch.cos(root), y + 0.85 * head_r * torch.sin(root)
        point = torch.where(hang, -math.pi / 2 - side * dice.uniform(-0.7, 0.2), root + dice.uniform(-0.2, 0.2))
        bx, by = ax + length * torch.cos(point), ay + length * torch.sin(point)
        cones.append((ax, ay, bx, by, torch.where(hang, 0.09, 0.16), torch.where(hang, 0.12, 0.02)))
    return cones


def _pattern(canvas: _Canvas, dice: _Dice, angle: Tensor, fine: Tensor) -> Tensor:
    """Plain, striped, spotted or patched, 0 to 1; the same kinds for coats and for the ground."""
    cloud = dice.cloud(7, canvas.size, 2)
    waves = canvas.along(angle) * _rows(dice.uniform(12, 30)) + 2 * cloud[:, 0]
    kind = dice.uniform(0, 4)
    stripes = torch.sin(waves)
    spots = dice.cloud(16, canvas.size)[:, 0] - 0.3
    field = torch.where(_rows(kind < 1), fine, torch.where(_rows(kind < 2), stripes, spots))
    field = torch.where(_rows(kind < 3), field, cloud[:, 1])
    return torch.sigmoid(field * _rows(dice.uniform(1.5, 8)))


def _animal(canvas: _Canvas, dice: _Dice, layers: list[Tensor], frame, coat: Tensor) -> Tensor:
    """The coat over the whole picture, `(GROUP, 3, size, size)`; the caller cuts the animal out of it."""
    fine = dice.cloud(34, canvas.size)[:, 0]
    pattern = _pattern(canvas, dice, frame["tilt"] + dice.uniform(-0.3, 0.3), fine)
    shade = torch.full_like(fine, 0.8)
    for number, layer in enumerate(layers):
        tone = _rows(dice.uniform(0.75, 1.05) - (0.2 if number == 0 else 0.0))  # far legs lie in the dark
        relief = tone * (0.8 + 0.25 * (layer / _rows(-0.3 * frame["scale"])).clamp_(0, 1))
        shade = torch.where(layer < 0, relief, shade)
    colour = coat[0, :, :, None, None].lerp(coat[1, :, :, None, None], pattern[:, None])
    image = colour * (shade + 0.07 * fine)[:, None]
    x, y, r = frame["head"]
    nose_x, nose_y = frame["nose"]
    dots = [(nose_x, nose_y + 0.04, 0.18 * r)]
    for side in (-1, 1):  # the two eyes come apart as the head turns to the viewer
        dots.append((x + (0.45 * frame["turn"] + side * 0.4 * (1.2 - frame["turn"])) * r, y + 0.3 * r, 0.16 * r))
    for dot_x, dot_y, dot_r in dots:
        cover = canvas.cover(canvas.cone(*_place([(dot_x, dot_y, dot_x, dot_y, dot_r, dot_r)], frame)[0]))
        image *= (1 - 0.85 * cover)[:, None]
    return image


def _ground(canvas: _Canvas, dice: _Dice, coat: Tensor) -> Tensor:
    """Wall, floor and clutter, some of it in the animal's own colours, `(GROUP, 3, size, size)`."""
    fine = dice.cloud(34, canvas.size)[:, 0]
    pattern = _pattern(canvas, dice, dice.uniform(0, math.pi), fine)
    # Each stands off from the coat and from the others, some lighter, some darker: one threshold seldom finds the coat.
    colours = coat
    for _ in range(3):
        colours = torch.cat([colours, dice.unlike(colours)[None]])
    wall, floor, other = colours[2:]
    horizon = canvas.along(math.pi / 2 + dice.uniform(-0.2, 0.2)) - _rows(dice.uniform(-0.7, 0.5))
    image = wall[:, :, None, None].lerp(floor[:, :, None, None], canvas.cover(horizon)[:, None])
    image = image.lerp_(other[:, :, None, None], 0.2 * pattern[:, None])
    image *= (1 + 0.10 * fine)[:, None]
    for number in range(3):  # distractors: odd numbers as thin as legs and tails, even ones as thick as bodies
        ax, ay, angle = dice.uniform(-1.1, 1.1), dice.uniform(-1.1, 1.1), dice.uniform(0, math.pi)
        length = dice.uniform(0.1, 1.0)
        thick = dice.uniform(0.02, 0.08) if number % 2 else dice.uniform(0.06, 0.32)
        blob = canvas.cone(ax, ay, ax + length * torch.cos(angle), ay + length * torch.sin(angle), thick, thick * 0.6)
        colour = torch.where(dice.chance(0.25)[:, None], coat[number % 2], dice.unlike(colours[:4]))
        tone = dice.uniform(0.6, 1.1)[:, None, None, None] + 0.3 * (pattern - 0.5)[:, None] + 0.07 * fine[:, None]
        image = image.lerp_(colour[:, :, None, None] * tone, canvas.cover(blob)[:, None])
    return image


def _light(canvas: _Canvas, dice: _Dice, image: Tensor) -> Tensor:
    """A slope of light, soft shadows over all, and the camera's grain."""
    slope = canvas.along(dice.uniform(-math.pi, math.pi)) * _rows(dice.uniform(0.0, 0.25))
    shadow = 0.12 * dice.cloud(4, canvas.size)[:, 0]
    tint = dice.uniform(0.92, 1.08, 3)[:, :, None, None]
    image *= (_rows(dice.uniform(0.9, 1.15)) + slope + shadow)[:, None] * tint
    amount = dice.uniform(0.02, 0.06)[:, None, None, None]
    # The grain comes last: it alone is drawn per pixel, so all before it is the same scene at every size.
    grain = torch.from_numpy(dice.rng.random(image.shape, dtype=np.float32))
    return image.addcmul_(grain.sub_(0.5), amount)
