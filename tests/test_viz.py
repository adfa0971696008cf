"""The pictures: what they show, that nothing overlaps, and what is refused."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

import viz
from data_utils import SyntheticPets
from tests.figures import assert_nothing_overlaps, texts, words


@pytest.fixture(scope="module")
def pairs():
    pets = SyntheticPets(6, 32, seed=1)
    return tuple(torch.stack(part) for part in zip(*(pets[i] for i in range(6))))


def test_unet_has_the_shape_of_every_level():
    figure = viz.draw_unet()
    assert isinstance(figure, Figure)
    shown = words(figure)
    for level, channels in enumerate((64, 128, 256, 512)):
        side = (200, 100, 50, 25)[level]
        assert shown.count(f"({channels}, {side}, {side})") == 2  # encoder and decoder
    assert "(3, 200, 200)" in shown and "(1, 200, 200)" in shown and "(1024, 12, 12)" in shown
    assert shown.count("skip\n") + shown.endswith("skip") >= 4
    assert "12×12 doubles to 24×24" in shown and "a row and a column are missing" in shown
    assert shown.count("missing") == 1  # 25 is the only odd size


def test_unet_without_odd_sizes_has_no_note():
    assert "missing" not in words(viz.draw_unet([8, 16], size=64))
    shown = words(viz.draw_unet([8, 16], size=(65, 64), in_channels=1, out_channels=21))
    assert "a row is missing" in shown and "column" not in shown
    assert "(1, 65, 64)" in shown and "(21, 65, 64)" in shown


@settings(deadline=None, max_examples=12)
@given(st.lists(st.integers(1, 2048), min_size=1, max_size=7), st.integers(0, 900), st.integers(0, 900))
def test_unet_text_never_overlaps(features, height, width):
    least = 2 ** len(features)
    figure = viz.draw_unet(features, (least + height, least + width))
    assert_nothing_overlaps(figure)
    inside = figure.bbox.padded(1)
    boxes = [box.get_window_extent() for box in figure.axes[0].patches if isinstance(box, FancyBboxPatch)]
    assert len(boxes) == 2 * len(features) + 3
    for text in texts(figure):
        extent = text.get_window_extent()
        assert inside.x0 <= extent.x0 and extent.x1 <= inside.x1 and inside.y0 <= extent.y0 and extent.y1 <= inside.y1
        for box in boxes:  # a text lies in a box or beside it, never across its edge
            within = box.x0 <= extent.x0 and extent.x1 <= box.x1 and box.y0 <= extent.y0 and extent.y1 <= box.y1
            assert within or not box.overlaps(extent), text.get_text()


def test_unet_refuses_what_cannot_be_drawn():
    for wrong in ({"features": []}, {"features": [8, 0]}, {"in_channels": 0}):
        with pytest.raises(ValueError, match="for example features="):
            viz.draw_unet(**wrong)
    with pytest.raises(ValueError, match="must be 16 or more for 4 levels"):
        viz.draw_unet(size=(200, 15))


def test_pairs(pairs):
    images, masks = pairs
    figure = viz.show_pairs(images, masks, count=3)
    assert [len(axes.images) for axes in figure.axes] == [1] * 6
    assert words(figure).count("pet ") == 3 and f"{float(masks[0].mean()):.0%}" in words(figure)
    assert len(viz.show_pairs(images, masks, count=50).axes) == 12
    assert_nothing_overlaps(figure)


def test_predictions_have_scores_and_a_key(pairs):
    images, masks = pairs
    logits = 20 * masks - 10
    logits[1] = -10
    figure = viz.show_predictions(images, masks, logits.requires_grad_(), count=2)
    shown = words(figure)
    assert "IoU 1.00" in shown and "IoU 0.00" in shown
    for name in ("true positive", "false positive", "false negative"):
        assert name in shown
    assert_nothing_overlaps(figure)


def test_predictions_paint_each_outcome():
    image, mask, logits = torch.full((1, 3, 2, 2), 0.5), torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), -9.0)
    mask[0, 0, 0] = 1
    logits[0, 0, :, 0] = 9  # columns: pet by prediction, rows: pet by mask
    figure = viz.show_predictions(image, mask, logits)
    painted = figure.axes[2].images[0].get_array()
    assert len({tuple(painted[y, x].round(3).tolist()) for y in range(2) for x in range(2)}) == 4
    for (y, x), name in {(0, 0): "true positive", (1, 0): "false positive", (0, 1): "false negative"}.items():
        colour = torch.tensor(matplotlib.colors.to_rgb(viz.OUTCOMES[name]))
        assert (torch.tensor(painted[y, x]) - colour).abs().max() < 0.2


def test_feature_maps(pairs):
    images, _ = pairs
    features = torch.randn(1, 12, 7, 5, requires_grad=True).half()
    figure = viz.show_feature_maps(features, images[0], count=6, title="encoder 1")
    assert sum(bool(axes.images) for axes in figure.axes if axes.get_visible()) == 7
    assert "encoder 1" in words(figure) and "(1, 12, 7, 5)" in words(figure)
    assert_nothing_overlaps(figure)
    figure = viz.show_feature_maps(features[:, :2])
    assert sum(bool(axes.images) for axes in figure.axes if axes.get_visible()) == 2
    with pytest.raises(ValueError, match=r"features\[:1\]"):
        viz.show_feature_maps(torch.zeros(2, 3, 4, 4))


def test_shapes_and_normalised_pictures_are_refused(pairs):
    images, masks = pairs
    with pytest.raises(ValueError, match=r"image\[None\]"):
        viz.show_pairs(images[0], masks)
    with pytest.raises(ValueError, match=r"masks \(5, 1, 32, 32\).*\(6, 1, 32, 32\)"):
        viz.show_pairs(images, masks[:5])
    with pytest.raises(ValueError, match="logits"):
        viz.show_predictions(images, masks, masks[:, 0])
    with pytest.raises(ValueError, match=r"images \* std \+ mean"):
        viz.show_pairs((images - 0.45) / 0.22, masks)


def test_no_figure_is_left_open(pairs):
    plt.close("all")
    viz.draw_unet([8], 16)
    viz.show_pairs(*pairs)
    viz.show_predictions(*pairs, pairs[1])
    viz.show_feature_maps(torch.zeros(1, 1, 4, 4))
    assert plt.get_fignums() == []


def test_classes_are_coloured_and_named_and_what_is_not_labelled_is_black():
    names = ("sky", "road", "car")
    labels = torch.tensor([0, 1, 2, 9]).repeat_interleave(4)[None, None].expand(2, 8, 16)
    predicted = torch.where(labels == 9, 0, labels)
    figure = viz.show_classes(torch.rand(2, 3, 8, 16), labels, predicted, names, ignore_index=9)
    shown = words(figure)
    assert all(name in shown for name in (*names, "not labelled")) and shown.count("mIoU 1.00") == 2
    truth = figure.axes[2].get_images()[0].get_array()  # second row, first column
    assert truth[0, 0].tolist() == pytest.approx(viz.SEGNET_COLOURS[0]) and truth[0, 15].tolist() == [0, 0, 0]
    assert truth[0, 8].tolist() == pytest.approx(viz.SEGNET_COLOURS[2])
    assert_nothing_overlaps(figure)
    assert "mIoU 0.11" in words(viz.show_classes(torch.rand(1, 3, 8, 16), labels[:1], predicted[:1] * 0 + 1, names, 9))


def test_several_predictions_of_classes_stand_below_each_other():
    labels = torch.zeros(2, 8, 16, dtype=torch.int64)
    figure = viz.show_classes(torch.rand(2, 3, 8, 16), labels, {"coarse": labels, "labels": labels + 1}, ("sky", "road"))
    shown = words(figure)
    assert "coarse" in shown and shown.count("mIoU 1.00") == 2 and shown.count("mIoU 0.00") == 2 and "not labelled" not in shown
    assert_nothing_overlaps(figure)
    assert "mIoU" not in words(viz.show_classes(torch.rand(2, 3, 8, 16), labels, {}, ("sky", "road")))
    with pytest.raises(ValueError, match="labels holds 1, but names has 0 to 0"):
        viz.show_classes(torch.rand(2, 3, 8, 16), labels, {"labels": labels + 1}, ("sky",))


def test_classes_that_cannot_be_shown_are_named():
    images, labels = torch.rand(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.int64)
    cases = {
        "2 colours for 3 classes": {"colours": ["red", "blue"]},
        r"class numbers \(2, 4, 4\) are expected": {"predicted": labels.float()},
        "labels holds 7, but names has 0 to 2": {"labels": labels + 7},
        "prediction holds 9": {"predicted": labels + 9, "ignore_index": 9},
    }
    for message, change in cases.items():
        with pytest.raises(ValueError, match=message):
            viz.show_classes(**{"images": images, "labels": labels, "predicted": labels, "names": "abc", **change})


def test_scores_are_points_with_their_spread_the_best_at_the_top():
    figure = viz.plot_scores({"add": (0.7, 0.02), "concat": (0.8, 0.01), "none": (0.6, 0.0)}, "test iou", "Skips")
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["none", "add", "concat"]
    assert axes.get_xlabel() == "test iou" and figure.get_suptitle() == "Skips"
    low, high = axes.collections[0].get_segments()[2][:, 0]
    assert (low, high) == pytest.approx((0.79, 0.81))
    assert_nothing_overlaps(figure)
    names = {f"adamw, scheduler exponential, lr 0.000{i}": (0.1 * i, 0.0) for i in range(1, 9)}
    assert_nothing_overlaps(viz.plot_scores(names, "test iou", "Optimizers, schedules and learning rates on Oxford-IIIT Pet, 64×64, " * 2))
    long = {f"{'a very long name of a row ' * 4}{i}": (0.1 * i, 0.0) for i in range(1, 5)}
    figure = viz.plot_scores(long, "test iou", "Rows")
    assert_nothing_overlaps(figure)
    assert figure.axes[0].get_position().width > 0.3
    with pytest.raises(ValueError, match="No scores"):
        viz.plot_scores({}, "iou")
