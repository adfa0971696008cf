"""The metrics against set computations in numpy, and their edge rules."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics import binarize, dice, iou, pixel_accuracy

METRICS = (iou, dice, pixel_accuracy)


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
    assert 0 <= iou(*masks) <= dice(*masks) <= 1


def test_empty_masks():
    empty, full = torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4)
    for metric in (iou, dice):
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


@pytest.mark.parametrize("metric", METRICS)
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


@pytest.mark.parametrize("metric", METRICS)
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
    for metric in METRICS:
        metric(pred, true)
    assert pred.eq(1).all() and true.eq(0).all()
