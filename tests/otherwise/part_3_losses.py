"""Wrong losses: Tasks 3.1 to 3.3."""

from tests.otherwise.case import style

# ---- Task 3.1 ----

flat = style(
    "3.1",
    "a loop over the classes with view(-1)",
    """
class DiceLoss(nn.Module):
    def __init__(self, smooth=1e-6, *, class_weights=None):
        super(DiceLoss, self).__init__()
        self.smooth = smooth
        self.class_weights = class_weights

    def forward(self, pred, target):
        pred = torch.sigmoid(pred.float())
        target = target.float()
        n_classes = pred.size(1)
        weights = [1.0] * n_classes if self.class_weights is None else self.class_weights
        loss = 0.0
        weight_sum = 0.0
        for c in range(n_classes):
            # flatten label and prediction tensors
            iflat = pred[:, c].contiguous().view(-1)
            tflat = target[:, c].contiguous().view(-1)
            intersection = (iflat * tflat).sum()
            dice = (2. * intersection + self.smooth) / (iflat.sum() + tflat.sum() + self.smooth)
            loss += float(weights[c]) * (1 - dice)
            weight_sum += float(weights[c])
        return loss / weight_sum
""",
)

summed_dims = style(
    "3.1",
    "sums over dims, weights as a tensor",
    """
class DiceLoss(nn.Module):
    def __init__(self, smooth: float = 1e-6, *, class_weights=None):
        super().__init__()
        self.eps = smooth
        self.w = class_weights

    def forward(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        probs = pred.to(torch.promote_types(pred.dtype, torch.float32)).sigmoid()
        y = target.to(probs)
        dims = (0, 2, 3)
        overlap = torch.sum(probs * y, dim=dims)
        total = torch.sum(probs, dim=dims) + torch.sum(y, dim=dims)
        score = (2 * overlap + self.eps) / (total + self.eps)  # (C,)
        per_class = 1 - score
        if self.w is None:
            return per_class.mean()
        w = torch.as_tensor(self.w, dtype=per_class.dtype, device=per_class.device)
        return (w * per_class).sum() / w.sum()
""",
)

confusion = style(
    "3.1",
    "counts of a confusion matrix, with einsum and a helper",
    """
def soft_counts(p, y):
    tp = torch.einsum("bchw,bchw->c", p, y)
    fp = torch.einsum("bchw,bchw->c", p, 1 - y)
    fn = torch.einsum("bchw,bchw->c", 1 - p, y)
    return tp, fp, fn


class DiceLoss(nn.Module):
    def __init__(self, smooth=1e-6, *, class_weights=None):
        super().__init__()
        self.smooth = smooth
        self.class_weights = class_weights

    def forward(self, pred, target):
        with torch.autocast(pred.device.type, enabled=False):
            logits = pred.double()
            p = torch.special.expit(logits)
            tp, fp, fn = soft_counts(p, target.double())
            f1 = (2 * tp + self.smooth) / (2 * tp + fp + fn + self.smooth)
            losses = 1 - f1
            if self.class_weights is not None:
                shares = torch.tensor([float(v) for v in self.class_weights], dtype=losses.dtype, device=losses.device)
                shares = shares / shares.sum()
                return torch.dot(losses, shares)
            return torch.mean(losses)
""",
)

permuted = style(
    "3.1",
    "classes first, a matrix with a row for each class",
    """
class DiceLoss(nn.Module):
    def __init__(self, smooth=1e-6, *, class_weights=None):
        super().__init__()
        self.s, self.cw = smooth, class_weights

    @staticmethod
    def rows(t):
        t = t.permute(1, 0, 2, 3)
        return t.reshape(t.shape[0], -1)

    def forward(self, pred, target):
        if pred.dtype in (torch.float16, torch.bfloat16):
            pred = pred.float()
        target = target.type_as(pred)
        a = self.rows(F.logsigmoid(pred).exp())
        b = self.rows(target)
        upper = 2.0 * (a * b).sum(-1) + self.s
        lower = a.sum(-1) + b.sum(-1) + self.s
        d = 1.0 - upper / lower
        k = torch.ones_like(d) if self.cw is None else d.new_tensor([float(c) for c in self.cw])
        return (d * k).sum() / k.sum()
""",
)

TASK_3_1 = [
    flat.wrong("coefficient_returned", ("* (1 - dice)", "* dice")),
    permuted.wrong("coefficient_returned", ("d = 1.0 - upper / lower", "d = upper / lower")),
    summed_dims.wrong("minus_the_coefficient", ("per_class = 1 - score", "per_class = -score")),
    confusion.wrong("losses_summed_over_classes", ("return torch.mean(losses)", "return torch.sum(losses)")),
    summed_dims.wrong("one_loss_a_class", ("return per_class.mean()", "return per_class")),
    flat.wrong(
        "classes_pooled",
        (
            """        n_classes = pred.size(1)
        weights = [1.0] * n_classes if self.class_weights is None else self.class_weights
        loss = 0.0
        weight_sum = 0.0
        for c in range(n_classes):
            # flatten label and prediction tensors
            iflat = pred[:, c].contiguous().view(-1)
            tflat = target[:, c].contiguous().view(-1)
            intersection = (iflat * tflat).sum()
            dice = (2. * intersection + self.smooth) / (iflat.sum() + tflat.sum() + self.smooth)
            loss += float(weights[c]) * (1 - dice)
            weight_sum += float(weights[c])
        return loss / weight_sum
""",
            """        if self.class_weights is not None:
            w = torch.tensor([float(v) for v in self.class_weights]).view(1, -1, 1, 1)
            pred, target = pred * w, target * w
        iflat = pred.contiguous().view(-1)
        tflat = target.contiguous().view(-1)
        intersection = (iflat * tflat).sum()
        dice = (2. * intersection + self.smooth) / (iflat.sum() + tflat.sum() + self.smooth)
        return 1 - dice
""",
        ),
    ),
    confusion.wrong(
        "softmax_over_classes",
        ("p = torch.special.expit(logits)", "p = torch.softmax(logits, dim=1) if logits.shape[1] > 1 else torch.special.expit(logits)"),
    ),
    summed_dims.wrong(
        "mean_over_pictures", ("dims = (0, 2, 3)", "dims = (2, 3)"), ("per_class = 1 - score", "per_class = (1 - score).mean(dim=0)")
    ),
    flat.wrong(
        "mean_over_pictures",
        (
            """            # flatten label and prediction tensors
            iflat = pred[:, c].contiguous().view(-1)
            tflat = target[:, c].contiguous().view(-1)
            intersection = (iflat * tflat).sum()
            dice = (2. * intersection + self.smooth) / (iflat.sum() + tflat.sum() + self.smooth)
""",
            """            batch_size = pred.size(0)
            iflat = pred[:, c].contiguous().view(batch_size, -1)
            tflat = target[:, c].contiguous().view(batch_size, -1)
            intersection = (iflat * tflat).sum(1)
            dice = (2. * intersection + self.smooth) / (iflat.sum(1) + tflat.sum(1) + self.smooth)
            dice = dice.sum() / batch_size
""",
        ),
    ),
    permuted.wrong("no_sigmoid", ("self.rows(F.logsigmoid(pred).exp())", "self.rows(pred)")),
    confusion.wrong("sigmoid_twice", ("p = torch.special.expit(logits)", "p = torch.special.expit(torch.special.expit(logits))")),
    summed_dims.wrong(
        "sigmoid_from_exp",
        (
            "probs = pred.to(torch.promote_types(pred.dtype, torch.float32)).sigmoid()",
            "e = pred.to(torch.promote_types(pred.dtype, torch.float32)).exp()\n        probs = e / (1 + e)",
        ),
    ),
    flat.wrong("thresholded", ("pred = torch.sigmoid(pred.float())", "pred = (torch.sigmoid(pred.float()) > 0.5).float()")),
    permuted.wrong("prediction_with_itself", ("b = self.rows(target)", "b = self.rows(F.logsigmoid(pred).exp())")),
    confusion.wrong(
        "factor_2_forgotten",
        ("f1 = (2 * tp + self.smooth) / (2 * tp + fp + fn + self.smooth)", "f1 = (tp + self.smooth) / (2 * tp + fp + fn + self.smooth)"),
    ),
    confusion.wrong(
        "jaccard",
        ("f1 = (2 * tp + self.smooth) / (2 * tp + fp + fn + self.smooth)", "f1 = (tp + self.smooth) / (tp + fp + fn + self.smooth)"),
    ),
    permuted.wrong("squares_below", ("lower = a.sum(-1) + b.sum(-1) + self.s", "lower = (a ** 2).sum(-1) + (b ** 2).sum(-1) + self.s")),
    flat.wrong("smooth_below_only", ("(2. * intersection + self.smooth)", "(2. * intersection)")),
    summed_dims.wrong("default_smooth_1", ("smooth: float = 1e-6", "smooth: float = 1.0")),
    flat.wrong("smooth_written_out", ("        self.smooth = smooth\n", "        self.smooth = 1e-6\n")),
    permuted.wrong("no_smooth", ("(a * b).sum(-1) + self.s", "(a * b).sum(-1)"), ("b.sum(-1) + self.s", "b.sum(-1)")),
    summed_dims.wrong(
        "plain_number",
        ("return per_class.mean()", "return per_class.mean().item()"),
        ("return (w * per_class).sum() / w.sum()", "return ((w * per_class).sum() / w.sum()).item()"),
    ),
    confusion.wrong(
        "class_weights_forgotten",
        (
            """            if self.class_weights is not None:
                shares = torch.tensor([float(v) for v in self.class_weights], dtype=losses.dtype, device=losses.device)
                shares = shares / shares.sum()
                return torch.dot(losses, shares)
""",
            "",
        ),
    ),
    summed_dims.wrong("class_weights_not_normed", ("return (w * per_class).sum() / w.sum()", "return (w * per_class).sum()")),
    permuted.wrong("mean_of_weighted_losses", ("return (d * k).sum() / k.sum()", "return (d * k).mean()")),
    # ---- no name ----
    confusion.other("Tversky with 0.3 and 0.7", ("(2 * tp + fp + fn + self.smooth)", "(2 * tp + 0.6 * fp + 1.4 * fn + self.smooth)")),
    summed_dims.other("log-cosh Dice", ("return per_class.mean()", "return torch.log(torch.cosh(per_class.mean()))")),
    flat.other(
        "the background's Dice",
        ("iflat = pred[:, c].contiguous().view(-1)", "iflat = 1 - pred[:, c].contiguous().view(-1)"),
        ("tflat = target[:, c].contiguous().view(-1)", "tflat = 1 - target[:, c].contiguous().view(-1)"),
    ),
    permuted.other(
        "cosine in place of the sum below",
        ("lower = a.sum(-1) + b.sum(-1) + self.s", "lower = 2 * (a.pow(2).sum(-1) * b.pow(2).sum(-1)).sqrt() + self.s"),
    ),
    summed_dims.other(
        "a power of 3/4 of the loss, as in focal Tversky", ("return per_class.mean()", "return per_class.clamp(min=1e-7).pow(0.75).mean()")
    ),
    flat.other("tanh for sigmoid", ("torch.sigmoid(pred.float())", "(torch.tanh(pred.float()) + 1) / 2")),
    permuted.other(
        "squares_below and sigmoid_twice in one definition",
        ("lower = a.sum(-1) + b.sum(-1) + self.s", "lower = (a ** 2).sum(-1) + (b ** 2).sum(-1) + self.s"),
        ("self.rows(F.logsigmoid(pred).exp())", "self.rows(torch.sigmoid(F.logsigmoid(pred).exp()))"),
    ),
]

# ---- Task 3.2 ----

with_bce = style(
    "3.2",
    "unreduced cross-entropy, p_t by a sum of products",
    """
class FocalLoss(nn.Module):
    def __init__(self, alpha=0.25, gamma=2.0):
        super(FocalLoss, self).__init__()
        self.alpha = alpha
        self.gamma = gamma

    def forward(self, pred, target):
        pred = pred.float()
        target = target.float()
        bce_loss = F.binary_cross_entropy_with_logits(pred, target, reduction="none")
        prob = torch.sigmoid(pred)
        p_t = prob * target + (1 - prob) * (1 - target)
        alpha_t = self.alpha * target + (1 - self.alpha) * (1 - target)
        modulating_factor = torch.clamp(1 - p_t, min=1e-8) ** self.gamma
        focal_loss = alpha_t * modulating_factor * bce_loss
        return focal_loss.mean()
""",
)

by_logs = style(
    "3.2",
    "everything from logsigmoid, the two classes apart",
    '''
class FocalLoss(nn.Module):
    """-a (1-p)^g log(p) on the object, -(1-a) p^g log(1-p) elsewhere."""

    def __init__(self, alpha: float = 0.25, gamma: float = 2.0):
        super().__init__()
        self.a, self.g = alpha, gamma

    def forward(self, pred, target):
        z = pred if pred.dtype == torch.float64 else pred.float()
        y = target.to(z.dtype)
        log_p = F.logsigmoid(z)
        log_q = F.logsigmoid(-z)
        on_object = -self.a * torch.exp(self.g * log_q) * log_p
        elsewhere = -(1 - self.a) * torch.exp(self.g * log_p) * log_q
        loss = y * on_object + (1 - y) * elsewhere
        return loss.sum() / loss.numel()
''',
)

by_sign = style(
    "3.2",
    "the sign of the pixel turns the logit, torch.where for alpha",
    """
class FocalLoss(nn.Module):
    def __init__(self, alpha=0.25, gamma=2.0):
        super().__init__()
        self.register_buffer("alpha", torch.tensor(float(alpha), dtype=torch.float64))
        self.gamma = float(gamma)

    def forward(self, pred, target):
        logits = pred.double()
        positive = target > 0.5
        margin = torch.where(positive, logits, -logits)
        ce = F.softplus(-margin)
        hard = torch.exp(-self.gamma * F.softplus(margin))
        weight = torch.where(positive, self.alpha, 1 - self.alpha)
        return torch.mean(weight * hard * ce)
""",
)

TASK_3_2 = [
    with_bce.wrong("unreduced", ("return focal_loss.mean()", "return focal_loss")),
    by_sign.wrong("summed", ("torch.mean(weight * hard * ce)", "torch.sum(weight * hard * ce)")),
    by_logs.wrong("mean_over_positives", ("return loss.sum() / loss.numel()", "return loss.sum() / y.sum().clamp(min=1)")),
    with_bce.wrong(
        "focal_of_the_mean",
        ('reduction="none"', 'reduction="mean"'),
        (
            """        prob = torch.sigmoid(pred)
        p_t = prob * target + (1 - prob) * (1 - target)
        alpha_t = self.alpha * target + (1 - self.alpha) * (1 - target)
""",
            """        p_t = torch.exp(-bce_loss)
        alpha_t = self.alpha
""",
        ),
        ("return focal_loss.mean()", "return focal_loss"),
    ),
    with_bce.wrong("alpha_on_every_pixel", ("alpha_t = self.alpha * target + (1 - self.alpha) * (1 - target)", "alpha_t = self.alpha")),
    by_logs.wrong("alpha_on_every_pixel", ("elsewhere = -(1 - self.a) *", "elsewhere = -self.a *")),
    by_sign.wrong(
        "alpha_swapped", ("torch.where(positive, self.alpha, 1 - self.alpha)", "torch.where(positive, 1 - self.alpha, self.alpha)")
    ),
    by_logs.wrong("alpha_on_positives_only", ("elsewhere = -(1 - self.a) *", "elsewhere = -1 *")),
    with_bce.wrong("no_alpha", ("focal_loss = alpha_t * modulating_factor * bce_loss", "focal_loss = modulating_factor * bce_loss")),
    by_sign.wrong("gamma_written_out", ("torch.exp(-self.gamma * F.softplus(margin))", "torch.sigmoid(-margin) ** 2")),
    with_bce.wrong("gamma_as_a_factor", ("torch.clamp(1 - p_t, min=1e-8) ** self.gamma", "(1 - p_t) * self.gamma")),
    by_sign.wrong("easy_pixels_turned_up", ("torch.exp(-self.gamma * F.softplus(margin))", "torch.exp(-self.gamma * F.softplus(-margin))")),
    with_bce.wrong("p_for_p_t", ("torch.clamp(1 - p_t, min=1e-8)", "torch.clamp(1 - prob, min=1e-8)")),
    with_bce.wrong(
        "log_p_plus_epsilon",
        ('bce_loss = F.binary_cross_entropy_with_logits(pred, target, reduction="none")', "eps = 1e-8"),
        ("        alpha_t =", "        bce_loss = -torch.log(p_t + eps)\n        alpha_t ="),
    ),
    with_bce.wrong(
        "sigmoid_twice",
        ("F.binary_cross_entropy_with_logits(pred, target,", "F.binary_cross_entropy_with_logits(torch.sigmoid(pred), target,"),
    ),
    by_logs.wrong(
        "sign_forgotten", ("on_object = -self.a", "on_object = self.a"), ("elsewhere = -(1 - self.a)", "elsewhere = (1 - self.a)")
    ),
    with_bce.wrong("power_of_zero", ("torch.clamp(1 - p_t, min=1e-8) ** self.gamma", "(1 - p_t) ** self.gamma")),
    by_sign.wrong("modulation_detached", ("return torch.mean(weight * hard * ce)", "return torch.mean(weight * hard.detach() * ce)")),
    # ---- no name ----
    with_bce.other("a floor of 0.1 under 1 - p_t", ("min=1e-8", "min=0.1")),
    by_logs.other(
        "the loss goes through a square root", ("return loss.sum() / loss.numel()", "return (loss.sum() / loss.numel() + 1e-12).sqrt()")
    ),
    by_sign.other(
        "a smooth modulation by the logit, not by p_t",
        ("torch.exp(-self.gamma * F.softplus(margin))", "torch.exp(-self.gamma * margin.clamp(min=0))"),
    ),
    by_logs.other("labels are smoothed", ("y = target.to(z.dtype)", "y = 0.9 * target.to(z.dtype) + 0.05")),
    by_sign.other(
        "alpha_swapped and easy_pixels_turned_up in one definition",
        ("torch.where(positive, self.alpha, 1 - self.alpha)", "torch.where(positive, 1 - self.alpha, self.alpha)"),
        ("torch.exp(-self.gamma * F.softplus(margin))", "torch.exp(-self.gamma * F.softplus(-margin))"),
    ),
    with_bce.other("the median for the mean", ("return focal_loss.mean()", "return focal_loss.median()")),
]

# ---- Task 3.3 ----

ifs = style(
    "3.3",
    "an if for each term",
    """
class CombinedLoss(nn.Module):
    def __init__(self, weights={"ce": 0.5, "dice": 0.5, "focal": 0.0}):
        super(CombinedLoss, self).__init__()
        self.weights = weights
        self.ce = nn.BCEWithLogitsLoss()
        self.dice = DiceLoss()
        self.focal = FocalLoss()

    def forward(self, pred, target):
        pred = pred.float()
        target = target.float()
        loss = torch.tensor(0.0, device=pred.device)
        if self.weights.get("ce", 0) > 0:
            loss = loss + self.weights["ce"] * self.ce(pred, target)
        if self.weights.get("dice", 0) > 0:
            loss = loss + self.weights["dice"] * self.dice(pred, target)
        if self.weights.get("focal", 0) > 0:
            loss = loss + self.weights["focal"] * self.focal(pred, target)
        return loss
""",
)

table = style(
    "3.3",
    "a dict of functions and one sum",
    """
class CombinedLoss(nn.Module):
    def __init__(self, weights={"ce": 0.5, "dice": 0.5, "focal": 0.0}):
        super().__init__()
        terms = {"ce": F.binary_cross_entropy_with_logits, "dice": DiceLoss(), "focal": FocalLoss()}
        self.parts = [(w, terms[key]) for key, w in weights.items() if w != 0]

    def forward(self, pred, target):
        wide = torch.promote_types(pred.dtype, torch.float32)
        logits, mask = pred.to(wide), target.to(wide)
        return sum(w * term(logits, mask) for w, term in self.parts)
""",
)

written_out = style(
    "3.3",
    "three private methods with the formulas written out",
    """
class CombinedLoss(nn.Module):
    def __init__(self, weights={"ce": 0.5, "dice": 0.5, "focal": 0.0}):
        super().__init__()
        self.config = dict(weights)

    def _ce(self, z, y):
        return (z.clamp(min=0) - z * y + torch.log1p(torch.exp(-z.abs()))).mean()

    def _dice(self, z, y):
        p = torch.sigmoid(z)
        per_class = []
        for c in range(z.shape[1]):
            top = 2 * (p[:, c] * y[:, c]).sum() + 1e-6
            bottom = p[:, c].sum() + y[:, c].sum() + 1e-6
            per_class.append(1 - top / bottom)
        return torch.stack(per_class).mean()

    def _focal(self, z, y, alpha=0.25, gamma=2.0):
        log_pt = F.logsigmoid(z) * y + F.logsigmoid(-z) * (1 - y)
        log_qt = F.logsigmoid(-z) * y + F.logsigmoid(z) * (1 - y)
        at = alpha * y + (1 - alpha) * (1 - y)
        return -(at * torch.exp(gamma * log_qt) * log_pt).mean()

    def forward(self, pred, target):
        z, y = pred.double(), target.double()
        total = z.new_zeros(())
        for name in ("ce", "dice", "focal"):
            weight = self.config.get(name, 0.0)
            if not weight:
                continue
            total = total + weight * getattr(self, "_" + name)(z, y)
        return total
""",
)

TASK_3_3 = [
    ifs.wrong("softmax_cross_entropy", ("nn.BCEWithLogitsLoss()", "nn.CrossEntropyLoss()")),
    table.wrong("softmax_cross_entropy", ('"ce": F.binary_cross_entropy_with_logits', '"ce": F.cross_entropy')),
    ifs.wrong(
        "cross_entropy_built_not_called",
        ("        self.ce = nn.BCEWithLogitsLoss()\n", ""),
        ("self.ce(pred, target)", "nn.CrossEntropyLoss(pred, target)"),
    ),
    ifs.wrong("cross_entropy_of_raw_logits", ("nn.BCEWithLogitsLoss()", "nn.BCELoss()")),
    table.wrong(
        "sigmoid_then_cross_entropy",
        ('"ce": F.binary_cross_entropy_with_logits', '"ce": lambda z, y: F.binary_cross_entropy(torch.sigmoid(z), y)'),
    ),
    table.wrong(
        "sigmoid_twice",
        ('"ce": F.binary_cross_entropy_with_logits', '"ce": lambda z, y: F.binary_cross_entropy_with_logits(torch.sigmoid(z), y)'),
    ),
    written_out.wrong("sigmoid_twice", ("z, y = pred.double(), target.double()", "z, y = torch.sigmoid(pred.double()), target.double()")),
    ifs.wrong("cross_entropy_summed", ("nn.BCEWithLogitsLoss()", "nn.BCEWithLogitsLoss(reduction='sum')")),
    written_out.wrong("weights_normed", ("        return total\n", "        return total / (sum(self.config.values()) or 1)\n")),
    table.wrong(
        "mean_of_the_terms",
        (
            "return sum(w * term(logits, mask) for w, term in self.parts)",
            "values = [w * term(logits, mask) for w, term in self.parts]\n        return sum(values) / max(1, len(values))",
        ),
    ),
    written_out.wrong("weights_forgotten", ("total = total + weight * getattr", "total = total + getattr")),
    table.wrong("defaults_of_one", ('{"ce": 0.5, "dice": 0.5, "focal": 0.0}', '{"ce": 1.0, "dice": 1.0, "focal": 0.0}')),
    ifs.wrong(
        "dice_and_focal_swapped",
        ('self.weights["dice"] * self.dice(pred, target)', 'self.weights["dice"] * self.focal(pred, target)'),
        ('self.weights["focal"] * self.focal(pred, target)', 'self.weights["focal"] * self.dice(pred, target)'),
    ),
    ifs.wrong("coefficient_for_loss", ("self.dice(pred, target)", "(1 - self.dice(pred, target))")),
    written_out.wrong("other_smooth", ("1e-6", "1.0")),
    table.wrong("other_alpha", ("FocalLoss()}", "FocalLoss(alpha=0.5)}")),
    ifs.wrong(
        "three_weights_needed",
        ('self.weights.get("ce", 0) > 0', 'self.weights["ce"] > 0'),
        ('self.weights.get("dice", 0) > 0', 'self.weights["dice"] > 0'),
        ('self.weights.get("focal", 0) > 0', 'self.weights["focal"] > 0'),
    ),
    written_out.wrong("absent_means_one", ("self.config.get(name, 0.0)", "self.config.get(name, 1.0)")),
    ifs.wrong(
        "weights_popped_when_called",
        (
            """        if self.weights.get("ce", 0) > 0:
            loss = loss + self.weights["ce"] * self.ce(pred, target)
        if self.weights.get("dice", 0) > 0:
            loss = loss + self.weights["dice"] * self.dice(pred, target)
        if self.weights.get("focal", 0) > 0:
            loss = loss + self.weights["focal"] * self.focal(pred, target)
""",
            """        ce, dice, focal = (self.weights.pop(key, 0) for key in ("ce", "dice", "focal"))
        if ce:
            loss = loss + ce * self.ce(pred, target)
        if dice:
            loss = loss + dice * self.dice(pred, target)
        if focal:
            loss = loss + focal * self.focal(pred, target)
""",
        ),
    ),
    table.wrong(
        "first_channel_only",
        ("logits, mask = pred.to(wide), target.to(wide)", "logits, mask = pred[:, :1].to(wide), target[:, :1].to(wide)"),
    ),
    # ---- no name ----
    ifs.other(
        "the object's pixels count three times in the cross-entropy",
        ("nn.BCEWithLogitsLoss()", "nn.BCEWithLogitsLoss(pos_weight=torch.tensor(3.0))"),
    ),
    table.other(
        "a smooth L1 of the probabilities for the cross-entropy",
        ('"ce": F.binary_cross_entropy_with_logits', '"ce": lambda z, y: F.smooth_l1_loss(z.sigmoid(), y)'),
    ),
    written_out.other("the logarithm of Dice", ("per_class.append(1 - top / bottom)", "per_class.append(-torch.log(top / bottom) / 2)")),
    table.other("gamma is 3", ("FocalLoss()}", "FocalLoss(gamma=3.0)}")),
    ifs.other(
        "coefficient_for_loss and cross_entropy_summed in one definition",
        ("self.dice(pred, target)", "(1 - self.dice(pred, target))"),
        ("nn.BCEWithLogitsLoss()", "nn.BCEWithLogitsLoss(reduction='sum')"),
    ),
    written_out.other(
        "the terms are multiplied",
        ("total = z.new_zeros(())", "total = z.new_ones(())"),
        ("total = total + weight * getattr", "total = total * weight * getattr"),
    ),
]

CASES = TASK_3_1 + TASK_3_2 + TASK_3_3
