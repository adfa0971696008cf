"""The metrics against scikit-learn, torchmetrics and SciPy, and proof that these comparisons can fail.

Where definitions meet the values must agree; where they part, a test named `..._differs_...` holds both values.
"""

import math
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion, distance_transform_edt
from sklearn import metrics as sklearn_metrics
from torchmetrics.functional import classification, segmentation
from torchmetrics.segmentation import MeanIoU

import metrics
from metrics import ConfusionMatrix, boundary_f1, dice, evaluate, iou, mean_boundary_f1, mean_iou, pixel_accuracy

IGNORED = 255
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]

# ---------------------------------------------------------------------------------------------- pictures


def picture(rng, height, width, classes):
    """One label map: noise, a constant, a disk on a ground, stripes, or a checkerboard."""
    rows, columns = np.mgrid[:height, :width]
    first, second = rng.integers(0, classes, 2)
    centre, radius = (rng.uniform(0, height), rng.uniform(0, width)), rng.uniform(0, max(height, width))
    kinds = (
        rng.integers(0, classes, (height, width)),
        np.full((height, width), first),
        np.where(np.hypot(rows - centre[0], columns - centre[1]) <= radius, first, second),
        rows // rng.integers(1, 4) % classes,
        np.where((rows + columns) % 2, first, second),
    )
    return kinds[rng.integers(len(kinds))]


def make_case(seed, count, height, width, classes, ignored):
    """Predicted and true label maps, int64 `(count, height, width)`; with ignored, some pixels are not to count."""
    rng = np.random.default_rng(seed)
    truth = np.stack([picture(rng, height, width, classes) for _ in range(count)])
    shifted = np.roll(truth, rng.integers(-2, 3, 2), (1, 2))  # a prediction that is nearly right
    other = np.stack([picture(rng, height, width, classes) for _ in range(count)])
    pred = np.where(rng.random((count, 1, 1)) < 0.5, shifted, other)
    if ignored:
        top, left = rng.integers(0, height), rng.integers(0, width)
        truth[:, top : top + 3, left : left + 3] = IGNORED
        truth[:, 0, 0] = rng.integers(0, classes)  # something is left to count
    return torch.from_numpy(pred), torch.from_numpy(truth)


@st.composite
def cases(draw, classes=None, ignored=None):
    classes = draw(st.integers(2, 5)) if classes is None else classes
    side = st.integers(1, 12)
    ignored = draw(st.booleans()) if ignored is None else ignored
    seed, count = draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, 4))
    return (*make_case(seed, count, draw(side), draw(side), classes, ignored), classes)


def corpus(classes):
    return [(*make_case(seed, 3, 9 + seed % 7, 8 + seed % 5, classes, seed % 2 == 1), classes) for seed in range(24)]


BINARY_CORPUS, CORPUS = corpus(2), [case for classes in (2, 3, 4) for case in corpus(classes)[::3]]


def close(got, expected):
    assert torch.as_tensor(got).tolist() == pytest.approx(np.asarray(expected).tolist(), abs=2e-6)


def kept(pred, truth):
    """Flat arrays of the pixels that count."""
    pred, truth = pred.numpy().ravel(), truth.numpy().ravel()
    return pred[truth != IGNORED], truth[truth != IGNORED]


def as_masks(pred, truth):
    return pred[:, None].float(), truth[:, None].float()


# ---------------------------------------------------------------------------------------------- scikit-learn


def compare_binary_with_sklearn(pred, truth, classes=2):
    def of(*pair):
        return (
            sklearn_metrics.jaccard_score(*pair[::-1], zero_division=1),
            sklearn_metrics.f1_score(*pair[::-1], zero_division=1),
            sklearn_metrics.accuracy_score(*pair[::-1]),
        )

    each = zip(*(of(*kept(*pair)) for pair in zip(pred, truth)))
    for metric, pooled, singles in zip((iou, dice, pixel_accuracy), of(*kept(pred, truth)), each):
        close(metric(*as_masks(pred, truth), ignore_index=IGNORED), pooled)
        close(metric(*as_masks(pred, truth), per_image=True, ignore_index=IGNORED), singles)


def compare_matrix_with_sklearn(pred, truth, classes):
    confusion = ConfusionMatrix(classes, IGNORED)
    for batch in zip(pred.split(2), truth.split(2)):
        confusion.update(*batch)
    labels = list(range(classes))
    flat_pred, flat_truth = kept(pred, truth)
    assert np.array_equal(confusion.matrix, sklearn_metrics.confusion_matrix(flat_truth, flat_pred, labels=labels))
    options = {"labels": labels, "average": None, "zero_division": 1}
    close(confusion.iou(), sklearn_metrics.jaccard_score(flat_truth, flat_pred, **options))
    close(confusion.dice(), sklearn_metrics.f1_score(flat_truth, flat_pred, **options))
    close(confusion.pixel_accuracy(), sklearn_metrics.accuracy_score(flat_truth, flat_pred))
    # scikit-learn's own choice of labels is the classes that are predicted or true
    present = {"labels": np.union1d(flat_truth, flat_pred), "average": "macro"}
    close(confusion.mean_iou(), sklearn_metrics.jaccard_score(flat_truth, flat_pred, **present))
    close(confusion.mean_dice(), sklearn_metrics.f1_score(flat_truth, flat_pred, **present))
    close(mean_iou(pred, truth, classes, ignore_index=IGNORED), confusion.mean_iou())


@settings(deadline=None, max_examples=60)
@given(cases(classes=2))
def test_two_classes_agree_with_sklearn(case):
    compare_binary_with_sklearn(*case)


@settings(deadline=None, max_examples=60)
@given(cases())
def test_the_confusion_matrix_agrees_with_sklearn(case):
    compare_matrix_with_sklearn(*case)


# ---------------------------------------------------------------------------------------------- torchmetrics


def compare_with_torchmetrics(pred, truth, classes):
    options = {"num_classes": classes, "ignore_index": IGNORED}
    confusion = ConfusionMatrix(classes, IGNORED).update(pred, truth)
    assert torch.equal(confusion.matrix, classification.multiclass_confusion_matrix(pred, truth, **options))
    close(confusion.mean_iou(), classification.multiclass_jaccard_index(pred, truth, **options))
    jaccard = classification.multiclass_jaccard_index(pred, truth, average="none", zero_division=1, **options)
    close(confusion.iou(), jaccard)
    close(confusion.pixel_accuracy(), classification.multiclass_accuracy(pred, truth, average="micro", **options))


def compare_per_image_with_torchmetrics(pred, truth, classes):
    """torchmetrics.segmentation has no ignore_index, so nothing is ignored here."""
    pred, truth = pred.clamp(max=classes - 1), truth.clamp(max=classes - 1)
    options = {"num_classes": classes, "input_format": "index"}
    confusion = ConfusionMatrix(classes).update(pred, truth)
    expected = segmentation.mean_iou(pred, truth, **options)
    close(confusion.mean_iou(per_image=True), expected)
    close(mean_iou(pred, truth, classes, per_image=True), expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells of its change of defaults
        close(confusion.mean_dice(per_image=True), segmentation.dice_score(pred, truth, average="macro", **options))
        pooled = segmentation.dice_score(pred, truth, average="macro", aggregation_level="global", **options)
    close(confusion.mean_dice(), pooled.squeeze())


@settings(deadline=None, max_examples=60)
@given(cases())
def test_c_classes_agree_with_torchmetrics(case):
    compare_with_torchmetrics(*case)


@settings(deadline=None, max_examples=60)
@given(cases(ignored=False))
def test_c_classes_per_image_agree_with_torchmetrics(case):
    compare_per_image_with_torchmetrics(*case)


@settings(deadline=None, max_examples=40)
@given(cases(ignored=False), st.data())
def test_an_ignored_class_is_left_out_as_in_torchmetrics(case, data):
    pred, truth, classes = case
    label = data.draw(st.integers(0, classes - 1))
    if (truth == label).all():
        return
    options = {"num_classes": classes, "ignore_index": label}
    close(mean_iou(pred, truth, **options), classification.multiclass_jaccard_index(pred, truth, **options))


# ---------------------------------------------------------------------------------------------- SciPy: boundaries


def scipy_boundary(mask):
    return mask & ~binary_erosion(mask, np.ones((3, 3)), border_value=0)


def scipy_share_near(edge, other, tolerance):
    """Share of the edge's pixels within tolerance of the other edge, None without an edge."""
    if not edge.any():
        return None
    if not other.any():
        return 0.0
    return (distance_transform_edt(~other)[edge] <= tolerance).mean()


def scipy_f1(pred, true, judged, tolerance=None):
    """Boundary F1 of one picture, None where neither side has a boundary; all bool `(H, W)`."""
    tolerance = max(1, 0.0075 * math.sqrt(pred.shape[0] ** 2 + pred.shape[1] ** 2)) if tolerance is None else tolerance
    pred, true = scipy_boundary(pred) & judged, scipy_boundary(true) & judged
    precision, recall = scipy_share_near(pred, true, tolerance), scipy_share_near(true, pred, tolerance)
    if precision is None and recall is None:
        return None
    return 2 * precision * recall / (precision + recall) if precision and recall else 0.0


def scipy_judged(truth):
    return binary_erosion(truth != IGNORED, np.ones((3, 3)), border_value=1)


def compare_boundary_with_scipy(pred, truth, classes=2, tolerance=None):
    pairs = list(zip(pred.numpy(), truth.numpy()))
    scores = [scipy_f1((p == 1) & (t != IGNORED), t == 1, scipy_judged(t), tolerance) for p, t in pairs]
    expected = [1.0 if score is None else score for score in scores]
    hidden = [s is None and (((p == 1) | (t == 1)) & (t != IGNORED)).any() for s, (p, t) in zip(scores, pairs)]
    options = {"tolerance": tolerance, "ignore_index": IGNORED}
    if any(hidden):
        with pytest.raises(ValueError, match=f"Picture {hidden.index(True)} has no boundary"):
            boundary_f1(*as_masks(pred, truth), **options)
        return
    close(boundary_f1(*as_masks(pred, truth), per_image=True, **options), expected)
    close(boundary_f1(*as_masks(pred, truth), **options), np.mean(expected))


def compare_mean_boundary_with_scipy(pred, truth, classes, tolerance=None):
    means = []
    for p, t in zip(pred.numpy(), truth.numpy()):
        judged = scipy_judged(t)
        scores = [scipy_f1((p == c) & (t != IGNORED), t == c, judged, tolerance) for c in range(classes)]
        means.append(np.mean([s for s in scores if s is not None]) if set(scores) != {None} else None)
    options = {"tolerance": tolerance, "ignore_index": IGNORED}
    if None in means:
        with pytest.raises(ValueError, match=f"Picture {means.index(None)} has no boundary"):
            mean_boundary_f1(pred, truth, classes, **options)
        return
    close(mean_boundary_f1(pred, truth, classes, per_image=True, **options), means)
    close(mean_boundary_f1(pred, truth, classes, **options), np.mean(means))


# √n for sums of squares: pixels lie exactly on the tolerance, where rounding would show.
tolerances = st.one_of(st.none(), st.floats(0, 30), st.integers(0, 200).map(math.sqrt))


@settings(deadline=None, max_examples=150)
@given(cases(classes=2), tolerances)
def test_boundary_f1_agrees_with_scipy(case, tolerance):
    compare_boundary_with_scipy(*case, tolerance)


@settings(deadline=None, max_examples=80)
@given(cases(), tolerances)
def test_mean_boundary_f1_agrees_with_scipy(case, tolerance):
    compare_mean_boundary_with_scipy(*case, tolerance)


@pytest.mark.parametrize("side", [64, 200, 300, 512])
def test_the_usual_tolerance_agrees_with_scipy_on_large_pictures(side):
    # 0.0075 · diagonal passes 1 pixel at a side of 95 and 2 at 189
    rng = np.random.default_rng(side)
    rows, columns = np.mgrid[:side, :side]
    disk = np.hypot(rows - side / 2, columns - side / 2) < side / 3
    for shift in range(4):
        noisy = np.roll(disk, (shift, -shift), (0, 1)) ^ (rng.random(disk.shape) < 0.001)
        compare_boundary_with_scipy(torch.from_numpy(noisy[None].astype(int)), torch.from_numpy(disk[None].astype(int)))


@settings(deadline=None, max_examples=80)
@given(st.integers(1, 15), st.integers(1, 15), st.integers(0, 2**32 - 1))
def test_dilation_with_a_disk_is_a_threshold_on_the_euclidean_distance(height, width, seed):
    region = np.random.default_rng(seed).random((height, width)) < 0.05
    distance = distance_transform_edt(~region) if region.any() else np.full(region.shape, np.inf)
    for tolerance in (*map(math.sqrt, range(120)), 2.999, math.nextafter(5, 0), math.nextafter(5, 9), 1e200):
        got = metrics._within(torch.from_numpy(region)[None, None], tolerance)[0, 0].numpy()
        assert np.array_equal(got, distance <= tolerance)


# ---------------------------------------------------------------------------------------------- evaluate


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_evaluate_agrees_with_sklearn_and_scipy_at_every_batch_size(batch_size, device):
    pred, truth = make_case(5, 7, 24, 20, 2, ignored=False)
    pred[0] = truth[0] = 0  # one picture without foreground
    logits = (pred[:, None] * 2 - 1).float()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(logits, truth[:, None].float()), batch_size)
    got = evaluate(torch.nn.Identity(), loader, device)
    flat = truth.ravel(), pred.ravel()
    pairs = [(t.ravel(), p.ravel()) for t, p in zip(truth, pred)]
    everywhere = np.ones(truth.shape[1:], bool)
    edges = [scipy_f1(p.numpy() == 1, t.numpy() == 1, everywhere) for p, t in zip(pred, truth)]
    expected = {
        "iou": sklearn_metrics.jaccard_score(*flat),
        "iou_per_image": np.mean([sklearn_metrics.jaccard_score(*pair, zero_division=1) for pair in pairs]),
        "dice": sklearn_metrics.f1_score(*flat),
        "dice_per_image": np.mean([sklearn_metrics.f1_score(*pair, zero_division=1) for pair in pairs]),
        "pixel_accuracy": sklearn_metrics.accuracy_score(*flat),
        "boundary_f1": np.mean([1.0 if edge is None else edge for edge in edges]),
    }
    assert got == pytest.approx(expected, abs=1e-6)
    assert all(type(value) is float for value in got.values())


@pytest.mark.parametrize("device", DEVICES)
def test_devices_agree(device):
    for pred, truth, classes in CORPUS:
        pred, truth = pred.to(device), truth.to(device)
        got = mean_iou(pred, truth, classes, ignore_index=IGNORED)
        assert got.device.type == device and got.dtype == torch.float32
        close(got.cpu(), mean_iou(pred.cpu(), truth.cpu(), classes, ignore_index=IGNORED))
        pred, truth = (pred == 1)[:, None], (truth == 1)[:, None]
        got = boundary_f1(pred, truth, per_image=True)
        assert got.device.type == device and got.dtype == torch.float32
        close(got.cpu(), boundary_f1(pred.cpu(), truth.cpu(), per_image=True))
        confusions = [ConfusionMatrix(2).update(pred.to(place), truth.to(place)) for place in (device, "cpu")]
        assert torch.equal(*(confusion.matrix for confusion in confusions))


# ---------------------------------------------------------------------------------------------- where definitions part


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_empty_against_empty_differs_from_the_defaults_of_torchmetrics_and_sklearn():
    empty = torch.zeros(1, 1, 4, 4, dtype=torch.int64)
    assert iou(empty, empty) == dice(empty, empty) == 1
    assert classification.binary_jaccard_index(empty, empty) == 0
    assert classification.binary_f1_score(empty, empty) == 0
    assert sklearn_metrics.jaccard_score(empty.ravel(), empty.ravel()) == 0
    assert sklearn_metrics.f1_score(empty.ravel(), empty.ravel()) == 0


def test_the_value_of_an_absent_class_differs_from_torchmetrics():
    labels = torch.tensor([[[0, 1], [1, 0]]])
    confusion = ConfusionMatrix(3).update(labels, labels)
    assert confusion.iou().tolist() == [1, 1, 1] and confusion.dice().tolist() == [1, 1, 1]
    options = {"num_classes": 3, "input_format": "index"}
    assert segmentation.mean_iou(labels, labels, per_class=True, **options).tolist() == [[1, 1, -1]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert segmentation.dice_score(labels, labels, average="none", **options)[0, 2].isnan()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_the_mean_over_an_absent_class_differs_from_sklearn_with_all_labels():
    pred, truth = torch.tensor([[[0, 1], [1, 1]]]), torch.tensor([[[0, 1], [1, 0]]])
    flat = truth.ravel(), pred.ravel()
    assert mean_iou(pred, truth, 3).item() == pytest.approx((1 / 2 + 2 / 3) / 2)  # class 2 is left out
    every = sklearn_metrics.jaccard_score(*flat, labels=[0, 1, 2], average="macro")
    assert every == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)


def test_mean_iou_over_a_loader_differs_from_the_class_of_torchmetrics_which_averages_pictures():
    pred, truth = torch.zeros(2, 2, 2, dtype=torch.int64), torch.zeros(2, 2, 2, dtype=torch.int64)
    truth[0, 0], pred[1, 0, 0], truth[1] = 1, 1, 1
    theirs = MeanIoU(num_classes=2, input_format="index")
    theirs.update(pred, truth)
    confusion = ConfusionMatrix(2).update(pred, truth)
    assert theirs.compute().item() == pytest.approx(confusion.mean_iou(per_image=True).mean().item())
    assert confusion.mean_iou().item() == pytest.approx((2 / 7 + 1 / 6) / 2)
    assert theirs.compute().item() != pytest.approx(confusion.mean_iou().item())


def test_the_tolerance_itself_counts_as_near_which_differs_from_a_strict_comparison():
    pred, truth = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    pred[0, 0, 3, 3] = truth[0, 0, 3, 4] = 1
    assert boundary_f1(pred, truth) == 1  # one pixel apart, tolerance 1
    assert boundary_f1(pred, truth, tolerance=0.999) == 0


# ---------------------------------------------------------------------------------------------- wrong variants

REAL = {name: value for name, value in vars(metrics).items() if name.startswith("_") and callable(value)}


def iou_over_the_sum(areas):
    return metrics._ratio(areas[..., 0, :], areas[..., 1:, :].sum(-2))


def foreground_recall(areas):
    return metrics._ratio(areas[..., 0, 1], areas[..., 2, 1])


def ratio_0_when_empty(part, whole):
    return part / whole.clamp_min(1)


def ratio_in_half_precision(part, whole):
    return REAL["_ratio"](part, whole).half().float()


def mean_of_all_classes(values, areas, ignore_index):
    return values.mean(-1)


def matrix_transposed(*args):
    return REAL["_count"](*args).mT


def ignored_counted_as_background(pred, labels, counted, num_classes):
    return REAL["_count"](pred, labels.where(counted, 0), torch.ones_like(counted), num_classes)


def pooled_for_every_image(counts, per_image):
    pooled = REAL["_areas"](counts, False)
    return pooled.expand(len(counts), -1, -1) if per_image else pooled


def first_image_for_pooled(counts, per_image):
    return REAL["_areas"](counts if per_image else counts[:1], per_image)


def last_batch_only(self, pred, labels):
    counted = metrics._check_labels(pred, labels, self.num_classes, self.ignore_index)
    counts = metrics._count(pred, labels, counted, self.num_classes)
    self.matrix, self._areas_per_image = counts.sum(0), [metrics._areas_of(counts)]
    return self


def chessboard_distance(region, tolerance):
    radius = min(math.floor(tolerance), 4)
    return F.max_pool2d(region.float(), 2 * radius + 1, 1, radius) > 0


def strictly_below_tolerance(region, tolerance):
    return REAL["_within"](region, tolerance * (1 - 1e-9))


def boundary_by_four_neighbours(mask):
    padded = F.pad(mask, (1, 1, 1, 1))
    return mask & ~(padded[..., 1:-1, :-2] & padded[..., 1:-1, 2:] & padded[..., :-2, 1:-1] & padded[..., 2:, 1:-1])


def frame_is_no_boundary(mask):
    return mask & metrics._grow(~mask, outside=0.0)


def boundary_outside_the_mask(mask):
    return ~mask & metrics._grow(mask, outside=0.0)


def precision_alone(pred, true, counted, tolerance):
    tolerance = max(1.0, 0.0075 * math.hypot(*true.shape[2:])) if tolerance is None else tolerance
    judged = ~metrics._grow(~counted, outside=0.0)
    edge, other = metrics._boundary(pred) & judged, metrics._boundary(true) & judged
    near = (edge & metrics._within(other, tolerance)).sum((1, 2, 3))
    found = (edge | other).flatten(1).any(1)
    return torch.where(found, near / edge.sum((1, 2, 3)).clamp_min(1), 1.0), found


def tolerance_below_a_pixel(pred, true, counted, tolerance):
    tolerance = 0.0075 * math.hypot(*true.shape[2:]) if tolerance is None else tolerance
    return REAL["_boundary_scores"](pred, true, counted, tolerance)


def boundaries_beside_ignored_judged(pred, true, counted, tolerance):
    return REAL["_boundary_scores"](pred, true, torch.ones_like(counted), tolerance)


BINARY, MATRIX, TORCHMETRICS = compare_binary_with_sklearn, compare_matrix_with_sklearn, compare_with_torchmetrics
PER_IMAGE, EDGES = compare_per_image_with_torchmetrics, compare_boundary_with_scipy
MEAN_EDGES = compare_mean_boundary_with_scipy
COUNTS, BOUNDARIES = (BINARY, MATRIX, TORCHMETRICS, PER_IMAGE), (EDGES, MEAN_EDGES)
WRONG = (  # what is replaced, by what, and who must notice
    ("_iou", iou_over_the_sum, COUNTS),
    ("_dice", metrics._iou, (BINARY, MATRIX, PER_IMAGE)),
    ("_accuracy", foreground_recall, (BINARY, MATRIX, TORCHMETRICS)),
    ("_ratio", ratio_0_when_empty, (BINARY, MATRIX, TORCHMETRICS)),
    ("_ratio", ratio_in_half_precision, COUNTS),
    ("_mean_of_present", mean_of_all_classes, (MATRIX, TORCHMETRICS, PER_IMAGE)),
    ("_count", matrix_transposed, (MATRIX, TORCHMETRICS)),
    ("_count", ignored_counted_as_background, (BINARY, MATRIX, TORCHMETRICS)),
    ("_areas", pooled_for_every_image, (BINARY, PER_IMAGE)),
    ("_areas", first_image_for_pooled, (BINARY, MATRIX)),
    ("ConfusionMatrix.update", last_batch_only, (MATRIX,)),
    ("_within", chessboard_distance, BOUNDARIES),
    ("_within", strictly_below_tolerance, BOUNDARIES),
    ("_boundary", boundary_by_four_neighbours, BOUNDARIES),
    ("_boundary", frame_is_no_boundary, BOUNDARIES),
    ("_boundary", boundary_outside_the_mask, BOUNDARIES),
    ("_boundary_scores", precision_alone, BOUNDARIES),
    ("_boundary_scores", tolerance_below_a_pixel, BOUNDARIES),
    ("_boundary_scores", boundaries_beside_ignored_judged, BOUNDARIES),
)
ROWS = [
    pytest.param(name, wrong, comparison, id=f"{wrong.__name__}-{comparison.__name__}")
    for name, wrong, comparisons in WRONG
    for comparison in comparisons
]


def compare_on_corpus(comparison):
    for case in BINARY_CORPUS if comparison in (BINARY, EDGES) else CORPUS:
        comparison(*case)
        if comparison in BOUNDARIES:
            comparison(*case, 2.0)
            comparison(*case, math.sqrt(13))


@pytest.mark.parametrize("comparison", [*COUNTS, *BOUNDARIES])
def test_the_corpus_finds_nothing_wrong_as_it_stands(comparison):
    compare_on_corpus(comparison)


@pytest.mark.parametrize("name, wrong, comparison", ROWS)
def test_a_wrong_variant_disagrees_with_the_oracle(name, wrong, comparison, monkeypatch):
    monkeypatch.setattr(f"metrics.{name}", wrong)
    refusal = "no boundary to judge"  # a wrong boundary may also hide where the oracle's does not, or the other way
    with pytest.raises((AssertionError, ValueError, pytest.fail.Exception)) as caught:
        compare_on_corpus(comparison)
    assert caught.type is not ValueError or refusal in str(caught.value)
