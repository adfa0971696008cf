"""The lab's TODOs as a plain module, for work in an editor instead of the notebooks.

The notebooks in labs/ explain each task. To check one, run in the repository's folder:

    unetlab check 1.1 starter/lab04_student.py

or without the task's number for all of them. Hand in this file or the notebooks.
"""

import contextlib
import copy
import itertools
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from tqdm.auto import tqdm


# ---- Task 1.1 · Encoder block ----


class DoubleConv(nn.Module):
    """(3×3 convolution → BatchNorm → ReLU) twice; height and width stay as they are.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output (both convolutions end at this number).
        batch_norm: `False` leaves the two norms out.

    Shapes:
        x: (B, in_channels, H, W) → (B, out_channels, H, W)
    """

    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        super().__init__()
        # TODO Task 1.1: build the layers in their order and keep them in self.
        # Which of them go when batch_norm is False?
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 1.1: DoubleConv.__init__")

    def forward(self, x):
        # TODO Task 1.1: send x through the layers and return the result.
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 1.1: DoubleConv.forward")


class EncoderBlock(nn.Module):
    """One step down: `DoubleConv`, then a 2×2 max pool with stride 2.

    Shapes:
        x: (B, in_channels, H, W)
        features: (B, out_channels, H, W), the skip
        pooled: (B, out_channels, H // 2, W // 2), the way down
    """

    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        super().__init__()
        # TODO Task 1.1: build the two parts, a double convolution and a pool. Hand batch_norm on.
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 1.1: EncoderBlock.__init__")

    def forward(self, x):
        # TODO Task 1.1: return (features, pooled), in this order. Which of the two does the pool read?
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 1.1: EncoderBlock.forward")


# ---- Task 1.2 · Decoder block ----


class DecoderBlock(nn.Module):
    """One step up: double the size, join the skip, `DoubleConv`.

    Args:
        in_channels: channels of x, from the level below.
        skip_channels: channels of the skip, from the encoder of this level.
        out_channels: channels of the output.
        upsampling: "transpose" (2×2 transposed convolution, stride 2) or
            "bilinear" (bilinear ×2, then a convolution); both end at `in_channels // 2` channels.
        batch_norm: handed on to `DoubleConv`.

    Shapes:
        x: (B, in_channels, h, w), skip_features: (B, skip_channels, H, W) with H ∈ {2h, 2h + 1}, W alike
        output: (B, out_channels, H, W)

    Raises:
        ValueError: `upsampling` is neither "transpose" nor "bilinear".
    """

    def __init__(self, in_channels, skip_channels, out_channels, upsampling="transpose", *, batch_norm=True):
        super().__init__()
        # TODO Task 1.2: build the upsampling (two kinds, ValueError for any other) and the double convolution.
        # How many channels does the double convolution see after the concatenation?
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 1.2: DecoderBlock.__init__")

    def forward(self, x, skip_features):
        # TODO Task 1.2: upsample x, bring it to the skip's height and width, concatenate, convolve.
        # Rows and columns can each be one short, or not.
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 1.2: DecoderBlock.forward")


# ---- Task 1.3 · The network's layers ----
# ---- Task 1.4 · The forward pass ----


class UNet(nn.Module):
    """The U-Net of Ronneberger, Fischer and Brox (2015), with BatchNorm and padded convolutions.

    Args:
        in_channels: channels of the picture.
        out_channels: channels of the logits (1 for pet against background).
        features: channels of each encoder, from the top down; any length ≥ 1.
        upsampling: handed on to every `DecoderBlock`.
        batch_norm: handed on to every block.

    Shapes:
        x: (B, in_channels, H, W), H and W ≥ 2 ** len(features)
        logits: (B, out_channels, H, W), no sigmoid
    """

    def __init__(self, in_channels=3, out_channels=1, features=[64, 128, 256, 512], *,
                 upsampling="transpose", batch_norm=True):
        super().__init__()
        # TODO Task 1.3: build the encoders, the bottleneck, the decoders and the head.
        # In which container does PyTorch find the parameters of many blocks?
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 1.3: UNet.__init__")

    def forward(self, x):
        # TODO Task 1.4: down through the encoders, through the bottleneck, up through the decoders, head.
        # Which skip does the first decoder need?
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 1.4: UNet.forward")


class FlexibleSkipConnection(nn.Module):
    """Join decoder features and skip in one of three ways; given, it only picks one of your classes.

    Args:
        decoder_channels: channels of the decoder's features, and of the output.
        skip_channels: channels of the skip.
        mode: "concat" (`ConcatSkip`), "add" (`AddSkip`) or "attention" (`AttentionSkip`).

    Raises:
        ValueError: `mode` is none of the three.
    """

    def __init__(self, decoder_channels, skip_channels, mode="concat"):
        super().__init__()
        if mode == "concat":
            self.join = ConcatSkip(decoder_channels, skip_channels)
        elif mode == "add":
            self.join = AddSkip(decoder_channels, skip_channels)
        elif mode == "attention":
            self.join = AttentionSkip(decoder_channels, skip_channels)
        else:
            raise ValueError(f'mode is "concat", "add" or "attention", not {mode!r}')

    def forward(self, decoder_features, skip_features):
        return self.join(decoder_features, skip_features)


# ---- Task 2.1 · Skip by concatenation ----


class ConcatSkip(nn.Module):
    """Join the skip by concatenation along the channels, then one 3×3 convolution (Algorithm 5 of the handout).

    Args:
        decoder_channels: channels of the decoder's features, and of the output.
        skip_channels: channels of the skip.

    Shapes:
        decoder_features: (B, decoder_channels, H, W), skip_features: (B, skip_channels, H, W)
        output: (B, decoder_channels, H, W)
    """

    def __init__(self, decoder_channels, skip_channels):
        super().__init__()
        # TODO Task 2.1: build the convolution. How many channels does it see, and how many does it give?
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 2.1: ConcatSkip.__init__")

    def forward(self, decoder_features, skip_features):
        # TODO Task 2.1: concatenate along the channels, convolve. No norm and no ReLU after it.
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 2.1: ConcatSkip.forward")


# ---- Task 2.2 · Skip by addition ----


class AddSkip(nn.Module):
    """Join the skip by adding it, with a 1×1 projection only where the channels differ (Algorithm 6 of the handout).

    Args:
        decoder_channels: channels of the decoder's features, and of the output.
        skip_channels: channels of the skip.

    Shapes:
        decoder_features: (B, decoder_channels, H, W), skip_features: (B, skip_channels, H, W)
        output: (B, decoder_channels, H, W)
    """

    def __init__(self, decoder_channels, skip_channels):
        super().__init__()
        # TODO Task 2.2: build the projection of the skip, where one is needed, and no layer where none is.
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 2.2: AddSkip.__init__")

    def forward(self, decoder_features, skip_features):
        # TODO Task 2.2: add the (projected) skip. Leave both inputs as they are.
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 2.2: AddSkip.forward")


# ---- Task 2.3 · Attention gate ----


class AttentionGate(nn.Module):
    """Weight every position of the skip by how much the gate asks for it (Algorithm 7 of the handout).

    Source: Oktay et al., Attention U-Net: Learning Where to Look for the Pancreas, 2018, arXiv:1804.03999.

    Args:
        gate_channels: channels of the gate, the decoder's features.
        skip_channels: channels of the skip, and of the output.

    Shapes:
        gate: (B, gate_channels, h, w), skip: (B, skip_channels, H, W), h and w at most H and W
        output: (B, skip_channels, H, W); the last α, (B, 1, H, W), stays in self.alpha
    """

    def __init__(self, gate_channels, skip_channels):
        super().__init__()
        # TODO Task 2.3: build three 1×1 convolutions: of the gate and of the skip to gate_channels // 2 channels each,
        # and of their sum to one channel.
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 2.3: AttentionGate.__init__")

    def forward(self, gate, skip):
        # TODO Task 2.3: resize the gate to the skip's height and width, add, ReLU, one channel, sigmoid:
        # that is alpha. Keep it in self.alpha and return the weighted skip.
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 2.3: AttentionGate.forward")


class AttentionSkip(nn.Module):
    """Join the skip after an `AttentionGate`: gate, concatenate, 3×3 convolution.

    Shapes:
        decoder_features: (B, decoder_channels, H, W), skip_features: (B, skip_channels, H, W)
        output: (B, decoder_channels, H, W)
    """

    def __init__(self, decoder_channels, skip_channels):
        super().__init__()
        # TODO Task 2.3: build the gate and the convolution after the concatenation.
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 2.3: AttentionSkip.__init__")

    def forward(self, decoder_features, skip_features):
        # TODO Task 2.3: the decoder's features gate the skip; then as in Task 2.1.
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 2.3: AttentionSkip.forward")


class SkipUNet(nn.Module):
    """The U-Net with a `FlexibleSkipConnection` at every level, of your own `EncoderBlock` and `DoubleConv`; given.

    Args:
        in_channels: channels of the picture.
        out_channels: channels of the logits.
        features: channels of each encoder, from the top down; any length ≥ 1.
        skip: "concat", "add", "attention", or "none" for a plain encoder-decoder.
        batch_norm: handed on to every block.

    Shapes:
        x: (B, in_channels, H, W), H and W ≥ 2 ** len(features)
        logits: (B, out_channels, H, W)
    """

    def __init__(self, in_channels=3, out_channels=1, features=(64, 128, 256, 512), skip="concat", *, batch_norm=True):
        super().__init__()
        wide, deep = [in_channels, *features], [*features, 2 * features[-1]]
        upwards = range(len(features) - 1, -1, -1)  # levels in the order in which the decoders run
        self.encoders = nn.ModuleList(EncoderBlock(*ends, batch_norm=batch_norm) for ends in zip(wide, features))
        self.bottleneck = DoubleConv(*deep[-2:], batch_norm=batch_norm)
        self.ups = nn.ModuleList(nn.ConvTranspose2d(deep[i + 1], deep[i], 2, stride=2) for i in upwards)
        joins = upwards if skip != "none" else []
        self.joins = nn.ModuleList(FlexibleSkipConnection(deep[i], deep[i], skip) for i in joins)
        self.decoders = nn.ModuleList(DoubleConv(deep[i], deep[i], batch_norm=batch_norm) for i in upwards)
        self.head = nn.Conv2d(deep[0], out_channels, 1)

    def forward(self, x, use_skips=True):
        """Logits of pictures; `use_skips=False` puts zeros in place of every skip, without other changes."""
        return self.head(self._level(x, 0, use_skips))

    def _level(self, x, depth, use_skips):
        """One level of the U and all below it: (B, C, H, W) → (B, features[depth], H, W)."""
        if depth == len(self.encoders):
            return self.bottleneck(x)
        skip, pooled = self.encoders[depth](x)
        up, decoder = self.ups[-1 - depth], self.decoders[-1 - depth]
        y = up(self._level(pooled, depth + 1, use_skips))
        # one row or column short where pooling rounded down
        y = F.pad(y, (0, skip.shape[-1] - y.shape[-1], 0, skip.shape[-2] - y.shape[-2]), mode="replicate")
        if self.joins:
            y = self.joins[-1 - depth](y, skip if use_skips else torch.zeros_like(skip))
        return decoder(y)


def step_times_ms(model, images, masks, criterion):
    """Milliseconds of one forward and one backward pass, after one that warms up; given."""
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def now():
        if images.is_cuda:
            torch.cuda.synchronize()
        return 1000 * time.perf_counter()

    for _ in range(2):
        start = now()
        loss = criterion(model(images), masks)
        middle = now()
        torch.autograd.grad(loss, weights, allow_unused=True)
        end = now()
    return middle - start, end - middle


def step_memory_mb(model, images, masks, criterion):
    """Megabytes that one training step holds on to; given.

    On a GPU the peak of one step, on the CPU the activations that the forward pass keeps for the backward pass.
    """
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if images.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()  # other models, and the loaders' pictures
        torch.autograd.grad(criterion(model(images), masks), weights, allow_unused=True)
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = criterion(model(images), masks)
    del loss
    return sum(kept.values()) / 1e6


# ---- Task 2.4 · Gradient flow ----


def gradient_norms(model, images, masks, criterion):
    """L2 norm of the gradient of every parameter after one backward pass.

    Args:
        model: any `nn.Module`.
        images, masks: one batch, (B, C, H, W) and (B, 1, H, W).
        criterion: called as `criterion(logits, masks)`; returns a 0-d tensor.

    Returns:
        dict of parameter name → float, in the order of `model.named_parameters()`; 0.0 where no gradient arrives.
        The `.grad` of every parameter is afterwards what it was before.
    """
    # TODO Task 2.4: forward, loss, gradients, norms. torch.autograd.grad leaves .grad alone.
    # YOUR CODE HERE
    raise NotImplementedError("Need to implement for Task 2.4: gradient_norms")


def analyze_skip_connections(models, images, masks, criterion):
    """Compare models on one batch: size, time, memory, and the gradient at both ends of the network.

    Args:
        models: dict of name → `nn.Module` with `encoders` and `decoders` (from the bottom up), such as `SkipUNet`.
        images, masks, criterion: as for `gradient_norms`.

    Returns:
        one dict a model, in their order, with the keys name, parameters (how many numbers it learns),
        forward_ms, backward_ms, peak_memory_mb (of the given `step_times_ms` and `step_memory_mb`), and
        first_encoder_grad, last_decoder_grad: the L2 norm over all parameters of `encoders[0]` and of `decoders[-1]`.
    """
    # TODO Task 2.4: fill one row a model. Which blocks does a name such as "encoders.0.…" belong to?
    # YOUR CODE HERE
    raise NotImplementedError("Need to implement for Task 2.4: analyze_skip_connections")


def checked(pred, target):
    """Logits and target as every loss needs them: of one shape, in float32 at least; given.

    Raises ValueError for shapes that differ, NaN logits, and targets outside 0 to 1.
    """
    if pred.shape != target.shape:
        raise ValueError(
            f"pred has the shape {tuple(pred.shape)}, target {tuple(target.shape)}; PyTorch would stretch one to the "
            "other without a word. Both are (B, C, H, W): target.unsqueeze(1) adds a missing channel."
        )
    pred = pred if pred.dtype == torch.float64 else pred.float()
    target = target.to(pred)
    if torch.isnan(pred).any():
        raise ValueError("The logits hold NaN: the training has diverged. Lower the learning rate or clip the gradients.")
    if target.numel() and (target.min() < 0 or target.max() > 1):
        raise ValueError(
            f"The target goes from {target.min():g} to {target.max():g}, but a mask holds 0 and 1. "
            "0 and 255: divide by 255. Labels 1, 2, 3: a trimap, compare it with its label (trimap != 2)."
        )
    return pred, target


# ---- Task 3.1 · Dice loss ----


class DiceLoss(nn.Module):
    """1 − Dice of the predicted probabilities, pooled over the batch (Algorithm 8 of the handout, with 1 − dice_c).

    Source: Milletari, Navab, Ahmadi: V-Net, 3DV 2016, arXiv:1606.04797.

    Args:
        smooth: added above and below the fraction, so that two empty masks give 0.
        class_weights: one weight a class, a list or a tensor; `None` weighs all alike.

    Shapes:
        pred: logits (B, C, H, W), target: (B, C, H, W) of 0 and 1; returns a 0-d tensor, at least float32
    """

    def __init__(self, smooth=1e-6, *, class_weights=None):
        super().__init__()
        # TODO Task 3.1: keep what forward needs.
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 3.1: DiceLoss.__init__")

    def forward(self, pred, target):
        # TODO Task 3.1: probabilities, sums over batch and pixels (one a class), the loss of each class, their mean.
        pred, target = checked(pred, target)
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 3.1: DiceLoss.forward")


# ---- Task 3.2 · Focal loss ----


class FocalLoss(nn.Module):
    """Binary cross-entropy that turns down pixels which are already right: mean of α_t (1 − p_t)^γ · BCE (Algorithm 9).

    Source: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, arXiv:1708.02002.

    Args:
        alpha: weight of the positive pixels; the negative ones get 1 − alpha.
        gamma: how strongly easy pixels are turned down; 0 leaves the weighted cross-entropy.

    Shapes:
        pred: logits (B, C, H, W), target: (B, C, H, W) of 0 and 1; returns a 0-d tensor, at least float32
    """

    def __init__(self, alpha=0.25, gamma=2.0):
        super().__init__()
        # TODO Task 3.2: keep what forward needs.
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 3.2: FocalLoss.__init__")

    def forward(self, pred, target):
        # TODO Task 3.2: cross-entropy of every pixel, straight from the logits; alpha_t; (1 − p_t)^gamma; the mean.
        # The gradient of x ** gamma at x = 0 is infinite for gamma < 1. torch.nn.functional.logsigmoid helps.
        pred, target = checked(pred, target)
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 3.2: FocalLoss.forward")


# ---- Task 3.3 · Combined loss ----


class CombinedLoss(nn.Module):
    """Weighted sum of cross-entropy, Dice and focal loss.

    Args:
        weights: dict of "ce" (`binary_cross_entropy_with_logits`), "dice" and "focal" → weight;
            a term whose weight is zero or absent is left out. The dict stays as it is.

    Shapes:
        pred: logits (B, C, H, W), target: (B, C, H, W) of 0 and 1; returns a 0-d tensor, at least float32
    """

    def __init__(self, weights={"ce": 0.5, "dice": 0.5, "focal": 0.0}):
        super().__init__()
        # TODO Task 3.3: keep the weights and the losses that forward needs.
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 3.3: CombinedLoss.__init__")

    def forward(self, pred, target):
        # TODO Task 3.3: the weighted sum of the terms that have a weight.
        pred, target = checked(pred, target)
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 3.3: CombinedLoss.forward")


class Progress:
    """What a training run needs to go on after an interruption, in one file; given.

    Args:
        path: the file; `None` keeps nothing.
        parts: objects with `state_dict` and `load_state_dict`, by name: model, optimizer, scheduler.
    """

    def __init__(self, path, **parts):
        self.path = Path(path) if path else None
        self.parts = parts

    def load(self, history, best):
        """The (history, best) of the saved run, whose parts go on where they were; those given where none is saved.

        history: dict of lists of numbers. best: dict of numbers and tensors, the best weights among them.
        """
        if self.path is None or not self.path.exists():
            return history, best
        try:
            saved = torch.load(self.path, map_location="cpu", weights_only=True)
            for name, part in self.parts.items():
                part.load_state_dict(saved[name])
        except Exception as error:  # no checkpoint, one of another network, or with more than tensors in it: torch raises many kinds
            cause = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(f"{self.path} cannot be gone on from ({cause}). Delete it to start anew.") from None
        print(f"going on after epoch {len(saved['history']['lr'])} from {self.path}; delete the file to start anew")
        return saved["history"], saved["best"]

    def save(self, history, best):
        """Keep the run as it is now; history and best as in `load`."""
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            states = {name: part.state_dict() for name, part in self.parts.items()}
            torch.save({"history": history, "best": best, **states}, self.path.with_suffix(".part"))
            self.path.with_suffix(".part").replace(self.path)  # an interruption never leaves half a file


@contextlib.contextmanager
def interruptible():
    """Let Jupyter's stop button end a `with` block early without losing what was done in it; given."""
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted; the best weights so far are kept")


def mean(values):
    """The mean of the numbers that the batches gave; ValueError where there was no batch; given."""
    if not values:
        raise ValueError("The loader gave no batch: is its data set empty, or smaller than one batch with drop_last=True?")
    return sum(values) / len(values)


def half_precision(device):
    """Mixed precision for the forward pass: (autocast context, gradient scaler); both do nothing on a CPU; given.

    Older GPUs, such as Colab's T4, compute in float16, whose small gradients need scaling; newer ones in bfloat16.
    """
    on_gpu = torch.device(device).type == "cuda"
    dtype = torch.bfloat16 if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    context = torch.autocast("cuda", dtype=dtype, enabled=on_gpu)
    return context, torch.amp.GradScaler("cuda", enabled=on_gpu and dtype == torch.float16)


# ---- Task 3.4 · Training and validation ----


def calculate_iou(pred, target, threshold=0.5):
    """Intersection over union of the predicted mask, counted over the whole batch, mean over the classes.

    Args:
        pred: logits (B, C, H, W).
        target: (B, C, H, W) of 0 and 1.
        threshold: probabilities above it count as 1.

    Returns:
        float; (TP + ε) / (TP + FP + FN + ε) with ε = 1e-6, so two empty masks give 1
    """
    # TODO Task 3.4: probabilities, mask, counts a class, ratio, mean.
    # YOUR CODE HERE
    raise NotImplementedError("Need to implement for Task 3.4: calculate_iou")


def train_epoch(model, dataloader, optimizer, criterion, device, *, accumulation_steps=1, max_grad_norm=None, scaler=None):
    """Train for one pass over the loader (Algorithm 13 of the handout: gradient accumulation).

    Args:
        dataloader: gives (images, masks) batches.
        accumulation_steps: batches whose gradients make one optimizer step; a last smaller group makes one as well.
        max_grad_norm: limit of the norm of all gradients together before each step; `None` leaves them.
        scaler: the gradient scaler of `half_precision` on a GPU; you may leave it out.

    Returns:
        (loss, iou), floats: means over the batches
    """
    # TODO Task 3.4: for each batch: to the device, forward, loss, backward; a step when its group is complete.
    # A group of k batches must give the gradient of one batch k times as large.
    # YOUR CODE HERE
    raise NotImplementedError("Need to implement for Task 3.4: train_epoch")


@torch.no_grad()
def validate(model, dataloader, criterion, device):
    """Measure loss and IoU without training: the model computes as it will in use, and nothing of it changes.

    Returns:
        (loss, iou), floats: means over the batches
    """
    # TODO Task 3.4: which mode does BatchNorm need here?
    # YOUR CODE HERE
    raise NotImplementedError("Need to implement for Task 3.4: validate")


def train_model(model, train_loader, val_loader, *, epochs=50, lr=1e-3, weight_decay=1e-4, criterion=None,
                accumulation_steps=1, max_grad_norm=1.0, device=None, checkpoint_path=None,
                patience=None, progress_path=None, on_epoch=None):
    """Train a model and leave it with the weights of its best validation IoU.

    Args (the last three are optional work):
        criterion, device: `CombinedLoss()`, and CUDA where there is one, when `None`.
        checkpoint_path: file for the best weights, a plain `state_dict`.
        patience: epochs without a better IoU before it stops early. progress_path: file that `Progress` goes on from.
        on_epoch: called as `on_epoch(epoch, model, history)` after each epoch (counted from 1).

    Returns a dict of the lists train_loss, train_iou, val_loss, val_iou, lr (that of the epoch), one entry an epoch.
    """
    # TODO Task 3.4: Adam with weight decay; ReduceLROnPlateau (patience 5) that is fed the validation loss;
    # one train_epoch and one validate an epoch; the best weights kept, saved, and restored at the end.
    # Does your copy of the best weights change when training goes on?
    # YOUR CODE HERE
    raise NotImplementedError("Need to implement for Task 3.4: train_model")


# ==== Bonus ====
# Voluntary: its points come on top. What you leave as it is costs nothing.

# ---- Task 4.1 · UNet++ (bonus) ----


class UNetPlusPlus(nn.Module):
    """UNet++: a triangle of `DoubleConv` nodes, of which each sees all nodes before it in its row and the one below.

    Source: Zhou et al., UNet++, 2018, arXiv:1807.10165.

    Args:
        in_channels: channels of the picture.
        out_channels: channels of the logits.
        features: channels of the levels, from the top down, any length L ≥ 1; level L below them has twice the last one's.
        deep_supervision: one head on each of X[0][1] to X[0][L], in place of one on X[0][L].
        batch_norm: handed on to every node.

    Shapes:
        x: (B, in_channels, H, W), H and W ≥ 2 ** L
        logits: (B, out_channels, H, W); a list of L of them with deep supervision in train mode

    Raises:
        ValueError: `depth` is one that has no head.
    """

    def __init__(self, in_channels=3, out_channels=1, features=[64, 128, 256, 512], *,
                 deep_supervision=False, batch_norm=True):
        super().__init__()
        # TODO Task 4.1: build a node for every i + j ≤ L, the upsampling in front of it where j ≥ 1, and the heads.
        # A dict with a name for each node keeps them apart; which container do PyTorch's parameters need?
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 4.1: UNetPlusPlus.__init__")

    def forward(self, x, depth=None):
        # TODO Task 4.1: compute the nodes that depth needs, column by column, and give what the table says.
        # In which order can the nodes be computed?
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 4.1: UNetPlusPlus.forward")


# ---- Task 4.2 · Deep supervision (bonus) ----


class DeepSupervisionLoss(nn.Module):
    """The weighted mean of a loss over all outputs of a network.

    Args:
        criterion: called as `criterion(logits, target)`; returns a 0-d tensor.
        weights: one number an output, a list or tuple that is not changed; `None` weighs all alike.

    Shapes:
        outputs: a list or tuple of logits (B, C, h, w), resized bilinearly to the target's H and W, or one such tensor
        target: (B, C, H, W); returns a 0-d tensor

    Raises:
        ValueError: there are not as many weights as outputs.
    """

    def __init__(self, criterion, weights=None):
        super().__init__()
        # TODO Task 4.2: keep what forward needs.
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 4.2: DeepSupervisionLoss.__init__")

    def forward(self, outputs, target):
        # TODO Task 4.2: one tensor or many? Then sizes, losses, weighted mean.
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 4.2: DeepSupervisionLoss.forward")


# ---- Task 4.3 · Sliding windows (bonus) ----


def window_starts(length, window, overlap):
    """Where windows begin along an axis of `length` ≥ `window` pixels, the last one flush with the end; a list of ints."""
    # TODO Task 4.3: every stride pixels, as long as a window fits; is the end of the axis covered?
    # YOUR CODE HERE
    raise NotImplementedError("Need to implement for Task 4.3: window_starts")


def window_weights(height, width, mode):
    """The weights (height, width) of a window's pixels: 1 for "constant", a bell for "gaussian"; ValueError for another mode."""
    # TODO Task 4.3: one curve for the rows, one for the columns, and their product.
    # YOUR CODE HERE
    raise NotImplementedError("Need to implement for Task 4.3: window_weights")


def padded(image, height, width):
    """The picture with at least this height and width, more to the right and below: mirrored where possible, else repeated."""
    # TODO Task 4.3: torch.nn.functional.pad with mode="reflect" needs a picture with more pixels than it adds on a side.
    # YOUR CODE HERE
    raise NotImplementedError("Need to implement for Task 4.3: padded")


def sliding_window_inference(predict, image, window=200, overlap=0.5, mode="gaussian", *, batch_size=4):
    """Predictions for pictures of any size, put together from windows.

    Sources: Ronneberger et al. 2015 (overlap-tile); Isensee et al., nnU-Net, 2021 (Gaussian weights).

    Args:
        predict: any callable, such as a network in eval mode: (n, C, h, w) → (n, K, h, w).
        image: (B, C, H, W), any H and W.
        window: height and width of the windows in pixels, one int or a pair (h, w).
        overlap: share of a window that the next one covers too, 0 ≤ overlap < 1.
        mode: "constant" or "gaussian", how much each pixel of a window counts.
        batch_size: windows that go to `predict` at a time.

    Returns:
        (B, K, H, W), at least float32, without gradients

    Raises:
        ValueError: overlap outside [0, 1), or an unknown mode.
    """
    # TODO Task 4.3: check the arguments, pad, cut, predict in groups, add up, divide, cut back.
    # YOUR CODE HERE
    raise NotImplementedError("Need to implement for Task 4.3: sliding_window_inference")


# ---- Task 4.4 · Recording attention (bonus) ----


def record_attention(model, pictures):
    """α of every `AttentionGate` that runs when the model sees the pictures; the model stays as it was.

    Args:
        model: any `nn.Module` with `AttentionGate`s somewhere in it.
        pictures: (B, C, H, W).

    Returns:
        dict of gate's name in the model → (B, 1, H, W) in [0, 1], without gradients, in the order in which they ran
    """
    # TODO Task 4.4: names, hooks, modes; run; and what must happen whatever the run does?
    # YOUR CODE HERE
    raise NotImplementedError("Need to implement for Task 4.4: record_attention")
