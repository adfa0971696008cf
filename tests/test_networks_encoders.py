"""ResNet-34 and VGG16 as encoders: the same numbers as torchvision's, its weights, and what stands on them."""

import copy
import hashlib
import io
import urllib.error
import urllib.request
import warnings

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torchvision.models import ResNet34_Weights, VGG16_Weights, WeightsEnum

from networks import FCN8s, FCN16s, FCN32s, ResNet34Encoder, ResNet34UNet, bilinear_kernel
from networks.fcn import vgg16_features
from networks.pretrained import IMAGENET_MEAN, IMAGENET_STD
from networks.resnet import ResNetUpStep
from tests.test_networks import on_meta, parameters, pictures
from training.loop import has_bf16

TINY = {"width": 4, "hidden": 8}
FCNS = (FCN32s, FCN16s, FCN8s)


def randomised(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network with norms as after some training: averages, scales and shifts of no special values."""
    torch.manual_seed(seed)
    for each in network.modules():
        if isinstance(each, nn.BatchNorm2d):
            nn.init.normal_(each.running_mean, std=0.1), nn.init.uniform_(each.running_var, 0.5, 2)
            nn.init.uniform_(each.weight, 0.5, 1.5), nn.init.normal_(each.bias, std=0.1)
    return network.eval()


@pytest.fixture(scope="module")
def resnet34():
    """torchvision's network of full size, not trained."""
    return randomised(torchvision.models.resnet34(weights=None))


@pytest.fixture(scope="module")
def vgg16():
    """torchvision's network of full size; of its classifier, shapes alone: it has 120 million parameters."""
    network = on_meta(torchvision.models.vgg16).eval()
    network.features.to_empty(device="cpu")
    torch.manual_seed(0)
    for parameter in network.features.parameters():
        std = (2 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.1
        nn.init.normal_(parameter, std=std)
    return network


def without_classifier(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value for name, value in network.state_dict().items() if not name.startswith("fc.")}


# ---- ResNet-34 ----


def features_of(network: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """torchvision's features after the stem and each stage."""
    maps = [network.relu(network.bn1(network.conv1(x)))]
    x = network.maxpool(maps[0])
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        x = stage(x)
        maps.append(x)
    return maps


@pytest.mark.parametrize("size", [(64, 96), (75, 50)])
def test_resnet34_is_torchvisions(resnet34, size):
    encoder = ResNet34Encoder().eval()
    encoder.load_state_dict(without_classifier(resnet34))
    x = pictures(*size)
    with torch.no_grad():
        ours, theirs = encoder(x), features_of(resnet34, x)
        assert len(ours) == len(theirs) == 5
        assert all(torch.allclose(a, b) for a, b in zip(ours, theirs))
        for each, width, stride in zip(ours, (64, 64, 128, 256, 512), (2, 4, 8, 16, 32)):
            assert each.shape == (2, width, -(-size[0] // stride), -(-size[1] // stride))
        encoder.layer3[2].bn1.running_mean += 0.1
        changed = [torch.allclose(a, b) for a, b in zip(encoder(x), theirs)]
        assert changed == [True, True, True, False, False], "the comparison sees one norm of the third stage"


def test_resnet34_has_the_parameters_of_others():
    """torchvision's resnet34 has 21,797,672, its classifier included; Unet("resnet34") of segmentation_models.pytorch
    0.6.0 has 24,436,369 for one class (and gives the same logits from the same weights, bit for bit)."""
    assert parameters(on_meta(ResNet34Encoder)) == 21_797_672 - (512 * 1000 + 1000) == 21_284_672
    assert parameters(on_meta(ResNet34UNet)) == 24_436_369
    assert parameters(on_meta(ResNet34UNet, out_channels=3)) == 24_436_369 + 2 * (9 * 16 + 1)


def test_resnet_decoders_enlarge_by_repetition():
    torch.manual_seed(0)
    step, x, skip = ResNetUpStep(4, 2, 3).eval(), torch.randn(1, 4, 3, 5), torch.randn(1, 2, 6, 9)
    repeated = x.repeat_interleave(2, -1).repeat_interleave(2, -2)[..., :6, :9]
    assert torch.equal(step(x, (6, 9), skip), step.mix(torch.cat([repeated, skip], 1)))
    assert ResNetUpStep(4, 0, 3)(x, (6, 9)).shape == (1, 3, 6, 9)


def test_every_resnet_skip_is_used():
    network = randomised(ResNet34UNet(width=4))
    logits = network(pictures(64, 64))
    network.encoder.register_forward_hook(
        lambda module, inputs, maps: [each * (index != cut) for index, each in enumerate(maps)]
    )
    for cut in range(5):
        assert not torch.allclose(network(pictures(64, 64)), logits)
    cut = None
    assert torch.equal(network(pictures(64, 64)), logits)


def test_resnet_widths():
    network = ResNet34UNet(width=8, decoder_channels=(7, 6, 5, 4, 3))
    assert [decoder.mix[0].out_channels for decoder in network.decoders] == [7, 6, 5, 4, 3]
    with pytest.raises(ValueError, match="five numbers"):
        ResNet34UNet(width=8, decoder_channels=(8, 4))


# ---- VGG16 and the three FCNs ----


def test_vgg16_is_torchvisions(vgg16):
    features = vgg16_features().eval()
    features.load_state_dict(vgg16.features.state_dict())
    ours = theirs = pictures(64, 96)
    with torch.no_grad():
        for index, (layer, twin) in enumerate(zip(features, vgg16.features, strict=True)):
            ours, theirs = layer(ours.clone()), twin(theirs.clone())
            assert torch.allclose(ours, theirs), index
        features[10].bias += 0.1
        assert not torch.allclose(features(pictures(64, 96)), theirs), "the comparison sees one bias"


def small_vgg(width: int = 4, hidden: int = 8) -> nn.Module:
    """torchvision's VGG with fewer channels: its own features and pool, a classifier of the same layers."""
    network = on_meta(torchvision.models.vgg16)
    plan = [units * width for units in (1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 8, 8, 8)]
    for place in (2, 5, 9, 13, 17):
        plan.insert(place, "M")
    network.features = torchvision.models.vgg.make_layers(plan)
    wide = {0: nn.Linear(8 * width * 49, hidden), 3: nn.Linear(hidden, hidden), 6: nn.Linear(hidden, 10)}
    network.classifier = nn.Sequential(*(wide.get(index, layer) for index, layer in enumerate(network.classifier)))
    return network.eval()


def test_the_classifier_becomes_convolutions():
    """On 224×224 pixels the classifier sees the 7×7 features as the 7×7 convolution does in the middle."""
    torch.manual_seed(0)
    theirs, ours = small_vgg(), FCN32s(**TINY).eval()
    ours.load_vgg16(theirs.state_dict())
    found = {}
    for name in ("conv6", "conv7"):
        getattr(ours, name).register_forward_hook(
            lambda module, inputs, output, name=name: found.update({name: output.clone()})
        )
    ours.score.register_forward_hook(lambda module, inputs, output: found.update(scored=inputs[0]))
    with torch.no_grad():
        ours(pictures(224, 224))
        flat = theirs.avgpool(theirs.features(pictures(224, 224))).flatten(1)
        fc6, fc7 = theirs.classifier[0](flat), theirs.classifier[:4](flat)
    for name, expected in {"conv6": fc6, "conv7": fc7, "scored": fc7.relu()}.items():
        assert found[name].shape == (2, 8, 7, 7)
        torch.testing.assert_close(found[name][..., 3, 3], expected, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(found[name][..., 3, 4], expected, rtol=1e-2)


@pytest.mark.parametrize("make", FCNS)
def test_the_full_size_fits_torchvisions_weights(vgg16, make):
    on_meta(make).load_vgg16(on_meta(torchvision.models.vgg16).state_dict())
    with pytest.raises(RuntimeError):
        make(**TINY).load_vgg16(small_vgg(width=4, hidden=7).state_dict())


def test_fcns_have_the_parameters_of_vgg16_and_their_heads():
    """torchvision's vgg16 has 138,357,544, with its last layer (4096 → 1000); PASCAL VOC has 21 classes."""
    backbone, k = 138_357_544 - (4096 * 1000 + 1000), 21
    score = {channels: channels * k + k for channels in (4096, 512, 256)}
    enlarge = {factor: k * k * (2 * factor) ** 2 for factor in (2, 8, 16, 32)}
    assert parameters(on_meta(FCN32s, out_channels=k)) == backbone + score[4096] + enlarge[32]
    middle = score[4096] + score[512] + enlarge[2] + enlarge[16]
    assert parameters(on_meta(FCN16s, out_channels=k)) == backbone + middle
    fine = sum(score.values()) + 2 * enlarge[2] + enlarge[8]
    assert parameters(on_meta(FCN8s, out_channels=k)) == backbone + fine == 134_489_759


@pytest.mark.parametrize("factor", [2, 8, 16, 32])
def test_bilinear_kernels_enlarge_as_interpolate_does(factor):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64)
    kernel = bilinear_kernel(3, factor).double()
    large = F.conv_transpose2d(x, kernel, stride=factor, padding=factor // 2)
    expected = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    inside = (..., slice(factor, -factor), slice(factor, -factor))
    assert large.shape == expected.shape
    torch.testing.assert_close(large[inside], expected[inside])
    assert not torch.allclose(large, expected), "at the frame nothing is repeated"
    wrong = F.conv_transpose2d(x, kernel.flip(0), stride=factor, padding=factor // 2)
    assert not torch.allclose(wrong[inside], expected[inside]), "channels do not mix"


def test_bilinear_kernels_go_on_with_a_ramp():
    ramp = torch.arange(8.0)[None, None, None].expand(1, 1, 8, 8)
    large = F.conv_transpose2d(ramp, bilinear_kernel(1, 4), stride=4, padding=2)[0, 0, 4:-4, 4:-4]
    expected = (torch.arange(32) + 0.5) / 4 - 0.5  # a pixel's middle, counted in the middles of the small map
    torch.testing.assert_close(large, expected[4:-4].expand(24, 24))


def test_convolutions_begin_with_hes_distribution():
    torch.manual_seed(0)
    resnet, vgg = ResNet34UNet(width=16), vgg16_features(width=16)
    for layer, fan in [
        (resnet.encoder.layer4[1].conv1, 128 * 9), (resnet.decoders[0].mix[0], 64 * 9),
        (resnet.encoder.layer3[0].downsample[0], 64), (vgg[26], 128 * 9), (vgg[10], 32 * 9),
    ]:  # fmt: skip
        assert layer.weight.std().item() == pytest.approx((2 / fan) ** 0.5, rel=0.03)
    assert not any(layer.bias.any() for layer in vgg if isinstance(layer, nn.Conv2d))


@pytest.mark.parametrize("make", FCNS)
def test_fcns_pad_normalised_pictures_at_the_right_and_the_bottom(make):
    network, seen = trained(make, 0), []
    network.features[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    network.normalize.mean += 0.3
    network(pictures(40, 50))
    assert torch.equal(seen[0], F.pad(pictures(40, 50) - 0.3, [0, 14, 0, 24]))
    network.normalize.mean -= 0.3
    assert torch.equal(network(pictures(40, 50)), network(F.pad(pictures(40, 50), [0, 14, 0, 24]))[..., :40, :50])


@pytest.mark.parametrize("make", FCNS)
def test_fcns_begin_with_scores_of_nothing_and_bilinear_kernels(make):
    network = make(out_channels=3, **TINY)
    scores = {name for name, module in network.named_children() if name.startswith("score")}
    assert len(scores) == {FCN32s: 1, FCN16s: 2, FCN8s: 3}[make]
    assert not any(parameter.any() for name in scores for parameter in getattr(network, name).parameters())
    enlarging = [module for module in network.children() if isinstance(module, nn.ConvTranspose2d)]
    assert len(enlarging) == len(scores)
    assert all(torch.equal(each.weight, bilinear_kernel(3, each.stride[0])) for each in enlarging)
    assert not network(pictures(40, 50)).any()


@pytest.mark.parametrize("make", FCNS)
def test_fcns_scores_lie_where_the_pixels_are(make):
    """Constant scores on half of the finest map give logits that change in the middle between the halves."""
    network = make(**TINY).eval()
    finest = {FCN32s: "score", FCN16s: "score_pool4", FCN8s: "score_pool3"}[make]
    halves = (torch.arange(128 // make.stride) >= 64 // make.stride).float()
    getattr(network, finest).register_forward_hook(lambda module, inputs, scores: halves.expand_as(scores))
    logits = network(pictures(128, 128))[0, 0, 64]
    assert not logits[: 64 - make.stride].any()
    assert torch.allclose(logits[64 + make.stride : -make.stride], torch.ones(1))
    torch.testing.assert_close(logits[62] + logits[65], torch.tensor(1.0))


def test_frozen_backbones_rest_and_the_rest_learns():
    for make in FCNS:
        torch.manual_seed(0)
        network = make(frozen=True, **TINY).train()
        nn.init.normal_(network.score.weight)
        first = network(pictures(40, 50))
        assert torch.equal(network(pictures(40, 50)), first), "no dropout"
        first.square().mean().backward()
        learning = {name.split(".")[0] for name, each in network.named_parameters() if each.grad is not None}
        assert learning == {name for name, _ in network.named_children() if name.startswith(("score", "enlarge"))}
        network.freeze(False)
        assert all(each.requires_grad for each in network.parameters())
        assert not torch.equal(network(pictures(40, 50)), network(pictures(40, 50))), "dropout again"
    assert make(**TINY).features[0].weight.requires_grad and make(**TINY).dropout.p == 0.5


def trained(make, seed: int, **options) -> nn.Module:
    """A network in which no number is what it was at the start."""
    torch.manual_seed(seed)
    network = make(**TINY, **options)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return network.eval()


@pytest.mark.parametrize("coarse, fine", [(FCN32s, FCN16s), (FCN16s, FCN8s), (FCN32s, FCN8s)])
def test_finer_networks_go_on_from_coarser_ones(coarse, fine):
    before, network = trained(coarse, 1), fine(**TINY).eval()
    start = copy.deepcopy(network.state_dict())
    network.load_coarser(before)
    for name, value in network.state_dict().items():
        taken = before.state_dict().get(name, start[name])
        assert torch.equal(value, taken), name
    assert set(before.state_dict()) - set(start) == {f"enlarge_{coarse.stride}.weight"}
    after, expected = network(pictures(128, 128))[..., 32:-32, 32:-32], before(pictures(128, 128))[..., 32:-32, 32:-32]
    likeness = F.cosine_similarity((after - after.mean()).flatten(), (expected - expected.mean()).flatten(), dim=0)
    other = fine(**TINY).eval()
    assert likeness > 0.9 and not other(pictures(128, 128)).any(), "it predicts as the coarser one did"


def test_finer_networks_are_not_taken_for_coarser_ones():
    for coarse, fine in [(FCN16s, FCN32s), (FCN8s, FCN16s), (FCN8s, FCN8s)]:
        with pytest.raises(ValueError, match="32s, then 16s, then 8s"):
            fine(**TINY).load_coarser(coarse(**TINY))
    with pytest.raises(RuntimeError):
        FCN16s(**TINY).load_coarser(FCN32s(width=4, hidden=9))


def test_gradients_are_finite_where_maps_are_smaller_than_the_kernel():
    """A 7×7 convolution that pads 2×2 features by itself gave NaN now and then in bf16: oneDNN 3.13 on a CPU with
    AVX512-BF16 read memory that nobody had written."""
    torch.manual_seed(0)
    network = FCN32s(width=16, hidden=128)
    nn.init.normal_(network.score.weight)
    for _ in range(12 if has_bf16() else 2):  # without such instructions it is another kernel, and slow
        torch.full((3_000_000,), torch.nan)  # given back at once: what others find in memory
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = network(pictures(64, 64, count=16)).float().square().mean()
        loss.backward()
        assert network.conv6.weight.grad.isfinite().all()


# ---- ImageNet weights ----


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """torch.hub's folder of checkpoints, empty, and no network."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", offline)
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def offline(request):
    raise urllib.error.URLError("no network here")


@pytest.fixture
def served(hub, tmp_path, monkeypatch):
    """A function that puts a file on a server of ResNet-34's weights, under the name that fits its hash or another."""
    monkeypatch.setattr(torch.hub, "urlopen", urllib.request.urlopen)

    def serve(content: bytes, name: str = "") -> None:
        file = tmp_path / (name or f"resnet34-{hashlib.sha256(content).hexdigest()[:8]}.pth")
        file.write_bytes(content)
        monkeypatch.setattr(ResNet34_Weights.IMAGENET1K_V1.value, "url", file.as_uri())

    return serve


def saved(state: object) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def test_pretrained_resnet34(served, resnet34):
    served(saved(resnet34.state_dict()))
    network = ResNet34UNet(pretrained=True).eval()
    for name, value in without_classifier(resnet34).items():
        assert torch.equal(value, network.encoder.state_dict()[name]), name
    x = pictures(32, 64)
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (IMAGENET_MEAN, IMAGENET_STD))
    seen = []
    network.encoder.register_forward_hook(lambda module, inputs, maps: seen.append(inputs[0]))
    logits = network(x)
    torch.testing.assert_close(seen[0], (x - mean) / std)
    other = ResNet34UNet().eval()
    assert torch.equal(other.normalize(x), x), "without ImageNet's weights pictures stay as they are"
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(x), logits), "a checkpoint brings its normalisation along"


def test_pretrained_vgg16(monkeypatch):
    """With the weights at the full size but on the meta device: what is asked for, and that it fits."""
    asked = []

    def get_state_dict(weights, **options):
        asked.append((weights, options))
        return on_meta(torchvision.models.vgg16).state_dict()

    monkeypatch.setattr(WeightsEnum, "get_state_dict", get_state_dict)
    monkeypatch.setattr(FCN32s, "load_vgg16", lambda network, weights: asked.append(len(weights)))
    monkeypatch.setattr(torch, "get_default_device", lambda: torch.device("cpu"))
    network = on_meta(FCN8s, pretrained=True)
    (weights, options), count = asked
    assert weights is VGG16_Weights.IMAGENET1K_V1 and count == 32
    assert options["check_hash"] and options["weights_only"]
    assert network.normalize.mean.shape == (1, 3, 1, 1)


def test_weights_that_cannot_be_fetched_are_named_with_the_mend(hub):
    with pytest.raises(OSError, match=r"no network here.*resnet34-b627a593\.pth.*checkpoints.*pretrained=False"):
        ResNet34UNet(pretrained=True)
    with pytest.raises(OSError, match=r"no network here.*vgg16-397923af\.pth"):
        FCN16s(pretrained=True)


def test_weights_with_another_hash_are_refused(hub, served, resnet34):
    served(saved(resnet34.state_dict()) + b" ", "resnet34-b627a593.pth")
    with pytest.raises(OSError, match="invalid hash value.*pretrained=False"):
        ResNet34UNet(pretrained=True)
    assert not list(hub.iterdir())


@pytest.mark.parametrize("content", [b"", b"<html>not found", b"PK\x03\x04 and no more", saved(io.StringIO("code"))])
def test_weights_that_are_broken_are_named_with_the_mend(hub, content):
    (hub / "resnet34-b627a593.pth").write_bytes(content)
    with pytest.raises(OSError, match="lies there already, it is broken: delete it"):
        ResNet34UNet(pretrained=True)


@pytest.mark.parametrize(
    "make, options, message",
    [
        (ResNet34UNet, {"width": 32}, "width=32.*width=64"), (FCN32s, {"hidden": 32}, "hidden=32.*hidden=4096"),
        (ResNet34UNet, {"in_channels": 1}, "in_channels=1.*in_channels=3"), (FCN8s, {"width": 8}, "width=8"),
        (FCN16s, {"in_channels": 4}, "in_channels=4"),
    ],
)  # fmt: skip
def test_weights_of_another_size_are_refused_before_anything_is_fetched(hub, make, options, message):
    with pytest.raises(ValueError, match=message):
        make(pretrained=True, **options)


@pytest.mark.parametrize("make", [ResNet34UNet, *FCNS])
def test_shapes_alone_need_no_weights(hub, make):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parameters(on_meta(make, pretrained=True)) == parameters(on_meta(make))


def test_torchvision_still_has_these_weights():
    names = [each.url.rpartition("/")[2] for each in (ResNet34_Weights.IMAGENET1K_V1, VGG16_Weights.IMAGENET1K_V1)]
    assert names == ["resnet34-b627a593.pth", "vgg16-397923af.pth"]
