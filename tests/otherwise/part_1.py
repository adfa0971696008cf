"""Wrong U-Nets: Tasks 1.1 to 1.4."""

from tests.otherwise.case import of_task, style

# ---- Task 1.1 ----

stacked = style(
    "1.1",
    "one nn.Sequential from a list of layers",
    '''
class DoubleConv(nn.Module):
    """(convolution => [BN] => ReLU) * 2"""

    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        super().__init__()
        layers = [nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)]
        if batch_norm:
            layers.append(nn.BatchNorm2d(out_channels))
        layers.append(nn.ReLU(inplace=True))
        layers.append(nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(out_channels))
        layers.append(nn.ReLU(inplace=True))
        self.double_conv = nn.Sequential(*layers)

    def forward(self, x):
        return self.double_conv(x)


class EncoderBlock(nn.Module):
    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        super().__init__()
        self.conv_block = DoubleConv(in_channels, out_channels, batch_norm=batch_norm)
        self.pool = nn.MaxPool2d(kernel_size=2, stride=2)

    def forward(self, x):
        skip = self.conv_block(x)
        down = self.pool(skip)
        return skip, down
''',
)

by_name = style(
    "1.1",
    "layers by name, activations as functions",
    """
class DoubleConv(nn.Module):
    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        super(DoubleConv, self).__init__()
        self.use_bn = batch_norm
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, 1, 1, bias=not batch_norm)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=not batch_norm)
        if self.use_bn:
            self.bn1 = nn.BatchNorm2d(out_channels)
            self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, x):
        out = self.conv1(x)
        if self.use_bn:
            out = self.bn1(out)
        out = F.relu(out)
        out = self.conv2(out)
        if self.use_bn:
            out = self.bn2(out)
        out = torch.relu(out)
        return out


class EncoderBlock(nn.Module):
    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        super(EncoderBlock, self).__init__()
        self.dconv = DoubleConv(in_channels, out_channels, batch_norm=batch_norm)

    def forward(self, x):
        features = self.dconv(x)
        return features, F.max_pool2d(features, 2)
""",
)

derived = style(
    "1.1",
    "the encoder inherits from the double convolution",
    """
class DoubleConv(nn.Sequential):
    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        def unit(a, b):
            yield nn.Conv2d(a, b, 3, padding="same")
            if batch_norm:
                yield nn.BatchNorm2d(b)
            yield nn.ReLU()

        super().__init__(*unit(in_channels, out_channels), *unit(out_channels, out_channels))


class EncoderBlock(DoubleConv):
    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        super().__init__(in_channels, out_channels, batch_norm=batch_norm)

    def forward(self, x):
        y = super().forward(x)
        return y, nn.functional.max_pool2d(y, kernel_size=2, stride=2)
""",
)

by_setattr = style(
    "1.1",
    "setattr and getattr in loops, created from back to front",
    """
class DoubleConv(nn.Module):
    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        super().__init__()
        channels = {1: in_channels, 2: out_channels}
        for k in (2, 1):
            setattr(self, f"norm{k}", nn.BatchNorm2d(out_channels) if batch_norm else nn.Identity())
            setattr(self, f"conv{k}", nn.Conv2d(channels[k], out_channels, kernel_size=(3, 3), padding=(1, 1)))

    def forward(self, x):
        for k in (1, 2):
            x = getattr(self, f"conv{k}")(x)
            x = getattr(self, f"norm{k}")(x)
            x = x.clamp(min=0)
        return x


class EncoderBlock(nn.Module):
    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        super().__init__()
        self.maxpool = nn.MaxPool2d(2, 2)
        self.body = DoubleConv(in_channels, out_channels, batch_norm=batch_norm)

    def forward(self, x):
        x = self.body(x)
        return x, self.maxpool(x)
""",
)

all_alone = style(
    "1.1",
    "each class has its own ModuleDict; the pool by unfolding",
    """
class DoubleConv(nn.Module):
    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        super().__init__()
        self.layers = nn.ModuleDict()
        self.layers["c1"] = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=True)
        self.layers["c2"] = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=True)
        if batch_norm:
            self.layers["n1"] = nn.BatchNorm2d(out_channels)
            self.layers["n2"] = nn.BatchNorm2d(out_channels)
        self.act = nn.ReLU()

    def forward(self, x):
        for number in "12":
            x = self.layers["c" + number](x)
            if "n" + number in self.layers:
                x = self.layers["n" + number](x)
            x = self.act(x)
        return x


class EncoderBlock(nn.Module):
    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        super().__init__()
        self.layers = nn.ModuleDict({"pair": DoubleConv(in_channels, out_channels, batch_norm=batch_norm)})

    def forward(self, x):
        skip = self.layers["pair"](x)
        tiles = skip.unfold(2, 2, 2).unfold(3, 2, 2)  # (B, C, H/2, W/2, 2, 2)
        return skip, tiles.amax(dim=(-2, -1))
""",
)

helpers = style(
    "1.1",
    "typed, with a helper function for each step",
    """
def conv_unit(c_in: int, c_out: int, norm: bool) -> nn.Sequential:
    unit = nn.Sequential()
    unit.add_module("conv", nn.Conv2d(c_in, c_out, 3, stride=1, padding=1))
    if norm:
        unit.add_module("bn", nn.BatchNorm2d(c_out))
    unit.add_module("relu", nn.ReLU(inplace=True))
    return unit


def halve(t: torch.Tensor) -> torch.Tensor:
    return F.max_pool2d(t, (2, 2))


class DoubleConv(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, *, batch_norm: bool = True) -> None:
        super().__init__()
        self.first = conv_unit(in_channels, out_channels, batch_norm)
        self.second = conv_unit(out_channels, out_channels, batch_norm)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))


class EncoderBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, *, batch_norm: bool = True) -> None:
        super().__init__()
        self.conv = DoubleConv(in_channels, out_channels, batch_norm=batch_norm)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.conv(x)
        return features, halve(features)
""",
)

TASK_1_1 = [
    by_name.wrong("returns_swapped", ("return features, F.max_pool2d(features, 2)", "return F.max_pool2d(features, 2), features")),
    helpers.wrong(
        "returns_swapped",
        (
            "        return features, halve(features)",
            "        pooled = halve(features)\n        output = (pooled, features)\n        return output",
        ),
    ),
    stacked.wrong("pools_the_input", ("down = self.pool(skip)", "down = self.pool(x)")),
    by_setattr.wrong("no_padding", (", padding=(1, 1)", "")),
    derived.wrong(
        "one_convolution",
        (
            "super().__init__(*unit(in_channels, out_channels), *unit(out_channels, out_channels))",
            "super().__init__(*unit(in_channels, out_channels))",
        ),
    ),
    helpers.wrong("kernel_5", ("nn.Conv2d(c_in, c_out, 3, stride=1, padding=1)", "nn.Conv2d(c_in, c_out, 5, stride=1, padding=2)")),
    all_alone.wrong("no_relu", ("            x = self.act(x)\n", ""), ("        self.act = nn.ReLU()\n", "")),
    by_name.wrong("no_last_relu", ("        out = torch.relu(out)\n", "")),
    stacked.wrong("leaky_relu", ("nn.ReLU(inplace=True)", "nn.LeakyReLU(inplace=True)")),
    by_setattr.wrong("leaky_relu", ("x = x.clamp(min=0)", "x = F.leaky_relu(x, 0.1)")),
    all_alone.wrong(
        "no_batch_norm",
        (
            """        if batch_norm:
            self.layers["n1"] = nn.BatchNorm2d(out_channels)
            self.layers["n2"] = nn.BatchNorm2d(out_channels)
""",
            "",
        ),
    ),
    helpers.wrong(
        "norm_after_relu",
        (
            """    if norm:
        unit.add_module("bn", nn.BatchNorm2d(c_out))
    unit.add_module("relu", nn.ReLU(inplace=True))
""",
            """    unit.add_module("relu", nn.ReLU(inplace=True))
    if norm:
        unit.add_module("bn", nn.BatchNorm2d(c_out))
""",
        ),
    ),
    by_name.wrong(
        "one_norm_for_both",
        (
            "            self.bn1 = nn.BatchNorm2d(out_channels)\n            self.bn2 = nn.BatchNorm2d(out_channels)\n",
            "            self.bn = nn.BatchNorm2d(out_channels)\n",
        ),
        ("self.bn1(", "self.bn("),
        ("self.bn2(", "self.bn("),
    ),
    stacked.wrong(
        "flag_ignored",
        (
            "        if batch_norm:\n            layers.append(nn.BatchNorm2d(out_channels))\n",
            "        layers.append(nn.BatchNorm2d(out_channels))\n",
        ),
    ),
    derived.wrong(
        "flag_not_handed_on",
        ("super().__init__(in_channels, out_channels, batch_norm=batch_norm)", "super().__init__(in_channels, out_channels)"),
    ),
    all_alone.wrong("average_pool", ("tiles.amax(dim=(-2, -1))", "tiles.mean(dim=(-2, -1))")),
    by_setattr.wrong("pool_stride_1", ("nn.MaxPool2d(2, 2)", "nn.MaxPool2d(2, 1)")),
    derived.wrong("skip_detached", ("return y, nn.functional", "return y.detach(), nn.functional")),
    helpers.wrong("skip_is_the_input", ("return features, halve(features)", "return x, halve(features)")),
    stacked.wrong("instance_norm", ("nn.BatchNorm2d(", "nn.InstanceNorm2d(")),
    by_name.wrong(
        "strided_convolution",
        (
            "        self.dconv =",
            "        self.down = nn.Conv2d(out_channels, out_channels, kernel_size=2, stride=2)\n        self.dconv =",
        ),
        ("F.max_pool2d(features, 2)", "self.down(features)"),
    ),
    # ---- no name ----
    derived.other("GELU for ReLU", ("nn.ReLU()", "nn.GELU()")),
    helpers.other("GroupNorm of one group", ("nn.BatchNorm2d(c_out)", "nn.GroupNorm(1, c_out)")),
    stacked.other("the pool rounds up", ("kernel_size=2, stride=2)", "kernel_size=2, stride=2, ceil_mode=True)")),
    by_setattr.other("borders are replicated", ("padding=(1, 1))", "padding=(1, 1), padding_mode='replicate')")),
    by_name.other(
        "a residual connection around the second convolution",
        ("        out = self.conv2(out)\n", "        first = out\n        out = self.conv2(out)\n"),
        ("        out = torch.relu(out)\n", "        out = torch.relu(out + first)\n"),
    ),
    all_alone.other("ReLU6 for ReLU, and a small number added", ("nn.ReLU()", "nn.ReLU6()"), ("x = self.act(x)", "x = self.act(x) + 0.1")),
    stacked.other(
        "momentum 0.01: only the running statistics differ", ("nn.BatchNorm2d(out_channels)", "nn.BatchNorm2d(out_channels, momentum=0.01)")
    ),
    derived.other("the skip is halved", ("return y, nn", "return 0.5 * y, nn")),
    helpers.other(
        "kernel_5 and leaky_relu in one definition",
        ("c_out, 3, stride=1, padding=1", "c_out, 5, stride=1, padding=2"),
        ("nn.ReLU(inplace=True)", "nn.LeakyReLU(inplace=True)"),
    ),
    all_alone.wrong(
        "no_last_relu average_pool",
        ("            x = self.act(x)\n", "            if number == '1':\n                x = self.act(x)\n"),
        ("tiles.amax(", "tiles.mean("),
        about="two mistakes: in DoubleConv and in EncoderBlock",
    ),
]

# ---- Task 1.2 ----

padded = style(
    "1.2",
    "half of the padding on each side",
    '''
class DecoderBlock(nn.Module):
    """Upscaling then double conv"""

    def __init__(self, in_channels, skip_channels, out_channels, upsampling="transpose", *, batch_norm=True):
        super().__init__()
        if upsampling == "bilinear":
            self.up = nn.Sequential(
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
                nn.Conv2d(in_channels, in_channels // 2, kernel_size=1),
            )
        elif upsampling == "transpose":
            self.up = nn.ConvTranspose2d(in_channels, in_channels // 2, kernel_size=2, stride=2)
        else:
            raise ValueError(f"Unknown upsampling: {upsampling}")
        self.conv = DoubleConv(in_channels // 2 + skip_channels, out_channels, batch_norm=batch_norm)

    def forward(self, x, skip_features):
        x1 = self.up(x)
        # input is CHW
        diffY = skip_features.size()[2] - x1.size()[2]
        diffX = skip_features.size()[3] - x1.size()[3]
        x1 = F.pad(x1, [diffX // 2, diffX - diffX // 2, diffY // 2, diffY - diffY // 2])
        x = torch.cat([skip_features, x1], dim=1)
        return self.conv(x)
''',
)

own_layers = style(
    "1.2",
    "own layers in a ModuleDict, resized to the skip",
    """
class DecoderBlock(nn.Module):
    def __init__(self, in_channels, skip_channels, out_channels, upsampling="transpose", *, batch_norm=True):
        super().__init__()
        half = in_channels // 2
        ups = {
            "transpose": lambda: nn.ConvTranspose2d(in_channels, half, 2, 2),
            "bilinear": lambda: nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(in_channels, half, 3, padding=1)),
        }
        if upsampling not in ups:
            raise ValueError(upsampling)
        norm = nn.BatchNorm2d if batch_norm else (lambda channels: nn.Identity())
        self.net = nn.ModuleDict({
            "up": ups[upsampling](),
            "a": nn.Sequential(nn.Conv2d(half + skip_channels, out_channels, 3, padding=1), norm(out_channels), nn.ReLU()),
            "b": nn.Sequential(nn.Conv2d(out_channels, out_channels, 3, padding=1), norm(out_channels), nn.ReLU()),
        })

    def forward(self, x, skip_features):
        x = self.net["up"](x)
        if x.shape[2:] != skip_features.shape[2:]:
            x = F.interpolate(x, size=skip_features.shape[2:], mode="nearest")
        x = torch.cat((x, skip_features), dim=1)
        x = self.net["a"](x)
        return self.net["b"](x)
""",
)

sized = style(
    "1.2",
    "the up-convolution is asked for the skip's size",
    """
class DecoderBlock(nn.Module):
    def __init__(self, in_channels, skip_channels, out_channels, upsampling="transpose", *, batch_norm=True):
        super().__init__()
        assert_known = {"transpose", "bilinear"}
        if upsampling not in assert_known:
            raise ValueError("upsampling must be 'transpose' or 'bilinear', got %s" % upsampling)
        self.transposed = upsampling == "transpose"
        up_channels = in_channels // 2
        self.fuse = DoubleConv(up_channels + skip_channels, out_channels, batch_norm=batch_norm)
        if self.transposed:
            self.tconv = nn.ConvTranspose2d(in_channels, up_channels, kernel_size=2, stride=2)
        else:
            self.squeeze = nn.Conv2d(in_channels, up_channels, 1)

    def forward(self, x, skip_features):
        if self.transposed:
            up = self.tconv(x, output_size=skip_features.shape[2:])
        else:
            up = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            up = self.squeeze(up)
            dh = skip_features.shape[2] - up.shape[2]
            dw = skip_features.shape[3] - up.shape[3]
            up = F.pad(up, (0, dw, 0, dh))
        return self.fuse(torch.cat([up, skip_features], 1))
""",
)

canvas = style(
    "1.2",
    "functional up-convolution, pasted on a canvas of zeros",
    """
class DecoderBlock(nn.Module):
    def __init__(self, in_channels, skip_channels, out_channels, upsampling="transpose", *, batch_norm=True):
        super().__init__()
        self.kind = upsampling
        self.width = width = in_channels // 2
        if upsampling == "transpose":
            self.kernel = nn.Parameter(torch.empty(in_channels, width, 2, 2))
        elif upsampling == "bilinear":
            self.kernel = nn.Parameter(torch.empty(width, in_channels, 1, 1))
        else:
            raise ValueError("no such upsampling")
        nn.init.xavier_uniform_(self.kernel)
        self.shift = nn.Parameter(torch.zeros(width))
        self.mix = DoubleConv(width + skip_channels, out_channels, batch_norm=batch_norm)

    def upsample(self, x):
        if self.kind == "transpose":
            return F.conv_transpose2d(x, self.kernel, self.shift, stride=2)
        return F.conv2d(F.interpolate(x, scale_factor=(2, 2), mode="bilinear"), self.kernel, self.shift)

    def forward(self, x, skip_features):
        up = self.upsample(x)
        b, _, H, W = skip_features.shape
        board = up.new_zeros(b, self.width, H, W)
        h, w = min(H, up.shape[2]), min(W, up.shape[3])
        board[:, :, :h, :w] = up[:, :, :h, :w]
        return self.mix(torch.cat([board, skip_features], dim=1))
""",
)

is_a_conv = style(
    "1.2",
    "the decoder inherits from the double convolution",
    """
class DecoderBlock(DoubleConv):
    def __init__(self, in_channels, skip_channels, out_channels, upsampling="transpose", *, batch_norm=True):
        c = in_channels // 2
        super().__init__(c + skip_channels, out_channels, batch_norm=batch_norm)
        match upsampling:
            case "transpose":
                self.grow = nn.ConvTranspose2d(in_channels, c, (2, 2), stride=(2, 2))
            case "bilinear":
                self.grow = nn.Sequential()
                self.grow.append(nn.UpsamplingBilinear2d(scale_factor=2))
                self.grow.append(nn.Conv2d(in_channels, c, 1))
            case _:
                raise ValueError(f"{upsampling=} is not known")

    def forward(self, x, skip_features):
        x = self.grow(x)
        missing = [s - t for s, t in zip(skip_features.shape[:1:-1], x.shape[:1:-1])]  # columns, rows
        x = F.pad(x, (0, missing[0], 0, missing[1]), mode="replicate")
        joined = torch.hstack([x, skip_features])
        return super().forward(joined)
""",
)

TASK_1_2 = [
    sized.wrong(
        "skip_ignored",
        ("DoubleConv(up_channels + skip_channels,", "DoubleConv(up_channels,"),
        ("self.fuse(torch.cat([up, skip_features], 1))", "self.fuse(up)"),
    ),
    padded.wrong(
        "skip_added",
        ("DoubleConv(in_channels // 2 + skip_channels, ", "DoubleConv(skip_channels, "),
        ("x = torch.cat([skip_features, x1], dim=1)", "x = skip_features + x1"),
    ),
    own_layers.wrong(
        "skip_twice",
        ("half + skip_channels", "2 * skip_channels"),
        ("torch.cat((x, skip_features), dim=1)", "torch.cat((skip_features, skip_features), dim=1)"),
    ),
    is_a_conv.wrong("skip_detached", ("torch.hstack([x, skip_features])", "torch.hstack([x, skip_features.detach()])")),
    padded.wrong(
        "skip_cropped",
        (
            """        x1 = F.pad(x1, [diffX // 2, diffX - diffX // 2, diffY // 2, diffY - diffY // 2])
        x = torch.cat([skip_features, x1], dim=1)
""",
            """        cropped = skip_features[:, :, diffY // 2:diffY // 2 + x1.size(2), diffX // 2:diffX // 2 + x1.size(3)]
        x = torch.cat([cropped, x1], dim=1)
""",
        ),
    ),
    own_layers.wrong(
        "skip_resized",
        (
            'x = F.interpolate(x, size=skip_features.shape[2:], mode="nearest")',
            'skip_features = F.interpolate(skip_features, size=x.shape[2:], mode="bilinear")',
        ),
    ),
    is_a_conv.wrong(
        "not_aligned pads_half_and_half",
        (
            """        missing = [s - t for s, t in zip(skip_features.shape[:1:-1], x.shape[:1:-1])]  # columns, rows
        x = F.pad(x, (0, missing[0], 0, missing[1]), mode="replicate")
""",
            "",
        ),
    ),
    padded.wrong(
        "pads_height_only",
        ("[diffX // 2, diffX - diffX // 2, diffY // 2, diffY - diffY // 2]", "[0, 0, diffY // 2, diffY - diffY // 2]"),
        ("        diffX = skip_features.size()[3] - x1.size()[3]\n", ""),
    ),
    is_a_conv.wrong("pads_if_heights_differ", ("        x = F.pad(", "        if missing[1] > 0:\n            x = F.pad(")),
    is_a_conv.wrong("pads_axes_swapped", ("(0, missing[0], 0, missing[1])", "(0, missing[1], 0, missing[0])")),
    padded.wrong(
        "pads_half_and_half not_aligned",
        ("diffX // 2, diffX - diffX // 2, diffY // 2, diffY - diffY // 2", "diffX // 2, diffX // 2, diffY // 2, diffY // 2"),
    ),
    own_layers.wrong("nearest", ('nn.Upsample(scale_factor=2, mode="bilinear")', "nn.Upsample(scale_factor=2)")),
    canvas.wrong("nearest", ('F.interpolate(x, scale_factor=(2, 2), mode="bilinear")', "F.interpolate(x, scale_factor=(2, 2))")),
    sized.wrong(
        "unknown_accepted",
        (
            """        assert_known = {"transpose", "bilinear"}
        if upsampling not in assert_known:
            raise ValueError("upsampling must be 'transpose' or 'bilinear', got %s" % upsampling)
""",
            "",
        ),
    ),
    padded.wrong(
        "always_transpose",
        (
            """        if upsampling == "bilinear":
            self.up = nn.Sequential(
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
                nn.Conv2d(in_channels, in_channels // 2, kernel_size=1),
            )
        elif upsampling == "transpose":
            self.up = nn.ConvTranspose2d(in_channels, in_channels // 2, kernel_size=2, stride=2)
        else:
            raise ValueError(f"Unknown upsampling: {upsampling}")
""",
            """        if upsampling not in ("transpose", "bilinear"):
            raise ValueError(f"Unknown upsampling: {upsampling}")
        self.up = nn.ConvTranspose2d(in_channels, in_channels // 2, kernel_size=2, stride=2)
""",
        ),
    ),
    sized.wrong(
        "bilinear_without_convolution",
        ("        up_channels = in_channels // 2\n", "        up_channels = in_channels // 2 if self.transposed else in_channels\n"),
        ("        else:\n            self.squeeze = nn.Conv2d(in_channels, up_channels, 1)\n", ""),
        ("            up = self.squeeze(up)\n", ""),
    ),
    padded.wrong("transposed_4x4", ("kernel_size=2, stride=2)", "kernel_size=4, stride=2, padding=1)")),
    own_layers.wrong(
        "one_convolution",
        ('            "b": nn.Sequential(nn.Conv2d(out_channels, out_channels, 3, padding=1), norm(out_channels), nn.ReLU()),\n', ""),
        ('        x = self.net["a"](x)\n        return self.net["b"](x)\n', '        return self.net["a"](x)\n'),
    ),
    is_a_conv.wrong(
        "skip_channels_ignored", ("super().__init__(c + skip_channels, out_channels,", "super().__init__(in_channels, out_channels,")
    ),
    canvas.wrong("out_channels_ignored", ("DoubleConv(width + skip_channels, out_channels,", "DoubleConv(width + skip_channels, width,")),
    sized.wrong("flag_not_handed_on", (", out_channels, batch_norm=batch_norm)", ", out_channels)")),
    canvas.wrong("stride_forgotten", ("self.kernel, self.shift, stride=2)", "self.kernel, self.shift)")),
    # ---- no name ----
    padded.other("the skip is halved", ("torch.cat([skip_features, x1]", "torch.cat([0.5 * skip_features, x1]")),
    own_layers.other("ReLU after the upsampling", ('self.net["up"](x)', 'F.relu(self.net["up"](x))')),
    sized.other("bicubic for bilinear", ('mode="bilinear", align_corners=False', 'mode="bicubic", align_corners=False')),
    is_a_conv.other("a tanh holds the skip between -1 and 1", ("[x, skip_features]", "[x, skip_features.tanh()]")),
    canvas.other("the skip is mirrored", ("[board, skip_features]", "[board, skip_features.flip(-1)]")),
    own_layers.other(
        "a 3x3 transposed convolution",
        ("nn.ConvTranspose2d(in_channels, half, 2, 2)", "nn.ConvTranspose2d(in_channels, half, 3, 2, padding=1, output_padding=1)"),
    ),
    padded.other(
        "transposed_4x4 and skip_detached in one definition",
        ("kernel_size=2, stride=2)", "kernel_size=4, stride=2, padding=1)"),
        ("[skip_features, x1]", "[skip_features.detach(), x1]"),
    ),
    canvas.other(
        "x is standardised over the batch before it is joined",
        ("[board, skip_features]", "[(board - board.mean()) / (board.std() + 1e-5), skip_features]"),
    ),
]

# ---- Tasks 1.3 and 1.4 ----

classic = style(
    "1.3 1.4",
    "append and pop, ModuleLists of blocks",
    """
class UNet(nn.Module):
    def __init__(self, in_channels=3, out_channels=1, features=[64, 128, 256, 512], *,
                 upsampling="transpose", batch_norm=True):
        super(UNet, self).__init__()
        self.downs = nn.ModuleList()
        self.ups = nn.ModuleList()

        # Down part of UNET
        channels = in_channels
        for feature in features:
            self.downs.append(EncoderBlock(channels, feature, batch_norm=batch_norm))
            channels = feature

        self.bottleneck = DoubleConv(features[-1], features[-1] * 2, batch_norm=batch_norm)

        # Up part of UNET
        channels = features[-1] * 2
        for feature in reversed(features):
            self.ups.append(DecoderBlock(channels, feature, feature, upsampling, batch_norm=batch_norm))
            channels = feature

        self.final_conv = nn.Conv2d(features[0], out_channels, kernel_size=1)

    def forward(self, x):
        skip_connections = []

        for down in self.downs:
            skip, x = down(x)
            skip_connections.append(skip)

        x = self.bottleneck(x)

        for up in self.ups:
            skip = skip_connections.pop()
            x = up(x, skip)

        return self.final_conv(x)
""",
)

numbered = style(
    "1.3 1.4",
    "blocks by number with setattr, the head first, an index loop",
    """
class UNet(nn.Module):
    def __init__(self, in_channels=3, out_channels=1, features=[64, 128, 256, 512], *,
                 upsampling="transpose", batch_norm=True):
        super().__init__()
        self.levels = len(features)
        sizes = [in_channels] + list(features) + [features[-1] * 2]
        self.outc = nn.Conv2d(sizes[1], out_channels, 1)
        for i in range(1, self.levels + 1):
            decoder = DecoderBlock(sizes[i + 1], sizes[i], sizes[i], upsampling=upsampling, batch_norm=batch_norm)
            setattr(self, "decoder_%d" % i, decoder)
            encoder = EncoderBlock(sizes[i - 1], sizes[i], batch_norm=batch_norm)
            setattr(self, "encoder_%d" % i, encoder)
        self.bottom = DoubleConv(sizes[-2], sizes[-1], batch_norm=batch_norm)

    def forward(self, x):
        skips = {}
        h = x
        for i in range(1, self.levels + 1):
            skips[i], h = getattr(self, "encoder_%d" % i)(h)
        h = self.bottom(h)
        for i in range(self.levels, 0, -1):
            h = getattr(self, "decoder_%d" % i)(h, skips[i])
        logits = self.outc(h)
        return logits
""",
)

one_class = style(
    "1.3 1.4",
    "one class does all, with bare layers and F.max_pool2d",
    """
class UNet(nn.Module):
    def __init__(self, in_channels=3, out_channels=1, features=[64, 128, 256, 512], *,
                 upsampling="transpose", batch_norm=True):
        super().__init__()

        def convs(a, b, norm=batch_norm):
            layers = []
            for c in (a, b):
                layers += [nn.Conv2d(c, b, 3, padding=1)] + ([nn.BatchNorm2d(b)] if norm else []) + [nn.ReLU(inplace=True)]
            return nn.Sequential(*layers)

        def up(a, how=upsampling):
            if how == "bilinear":
                return nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(a, a // 2, 1))
            if how == "transpose":
                return nn.ConvTranspose2d(a, a // 2, 2, stride=2)
            raise ValueError(how)

        self.left = nn.ModuleList(convs(a, b) for a, b in zip([in_channels, *features], features))
        self.middle = convs(features[-1], 2 * features[-1])
        below = [*features[1:], 2 * features[-1]]
        self.up = nn.ModuleList(up(b) for b in below)
        self.right = nn.ModuleList(convs(b // 2 + f, f) for b, f in zip(below, features))
        self.head = nn.Conv2d(features[0], out_channels, kernel_size=(1, 1))

    def join(self, skip, x):
        x = F.pad(x, (0, skip.shape[3] - x.shape[3], 0, skip.shape[2] - x.shape[2]))
        return torch.cat([skip, x], 1)

    def forward(self, x):
        skips = []
        for block in self.left:
            x = block(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.middle(x)
        for k in reversed(range(len(skips))):
            x = self.up[k](x)
            x = self.join(skips[k], x)
            x = self.right[k](x)
        return self.head(x)
""",
)

nested = style(
    "1.3 1.4",
    "recursion over the levels",
    '''
class Floor(nn.Module):
    """One floor of the U with everything below it."""

    def __init__(self, channels, widths, upsampling, batch_norm):
        super().__init__()
        here, rest = widths[0], widths[1:]
        self.enc = EncoderBlock(channels, here, batch_norm=batch_norm)
        if len(rest) > 0:
            self.inner = Floor(here, rest, upsampling, batch_norm)
            inner_channels = rest[0]
        else:
            inner_channels = 2 * here
            self.inner = DoubleConv(here, inner_channels, batch_norm=batch_norm)
        self.dec = DecoderBlock(inner_channels, here, here, upsampling, batch_norm=batch_norm)

    def forward(self, x):
        skip, down = self.enc(x)
        return self.dec(self.inner(down), skip)


class UNet(nn.Module):
    def __init__(self, in_channels=3, out_channels=1, features=[64, 128, 256, 512], *,
                 upsampling="transpose", batch_norm=True):
        super().__init__()
        self.body = Floor(in_channels, tuple(features), upsampling, batch_norm)
        self.to_logits = nn.Conv2d(features[0], out_channels, 1)

    def forward(self, x):
        y = self.body(x)
        y = self.to_logits(y)
        return y
''',
)

zipped = style(
    "1.3 1.4",
    "comprehensions and zip, skips collected from the front",
    """
class UNet(nn.Module):
    def __init__(self, in_channels=3, out_channels=1, features=[64, 128, 256, 512], *,
                 upsampling="transpose", batch_norm=True):
        super().__init__()
        options = {"batch_norm": batch_norm}
        wide = list(features) + [2 * features[-1]]
        starts = [in_channels] + wide[:-2]
        depth = len(wide) - 1
        self.encoders = nn.ModuleList([EncoderBlock(starts[i], wide[i], **options) for i in range(depth)])
        self.bottleneck = DoubleConv(wide[-2], wide[-1], **options)
        self.decoders = nn.ModuleList(
            [DecoderBlock(wide[i + 1], wide[i], wide[i], upsampling, **options) for i in range(depth)][::-1]
        )
        self.classifier = nn.Sequential(nn.Conv2d(wide[0], out_channels, 1))

    def encode(self, x):
        skips = []
        for encoder in self.encoders:
            features, x = encoder(x)
            skips.insert(0, features)
        return skips, x

    def decode(self, x, skips):
        for decoder, skip in zip(self.decoders, skips):
            x = decoder(x, skip)
        return x

    def forward(self, x):
        skips, deepest = self.encode(x)
        out = self.decode(self.bottleneck(deepest), skips)
        return self.classifier(out)
""",
)

TASK_1_3 = [
    classic.wrong(
        "bottleneck_not_doubled",
        ("features[-1], features[-1] * 2, batch", "features[-1], features[-1], batch"),
        ("channels = features[-1] * 2", "channels = features[-1]"),
    ),
    numbered.wrong("bottleneck_1024", ("[features[-1] * 2]", "[1024]")),
    one_class.wrong(
        "bottleneck_one_convolution",
        (
            "self.middle = convs(features[-1], 2 * features[-1])",
            """self.middle = nn.Sequential(
            nn.Conv2d(features[-1], 2 * features[-1], 3, padding=1),
            nn.BatchNorm2d(2 * features[-1]) if batch_norm else nn.Identity(),
            nn.ReLU(inplace=True),
        )""",
        ),
    ),
    zipped.wrong("features_hard_coded", ("wide = list(features) + [2 * features[-1]]", "wide = [64, 128, 256, 512, 1024]")),
    classic.wrong(
        "features_reversed_in_place",
        ("        for feature in reversed(features):\n", "        features.reverse()\n        for feature in features:\n"),
        ("nn.Conv2d(features[0], out_channels, kernel_size=1)", "nn.Conv2d(channels, out_channels, kernel_size=1)"),
    ),
    classic.wrong("encoders_in_a_list", ("self.downs = nn.ModuleList()", "self.downs = []")),
    zipped.wrong(
        "decoders_in_a_list",
        (
            """nn.ModuleList(
            [DecoderBlock(wide[i + 1], wide[i], wide[i], upsampling, **options) for i in range(depth)][::-1]
        )""",
            "[DecoderBlock(wide[i + 1], wide[i], wide[i], upsampling, **options) for i in reversed(range(depth))]",
        ),
    ),
    nested.wrong("in_channels_ignored", ("Floor(in_channels, tuple", "Floor(3, tuple")),
    numbered.wrong("in_channels_ignored", ("sizes = [in_channels]", "sizes = [3]")),
    one_class.wrong("out_channels_ignored", ("features[0], out_channels, kernel_size=(1, 1)", "features[0], 1, kernel_size=(1, 1)")),
    nested.wrong("head_3x3", ("nn.Conv2d(features[0], out_channels, 1)", "nn.Conv2d(features[0], out_channels, 3, padding=1)")),
    numbered.wrong("upsampling_not_handed_on", (", upsampling=upsampling, batch_norm", ", batch_norm")),
    classic.wrong("flag_not_handed_to_decoders", ("feature, feature, upsampling, batch_norm=batch_norm)", "feature, feature, upsampling)")),
    zipped.wrong("flag_not_handed_to_bottleneck", ("DoubleConv(wide[-2], wide[-1], **options)", "DoubleConv(wide[-2], wide[-1])")),
    one_class.wrong(
        "features_doubled",
        (
            "        def convs(",
            "        start = features[0]\n        features = [start * 2 ** i for i in range(len(features))]\n\n        def convs(",
        ),
    ),
    nested.wrong(
        "flag_not_handed_to_bottleneck", ("DoubleConv(here, inner_channels, batch_norm=batch_norm)", "DoubleConv(here, inner_channels)")
    ),
    # ---- no name ----
    classic.other("the bottleneck is three times as wide", ("features[-1] * 2", "features[-1] * 3")),
    numbered.other(
        "a second 1x1 convolution in the head",
        (
            "self.outc = nn.Conv2d(sizes[1], out_channels, 1)",
            "self.outc = nn.Sequential(nn.Conv2d(sizes[1], sizes[1], 1), nn.Conv2d(sizes[1], out_channels, 1))",
        ),
    ),
    one_class.other(
        "the bottleneck runs twice",
        ("x = self.middle(x)", "x = self.again(self.middle(x))"),
        ("        below = [*", "        self.again = convs(2 * features[-1], 2 * features[-1])\n        below = [*"),
    ),
    zipped.other(
        "the head has no bias and the bottleneck three convolutions",
        ("nn.Conv2d(wide[0], out_channels, 1)", "nn.Conv2d(wide[0], out_channels, 1, bias=False)"),
        (
            "self.bottleneck = DoubleConv(wide[-2], wide[-1], **options)",
            "self.bottleneck = nn.Sequential(DoubleConv(wide[-2], wide[-1], **options), nn.Conv2d(wide[-1], wide[-1], 3, padding=1), nn.ReLU())",
        ),
    ),
    nested.other(
        "in_channels_ignored and head_3x3 in one definition",
        ("Floor(in_channels, tuple", "Floor(3, tuple"),
        ("nn.Conv2d(features[0], out_channels, 1)", "nn.Conv2d(features[0], out_channels, 3, padding=1)"),
    ),
]

TASK_1_4 = of_task(
    "1.4",
    [
        classic.wrong("skips_not_reversed", ("skip_connections.pop()", "skip_connections.pop(0)")),
        zipped.wrong("skips_not_reversed", ("skips.insert(0, features)", "skips.append(features)")),
        classic.wrong("deepest_skip_everywhere", ("            skip = skip_connections.pop()\n", "")),
        one_class.wrong("skips_zeroed", ("x = self.join(skips[k], x)", "x = self.join(torch.zeros_like(skips[k]), x)")),
        numbered.wrong("top_skip_zeroed", ("(h, skips[i])", "(h, skips[i] if i > 1 else 0 * skips[i])")),
        nested.wrong("skips_detached", ("self.dec(self.inner(down), skip)", "self.dec(self.inner(down), skip.detach())")),
        zipped.wrong("skips_detached", ("skips.insert(0, features)", "skips.insert(0, features.clone().detach())")),
        classic.wrong(
            "skips_pooled",
            ("skip, x = down(x)\n            skip_connections.append(skip)", "skip, x = down(x)\n            skip_connections.append(x)"),
        ),
        classic.wrong(
            "skips_of_the_first_call",
            (
                "skip_connections = []\n\n        for down in self.downs:\n            skip, x = down(x)\n            skip_connections.append(skip)",
                "for down in self.downs:\n            skip, x = down(x)\n            self.skips.append(skip)",
            ),
            (
                "for up in self.ups:\n            skip = skip_connections.pop()\n",
                "for up, skip in zip(self.ups, self.skips[:len(self.downs)][::-1]):\n",
            ),
            ("        self.downs = nn.ModuleList()\n", "        self.downs = nn.ModuleList()\n        self.skips = []\n"),
        ),
        numbered.wrong("bottleneck_on_the_skip", ("h = self.bottom(h)", "h = self.bottom(skips[self.levels])")),
        classic.wrong("sigmoid", ("return self.final_conv(x)", "return torch.sigmoid(self.final_conv(x))")),
        nested.wrong(
            "sigmoid",
            (
                "self.to_logits = nn.Conv2d(features[0], out_channels, 1)",
                "self.to_logits = nn.Sequential(nn.Conv2d(features[0], out_channels, 1), nn.Sigmoid())",
            ),
        ),
        zipped.wrong(
            "sigmoid_in_eval",
            ("return self.classifier(out)", "out = self.classifier(out)\n        return out if self.training else out.sigmoid()"),
        ),
        numbered.wrong("softmax", ("return logits", "return F.softmax(logits, dim=1)")),
        one_class.wrong("relu_on_logits", ("return self.head(x)", "return F.relu(self.head(x))")),
        nested.wrong("hard_mask", ("        return y\n", "        return (torch.sigmoid(y) > 0.5).float()\n")),
        one_class.wrong("channel_squeezed", ("return self.head(x)", "return self.head(x).squeeze(1)")),
        classic.wrong(
            "output_200",
            (
                "        return self.final_conv(x)",
                '        x = self.final_conv(x)\n        return F.interpolate(x, size=(200, 200), mode="bilinear", align_corners=False)',
            ),
        ),
        nested.wrong(
            "padded_not_cropped",
            (
                "        y = self.body(x)\n",
                """        n = 2 ** self.levels
        bottom, right = -x.shape[2] % n, -x.shape[3] % n
        y = self.body(F.pad(x, (0, right, 0, bottom)))
""",
            ),
            ("        self.body =", "        self.levels = len(features)\n        self.body ="),
        ),
        numbered.wrong(
            "cropped_to_a_multiple",
            (
                "        h = x\n",
                """        n = 2 ** self.levels
        h = x[:, :, :x.shape[2] // n * n, :x.shape[3] // n * n]
""",
            ),
        ),
        zipped.wrong(
            "input_normalised",
            (
                "        skips, deepest = self.encode(x)\n",
                "        x = (x - x.mean()) / x.std()\n        skips, deepest = self.encode(x)\n",
            ),
        ),
        one_class.wrong("float32_only", ("        skips = []\n", "        skips = []\n        x = x.float()\n")),
        numbered.wrong("cuda_only", ("        skips = {}\n", "        skips = {}\n        x = x.to('cuda')\n")),
        zipped.wrong(
            "encoders_without_gradient",
            ("        skips, deepest = self.encode(x)\n", "        with torch.no_grad():\n            skips, deepest = self.encode(x)\n"),
        ),
        zipped.wrong(
            "dropout_always_on",
            (
                "out = self.decode(self.bottleneck(deepest), skips)",
                "deepest = F.dropout(self.bottleneck(deepest), p=0.5)\n        out = self.decode(deepest, skips)",
            ),
        ),
        # ---- no name ----
        classic.other("tanh on the logits", ("return self.final_conv(x)", "return self.final_conv(x).tanh()")),
        nested.other("the skip is mirrored", ("self.dec(self.inner(down), skip)", "self.dec(self.inner(down), skip.flip(3))")),
        zipped.other("logits are clamped to ±1", ("return self.classifier(out)", "return self.classifier(out).clamp(-1, 1)")),
        numbered.other(
            "logits of the mean of picture and mirrored picture",
            (
                "        logits = self.outc(h)\n        return logits\n",
                "        logits = self.outc(h)\n        return (logits + logits.flip(-1)) / 2\n",
            ),
        ),
        one_class.other("skips are halved", ("self.join(skips[k], x)", "self.join(skips[k] / 2, x)")),
        one_class.other(
            "relu_on_logits and skips_zeroed in one definition",
            ("x = self.join(skips[k], x)", "x = self.join(torch.zeros_like(skips[k]), x)"),
            ("return self.head(x)", "return F.relu(self.head(x))"),
        ),
        classic.other(
            "the picture is normalised as ImageNet's",
            ("        skip_connections = []\n", "        skip_connections = []\n        x = (x - 0.45) / 0.225\n"),
        ),
        numbered.other("logsigmoid", ("return logits", "return F.logsigmoid(logits)")),
    ],
)

CASES = TASK_1_1 + TASK_1_2 + TASK_1_3 + TASK_1_4
