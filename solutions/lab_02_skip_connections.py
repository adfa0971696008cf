# %% [markdown]
# # Part 2 · Skip connections

# %% export="true"
import time

import torch
import torch.nn.functional as F
from torch import nn

# %%
from grader.mine import DecoderBlock, DoubleConv, EncoderBlock, UNet

# %% [markdown]
# ## Task 2.1 · {{title}}

# %% task="2.1"
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
        ### BEGIN SOLUTION
        self.conv = nn.Conv2d(decoder_channels + skip_channels, decoder_channels, kernel_size=3, padding=1)
        ### END SOLUTION

    def forward(self, decoder_features, skip_features):
        # TODO Task 2.1: concatenate along the channels, convolve. No norm and no ReLU after it.
        ### BEGIN SOLUTION
        both = torch.cat([decoder_features, skip_features], dim=1)  # (B, decoder_channels + skip_channels, H, W)
        return self.conv(both)  # (B, decoder_channels, H, W)
        ### END SOLUTION

# %% check="2.1"
check("2.1")

# %% [markdown]
# ## Task 2.2 · {{title}}

# %% task="2.2"
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
        ### BEGIN SOLUTION
        same = decoder_channels == skip_channels
        self.project = nn.Identity() if same else nn.Conv2d(skip_channels, decoder_channels, kernel_size=1)
        ### END SOLUTION

    def forward(self, decoder_features, skip_features):
        # TODO Task 2.2: add the (projected) skip. Leave both inputs as they are.
        ### BEGIN SOLUTION
        return decoder_features + self.project(skip_features)  # (B, decoder_channels, H, W)
        ### END SOLUTION

# %% check="2.2"
check("2.2")

# %% [markdown]
# ## Task 2.3 · {{title}}

# %% task="2.3"
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
        ### BEGIN SOLUTION
        inner_channels = gate_channels // 2
        self.gate_conv = nn.Conv2d(gate_channels, inner_channels, kernel_size=1)
        self.skip_conv = nn.Conv2d(skip_channels, inner_channels, kernel_size=1)
        self.alpha_conv = nn.Conv2d(inner_channels, 1, kernel_size=1)
        ### END SOLUTION

    def forward(self, gate, skip):
        # TODO Task 2.3: resize the gate to the skip's height and width, add, ReLU, one channel, sigmoid:
        # that is alpha. Keep it in self.alpha and return the weighted skip.
        ### BEGIN SOLUTION
        gate = F.interpolate(gate, size=skip.shape[-2:], mode="bilinear", align_corners=False)
        asked = F.relu(self.gate_conv(gate) + self.skip_conv(skip))  # (B, gate_channels // 2, H, W)
        self.alpha = torch.sigmoid(self.alpha_conv(asked))  # (B, 1, H, W)
        return skip * self.alpha  # (B, skip_channels, H, W)
        ### END SOLUTION


class AttentionSkip(nn.Module):
    """Join the skip after an `AttentionGate`: gate, concatenate, 3×3 convolution.

    Shapes:
        decoder_features: (B, decoder_channels, H, W), skip_features: (B, skip_channels, H, W)
        output: (B, decoder_channels, H, W)
    """

    def __init__(self, decoder_channels, skip_channels):
        super().__init__()
        # TODO Task 2.3: build the gate and the convolution after the concatenation.
        ### BEGIN SOLUTION
        self.gate = AttentionGate(decoder_channels, skip_channels)
        self.conv = nn.Conv2d(decoder_channels + skip_channels, decoder_channels, kernel_size=3, padding=1)
        ### END SOLUTION

    def forward(self, decoder_features, skip_features):
        # TODO Task 2.3: the decoder's features gate the skip; then as in Task 2.1.
        ### BEGIN SOLUTION
        gated = self.gate(decoder_features, skip_features)  # (B, skip_channels, H, W)
        return self.conv(torch.cat([decoder_features, gated], dim=1))  # (B, decoder_channels, H, W)
        ### END SOLUTION

# %% [markdown]
# The next cell is given.

# %% export="true"
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
        ins = [in_channels, *features[:-1]]
        self.encoders = nn.ModuleList(
            EncoderBlock(before, width, batch_norm=batch_norm) for before, width in zip(ins, features)
        )
        self.bottleneck = DoubleConv(features[-1], 2 * features[-1], batch_norm=batch_norm)
        self.ups, self.joins, self.decoders = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        below = 2 * features[-1]
        for width in reversed(features):
            self.ups.append(nn.ConvTranspose2d(below, width, kernel_size=2, stride=2))
            if skip != "none":
                self.joins.append(FlexibleSkipConnection(width, width, skip))
            self.decoders.append(DoubleConv(width, width, batch_norm=batch_norm))
            below = width
        self.head = nn.Conv2d(below, out_channels, kernel_size=1)

    def forward(self, x, use_skips=True):
        """Logits of pictures; `use_skips=False` puts zeros in place of every skip, without other changes."""
        skips = []
        for encoder in self.encoders:
            features, x = encoder(x)
            skips.append(features if use_skips else torch.zeros_like(features))
        x = self.bottleneck(x)
        for level, skip in enumerate(reversed(skips)):
            x = self.ups[level](x)
            # one row or column short where pooling rounded down
            x = F.pad(x, (0, skip.shape[-1] - x.shape[-1], 0, skip.shape[-2] - x.shape[-2]), mode="replicate")
            if self.joins:
                x = self.joins[level](x, skip)
            x = self.decoders[level](x)
        return self.head(x)

# %% check="2.3"
check("2.3")

# %% [markdown]
# ## Task 2.4 · {{title}}

# %% export="true"
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
        torch.autograd.grad(criterion(model(images), masks), weights, allow_unused=True)
        return torch.cuda.max_memory_allocated() / 1e6
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

# %% task="2.4"
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
    ### BEGIN SOLUTION
    trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    loss = criterion(model(images), masks)
    gradients = torch.autograd.grad(loss, list(trainable.values()), allow_unused=True)
    norms = {name: 0.0 for name, _ in model.named_parameters()}
    for name, gradient in zip(trainable, gradients):
        if gradient is not None:
            norms[name] = gradient.norm().item()
    return norms
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    rows = []
    for name, model in models.items():
        norms = gradient_norms(model, images, masks, criterion)
        ends = {"first_encoder_grad": "encoders.0.", "last_decoder_grad": f"decoders.{len(model.decoders) - 1}."}
        forward_ms, backward_ms = step_times_ms(model, images, masks, criterion)
        row = {
            "name": name,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "forward_ms": forward_ms,
            "backward_ms": backward_ms,
            "peak_memory_mb": step_memory_mb(model, images, masks, criterion),
        }
        for key, block in ends.items():
            row[key] = sum(norm**2 for parameter, norm in norms.items() if parameter.startswith(block)) ** 0.5
        rows.append(row)
    return rows
    ### END SOLUTION

# %% check="2.4"
check("2.4")

# %% [markdown] manual="skip_discussion"
# **Your answer** ({{points}} points)
#
# ### BEGIN SOLUTION
# Model answer.
# ### END SOLUTION
