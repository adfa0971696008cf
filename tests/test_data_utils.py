"""Drawn animals, split, loaders and augmentation; what reads picture files is in test_data_readers.py."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Subset, TensorDataset

import data_utils
from data_utils import (
    AUGMENTATIONS,
    CLASSES,
    Augmented,
    CamVid,
    CarvanaCars,
    DeviceLoader,
    OxfordPets,
    SyntheticParts,
    SyntheticPets,
    augment,
    augment_batch,
    make_loaders,
    split_trainval,
)
from drawn_pets import PART_CLASSES

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_pictures = pytest.mark.skipif(
    not SHARED.is_dir(), reason="real pictures are not in ../shared/data beside the repo (README: For students)"
)
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")),
]


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv("UNETLAB_DATA", raising=False)


def stack(dataset, indices):
    images, masks = zip(*(dataset[i] for i in indices))
    return torch.stack(images), torch.stack(masks)


# --------------------------------------------------------------------------------------------- drawn animals


@settings(deadline=None, max_examples=12)
@given(st.integers(1, 70), st.integers(8, 40), st.integers(0, 2**40), st.data())
def test_drawn_picture_depends_on_seed_size_and_index_only(count, size, seed, data):
    index = data.draw(st.integers(0, count - 1))
    few, many = SyntheticPets(index + 1, size, seed), SyntheticPets(count, size, seed)
    for ours, theirs in zip(few[index], many[index]):
        assert torch.equal(ours, theirs)


@settings(deadline=None, max_examples=10)
@given(st.integers(1, 40), st.integers(8, 70), st.integers(0, 2**40))
def test_drawn_items_have_the_promised_form(count, size, seed):
    pets = SyntheticPets(count, size, seed)
    assert len(pets) == count
    for image, mask in pets:
        assert image.shape == (3, size, size) and image.dtype == torch.float32
        assert mask.shape == (1, size, size) and mask.dtype == torch.float32
        assert 0 <= image.min() and image.max() <= 1
        assert set(mask.unique().tolist()) <= {0.0, 1.0}
    with pytest.raises(IndexError):
        pets[count]


def test_drawn_pictures_vary():
    images, masks = stack(SyntheticPets(200, 32, seed=3), range(200))
    assert len(torch.unique(images.flatten(1), dim=0)) == 200
    assert len(torch.unique(masks.flatten(1), dim=0)) == 200
    other = stack(SyntheticPets(200, 32, seed=4), range(200))[0]
    assert not (images == other).flatten(1).all(1).any()


def test_pets_fill_a_tenth_to_a_half_of_most_pictures():
    share = stack(SyntheticPets(500, 64, seed=0), range(500))[1].mean((1, 2, 3))
    assert share.min() > 0
    assert ((share > 0.1) & (share < 0.5)).float().mean() > 0.85


def test_colour_alone_does_not_give_the_mask():
    # The best threshold on any one channel, either way, picture by picture: far from a solution.
    images, masks = stack(SyntheticPets(100, 64, seed=1), range(100))
    best = torch.zeros(100)
    for channel in range(3):
        for level in torch.linspace(0.1, 0.9, 17):
            dark = images[:, channel : channel + 1] < level
            for guess in (dark, ~dark):
                overlap = (guess & masks.bool()).sum((1, 2, 3)) / (guess | masks.bool()).sum((1, 2, 3))
                best = torch.maximum(best, overlap)
    assert best.mean() < 0.6


def test_outlines_are_fine():
    # A mask squeezed through an 8-fold smaller grid, as deep features without skips are, loses the outline.
    masks = stack(SyntheticPets(100, 64, seed=1), range(100))[1]
    coarse = torch.nn.functional.interpolate(torch.nn.functional.avg_pool2d(masks, 8), scale_factor=8, mode="bilinear")
    guess, true = coarse > 0.5, masks.bool()
    assert (guess & true).sum() / (guess | true).sum() < 0.85


def test_sizes_show_the_same_scene():
    small = stack(SyntheticPets(20, 48, seed=5), range(20))[1]
    large = stack(SyntheticPets(20, 96, seed=5), range(20))[1]
    shrunk = torch.nn.functional.avg_pool2d(large, 2) >= 0.5
    assert (shrunk == small.bool()).float().mean() > 0.97


def test_parts_are_the_mask_in_more_classes():
    pets, parts = SyntheticPets(70, 48, seed=2), SyntheticParts(70, 48, seed=2)
    for (image, mask), (same, labels) in zip(pets, parts):
        assert torch.equal(image, same) and labels.dtype == torch.int64
        assert torch.equal(labels[None] > 0, mask.bool())
    shares = torch.bincount(parts.masks.flatten().long(), minlength=5) / parts.masks.numel()
    assert len(shares) == len(PART_CLASSES) and shares.min() > 0.003  # each part is seen often enough to be learned
    heads = torch.stack([labels == PART_CLASSES.index("head") for _, labels in parts]).flatten(1).any(1)
    assert heads.float().mean() > 0.8


def test_parts_come_in_batches_of_class_numbers():
    loaders = make_loaders("parts", 16, 8, count=20, augment="lab")
    images, labels = next(iter(loaders.train))
    assert images.shape == (8, 3, 16, 16) and labels.shape == (8, 16, 16) and labels.dtype == torch.int64
    assert 0 <= labels.min() and labels.max() < len(PART_CLASSES)
    assert CLASSES["parts"] == (PART_CLASSES, None)


@pytest.mark.parametrize("wrong", [{"count": -1}, {"size": 4}, {"seed": -1}])
def test_drawn_refuses_impossible_arguments(wrong):
    with pytest.raises(ValueError, match="for example SyntheticPets"):
        SyntheticPets(**({"count": 2, "size": 16, "seed": 0} | wrong))


# --------------------------------------------------------------------------------------------- split and loaders


@settings(deadline=None)
@given(st.integers(10, 300), st.floats(0.1, 0.9), st.integers(0, 2**31))
def test_split_is_disjoint_complete_and_reproducible(count, fraction, seed):
    train, val = split_trainval(range(count), fraction, seed)
    assert len(val) == round(count * fraction)
    assert sorted([*train, *val]) == list(range(count))
    again = split_trainval(range(count), fraction, seed)
    assert (list(train), list(val)) == tuple(map(list, again))


def test_split_is_80_20_and_follows_the_seed():
    train, val = split_trainval(range(100))
    assert (len(train), len(val)) == (80, 20)
    assert list(val) != list(split_trainval(range(100), seed=43)[1])


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 2.0, 0.001])
def test_split_refuses_an_empty_part(fraction):
    with pytest.raises(ValueError, match="fraction between 0 and 1"):
        split_trainval(range(10), fraction)


def test_loaders_of_drawn_pictures():
    loaders = make_loaders(count=40, size=16, batch_size=8)
    assert [len(loader.dataset) for loader in loaders] == [32, 8, 10]
    images, masks = next(iter(loaders.train))
    assert images.shape == (8, 3, 16, 16) and masks.shape == (8, 1, 16, 16)
    assert next(iter(make_loaders(count=4).val))[0].shape == (1, 3, 64, 64)


def test_loaders_repeat_with_the_seed_and_train_is_shuffled():
    first, second, other = (make_loaders(count=40, size=8, seed=seed) for seed in (1, 1, 2))
    for ours, theirs in zip(first, second):
        for a, b in zip(ours, theirs, strict=True):
            assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])
    assert not torch.equal(next(iter(first.val))[0], next(iter(other.val))[0])
    epochs = [torch.cat([images for images, _ in first.train]) for _ in range(2)]
    assert not torch.equal(*epochs)
    assert torch.equal(*(epoch.flatten(1).sum(1).sort().values for epoch in epochs))
    assert torch.equal(*(torch.cat([images for images, _ in first.val]) for _ in range(2)))


def test_no_picture_is_in_two_loaders():
    loaders = make_loaders(count=80, size=16)
    images = torch.cat([images for loader in loaders for images, _ in loader]).flatten(1)
    assert len(torch.unique(images, dim=0)) == len(images) == 100


def test_test_pictures_depend_on_no_split():
    few, many = (next(iter(make_loaders(count=count, size=8, batch_size=5).test))[0] for count in (20, 40))
    assert torch.equal(few, many)


def test_loaders_name_the_choices(tmp_path):
    with pytest.raises(ValueError, match="'cats'.*'synthetic', 'parts', 'pets', 'carvana', 'camvid'"):
        make_loaders("cats")
    with pytest.raises(ValueError, match="4 or more"):
        make_loaders(count=3)
    with pytest.raises(FileNotFoundError, match="UNETLAB_DATA.*download=True"):
        make_loaders("pets", root=tmp_path)
    with pytest.raises(FileNotFoundError, match="UNETLAB_DATA.*download=True"):
        make_loaders("pets", root=tmp_path / "nowhere")


def test_variable_asks_for_pets(tmp_path, monkeypatch):
    monkeypatch.setenv("UNETLAB_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=tmp_path.name):
        make_loaders()
    assert make_loaders("synthetic", count=8, size=8)


@needs_pictures
def test_no_car_is_in_two_loaders():
    cars = CarvanaCars(SHARED)
    train, val = split_trainval(cars)
    assert sorted([*train.indices, *val.indices]) == list(range(len(cars)))
    assert not {cars.groups[i] for i in train.indices} & {cars.groups[i] for i in val.indices}
    assert 0.2 * len(cars) <= len(val) < 0.2 * len(cars) + 16
    # A split by pictures has nearly every car on both sides.
    mixed_train, mixed_val = split_trainval(range(len(cars)))
    assert len({cars.groups[i] for i in mixed_train} & {cars.groups[i] for i in mixed_val}) > 40
    loaders = make_loaders("carvana", size=16, count=200, root=SHARED)
    seen = [{loader.dataset.dataset.dataset.groups[loader.dataset.dataset.indices[i]] for i in loader.dataset.indices}
            for loader in loaders[:2]]  # fmt: skip
    assert not seen[0] & seen[1]
    assert [images.shape[1:] for images, _ in loaders.test] == [(3, 16, 16)] * 4


class Grouped(list):
    groups = property(lambda self: [item // 10 for item in self])


@settings(deadline=None)
@given(st.lists(st.integers(0, 200), min_size=10, max_size=80), st.floats(0.1, 0.6), st.integers(0, 2**31))
def test_groups_stay_whole(items, fraction, seed):
    items = Grouped(items)
    try:
        train, val = split_trainval(Subset(items, range(len(items))), fraction, seed)
    except ValueError as error:
        assert "0 for training" in str(error)
        return
    assert sorted([*train.indices, *val.indices]) == list(range(len(items)))
    assert len(val) >= round(fraction * len(items)) and len(train) > 0
    assert not {item // 10 for item in train} & {item // 10 for item in val}
    assert val.indices == split_trainval(items, fraction, seed)[1].indices


# ------------------------------------------------------------------------------------------------ DeviceLoader


def test_device_loader_gives_what_a_dataloader_gives():
    pets = Subset(SyntheticPets(50, 16, seed=1), [7, 3, 3, 40, 12, 0, 49])
    mine, theirs = DeviceLoader(pets, 3), DataLoader(pets, 3)
    assert len(mine) == len(theirs) == 3 and mine.dataset is pets and mine.batch_size == 3
    for ours, peers in zip(mine, theirs, strict=True):
        for a, b in zip(ours, peers, strict=True):
            assert torch.equal(a, b) and a.dtype == b.dtype == torch.float32


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["drawn", "own", "camvid"])
def test_device_loader_promises(device, kind):
    if kind == "camvid" and not SHARED.is_dir():
        pytest.skip("CamVid is not in ../shared/data beside the repo")
    drawn = SyntheticPets(21, 24)
    own = TensorDataset(drawn.images.float() / 255, drawn.masks.float())
    dataset = Subset(CamVid(SHARED, "val", 24), range(21)) if kind == "camvid" else {"drawn": drawn, "own": own}[kind]
    loader = DeviceLoader(dataset, 8, shuffle=True, augment=True, device=device)
    batches = list(loader)
    assert [len(images) for images, _ in batches] == [8, 8, 5]
    for images, masks in batches:
        assert images.device.type == masks.device.type == device
        assert images.shape[1:] == (3, 24, 24) and images.dtype == torch.float32
        assert 0 <= images.min() and images.max() <= 1
        if kind == "camvid":
            assert masks.shape[1:] == (24, 24) and masks.dtype == torch.int64 and masks.max() <= 11
        else:
            assert masks.shape[1:] == (1, 24, 24) and masks.dtype == torch.float32
            assert set(masks.unique().tolist()) == {0.0, 1.0}


def test_an_epoch_left_early_does_not_change_the_next():
    first, second = (DeviceLoader(SyntheticPets(20, 8), 4, shuffle=True, augment=True) for _ in range(2))
    next(iter(first)), list(second)
    torch.rand(7)  # nor do other random numbers
    for ours, theirs in zip(first, second, strict=True):
        assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])


def test_device_loader_refuses_wrong_pictures_and_masks():
    images, masks = torch.rand(6, 3, 8, 8), (torch.rand(6, 1, 8, 8) > 0.5).float()
    assert len(list(DeviceLoader(TensorDataset(images, masks), 4))) == 2
    for wrong, message in ((masks * 255, "bytes"), ((masks + 1) / 255, "ToTensor"), (masks * 0.3, "fractions")):
        with pytest.raises(ValueError, match=message):
            list(DeviceLoader(TensorDataset(images, wrong)))
    for wrong in (2 * images - 1, images * 255, (images * 255).byte()):
        with pytest.raises(ValueError, match=r"\[0, 1\].*normalise"):
            list(DeviceLoader(TensorDataset(wrong, masks)))
    for dataset, batch_size in ((TensorDataset(images, masks), 0), (TensorDataset(images[:0], masks[:0]), 4)):
        with pytest.raises(ValueError, match="gives no batch"):
            DeviceLoader(dataset, batch_size)


# ------------------------------------------------------------------------------------------------ augmentation


def one_by_one(images, masks):
    pairs = [augment(image, mask) for image, mask in zip(images, masks)]
    return tuple(torch.stack(parts) for parts in zip(*pairs))


WAYS = pytest.mark.parametrize("way", [one_by_one, augment_batch])


def off(monkeypatch, *names):
    monkeypatch.setattr("data_utils.LAB", data_utils.LAB._replace(**dict.fromkeys(names, 0.0)))


@needs_pictures
@WAYS
def test_picture_and_mask_go_the_same_way(way, monkeypatch):
    off(monkeypatch, "jitter")
    torch.manual_seed(0)
    masks = stack(OxfordPets(SHARED, size=(96, 120)), range(0, 320, 10))[1]
    shown, moved = way(masks.expand(-1, 3, -1, -1), masks)  # the mask is the picture, too
    assert set(moved.unique().tolist()) == {0.0, 1.0} and shown.shape[2:] == (96, 120)
    # They differ along the outline alone, where the picture is interpolated and the mask is rounded,
    # but for single hairs, which rounding may lose.
    outline = torch.nn.functional.max_pool2d(moved, 5, 1, 2) > -torch.nn.functional.max_pool2d(-moved, 5, 1, 2)
    wrong = (shown[:, :1] > 0.5) != moved.bool()
    assert wrong.float().mean() < 0.02 and (wrong & ~outline).float().mean() < 1e-4
    # Known-wrong: two calls, one for the picture and one for the mask, as separate transforms make them.
    apart = (way(masks.expand(-1, 3, -1, -1), masks)[0][:, :1] > 0.5) != moved.bool()
    assert apart.float().mean() > 0.1 and (apart & ~outline).float().mean() > 0.05


def ramps(count, height, width):
    """Pictures whose red is the column and whose green is the row, in pixels from the centre / 1000 + 0.5."""
    y, x = torch.meshgrid(torch.arange(height) - height / 2, torch.arange(width) - width / 2, indexing="ij")
    return (torch.stack([x, y, x]) / 1000 + 0.5).expand(count, -1, -1, -1).clone()


@WAYS
@pytest.mark.parametrize("height, width", [(60, 60), (48, 96)])
def test_flip_and_rotation_are_as_said(way, height, width, monkeypatch):
    off(monkeypatch, "jitter", "elastic")
    torch.manual_seed(0)
    images = way(ramps(300, height, width), torch.zeros(300, 1, height, width))[0] * 1000
    middle = images[:, :2, height // 2 - 5 : height // 2 + 6, width // 2 - 5 : width // 2 + 6]
    along_x, along_y = (middle.diff(dim=dim).mean((2, 3)) for dim in (3, 2))  # columns of the map back, in pixels
    turn = torch.rad2deg(torch.atan2(-along_y[:, 0], along_y[:, 1]))
    assert turn.abs().max() < 15.1 and turn.min() < -13 and turn.max() > 13 and abs(turn.mean()) < 2
    for side in (along_x, along_y):  # lengths and angles stay, on pictures that are no squares, too
        assert torch.allclose(side.norm(dim=1), torch.ones(300), atol=0.02)
    assert torch.allclose((along_x * along_y).sum(1), torch.zeros(300), atol=0.02)
    mirrored = along_x[:, 0] < 0
    assert 110 < mirrored.sum() < 190


@WAYS
def test_bending_is_smooth_and_of_the_papers_size(way, monkeypatch):
    off(monkeypatch, "jitter", "rotation")
    torch.manual_seed(0)
    plain = ramps(200, 64, 64)
    rows = (way(plain, torch.zeros(200, 1, 64, 64))[0] - plain)[:, 1, 8:-8, 8:-8] * 1000  # a flip leaves rows alone
    assert 0.4 < rows.std() / (64 * 10 / 512) < 1.4
    assert rows.diff(dim=1).abs().max() < 0.6  # below 1: nothing folds over
    off(monkeypatch, "elastic")
    assert (way(plain, torch.zeros(200, 1, 64, 64))[0] - plain)[:, 1, 8:-8, 8:-8].abs().max() < 1e-5


@WAYS
def test_colours_change_in_the_picture_alone(way, monkeypatch):
    off(monkeypatch, "rotation", "elastic")
    torch.manual_seed(0)
    images = torch.tensor([0.6, 0.4, 0.2])[:, None, None].expand(100, 3, 16, 16).clone()
    images[:, :, :8] *= 0.5
    masks = torch.zeros(100, 1, 16, 16)
    masks[:, :, :8] = 1
    shown, moved = way(images, masks)
    assert torch.equal(moved, masks) and 0 <= shown.min() and shown.max() <= 1
    dark, bright = shown[:, :, 2, 2], shown[:, :, 12, 12]
    assert 0.6 < ((dark + bright).mean(1) / 0.6).min() < 0.8 and 1.2 < ((dark + bright).mean(1) / 0.6).max() < 1.4
    contrast = (bright.mean(1) - dark.mean(1)) / (bright.mean(1) + dark.mean(1)) * 3
    assert 0.6 < contrast.min() < 0.8 and 1.2 < contrast.max() < 1.4
    grey = way(torch.rand(20, 1, 16, 16).expand(-1, 3, -1, -1), masks[:20])[0]
    assert torch.allclose(grey, grey.mean(1, keepdim=True), atol=1e-5)  # grey stays grey


def test_the_batch_jitter_is_torchvisions():
    from torchvision.transforms.v2 import functional

    from data_utils import _jitter

    images = torch.rand(4, 3, 9, 9) * 0.6 + 0.2  # not clipped on the way
    factors = torch.rand(4, 3) * 0.4 + 0.8
    for image, ours, (brightness, contrast, saturation) in zip(images, _jitter(images, factors), factors.tolist()):
        image = functional.adjust_contrast(functional.adjust_brightness(image, brightness), contrast)
        assert torch.allclose(ours, functional.adjust_saturation(image, saturation), atol=2e-3)


@settings(deadline=None, max_examples=20)
@given(st.integers(8, 50), st.integers(8, 50), st.integers(2, 12), st.booleans())
def test_labels_stay_labels(height, width, classes, binary):
    images, labels = torch.rand(3, 3, height, width), torch.randint(classes, (3, height, width))
    masks = (labels == 0).float()[:, None] if binary else labels
    for way in (one_by_one, augment_batch):
        shown, moved = way(images, masks)
        assert shown.shape == images.shape and shown.dtype == torch.float32 and type(shown) is torch.Tensor
        assert moved.shape == masks.shape and moved.dtype == masks.dtype
        assert set(moved.unique().tolist()) <= set(masks.unique().tolist())
        assert 0 <= shown.min() and shown.max() <= 1


@WAYS
def test_no_black_corners(way):
    shown, moved = way(torch.full((50, 3, 32, 32), 0.6), torch.ones(50, 1, 32, 32))
    assert shown.min() > 0.3 and moved.min() == 1


def test_too_narrow_to_turn_is_said():
    with pytest.raises(ValueError, match="8 x 80 pixels is too narrow"):
        augment(torch.rand(3, 8, 80), torch.zeros(1, 8, 80))


def batches(loaders, part, epochs=1):
    return [torch.cat([torch.cat([i, m], 1) for i, m in getattr(loaders, part)]) for _ in range(epochs)]


@pytest.mark.parametrize("workers", [0, 2])
def test_augmentation_repeats_with_the_seed_and_changes_with_the_epoch(workers):
    options = {"count": 40, "size": 16, "batch_size": 8, "num_workers": workers}
    torch.manual_seed(1)
    first, plain = make_loaders(augment=True, **options), make_loaders(**options)
    ours = batches(first, "train", 3)
    torch.manual_seed(2)  # the loader's seed counts, not the global one
    again = batches(make_loaders(augment=True, **options), "train", 3)
    other = batches(make_loaders(augment=True, seed=3, **options), "train", 1)
    assert all(torch.equal(a, b) for a, b in zip(ours, again)) and not torch.equal(ours[0], other[0])
    rows = torch.cat(ours).flatten(1)
    assert len(torch.unique(rows, dim=0)) == len(rows) == 96  # no picture is shown twice alike
    originals = torch.cat(batches(plain, "train")).flatten(1)
    assert not (rows[:, None] == originals).all(-1).any()
    for part in ("val", "test"):  # never augmented
        assert torch.equal(*(batches(loaders, part)[0] for loaders in (first, plain)))


def test_augmented_wraps_any_data_set():
    pets = SyntheticPets(5, 16)
    altered = Augmented(pets)
    assert len(altered) == 5 and not torch.equal(altered[2][0], pets[2][0])
    assert set(altered[2][1].unique().tolist()) <= {0.0, 1.0}
    assert len(DataLoader(altered, 2)) == 3


def test_flip_alone_mirrors_half_of_the_pictures_exactly():
    images, masks = torch.rand(200, 3, 6, 8), torch.randint(2, (200, 1, 6, 8)).float()
    shown, moved = augment_batch(images, masks, torch.Generator().manual_seed(0), AUGMENTATIONS["flip"])
    mirrored = (shown == images.flip(-1)).flatten(1).all(1)
    assert 70 < mirrored.sum() < 130
    assert torch.equal(shown[~mirrored], images[~mirrored]) and torch.equal(moved[~mirrored], masks[~mirrored])
    assert torch.equal(moved[mirrored], masks[mirrored].flip(-1))


@pytest.mark.parametrize("height, width", [(64, 64), (48, 96)])
def test_zoom_keeps_angles_and_moves_by_an_eighth_at_most(height, width):
    zoom = data_utils.Augmentation(rotation=0.0, elastic=0.0, jitter=0.0, zoom=1.5)
    images = augment_batch(ramps(300, height, width), torch.zeros(300, 1, height, width), torch.Generator().manual_seed(0), zoom)[0] * 1000
    middle = images[:, :2, height // 2 - 5 : height // 2 + 6, width // 2 - 5 : width // 2 + 6]
    along_x, along_y = (middle.diff(dim=dim).mean((2, 3)) for dim in (3, 2))
    scale = along_x.norm(dim=1)
    assert torch.allclose(scale, along_y.norm(dim=1), atol=0.03)  # no stretching, on pictures that are no squares, too
    assert 0.66 < scale.min() < 0.72 and 1.4 < scale.max() < 1.51 and abs(scale.log().mean()) < 0.05
    moved = (middle.mean((2, 3)) - 500).abs().amax(0) / torch.tensor([width, height])  # in sides
    assert (moved < 0.14).all() and (moved > 0.1).all()


@pytest.mark.parametrize("how", [False, "flip", "strong"])
def test_shards_are_the_one_loaders_batches_shared_out(how):
    dataset, options = SyntheticPets(22, 16), {"shuffle": True, "augment": how, "seed": 4, "drop_last": True}
    whole = DeviceLoader(dataset, 8, **options)
    parts = [DeviceLoader(dataset, 8, shard=(rank, 3), **options) for rank in range(3)]
    assert len(whole) == len(parts[0]) == 2  # the last six are left out
    for _ in range(2):
        for (images, masks), *shares in zip(whole, *parts, strict=True):
            assert [len(share[0]) for share in shares] == [3, 3, 2]
            for rank, share in enumerate(shares):
                assert torch.equal(share[0], images[rank::3]) and torch.equal(share[1], masks[rank::3])


def test_a_loader_goes_on_where_another_stopped():
    first, second = (DeviceLoader(SyntheticPets(8, 8), 8, shuffle=True, augment="strong") for _ in range(2))
    next(iter(first))
    second.load_state_dict(first.state_dict())
    assert torch.equal(next(iter(first))[0], next(iter(second))[0])


def test_unknown_augmentations_are_refused():
    with pytest.raises(ValueError, match="'wild'.*'flip', 'lab', 'strong'"):
        DeviceLoader(SyntheticPets(4, 8), augment="wild")
    with pytest.raises(ValueError, match="num_workers=0"):
        make_loaders(count=8, augment="strong", num_workers=1)


@needs_pictures
def test_camvid_has_its_own_three_parts():
    loaders = make_loaders("camvid", size=(18, 24), batch_size=4, root=SHARED, count=20, augment="lab")
    assert [len(loader.dataset) for loader in loaders] == [16, 4, 5]
    images, labels = next(iter(loaders.train))
    assert images.shape == (4, 3, 18, 24) and labels.shape == (4, 18, 24) and labels.dtype == torch.int64
    assert len(make_loaders("camvid", size=8, root=SHARED).test.dataset) == 233
