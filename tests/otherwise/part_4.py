"""Wrong nested networks, losses of several outputs, sliding windows and recordings of attention: Tasks 4.1 to 4.4."""

from tests.otherwise.case import style

# ---- Task 4.1 ----

lists_of_lists = style(
    "4.1",
    "lists of lists of modules, the size by interpolation",
    """
class UNetPlusPlus(nn.Module):
    def __init__(self, in_channels=3, out_channels=1, features=[64, 128, 256, 512], *, deep_supervision=False, batch_norm=True):
        super().__init__()
        channels = list(features) + [features[-1] * 2]
        L = len(features)
        self.L = L
        self.deep = deep_supervision
        self.grid = nn.ModuleList()  # grid[i][j]
        self.upsample = nn.ModuleList()  # upsample[i][j - 1]
        for i in range(L + 1):
            before = in_channels if i == 0 else channels[i - 1]
            row = nn.ModuleList([DoubleConv(before, channels[i], batch_norm=batch_norm)])
            ups = nn.ModuleList()
            for j in range(1, L + 1 - i):
                row.append(DoubleConv(channels[i] * (j + 1), channels[i], batch_norm=batch_norm))
                ups.append(nn.ConvTranspose2d(channels[i + 1], channels[i], 2, stride=2))
            self.grid.append(row)
            self.upsample.append(ups)
        self.heads = nn.ModuleList()
        for _ in range(L if deep_supervision else 1):
            self.heads.append(nn.Conv2d(channels[0], out_channels, 1))

    def forward(self, x, depth=None):
        if depth is not None:
            allowed = range(1, self.L + 1) if self.deep else [self.L]
            if depth not in allowed:
                raise ValueError("there is no head at depth " + str(depth))
        deepest = self.L if depth is None else depth
        X = [[] for _ in range(deepest + 1)]
        X[0].append(self.grid[0][0](x))
        for i in range(1, deepest + 1):
            X[i].append(self.grid[i][0](F.max_pool2d(X[i - 1][0], kernel_size=2)))
        for j in range(1, deepest + 1):
            for i in range(deepest - j + 1):
                up = self.upsample[i][j - 1](X[i + 1][j - 1])
                up = F.interpolate(up, size=X[i][0].shape[2:], mode="bilinear", align_corners=False)
                X[i].append(self.grid[i][j](torch.cat(X[i] + [up], dim=1)))
        if not self.deep:
            return self.heads[0](X[0][deepest])
        if depth is not None:
            return self.heads[depth - 1](X[0][depth])
        outputs = [head(node) for head, node in zip(self.heads, X[0][1:])]
        if self.training:
            return outputs
        return sum(outputs) / len(outputs)
""",
)

names_for_all = style(
    "4.1",
    "one dict of modules and f-strings, diagonal by diagonal, zeros at the border",
    """
class UNetPlusPlus(nn.Module):
    def __init__(self, in_channels=3, out_channels=1, features=[64, 128, 256, 512], *, deep_supervision=False, batch_norm=True):
        super(UNetPlusPlus, self).__init__()
        self.depths = len(features)
        self.deep_supervision = deep_supervision
        ch = [f for f in features] + [features[-1] * 2]
        self.pool = nn.MaxPool2d(kernel_size=2, stride=2)
        m = {}
        for d in range(self.depths + 1):
            m[f"conv{d}_0"] = DoubleConv(ch[d - 1] if d > 0 else in_channels, ch[d], batch_norm=batch_norm)
            for j in range(1, d + 1):
                i = d - j
                m[f"up{i}_{j}"] = nn.ConvTranspose2d(ch[i + 1], ch[i], kernel_size=(2, 2), stride=(2, 2))
                m[f"conv{i}_{j}"] = DoubleConv(j * ch[i] + ch[i], ch[i], batch_norm=batch_norm)
            if d == self.depths or (deep_supervision and d > 0):
                m[f"final{d}"] = nn.Conv2d(ch[0], out_channels, kernel_size=1)
        self.m = nn.ModuleDict(m)

    def forward(self, x, depth=None):
        if depth is not None and f"final{depth}" not in self.m:
            raise ValueError(f"depth {depth} does not exist")
        v = {}
        out = {}
        for d in range((depth or self.depths) + 1):
            v[d, 0] = self.m[f"conv{d}_0"](x if d == 0 else self.pool(v[d - 1, 0]))
            for j in range(1, d + 1):
                i = d - j
                lower = self.m[f"up{i}_{j}"](v[i + 1, j - 1])
                h, w = v[i, 0].size(2) - lower.size(2), v[i, 0].size(3) - lower.size(3)
                lower = F.pad(lower, (0, w, 0, h))
                row = [v[i, k] for k in range(j)]
                v[i, j] = self.m[f"conv{i}_{j}"](torch.cat([*row, lower], 1))
            if f"final{d}" in self.m and depth in (None, d):
                out[d] = self.m[f"final{d}"](v[0, d])
        if depth is not None or not self.deep_supervision:
            return out[max(out)]
        out = [out[d] for d in range(1, self.depths + 1)]
        return out if self.training else torch.mean(torch.stack(out), dim=0)
""",
)

recursive = style(
    "4.1",
    "every node asks for those before it, attributes by name",
    """
class UNetPlusPlus(nn.Module):
    def __init__(self, in_channels=3, out_channels=1, features=[64, 128, 256, 512], *, deep_supervision=False, batch_norm=True):
        super().__init__()
        self.last = len(features)
        self.many = deep_supervision
        width = dict(enumerate(features))
        width[self.last] = 2 * width[self.last - 1]
        width[-1] = in_channels
        for i in range(self.last + 1):
            self.add_module(f"node_{i}_0", DoubleConv(width[i - 1], width[i], batch_norm=batch_norm))
            for j in range(1, self.last - i + 1):
                self.add_module(f"rise_{i}_{j}", nn.ConvTranspose2d(width[i + 1], width[i], 2, 2))
                self.add_module(f"node_{i}_{j}", DoubleConv((j + 1) * width[i], width[i], batch_norm=batch_norm))
        for d in range(1, self.last + 1):
            if self.many or d == self.last:
                self.add_module(f"head_{d}", nn.Conv2d(width[0], out_channels, 1))

    @staticmethod
    def fit(small, like):
        if small.shape[-2:] == like.shape[-2:]:
            return small
        return F.interpolate(small, size=like.shape[-2:])

    def value(self, i, j, known):
        if (i, j) in known:
            return known[i, j]
        if j == 0:
            seen = nn.functional.max_pool2d(self.value(i - 1, 0, known), 2, 2)
        else:
            left = [self.value(i, k, known) for k in reversed(range(j))]
            below = getattr(self, f"rise_{i}_{j}")(self.value(i + 1, j - 1, known))
            below = self.fit(below, left[0])
            seen = torch.cat((below, *left), dim=-3)
        known[i, j] = getattr(self, f"node_{i}_{j}")(seen)
        return known[i, j]

    def logits(self, d, known):
        return getattr(self, f"head_{d}")(self.value(0, d, known))

    def forward(self, x, depth=None):
        known = {(0, 0): self.node_0_0(x)}
        if depth is None and self.many:
            each = [self.logits(d, known) for d in range(1, self.last + 1)]
            if not self.training:
                return torch.stack(each, dim=-1).mean(dim=-1)
            return each
        depth = self.last if depth is None else depth
        if not hasattr(self, f"head_{depth}"):
            raise ValueError(f"{depth} is not a depth of this network")
        return self.logits(depth, known)
""",
)

TASK_4_1 = [
    lists_of_lists.wrong(
        "only_the_node_before",
        ("DoubleConv(channels[i] * (j + 1), channels[i]", "DoubleConv(channels[i] + channels[i], channels[i]"),
        ("torch.cat(X[i] + [up], dim=1)", "torch.cat([X[i][j - 1], up], dim=1)"),
    ),
    names_for_all.wrong(
        "only_the_encoder_joined",
        ("DoubleConv(j * ch[i] + ch[i], ch[i]", "DoubleConv(2 * ch[i], ch[i]"),
        ("                row = [v[i, k] for k in range(j)]\n", ""),
        ("torch.cat([*row, lower], 1)", "torch.cat([v[i, 0], lower], 1)"),
    ),
    lists_of_lists.wrong("not_pooled", ("F.max_pool2d(X[i - 1][0], kernel_size=2)", "X[i - 1][0]")),
    names_for_all.wrong("mean_pooled", ("nn.MaxPool2d(kernel_size=2, stride=2)", "nn.AvgPool2d(kernel_size=2, stride=2)")),
    recursive.wrong("mean_pooled", ("nn.functional.max_pool2d(", "nn.functional.avg_pool2d(")),
    recursive.wrong("not_aligned", ("            below = self.fit(below, left[0])\n", "")),
    recursive.wrong(
        "bottleneck_not_doubled", ("width[self.last] = 2 * width[self.last - 1]", "width[self.last] = width[self.last - 1]")
    ),
    names_for_all.wrong("list_when_evaluated", ("return out if self.training else torch.mean(torch.stack(out), dim=0)", "return out")),
    recursive.wrong(
        "mean_when_training",
        ("            if not self.training:\n                return torch.stack", "            return torch.stack"),
        ("            return each\n", ""),
    ),
    lists_of_lists.wrong("last_when_evaluated", ("return sum(outputs) / len(outputs)", "return outputs[-1]")),
    names_for_all.wrong(
        "deepest_first", ("out = [out[d] for d in range(1, self.depths + 1)]", "out = [out[d] for d in range(self.depths, 0, -1)]")
    ),
    lists_of_lists.wrong("head_on_the_encoder", ("zip(self.heads, X[0][1:])", "zip(self.heads, X[0])")),
    lists_of_lists.wrong(
        "all_nodes_computed",
        ("        deepest = self.L if depth is None else depth\n", "        deepest = self.L\n"),
    ),
    recursive.wrong(
        "depth_not_checked",
        (
            "depth = self.last if depth is None else depth\n        if not hasattr(self, f\"head_{depth}\"):\n"
            '            raise ValueError(f"{depth} is not a depth of this network")\n',
            'depth = depth if hasattr(self, f"head_{depth}") else self.last\n',
        ),
    ),
    lists_of_lists.wrong(
        "unused_heads",
        ("for _ in range(L if deep_supervision else 1):", "for _ in range(L):"),
        ("self.heads[0](X[0][deepest])", "self.heads[-1](X[0][-1])"),
    ),
    recursive.wrong(
        "one_upsampling_a_level",
        ('self.add_module(f"rise_{i}_{j}"', 'self.add_module(f"rise_{i}"'),
        ('getattr(self, f"rise_{i}_{j}")', 'getattr(self, f"rise_{i}")'),
    ),
    names_for_all.wrong(
        "sigmoid_at_the_end",
        ("nn.Conv2d(ch[0], out_channels, kernel_size=1)", "nn.Sequential(nn.Conv2d(ch[0], out_channels, kernel_size=1), nn.Sigmoid())"),
    ),
    lists_of_lists.wrong("batch_norm_ignored", (", batch_norm=batch_norm)", ")")),
    names_for_all.wrong(
        "features_changed", ("ch = [f for f in features] + [features[-1] * 2]", "ch = features\n        ch.append(ch[-1] * 2)")
    ),
    # ---- no name ----
    names_for_all.other(
        "heads of 3x3",
        ("nn.Conv2d(ch[0], out_channels, kernel_size=1)", "nn.Conv2d(ch[0], out_channels, kernel_size=3, padding=1)"),
    ),
    lists_of_lists.other(
        "the largest logit of all depths when evaluated", ("return sum(outputs) / len(outputs)", "return torch.stack(outputs).amax(dim=0)")
    ),
    recursive.other(
        "mean_pooled and bottleneck_not_doubled in one definition",
        ("nn.functional.max_pool2d", "nn.functional.avg_pool2d"),
        ("width[self.last] = 2 * width[self.last - 1]", "width[self.last] = width[self.last - 1]"),
    ),
]

# ---- Task 4.2 ----

counted = style(
    "4.2",
    "a loop with enumerate, two running sums",
    """
class DeepSupervisionLoss(nn.Module):
    def __init__(self, criterion, weights=None):
        super().__init__()
        self.criterion = criterion
        self.weights = weights

    def forward(self, outputs, target):
        if not isinstance(outputs, (list, tuple)):
            return self.criterion(outputs, target)
        n = len(outputs)
        if self.weights is None:
            weights = [1] * n
        else:
            weights = self.weights
        if len(weights) != n:
            raise ValueError("weights and outputs must have the same length")
        total = 0
        weight_sum = 0
        for k, out in enumerate(outputs):
            if out.shape[2:] != target.shape[2:]:
                out = F.interpolate(out, size=target.shape[2:], mode="bilinear", align_corners=False)
            total += weights[k] * self.criterion(out, target)
            weight_sum += weights[k]
        return total / weight_sum
""",
)

as_a_product = style(
    "4.2",
    "a vector of losses times a vector of weights",
    """
class DeepSupervisionLoss(nn.Module):
    def __init__(self, criterion, weights=None):
        super().__init__()
        self.weights = None if weights is None else tuple(weights)
        self.criterion = criterion

    def at_full_size(self, logits, target):
        same = logits.size()[-2:] == target.size()[-2:]
        return logits if same else F.interpolate(logits, tuple(target.size()[-2:]), mode='bilinear')

    def forward(self, outputs, target):
        if torch.is_tensor(outputs):
            return self.criterion(outputs, target)
        if self.weights is not None and len(self.weights) != len(outputs):
            raise ValueError(f"got {len(outputs)} outputs and {len(self.weights)} weights")
        losses = torch.stack([self.criterion(self.at_full_size(o, target), target) for o in outputs])
        w = torch.ones_like(losses) if self.weights is None else losses.new_tensor(self.weights)
        return torch.dot(losses, w) / w.sum()
""",
)

in_shares = style(
    "4.2",
    "shares of the whole, a strict zip in a generator, nn.Upsample",
    """
class DeepSupervisionLoss(nn.Module):
    def __init__(self, criterion, weights=None):
        nn.Module.__init__(self)
        self.compare, self.weights = criterion, weights

    def shares(self, count):
        parts = [1.0 for _ in range(count)] if self.weights is None else list(self.weights)
        whole = sum(parts)
        return [part / whole for part in parts]

    def forward(self, outputs, target):
        match outputs:
            case list() | tuple():
                resize = nn.Upsample(size=target.shape[-2:], mode="bilinear", align_corners=False)
                pairs = zip(self.shares(len(outputs)), map(resize, outputs), strict=True)
                return sum(share * self.compare(logits, target) for share, logits in pairs)
            case _:
                return self.compare(outputs, target)
""",
)

TASK_4_2 = [
    counted.wrong("sum_for_mean", ("return total / weight_sum", "return total")),
    in_shares.wrong("sum_for_mean", ("return [part / whole for part in parts]", "return parts")),
    as_a_product.wrong("divided_by_the_count", ("torch.dot(losses, w) / w.sum()", "torch.dot(losses, w) / len(losses)")),
    in_shares.wrong("weights_ignored", ("if self.weights is None else list(self.weights)", "")),
    as_a_product.wrong("weights_ignored", ("return torch.dot(losses, w) / w.sum()", "return losses.mean()")),
    as_a_product.wrong(
        "mean_of_the_logits",
        (
            """        losses = torch.stack([self.criterion(self.at_full_size(o, target), target) for o in outputs])
        w = torch.ones_like(losses) if self.weights is None else losses.new_tensor(self.weights)
        return torch.dot(losses, w) / w.sum()
""",
            """        average = torch.stack([self.at_full_size(o, target) for o in outputs]).mean(0)
        return self.criterion(average, target)
""",
        ),
    ),
    in_shares.wrong(
        "mean_of_the_logits",
        (
            "return sum(share * self.compare(logits, target) for share, logits in pairs)",
            "return self.compare(sum(share * logits for share, logits in pairs), target)",
        ),
    ),
    in_shares.wrong("lengths_not_compared", (", strict=True)", ")")),
    as_a_product.wrong(
        "lists_only", ("        if torch.is_tensor(outputs):\n            return self.criterion(outputs, target)\n", "")
    ),
    counted.wrong(
        "target_shrunk",
        (
            "                out = F.interpolate(out, size=target.shape[2:], mode=\"bilinear\", align_corners=False)\n"
            "            total += weights[k] * self.criterion(out, target)",
            "                mask = F.interpolate(target, size=out.shape[2:])\n"
            "            else:\n"
            "                mask = target\n"
            "            total += weights[k] * self.criterion(out, mask)",
        ),
    ),
    in_shares.wrong("enlarged_by_nearest", (', mode="bilinear", align_corners=False)', ")")),
    as_a_product.wrong("not_resized", ("self.at_full_size(o, target)", "o")),
    counted.wrong(
        "shallow_detached",
        (
            "        for k, out in enumerate(outputs):\n",
            "        for k, out in enumerate(outputs):\n            if k + 1 < n:\n                out = out.detach()\n",
        ),
    ),
    counted.wrong(
        "weights_normalised_in_place",
        (
            "        total = 0\n        weight_sum = 0\n",
            "        total, s = 0, sum(weights)\n        for k in range(n):\n            weights[k] = weights[k] / s\n",
        ),
        ("            weight_sum += weights[k]\n", ""),
        ("total / weight_sum", "total"),
    ),
    counted.wrong("none_means_the_last", ("weights = [1] * n", "weights = [0] * (n - 1) + [1]")),
    counted.wrong("tuples_taken_for_one", ("isinstance(outputs, (list, tuple))", "isinstance(outputs, list)")),
    # ---- no name ----
    in_shares.other("the criterion is called on probabilities", ("self.compare(logits, target)", "self.compare(logits.sigmoid(), target)")),
    as_a_product.other("the largest loss alone", ("torch.dot(losses, w) / w.sum()", "(losses * w).max() / w.sum()")),
    counted.other(
        "divided_by_the_count and enlarged_by_nearest in one definition",
        ("total / weight_sum", "total / n"),
        ('mode="bilinear", align_corners=False', 'mode="nearest"'),
    ),
]

# ---- Task 4.3 ----

step_by_step = style(
    "4.3",
    "while loops and a shrinking list of jobs",
    """
def window_starts(length, window, overlap):
    step = max(1, round(window * (1 - overlap)))
    starts = []
    position = 0
    while position + window <= length:
        starts.append(position)
        position += step
    if starts[-1] + window < length:
        starts.append(length - window)
    return starts


def window_weights(height, width, mode):
    if mode == "constant":
        return torch.ones((height, width))
    elif mode == "gaussian":
        y = torch.arange(height, dtype=torch.float32) - (height - 1) / 2
        x = torch.arange(width, dtype=torch.float32) - (width - 1) / 2
        wy = torch.exp(-(y ** 2) / (2 * (height / 8) ** 2))
        wx = torch.exp(-(x ** 2) / (2 * (width / 8) ** 2))
        return torch.outer(wy, wx)
    else:
        raise ValueError("unknown mode " + str(mode))


def padded(image, height, width):
    H, W = image.shape[2], image.shape[3]
    bottom = max(height - H, 0)
    right = max(width - W, 0)
    if bottom == 0 and right == 0:
        return image
    if bottom < H and right < W:
        return F.pad(image, (0, right, 0, bottom), mode="reflect")
    return F.pad(image, (0, right, 0, bottom), mode="replicate")


def sliding_window_inference(predict, image, window=200, overlap=0.5, mode="gaussian", *, batch_size=4):
    if overlap < 0 or overlap >= 1:
        raise ValueError("overlap must be at least 0 and less than 1")
    if isinstance(window, int):
        h = w = window
    else:
        h, w = window
    weights = window_weights(h, w, mode).to(image.device)
    B, C, H, W = image.shape
    image = padded(image, h, w)
    jobs = []
    for b in range(B):
        for y in window_starts(image.shape[2], h, overlap):
            for x in window_starts(image.shape[3], w, overlap):
                jobs.append((b, y, x))
    result = None
    while jobs:
        now, jobs = jobs[:batch_size], jobs[batch_size:]
        crops = [image[b, :, y:y + h, x:x + w] for b, y, x in now]
        with torch.no_grad():
            pred = predict(torch.stack(crops))
        if pred.dtype != torch.float64:
            pred = pred.float()
        if result is None:
            result = torch.zeros(B, pred.shape[1], image.shape[2], image.shape[3], dtype=pred.dtype, device=pred.device)
            norm = torch.zeros_like(result)
        for k in range(len(now)):
            b, y, x = now[k]
            result[b, :, y:y + h, x:x + w] += pred[k] * weights
            norm[b, :, y:y + h, x:x + w] += weights
    result = result / norm
    return result[:, :, :H, :W]
""",
)

in_doubles = style(
    "4.3",
    "float64 for all sums, slices and itertools",
    """
import itertools


def window_starts(length, window, overlap):
    stride = max(1, round(window * (1 - overlap)))
    return [*range(0, length - window, stride), length - window]


def bell_curve(n):
    k = torch.linspace(-(n - 1) / 2, (n - 1) / 2, n, dtype=torch.float64)
    return torch.exp(-0.5 * torch.square(k * 8 / n))


CURVES = {"constant": lambda n: torch.ones(n, dtype=torch.float64), "gaussian": bell_curve}


def window_weights(height, width, mode):
    if mode not in CURVES:
        raise ValueError(f"mode must be one of {list(CURVES)}")
    curve = CURVES[mode]
    return (curve(height).unsqueeze(1) * curve(width).unsqueeze(0)).float()


def padded(image, height, width):
    more = [max(0, want - have) for want, have in zip((height, width), image.shape[-2:])]
    possible = all(m < have for m, have in zip(more, image.shape[-2:]))
    kind = "reflect" if possible else "replicate"
    return F.pad(image, [0, more[1], 0, more[0]], mode=kind)


@torch.no_grad()
def sliding_window_inference(predict, image, window=200, overlap=0.5, mode="gaussian", *, batch_size=4):
    if not (0 <= overlap < 1):
        raise ValueError(f"overlap {overlap} is not in [0, 1)")
    size = (window,) * 2 if isinstance(window, int) else tuple(window)
    weights = window_weights(*size, mode).double().to(image.device)
    whole = padded(image, *size)
    cuts = [[slice(s, s + side) for s in window_starts(n, side, overlap)] for n, side in zip(whole.shape[-2:], size)]
    todo = itertools.product(range(len(image)), *cuts)
    top = bottom = 0
    while group := list(itertools.islice(todo, batch_size)):
        answers = predict(torch.stack([whole[n, :, rows, columns] for n, rows, columns in group]))
        if isinstance(top, int):
            top = torch.zeros((len(whole), answers.shape[1], *whole.shape[-2:]), dtype=torch.float64, device=image.device)
            bottom = torch.zeros((len(whole), 1, *whole.shape[-2:]), dtype=torch.float64, device=image.device)
        for (n, rows, columns), answer in zip(group, answers.double()):
            top[n, :, rows, columns] += weights * answer
            bottom[n, 0, rows, columns] += weights
    return top.div(bottom)[..., :image.shape[-2], :image.shape[-1]]
""",
)

by_index = style(
    "4.3",
    "numbered pixels, a table of them for all windows, index_add",
    """
def window_starts(length, window, overlap):
    stride = max(1, round(window * (1 - overlap)))
    final = length - window
    return sorted({min(start, final) for start in range(0, length, stride)})


def window_weights(height, width, mode):
    if mode == "constant":
        return torch.full((height, width), 1.0)
    if mode != "gaussian":
        raise ValueError(mode)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    far = ((rows - (height - 1) / 2) / (height / 8)) ** 2 + ((columns - (width - 1) / 2) / (width / 8)) ** 2
    return (-far / 2).exp()


def padded(image, height, width):
    h, w = image.shape[-2:]
    extra = (0, max(width, w) - w, 0, max(height, h) - h)
    try:
        return F.pad(image, extra, mode="reflect")
    except RuntimeError:
        return F.pad(image, extra, mode="replicate")


def sliding_window_inference(predict, image, window=200, overlap=0.5, mode="gaussian", *, batch_size=4):
    if overlap >= 1 or overlap < 0:
        raise ValueError(overlap)
    try:
        high, wide = window
    except TypeError:
        high, wide = window, window
    weights = window_weights(high, wide, mode).to(image.device).flatten()
    B, C, H, W = image.shape
    big = padded(image, high, wide)
    rows, columns = big.shape[-2:]
    pixels = torch.arange(rows * columns, device=image.device).reshape(rows, columns)
    table = [
        pixels[i : i + high, j : j + wide].flatten()
        for i in window_starts(rows, high, overlap)
        for j in window_starts(columns, wide, overlap)
    ]
    seen = torch.zeros(rows * columns, device=image.device)
    for where in table:
        seen.index_add_(0, where, weights)
    flat = big.flatten(start_dim=2)
    with torch.no_grad():
        pairs = [(b, where) for b in range(B) for where in table]
        groups = [pairs[k : k + batch_size] for k in range(0, len(pairs), batch_size)]
        sums = {}
        for group in groups:
            answers = predict(torch.stack([flat[b][:, where].unflatten(1, (high, wide)) for b, where in group]))
            answers = answers.to(torch.promote_types(answers.dtype, torch.float32)).flatten(start_dim=2)
            for (b, where), answer in zip(group, answers):
                if b not in sums:
                    sums[b] = answer.new_zeros(answer.shape[0], rows * columns)
                sums[b] = sums[b].index_add(1, where, answer * weights.to(answer.dtype))
    merged = torch.stack([sums[b] / seen for b in sorted(sums)])
    return merged.unflatten(2, (rows, columns))[:, :, :H, :W]
""",
)

TASK_4_3 = [
    step_by_step.wrong("end_not_covered", ("    if starts[-1] + window < length:\n        starts.append(length - window)\n", "")),
    in_doubles.wrong("last_window_twice", ("range(0, length - window, stride)", "range(0, length - window + 1, stride)")),
    step_by_step.wrong("stride_is_the_overlap", ("max(1, round(window * (1 - overlap)))", "max(1, round(window * overlap))")),
    by_index.wrong("stride_of_zero", ("max(1, round(window * (1 - overlap)))", "round(window * (1 - overlap))")),
    in_doubles.wrong("stride_of_zero", ("max(1, round(window * (1 - overlap)))", "int(window * (1 - overlap) + 0.5)")),
    step_by_step.wrong("not_divided", ("    result = result / norm\n", "")),
    by_index.wrong("divided_by_the_count", ("seen.index_add_(0, where, weights)", "seen[where] += 1")),
    step_by_step.wrong(
        "last_one_wins",
        ("result[b, :, y:y + h, x:x + w] += pred[k] * weights", "result[b, :, y:y + h, x:x + w] = pred[k]"),
        ("            norm[b, :, y:y + h, x:x + w] += weights\n", ""),
        ("            norm = torch.zeros_like(result)\n", ""),
        ("    result = result / norm\n", ""),
    ),
    in_doubles.wrong("gaussian_ignored", ('"gaussian": bell_curve}', '"gaussian": lambda n: torch.ones(n, dtype=torch.float64)}')),
    by_index.wrong("sigma_quarter", ("(height / 8)", "(height / 4)"), ("(width / 8)", "(width / 4)")),
    step_by_step.wrong("half_forgotten", ("(2 * (height / 8) ** 2)", "(height / 8) ** 2"), ("(2 * (width / 8) ** 2)", "(width / 8) ** 2")),
    in_doubles.wrong("zeros_padded", (", mode=kind)", ")")),
    step_by_step.wrong(
        "reflect_only",
        (
            """    if bottom < H and right < W:
        return F.pad(image, (0, right, 0, bottom), mode="reflect")
    return F.pad(image, (0, right, 0, bottom), mode="replicate")
""",
            """    return F.pad(image, (0, right, 0, bottom), mode="reflect")
""",
        ),
    ),
    in_doubles.wrong("not_cut_back", ("[..., :image.shape[-2], :image.shape[-1]]", "")),
    by_index.wrong("not_padded", ("    big = padded(image, high, wide)\n", "    big = image\n")),
    step_by_step.wrong(
        "not_padded",
        (
            """    bottom = max(height - H, 0)
    right = max(width - W, 0)
    if bottom == 0 and right == 0:
        return image
    if bottom < H and right < W:
        return F.pad(image, (0, right, 0, bottom), mode="reflect")
    return F.pad(image, (0, right, 0, bottom), mode="replicate")
""",
            """    return image
""",
        ),
    ),
    in_doubles.wrong("all_at_once", ("while group := list(itertools.islice(todo, batch_size)):", "while group := list(todo):")),
    by_index.wrong("gradients_on", ("with torch.no_grad():", "if True:")),
    in_doubles.wrong("gradients_on", ("@torch.no_grad()\n", "")),
    step_by_step.wrong("summed_in_float16", ("        if pred.dtype != torch.float64:\n            pred = pred.float()\n", "")),
    in_doubles.wrong(
        "mode_not_checked",
        (
            '    if mode not in CURVES:\n        raise ValueError(f"mode must be one of {list(CURVES)}")\n    curve = CURVES[mode]\n',
            '    curve = CURVES.get(mode, CURVES["constant"])\n',
        ),
    ),
    by_index.wrong("overlap_not_checked", ("    if overlap >= 1 or overlap < 0:\n        raise ValueError(overlap)\n", "")),
    step_by_step.wrong("square_windows_only", ("        h, w = window\n", "        h = w = window[0]\n")),
    by_index.wrong("first_picture_only", ("for b in range(B) for where in table", "for b in range(1) for where in table")),
    # ---- no name ----
    by_index.other(
        "the distance from the middle is not squared",
        ("((rows - (height - 1) / 2) / (height / 8)) ** 2", "(rows - (height - 1) / 2).abs() / (height / 8)"),
        ("((columns - (width - 1) / 2) / (width / 8)) ** 2", "(columns - (width - 1) / 2).abs() / (width / 8)"),
    ),
    in_doubles.other("the stride is a pixel too large", ("max(1, round(window * (1 - overlap)))", "1 + round(window * (1 - overlap))")),
    step_by_step.other("the weights of row and column are added", ("torch.outer(wy, wx)", "(wy[:, None] + wx[None, :]) / 2")),
    in_doubles.wrong(
        "last_window_twice zeros_padded",
        ("range(0, length - window, stride)", "range(0, length - window + 1, stride)"),
        ("mode=kind", 'mode="constant"'),
        about="two mistakes: in window_starts and in padded",
    ),
    step_by_step.wrong(
        "half_forgotten first_picture_only",
        ("(2 * (height / 8) ** 2)", "(height / 8) ** 2"),
        ("(2 * (width / 8) ** 2)", "(width / 8) ** 2"),
        ("    image = padded(image, h, w)\n", "    image = padded(image, h, w)\n    B = 1\n"),
        about="two mistakes: in window_weights and in sliding_window_inference",
    ),
]

# ---- Task 4.4 ----

hook_maker = style(
    "4.4",
    "a function that makes a hook for each name",
    """
def record_attention(model, pictures):
    recorded = {}

    def make_hook(name):
        def hook(module, inputs, output):
            alpha = module.alpha.detach()
            recorded[name] = F.interpolate(alpha, size=pictures.shape[2:], mode="bilinear", align_corners=False)
        return hook

    handles = []
    modes = {}
    for name, module in model.named_modules():
        modes[name] = module.training
        if isinstance(module, AttentionGate):
            handles.append(module.register_forward_hook(make_hook(name)))
    try:
        model.eval()
        with torch.no_grad():
            model(pictures)
    finally:
        for handle in handles:
            handle.remove()
        for name, module in model.named_modules():
            module.training = modes[name]
    return recorded
""",
)

on_a_stack = style(
    "4.4",
    "an ExitStack that undoes everything, lambdas, sizes at the end",
    """
from contextlib import ExitStack


def record_attention(model, pictures):
    alphas = []
    with ExitStack() as undo:
        for part in model.modules():
            undo.callback(setattr, part, "training", part.training)
        for name, part in model.named_modules():
            if not isinstance(part, AttentionGate):
                continue
            hook = part.register_forward_hook(lambda gate, x, y, name=name: alphas.append((name, gate.alpha.detach().clone())))
            undo.enter_context(hook)
        undo.enter_context(torch.no_grad())
        model.eval()
        model(pictures)
    height, width = pictures.shape[-2:]
    return {name: F.interpolate(alpha, (height, width), mode="bilinear") for name, alpha in alphas}
""",
)

own_context = style(
    "4.4",
    "a class with __enter__ and __exit__, partial and a method as hook",
    """
import functools


class Listening:
    def __init__(self, model):
        self.model, self.heard, self.hooks = model, {}, []

    def __enter__(self):
        self.in_training = [m for m in self.model.modules() if m.training]
        self.model.eval()
        for name, module in self.model.named_modules():
            if isinstance(module, AttentionGate):
                self.hooks += [module.register_forward_hook(functools.partial(self.listen, name))]
        return self

    def listen(self, name, gate, inputs, output):
        self.heard[name] = gate.alpha.detach()

    def __exit__(self, *error):
        for hook in self.hooks:
            hook.remove()
        for m in self.in_training:
            m.training = True
        return False


def record_attention(model, pictures):
    with Listening(model) as listener, torch.no_grad():
        model(pictures)
    resize = nn.Upsample(size=tuple(pictures.shape[-2:]), mode="bilinear")
    return {name: resize(alpha) for name, alpha in listener.heard.items()}
""",
)

on_a_copy = style(
    "4.4",
    "a copy of the model, which may stay as it is afterwards",
    """
import copy


def record_attention(model, pictures):
    twin = copy.deepcopy(model).eval()
    maps = {}
    for name, part in twin.named_modules():
        if isinstance(part, AttentionGate):
            def note(part, args, result, name=name):
                maps[name] = F.interpolate(part.alpha, size=pictures.shape[-2:], mode="bilinear")
            part.register_forward_hook(note)
    with torch.no_grad():
        twin(pictures)
    return maps
""",
)

TASK_4_4 = [
    on_a_stack.wrong(
        "all_hooks_cleared",
        ("            undo.enter_context(hook)\n", "            undo.callback(part._forward_hooks.clear)\n"),
    ),
    hook_maker.wrong(
        "order_of_the_model",
        ("    recorded = {}\n", "    recorded = {n: None for n, m in model.named_modules() if isinstance(m, AttentionGate)}\n"),
        ("    return recorded\n", "    return {n: alpha for n, alpha in recorded.items() if alpha is not None}\n"),
    ),
    on_a_copy.wrong("order_of_the_model", ("    return maps\n", "    return {name: maps[name] for name in sorted(maps)}\n")),
    hook_maker.wrong(
        "gradients_left_off", ("        with torch.no_grad():\n            model(pictures)\n", "        torch.set_grad_enabled(False)\n        model(pictures)\n")
    ),
    own_context.wrong(
        "weights_frozen",
        ("        self.model.eval()\n", "        self.model.eval()\n        for p in self.model.parameters():\n            p.requires_grad = False\n"),
    ),
    hook_maker.wrong("hooks_left", ("        for handle in handles:\n            handle.remove()\n", "")),
    own_context.wrong("hooks_left", ("            hook.remove()\n", "            del hook\n")),
    hook_maker.wrong(
        "not_cleaned_after_an_error",
        (
            """    try:
        model.eval()
        with torch.no_grad():
            model(pictures)
    finally:
        for handle in handles:
            handle.remove()
        for name, module in model.named_modules():
            module.training = modes[name]
""",
            """    model.eval()
    with torch.no_grad():
        model(pictures)
    for handle in handles:
        handle.remove()
    for name, module in model.named_modules():
        module.training = modes[name]
""",
        ),
    ),
    on_a_stack.wrong(
        "left_in_eval_mode",
        ("        for part in model.modules():\n            undo.callback(setattr, part, \"training\", part.training)\n", ""),
    ),
    own_context.wrong(
        "frozen_parts_thawed",
        ("self.in_training = [m for m in self.model.modules() if m.training]", "self.was_training = self.model.training"),
        ("        for m in self.in_training:\n            m.training = True\n", "        self.model.train(self.was_training)\n"),
    ),
    on_a_stack.wrong("in_the_mode_it_has", ("        model.eval()\n", "")),
    hook_maker.wrong("gradients_on", ("        with torch.no_grad():\n            model(pictures)\n", "        model(pictures)\n")),
    own_context.wrong("gradients_on", ("with Listening(model) as listener, torch.no_grad():", "with Listening(model) as listener:")),
    on_a_stack.wrong(
        "not_resized", ('{name: F.interpolate(alpha, (height, width), mode="bilinear") for name, alpha in alphas}', "dict(alphas)")
    ),
    own_context.wrong("enlarged_by_nearest", (', mode="bilinear")', ")")),
    hook_maker.wrong(
        "read_afterwards",
        ("            handles.append(module.register_forward_hook(make_hook(name)))\n", "            handles.append(module)\n"),
        ("        for handle in handles:\n            handle.remove()\n", ""),
        (
            "    return recorded\n",
            """    for name, module in model.named_modules():
        if module in handles and getattr(module, "alpha", None) is not None:
            make_hook(name)(module, None, None)
    return recorded
""",
        ),
    ),
    on_a_stack.wrong(
        "numbered_names",
        ("{name: F.interpolate", "{k: F.interpolate"),
        ("for name, alpha in alphas}", "for k, (name, alpha) in enumerate(alphas)}"),
    ),
    hook_maker.wrong("numbered_names", ("recorded[name] = F", 'recorded[f"gate {len(recorded) + 1}"] = F')),
    own_context.wrong(
        "gated_skip_kept", ("self.heard[name] = gate.alpha.detach()", "self.heard[name] = output.detach().mean(dim=1, keepdim=True)")
    ),
    on_a_stack.wrong(
        "first_gate_only", ("            undo.enter_context(hook)\n", "            undo.enter_context(hook)\n            break\n")
    ),
    hook_maker.wrong(
        "runs_twice",
        ("            model(pictures)\n", "            out = model(pictures)\n            assert len(model(pictures)) == len(out)\n"),
    ),
    own_context.wrong("error_swallowed", ("        return False\n", "        return True\n")),
    # ---- no name ----
    on_a_stack.other("every hook has the last module's name", ("lambda gate, x, y, name=name:", "lambda gate, x, y:")),
    own_context.other("one minus alpha", ("gate.alpha.detach()", "1 - gate.alpha.detach()")),
    hook_maker.other(
        "enlarged_by_nearest and numbered_names in one definition",
        ('mode="bilinear", align_corners=False', 'mode="nearest"'),
        ("recorded[name] = F", "recorded[len(recorded)] = F"),
    ),
]

CASES = TASK_4_1 + TASK_4_2 + TASK_4_3 + TASK_4_4
