"""Wrong skip connections and gradient measurements: Tasks 2.1 to 2.4."""

from tests.otherwise.case import of_task, style

# ---- Tasks 2.1 to 2.3 ----

small_classes = style(
    "2.1 2.2 2.3",
    "a small class for each mode",
    """
class ConcatSkip(nn.Module):
    def __init__(self, decoder_channels, skip_channels):
        super().__init__()
        self.reduce = nn.Conv2d(decoder_channels + skip_channels, decoder_channels, kernel_size=3, padding=1)

    def forward(self, decoder_features, skip_features):
        merged = torch.cat([decoder_features, skip_features], dim=1)
        return self.reduce(merged)


class AddSkip(nn.Module):
    def __init__(self, decoder_channels, skip_channels):
        super().__init__()
        if skip_channels == decoder_channels:
            self.proj = nn.Identity()
        else:
            self.proj = nn.Conv2d(skip_channels, decoder_channels, kernel_size=1)

    def forward(self, decoder_features, skip_features):
        return decoder_features + self.proj(skip_features)


class AttentionGate(nn.Module):
    def __init__(self, gate_channels, skip_channels):
        super().__init__()
        inner = gate_channels // 2
        self.W_gate = nn.Conv2d(gate_channels, inner, kernel_size=1)
        self.W_skip = nn.Conv2d(skip_channels, inner, kernel_size=1)
        self.psi = nn.Conv2d(inner, 1, kernel_size=1)
        self.alpha = None

    def forward(self, gate, skip):
        gate = F.interpolate(gate, size=skip.shape[2:], mode="bilinear", align_corners=False)
        hidden = F.relu(self.W_gate(gate) + self.W_skip(skip))
        self.alpha = torch.sigmoid(self.psi(hidden))
        return skip * self.alpha


class AttentionSkip(nn.Module):
    def __init__(self, decoder_channels, skip_channels):
        super().__init__()
        self.gate = AttentionGate(decoder_channels, skip_channels)
        self.fuse = nn.Conv2d(decoder_channels + skip_channels, decoder_channels, kernel_size=3, padding=1)

    def forward(self, decoder_features, skip_features):
        gated = self.gate(decoder_features, skip_features)
        return self.fuse(torch.cat([decoder_features, gated], dim=1))
""",
)

if_elif = style(
    "2.1 2.2 2.3",
    "one class with if and elif, as in last year's starter",
    """
class AttentionGate(nn.Module):
    def __init__(self, gate_channels, skip_channels):
        super(AttentionGate, self).__init__()
        self.inter_channels = gate_channels // 2
        self.phi = nn.Conv2d(gate_channels, self.inter_channels, 1, stride=1, padding=0, bias=True)
        self.theta = nn.Conv2d(skip_channels, self.inter_channels, 1, stride=1, padding=0, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.out = nn.Sequential(nn.Conv2d(self.inter_channels, 1, 1, stride=1, padding=0, bias=True), nn.Sigmoid())

    def forward(self, gate, skip):
        g = self.phi(gate)
        if g.size()[2:] != skip.size()[2:]:
            g = F.interpolate(g, size=skip.size()[2:], mode='bilinear', align_corners=True)
        x = self.theta(skip)
        act = self.relu(g + x)
        alpha = self.out(act)
        self.alpha = alpha
        return skip * alpha.expand_as(skip)


class FlexibleSkipConnection(nn.Module):
    def __init__(self, decoder_channels, skip_channels, mode='concat'):
        super(FlexibleSkipConnection, self).__init__()
        self.mode = mode
        if self.mode == 'concat':
            self.conv = nn.Conv2d(skip_channels + decoder_channels, decoder_channels, 3, stride=1, padding=1)
        elif self.mode == 'add':
            self.need_projection = decoder_channels != skip_channels
            if self.need_projection:
                self.project = nn.Conv2d(skip_channels, decoder_channels, 1)
        elif self.mode == 'attention':
            self.attention_gate = AttentionGate(decoder_channels, skip_channels)
            self.final = nn.Conv2d(skip_channels + decoder_channels, decoder_channels, 3, stride=1, padding=1)
        else:
            raise ValueError("mode must be concat, add or attention")

    def forward(self, decoder_features, skip_features):
        if self.mode == 'concat':
            combined = torch.cat((skip_features, decoder_features), dim=1)
            out = self.conv(combined)
        elif self.mode == 'add':
            residual = skip_features
            if self.need_projection:
                residual = self.project(residual)
            out = decoder_features + residual
        else:
            attended = self.attention_gate(decoder_features, skip_features)
            both = torch.cat((attended, decoder_features), dim=1)
            out = self.final(both)
        return out
""",
)

raw_weights = style(
    "2.1 2.2 2.3",
    "plain parameters and functional convolutions, einsum for 1x1",
    """
import math


def kernel(c_out, c_in, *size):
    w = nn.Parameter(torch.empty(c_out, c_in, *size))
    nn.init.normal_(w, std=(c_in * math.prod(size)) ** -0.5)
    return w


class ConcatSkip(nn.Module):
    def __init__(self, decoder_channels, skip_channels):
        super().__init__()
        self.w = kernel(decoder_channels, decoder_channels + skip_channels, 3, 3)
        self.b = nn.Parameter(torch.zeros(decoder_channels))

    def forward(self, decoder_features, skip_features):
        stack = torch.concat([skip_features, decoder_features], 1)
        return F.conv2d(stack, self.w, self.b, padding=1)


class AddSkip(nn.Module):
    def __init__(self, decoder_channels, skip_channels):
        super().__init__()
        same = decoder_channels == skip_channels
        self.w = None if same else kernel(decoder_channels, skip_channels, 1, 1)

    def forward(self, decoder_features, skip_features):
        if self.w is None:
            return torch.add(skip_features, decoder_features)
        return torch.add(F.conv2d(skip_features, self.w), decoder_features)


class AttentionGate(nn.Module):
    def __init__(self, gate_channels, skip_channels):
        super().__init__()
        n = gate_channels // 2
        self.wg, self.bg = kernel(n, gate_channels, 1, 1), nn.Parameter(torch.zeros(n))
        self.ws, self.bs = kernel(n, skip_channels, 1, 1), nn.Parameter(torch.zeros(n))
        self.wa, self.ba = kernel(1, n, 1, 1), nn.Parameter(torch.zeros(1))

    def forward(self, gate, skip):
        rows, columns = skip.shape[-2:]
        g = F.interpolate(gate, (rows, columns), mode="bilinear", align_corners=False)
        q = F.conv2d(g, self.wg, self.bg) + F.conv2d(skip, self.ws, self.bs)
        q = q.clamp_min(0)
        logit = F.conv2d(q, self.wa, self.ba)
        self.alpha = logit.sigmoid()
        return torch.einsum("bchw,bzhw->bchw", skip, self.alpha)


class AttentionSkip(nn.Module):
    def __init__(self, decoder_channels, skip_channels):
        super().__init__()
        self.asks = AttentionGate(decoder_channels, skip_channels)
        self.w = kernel(decoder_channels, decoder_channels + skip_channels, 3, 3)
        self.b = nn.Parameter(torch.zeros(decoder_channels))

    def forward(self, decoder_features, skip_features):
        let_through = self.asks(decoder_features, skip_features)
        stack = torch.concat([let_through, decoder_features], 1)
        return F.conv2d(stack, self.w, self.b, padding=1)
""",
)

by_method = style(
    "2.1 2.2 2.3",
    "a dict of layers and a method for each mode",
    '''
class AttentionGate(nn.Sequential):
    """The three convolutions as a Sequential: gate, skip, alpha."""

    def __init__(self, gate_channels, skip_channels):
        mid = gate_channels // 2
        super().__init__(nn.Conv2d(gate_channels, mid, 1), nn.Conv2d(skip_channels, mid, 1), nn.Conv2d(mid, 1, 1))

    def forward(self, gate, skip):
        from_gate, from_skip, to_alpha = self
        if gate.shape[-2:] != skip.shape[-2:]:
            gate = nn.Upsample(size=tuple(skip.shape[-2:]), mode="bilinear")(gate)
        total = torch.stack([from_gate(gate), from_skip(skip)]).sum(0)
        total = torch.relu(total)
        a = 1 / (1 + torch.exp(-to_alpha(total)))
        self.alpha = a.detach()
        return torch.mul(a, skip)


class FlexibleSkipConnection(nn.Module):
    def __init__(self, decoder_channels, skip_channels, mode="concat"):
        super().__init__()
        d, s = decoder_channels, skip_channels
        if mode not in {"concat", "add", "attention"}:
            raise ValueError(f"{mode} is not a mode")
        self.run = mode
        self.parts = nn.ModuleDict()
        if mode == "add" and d != s:
            self.parts["match"] = nn.Conv2d(s, d, 1, bias=False)
        if mode == "attention":
            self.parts["gate"] = AttentionGate(d, s)
        if mode == "concat":
            self.parts["conv"] = nn.Conv2d(d + s, d, (3, 3), padding="same")
        if mode == "attention":
            self.parts["mix"] = nn.Conv2d(d + s, d, (3, 3), padding="same")

    def concat(self, up, skip):
        return self.parts["conv"](torch.hstack((up, skip)))

    def add(self, up, skip):
        if "match" in self.parts:
            skip = self.parts["match"](skip)
        return sum((up, skip))

    def attention(self, up, skip):
        weighted = self.parts["gate"](gate=up, skip=skip)
        return self.parts["mix"](torch.hstack((up, weighted)))

    def forward(self, decoder_features, skip_features):
        return getattr(self, self.run)(decoder_features, skip_features)
''',
)

TASK_2_1 = of_task(
    "2.1",
    [
        small_classes.wrong(
            "added",
            (
                "nn.Conv2d(decoder_channels + skip_channels, decoder_channels, kernel_size=3, padding=1)\n\n    def forward(self, decoder_features, skip_features):\n        merged",
                "nn.Conv2d(decoder_channels, decoder_channels, kernel_size=3, padding=1)\n\n    def forward(self, decoder_features, skip_features):\n        merged",
            ),
            ("merged = torch.cat([decoder_features, skip_features], dim=1)", "merged = decoder_features + skip_features"),
        ),
        by_method.wrong(
            "skip_forgotten",
            ('self.parts["conv"] = nn.Conv2d(d + s, d,', 'self.parts["conv"] = nn.Conv2d(d, d,'),
            ('self.parts["conv"](torch.hstack((up, skip)))', 'self.parts["conv"](up)'),
        ),
        if_elif.wrong(
            "joined_along_the_batch",
            ("combined = torch.cat((skip_features, decoder_features), dim=1)", "combined = torch.cat((skip_features, decoder_features))"),
        ),
        raw_weights.wrong(
            "skip_channels_ignored",
            (
                "self.w = kernel(decoder_channels, decoder_channels + skip_channels, 3, 3)\n        self.b = nn.Parameter(torch.zeros(decoder_channels))\n\n    def forward(self, decoder_features, skip_features):\n        stack = torch.concat([skip",
                "self.w = kernel(decoder_channels, 2 * decoder_channels, 3, 3)\n        self.b = nn.Parameter(torch.zeros(decoder_channels))\n\n    def forward(self, decoder_features, skip_features):\n        stack = torch.concat([skip",
            ),
        ),
        if_elif.wrong(
            "keeps_all_channels",
            (
                "self.conv = nn.Conv2d(skip_channels + decoder_channels, decoder_channels, 3",
                "self.conv = nn.Conv2d(skip_channels + decoder_channels, skip_channels + decoder_channels, 3",
            ),
        ),
        small_classes.wrong(
            "not_convolved",
            ("        self.reduce = nn.Conv2d(decoder_channels + skip_channels, decoder_channels, kernel_size=3, padding=1)\n", ""),
            ("return self.reduce(merged)", "return merged"),
        ),
        by_method.wrong(
            "kernel_1",
            ('self.parts["conv"] = nn.Conv2d(d + s, d, (3, 3), padding="same")', 'self.parts["conv"] = nn.Conv2d(d + s, d, (1, 1))'),
        ),
        raw_weights.wrong(
            "no_padding",
            (
                "[skip_features, decoder_features], 1)\n        return F.conv2d(stack, self.w, self.b, padding=1)",
                "[skip_features, decoder_features], 1)\n        return F.conv2d(stack, self.w, self.b)",
            ),
        ),
        if_elif.wrong("relu_after", ("out = self.conv(combined)", "out = F.relu(self.conv(combined))")),
        small_classes.wrong(
            "norm_and_relu_after",
            (
                "self.reduce = nn.Conv2d(decoder_channels + skip_channels, decoder_channels, kernel_size=3, padding=1)",
                "self.reduce = nn.Sequential(\n            nn.Conv2d(decoder_channels + skip_channels, decoder_channels, kernel_size=3, padding=1),\n            nn.BatchNorm2d(decoder_channels),\n            nn.ReLU(inplace=True),\n        )",
            ),
        ),
        by_method.wrong(
            "double_conv", ('self.parts["conv"] = nn.Conv2d(d + s, d, (3, 3), padding="same")', 'self.parts["conv"] = DoubleConv(d + s, d)')
        ),
        raw_weights.wrong("skip_detached", ("[skip_features, decoder_features]", "[skip_features.detach(), decoder_features]")),
        if_elif.wrong(
            "reflected_border",
            (
                "self.conv = nn.Conv2d(skip_channels + decoder_channels, decoder_channels, 3, stride=1, padding=1)",
                "self.conv = nn.Conv2d(skip_channels + decoder_channels, decoder_channels, 3, stride=1, padding=1, padding_mode='reflect')",
            ),
        ),
        small_classes.wrong("return_forgotten", ("return self.reduce(merged)", "merged = self.reduce(merged)")),
        # ---- no name ----
        small_classes.other(
            "a 7x7 convolution",
            (
                "self.reduce = nn.Conv2d(decoder_channels + skip_channels, decoder_channels, kernel_size=3, padding=1)",
                "self.reduce = nn.Conv2d(decoder_channels + skip_channels, decoder_channels, kernel_size=7, padding=3)",
            ),
        ),
        if_elif.other(
            "a dilated convolution",
            (
                "self.conv = nn.Conv2d(skip_channels + decoder_channels, decoder_channels, 3, stride=1, padding=1)",
                "self.conv = nn.Conv2d(skip_channels + decoder_channels, decoder_channels, 3, stride=1, padding=2, dilation=2)",
            ),
        ),
        raw_weights.other("the skip is halved", ("[skip_features, decoder_features]", "[skip_features * 0.5, decoder_features]")),
        by_method.other(
            "tanh after the convolution",
            ('return self.parts["conv"](torch.hstack((up, skip)))', 'return torch.tanh(self.parts["conv"](torch.hstack((up, skip))))'),
        ),
        by_method.other(
            "kernel_1 and relu_after in one definition",
            ('self.parts["conv"] = nn.Conv2d(d + s, d, (3, 3), padding="same")', 'self.parts["conv"] = nn.Conv2d(d + s, d, (1, 1))'),
            ('return self.parts["conv"](torch.hstack((up, skip)))', 'return torch.relu(self.parts["conv"](torch.hstack((up, skip))))'),
        ),
    ],
)

TASK_2_2 = of_task(
    "2.2",
    [
        small_classes.wrong(
            "always_projected",
            (
                "        if skip_channels == decoder_channels:\n            self.proj = nn.Identity()\n        else:\n            self.proj =",
                "        self.proj =",
            ),
        ),
        if_elif.wrong(
            "never_projected",
            (
                "            self.need_projection = decoder_channels != skip_channels\n            if self.need_projection:\n                self.project = nn.Conv2d(skip_channels, decoder_channels, 1)\n",
                "            pass\n",
            ),
            (
                "            residual = skip_features\n            if self.need_projection:\n                residual = self.project(residual)\n            out = decoder_features + residual",
                "            out = decoder_features + skip_features",
            ),
        ),
        by_method.wrong(
            "projects_the_decoder",
            ('self.parts["match"] = nn.Conv2d(s, d, 1, bias=False)', 'self.parts["match"] = nn.Conv2d(d, s, 1, bias=False)'),
            ('skip = self.parts["match"](skip)', 'up = self.parts["match"](up)'),
        ),
        raw_weights.wrong(
            "kernel_3",
            ("kernel(decoder_channels, skip_channels, 1, 1)", "kernel(decoder_channels, skip_channels, 3, 3)"),
            ("F.conv2d(skip_features, self.w), decoder", "F.conv2d(skip_features, self.w, padding=1), decoder"),
        ),
        small_classes.wrong("condition_reversed", ("if skip_channels == decoder_channels:", "if skip_channels != decoder_channels:")),
        if_elif.wrong(
            "sum_in_place",
            (
                "            residual = skip_features\n            if self.need_projection:\n                residual = self.project(residual)\n            out = decoder_features + residual",
                "            if self.need_projection:\n                skip_features = self.project(skip_features)\n            decoder_features += skip_features\n            out = decoder_features",
            ),
        ),
        by_method.wrong("mean", ("return sum((up, skip))", "return torch.stack((up, skip)).mean(dim=0)")),
        raw_weights.wrong(
            "mean",
            ("return torch.add(skip_features, decoder_features)", "return torch.add(skip_features, decoder_features) / 2"),
            (
                "return torch.add(F.conv2d(skip_features, self.w), decoder_features)",
                "return torch.add(F.conv2d(skip_features, self.w), decoder_features) / 2",
            ),
        ),
        small_classes.wrong(
            "product", ("return decoder_features + self.proj(skip_features)", "return decoder_features * self.proj(skip_features)")
        ),
        if_elif.wrong("relu_after", ("out = decoder_features + residual", "out = torch.relu(decoder_features + residual)")),
        by_method.wrong(
            "norm_after_projection", ("nn.Conv2d(s, d, 1, bias=False)", "nn.Sequential(nn.Conv2d(s, d, 1, bias=False), nn.BatchNorm2d(d))")
        ),
        raw_weights.wrong(
            "skip_detached",
            ("        if self.w is None:\n", "        skip_features = skip_features.detach()\n        if self.w is None:\n"),
        ),
        small_classes.wrong(
            "built_in_forward",
            (
                """        if skip_channels == decoder_channels:
            self.proj = nn.Identity()
        else:
            self.proj = nn.Conv2d(skip_channels, decoder_channels, kernel_size=1)
""",
                "",
            ),
            (
                "        return decoder_features + self.proj(skip_features)",
                """        if decoder_features.shape[1] != skip_features.shape[1]:
            proj = nn.Conv2d(skip_features.shape[1], decoder_features.shape[1], kernel_size=1)
            skip_features = proj(skip_features)
        return decoder_features + skip_features""",
            ),
        ),
        # ---- no name ----
        if_elif.other("the skip counts half", ("out = decoder_features + residual", "out = decoder_features + 0.5 * residual")),
        raw_weights.other("maximum for sum", ("return torch.add(", "return torch.maximum(")),
        by_method.other("the skip is subtracted", ("return sum((up, skip))", "return up - skip")),
        small_classes.other(
            "norm_after_projection and relu_after in one definition",
            (
                "self.proj = nn.Conv2d(skip_channels, decoder_channels, kernel_size=1)",
                "self.proj = nn.Sequential(nn.Conv2d(skip_channels, decoder_channels, kernel_size=1), nn.BatchNorm2d(decoder_channels))",
            ),
            ("return decoder_features + self.proj(skip_features)", "return F.relu(decoder_features + self.proj(skip_features))"),
        ),
        by_method.other("ReLU on the skip before the sum", ("return sum((up, skip))", "return up + skip.clamp(min=0)")),
    ],
)

TASK_2_3 = of_task(
    "2.3",
    [
        small_classes.wrong("no_sigmoid", ("self.alpha = torch.sigmoid(self.psi(hidden))", "self.alpha = self.psi(hidden)")),
        by_method.wrong("no_relu", ("        total = torch.relu(total)\n", "")),
        small_classes.wrong(
            "relu_before_the_sum",
            ("F.relu(self.W_gate(gate) + self.W_skip(skip))", "F.relu(self.W_gate(gate)) + F.relu(self.W_skip(skip))"),
        ),
        if_elif.wrong(
            "softmax",
            (
                "nn.Sequential(nn.Conv2d(self.inter_channels, 1, 1, stride=1, padding=0, bias=True), nn.Sigmoid())",
                "nn.Conv2d(self.inter_channels, 1, 1, stride=1, padding=0, bias=True)",
            ),
            ("alpha = self.out(act)", "scores = self.out(act)\n        alpha = scores.flatten(2).softmax(dim=-1).view_as(scores)"),
        ),
        raw_weights.wrong(
            "alpha_of_every_channel",
            (
                "self.wa, self.ba = kernel(1, n, 1, 1), nn.Parameter(torch.zeros(1))",
                "self.wa, self.ba = kernel(skip_channels, n, 1, 1), nn.Parameter(torch.zeros(skip_channels))",
            ),
            ('torch.einsum("bchw,bzhw->bchw", skip, self.alpha)', 'torch.einsum("bchw,bchw->bchw", skip, self.alpha)'),
        ),
        small_classes.wrong("inner_not_halved", ("inner = gate_channels // 2", "inner = gate_channels")),
        by_method.wrong("inner_of_the_skip", ("mid = gate_channels // 2", "mid = skip_channels // 2")),
        raw_weights.wrong(
            "not_resized",
            (
                '        rows, columns = skip.shape[-2:]\n        g = F.interpolate(gate, (rows, columns), mode="bilinear", align_corners=False)\n',
                "        g = gate\n",
            ),
        ),
        by_method.wrong("nearest", (', mode="bilinear")(gate)', ")(gate)")),
        if_elif.wrong("nearest", ("size=skip.size()[2:], mode='bilinear', align_corners=True)", "size=skip.size()[2:])")),
        small_classes.wrong("returns_alpha", ("return skip * self.alpha", "return self.alpha")),
        raw_weights.wrong(
            "weighs_the_gate", ('torch.einsum("bchw,bzhw->bchw", skip, self.alpha)', 'torch.einsum("bchw,bzhw->bchw", g, self.alpha)')
        ),
        if_elif.wrong("skip_added_again", ("return skip * alpha.expand_as(skip)", "return skip + skip * alpha.expand_as(skip)")),
        by_method.wrong("alpha_detached", ("return torch.mul(a, skip)", "return torch.mul(self.alpha, skip)")),
        small_classes.wrong(
            "alpha_not_kept",
            ("self.alpha = torch.sigmoid", "alpha = torch.sigmoid"),
            ("        self.alpha = None\n", ""),
            ("return skip * self.alpha", "return skip * alpha"),
        ),
        raw_weights.wrong(
            "alpha_kept_before_the_sigmoid",
            ("self.alpha = logit.sigmoid()", "self.alpha = logit"),
            ("skip, self.alpha)", "skip, logit.sigmoid())"),
        ),
        if_elif.wrong(
            "gate_and_skip_swapped",
            (
                "self.attention_gate = AttentionGate(decoder_channels, skip_channels)",
                "self.attention_gate = AttentionGate(skip_channels, decoder_channels)",
            ),
            (
                "attended = self.attention_gate(decoder_features, skip_features)\n            both = torch.cat((attended, decoder_features), dim=1)",
                "attended = self.attention_gate(skip_features, decoder_features)\n            both = torch.cat((skip_features, attended), dim=1)",
            ),
        ),
        by_method.wrong(
            "gate_not_used",
            ('        weighted = self.parts["gate"](gate=up, skip=skip)\n', ""),
            ("torch.hstack((up, weighted))", "torch.hstack((up, skip))"),
        ),
        small_classes.wrong(
            "relu_after",
            (
                "return self.fuse(torch.cat([decoder_features, gated], dim=1))",
                "return F.relu(self.fuse(torch.cat([decoder_features, gated], dim=1)))",
            ),
        ),
        raw_weights.wrong(
            "only_the_gated_skip",
            (
                """        self.w = kernel(decoder_channels, decoder_channels + skip_channels, 3, 3)
        self.b = nn.Parameter(torch.zeros(decoder_channels))

    def forward(self, decoder_features, skip_features):
        let_through = self.asks(decoder_features, skip_features)
        stack = torch.concat([let_through, decoder_features], 1)
        return F.conv2d(stack, self.w, self.b, padding=1)
""",
                """
    def forward(self, decoder_features, skip_features):
        return self.asks(decoder_features, skip_features)
""",
            ),
        ),
        # ---- no name ----
        small_classes.other("LeakyReLU in the gate", ("F.relu(self.W_gate", "F.leaky_relu(self.W_gate")),
        by_method.other("hard sigmoid", ("a = 1 / (1 + torch.exp(-to_alpha(total)))", "a = F.hardsigmoid(to_alpha(total))")),
        if_elif.other("one minus alpha is kept and used", ("alpha = self.out(act)", "alpha = 1 - self.out(act)")),
        raw_weights.other("tanh for sigmoid", ("logit.sigmoid()", "logit.tanh()")),
        small_classes.other(
            "a quarter of the gate's channels inside", ("inner = gate_channels // 2", "inner = max(1, gate_channels // 4)")
        ),
        if_elif.wrong(
            "skip_added_again relu_after",
            ("return skip * alpha.expand_as(skip)", "return skip + skip * alpha.expand_as(skip)"),
            ("out = self.final(both)", "out = torch.relu(self.final(both))"),
            about="two mistakes: in AttentionGate and in FlexibleSkipConnection",
        ),
    ],
)

# ---- Task 2.4 ----

backwards = style(
    "2.4",
    "backward on a copy of the gradients, loops and dicts",
    """
def gradient_norms(model, images, masks, criterion):
    old_grads = {}
    for name, param in model.named_parameters():
        old_grads[name] = param.grad
        param.grad = None
    outputs = model(images)
    loss = criterion(outputs, masks)
    loss.backward()
    norms = {}
    for name, param in model.named_parameters():
        if param.grad is not None:
            norms[name] = param.grad.norm(p=2).item()
        else:
            norms[name] = 0.0
    for name, param in model.named_parameters():
        param.grad = old_grads[name]
    return norms


def analyze_skip_connections(models, images, masks, criterion):
    results = []
    for name, model in models.items():
        n_params = sum(p.numel() for p in model.parameters() if p.requires_grad)
        forward_ms, backward_ms = step_times_ms(model, images, masks, criterion)
        memory = step_memory_mb(model, images, masks, criterion)
        norms = gradient_norms(model, images, masks, criterion)
        last = len(model.decoders) - 1
        enc_sq = 0.0
        dec_sq = 0.0
        for key, value in norms.items():
            if key.startswith("encoders.0."):
                enc_sq += value ** 2
            if key.startswith(f"decoders.{last}."):
                dec_sq += value ** 2
        results.append({
            "name": name,
            "parameters": n_params,
            "forward_ms": forward_ms,
            "backward_ms": backward_ms,
            "peak_memory_mb": memory,
            "first_encoder_grad": enc_sq ** 0.5,
            "last_decoder_grad": dec_sq ** 0.5,
        })
    return results
""",
)

functional = style(
    "2.4",
    "torch.autograd.grad and comprehensions",
    """
import math


def gradient_norms(model, images, masks, criterion):
    named = [(n, p) for n, p in model.named_parameters()]
    learning = [p for _, p in named if p.requires_grad]
    loss = criterion(model(images), masks)
    grads = iter(torch.autograd.grad(loss, learning, allow_unused=True))
    found = [next(grads) if p.requires_grad else None for _, p in named]
    return {n: 0.0 if g is None else float(torch.linalg.vector_norm(g)) for (n, _), g in zip(named, found)}


def root_of_squares(norms, prefix):
    return math.sqrt(sum(v * v for n, v in norms.items() if n.startswith(prefix)))


def analyze_skip_connections(models, images, masks, criterion):
    def row(name, model):
        norms = gradient_norms(model, images, masks, criterion)
        forward, backward = step_times_ms(model, images, masks, criterion)
        return dict(
            name=name,
            parameters=sum(p.numel() for p in model.parameters()),
            forward_ms=forward,
            backward_ms=backward,
            peak_memory_mb=step_memory_mb(model, images, masks, criterion),
            first_encoder_grad=root_of_squares(norms, "encoders.0."),
            last_decoder_grad=root_of_squares(norms, "decoders.%d." % (len(model.decoders) - 1)),
        )

    return [row(name, model) for name, model in models.items()]
""",
)

twin_and_numpy = style(
    "2.4",
    "backward on a deep copy, numpy for the norms, own clock",
    """
import numpy as np


def gradient_norms(model, images, masks, criterion):
    net = copy.deepcopy(model)
    net.zero_grad(set_to_none=True)
    criterion(net(images), masks).backward()
    result = {}
    for name, p in net.named_parameters():
        if p.grad is None:
            result[name] = 0.0
            continue
        g = p.grad.detach().cpu().numpy().ravel()
        result[name] = float(np.sqrt((g.astype("float64") ** 2).sum()))
    return result


def analyze_skip_connections(models, images, masks, criterion):
    table = []
    for i, name in enumerate(models):
        net = models[name]
        row = {"name": name}
        row["parameters"] = int(np.sum([np.prod(p.shape) for p in net.parameters() if p.requires_grad]))
        t = [time.perf_counter()]
        loss = criterion(net(images), masks)
        t.append(time.perf_counter())
        torch.autograd.grad(loss, [p for p in net.parameters() if p.requires_grad], allow_unused=True)
        t.append(time.perf_counter())
        row["forward_ms"], row["backward_ms"] = np.diff(t) * 1000.0
        row["peak_memory_mb"] = step_memory_mb(net, images, masks, criterion)
        norms = gradient_norms(net, images, masks, criterion)
        first = np.array([v for k, v in norms.items() if k.split(".")[:2] == ["encoders", "0"]])
        end = str(len(net.decoders) - 1)
        final = np.array([v for k, v in norms.items() if k.split(".")[:2] == ["decoders", end]])
        row["first_encoder_grad"] = float(np.linalg.norm(first))
        row["last_decoder_grad"] = float(np.linalg.norm(final))
        table.append(row)
    return table
""",
)

TASK_2_4 = [
    backwards.wrong("norms_of_the_weights", ("norms[name] = param.grad.norm(p=2).item()", "norms[name] = param.norm(p=2).item()")),
    functional.wrong("sum_of_magnitudes", ("torch.linalg.vector_norm(g)", "torch.linalg.vector_norm(g, 1)")),
    twin_and_numpy.wrong("squared", ('float(np.sqrt((g.astype("float64") ** 2).sum()))', 'float((g.astype("float64") ** 2).sum())')),
    backwards.wrong("mean_magnitude", ("param.grad.norm(p=2).item()", "param.grad.abs().mean().item()")),
    twin_and_numpy.wrong("mean_magnitude", ('float(np.sqrt((g.astype("float64") ** 2).sum()))', "float(np.abs(g).mean())")),
    functional.wrong(
        "own_criterion", ("loss = criterion(model(images), masks)", "loss = F.binary_cross_entropy_with_logits(model(images), masks)")
    ),
    backwards.wrong(
        "gradients_returned",
        ("param.grad.norm(p=2).item()", "param.grad.clone()"),
        ("enc_sq += value ** 2", "enc_sq += float((value ** 2).sum())"),
        ("dec_sq += value ** 2", "dec_sq += float((value ** 2).sum())"),
        ("norms[name] = 0.0", "norms[name] = torch.zeros_like(param)"),
    ),
    functional.wrong(
        "weights_only", ("for n, p in model.named_parameters()]", "for n, p in model.named_parameters() if n.endswith('weight')]")
    ),
    twin_and_numpy.wrong("unused_left_out", ("            result[name] = 0.0\n            continue", "            continue")),
    backwards.wrong(
        "unused_crash",
        (
            """        if param.grad is not None:
            norms[name] = param.grad.norm(p=2).item()
        else:
            norms[name] = 0.0
""",
            "        norms[name] = param.grad.norm(p=2).item()\n",
        ),
    ),
    functional.wrong(
        "frozen_crash",
        ("learning = [p for _, p in named if p.requires_grad]", "learning = [p for _, p in named]"),
        ("next(grads) if p.requires_grad else None for _, p", "next(grads) for _, p"),
    ),
    backwards.wrong(
        "backward_leaves_gradients", ("    for name, param in model.named_parameters():\n        param.grad = old_grads[name]\n", "")
    ),
    backwards.wrong(
        "backward_and_zero_grad",
        ("    for name, param in model.named_parameters():\n        param.grad = old_grads[name]\n", "    model.zero_grad()\n"),
        (
            "    old_grads = {}\n    for name, param in model.named_parameters():\n        old_grads[name] = param.grad\n        param.grad = None\n",
            "    model.zero_grad()\n",
        ),
    ),
    functional.wrong(
        "dict_of_rows",
        (
            "return [row(name, model) for name, model in models.items()]",
            "return {name: row(name, model) for name, model in models.items()}",
        ),
    ),
    twin_and_numpy.wrong(
        "tensors_counted", ("int(np.sum([np.prod(p.shape) for p in net.parameters() if p.requires_grad]))", "len(list(net.parameters()))")
    ),
    twin_and_numpy.wrong("second_encoder", ('["encoders", "0"]', '["encoders", "1"]')),
    functional.wrong("first_decoder", ('"decoders.%d." % (len(model.decoders) - 1)', '"decoders.0."')),
    backwards.wrong(
        "norms_added_up",
        ("enc_sq += value ** 2", "enc_sq += value"),
        ("dec_sq += value ** 2", "dec_sq += value"),
        ("enc_sq ** 0.5", "enc_sq"),
        ("dec_sq ** 0.5", "dec_sq"),
    ),
    backwards.wrong("only_the_first_model", ("    return results\n", "        return results\n")),
    # ---- no name ----
    functional.other("the largest magnitude", ("torch.linalg.vector_norm(g)", "g.abs().max()")),
    backwards.other("root mean square", ("param.grad.norm(p=2).item()", "(param.grad ** 2).mean().sqrt().item()")),
    twin_and_numpy.other(
        "relative to the norm of the weights",
        (
            'result[name] = float(np.sqrt((g.astype("float64") ** 2).sum()))',
            'result[name] = float(np.sqrt((g.astype("float64") ** 2).sum())) / (p.norm().item() + 1e-12)',
        ),
    ),
    functional.other(
        "of the first picture only", ("criterion(model(images), masks)\n    grads", "criterion(model(images[:1]), masks[:1])\n    grads")
    ),
    backwards.wrong(
        "sum_of_magnitudes second_encoder",
        ("param.grad.norm(p=2)", "param.grad.abs().sum()"),
        ('"encoders.0."', '"encoders.1."'),
        about="two mistakes: in gradient_norms and in analyze_skip_connections",
    ),
]

CASES = TASK_2_1 + TASK_2_2 + TASK_2_3 + TASK_2_4
