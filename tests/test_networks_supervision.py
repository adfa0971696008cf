"""Deep supervision: heads on the inner decoders of any U-Net, and the loss over their outputs."""

import copy
import io

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from networks import NETWORKS, AuxiliaryLoss, DeepSupervision, FCN8s, ResNet34UNet
from solutions.reference import reference
from tests.test_networks import UNETS, on_meta, pictures

ODD = (19, 37)
FEATURES = [4, 6, 8, 10]
INNER = [6, 8, 10]  # channels of the inner decoders, the deepest last
MODES = ("none", "concat", "add", "attention")
SUPERVISED = {name: (lambda name=name: NETWORKS[name](out_channels=2, features=FEATURES), INNER) for name in UNETS}
SUPERVISED["resnet34"] = (lambda: ResNet34UNet(out_channels=2, width=8), [4, 8, 16, 32])
SUPERVISED["UNet"] = (lambda: reference().UNet(out_channels=2, features=FEATURES), INNER)
SUPERVISED |= {mode: (lambda mode=mode: reference().SkipUNet(3, 2, FEATURES, mode), INNER) for mode in MODES}


def supervised(name: str = "residual") -> DeepSupervision:
    torch.manual_seed(0)
    return DeepSupervision(SUPERVISED[name][0]())


@pytest.mark.parametrize("name", SUPERVISED)
def test_every_unet_gets_heads_on_its_inner_decoders(name):
    network, channels = supervised(name), SUPERVISED[name][1]
    assert [head.in_channels for head in network.heads] == channels
    outputs = network(pictures(32, 37))
    assert [output.shape for output in outputs] == [(2, 2, 32, 37)] * (1 + len(channels))
    sum(output.square().mean() for output in outputs[1:]).backward()
    assert all(head.weight.grad.any() for head in network.heads)
    learnt = {part for part, each in network.model.named_parameters() if each.grad is not None and each.grad.any()}
    assert learnt & {"encoders.0.0.weight", "encoders.0.residual.0.weight", "encoder.conv1.weight"} or any(
        part.startswith("encoders.0.double_conv") for part in learnt
    ), "the gradient goes on from the heads"
    assert not any(part.startswith(("head", f"decoders.{len(channels)}.")) for part in learnt), "and passes by the top"


@pytest.mark.parametrize("name", ["attention-after", "resnet34", "UNet", "attention"])
def test_auxiliary_logits_are_heads_of_the_decoders_outputs(name):
    network, kept = supervised(name), []
    for decoder in network.model.decoders:
        decoder.register_forward_hook(lambda module, inputs, output: kept.append(output))
    logits, *auxiliary = network(pictures(*ODD))
    for output, head, own in zip(auxiliary, network.heads, kept[-2::-1], strict=True):
        own = F.conv2d(own, head.weight, head.bias)
        torch.testing.assert_close(output, F.interpolate(own, logits.shape[-2:], mode="bilinear", align_corners=False))
    sizes = [own.shape[-1] for own in kept]
    assert sizes == sorted(sizes), "the deepest decoder runs first, so its head is the last"


@pytest.mark.parametrize("name", SUPERVISED)
def test_the_network_itself_stays_as_it_was(name):
    torch.manual_seed(0)
    alone, network = SUPERVISED[name][0](), supervised(name)
    assert alone.state_dict().keys() == network.model.state_dict().keys()
    x = pictures(64, 64)
    first = alone(x)
    assert torch.equal(network(x)[0], first), "the same seed, the same weights, the same logits"
    assert torch.equal(network.model(x), alone(x)), "on its own it gives one tensor in train mode, too"
    assert torch.equal(network.eval()(x), alone.eval()(x)) and not torch.equal(alone(x), first)
    network.model.train()
    assert torch.is_tensor(network(x)), "the wrapper's own mode counts"


def test_nothing_of_a_pass_stays_behind():
    network = supervised()
    modes = [module.training for module in network.modules()]
    network(pictures(*ODD))
    network.model(pictures(*ODD))
    assert network._outputs is None and [module.training for module in network.modules()] == modes
    with pytest.raises(RuntimeError):
        network(pictures(*ODD)[:, :2])
    first = network(pictures(*ODD))
    assert all(torch.equal(a, b) for a, b in zip(network(pictures(*ODD)), first)), "a pass that failed does not matter"


def test_copies_are_networks_of_their_own():
    network = supervised()
    expected = [output.detach() for output in network(pictures(*ODD))]
    whole = io.BytesIO()
    torch.save(network, whole)
    whole.seek(0)
    copies = [copy.deepcopy(network), torch.load(whole, weights_only=False)]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    for other in copies:
        same = [torch.equal(a, b) for a, b in zip(other(pictures(*ODD)), expected, strict=True)]
        assert all(same), "hooks lead to their own network"
    averaged = torch.optim.swa_utils.AveragedModel(copies[0])
    averaged.update_parameters(copies[0])
    assert torch.equal(averaged.eval()(pictures(*ODD)), copies[0].eval()(pictures(*ODD)))


def test_state_dicts_hold_network_and_heads():
    network, other = supervised(), supervised()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter += torch.rand_like(parameter)
    network.load_state_dict(other.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(network(pictures(*ODD)), other(pictures(*ODD))))
    assert {name.split(".")[0] for name in network.state_dict()} == {"model", "heads"}


def test_compiled_as_one_graph():
    torch.manual_seed(0)
    network = DeepSupervision(NETWORKS["attention-before"](features=[4, 6]))
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    for seed in (1, 2):
        x = pictures(*ODD, seed=seed)
        assert all(torch.equal(a, b) for a, b in zip(compiled(x), network(x), strict=True))
    assert torch.equal(compiled.eval()(x), network.eval()(x))


def test_other_dtypes_devices_and_layouts():
    for network in (supervised().double(), DeepSupervision(SUPERVISED["residual"][0]().double())):
        assert [output.dtype for output in network(pictures(*ODD).double())] == [torch.float64] * 4
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert all(output.isfinite().all() for output in supervised()(pictures(*ODD)))
    x = pictures(*ODD).to(memory_format=torch.channels_last)
    expected = supervised()(pictures(*ODD))
    for output, plain in zip(supervised().to(memory_format=torch.channels_last)(x), expected):
        torch.testing.assert_close(output, plain, rtol=1e-4, atol=1e-4)
    network = on_meta(lambda: DeepSupervision(SUPERVISED["UNet"][0]()))
    assert len(network(torch.empty(2, 3, 16, 16, device="meta"))) == 4


def test_names_of_the_callers_choice():
    torch.manual_seed(0)
    unet = reference().UNet(in_channels=1, features=FEATURES)
    network = DeepSupervision(unet, ["decoders.1.double_conv", "bottleneck"], in_channels=1)
    assert [head.in_channels for head in network.heads] == [8, 20]
    assert [output.shape for output in network(pictures(16, 17)[:, :1])] == [(2, 1, 16, 17)] * 3


def test_a_network_that_was_used_before():
    """The reference's gates keep an α that belongs to a graph, which a module cannot be copied with."""
    used = SUPERVISED["attention"][0]()
    used(pictures(16, 16))
    gates = [module for module in used.modules() if hasattr(module, "alpha")]
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(used)
    assert len(DeepSupervision(used)(pictures(16, 16))) == 4 and all(gate.alpha.device.type == "cpu" for gate in gates)


class Pair(nn.Module):
    """In train mode it gives two outputs, as U-Net++ with deep supervision of its own."""

    def __init__(self):
        super().__init__()
        self.decoders = nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in range(2))

    def forward(self, x):
        outputs = [decoder(x) for decoder in self.decoders]
        return outputs if self.training else outputs[-1]


@pytest.mark.parametrize(
    "make, decoders, message",
    [
        (lambda: FCN8s(width=4, hidden=8), None, "FCN8s has no list `decoders`"),
        (lambda: NETWORKS["residual"](features=[4]), None, "ResidualUNet has no list `decoders` of two or more"),
        (SUPERVISED["UNet"][0], ["decoder.0"], "UNet has no submodule 'decoder.0'"),
        (SUPERVISED["UNet"][0], ["encoders.0"], "encoders.0 gives tuple, not one tensor"),
        (SUPERVISED["UNet"][0], ["decoders"], "decoders gives NoneType"),
        (lambda: Pair().eval(), None, "Pair gives list, not one tensor"),
    ],
)
def test_what_cannot_be_supervised_is_named(make, decoders, message):
    with pytest.raises(ValueError, match=message):
        DeepSupervision(make(), decoders)


# ---- the loss ----


def test_the_auxiliary_loss_is_a_weighted_mean():
    torch.manual_seed(0)
    outputs, target = [torch.randn(2, 1, 4, 5) for _ in range(3)], torch.randint(2, (2, 1, 4, 5)).float()
    each = [F.binary_cross_entropy_with_logits(output, target) for output in outputs]
    criterion = nn.BCEWithLogitsLoss()
    for factor, shares in {0.5: (4 / 7, 2 / 7, 1 / 7), 1.0: (1 / 3, 1 / 3, 1 / 3), 2.0: (1 / 7, 2 / 7, 4 / 7)}.items():
        expected = sum(share * loss for share, loss in zip(shares, each))
        torch.testing.assert_close(AuxiliaryLoss(criterion, factor)(outputs, target), expected)
    usual = AuxiliaryLoss(criterion)
    assert not torch.allclose(usual(outputs[::-1], target), usual(outputs, target))
    for loss in (usual, AuxiliaryLoss(criterion, 1.0)):
        assert torch.equal(loss(outputs[0], target), each[0]), "one tensor, as in eval mode: the loss itself"


def test_the_auxiliary_loss_trains_a_supervised_network():
    network, target = supervised(), torch.randint(2, (2, 2, *ODD)).float()
    criterion = AuxiliaryLoss(nn.BCEWithLogitsLoss())
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    losses = []
    for _ in range(8):
        losses.append(criterion(network(pictures(*ODD)), target))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
    assert criterion(network.eval()(pictures(*ODD)), target).ndim == 0


@pytest.mark.parametrize("factor", [0, -0.5, float("nan")])
def test_a_factor_without_a_mean_is_refused(factor):
    with pytest.raises(ValueError, match="must be above 0"):
        AuxiliaryLoss(nn.BCEWithLogitsLoss(), factor)
