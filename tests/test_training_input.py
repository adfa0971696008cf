"""Bad input to the reference's losses and training loop: an error that names the cause, and nothing lost."""

import pickle

import pytest
import torch
from torch import nn

from grader.instruments import PixelModel, batches
from solutions.reference import reference

LOSSES = ["DiceLoss", "FocalLoss", "CombinedLoss"]
PRED, TARGET = torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4)


@pytest.fixture
def lab():
    torch.manual_seed(0)
    return reference()


def pictures(count=6):
    images = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return images, (images[:, :1] > 0.5).float()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("pred, target, said", [
    (PRED, TARGET[:, 0], r"\(2, 1, 4, 4\), target \(2, 4, 4\)"),
    (PRED, TARGET[:1], "PyTorch would stretch"),
    (PRED, 255 * TARGET, "0 and 255: divide by 255"),
    (PRED, TARGET + 1, "a trimap"),
    (PRED / 0, TARGET, "the training has diverged"),
])
def test_losses_name_what_is_wrong(lab, loss, pred, target, said):
    with pytest.raises(ValueError, match=said):
        getattr(lab, loss)()(pred, target)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
def test_whole_number_masks_are_taken(lab, loss, dtype):
    criterion = getattr(lab, loss)()
    assert torch.equal(criterion(PRED, TARGET.to(dtype)), criterion(PRED, TARGET))


def test_an_empty_loader_is_named(lab):
    model, empty = PixelModel([0.1, 0.2, 0.3]), batches(*pictures(0), batch_size=2)
    with pytest.raises(ValueError, match="The loader gave no batch"):
        lab.validate(model, empty, nn.BCEWithLogitsLoss(), "cpu")
    with pytest.raises(ValueError, match="The loader gave no batch"):
        lab.train_epoch(model, empty, torch.optim.SGD(model.parameters(), 0.1), nn.BCEWithLogitsLoss(), "cpu")


@pytest.mark.parametrize("batch_size", [1, 6])
def test_one_batch_and_batches_of_one_with_batch_norm_train(lab, batch_size):
    model, loader = PixelModel([0.1, 0.2, 0.3], batch_norm=True), batches(*pictures(), batch_size=batch_size)
    history = lab.train_model(model, loader, loader, epochs=2, device="cpu")
    assert [len(values) for values in history.values()] == [2] * 5


class Bomb:
    """Code that unpickling would run."""

    def __reduce__(self):
        return exec, ("raise SystemExit('ran')",)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", pickle.dumps(Bomb()), None])
def test_progress_of_another_kind_is_named_and_kept(lab, tmp_path, content):
    path = tmp_path / "progress.pth"
    if content is None:
        torch.save({"model": PixelModel([0.1]).state_dict(), "history": {}, "best": {}}, path)
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    loader = batches(*pictures(), batch_size=3)
    with pytest.raises(ValueError, match="progress.pth cannot be gone on from"):
        lab.train_model(PixelModel([0.1, 0.2, 0.3]), loader, loader, epochs=1, device="cpu", progress_path=path)
    assert path.read_bytes() == before


def test_an_interrupted_run_goes_on_to_the_same_end(lab, tmp_path):
    loader = batches(*pictures(), batch_size=3)

    def stop(epoch, model, history):
        if epoch == 2:
            raise KeyboardInterrupt

    runs = {}
    for name, on_epoch in (("whole", None), ("stopped", stop)):
        model, path = PixelModel([0.1, 0.2, 0.3]), tmp_path / f"{name}.pth"
        runs[name] = lab.train_model(model, loader, loader, epochs=5, device="cpu", progress_path=path, on_epoch=on_epoch)
    assert len(runs["stopped"]["lr"]) == 2, "what was done is kept"
    again = PixelModel([0.1, 0.2, 0.3])
    resumed = lab.train_model(again, loader, loader, epochs=5, device="cpu", progress_path=tmp_path / "stopped.pth")
    assert resumed == runs["whole"]
