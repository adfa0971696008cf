"""The metrics against set computations in numpy, their edge rules, and what they refuse."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics import (
    ConfusionMatrix,
    binarize,
    boundary_f1,
    dice,
    evaluate,
    evaluate_classes,
    iou,
    labels_from,
    mean_boundary_f1,
    mean_iou,
    pixel_accuracy,
)

METRICS = (iou, dice, pixel_accuracy)
MASK_METRICS = (*METRICS, boundary_f1)
LABEL_METRICS = (mean_iou, mean_boundary_f1)


def as_sets(mask):
    """Each picture as the set of its foreground pixels."""
    return [set(zip(*np.nonzero(picture[0]))) for picture in mask.numpy()]


def expected(metric, pred, true, pixels):
    if metric is pixel_accuracy:
        return 1 - len(pred ^ true) / pixels
    if not pred | true:
        return 1.0
    if metric is iou:
        return len(pred & true) / len(pred | true)
    return 2 * len(pred & true) / (len(pred) + len(true))


@st.composite
def mask_pairs(draw):
    shape = (draw(st.integers(1, 4)), 1, draw(st.integers(1, 6)), draw(st.integers(1, 6)))
    share = st.sampled_from((0.0, 0.05, 0.5, 1.0))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # Each picture has its own share, so that empty ones stand beside full ones.
    shares = [np.array([draw(share) for _ in range(shape[0])])[:, None, None, None] for _ in range(2)]
    return tuple(torch.from_numpy((rng.random(shape) < part).astype(np.float32)) for part in shares)


@settings(deadline=None)
@given(mask_pairs(), st.sampled_from((torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool)))
def test_metrics_agree_with_sets(masks, dtype):
    pred, true = masks
    pixels = true[0].numel()
    sets = list(zip(as_sets(pred), as_sets(true)))
    pooled = [{(b, *pixel) for b, part in enumerate(side) for pixel in part} for side in zip(*sets)]
    for metric in METRICS:
        got = metric(pred.to(dtype), true.to(dtype), per_image=True)
        assert got.shape == (len(true),)
        assert got.tolist() == pytest.approx([expected(metric, *pair, pixels) for pair in sets])
        got = metric(pred.to(dtype), true.to(dtype))
        assert got.shape == ()
        assert got.item() == pytest.approx(expected(metric, *pooled, true.numel()))


@settings(deadline=None)
@given(mask_pairs())
def test_metrics_are_symmetric_and_ordered(masks):
    for metric in METRICS:
        assert metric(*masks) == metric(*masks[::-1])
    assert boundary_f1(*masks).item() == pytest.approx(boundary_f1(*masks[::-1]).item())
    assert 0 <= boundary_f1(*masks) <= 1
    assert 0 <= iou(*masks) <= dice(*masks) <= 1


def test_empty_masks():
    empty, full = torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4)
    for metric in (iou, dice, boundary_f1):
        assert metric(empty, empty) == 1
        assert metric(empty, full) == metric(full, empty) == 0
        assert metric(empty, empty, per_image=True).tolist() == [1, 1]


def test_pooled_and_per_image_differ_as_documented():
    # One empty picture found empty, one missed entirely: per image 1 and 0, pooled 0.
    pred, true = torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)
    true[1, 0, 0, 0] = 1
    assert iou(pred, true, per_image=True).tolist() == [1, 0]
    assert iou(pred, true) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_counts_do_not_overflow(dtype):
    true = torch.ones(2, 1, 300, 300, dtype=dtype)  # 180,000 pixels; float16 ends at 65,504
    pred = true.clone()
    pred[0] = 0
    assert iou(pred, true) == 0.5
    assert dice(pred, true).item() == pytest.approx(2 / 3)
    assert pixel_accuracy(pred, true) == 0.5


@settings(deadline=None)
@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20), st.floats(0, 1))
def test_binarize_thresholds_probabilities(logits, threshold):
    logits = torch.tensor(logits)
    mask = binarize(logits, threshold)
    assert mask.dtype == torch.float32
    assert set(mask.tolist()) <= {0.0, 1.0}
    assert torch.equal(mask.bool(), torch.sigmoid(logits) > threshold)


def test_binarize_default_is_the_sign():
    logits = torch.tensor([-100.0, -1e-4, 0.0, 1e-4, 0.4, 100.0])
    assert binarize(logits).tolist() == [0, 0, 0, 1, 1, 1]
    assert binarize(torch.tensor([1e-3], dtype=torch.bfloat16)) == 1  # bfloat16's own sigmoid rounds to 0.5


def test_binarize_refuses_what_gives_no_mask():
    with pytest.raises(ValueError, match="diverged"):
        binarize(torch.tensor([0.0, float("nan")]))
    with pytest.raises(ValueError, match="threshold=1.5"):
        binarize(torch.zeros(1), 1.5)


@pytest.mark.parametrize("metric", MASK_METRICS)
def test_wrong_shapes_are_named(metric):
    mask = torch.zeros(2, 1, 4, 4)
    with pytest.raises(ValueError, match=r"\(2, 4, 4\).*unsqueeze"):
        metric(mask[:, 0], mask)
    with pytest.raises(ValueError, match="unsqueeze"):
        metric(mask[0], mask[0])
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\)"):
        metric(mask.expand(2, 3, 4, 4), mask.expand(2, 3, 4, 4))
    with pytest.raises(ValueError, match="at least one pixel"):
        metric(mask[:0], mask[:0])


@pytest.mark.parametrize("metric", MASK_METRICS)
@pytest.mark.parametrize("value", [255.0, 0.5, -3.2, float("nan")])
def test_values_other_than_0_and_1_are_named(metric, value):
    mask, wrong = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    wrong[0, 0, 2, 3] = value
    with pytest.raises(ValueError, match=rf"pred_mask holds {value:g} .*binarize"):
        metric(wrong, mask)
    with pytest.raises(ValueError, match=rf"^mask holds {value:g} .*NEAREST"):
        metric(mask, wrong)


def test_inputs_stay_as_they_were():
    pred = torch.ones(1, 1, 4, 4)
    true = torch.zeros(1, 1, 4, 4)
    for metric in MASK_METRICS:
        metric(pred, true)
        metric(pred, true, ignore_index=255)
    ConfusionMatrix(2).update(pred, true).mean_iou()
    mean_boundary_f1(pred, true, 2)
    assert pred.eq(1).all() and true.eq(0).all()


# ---------------------------------------------------------------------------------------------- labels of C classes


@settings(deadline=None)
@given(st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_labels_from_takes_the_largest_logit(classes, seed):
    logits = np.random.default_rng(seed).normal(size=(2, classes, 3, 4)).astype(np.float32)
    labels = labels_from(torch.from_numpy(logits))
    assert labels.dtype == torch.int64
    assert np.array_equal(labels.numpy(), logits.argmax(1))


def test_labels_from_refuses_what_gives_no_labels():
    with pytest.raises(ValueError, match="diverged"):
        labels_from(torch.full((1, 2, 4, 4), float("nan")))
    with pytest.raises(ValueError, match="one channel.*binarize"):
        labels_from(torch.zeros(1, 1, 4, 4))
    with pytest.raises(ValueError, match=r"\(2, 4, 4\).*\(B, C, H, W\)"):
        labels_from(torch.zeros(2, 4, 4))
    with pytest.raises(ValueError, match="int64.*hard already"):
        labels_from(torch.zeros(1, 2, 4, 4, dtype=torch.int64))


def test_a_class_in_neither_is_left_out_of_means_and_1_by_itself():
    pred, true = torch.tensor([[[0, 0, 2, 2]]]), torch.tensor([[[0, 0, 0, 2]]])  # of 4 classes, 1 and 3 are absent
    confusion = ConfusionMatrix(4).update(pred, true)
    assert confusion.iou().tolist() == pytest.approx([2 / 3, 1, 1 / 2, 1])
    assert confusion.dice().tolist() == pytest.approx([4 / 5, 1, 2 / 3, 1])
    assert confusion.mean_iou().item() == mean_iou(pred, true, 4).item() == pytest.approx(7 / 12)
    assert confusion.mean_dice().item() == pytest.approx(11 / 15)
    assert confusion.pixel_accuracy() == 0.75
    assert confusion.matrix.tolist() == [[2, 0, 1, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]


def test_a_class_found_where_it_is_not_scores_0_and_is_averaged():
    pred, true = torch.ones(1, 2, 2), torch.zeros(1, 2, 2)
    assert mean_iou(pred, true, 2) == mean_boundary_f1(pred, true, 2) == 0


def test_every_picture_averages_its_own_classes():
    labels = torch.tensor([[[0, 0]], [[0, 2]]])
    pred = torch.tensor([[[0, 0]], [[0, 0]]])
    assert mean_iou(pred, labels, 3, per_image=True).tolist() == [1, 0.25]
    assert mean_iou(pred, labels, 3).item() == pytest.approx(3 / 8)  # classes 0 (3 of 4 pixels) and 2 (none)
    assert mean_boundary_f1(pred, labels, 3, per_image=True).tolist() == [1, 0.5]


@settings(deadline=None)
@given(mask_pairs())
def test_two_classes_are_the_binary_metrics(masks):
    confusion = ConfusionMatrix(2).update(*masks)
    for metric, per_class in ((iou, confusion.iou), (dice, confusion.dice)):
        assert metric(*masks) == per_class()[1]
        assert torch.equal(metric(*masks, per_image=True), per_class(per_image=True)[:, 1])
    assert pixel_accuracy(*masks) == confusion.pixel_accuracy()
    assert torch.equal(pixel_accuracy(*masks, per_image=True), confusion.pixel_accuracy(per_image=True))
    turned = [1 - mask for mask in masks]
    both = boundary_f1(*masks, per_image=True), boundary_f1(*turned, per_image=True)
    there = torch.stack([(pair[0] + pair[1]).flatten(1).any(1) for pair in (masks, turned)])
    expected = (torch.stack(both) * there).sum(0) / there.sum(0)
    assert mean_boundary_f1(*masks, 2, per_image=True).tolist() == pytest.approx(expected.tolist())


@settings(deadline=None)
@given(mask_pairs(), st.integers(1, 4))
def test_batches_do_not_matter_to_the_confusion_matrix(masks, size):
    whole, parts = ConfusionMatrix(2).update(*masks), ConfusionMatrix(2)
    for batch in zip(*(mask.split(size) for mask in masks)):
        parts.update(*batch)
    assert torch.equal(whole.matrix, parts.matrix)
    assert torch.equal(whole.mean_iou(), parts.mean_iou())
    assert torch.equal(whole.iou(per_image=True), parts.iou(per_image=True))


def test_binary_logits_stream_through_binarize():
    masks = torch.tensor([[[[0.0, 1.0], [1.0, 1.0]]]])
    logits = torch.tensor([[[[-2.0, 3.0], [-1.0, 0.1]]]])
    confusion = ConfusionMatrix(2).update(binarize(logits), masks)
    assert confusion.iou()[1].item() == pytest.approx(2 / 3)
    assert torch.equal(confusion.matrix, ConfusionMatrix(2).update(binarize(logits)[:, 0], masks[:, 0].long()).matrix)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float64])
def test_labels_of_any_type_give_float32(dtype):
    labels = torch.tensor([[[0, 1, 1], [0, 0, 1]]]).to(dtype)
    for metric in LABEL_METRICS:
        assert metric(labels, labels, 2) == 1 and metric(labels, labels, 2).dtype == torch.float32
    for metric in MASK_METRICS:
        masks = labels[:, None]
        assert metric(masks, masks) == 1 and metric(masks, masks).dtype == torch.float32
    confusion = ConfusionMatrix(2).update(labels, labels)
    assert confusion.matrix.dtype == torch.int64 and confusion.iou().dtype == torch.float32


def test_large_counts_lose_no_pixel():
    confusion = ConfusionMatrix(2)
    confusion.matrix[0, 0] = 2**40  # as after a million pictures of a million pixels
    confusion.update(torch.ones(1, 4, 4), torch.ones(1, 4, 4))
    assert confusion.matrix.tolist() == [[2**40, 0], [0, 16]]
    assert confusion.iou().tolist() == [1, 1]


# ---------------------------------------------------------------------------------------------- boundaries


def test_a_shift_within_the_tolerance_scores_1():
    true = torch.zeros(1, 1, 40, 40)
    true[..., 10:30, 10:30] = 1
    scores = [boundary_f1(true.roll(shift, 3), true).item() for shift in range(4)]  # the usual tolerance is 1 pixel
    assert scores[:2] == [1, 1] and scores[1] > scores[2] > scores[3] > 0
    assert boundary_f1(true.roll(3, 3), true, tolerance=3) == 1
    assert boundary_f1(true.roll(1, 3), true, tolerance=0) < 1


def test_the_frame_cuts_a_boundary():
    full, inner = torch.ones(1, 1, 20, 20), torch.zeros(1, 1, 20, 20)
    inner[..., 5:15, 5:15] = 1
    assert boundary_f1(full, full) == 1
    assert boundary_f1(inner, full) == 0
    assert boundary_f1(inner, full, tolerance=100) == 1


def test_boundary_f1_does_not_see_inside():
    ring = torch.ones(1, 1, 20, 20)
    ring[..., 8:12, 8:12] = 0
    assert iou(ring, torch.ones_like(ring)).item() == pytest.approx(0.96)
    # 76 pixels around the frame are right, the 20 pixels around the hole (its corners too) are not
    assert boundary_f1(ring, torch.ones_like(ring)).item() == pytest.approx(2 * (76 / 96) / (1 + 76 / 96))


def test_boundary_f1_is_averaged_over_pictures_not_pooled():
    true = torch.zeros(2, 1, 20, 20)
    true[0, 0, 2:18, 2:18] = true[1, 0, 5, 5] = 1
    pred = true.clone()
    pred[1] = 0
    assert boundary_f1(pred, true, per_image=True).tolist() == [1, 0]
    assert boundary_f1(pred, true) == 0.5


def test_autocast_changes_no_metric():
    true = torch.zeros(1, 1, 40, 40)
    true[..., 10:30, 10:30] = 1
    pred = true.roll(3, 3)
    for metric in MASK_METRICS:
        with torch.autocast("cpu", torch.bfloat16):
            mixed = metric(pred, true)
        assert mixed == metric(pred, true) and mixed.dtype == torch.float32


@pytest.mark.parametrize("tolerance", [-1, float("inf"), float("nan")])
def test_a_tolerance_that_is_none_is_named(tolerance):
    mask = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match="tolerance=.*pixels"):
        boundary_f1(mask, mask, tolerance=tolerance)


# ---------------------------------------------------------------------------------------------- ignored pixels


@settings(deadline=None)
@given(mask_pairs(), st.integers(0, 2**32 - 1))
def test_ignored_pixels_decide_nothing(masks, seed):
    pred, true = (torch.nn.functional.pad(mask, (6, 6, 6, 6)) for mask in masks)  # so that boundaries are left
    ignored = torch.from_numpy(np.random.default_rng(seed).random(true.shape) < 0.02)
    ignored[..., 0, 0] = False
    true[..., 0, 0] = pred[..., 0, 0] = 1
    true[..., :3, :3], ignored[..., :4, :4] = 1, False
    marked, other = true.masked_fill(ignored, 255), torch.where(ignored, 1 - pred, pred)
    ideal = torch.where(ignored, 1 - true, true)
    for metric in MASK_METRICS:
        options = {"per_image": True, "ignore_index": 255}
        assert torch.equal(metric(pred, marked, **options), metric(other, marked, **options))
        assert metric(ideal, marked, **options).eq(1).all()
    for metric in LABEL_METRICS:
        assert torch.equal(metric(pred, marked, 2, **options), metric(other, marked, 2, **options))
        assert metric(ideal, marked, 2, **options).eq(1).all()


def test_ignored_pixels_count_nowhere():
    pred, true = torch.tensor([[[[1.0, 1.0, 0.0, 1.0]]]]), torch.tensor([[[[1.0, 0.0, 0.0, 255.0]]]])
    assert iou(pred, true, ignore_index=255) == 0.5
    assert dice(pred, true, ignore_index=255).item() == pytest.approx(2 / 3)
    assert pixel_accuracy(pred, true, ignore_index=255).item() == pytest.approx(2 / 3)
    assert ConfusionMatrix(2, ignore_index=255).update(pred, true).matrix.sum() == 3


def test_pictures_of_ignored_pixels_alone_are_named():
    pred, true = torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    true[1] = 255
    for metric in METRICS:
        assert metric(pred, true, ignore_index=255) == 1  # pooled, the first picture counts
        with pytest.raises(ValueError, match="picture 1 counts"):
            metric(pred, true, per_image=True, ignore_index=255)
        with pytest.raises(ValueError, match="any picture counts"):
            metric(pred[1:], true[1:], ignore_index=255)
    with pytest.raises(ValueError, match="Picture 1 has no boundary"):
        boundary_f1(pred, true, ignore_index=255)
    with pytest.raises(ValueError, match="Picture 1 has no boundary"):
        mean_boundary_f1(pred, true, 2, ignore_index=255)
    confusion = ConfusionMatrix(2, ignore_index=255).update(pred, true)
    assert confusion.mean_iou() == 1
    with pytest.raises(ValueError, match="picture 1 counts"):
        confusion.mean_iou(per_image=True)


def test_an_ignored_border_hides_the_boundary_and_says_so():
    true = torch.zeros(1, 1, 20, 20)
    true[..., 4:16, 4:16], true[..., 6:14, 6:14] = 255, 1
    pred = (true == 1).float()
    assert iou(pred, true, ignore_index=255) == 1
    with pytest.raises(ValueError, match="Picture 0 .*border of every object"):
        boundary_f1(pred, true, ignore_index=255)
    assert mean_boundary_f1(pred, true, 2, ignore_index=255) == 1  # the background's boundary with the frame is left


def test_an_ignored_class_is_not_averaged():
    pred, true = torch.tensor([[[0, 1, 2, 2]]]), torch.tensor([[[0, 1, 1, 2]]])
    assert mean_iou(pred, true, 3, ignore_index=0).item() == pytest.approx(0.5)
    assert ConfusionMatrix(3, ignore_index=0).update(pred, true).mean_dice().item() == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="ignore_index=0 is a label"):
        iou(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), ignore_index=0)


# ---------------------------------------------------------------------------------------------- refusals of labels


@pytest.mark.parametrize("metric", [*LABEL_METRICS, lambda p, t, c, **kw: ConfusionMatrix(c, **kw).update(p, t)])
def test_labels_that_are_none_are_named(metric):
    labels = torch.zeros(2, 4, 4)
    for value in (255, -1, 3, 0.5, float("nan"), float("inf")):
        wrong = labels.clone()
        wrong[1, 2, 3] = value
        with pytest.raises(ValueError, match=rf"^pred_labels holds {value:g} .*0 to 2 .*labels_from"):
            metric(wrong, labels, 3)
        with pytest.raises(ValueError, match=rf"^labels holds {value:g} .*ignore_index"):
            metric(labels, wrong, 3)
    with pytest.raises(ValueError, match="Shapes differ"):
        metric(labels, labels[:, :2], 3)
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\).*labels_from"):
        metric(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4), 3)
    with pytest.raises(ValueError, match=r"\(4, 4\).*unsqueeze\(0\)"):
        metric(labels[0], labels[0], 3)
    with pytest.raises(ValueError, match="at least one pixel"):
        metric(labels[:0], labels[:0], 3)
    with pytest.raises(ValueError, match="num_classes=1: background"):
        metric(labels, labels, 1)
    with pytest.raises(TypeError, match="labels is a ndarray"):
        metric(labels, labels.numpy(), 3)


def test_a_refused_batch_adds_nothing():
    confusion = ConfusionMatrix(2)
    with pytest.raises(ValueError, match="Nothing was counted yet"):
        confusion.iou()
    with pytest.raises(ValueError, match="holds 7"):
        confusion.update(torch.full((1, 4, 4), 7), torch.zeros(1, 4, 4))
    with pytest.raises(ValueError, match="Nothing was counted yet"):
        confusion.pixel_accuracy()


# ---------------------------------------------------------------------------------------------- evaluate


def small_network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 1, 1))


def batches():
    draw = torch.Generator().manual_seed(1)
    images, noise = torch.rand(5, 3, 8, 8, generator=draw), torch.rand(5, 1, 8, 8, generator=draw)
    return list(zip(images.split(2), (noise > 0.5).float().split(2)))


def test_evaluate_leaves_the_network_as_it_was():
    network = small_network().train()
    network[1].eval()  # frozen on purpose
    before = {name: value.clone() for name, value in network.state_dict().items()}
    seen = []
    network.register_forward_hook(lambda module, *_: seen.append((module.training, torch.is_grad_enabled())))
    scores = evaluate(network, batches(), "cpu")
    assert seen == [(False, False)] * 3
    assert [module.training for module in network] == [True, False, True] and network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert list(scores) == ["iou", "iou_per_image", "dice", "dice_per_image", "pixel_accuracy", "boundary_f1"]
    network.eval()
    assert evaluate(network, batches(), torch.device("cpu")) == scores and not network.training
    assert torch.is_grad_enabled()


def test_evaluate_thresholds_probabilities():
    images, masks = torch.full((1, 1, 4, 4), 0.5), torch.ones(1, 1, 4, 4)  # sigmoid(0.5) is 0.62
    assert evaluate(torch.nn.Identity(), [(images, masks)], "cpu", threshold=0.6)["iou"] == 1
    assert evaluate(torch.nn.Identity(), [(images, masks)], "cpu", threshold=0.63)["iou"] == 0


def test_evaluate_names_what_is_wrong_and_restores_the_mode():
    network, images, masks = small_network(), *batches()[0]
    cases = {
        "gave no batch.*drop_last": [],
        "logits hold NaN": [(images * float("nan"), masks)],
        r"mask holds 255": [(images, masks * 255)],
        r"gave \(2, 1, 8, 8\) for masks \(2, 8, 8\)": [(images, masks[:, 0])],
        "batch of type dict": [{"image": images, "mask": masks}],
        "batch of type Tensor": [images],
    }
    for message, loader in cases.items():
        with pytest.raises(ValueError, match=message):
            evaluate(network, loader, "cpu")
        assert all(module.training for module in network.modules())
    with pytest.raises(ValueError, match="labels_from"):
        evaluate(torch.nn.Conv2d(3, 2, 1), [(images, masks)], "cpu")
    with pytest.raises(ValueError, match=r"on cpu, the device asked for is meta: call model.to"):
        evaluate(network, [(images, masks)], "meta")


def test_evaluate_classes_is_the_confusion_matrix_and_leaves_the_network_as_it_was():
    network = torch.nn.Conv2d(3, 4, 3, padding=1).train()
    loader = [(torch.rand(2, 3, 8, 8), torch.randint(5, (2, 8, 8))) for _ in range(3)]
    scores = evaluate_classes(network, loader, "cpu", 4, ignore_index=4)
    assert network.training and torch.is_grad_enabled()
    confusion = ConfusionMatrix(4, ignore_index=4)
    predicted = [labels_from(network(images)) for images, _ in loader]
    for pred, (_, labels) in zip(predicted, loader):
        confusion.update(pred, labels)
    for name in ("mean_iou", "mean_dice", "pixel_accuracy"):
        assert scores[name] == pytest.approx(getattr(confusion, name)().item())
    assert scores["iou_per_class"] == pytest.approx(confusion.iou().tolist())
    both = torch.cat(predicted), torch.cat([labels for _, labels in loader])
    assert scores["boundary_f1"] == pytest.approx(mean_boundary_f1(*both, 4, ignore_index=4).item())


def test_evaluate_classes_has_no_score_for_a_class_that_is_not_there():
    logits = torch.zeros(1, 3, 2, 2)
    logits[:, 1] = 1
    found = evaluate_classes(torch.nn.Identity(), [(logits, torch.ones(1, 2, 2, dtype=torch.int64))], "cpu", 3)
    assert found["mean_iou"] == 1 and found["iou_per_class"][1] == 1
    assert all(np.isnan(found["iou_per_class"][label]) for label in (0, 2))


def test_evaluate_classes_names_what_is_wrong():
    logits, labels = torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.int64)
    cases = {
        "gave no batch": [],
        r"gave \(1, 3, 4, 4\) for labels \(1, 1, 4, 4\)": [(logits, labels[:, None])],
        "holds 7": [(logits, labels + 7)],
        "logits hold NaN": [(logits * float("nan"), labels)],
    }
    for message, loader in cases.items():
        with pytest.raises(ValueError, match=message):
            evaluate_classes(torch.nn.Identity(), loader, "cpu", 3)
    with pytest.raises(ValueError, match=r"needs logits \(B, 5, H, W\)"):
        evaluate_classes(torch.nn.Identity(), [(logits, labels)], "cpu", 5)
