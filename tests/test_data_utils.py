"""The data sets and loaders: what comes out, what stays the same, what is said when something is missing."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_utils import OxfordPets, SyntheticPets, make_loaders, split_trainval

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
PETS = SHARED / "oxford-pets-trimap-224"
needs_pets = pytest.mark.skipif(
    not PETS.is_dir(), reason="Oxford-IIIT Pet is not in ../shared/data/oxford-pets-trimap-224 beside the repo"
)


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv("UNETLAB_DATA", raising=False)


def copy_pets(folder, names=("Abyssinian_1", "Abyssinian_10", "Abyssinian_100", "Abyssinian_101")):
    """A small data set of real pairs in torchvision's layout; every name is in both splits."""
    base = folder / "oxford-iiit-pet"
    for part in ("images", "annotations/trimaps"):
        (base / part).mkdir(parents=True)
    for name in names:
        shutil.copy(PETS / "oxford-iiit-pet" / "images" / f"{name}.jpg", base / "images")
        shutil.copy(PETS / "oxford-iiit-pet" / "annotations" / "trimaps" / f"{name}.png", base / "annotations/trimaps")
    for split in ("trainval", "test"):
        (base / "annotations" / f"{split}.txt").write_text("".join(f"{name} 1 1 1\n" for name in names))
    return base


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
    with pytest.raises(ValueError, match="'cats'.*'synthetic', 'pets'"):
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


# --------------------------------------------------------------------------------------------- Oxford-IIIT Pet


@needs_pets
@pytest.mark.parametrize("root", [SHARED, PETS, PETS / "oxford-iiit-pet"])
def test_pets_are_found_from_three_folders(root, monkeypatch):
    assert len(OxfordPets(root)) == len(OxfordPets(PETS, "trainval")) > 100
    monkeypatch.setenv("UNETLAB_DATA", str(root))
    loaders = make_loaders(size=24, batch_size=4, count=20)
    assert [len(loader.dataset) for loader in loaders] == [16, 4, 5]
    images, masks = next(iter(loaders.train))
    assert images.shape == (4, 3, 24, 24) and masks.shape == (4, 1, 24, 24)


@needs_pets
def test_pets_items_and_border():
    with_border, without = OxfordPets(PETS, size=64), OxfordPets(PETS, size=64, border="background")
    for i in range(0, len(with_border), 40):
        image, mask = with_border[i]
        assert image.shape == (3, 64, 64) and image.dtype == torch.float32
        assert 0 <= image.min() and 0.2 < image.max() <= 1
        assert mask.shape == (1, 64, 64) and set(mask.unique().tolist()) == {0.0, 1.0}
        inner = without[i][1]
        assert set(inner.unique().tolist()) <= {0.0, 1.0}
        assert (inner <= mask).all() and inner.sum() < mask.sum()
        assert torch.equal(with_border[i][0], image)  # the second time from the cache


@needs_pets
def test_pets_mask_is_the_trimap_at_full_size():
    pets = OxfordPets(PETS, size=200)
    for i in (0, 7):
        trimap = np.array(Image.open(pets.trimaps[i]))
        # Another way to the nearest label: index the row and column under each centre.
        rows, columns = (np.floor((np.arange(200) + 0.5) * side / 200).astype(int) for side in trimap.shape)
        expected = np.isin(trimap[np.ix_(rows, columns)], (1, 3))
        # Not all: a centre may fall on the edge between two labels, where either is the nearest.
        assert ((pets[i][1][0].numpy() == 1) == expected).mean() > 0.995


@needs_pets
def test_pets_splits_are_the_official_ones():
    trainval, test = (OxfordPets(PETS, split) for split in ("trainval", "test"))
    assert not set(trainval.images) & set(test.images)
    train, val = split_trainval(trainval)
    assert len(val) == round(0.2 * len(trainval)) and not set(train.indices) & set(val.indices)
    loaders = make_loaders("pets", root=PETS, size=8)
    assert [len(loader.dataset) for loader in loaders] == [len(train), len(val), len(test)]


@needs_pets
def test_damaged_picture_is_named(tmp_path):
    image = copy_pets(tmp_path) / "images" / "Abyssinian_1.jpg"
    image.write_bytes(image.read_bytes()[:2000])
    pets = OxfordPets(tmp_path, size=32)
    with pytest.raises(OSError, match=r"Abyssinian_1\.jpg cannot be read.*download=True"):
        pets[0]
    image.write_bytes(b"not a picture")
    with pytest.raises(OSError, match=r"Abyssinian_1\.jpg cannot be read"):
        pets[0]
    assert pets[1][0].shape == (3, 32, 32)


@needs_pets
def test_missing_picture_is_named(tmp_path):
    base = copy_pets(tmp_path)
    (base / "annotations" / "trimaps" / "Abyssinian_10.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"Abyssinian_10\.png is missing.*download=True"):
        OxfordPets(tmp_path, size=32)[1]
    (base / "annotations" / "trainval.txt").unlink()
    with pytest.raises(OSError, match=r"trainval\.txt.*download=True"):
        OxfordPets(tmp_path)


@needs_pets
def test_a_mask_in_place_of_a_trimap_is_named(tmp_path):
    trimap = copy_pets(tmp_path) / "annotations" / "trimaps" / "Abyssinian_1.png"
    Image.fromarray(np.full((20, 20), 255, np.uint8)).save(trimap)
    with pytest.raises(ValueError, match=r"Abyssinian_1\.png is not an Oxford trimap.*255"):
        OxfordPets(tmp_path, size=8)[0]


@needs_pets
def test_a_picture_is_decoded_once(tmp_path):
    base = copy_pets(tmp_path)
    pets = OxfordPets(tmp_path, size=16)
    first = pets[0]
    shutil.rmtree(base)
    assert torch.equal(first[0], pets[0][0]) and torch.equal(first[1], pets[0][1])


def test_pets_refuse_unknown_choices(tmp_path):
    with pytest.raises(ValueError, match="'train'.*'trainval', 'test'"):
        OxfordPets(tmp_path, "train")
    with pytest.raises(ValueError, match="'ignore'.*'pet', 'background'"):
        OxfordPets(tmp_path, border="ignore")
    with pytest.raises(ValueError, match="size=0"):
        OxfordPets(tmp_path, size=0)
