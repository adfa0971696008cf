"""Public checks of Task 1.3: the layers of UNet. None of them calls forward."""

from grader.checks.inputs import kernels, layers
from grader.expect import expect

FEATURES = [4, 8, 16]


def test_any_number_of_levels(student):
    """UNet has one encoder and one decoder for every entry of features, however many there are.

    Hint: loop over features. Two 3×3 convolutions in every encoder, in the bottleneck and in every decoder; are all registered?
    """
    for features in ([4], [4, 8], [4, 8, 16, 32, 64]):
        shapes = layers(student, 3, 1, features=features)
        levels = len(features)
        # a bilinear or a wider head may add others: only what every U-Net has is counted here
        convolutions = [shape for shape in kernels(shapes, 3) if shape[0] != 1]
        expect(
            len(convolutions) == 4 * levels + 2,
            came=f"{len(convolutions)} 3×3 convolutions for {levels} level(s)",
            expected=f"{4 * levels + 2}: two in each of {levels} encoder(s), {levels} decoder(s) and the bottleneck",
        )


def test_channels_in_and_out(student):
    """The first convolution takes in_channels, the last layer is a 1×1 convolution from features[0] to out_channels.

    Hint: are the arguments used, or 3 and 1? Which kernel has the head?
    """
    for in_channels, out_channels in [(3, 1), (2, 5)]:
        shapes = layers(student, in_channels, out_channels, features=[4, 8])
        _expect_among(shapes, (4, in_channels, 3, 3), "the first convolution")
        _expect_among(shapes, (out_channels, 4, 1, 1), "the 1×1 head")


def test_bottleneck_doubles_the_channels(student):
    """The bottleneck, a DoubleConv, goes from features[-1] to twice as many channels.

    Hint: with features [64, 128, 256, 512] the bottleneck has 1024.
    """
    shapes = layers(student, 3, 1, features=FEATURES)
    _expect_among(shapes, (32, 16, 3, 3), "the bottleneck's first convolution")
    _expect_among(shapes, (32, 32, 3, 3), "the bottleneck's second convolution")


def test_every_layer_is_registered(student):
    """Every layer is registered, so that .parameters() lists it and the optimizer trains it.

    Hint: a plain Python list or dict of blocks hides them from PyTorch; torch.nn has containers that do not.
    """
    shapes = layers(student, 3, 1, features=FEATURES)
    expect(bool(shapes), came="no parameters at all", expected="those of 3 encoders, a bottleneck, 3 decoders and the head")
    for level, width in enumerate(FEATURES):
        encoder = [shape for shape in kernels(shapes, 3) if shape == (width, [3, 4, 8][level], 3, 3)]
        expect(bool(encoder), came=f"no weights of encoder {level + 1}", expected=f"a 3×3 convolution to {width} channels")
        decoder = [s for s in kernels(shapes, 3) if s[0] == width and s[1] > width]
        expect(bool(decoder), came=f"no weights of the decoder that ends at {width} channels", expected="they are registered")
    ups = [shape for shape in shapes if len(shape) == 4 and shape[2:] == (2, 2)]
    expect(len(ups) == 3, came=f"{len(ups)} transposed convolutions", expected="3, one in each decoder")


def test_features_list_stays_unchanged(student):
    """Building a network changes neither the features list that came in nor the default one.

    Hint: features.reverse(), .pop() and .append() change the caller's list; make a new one.
    """
    network = student.make("UNet", 3, 1, features=[4, 8])
    _, arguments = network.arguments_after
    came = arguments["features"]
    expect(came == [4, 8], came=f"the list is {came} afterwards", expected="[4, 8] as before")
    first, second = (sorted(layers(student)) for _ in range(2))
    expect(bool(first) and first == second, came="a second default network has other layers", expected="the same layers")


def _expect_among(shapes: list[tuple[int, ...]], shape: tuple[int, ...], what: str) -> None:
    weights = sorted({s for s in shapes if len(s) == 4})
    expect(shape in weights, came=f"weights of shapes {weights}", expected=f"{what} with weights of shape {shape}")
