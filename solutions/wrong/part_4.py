"""Known-wrong variants of Part 4, the bonus."""

from solutions.wrong.variant import Wrong

# Hints that several variants share.
ROW = (
    "List, by step 2 of the task, what the last node but one of the top row sees. Print the shape of what your code concatenates there: "
    "how many channels are from its own row?"
)
WHICH_MODE = (
    "Call the network twice with the same picture, once after .train() and once after .eval(), and print what comes. "
    "Which row of the table is each?"
)
CUT = "Time forward at depth 1 and at depth L. Which nodes does X[0][1] need, and which does your loop compute?"
DEPTHS = "Write down the depths that have a head, for deep_supervision=True and False. Then ask for the ones beside them."
SUM = "Put in two outputs that are equal. The loss should be that of one of them: is it, with weights [1, 1] and [3, 3]?"
STARTS = (
    "Print where your windows of 8 begin on 20 and on 21 pixels, with an overlap of 0.5, and compare with the task's "
    "last lines."
)
BELL = (
    "Plot the weights of one row of a window of 8. How far from its middle, in pixels, do they fall to 0.61 of the "
    "largest, and what does step 2 say?"
)
ERROR = (
    "Let a model raise an error on purpose, catch it, and count the hooks and print model.training. Which lines of "
    "yours were never reached?"
)
MODES = (
    "Put one part of a network in eval mode and the rest in train mode, call your function, and print .training of both. "
    "What does step 4 say of frozen parts?"
)

# Lines of the reference that several variants change.
JOINED = "joined = (j + 1) * widths[i]"
CAT = "return self.nodes[f\"{i}_{j}\"](torch.cat([*rows[i], up], dim=1))"
PAD = 'up = F.pad(up, (0, missing_columns, 0, missing_rows), mode="replicate")'
HEADS = "depths = range(1, self.levels + 1) if deep_supervision else [self.levels]"
REFUSED = """\
if str(deepest) not in self.heads:
    raise ValueError(f"no head at depth {depth}; there are {', '.join(self.heads)}")"""
NODE = 'self.nodes[f"{i}_{j}"] = DoubleConv(joined, widths[i], batch_norm=batch_norm)'
UP = 'self.ups[f"{i}_{j}"] = nn.ConvTranspose2d(widths[i + 1], widths[i], kernel_size=2, stride=2)'
ENCODED = 'x = self.nodes[f"{i}_0"](F.max_pool2d(x, 2) if i else x)'
OUTPUTS = "return logits if self.training else torch.stack(logits).mean(dim=0)"
ONE_DEPTH = 'return self.heads[str(deepest)](rows[0][deepest])'
DEEPEST = "deepest = self.levels if depth is None else depth"
LOGITS = "logits = [self.heads[str(d)](rows[0][d]) for d in range(1, deepest + 1)]"
WIDTHS = "widths = [*features, 2 * features[-1]]"
TENSOR = "if isinstance(outputs, torch.Tensor):\n    return self.loss(outputs, target)"
ALIKE = "weights = [1.0] * len(outputs) if self.weights is None else self.weights"
LENGTHS = 'if len(outputs) != len(weights):\n    raise ValueError(f"{len(weights)} weights for {len(outputs)} outputs")'
RESIZED = """\
if logits.shape[-2:] != target.shape[-2:]:
    logits = F.interpolate(logits, size=target.shape[-2:], mode="bilinear", align_corners=False)"""
TOTAL = "total = total + weight * self.loss(logits, target)"
MEAN = "return total / sum(weights)"
STRIDE = "stride = max(1, round(window * (1 - overlap)))"
FLUSH = "return starts if starts[-1] == length - window else [*starts, length - window]"
GAUSS = "return torch.exp(-0.5 * ((torch.arange(side) - (side - 1) / 2) / (side / 8)) ** 2)"
PADDED = 'return F.pad(image, (0, columns, 0, rows), mode="reflect" if fits else "replicate")'
OVERLAP = 'if not 0 <= overlap < 1:\n    raise ValueError(f"0 ≤ overlap < 1 is needed, not {overlap}")'
MODE = 'if mode != "gaussian":\n    raise ValueError(f\'mode is "constant" or "gaussian", not {mode!r}\')'
GROUPS = "for first in range(0, len(places), batch_size):"
NO_GRAD = "with torch.no_grad():\n    answers = predict("
DTYPE = "dtype = torch.promote_types(answers.dtype, torch.float32)"
DIVIDED = "return (total / weight_sum)"
ADDED = "weight_sum[n, :, top : top + h, left : left + w] += weights"
GATES = "gates = {module: name for name, module in model.named_modules() if isinstance(module, AttentionGate)}"
KEEP = "maps[gates[gate]] = F.interpolate(alpha, size=size, mode=\"bilinear\", align_corners=False)"
RUN = """\
try:
    with torch.set_grad_enabled(False):
        model.eval()(pictures)
finally:
    for hook in hooks:
        hook.remove()
    for part, mode in before:
        part.training = mode"""
RETURN_MAPS = "return maps"

TASK_4_1 = (
    Wrong("4.1", "only_the_node_before", "A node sees the one before it and the one below, as in a plain grid.",
          "a node sees the last node of its row alone, and the first ones are not joined",
          ROW,
          ((JOINED, "joined = 2 * widths[i]"), (CAT, CAT.replace("*rows[i], up", "rows[i][-1], up")))),
    Wrong("4.1", "only_the_encoder_joined", "A skip comes from the encoder.",
          "a node sees the encoder's node of its row and the one below, but none of those between",
          ROW,
          ((JOINED, "joined = 2 * widths[i]"), (CAT, CAT.replace("*rows[i], up", "rows[i][0], up")))),
    Wrong("4.1", "not_pooled", "Every level pools by itself.",
          "the picture is not made smaller on the way down",
          "Print the shape of X[0][0], X[1][0] and X[2][0] for a picture of 64×64. What does step 1 do in front of X[1][0]?",
          ((ENCODED, 'x = self.nodes[f"{i}_0"](x)'), (UP, UP.replace("kernel_size=2, stride=2", "kernel_size=1")))),
    Wrong("4.1", "mean_pooled", "Pooling is pooling.",
          "the way down pools by the mean",
          "Put in a picture of one bright pixel on black. How bright is it after each pool? Then look up the kind of "
          "pool that step 1 names.",
          ((ENCODED, ENCODED.replace("max_pool2d", "avg_pool2d")),)),
    Wrong("4.1", "not_aligned", "Half of a size, doubled, is the size.",
          "the upsampled map is joined as it is, so that odd sizes do not fit",
          "Try a picture of 25×37. What is the size after a pool and an upsampling, and what is it in the row?",
          ((PAD, ""),)),
    Wrong("4.1", "bottleneck_not_doubled", "The last entry of features is the bottleneck.",
          "the lowest level has as many channels as the one above it",
          "Count the parameters of the two networks below the task. Then read the line that says how many channels "
          "level L has.",
          ((WIDTHS, "widths = [*features, features[-1]]"),)),
    Wrong("4.1", "list_when_evaluated", "Deep supervision gives all outputs, always.",
          "all outputs come back in eval mode too, and not their mean",
          WHICH_MODE,
          ((OUTPUTS, "return logits"),)),
    Wrong("4.1", "mean_when_training", "The mean of all outputs is the output.",
          "the mean of all outputs comes back in train mode too",
          WHICH_MODE,
          ((OUTPUTS, "return torch.stack(logits).mean(dim=0)"),)),
    Wrong("4.1", "last_when_evaluated", "In use, the deepest output is the best one.",
          "in eval mode the deepest output comes back, and not the mean of all",
          WHICH_MODE,
          ((OUTPUTS, "return logits if self.training else logits[-1]"),)),
    Wrong("4.1", "deepest_first", "The deepest output is the main one, so it comes first.",
          "the outputs come from the deepest to the shallowest",
          "Cut the network to depth 1 and compare its logits with each entry of the list. Which place does the table give "
          "to the shallowest?",
          ((LOGITS, f"{LOGITS}[::-1]"),)),
    Wrong("4.1", "head_on_the_encoder", "Every node of the top row has a head.",
          "the outputs begin with the encoder's node X[0][0], and the deepest is missing",
          "How many nodes has the top row, and how many of them have seen anything from below? Step 4 counts the heads.",
          ((LOGITS, LOGITS.replace("rows[0][d]", "rows[0][d - 1]")), (ONE_DEPTH, ONE_DEPTH.replace("rows[0][deepest]", "rows[0][deepest - 1]")))),
    Wrong("4.1", "all_nodes_computed", "A depth only chooses among the outputs.",
          "all nodes are computed for every depth",
          CUT,
          ((DEEPEST, "chosen = self.levels if depth is None else depth\ndeepest = self.levels"),
           (REFUSED, REFUSED.replace("str(deepest)", "str(chosen)")),
           (ONE_DEPTH, "return self.heads[str(chosen)](rows[0][chosen])"))),
    Wrong("4.1", "depth_not_checked", "Nobody asks for a depth that is not there.",
          "a depth that has no head gives the deepest output",
          DEPTHS,
          ((REFUSED, "if str(deepest) not in self.heads:\n    deepest, depth = self.levels, self.levels"),)),
    Wrong("4.1", "unused_heads", "All heads are built, used or not.",
          "the heads of all depths are built without deep supervision, too",
          "List the parameters that have no gradient after a backward pass without deep supervision. What does step 4 say?",
          ((HEADS, "depths = range(1, self.levels + 1)"),
           (REFUSED, REFUSED.replace("if str(deepest)", "if not self.deep_supervision and deepest != self.levels or str(deepest)")))),
    Wrong("4.1", "one_upsampling_a_level", "Upsampling from one level to the next is always the same.",
          "all nodes of a row share one upsampling",
          "Count your transposed convolutions for three levels. Step 3 says for what there is one each: how many are that?",
          ((UP, 'if f"{i}_1" not in self.ups:\n    self.ups[f"{i}_1"] = nn.ConvTranspose2d(widths[i + 1], widths[i], kernel_size=2, stride=2)'),
           ('up = self.ups[f"{i}_{j}"]', 'up = self.ups[f"{i}_1"]'))),
    Wrong("4.1", "sigmoid_at_the_end", "The output is a probability.",
          "the outputs are squeezed into 0 to 1",
          "Print the smallest and the largest value of the output. Is that what a logit may be?",
          ((LOGITS, "logits = [torch.sigmoid(self.heads[str(d)](rows[0][d])) for d in range(1, deepest + 1)]"),
           (ONE_DEPTH, f"return torch.sigmoid({ONE_DEPTH.removeprefix('return ')})"))),
    Wrong("4.1", "batch_norm_ignored", "Norms do no harm.",
          "batch_norm is not handed on to the nodes",
          "Print a network that is built with batch_norm=False and look for norms.",
          ((NODE, NODE.replace(", batch_norm=batch_norm", "")),)),
    Wrong("4.1", "features_changed", "The list is mine.",
          "the caller's list of features grows by one entry",
          "Make a list, build a network with it, and print the list.",
          ((WIDTHS, "features.append(2 * features[-1])\nwidths = features"),)),
)

TASK_4_2 = (
    Wrong("4.2", "sum_for_mean", "The losses are summed up.",
          "the weighted losses are summed and not divided by the sum of the weights",
          SUM,
          ((MEAN, "return total"),)),
    Wrong("4.2", "divided_by_the_count", "A mean divides by how many there are.",
          "the weighted sum is divided by the number of outputs",
          SUM,
          ((MEAN, "return total / len(outputs)"),)),
    Wrong("4.2", "weights_ignored", "All outputs are alike.",
          "every output counts alike, whatever the weights",
          "Give one output all the weight. Do you get its loss alone?",
          ((TOTAL, "total = total + self.loss(logits, target)"), (MEAN, "return total / len(outputs)")),
          also=(((ALIKE, "weights = [1.0] * len(outputs)"),),)),
    Wrong("4.2", "mean_of_the_logits", "The loss of the mean is the mean of the losses.",
          "the logits are averaged first, and the loss is taken once",
          "Take two outputs with logits +3 and −3. What is the loss of their mean, and what the mean of their losses?",
          ((RESIZED, ""), (TOTAL, """\
if logits.shape[-2:] != target.shape[-2:]:
    logits = F.interpolate(logits, size=target.shape[-2:], mode="bilinear", align_corners=False)
total = total + weight * logits"""), (MEAN, "return self.loss(total / sum(weights), target)")),
          also=(((RESIZED, ""), (TOTAL, """\
if logits.shape[-2:] != target.shape[-2:]:
    logits = F.interpolate(logits, size=target.shape[-2:], mode="bilinear", align_corners=False)
total = total + logits"""), (MEAN, "return self.loss(total / len(outputs), target)")),)),
    Wrong("4.2", "lengths_not_compared", "zip takes care of it.",
          "weights and outputs of other lengths go unnoticed",
          "Hand in two weights for three outputs. What becomes of the third one?",
          ((LENGTHS, ""), (MEAN, "return total / sum(weights[: len(outputs)])")),
          also=(((LENGTHS, ""),),)),
    Wrong("4.2", "lists_only", "Outputs always come in a list.",
          "one tensor is taken apart along its batch, as if it were a list",
          "Call the loss with one tensor of two pictures, as a network in eval mode gives it. What are the 'outputs' then?",
          ((TENSOR, ""),)),
    Wrong("4.2", "tuples_taken_for_one", "Outputs come in a list.",
          "a tuple of outputs goes to the criterion as if it were one tensor",
          "Call the loss with a tuple of two outputs. Which of your branches takes it?",
          ((TENSOR, "if not isinstance(outputs, list):\n    return self.loss(outputs, target)"),)),
    Wrong("4.2", "target_shrunk", "The mask is brought to the size of the output.",
          "the target is shrunk to the size of small logits",
          "Print the shapes of what goes into the criterion for an output of a quarter of the size. Which of the two does "
          "step 3 resize?",
          ((RESIZED, ""),
           (TOTAL, 'truth = F.interpolate(target, size=logits.shape[-2:], mode="nearest")\n'
                   "total = total + weight * self.loss(logits, truth)"))),
    Wrong("4.2", "enlarged_by_nearest", "interpolate enlarges.",
          "small logits are enlarged by repeating pixels",
          "Enlarge [0, 1] to four values with your call and print them. Which mode does F.interpolate have if you name none?",
          ((RESIZED, RESIZED.replace(', mode="bilinear", align_corners=False', "")),)),
    Wrong("4.2", "not_resized", "All outputs have the size of the picture.",
          "logits of another size go to the criterion as they are",
          "Hand in an output of half the height and width. What does step 3 do with it?",
          ((RESIZED, ""),)),
    Wrong("4.2", "heights_alone", "Width follows height.",
          "only the heights of logits and mask are compared",
          "Hand in an output that is as high as the mask and half as wide. What does step 3 ask for?",
          ((RESIZED, RESIZED.replace("logits.shape[-2:] != target.shape[-2:]", "logits.shape[-2] != target.shape[-2]")),)),
    Wrong("4.2", "count_kept", "There are always as many outputs.",
          "without weights, the number of outputs of the first call is kept for all later ones",
          "Call one loss without weights with two outputs and then with three. What has it written into itself the first time?",
          ((ALIKE, "if self.weights is None:\n    self.weights = [1.0] * len(outputs)\nweights = self.weights"),)),
    Wrong("4.2", "shallow_detached", "The shallow outputs only watch.",
          "all outputs but the last are cut off from the gradient",
          "Call backward and look at the gradient of each output. Which of them learn?",
          ((TOTAL, "logits = logits if logits is outputs[-1] else logits.detach()\n" + TOTAL),)),
    Wrong("4.2", "weights_normalised_in_place", "The weights may be divided once and for all.",
          "the caller's list of weights is changed",
          "Make a list of weights, build the loss, call it, and print the list.",
          ((("self.weights = weights"),
            "self.weights = weights\nif weights is not None:\n    weights[:] = [weight / sum(weights) for weight in list(weights)]"),)),
    Wrong("4.2", "none_means_the_last", "Without weights, the main output counts.",
          "without weights the last output alone counts",
          "What does the task say that weights=None means? Try two outputs, one right and one wrong.",
          ((ALIKE, "weights = [0.0] * (len(outputs) - 1) + [1.0] if self.weights is None else self.weights"),)),
)

TASK_4_3 = (
    Wrong("4.3", "end_not_covered", "The stride takes the windows to the end.",
          "where the stride does not come out even, no window covers the last rows and columns",
          STARTS,
          ((FLUSH, "return starts"), (DIVIDED, "return (total / weight_sum.clamp_min(1e-9))")),
          also=(((FLUSH, "return starts"),),)),
    Wrong("4.3", "last_window_twice", "A last window is always added.",
          "a window is added at the end even where one ends there already",
          STARTS,
          ((FLUSH, "return [*starts, length - window]"),)),
    Wrong("4.3", "stride_is_the_overlap", "Overlap times window is the step.",
          "the stride is the overlap's share of the window, not the rest of it",
          "With an overlap of 0.25, how many pixels of 8 do two neighbours share, and how many lie between their beginnings?",
          ((STRIDE, "stride = max(1, round(window * overlap))"),)),
    Wrong("4.3", "stride_rounded_down", "int rounds.",
          "the stride is rounded down",
          "Work out step 1 for a window of 8 with an overlap of 0.3, with pencil and paper. What does int(5.6) give?",
          ((STRIDE, STRIDE.replace("round(", "int(")),)),
    Wrong("4.3", "stride_of_zero", "A stride is never so small.",
          "a large overlap of a small window gives a stride of 0",
          "Work out the stride of a window of 8 with an overlap of 0.95. From which number on can you not go on?",
          ((STRIDE, "stride = round(window * (1 - overlap))"),)),
    Wrong("4.3", "not_divided", "Adding up is blending.",
          "the answers are added up and not divided by the weights",
          "Let predict return its input, and compare the result with the picture. Where is it twice as large, or four times?",
          ((DIVIDED, "return total"),)),
    Wrong("4.3", "divided_by_the_count", "Divide by how many windows there are.",
          "the sum is divided by how many windows see a pixel, not by their weights there",
          "Let predict return its input, with mode gaussian. Where is the result too small? What was it multiplied by there?",
          ((ADDED, ADDED.replace("+= weights", "+= 1")),)),
    Wrong("4.3", "last_one_wins", "A later window knows better.",
          "the last window that writes a pixel decides, and nothing is blended",
          "Let predict answer each window with a random number of its own. How many different values should the "
          "overlap of two windows show?",
          (("total[n, :, top : top + h, left : left + w] += weights * answer",
            "total[n, :, top : top + h, left : left + w] = answer"), (ADDED, ""),
           ("weight_sum = torch.zeros_like(total[:, :1])", "weight_sum = torch.ones_like(total[:, :1])"))),
    Wrong("4.3", "gaussian_ignored", "The modes hardly differ.",
          'mode="gaussian" weighs all pixels alike',
          BELL,
          ((GAUSS, "return torch.ones(side)"),)),
    Wrong("4.3", "sigma_quarter", "σ is what looks good.",
          "the Gaussian weights are twice as wide",
          BELL,
          ((GAUSS, GAUSS.replace("side / 8", "side / 4")),)),
    Wrong("4.3", "half_forgotten", "A bell is exp(−x²).",
          "the factor ½ is missing in the exponent of the Gaussian weights",
          BELL,
          ((GAUSS, GAUSS.replace("-0.5 * ", "-")),)),
    Wrong("4.3", "zeros_padded", "Beyond the border there is nothing.",
          "small pictures are padded with zeros",
          "Print the least value of a window that is larger than a picture of ones. Which border has a network never seen?",
          ((PADDED, "return F.pad(image, (0, columns, 0, rows))"),)),
    Wrong("4.3", "white_padded", "Beyond the border it is white.",
          "small pictures are padded with a value that is larger than theirs",
          "Print the largest value of a window that is larger than a picture of ones. Which border has a network never seen?",
          ((PADDED, "return F.pad(image, (0, columns, 0, rows), value=255)"),)),
    Wrong("4.3", "reflect_only", "Mirroring always works.",
          "small pictures are always mirrored, which fails where more is added than there is",
          "Try a picture of 2×3 pixels and a window of 8. What does F.pad say, and what does step 3?",
          ((PADDED, 'return F.pad(image, (0, columns, 0, rows), mode="reflect")'),)),
    Wrong("4.3", "not_cut_back", "The result has the size of what was computed.",
          "the padding of small pictures stays in the result",
          "Print the shapes of a picture that is smaller than the window, and of its result.",
          (("[..., : image.shape[-2], : image.shape[-1]]", ""),)),
    Wrong("4.3", "not_padded", "Pictures are larger than windows.",
          "pictures smaller than the window are not padded",
          "Try a picture of 5×6 and a window of 8. How many windows are there, and of which size?",
          (("large = padded(image, h, w)", "large = image\nh, w = min(h, image.shape[-2]), min(w, image.shape[-1])\n"
            "weights = window_weights(h, w, mode).to(image.device)"),),
          also=((("large = padded(image, h, w)", "large = image"),),)),
    Wrong("4.3", "all_at_once", "A GPU likes large batches.",
          "all windows go to predict in one batch",
          "Print how many windows predict gets. What becomes of your memory for a picture of 10,000×10,000?",
          ((GROUPS, "for first in [0]:"), ("group = places[first : first + batch_size]", "group = places"))),
    Wrong("4.3", "gradients_on", "Without backward there is no graph.",
          "predict runs with gradients on, so that the memory of every window is kept",
          "Print requires_grad of the result. What does step 6 say, and where does the memory go?",
          ((NO_GRAD, "with torch.enable_grad():\n    answers = predict("), (DIVIDED, "return (total / weight_sum).detach()"))),
    Wrong("4.3", "summed_in_float16", "The sum has the dtype of what is summed.",
          "float16 answers are summed up in float16",
          "Let predict give 1/3 in float16 and use a large overlap. How far is the result from 1/3, and which dtype has it?",
          ((DTYPE, "dtype = answers.dtype"),)),
    Wrong("4.3", "mode_not_checked", "Any other word means constant.",
          "an unknown mode is taken for the constant one",
          "Misspell the mode. What does your function do, and what does its docstring say under Raises?",
          ((MODE, 'if mode != "gaussian":\n    return torch.ones(height, width)'),)),
    Wrong("4.3", "overlap_not_checked", "Nobody asks for an overlap of 1.",
          "an overlap of 1 or below 0 is not refused",
          "Try overlaps of 1, of 1.5 and of −0.1. What does the docstring say under Raises?",
          ((OVERLAP, ""),)),
    Wrong("4.3", "square_windows_only", "A window is a square.",
          "a window with two numbers is taken for a square of the first one",
          "Ask for a window of (6, 9) and print the shape that predict gets.",
          (("h, w = (window, window) if isinstance(window, int) else window",
            "h = w = window if isinstance(window, int) else window[0]"),)),
    Wrong("4.3", "first_picture_only", "One large picture at a time.",
          "only the first picture of the batch is computed",
          "Put in two different pictures at once, and compare both results with those of each alone.",
          (("for n in range(len(image)) for top", "for n in [0] for top"), (DIVIDED, "return (total / weight_sum)[:1].expand_as(total)")),
          also=((("for n in range(len(image)) for top", "for n in [0] for top"), (DIVIDED, "return (total / weight_sum)[:1]")),
                (("for n in range(len(image)) for top", "for n in [0] for top"),))),
)

TASK_4_4 = (
    Wrong("4.4", "hooks_left", "A hook goes when the function ends.",
          "the hooks stay on the model",
          "Count model's hooks before and after: sum(len(m._forward_hooks) for m in model.modules()). What did "
          "register_forward_hook return?",
          ((RUN, RUN.replace("    for hook in hooks:\n        hook.remove()\n", "")),)),
    Wrong("4.4", "all_hooks_cleared", "The hooks on a gate are mine.",
          "the hooks that were on the gates before are gone as well",
          "Register a hook of your own on a gate before you call your function. Is it called afterwards? Whose hook does a "
          "handle remove?",
          ((RUN, RUN.replace("    for hook in hooks:\n        hook.remove()", "    for gate in gates:\n        gate._forward_hooks.clear()")),)),
    Wrong("4.4", "not_cleaned_after_an_error", "The lines at the end are always reached.",
          "hooks and modes stay as they are where the model raises an error",
          ERROR,
          ((RUN, """\
with torch.set_grad_enabled(False):
    model.eval()(pictures)
for hook in hooks:
    hook.remove()
for part, mode in before:
    part.training = mode"""),)),
    Wrong("4.4", "left_in_eval_mode", "Eval mode is where one looks.",
          "the model is in eval mode afterwards",
          MODES,
          ((RUN, RUN.replace("\n    for part, mode in before:\n        part.training = mode", "")),)),
    Wrong("4.4", "frozen_parts_thawed", "One switch sets the mode of a model.",
          "all parts get the mode of the whole, frozen ones as well",
          MODES,
          (("before = [(part, part.training) for part in model.modules()]", "was_training = model.training"),
           (RUN, RUN.replace("    for part, mode in before:\n        part.training = mode", "    model.train(was_training)")))),
    Wrong("4.4", "in_the_mode_it_has", "The mode does not matter for looking.",
          "the model runs in the mode that it has, so BatchNorm's averages move",
          "Print the running averages of a BatchNorm before and after, for a model in train mode. Which mode does step 2 say?",
          ((RUN, RUN.replace("model.eval()(pictures)", "model(pictures)")),)),
    Wrong("4.4", "gradients_on", "Without backward there are no gradients.",
          "the model runs with gradients on",
          "What does torch.is_grad_enabled() say inside the model's forward? Step 2 names what it should.",
          ((RUN, RUN.replace("    with torch.set_grad_enabled(False):\n        model.eval()(pictures)", "    model.eval()(pictures)")),)),
    Wrong("4.4", "gradients_left_off", "Gradients are switched off for the run.",
          "gradients stay switched off for all that runs afterwards",
          "Print torch.is_grad_enabled() after your function has returned. What would a training make of that?",
          ((RUN, RUN.replace("    with torch.set_grad_enabled(False):\n        model.eval()(pictures)",
                             "    torch.set_grad_enabled(False)\n    model.eval()(pictures)")),)),
    Wrong("4.4", "weights_frozen", "Without gradients means requires_grad=False.",
          "the weights' requires_grad is another one afterwards",
          "Print requires_grad of a few weights before and after. What in step 2 keeps gradients off without touching the weights?",
          ((RUN, RUN.replace("        model.eval()(pictures)", "        model.requires_grad_(False).eval()(pictures)")),),
          also=(((RUN, RUN.replace("        model.eval()(pictures)", "        model.requires_grad_(False).eval()(pictures)\n"
                                   "        model.requires_grad_(True)")),),)),
    Wrong("4.4", "not_resized", "α is as large as it is.",
          "every map has the size of its own level",
          "Print the shapes of your maps and that of the pictures.",
          ((KEEP, "maps[gates[gate]] = alpha"),)),
    Wrong("4.4", "enlarged_by_nearest", "interpolate enlarges.",
          "the maps are enlarged by repeating pixels",
          "Show one map in grey: do you see squares? Which mode does F.interpolate have if you name none?",
          ((KEEP, KEEP.replace(', mode="bilinear", align_corners=False', "")),)),
    Wrong("4.4", "read_afterwards", "α stays in the gate, so it can be read at the end.",
          "α is read from all gates after the run, of those that did not run as well",
          "Call one gate by itself, then record a model that holds it and does not use it. Whose α is in your dict?",
          ((RETURN_MAPS, """\
maps.clear()
for module, name in gates.items():
    if torch.is_tensor(getattr(module, "alpha", None)):
        maps[name] = F.interpolate(module.alpha.detach(), size=size, mode="bilinear", align_corners=False)
return maps"""),)),
    Wrong("4.4", "numbered_names", "A gate's name is its number.",
          "the maps are numbered in place of named",
          "Print the names that model.named_modules() gives, and the keys of your dict.",
          ((KEEP, KEEP.replace("maps[gates[gate]]", "maps[str(len(maps))]")),)),
    Wrong("4.4", "order_of_the_model", "named_modules gives the order.",
          "the maps come in the order in which the model lists its gates",
          "Write a model that calls its last gate first, and print the keys of your dict. Which order does step 3 ask for?",
          ((RETURN_MAPS, "return {name: maps[name] for name in gates.values() if name in maps}"),)),
    Wrong("4.4", "gated_skip_kept", "What a gate gives is its attention.",
          "the mean of the weighted skip is kept in place of α",
          "What is the range of your maps, and can α be below 0 or above 1? What does a gate return, and what does it keep?",
          (("alpha = gate.alpha.detach()", "alpha = output.detach().mean(dim=1, keepdim=True)"),)),
    Wrong("4.4", "first_gate_only", "One gate is enough.",
          "the first gate alone is recorded",
          "How many gates has SkipUNet with three levels, and how many entries has your dict?",
          (("hooks = [gate.register_forward_hook(keep) for gate in gates]", "hooks = [gate.register_forward_hook(keep) for gate in list(gates)[:1]]"),)),
    Wrong("4.4", "runs_twice", "A first pass warms up.",
          "the model runs twice",
          "Count how often the model's forward is called. Step 2 says how often.",
          ((RUN, RUN.replace("        model.eval()(pictures)", "        model.eval()(pictures)\n        model(pictures)")),)),
    Wrong("4.4", "error_swallowed", "An error is no reason to stop.",
          "an error of the model is kept from the caller",
          "Let a model raise an error on purpose. Does the caller of your function get to know?",
          ((RUN, RUN.replace("finally:", "except RuntimeError:\n    pass\nfinally:")),)),
)

WRONG = [*TASK_4_1, *TASK_4_2, *TASK_4_3, *TASK_4_4]
