"""Known-wrong variants of Part 2: skip connections."""

from solutions.wrong.variant import Wrong

# Lines of the reference that several variants change.
CONCAT_CONV = "self.conv = nn.Conv2d(decoder_channels + skip_channels, decoder_channels, kernel_size=3, padding=1)"
CONCAT = "both = torch.cat([decoder_features, skip_features], dim=1)"
RETURN_CONCAT = "return self.conv(both)"
PROJECT = "self.project = nn.Identity() if same else nn.Conv2d(skip_channels, decoder_channels, kernel_size=1)"
RETURN_SUM = "return decoder_features + self.project(skip_features)"
GATE_CONV = "self.gate_conv = nn.Conv2d(gate_channels, inner_channels, kernel_size=1)"
SKIP_CONV = "self.skip_conv = nn.Conv2d(skip_channels, inner_channels, kernel_size=1)"
ALPHA_CONV = "self.alpha_conv = nn.Conv2d(inner_channels, 1, kernel_size=1)"
RESIZE = 'gate = F.interpolate(gate, size=skip.shape[-2:], mode="bilinear", align_corners=False)'
ASKED = "asked = F.relu(self.gate_conv(gate) + self.skip_conv(skip))"
ALPHA = "self.alpha = torch.sigmoid(self.alpha_conv(asked))"
RETURN_GATED = "return skip * self.alpha"
GATE = "self.gate = AttentionGate(decoder_channels, skip_channels)"
GATED = "gated = self.gate(decoder_features, skip_features)"
RETURN_ATTENTION = "return self.conv(torch.cat([decoder_features, gated], dim=1))"
TRAINABLE = "trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}"
LOSS = "loss = criterion(model(images), masks)"
GRADIENTS = "gradients = torch.autograd.grad(loss, list(trainable.values()), allow_unused=True)"
NORM = "norms[name] = gradient.norm().item()"
FIRST = '"first_encoder_grad": "encoders.0."'
LAST = '"last_decoder_grad": f"decoders.{len(model.decoders) - 1}."'
COUNT = "sum(parameter.numel() for parameter in model.parameters())"
BLOCK_NORM = "sum(norm**2 for parameter, norm in norms.items() if parameter.startswith(block)) ** 0.5"
WITH_BACKWARD = """\
def gradient_norms(model, images, masks, criterion):
    {before}
    loss = criterion(model(images), masks)
    loss.backward()
    norms = {{name: 0.0 for name, _ in model.named_parameters()}}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            norms[name] = parameter.grad.norm().item()
    {after}
    return norms"""

TASK_2_1 = (
    Wrong("2.1", "added", "Joining means adding; the convolution follows.", "", "",
          ((CONCAT_CONV, CONCAT_CONV.replace("decoder_channels + skip_channels", "decoder_channels")),
           (CONCAT, "both = decoder_features + skip_features"))),
    Wrong("2.1", "skip_forgotten", "The skip is taken and then forgotten.", "", "",
          ((CONCAT_CONV, CONCAT_CONV.replace("decoder_channels + skip_channels", "decoder_channels")),
           (CONCAT, "both = decoder_features"))),
    Wrong("2.1", "joined_along_the_batch", "torch.cat joins along the channels by itself.", "", "",
          ((CONCAT, "both = torch.cat([decoder_features, skip_features])"),)),
    Wrong("2.1", "skip_channels_ignored", "The skip always has the decoder's channels.", "", "",
          ((CONCAT_CONV, CONCAT_CONV.replace("decoder_channels + skip_channels", "2 * decoder_channels")),)),
    Wrong("2.1", "keeps_all_channels", "A convolution gives as many channels as it gets.", "", "",
          ((CONCAT_CONV, CONCAT_CONV.replace(", decoder_channels,", ", decoder_channels + skip_channels,")),)),
    Wrong("2.1", "not_convolved", "The concatenation is the joined skip.", "", "",
          ((CONCAT_CONV, ""), (RETURN_CONCAT, "return both"))),
    Wrong("2.1", "kernel_1", "A 1×1 convolution is enough to mix channels.", "", "",
          ((CONCAT_CONV, CONCAT_CONV.replace("kernel_size=3, padding=1", "kernel_size=1")),)),
    Wrong("2.1", "no_padding", "Convolutions keep height and width.", "", "",
          ((CONCAT_CONV, CONCAT_CONV.replace("kernel_size=3, padding=1", "kernel_size=3")),)),
    Wrong("2.1", "reflected_border", "Padding is padding, whatever stands in it.", "", "",
          ((CONCAT_CONV, CONCAT_CONV.replace("padding=1", 'padding=1, padding_mode="reflect"')),)),
    Wrong("2.1", "relu_after", "A ReLU follows every convolution.", "", "",
          ((RETURN_CONCAT, "return F.relu(self.conv(both))"),)),
    Wrong("2.1", "norm_and_relu_after", "Convolution, BatchNorm and ReLU belong together.", "", "",
          ((CONCAT_CONV, f"{CONCAT_CONV}\nself.conv = nn.Sequential(self.conv, nn.BatchNorm2d(decoder_channels), nn.ReLU())"),)),
    Wrong("2.1", "double_conv", "A DoubleConv follows every concatenation, as in the U-Net.", "", "",
          ((CONCAT_CONV, "self.conv = DoubleConv(decoder_channels + skip_channels, decoder_channels)"),)),
    Wrong("2.1", "skip_detached", "A skip only hands values over.", "", "",
          ((CONCAT, CONCAT.replace("skip_features]", "skip_features.detach()]")),)),
    Wrong("2.1", "skip_changed_in_place", "inplace=True saves memory at no cost.", "", "",
          ((CONCAT, CONCAT.replace("skip_features]", "F.relu(skip_features, inplace=True)]")),)),
    Wrong("2.1", "unused_layer", "A projection is built for every mode, needed or not.", "", "",
          ((CONCAT_CONV, f"{CONCAT_CONV}\nself.project = nn.Conv2d(skip_channels, decoder_channels, kernel_size=1)"),)),
    Wrong("2.1", "built_in_forward", "Layers can be made where they are used.", "", "",
          ((CONCAT_CONV, "self.decoder_channels = decoder_channels"),
           (RETURN_CONCAT, "return nn.Conv2d(both.shape[1], self.decoder_channels, 3, padding=1).to(both)(both)"))),
    Wrong("2.1", "float32_only", "Everything is float32.", "", "",
          ((RETURN_CONCAT, "return self.conv(both.float())"),)),
    Wrong("2.1", "cpu_only", "A module knows its device.", "", "",
          ((RETURN_CONCAT, 'return self.conv(both.to("cpu"))'),)),
    Wrong("2.1", "return_forgotten", "The last value of a function is what it gives back.", "", "",
          ((RETURN_CONCAT, "both = self.conv(both)"),)),
)

TASK_2_2 = (
    Wrong("2.2", "always_projected", "A 1×1 convolution does no harm where the channels agree.", "", "",
          ((PROJECT, "self.project = nn.Conv2d(skip_channels, decoder_channels, kernel_size=1)"),)),
    Wrong("2.2", "never_projected", "Encoder and decoder of one level have the same channels.", "", "",
          ((PROJECT, "self.project = nn.Identity()"),)),
    Wrong("2.2", "projects_the_decoder", "It does not matter which of the two is projected.", "", "",
          ((PROJECT, "self.project = nn.Identity() if same else nn.Conv2d(decoder_channels, skip_channels, kernel_size=1)"),
           (RETURN_SUM, "return self.project(decoder_features) + skip_features"))),
    Wrong("2.2", "kernel_3", "Every convolution of a U-Net is 3×3.", "", "",
          ((PROJECT, PROJECT.replace("kernel_size=1", "kernel_size=3, padding=1")),)),
    Wrong("2.2", "condition_reversed", "same and different mixed up.", "", "",
          ((PROJECT, PROJECT.replace("if same", "if not same")),)),
    Wrong("2.2", "channels_cut_off", "What is too much is cut off, what is missing is zero.", "", "",
          ((PROJECT, ""),
           (RETURN_SUM, """\
skip = skip_features[:, : decoder_features.shape[1]]
return decoder_features + F.pad(skip, (0, 0, 0, 0, 0, decoder_features.shape[1] - skip.shape[1]))"""))),
    Wrong("2.2", "sum_in_place", "a += b and a = a + b are the same.", "", "",
          ((RETURN_SUM, "decoder_features += self.project(skip_features)\nreturn decoder_features"),)),
    Wrong("2.2", "mean", "The mean keeps the scale.", "", "",
          ((RETURN_SUM, "return (decoder_features + self.project(skip_features)) / 2"),)),
    Wrong("2.2", "product", "Multiplying is how features are combined.", "", "",
          ((RETURN_SUM, "return decoder_features * self.project(skip_features)"),)),
    Wrong("2.2", "relu_after", "A ReLU follows the sum, as in ResNet.", "", "",
          ((RETURN_SUM, "return F.relu(decoder_features + self.project(skip_features))"),)),
    Wrong("2.2", "norm_after_projection", "A BatchNorm follows the projection, as in ResNet.", "", "",
          ((PROJECT, f"""\
{PROJECT}
if not same:
    self.project = nn.Sequential(self.project, nn.BatchNorm2d(decoder_channels))"""),)),
    Wrong("2.2", "skip_detached", "A skip only hands values over.", "", "",
          ((RETURN_SUM, "return decoder_features + self.project(skip_features.detach())"),)),
    Wrong("2.2", "projection_without_gradient", "The projection is fixed.", "", "",
          ((RETURN_SUM, "with torch.no_grad():\n    skip = self.project(skip_features)\nreturn decoder_features + skip"),)),
    Wrong("2.2", "built_in_forward", "Layers can be made where they are used.", "", "",
          ((PROJECT, ""),
           (RETURN_SUM, """\
before, after = skip_features.shape[1], decoder_features.shape[1]
if before != after:
    skip_features = nn.Conv2d(before, after, kernel_size=1).to(skip_features)(skip_features)
return decoder_features + skip_features"""))),
    Wrong("2.2", "joined_by_concatenation", "Concatenation and a convolution contain the sum.", "", "",
          ((PROJECT, "self.project = nn.Conv2d(decoder_channels + skip_channels, decoder_channels, kernel_size=1)"),
           (RETURN_SUM, "return self.project(torch.cat([decoder_features, skip_features], dim=1))"))),
    Wrong("2.2", "skip_dropped", "Where the channels differ, there is no skip.", "", "",
          ((PROJECT, "self.same = same"),
           (RETURN_SUM, "return decoder_features + skip_features if self.same else decoder_features"))),
    Wrong("2.2", "float32_only", "Everything is float32.", "", "",
          ((RETURN_SUM, "return (decoder_features + self.project(skip_features)).float()"),)),
)

TASK_2_3 = (
    Wrong("2.3", "no_sigmoid", "The last convolution gives the weights.", "", "",
          ((ALPHA, "self.alpha = self.alpha_conv(asked)"),)),
    Wrong("2.3", "no_relu", "The sigmoid already makes it non-linear.", "", "",
          ((ASKED, "asked = self.gate_conv(gate) + self.skip_conv(skip)"),)),
    Wrong("2.3", "relu_before_the_sum", "ReLU follows each convolution.", "", "",
          ((ASKED, "asked = F.relu(self.gate_conv(gate)) + F.relu(self.skip_conv(skip))"),)),
    Wrong("2.3", "softmax", "Attention is a softmax, so the weights of a picture sum to one.", "", "",
          ((ALPHA, "weight = self.alpha_conv(asked)\nself.alpha = weight.flatten(1).softmax(dim=1).view_as(weight)"),)),
    Wrong("2.3", "alpha_of_every_channel", "Every channel has its own weight.", "", "",
          ((ALPHA_CONV, ALPHA_CONV.replace("1, kernel_size", "skip_channels, kernel_size")),)),
    Wrong("2.3", "one_alpha_a_picture", "A weight a picture is enough, as in squeeze-and-excitation.", "", "",
          ((ALPHA, "self.alpha = torch.sigmoid(self.alpha_conv(asked)).mean(dim=(2, 3), keepdim=True).expand_as(skip[:, :1])"),)),
    Wrong("2.3", "inner_not_halved", "The inner width is that of the gate.", "", "",
          (("inner_channels = gate_channels // 2", "inner_channels = gate_channels"),)),
    Wrong("2.3", "inner_of_the_skip", "The inner width is half of the skip's.", "", "",
          (("inner_channels = gate_channels // 2", "inner_channels = skip_channels // 2"),)),
    Wrong("2.3", "kernel_3", "Every convolution of a U-Net is 3×3.", "", "",
          ((GATE_CONV, GATE_CONV.replace("kernel_size=1", "kernel_size=3, padding=1")),
           (SKIP_CONV, SKIP_CONV.replace("kernel_size=1", "kernel_size=3, padding=1")))),
    Wrong("2.3", "concatenated_inside", "Gate and skip are concatenated, as everything else.", "", "",
          ((ALPHA_CONV, ALPHA_CONV.replace("inner_channels", "2 * inner_channels")),
           (ASKED, "asked = F.relu(torch.cat([self.gate_conv(gate), self.skip_conv(skip)], dim=1))"))),
    Wrong("2.3", "not_resized", "Gate and skip have one size.", "", "",
          ((RESIZE, ""),)),
    Wrong("2.3", "nearest", "F.interpolate is bilinear by default.", "", "",
          ((RESIZE, "gate = F.interpolate(gate, size=skip.shape[-2:])"),)),
    Wrong("2.3", "always_doubled", "The gate comes from the level below, so it has half the size.", "", "",
          ((RESIZE, '''\
if gate.shape[-1] != skip.shape[-1]:
    gate = F.interpolate(gate, scale_factor=2, mode="bilinear", align_corners=False)'''),)),
    Wrong("2.3", "skip_resized", "It does not matter which of the two is resized.", "", "",
          ((RESIZE, 'skip = F.interpolate(skip, size=gate.shape[-2:], mode="bilinear", align_corners=False)'),)),
    Wrong("2.3", "returns_alpha", "A gate gives the weights.", "", "",
          ((RETURN_GATED, "return self.alpha"),)),
    Wrong("2.3", "weighs_the_gate", "The gate is what is gated.", "", "",
          ((RETURN_GATED, "return gate * self.alpha"),)),
    Wrong("2.3", "skip_added_again", "The weighted skip is added to the skip, as in a residual block.", "", "",
          ((RETURN_GATED, "return skip + skip * self.alpha"),)),
    Wrong("2.3", "skip_changed_in_place", "a *= b and a = a * b are the same.", "", "",
          ((RETURN_GATED, "skip *= self.alpha\nreturn skip"),)),
    Wrong("2.3", "alpha_detached", "Weights are no values to differentiate.", "", "",
          ((RETURN_GATED, "return skip * self.alpha.detach()"),)),
    Wrong("2.3", "alpha_not_kept", "alpha is a local value.", "", "",
          ((ALPHA, "alpha = torch.sigmoid(self.alpha_conv(asked))"), (RETURN_GATED, "return skip * alpha"))),
    Wrong("2.3", "alpha_kept_before_the_sigmoid", "alpha is what the last convolution gives.", "", "",
          ((ALPHA, "self.alpha = self.alpha_conv(asked)"), (RETURN_GATED, "return skip * torch.sigmoid(self.alpha)"))),
    Wrong("2.3", "alpha_of_the_first_call", "alpha is kept once.", "", "",
          ((ALPHA, "alpha = torch.sigmoid(self.alpha_conv(asked))\nself.alpha = getattr(self, 'alpha', alpha)"),
           (RETURN_GATED, "return skip * alpha"))),
    Wrong("2.3", "alpha_kept_as_a_mean", "One number is enough to look at.", "", "",
          ((ALPHA, """\
alpha = torch.sigmoid(self.alpha_conv(asked))
self.alpha = 0.0 if alpha.is_meta else alpha.mean().item()"""),
           (RETURN_GATED, "return skip * alpha"))),
    Wrong("2.3", "gate_not_asked", "The skip knows best what it is worth.", "", "",
          ((ASKED, "asked = F.relu(self.skip_conv(skip))"),)),
    Wrong("2.3", "skip_not_asked", "The gate alone decides.", "", "",
          ((ASKED, "asked = F.relu(self.gate_conv(gate))"),)),
    Wrong("2.3", "float32_only", "Everything is float32.", "", "",
          ((RESIZE, RESIZE.replace("interpolate(gate,", "interpolate(gate.float(),")),)),
    Wrong("2.3", "cuda_only", "There is always a GPU.", "", "",
          ((RESIZE, RESIZE.replace("interpolate(gate,", "interpolate(gate.cuda(),")),)),
    Wrong("2.3", "gate_not_used", "The gate is built, and the skip goes around it.", "", "",
          ((GATED, "gated = skip_features"),)),
    Wrong("2.3", "no_gate", "attention is another word for concatenation.", "", "",
          ((GATE, ""), (GATED, "gated = skip_features"))),
    Wrong("2.3", "gate_and_skip_swapped", "The skip gates the decoder's features.", "", "",
          ((GATE, "self.gate = AttentionGate(skip_channels, decoder_channels)"),
           (GATED, "gated = self.gate(skip_features, decoder_features)"),
           (RETURN_ATTENTION, "return self.conv(torch.cat([gated, skip_features], dim=1))"))),
    Wrong("2.3", "gate_detached", "The decoder only says where to look.", "", "",
          ((GATED, "gated = self.gate(decoder_features.detach(), skip_features)"),)),
    Wrong("2.3", "only_the_gated_skip", "What the gate lets through is the output.", "", "",
          ((CONCAT_CONV,
            "self.conv = nn.Conv2d(skip_channels, decoder_channels, kernel_size=3, padding=1)"),
           (RETURN_ATTENTION, "return self.conv(gated)"))),
    Wrong("2.3", "relu_after", "A ReLU follows every convolution.", "", "",
          ((RETURN_ATTENTION, "return F.relu(self.conv(torch.cat([decoder_features, gated], dim=1)))"),)),
    Wrong("2.3", "not_convolved", "The concatenation is the joined skip.", "", "",
          ((CONCAT_CONV, ""),
           (RETURN_ATTENTION, "return torch.cat([decoder_features, gated], dim=1)"))),
    Wrong("2.3", "super_forgotten", "super().__init__() is decoration.", "", "",
          (("super().__init__()\n# TODO Task 2.3: build the gate and the convolution after the concatenation.", ""),)),
)

TASK_2_4 = (
    Wrong("2.4", "norms_of_the_weights", "parameter.norm() is the norm of its gradient.", "", "",
          ((NORM, "norms[name] = trainable[name].norm().item()"),)),
    Wrong("2.4", "sum_of_magnitudes", "Any norm will do.", "", "",
          ((NORM, "norms[name] = gradient.abs().sum().item()"),)),
    Wrong("2.4", "squared", "The root changes no order.", "", "",
          ((NORM, "norms[name] = gradient.square().sum().item()"),)),
    Wrong("2.4", "mean_magnitude", "The mean makes layers of different size comparable.", "", "",
          ((NORM, "norms[name] = gradient.abs().mean().item()"),)),
    Wrong("2.4", "signed_sum", "A norm is a sum.", "", "",
          ((NORM, "norms[name] = gradient.sum().item()"),)),
    Wrong("2.4", "own_criterion", "The criterion is accepted and forgotten.", "", "",
          ((LOSS, "loss = F.binary_cross_entropy_with_logits(model(images), masks)"),)),
    Wrong("2.4", "gradients_returned", "The gradient is its own norm.", "", "",
          ((NORM, "norms[name] = gradient"),)),
    Wrong("2.4", "weights_only", "Biases do not count.", "", "",
          (("norms = {name: 0.0 for name, _ in model.named_parameters()}",
            'norms = {name: 0.0 for name, _ in model.named_parameters() if name.endswith("weight")}'),
           (NORM, 'if name.endswith("weight"):\n    norms[name] = gradient.norm().item()'))),
    Wrong("2.4", "list_of_norms", "The order says which is which.", "", "",
          (("return norms", "return list(norms.values())"),
           ("norms = gradient_norms(model, images, masks, criterion)",
            "norms = dict(zip(dict(model.named_parameters()), gradient_norms(model, images, masks, criterion)))"))),
    Wrong("2.4", "one_norm_for_all", "One number says how large the gradient is.", "", "",
          (("return norms", 'return {"total": sum(norm**2 for norm in norms.values()) ** 0.5, **norms}'),)),
    Wrong("2.4", "unused_left_out", "Where there is no gradient, there is no entry.", "", "",
          (("norms = {name: 0.0 for name, _ in model.named_parameters()}", "norms = {}"),)),
    Wrong("2.4", "unused_crash", "Every parameter gets a gradient.", "", "",
          ((GRADIENTS, GRADIENTS.replace(", allow_unused=True", "")),)),
    Wrong("2.4", "frozen_crash", "Every parameter learns.", "", "",
          ((TRAINABLE, "trainable = dict(model.named_parameters())"),)),
    Wrong("2.4", "backward_leaves_gradients", "loss.backward() and done.", "", "",
          (("def gradient_norms", WITH_BACKWARD.format(before="model.zero_grad()", after="pass")),)),
    Wrong("2.4", "backward_on_old_gradients", "What .grad held before does not matter.", "", "",
          (("def gradient_norms", WITH_BACKWARD.format(
              before="old = {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}",
              after="for n, p in model.named_parameters():\n        p.grad = old[n]")),)),
    Wrong("2.4", "backward_and_zero_grad", "Cleaning up afterwards leaves no trace.", "", "",
          (("def gradient_norms", WITH_BACKWARD.format(before="model.zero_grad()", after="model.zero_grad()")),)),
    Wrong("2.4", "weights_stepped", "A backward pass is followed by a step.", "", "",
          (("return norms", """\
with torch.no_grad():
    for parameter, gradient in zip(trainable.values(), gradients):
        if gradient is not None:
            parameter -= 0.01 * gradient
return norms"""),)),
    Wrong("2.4", "only_the_first_model", "return belongs to the last line of the loop.", "", "",
          (("rows.append(row)", "rows.append(row)\nreturn rows"),)),
    Wrong("2.4", "dict_of_rows", "A dict by name is handier than a list.", "", "",
          (("rows = []", "rows = {}"), ("rows.append(row)", "rows[name] = row"))),
    Wrong("2.4", "name_missing", "The order says which is which.", "", "",
          (('"name": name,', ""),)),
    Wrong("2.4", "keys_of_my_own", "The names of the columns are free.", "", "",
          (('"forward_ms": forward_ms', '"forward_time": forward_ms'),)),
    Wrong("2.4", "memory_of_the_gpu_only", "Memory is the GPU's.", "", "",
          (('step_memory_mb(model, images, masks, criterion)', "torch.cuda.max_memory_allocated() / 1e6"),)),
    Wrong("2.4", "clock_read_once", "One reading of the clock is a time.", "", "",
          (("forward_ms, backward_ms = step_times_ms(model, images, masks, criterion)",
            "start = time.perf_counter()\nmodel(images)\nforward_ms = backward_ms = start - start"),)),
    Wrong("2.4", "tensors_counted", "len counts parameters.", "", "",
          ((COUNT, "len(list(model.parameters()))"),)),
    Wrong("2.4", "second_encoder", "The first encoder has number 1.", "", "",
          ((FIRST, FIRST.replace("encoders.0.", "encoders.1.")),)),
    Wrong("2.4", "first_decoder", "The last decoder stands first, at the top of the figure.", "", "",
          ((LAST, '"last_decoder_grad": "decoders.0."'),)),
    Wrong("2.4", "two_levels", "There are as many decoders as in the network at hand.", "", "",
          ((LAST, '"last_decoder_grad": "decoders.1."'),)),
    Wrong("2.4", "norms_added_up", "The norm of a block is the sum of its norms.", "", "",
          ((BLOCK_NORM, "sum(norm for parameter, norm in norms.items() if parameter.startswith(block))"),)),
    Wrong("2.4", "analysis_unfinished", "The table can wait.", "", "",
          (("def analyze_skip_connections", "def analyze_skip_connections(models, images, masks, criterion):\n    pass"),)),
)

WRONG = TASK_2_1 + TASK_2_2 + TASK_2_3 + TASK_2_4
