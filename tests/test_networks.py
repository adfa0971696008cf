"""Networks that are nobody's task: what holds for all of them, and the U-Nets of residual blocks and gates.

What must hold for every network is a property: a function that raises for a network that lacks it. A second test gives
each property a network that lacks just this one.
"""

import copy
import importlib
import io
import pkgutil

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import networks
from networks import NETWORKS, AttentionResidualUNet, AttentionUNet, ResidualUNet
from networks.unets import AdditiveGate, ResidualBlock, UpStep
from tests.helpers import ROOT

UNETS = ("residual", "attention-before", "attention-after", "attention-residual")
SMALL = {"resnet34": {"width": 4}, **dict.fromkeys(UNETS, {"features": [8, 16]})}  # two levels: sides of 4 and more
SMALL |= dict.fromkeys(("fcn32s", "fcn16s", "fcn8s"), {"width": 4, "hidden": 8})
ODD = (13, 22)


def small(name: str, seed: int = 0, **options) -> nn.Module:
    """A small network by name, with weights in which nothing is 0 by chance or by design."""
    torch.manual_seed(seed)
    network = NETWORKS[name](**{"in_channels": 3, "out_channels": 2, **SMALL[name], **options})
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return network


def pictures(*size: int, seed: int = 1, count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def on_meta(make, **options) -> nn.Module:
    """The network at its full size, without memory."""
    with torch.device("meta"):
        return make(**options)


# ---- properties of every network ----


def gives_logits_of_the_pictures_size(network):
    for size in ((4, 4), ODD, (32, 32), (33, 50)):
        assert network.eval()(pictures(*size)).shape == (2, 2, *size)
    assert network.train()(pictures(*ODD)).shape == (2, 2, *ODD)


def gives_raw_logits(network):
    """The last layer is linear: ten times its weights give ten times the logits."""
    logits = network.eval()(pictures(*ODD))
    last = [module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))][-1]
    with torch.no_grad():
        for parameter in last.parameters():
            parameter *= 10
    torch.testing.assert_close(network(pictures(*ODD)), 10 * logits)


def leaves_the_pictures_alone(network):
    for mode in (True, False):
        x = pictures(*ODD)
        network.train(mode)(x)
        assert torch.equal(x, pictures(*ODD))


def remembers_nothing(network):
    first = network.eval()(pictures(*ODD))
    network(pictures(16, 16, seed=9))
    assert torch.equal(network(pictures(*ODD)), first)


def takes_each_picture_by_itself(network):
    together = network.eval()(pictures(*ODD))
    alone = torch.cat([network(picture[None]) for picture in pictures(*ODD)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def runs_in_float64(network):
    single = network.eval()(pictures(*ODD))
    double = network.double()(pictures(*ODD).double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), single, rtol=1e-3, atol=1e-4)


def runs_on_other_devices(network):
    assert network.to("meta")(torch.empty(2, 3, *ODD, device="meta")).shape == (2, 2, *ODD)


def runs_in_mixed_precision(network):
    x = pictures(*ODD)
    exact = network.eval()(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(x)
    assert F.cosine_similarity(logits.float().flatten(), exact.flatten(), dim=0) > 0.99
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = network.train()(x).float().square().mean()
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def runs_in_channels_last(network):
    logits = network.eval()(pictures(*ODD))
    network.to(memory_format=torch.channels_last)
    again = network(pictures(*ODD).to(memory_format=torch.channels_last))
    torch.testing.assert_close(again, logits, rtol=1e-4, atol=1e-4)


def every_parameter_gets_a_gradient(network):
    # In eval mode: in train mode, norms take out again what a bias in front of them adds.
    network.eval()(pictures(32, 48)).square().mean().backward()
    assert [name for name, each in network.named_parameters() if each.grad is None or not each.grad.any()] == []


def is_all_in_its_state_dict(network):
    network.train()(pictures(*ODD))  # moves BatchNorm's averages
    file, other = io.BytesIO(), small(network.name, seed=5).eval()
    torch.save(network.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(pictures(*ODD)), network.eval()(pictures(*ODD)))


PROPERTIES = [
    gives_logits_of_the_pictures_size, gives_raw_logits, leaves_the_pictures_alone, remembers_nothing,
    takes_each_picture_by_itself, runs_in_float64, runs_on_other_devices, runs_in_mixed_precision,
    runs_in_channels_last, every_parameter_gets_a_gradient, is_all_in_its_state_dict,
]  # fmt: skip


@pytest.mark.parametrize("has", PROPERTIES)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network(name, has):
    network = small(name)
    network.name = name
    has(network)


class Wrong(nn.Module):
    """A good network, and something that should not be there."""

    name = "residual"

    def __init__(self, change):
        super().__init__()
        self.inner, self.change, self.seen = small(self.name), change, 0.0
        self.idle = nn.Parameter(torch.ones(1)) if change == "idle" else None

    def forward(self, x):
        if self.change == "in place":
            x.clamp_(max=0.5)
        if self.change == "across the batch":
            x = x - x.mean()
        if self.change == "float32":
            x = x.float()
        if self.change == "device":
            x = x + torch.zeros(1, device="cpu").expand(x.shape)
        if self.change == "layout":
            assert x.is_contiguous()
        y = self.inner(x)
        if self.change == "even sizes":
            y = y[..., : y.shape[-2] // 2 * 2, :]
        if self.change == "sigmoid":
            y = y.sigmoid()
        if self.change == "root":
            y = y.abs().sqrt() if y.dtype == torch.float32 else y * torch.nan
        if self.change == "memory":
            y, self.seen = y + self.seen, y.mean().detach()
        return y


@pytest.mark.parametrize(
    "change, has",
    [
        ("even sizes", gives_logits_of_the_pictures_size), ("sigmoid", gives_raw_logits),
        ("in place", leaves_the_pictures_alone), ("memory", remembers_nothing),
        ("across the batch", takes_each_picture_by_itself), ("float32", runs_in_float64),
        ("device", runs_on_other_devices), ("root", runs_in_mixed_precision), ("layout", runs_in_channels_last),
        ("idle", every_parameter_gets_a_gradient), ("memory", is_all_in_its_state_dict),
    ],
)  # fmt: skip
def test_a_network_without_a_property_is_noticed(change, has):
    assert len(PROPERTIES) == 11 and has in PROPERTIES
    with pytest.raises((AssertionError, RuntimeError)):
        has(Wrong(change))


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_built_alike_and_from_the_seed(name, capsys):
    first, again, other = (small(name, seed, in_channels=5, out_channels=3) for seed in (0, 0, 1))
    x = torch.rand(2, 5, 32, 32)
    assert torch.equal(first.eval()(x), again.eval()(x)) and not torch.equal(first(x), other.eval()(x))
    assert first(x).shape == (2, 3, 32, 32) and capsys.readouterr() == ("", "")


def test_compiled_as_one_graph():
    network = small("attention-residual", features=[4]).eval()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    for seed in (1, 2):
        assert torch.equal(compiled(pictures(*ODD, seed=seed)), network(pictures(*ODD, seed=seed)))


def test_no_network_is_an_answer_to_a_task():
    tasks = {"DoubleConv", "EncoderBlock", "DecoderBlock", "UNet", "SkipUNet", "UNetPlusPlus", "AttentionGate"}
    tasks |= {"FlexibleSkipConnection", "ConcatSkip", "AddSkip", "AttentionSkip", "DeepSupervisionLoss"}
    modules = [importlib.import_module(f"networks.{found.name}") for found in pkgutil.iter_modules(networks.__path__)]
    assert modules and not tasks & {name for module in [networks, *modules] for name in dir(module)}


def test_the_judge_opens_no_network_to_submissions():
    from grader import sandbox

    assert "networks" not in sandbox.KIT and "training" not in sandbox.KIT
    assert not any(path.rstrip("/").endswith(("/networks", str(ROOT))) for path in sandbox.readable_paths())


# ---- residual and attention U-Nets ----


def test_parameters_are_those_of_a_plain_unet_and_what_is_added():
    """A plain U-Net of these widths has 31,037,633 (milesial/Pytorch-UNet, of the same layers, has 31,037,698 for two
    classes, 65 a class); the rest is arithmetic."""
    plain, widths = 31_037_633, (64, 128, 256, 512)
    after = sum(2 * w * (w // 2) + w // 2 + w // 2 + 1 for w in widths)  # of the gate and of the skip, ψ
    before = sum((2 * w + 4 * w) * (w // 2) + w // 2 + w // 2 + 1 for w in widths)  # 2·width asks; 2×2 on the skip
    ends = [(3, 64), (64, 128), (128, 256), (256, 512), (512, 1024), (1024, 512), (512, 256), (256, 128), (128, 64)]
    # 1×1 projections; norms stand before the convolutions, on their inputs, none on the picture and one before the head
    residual = sum(i * o for i, o in ends) + sum(2 * (i - o) for i, o in ends[1:]) - 2 * 64 + 2 * 64
    assert parameters(on_meta(ResidualUNet)) == plain + residual
    assert parameters(on_meta(AttentionUNet)) == plain + before
    assert parameters(on_meta(AttentionResidualUNet)) == plain + before + residual
    assert parameters(on_meta(AttentionUNet, gate="after")) == plain + after
    assert parameters(on_meta(ResidualUNet, out_channels=2)) == plain + residual + 65


def test_levels_are_as_many_as_features_and_the_callers_list_stays():
    features = [4, 6, 8]
    for name in UNETS:
        network = small(name, features=features).eval()
        assert len(network.encoders) == len(network.decoders) == 3
        assert network(pictures(8, 9)).shape == (2, 2, 8, 9)
        with pytest.raises(ValueError, match="features is empty"):
            NETWORKS[name](features=[])
    assert features == [4, 6, 8]


def test_levels_are_joined_by_max_pools():
    network, seen = small("residual").eval(), {}
    network.encoders[0].register_forward_hook(lambda module, inputs, output: seen.update(above=output))
    network.encoders[1].register_forward_hook(lambda module, inputs, output: seen.update(below=inputs[0]))
    network(pictures(*ODD))
    assert torch.equal(seen["below"], F.max_pool2d(seen["above"], 2))


def test_residual_blocks_add_to_what_comes_in():
    x = torch.randn(2, 4, 6, 5)
    same, wider = ResidualBlock(4, 4), ResidualBlock(4, 7)
    for block in (same, wider):
        for norm in (block.activate[0], block.residual[1]):
            nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
        y = F.batch_norm(x, None, None, block.activate[0].weight, block.activate[0].bias, training=True).relu()
        y = F.conv2d(y, block.residual[0].weight, padding=1)
        y = F.batch_norm(y, None, None, block.residual[1].weight, block.residual[1].bias, training=True).relu()
        y = F.conv2d(y, block.residual[3].weight, padding=1)
        torch.testing.assert_close(block(x), y + (x if block is same else F.conv2d(x, wider.project.weight)))
    assert parameters(same.project) == 0 and parameters(wider.project) == 28


def test_what_odd_sides_lack_is_repeated_at_the_right_and_the_bottom():
    torch.manual_seed(0)
    step, below, skip = UpStep(8, 4, nn.Identity()), torch.randn(1, 8, 2, 3), torch.randn(1, 3, 5, 7)
    large, beside = step(below, skip).split([4, 3], 1)
    assert torch.equal(large[..., :4, :6], step.enlarge(below)) and torch.equal(beside, skip)
    assert torch.equal(large[..., 4, :], large[..., 3, :]) and torch.equal(large[..., 6], large[..., 5])


def test_pictures_are_not_rectified_at_the_first_block():
    first = small("residual").encoders[0]
    seen = []
    first.residual[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    first(-pictures(8, 8))
    assert torch.equal(seen[0], -pictures(8, 8))


@pytest.mark.parametrize("gate", ["before", "after"])
@pytest.mark.parametrize("make", [AttentionUNet, AttentionResidualUNet])
def test_alphas_are_weights_at_the_size_of_their_skips(make, gate):
    torch.manual_seed(0)
    network = make(features=(4, 8, 16), gate=gate)
    assert [decoder.gate.alpha for decoder in network.decoders] == [None] * 3
    for size, skips in {(13, 22): [(3, 5), (6, 11), (13, 22)], (16, 16): [(4, 4), (8, 8), (16, 16)]}.items():
        network(pictures(*size))
        alphas = [decoder.gate.alpha for decoder in network.decoders]
        assert [alpha.shape for alpha in alphas] == [(2, 1, *skip) for skip in skips]
        assert all(0 < alpha.min() < alpha.max() < 1 and not alpha.requires_grad for alpha in alphas)
    assert copy.deepcopy(network).decoders[0].gate.alpha.shape == (2, 1, 4, 4)


@pytest.mark.parametrize("stride", [1, 2])
def test_gates_compute_oktays_formula(stride):
    torch.manual_seed(0)
    gate, skip = torch.randn(2, 6, 11 // stride, 7 // stride), torch.randn(2, 4, 11, 7)
    module = AdditiveGate(6, 4, stride)
    weights = dict(module.named_parameters())
    asked = F.conv2d(gate, weights["of_gate.weight"], weights["of_gate.bias"])
    seen = F.conv2d(skip, weights["of_skip.weight"], stride=stride)
    alpha = F.conv2d((asked + seen).clamp(min=0), weights["psi.weight"], weights["psi.bias"]).sigmoid()
    alpha = F.interpolate(alpha, (11, 7), mode="bilinear", align_corners=False)
    torch.testing.assert_close(module(gate, skip), skip * alpha)
    torch.testing.assert_close(module.alpha, alpha)
    assert weights["of_skip.weight"].shape == (2, 4, stride, stride)


@pytest.mark.parametrize("stride", [1, 2])
def test_another_gate_gives_another_alpha_and_the_skips_alone_do_not(stride):
    torch.manual_seed(0)
    module, skip = AdditiveGate(6, 4, stride), torch.randn(1, 4, 16, 16)
    gate = torch.randn(1, 6, 16 // stride, 16 // stride)
    module(gate, skip)
    alpha, changed = module.alpha, gate.clone()
    changed[..., 0, 0] += 3
    module(changed, skip)
    moved = (module.alpha != alpha)[0, 0]
    assert moved[0, 0] and not moved[3 * stride :, 3 * stride :].any(), "where the gate changed, and not far from there"
    module(gate, skip)
    assert torch.equal(module.alpha, alpha), "of this pass alone"
    with torch.no_grad():
        module.psi.bias.fill_(-1000.0)
    assert not module(gate, skip).any(), "a closed gate"


def test_before_asks_the_level_below_and_after_what_was_enlarged():
    for gate, changes in {"before": False, "after": True}.items():
        torch.manual_seed(0)
        network = AttentionUNet(features=(4, 8), gate=gate).eval()
        network(pictures(*ODD))
        deepest = network.decoders[0].gate
        alpha = deepest.alpha
        assert deepest.of_gate.in_channels == {"before": 16, "after": 8}[gate]
        with torch.no_grad():
            network.decoders[0].enlarge.bias += 1
        network(pictures(*ODD))
        assert torch.equal(deepest.alpha, alpha) is not changes


def test_gates_learn():
    network = small("attention-before")
    network(pictures(*ODD)).square().mean().backward()
    assert all(each.grad.any() for decoder in network.decoders for each in decoder.gate.parameters())


@pytest.mark.parametrize("gate", [None, "", "concat"])
def test_unknown_gates_are_refused(gate):
    for make in (AttentionUNet, AttentionResidualUNet):
        with pytest.raises(ValueError, match="before, after"):
            make(gate=gate)
