"""`unetlab predict`: masks for pictures of any size, whole and by sliding window, and what cannot be read."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from grader.cli import main
from training import folder as files
from training.predict import find_pictures, load, logits_of, read_picture
from training.settings import Settings, to_dict
from training.train import train

# A network that needs no training: a pixel is foreground where it is bright.
BRIGHT = """
import torch
from torch import nn

class Bright(nn.Module):
    def __init__(self, in_channels=3, out_channels=1):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x):
        return self.conv(x)
"""


@pytest.fixture
def bright(tmp_path):
    """A run's folder."""
    run = tmp_path / "run"
    files.write(run / "network.py", BRIGHT)
    files.write_json(run / files.SETTINGS, to_dict(Settings(model="gone.py:Bright", size=(24,), amp=False)))
    weights = {"conv.weight": torch.full((1, 3, 1, 1), 10.0), "conv.bias": torch.tensor([-15.0])}
    files.write_tensors(run / files.BEST, weights)
    return run


def picture(path, height, width, left=0.2, right=0.9):
    """Dark on the left, bright on the right."""
    values = np.full((height, width, 3), round(left * 255), dtype=np.uint8)
    values[:, width // 2 :] = round(right * 255)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def mask_of(path):
    return np.array(Image.open(path))


@pytest.mark.parametrize("how", [[], ["--window", "16"], ["--window", "16x24", "--overlap", "0.25", "--blend", "constant"], ["--mirror"]])
def test_masks_have_the_pictures_own_size(bright, tmp_path, how, capsys):
    file = picture(tmp_path / "in" / "cat.png", 37, 50)
    assert main(["predict", str(bright), str(file), "--out", str(tmp_path / "out"), *how]) == 0
    mask = mask_of(tmp_path / "out" / "cat_mask.png")
    assert mask.shape == (37, 50) and set(np.unique(mask)) == {0, 255}
    assert not mask[:, :23].any() and mask[:, 27:].all()
    beside = mask_of(tmp_path / "out" / "cat_beside.png")
    assert beside.shape == (37, 100, 3) and beside[0, 90].min() > 200 > 60 > beside[0, 55].max()
    assert "foreground 5" in capsys.readouterr().out or how


def test_folders_keep_their_order_and_no_name_is_lost(bright, tmp_path, capsys):
    for name in ("a/cat.png", "b/cat.png", "b/cat.bmp", "b/x_mask.png", "b/notes.txt"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("no picture") if name.endswith("txt") else picture(path, 8, 8)
    (tmp_path / "in" / "b" / "broken.jpg").write_bytes(b"\xff\xd8 no more")
    assert main(["predict", str(bright), str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 1
    assert "broken.jpg cannot be read as a picture" in capsys.readouterr().out
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*_mask.png")}
    assert written == {"a/cat_mask.png", "b/cat.png_mask.png", "b/cat.bmp_mask.png"}


def test_the_runs_threshold_counts_unless_another_is_said(bright, tmp_path):
    file = picture(tmp_path / "in" / "dim.png", 8, 8, left=0.3, right=0.48)  # a logit of -0.6 on the right
    files.write_json(bright / files.RESULT, {"threshold": 0.3})
    for given, found in (([], 0.5), (["--threshold", "0.5"], 0.0)):
        assert main(["predict", str(bright), str(file), "--out", str(tmp_path / "out"), *given]) == 0
        assert (mask_of(tmp_path / "out" / "dim_mask.png") > 0).mean() == found
    assert main(["predict", str(bright), str(file), "--threshold", "40"]) == 2


def test_a_window_sees_what_shrinking_loses(bright):
    """A bright line of one pixel is gone where the picture is shrunk, and found where a window slides over it."""
    trained, image = load(bright, "cpu"), torch.zeros(1, 3, 240, 240)
    image[..., 100] = 1.0
    assert (logits_of(trained, image) > 0).sum() == 0
    assert (logits_of(trained, image, (48, 48)) > 0).sum() == 240


def test_pictures_are_turned_as_their_camera_says(tmp_path):
    values = np.zeros((4, 6, 3), dtype=np.uint8)
    values[0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to be seen upright
    Image.fromarray(values).save(tmp_path / "turned.png", exif=exif)
    image = read_picture(tmp_path / "turned.png")
    assert image.shape == (1, 3, 6, 4) and image[..., -1].min() == 1 and image[..., 0].max() == 0


def test_classes_come_as_numbers_and_colours(tmp_path, capsys):
    run = tmp_path / "run"
    files.write(run / "network.py", BRIGHT)
    files.write_json(run / files.SETTINGS, to_dict(Settings(model="gone.py:Bright", data="camvid", size=(24,), amp=False)))
    weights, bias = torch.zeros(11, 3, 1, 1), torch.zeros(11)
    weights[8], bias[8], bias[3] = 10.0, -15.0, 0.1  # car where it is bright, road elsewhere
    files.write_tensors(run / files.BEST, {"conv.weight": weights, "conv.bias": bias})
    file = picture(tmp_path / "street.png", 24, 24)
    assert main(["predict", str(run), str(file), "--out", str(tmp_path / "out")]) == 0
    assert "road 50.0%, car 50.0%" in capsys.readouterr().out
    mask = mask_of(tmp_path / "out" / "street_mask.png")
    assert set(np.unique(mask)) == {3, 8} and (mask[:, :12] == 3).all()


def test_what_is_no_run_or_no_picture_is_named(bright, tmp_path, capsys):
    file = str(picture(tmp_path / "cat.png", 8, 8))
    (tmp_path / "empty").mkdir()
    cases = [
        ([str(tmp_path / "nowhere"), file], "settings.json is missing: is .*nowhere the folder of a run"),
        ([str(bright), str(tmp_path / "nowhere.png")], "there is no such picture or folder"),
        ([str(bright), str(tmp_path / "empty")], "no picture in it"),
    ]
    for given, message in cases:
        assert main(["predict", *given]) == 2
        import re

        assert re.search(message, capsys.readouterr().err)
    files.write_tensors(bright / files.BEST, {"conv.weight": torch.zeros(2, 3, 1, 1), "conv.bias": torch.zeros(2)})
    assert main(["predict", str(bright), file]) == 2
    assert "train again" in capsys.readouterr().err
    (bright / files.BEST).write_bytes(b"no checkpoint")
    assert main(["predict", str(bright), file]) == 2
    assert "is no checkpoint" in capsys.readouterr().err


def test_one_picture_keeps_its_name(tmp_path):
    file = picture(tmp_path / "cat.png", 8, 8)
    assert find_pictures([file]) == {file: Path("cat")}
    assert json.loads(json.dumps([str(path) for path in find_pictures([tmp_path])])) == [str(file)]


def test_grey_of_more_bits_is_the_same_picture(tmp_path):
    """PIL's own conversion makes all of it white, or black where values are fractions."""
    eight = np.tile(np.linspace(10, 240, 24).round(), (8, 1))
    versions = {
        "8.png": eight.astype(np.uint8), "16.png": (eight * 257).astype(np.uint16), "16.tif": (eight * 257).astype(np.uint16),
        "32.tif": eight.astype(np.int32), "32of16.tif": (eight * 257).astype(np.int32), "float.tif": (eight / 255).astype(np.float32),
    }  # fmt: skip
    for name, values in versions.items():
        Image.fromarray(values).save(tmp_path / name)
        assert torch.allclose(read_picture(tmp_path / name), read_picture(tmp_path / "8.png"), atol=1e-6), name
    for values in (eight.astype(np.float32), (-eight / 255).astype(np.float32), (eight * 70000).astype(np.int32)):
        Image.fromarray(values).save(tmp_path / "odd.tif")
        with pytest.raises(ValueError, match="odd.tif cannot be read as a picture .values from .* save it with 8 or 16 bits"):
            read_picture(tmp_path / "odd.tif")


def test_files_of_one_name_keep_their_folders(bright, tmp_path):
    paths = [picture(tmp_path / folder / "cat.png", 8, 8) for folder in ("a", "b")]
    assert main(["predict", str(bright), *map(str, paths), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "a" / "cat_mask.png").exists() and (tmp_path / "out" / "b" / "cat_mask.png").exists()
    paths = [picture(tmp_path / folder / "b" / "cat.png", 8, 8) for folder in ("c", "d")]
    with pytest.raises(ValueError, match="would be written to one place"):
        find_pictures(paths)


@pytest.mark.parametrize(
    "given, message",
    [
        (["--overlap", "0.3"], "--overlap: of a sliding window; say its size with --window"),
        (["--overlap", "0.3", "--blend", "constant"], "--overlap and --blend: of a sliding window"),
        (["--out", "FILE"], "is a file. Say another --out."),
    ],
)
def test_options_that_would_do_nothing_are_refused(bright, tmp_path, given, message, capsys):
    file = picture(tmp_path / "cat.png", 8, 8)
    assert main(["predict", str(bright), str(file), *(part.replace("FILE", str(file)) for part in given)]) == 2
    assert message in capsys.readouterr().err


def test_a_threshold_is_refused_where_the_largest_logit_counts(bright, tmp_path, capsys):
    files.write_json(bright / files.SETTINGS, to_dict(Settings(data="parts", model="gone.py:Bright", size=(24,), amp=False)))
    files.write_tensors(bright / files.BEST, {"conv.weight": torch.zeros(5, 3, 1, 1), "conv.bias": torch.zeros(5)})
    assert main(["predict", str(bright), str(picture(tmp_path / "cat.png", 8, 8)), "--threshold", "0.9"]) == 2
    assert "several classes apart" in capsys.readouterr().err


def test_a_window_too_small_for_the_network_is_named(tmp_path, capsys):
    given = Settings(count=20, size=(32,), features=(4, 8), epochs=1, amp=False)
    train(given, tmp_path / "run", say=lambda text: None)
    assert main(["predict", str(tmp_path / "run"), str(picture(tmp_path / "cat.png", 8, 8)), "--window", "1"]) == 2
    assert "--window 1x1: unet cannot take so few pixels" in capsys.readouterr().err
