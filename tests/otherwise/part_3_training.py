"""Wrong training loops: Task 3.4."""

from tests.otherwise.case import style

script = style(
    "3.4",
    "running sums and enumerate, as in a script",
    """
import copy


def calculate_iou(pred, target, threshold=0.5):
    pred = torch.sigmoid(pred)
    pred = (pred > threshold).float()
    target = target.float()
    intersection = (pred * target).sum(dim=(0, 2, 3))
    union = pred.sum(dim=(0, 2, 3)) + target.sum(dim=(0, 2, 3)) - intersection
    iou = (intersection + 1e-6) / (union + 1e-6)
    return iou.mean().item()


def train_epoch(model, dataloader, optimizer, criterion, device, *, accumulation_steps=1, max_grad_norm=None):
    model.train()
    running_loss = 0.0
    running_iou = 0.0
    num_batches = len(dataloader)
    optimizer.zero_grad()
    for i, (images, masks) in enumerate(dataloader):
        images = images.to(device)
        masks = masks.to(device)
        outputs = model(images)
        loss = criterion(outputs, masks)
        scaled_loss = loss / accumulation_steps
        scaled_loss.backward()
        if (i + 1) % accumulation_steps == 0 or (i + 1) == num_batches:
            if max_grad_norm is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
        running_loss += loss.item()
        running_iou += calculate_iou(outputs.detach(), masks)
    epoch_loss = running_loss / num_batches
    epoch_iou = running_iou / num_batches
    return epoch_loss, epoch_iou


def validate(model, dataloader, criterion, device):
    model.eval()
    running_loss = 0.0
    running_iou = 0.0
    with torch.no_grad():
        for images, masks in dataloader:
            images = images.to(device)
            masks = masks.to(device)
            outputs = model(images)
            loss = criterion(outputs, masks)
            running_loss += loss.item()
            running_iou += calculate_iou(outputs, masks)
    val_loss = running_loss / len(dataloader)
    val_iou = running_iou / len(dataloader)
    return val_loss, val_iou


def train_model(model, train_loader, val_loader, *, epochs=50, lr=1e-3, weight_decay=1e-4, criterion=None,
                accumulation_steps=1, max_grad_norm=1.0, device=None, checkpoint_path=None):
    if device is None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if criterion is None:
        criterion = CombinedLoss()
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, weight_decay=weight_decay)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="min", factor=0.1, patience=5)
    history = {"train_loss": [], "train_iou": [], "val_loss": [], "val_iou": [], "lr": []}
    best_iou = -1.0
    best_model_wts = copy.deepcopy(model.state_dict())
    for epoch in range(epochs):
        history["lr"].append(optimizer.param_groups[0]["lr"])
        train_loss, train_iou = train_epoch(model, train_loader, optimizer, criterion, device,
                                            accumulation_steps=accumulation_steps, max_grad_norm=max_grad_norm)
        val_loss, val_iou = validate(model, val_loader, criterion, device)
        scheduler.step(val_loss)
        history["train_loss"].append(train_loss)
        history["train_iou"].append(train_iou)
        history["val_loss"].append(val_loss)
        history["val_iou"].append(val_iou)
        if val_iou > best_iou:
            best_iou = val_iou
            best_model_wts = copy.deepcopy(model.state_dict())
            if checkpoint_path:
                torch.save(model.state_dict(), checkpoint_path)
        print("Epoch", epoch + 1, "val IoU", val_iou)
    model.load_state_dict(best_model_wts)
    return history
""",
)

shared_loop = style(
    "3.4",
    "one loop for training and validation, lists and numpy means",
    """
import numpy as np


def calculate_iou(pred, target, threshold=0.5):
    hard = torch.sigmoid(pred) > threshold
    truth = target > 0.5
    values = []
    for k in range(hard.shape[1]):
        h, t = hard[:, k], truth[:, k]
        tp = torch.logical_and(h, t).sum().item()
        fp = torch.logical_and(h, ~t).sum().item()
        fn = torch.logical_and(~h, t).sum().item()
        values.append((tp + 1e-6) / (tp + fp + fn + 1e-6))
    return float(np.mean(values))


def _run(model, loader, criterion, device, each_batch=None):
    losses, ious = [], []
    total = len(loader)
    for step, batch in enumerate(loader, start=1):
        x, y = batch[0].to(device), batch[1].to(device)
        z = model(x)
        loss = criterion(z, y)
        losses.append(loss.item())
        ious.append(calculate_iou(z, y))
        if each_batch is not None:
            each_batch(step, total, loss)
    return float(np.mean(losses)), float(np.mean(ious))


def train_epoch(model, dataloader, optimizer, criterion, device, *, accumulation_steps=1, max_grad_norm=None):
    def learn(step, total, loss):
        if (step - 1) % accumulation_steps == 0:
            optimizer.zero_grad(set_to_none=True)
        (loss / accumulation_steps).backward()
        if step % accumulation_steps != 0 and step != total:
            return
        if max_grad_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), max_norm=max_grad_norm)
        optimizer.step()

    model.train()
    return _run(model, dataloader, criterion, device, learn)


@torch.no_grad()
def validate(model, dataloader, criterion, device):
    model.eval()
    return _run(model, dataloader, criterion, device)


def train_model(model, train_loader, val_loader, *, epochs=50, lr=1e-3, weight_decay=1e-4, criterion=None,
                accumulation_steps=1, max_grad_norm=1.0, device=None, checkpoint_path=None):
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    criterion = criterion if criterion is not None else CombinedLoss()
    model = model.to(device)
    opt = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    sched = torch.optim.lr_scheduler.ReduceLROnPlateau(opt, patience=5)
    keys = ["train_loss", "train_iou", "val_loss", "val_iou", "lr"]
    history = {key: [] for key in keys}
    best = {"iou": float("-inf"), "weights": None}
    for _ in range(epochs):
        tr = train_epoch(model, train_loader, opt, criterion, device,
                         accumulation_steps=accumulation_steps, max_grad_norm=max_grad_norm)
        va = validate(model, val_loader, criterion, device)
        for key, value in zip(keys, [*tr, *va, opt.param_groups[0]["lr"]]):
            history[key].append(value)
        sched.step(va[0])
        if va[1] > best["iou"]:
            best["iou"] = va[1]
            best["weights"] = {k: v.detach().clone() for k, v in model.state_dict().items()}
            if checkpoint_path is not None:
                torch.save(best["weights"], checkpoint_path)
    if best["weights"] is not None:
        model.load_state_dict(best["weights"])
    return history
""",
)

trainer = style(
    "3.4",
    "a Trainer class with a step method",
    """
class RunningMean:
    def __init__(self):
        self.total, self.n = 0.0, 0

    def add(self, value):
        self.total += float(value)
        self.n += 1

    def value(self):
        return self.total / self.n


def calculate_iou(pred: torch.Tensor, target: torch.Tensor, threshold: float = 0.5) -> torch.Tensor:
    eps = 1e-6
    p = pred.sigmoid().gt(threshold).transpose(0, 1).flatten(1)  # (C, N)
    t = target.gt(0.5).transpose(0, 1).flatten(1)
    inter = (p & t).sum(1)
    union = (p | t).sum(1)
    return ((inter + eps) / (union + eps)).mean()


class Trainer:
    def __init__(self, model, criterion, device, optimizer=None, every=1, limit=None):
        self.model = model
        self.criterion = criterion
        self.device = device
        self.optimizer = optimizer
        self.every = every
        self.limit = limit
        self.waiting = 0

    def batch(self, images, masks, loss_mean, iou_mean):
        images, masks = images.to(self.device), masks.to(self.device)
        logits = self.model(images)
        loss = self.criterion(logits, masks)
        loss_mean.add(loss.detach())
        iou_mean.add(calculate_iou(logits.detach(), masks))
        return loss

    def update(self):
        if self.limit is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.limit)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.waiting = 0

    def train(self, loader):
        self.model.train()
        self.optimizer.zero_grad()
        loss_mean, iou_mean = RunningMean(), RunningMean()
        for images, masks in loader:
            loss = self.batch(images, masks, loss_mean, iou_mean)
            loss.div(self.every).backward()
            self.waiting += 1
            if self.waiting == self.every:
                self.update()
        if self.waiting > 0:
            self.update()
        return loss_mean.value(), iou_mean.value()

    def test(self, loader):
        self.model.eval()
        loss_mean, iou_mean = RunningMean(), RunningMean()
        with torch.inference_mode():
            for images, masks in loader:
                self.batch(images, masks, loss_mean, iou_mean)
        return loss_mean.value(), iou_mean.value()


def train_epoch(model, dataloader, optimizer, criterion, device, *, accumulation_steps=1, max_grad_norm=None):
    return Trainer(model, criterion, device, optimizer, accumulation_steps, max_grad_norm).train(dataloader)


def validate(model, dataloader, criterion, device):
    return Trainer(model, criterion, device).test(dataloader)


def train_model(model, train_loader, val_loader, *, epochs=50, lr=1e-3, weight_decay=1e-4, criterion=None,
                accumulation_steps=1, max_grad_norm=1.0, device=None, checkpoint_path=None):
    if not device:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if not criterion:
        criterion = CombinedLoss()
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, weight_decay=weight_decay)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "min", patience=5, factor=0.5)
    boss = Trainer(model, criterion, device, optimizer, accumulation_steps, max_grad_norm)
    history = dict(train_loss=[], train_iou=[], val_loss=[], val_iou=[], lr=[])
    top_score, top_state = None, None
    for epoch in range(1, epochs + 1):
        loss, iou = boss.train(train_loader)
        history["train_loss"] += [loss]
        history["train_iou"] += [iou]
        val_loss, val_iou = boss.test(val_loader)
        history["val_loss"] += [val_loss]
        history["val_iou"] += [val_iou]
        history["lr"] += [optimizer.param_groups[0]["lr"]]
        scheduler.step(val_loss)
        if top_score is None or val_iou > top_score:
            top_score = val_iou
            top_state = {name: tensor.cpu().clone() for name, tensor in model.state_dict().items()}
    if top_state is not None:
        model.load_state_dict(top_state)
        if checkpoint_path is not None:
            torch.save(top_state, checkpoint_path)
    return history
""",
)

by_index = style(
    "3.4",
    "batches listed first, index loops, early returns",
    """
def calculate_iou(pred, target, threshold=0.5):
    C = pred.shape[1]
    total = 0.0
    probabilities = 1 / (1 + torch.exp(-pred.double()))
    for c in range(C):
        guess = (probabilities[:, c] > threshold).reshape(-1).int()
        truth = target[:, c].reshape(-1).int()
        both = int((guess * truth).sum())
        either = int(((guess + truth) > 0).sum())
        total += (both + 1e-6) / (either + 1e-6)
    return total / C


def train_epoch(model, dataloader, optimizer, criterion, device, *, accumulation_steps=1, max_grad_norm=None):
    model.train()
    batches = list(dataloader)
    n = len(batches)
    losses, ious = [0.0] * n, [0.0] * n
    for first in range(0, n, accumulation_steps):
        optimizer.zero_grad()
        for j in range(first, min(first + accumulation_steps, n)):
            image, mask = batches[j]
            image, mask = image.to(device), mask.to(device)
            logits = model(image)
            loss = criterion(logits, mask)
            losses[j] = loss.item()
            ious[j] = calculate_iou(logits, mask)
            loss = loss / accumulation_steps
            loss.backward()
        if max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
        optimizer.step()
    return sum(losses) / n, sum(ious) / n


def validate(model, dataloader, criterion, device):
    model.eval()
    losses, ious = [], []
    for image, mask in dataloader:
        with torch.no_grad():
            image, mask = image.to(device), mask.to(device)
            logits = model(image)
            losses.append(float(criterion(logits, mask)))
            ious.append(float(calculate_iou(logits, mask)))
    return sum(losses) / len(losses), sum(ious) / len(ious)


def pick_device(device):
    if device is not None:
        return device
    return torch.device("cuda") if torch.cuda.is_available() else torch.device("cpu")


def snapshot(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


def train_model(model, train_loader, val_loader, *, epochs=50, lr=1e-3, weight_decay=1e-4, criterion=None,
                accumulation_steps=1, max_grad_norm=1.0, device=None, checkpoint_path=None):
    where = pick_device(device)
    loss_function = CombinedLoss() if criterion is None else criterion
    model = model.to(where)
    optimizer = torch.optim.AdamW([{"params": list(model.parameters())}], lr=lr, weight_decay=weight_decay)
    reducer = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=5)
    history = {"train_loss": [], "train_iou": [], "val_loss": [], "val_iou": [], "lr": []}
    best_epoch, best_state = -1, snapshot(model)
    e = 0
    while e < epochs:
        rate = optimizer.param_groups[0]["lr"]
        a, b = train_epoch(model, train_loader, optimizer, loss_function, where,
                           accumulation_steps=accumulation_steps, max_grad_norm=max_grad_norm)
        c, d = validate(model, val_loader, loss_function, where)
        history["train_loss"].append(a)
        history["train_iou"].append(b)
        history["val_loss"].append(c)
        history["val_iou"].append(d)
        history["lr"].append(rate)
        reducer.step(c)
        if best_epoch < 0 or d > history["val_iou"][best_epoch]:
            best_epoch, best_state = e, snapshot(model)
            if checkpoint_path is not None:
                torch.save(best_state, checkpoint_path)
        e += 1
    model.load_state_dict(best_state)
    return history
""",
)

BOTH = "two mistakes in different definitions"
WRONG_IOU = [
    script.wrong("iou_of_raw_logits", ("    pred = torch.sigmoid(pred)\n", "")),
    trainer.wrong("iou_of_raw_logits", ("pred.sigmoid().gt(threshold)", "pred.gt(threshold)")),
    shared_loop.wrong(
        "iou_threshold_fixed iou_threshold_of_zero_on_logits", ("torch.sigmoid(pred) > threshold", "torch.sigmoid(pred) > 0.5")
    ),
    trainer.wrong("iou_threshold_of_zero_on_logits iou_threshold_fixed", ("pred.sigmoid().gt(threshold)", "pred.gt(0)")),
    by_index.wrong("iou_of_the_background", ("probabilities[:, c] > threshold", "probabilities[:, c] < threshold")),
    script.wrong("iou_of_probabilities", ("    pred = (pred > threshold).float()\n", "")),
    shared_loop.wrong("iou_empty_is_zero", ("(tp + 1e-6) / (tp + fp + fn + 1e-6)", "tp / (tp + fp + fn + 1e-6)")),
    by_index.wrong("iou_empty_is_zero", ("total += (both + 1e-6) / (either + 1e-6)", "total += both / either if either > 0 else 0.0")),
    by_index.wrong(
        "iou_absent_is_one",
        ("        both = int(", "        if truth.sum() == 0:\n            total += 1.0\n            continue\n        both = int("),
    ),
    script.wrong("iou_union_counted_twice", (" + target.sum(dim=(0, 2, 3)) - intersection", " + target.sum(dim=(0, 2, 3))")),
    shared_loop.wrong("iou_is_dice", ("(tp + 1e-6) / (tp + fp + fn + 1e-6)", "(2 * tp + 1e-6) / (2 * tp + fp + fn + 1e-6)")),
    trainer.wrong(
        "iou_is_accuracy",
        (
            "    inter = (p & t).sum(1)\n    union = (p | t).sum(1)\n    return ((inter + eps) / (union + eps)).mean()",
            "    return (p == t).float().mean()",
        ),
        ("    eps = 1e-6\n", ""),
    ),
    script.wrong("iou_per_picture", ("dim=(0, 2, 3)", "dim=(2, 3)")),
    trainer.wrong(
        "iou_per_picture",
        (".transpose(0, 1).flatten(1)  # (C, N)", ".flatten(2)"),
        (".transpose(0, 1).flatten(1)", ".flatten(2)"),
        (".sum(1)", ".sum(2)"),
    ),
    by_index.wrong(
        "iou_classes_together",
        (
            """    for c in range(C):
        guess = (probabilities[:, c] > threshold).reshape(-1).int()
        truth = target[:, c].reshape(-1).int()
        both = int((guess * truth).sum())
        either = int(((guess + truth) > 0).sum())
        total += (both + 1e-6) / (either + 1e-6)
    return total / C
""",
            """    guess = (probabilities > threshold).reshape(-1).int()
    truth = target.reshape(-1).int()
    both = int((guess * truth).sum())
    either = int(((guess + truth) > 0).sum())
    return (both + 1e-6) / (either + 1e-6)
""",
        ),
        ("    C = pred.shape[1]\n    total = 0.0\n", ""),
    ),
]

WRONG_EPOCH = [
    script.wrong("never_zeroed", ("    optimizer.zero_grad()\n    for i", "    for i"), ("            optimizer.zero_grad()\n", "")),
    by_index.wrong("never_zeroed", ("        optimizer.zero_grad()\n", "")),
    shared_loop.wrong(
        "zeroed_after_backward no_backward",
        ("        if (step - 1) % accumulation_steps == 0:\n            optimizer.zero_grad(set_to_none=True)\n", ""),
        ("        if step % accumulation_steps != 0", "        optimizer.zero_grad()\n        if step % accumulation_steps != 0"),
    ),
    script.wrong(
        "zeroed_every_batch",
        (
            "        outputs = model(images)\n        loss = criterion(outputs, masks)\n        scaled",
            "        optimizer.zero_grad()\n        outputs = model(images)\n        loss = criterion(outputs, masks)\n        scaled",
        ),
    ),
    trainer.wrong("no_backward zeroed_after_backward", ("            loss.div(self.every).backward()\n", "")),
    by_index.wrong("no_step", ("        optimizer.step()\n", "")),
    trainer.wrong("one_step_an_epoch", ("            if self.waiting == self.every:\n                self.update()\n", "")),
    script.wrong(
        "last_group_dropped", ("(i + 1) % accumulation_steps == 0 or (i + 1) == num_batches", "(i + 1) % accumulation_steps == 0")
    ),
    trainer.wrong("last_group_dropped", ("        if self.waiting > 0:\n            self.update()\n", "")),
    script.wrong("group_counted_from_zero", ("if (i + 1) % accumulation_steps == 0 or", "if i % accumulation_steps == 0 or")),
    shared_loop.wrong(
        "accumulation_ignored",
        (
            """        if (step - 1) % accumulation_steps == 0:
            optimizer.zero_grad(set_to_none=True)
        (loss / accumulation_steps).backward()
        if step % accumulation_steps != 0 and step != total:
            return
""",
            """        optimizer.zero_grad(set_to_none=True)
        loss.backward()
""",
        ),
    ),
    by_index.wrong("loss_not_scaled", ("            loss = loss / accumulation_steps\n", "")),
    trainer.wrong("loss_not_scaled", ("loss.div(self.every).backward()", "loss.backward()")),
    by_index.wrong(
        "scaled_loss_reported",
        (
            "            losses[j] = loss.item()\n            ious[j] = calculate_iou(logits, mask)\n            loss = loss / accumulation_steps\n",
            "            loss = loss / accumulation_steps\n            losses[j] = loss.item()\n            ious[j] = calculate_iou(logits, mask)\n",
        ),
    ),
    script.wrong("loss_summed", ("epoch_loss = running_loss / num_batches", "epoch_loss = running_loss")),
    script.wrong(
        "divided_by_pictures",
        (
            "    epoch_loss = running_loss / num_batches\n    epoch_iou = running_iou / num_batches\n",
            "    num_images = len(dataloader.dataset)\n    epoch_loss = running_loss / num_images\n    epoch_iou = running_iou / num_images\n",
        ),
    ),
    by_index.wrong("last_batch_returned", ("return sum(losses) / n, sum(ious) / n\n", "return losses[-1], ious[-1]\n")),
    by_index.wrong(
        "returned_in_the_loop", ("    return sum(losses) / n, sum(ious) / n\n", "        return sum(losses) / n, sum(ious) / n\n")
    ),
    script.wrong("only_the_loss_returned", ("return epoch_loss, epoch_iou", "return epoch_loss")),
    script.wrong(
        "clipped_after_step never_clipped",
        (
            """            if max_grad_norm is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
            optimizer.step()
""",
            """            optimizer.step()
            if max_grad_norm is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
""",
        ),
    ),
    by_index.wrong(
        "clipped_every_batch",
        (
            "            loss.backward()\n        if max_grad_norm is not None:\n            torch.nn",
            "            loss.backward()\n            if max_grad_norm is not None:\n                torch.nn",
        ),
    ),
    trainer.wrong("clipped_by_value", ("clip_grad_norm_(self", "clip_grad_value_(self")),
    shared_loop.wrong("clipped_to_one", ("max_norm=max_grad_norm)", "max_norm=1.0)")),
    trainer.wrong(
        "never_clipped clipped_after_step",
        ("        if self.limit is not None:\n            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.limit)\n", ""),
    ),
    shared_loop.wrong("train_mode_missing", ("    model.train()\n", "")),
    trainer.wrong("trains_in_eval_mode", ("        self.model.train()\n", "        self.model.eval()\n")),
    by_index.wrong("criterion_turned_round", ("loss = criterion(logits, mask)", "loss = criterion(mask, logits)")),
    script.wrong("own_criterion", ("    model.train()\n    running", "    model.train()\n    criterion = CombinedLoss()\n    running")),
]

WRONG_VALIDATION = [
    by_index.wrong("eval_mode_missing", ("    model.eval()\n", "")),
    trainer.wrong("eval_mode_missing", ("        self.model.eval()\n", "")),
    shared_loop.wrong("validates_with_gradients", ("@torch.no_grad()\ndef validate", "def validate")),
    script.wrong(
        "validation_learns_gradients",
        (
            """    with torch.no_grad():
        for images, masks in dataloader:
            images = images.to(device)
            masks = masks.to(device)
            outputs = model(images)
            loss = criterion(outputs, masks)
            running_loss += loss.item()
            running_iou += calculate_iou(outputs, masks)
""",
            """    for images, masks in dataloader:
        images = images.to(device)
        masks = masks.to(device)
        outputs = model(images)
        loss = criterion(outputs, masks)
        loss.backward()
        running_loss += loss.item()
        running_iou += calculate_iou(outputs, masks)
""",
        ),
    ),
    by_index.wrong(
        "validation_of_the_last_batch",
        (
            "    losses, ious = [], []\n    for image, mask in dataloader:\n",
            "    for image, mask in dataloader:\n        losses, ious = [], []\n",
        ),
    ),
    script.wrong(
        "validation_summed",
        (
            "    val_loss = running_loss / len(dataloader)\n    val_iou = running_iou / len(dataloader)\n    return val_loss, val_iou",
            "    return running_loss, running_iou",
        ),
    ),
]

WRONG_TRAINING = [
    script.wrong("scheduler_gets_the_training_loss", ("scheduler.step(val_loss)", "scheduler.step(train_loss)")),
    shared_loop.wrong(
        "scheduler_gets_the_iou",
        ("ReduceLROnPlateau(opt, patience=5)", 'ReduceLROnPlateau(opt, mode="max", patience=5)'),
        ("sched.step(va[0])", "sched.step(va[1])"),
    ),
    trainer.wrong("scheduler_takes_the_iou_for_a_loss", ("scheduler.step(val_loss)", "scheduler.step(val_iou)")),
    by_index.wrong("scheduler_never_stepped", ("        reducer.step(c)\n", "")),
    script.wrong("scheduler_default_patience", ('mode="min", factor=0.1, patience=5', 'mode="min", factor=0.1')),
    trainer.wrong(
        "scheduler_by_epochs",
        ('ReduceLROnPlateau(optimizer, "min", patience=5, factor=0.5)', "StepLR(optimizer, step_size=10, gamma=0.1)"),
        ("scheduler.step(val_loss)", "scheduler.step()"),
    ),
    script.wrong("best_weights_alias best_weights_shallow_copy", ("copy.deepcopy(model.state_dict())", "model.state_dict()")),
    shared_loop.wrong(
        "best_weights_shallow_copy best_weights_alias",
        ("{k: v.detach().clone() for k, v in model.state_dict().items()}", "dict(model.state_dict())"),
    ),
    script.wrong(
        "best_by_the_loss",
        ("best_iou = -1.0", 'best_loss = float("inf")'),
        (
            "        if val_iou > best_iou:\n            best_iou = val_iou\n",
            "        if val_loss < best_loss:\n            best_loss = val_loss\n",
        ),
    ),
    shared_loop.wrong(
        "best_by_the_training_iou",
        (
            '        if va[1] > best["iou"]:\n            best["iou"] = va[1]',
            '        if tr[1] > best["iou"]:\n            best["iou"] = tr[1]',
        ),
    ),
    trainer.wrong("worst_kept", ("val_iou > top_score", "val_iou < top_score")),
    trainer.wrong(
        "best_never_updated",
        (
            "        if top_score is None or val_iou > top_score:\n            top_score = val_iou\n",
            "        if top_score is None:\n            top_score = val_iou\n            top_state = {name: tensor.cpu().clone() for name, tensor in model.state_dict().items()}\n        elif val_iou > top_score:\n",
        ),
    ),
    by_index.wrong("last_weights_left", ("    model.load_state_dict(best_state)\n", "")),
    shared_loop.wrong("last_weights_left", ('    if best["weights"] is not None:\n        model.load_state_dict(best["weights"])\n', "")),
    by_index.wrong(
        "buffers_not_restored",
        (
            "return {key: value.clone() for key, value in model.state_dict().items()}",
            "return {key: value.detach().clone() for key, value in model.named_parameters()}",
        ),
        ("model.load_state_dict(best_state)", "model.load_state_dict(best_state, strict=False)"),
        ("torch.save(best_state, checkpoint_path)", "torch.save(model.state_dict(), checkpoint_path)"),
    ),
    script.wrong("whole_model_saved", ("torch.save(model.state_dict(), checkpoint_path)", "torch.save(model, checkpoint_path)")),
    shared_loop.wrong(
        "checkpoint_wrapped",
        (
            'torch.save(best["weights"], checkpoint_path)',
            'torch.save({"model_state_dict": best["weights"], "optimizer_state_dict": opt.state_dict()}, checkpoint_path)',
        ),
    ),
    script.wrong(
        "last_checkpoint_kept",
        (
            "            if checkpoint_path:\n                torch.save(model.state_dict(), checkpoint_path)\n",
            "        if checkpoint_path:\n            torch.save(model.state_dict(), checkpoint_path)\n",
        ),
    ),
    trainer.wrong("nothing_saved", ("        if checkpoint_path is not None:\n            torch.save(top_state, checkpoint_path)\n", "")),
    by_index.wrong("lr_ignored", (", lr=lr, weight_decay=weight_decay)", ", weight_decay=weight_decay)")),
    trainer.wrong("weight_decay_ignored", ("lr=lr, weight_decay=weight_decay)", "lr=lr)")),
    by_index.wrong(
        "accumulation_not_handed_on",
        ("accumulation_steps=accumulation_steps, max_grad_norm=max_grad_norm)", "max_grad_norm=max_grad_norm)"),
    ),
    shared_loop.wrong(
        "clipping_not_handed_on",
        ("accumulation_steps=accumulation_steps, max_grad_norm=max_grad_norm)", "accumulation_steps=accumulation_steps)"),
    ),
    script.wrong("default_is_cross_entropy", ("criterion = CombinedLoss()", "criterion = nn.BCEWithLogitsLoss()")),
    trainer.wrong(
        "criterion_replaced", ("    if not criterion:\n        criterion = CombinedLoss()\n", "    criterion = CombinedLoss()\n")
    ),
    shared_loop.wrong(
        "validates_on_the_training_set", ("validate(model, val_loader, criterion", "validate(model, train_loader, criterion")
    ),
    trainer.wrong(
        "history_without_lr", ("val_iou=[], lr=[])", "val_iou=[])"), ('        history["lr"] += [optimizer.param_groups[0]["lr"]]\n', "")
    ),
    by_index.wrong(
        "history_not_returned", ("    model.load_state_dict(best_state)\n    return history\n", "    model.load_state_dict(best_state)\n")
    ),
    script.wrong(
        "training_and_validation_swapped",
        ('history["train_loss"].append(train_loss)', 'history["train_loss"].append(val_loss)'),
        ('history["train_iou"].append(train_iou)', 'history["train_iou"].append(val_iou)'),
        ('history["val_loss"].append(val_loss)', 'history["val_loss"].append(train_loss)'),
        ('history["val_iou"].append(val_iou)', 'history["val_iou"].append(train_iou)'),
    ),
    script.wrong(
        "optimizer_anew_each_epoch",
        (
            "    for epoch in range(epochs):\n",
            "    for epoch in range(epochs):\n        optimizer = torch.optim.Adam(model.parameters(), lr=lr, weight_decay=weight_decay)\n",
        ),
    ),
]

NO_NAME = [
    shared_loop.other("clipped to 5 whatever is asked", ("max_norm=max_grad_norm)", "max_norm=5.0)")),
    script.other("patience 3", ("factor=0.1, patience=5", "factor=0.1, patience=3")),
    by_index.other("IoU with a threshold of 0.5 on the tanh", ("1 / (1 + torch.exp(-pred.double()))", "torch.tanh(pred.double())")),
    trainer.other("IoU with an ε of 1", ("eps = 1e-6", "eps = 1.0")),
    shared_loop.other(
        "IoU is the product of precision and recall",
        ("(tp + 1e-6) / (tp + fp + fn + 1e-6)", "(tp + 1e-6) ** 2 / ((tp + fp + 1e-6) * (tp + fn + 1e-6))"),
    ),
    script.other(
        "SGD for Adam", ("torch.optim.Adam(model.parameters(), lr=lr,", "torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9,")
    ),
    by_index.other(
        "the means are medians", ("return sum(losses) / n, sum(ious) / n", "return sorted(losses)[n // 2], sorted(ious)[n // 2]")
    ),
    trainer.other(
        "every second batch is left out",
        (
            "        for images, masks in loader:\n            loss = self.batch(",
            "        for k, (images, masks) in enumerate(loader):\n            if k % 2:\n                continue\n            loss = self.batch(",
        ),
    ),
    by_index.other(
        "gradients are signs",
        (
            "        optimizer.step()\n",
            "        for p in model.parameters():\n            if p.grad is not None:\n                p.grad.sign_()\n        optimizer.step()\n",
        ),
    ),
    script.other(
        "a warm-up that begins at a tenth of the rate",
        (
            '        history["lr"].append(optimizer.param_groups[0]["lr"])\n',
            '        if epoch < 3:\n            optimizer.param_groups[0]["lr"] = lr * (epoch + 1) / 10\n        history["lr"].append(optimizer.param_groups[0]["lr"])\n',
        ),
    ),
    shared_loop.other(
        "the mean of the weights of all epochs is kept",
        (
            '            best["weights"] = {k: v.detach().clone() for k, v in model.state_dict().items()}\n',
            '            now = {k: v.detach().clone() for k, v in model.state_dict().items()}\n            old = best["weights"] or now\n            best["weights"] = {k: ((old[k] + now[k]) / 2).to(now[k].dtype) for k in now}\n',
        ),
    ),
    trainer.other("the loss is scaled twice", ("loss.div(self.every).backward()", "loss.div(self.every).div(self.every).backward()")),
    by_index.other(
        "never_zeroed and loss_not_scaled in one definition",
        ("        optimizer.zero_grad()\n", ""),
        ("            loss = loss / accumulation_steps\n", ""),
    ),
    script.other(
        "best_by_the_loss and scheduler_gets_the_training_loss in one definition",
        ("best_iou = -1.0", 'best_loss = float("inf")'),
        (
            "        if val_iou > best_iou:\n            best_iou = val_iou\n",
            "        if val_loss < best_loss:\n            best_loss = val_loss\n",
        ),
        ("scheduler.step(val_loss)", "scheduler.step(train_loss)"),
    ),
    shared_loop.other(
        "iou_is_dice and iou_empty_is_zero in one definition", ("(tp + 1e-6) / (tp + fp + fn + 1e-6)", "2 * tp / (2 * tp + fp + fn + 1e-6)")
    ),
    script.wrong(
        "iou_of_raw_logits last_weights_left",
        ("    pred = torch.sigmoid(pred)\n", ""),
        ("    model.load_state_dict(best_model_wts)\n", ""),
        about=BOTH,
    ),
    by_index.wrong("never_zeroed eval_mode_missing", ("        optimizer.zero_grad()\n", ""), ("    model.eval()\n", ""), about=BOTH),
    trainer.wrong(
        "iou_per_picture nothing_saved",
        (".transpose(0, 1).flatten(1)  # (C, N)", ".flatten(2)"),
        (".transpose(0, 1).flatten(1)", ".flatten(2)"),
        (".sum(1)", ".sum(2)"),
        ("        if checkpoint_path is not None:\n            torch.save(top_state, checkpoint_path)\n", ""),
        about=BOTH,
    ),
    shared_loop.wrong(
        "clipped_to_one scheduler_gets_the_iou",
        ("max_norm=max_grad_norm)", "max_norm=1.0)"),
        ("ReduceLROnPlateau(opt, patience=5)", 'ReduceLROnPlateau(opt, mode="max", patience=5)'),
        ("sched.step(va[0])", "sched.step(va[1])"),
        about=BOTH,
    ),
    script.wrong(
        "loss_summed validation_summed",
        ("epoch_loss = running_loss / num_batches", "epoch_loss = running_loss"),
        (
            "    val_loss = running_loss / len(dataloader)\n    val_iou = running_iou / len(dataloader)\n    return val_loss, val_iou",
            "    return running_loss, running_iou",
        ),
        about=BOTH,
    ),
]

CASES = WRONG_IOU + WRONG_EPOCH + WRONG_VALIDATION + WRONG_TRAINING + NO_NAME
