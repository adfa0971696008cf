"""Known-wrong variants of Part 1: the U-Net."""

from solutions.wrong.variant import Wrong

# Lines of the reference that several variants change.
NORM = "if batch_norm:\n    layers.append(nn.BatchNorm2d(out_channels))"
RELU = "layers.append(nn.ReLU(inplace=True))"
RETURN_BOTH = "return features, pooled"
TRANSPOSED = "nn.ConvTranspose2d(in_channels, up_channels, kernel_size=2, stride=2)"
BILINEAR = """self.up = nn.Sequential(
    nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
    nn.Conv2d(in_channels, up_channels, kernel_size=1),
)"""
JOINED = "self.double_conv = DoubleConv(up_channels + skip_channels, out_channels, batch_norm=batch_norm)"
PAD = """x = F.pad(
    x,
    (
        missing_columns // 2,
        missing_columns - missing_columns // 2,
        missing_rows // 2,
        missing_rows - missing_rows // 2,
    ),
)"""
CONCAT = "torch.cat([skip_features, x], dim=1)"
DOWN = "for width in features:"
BOTTLENECK = "self.bottleneck = DoubleConv(channels, 2 * channels, batch_norm=batch_norm)"
WIDER = BOTTLENECK + "\nchannels = 2 * channels"
UP = "self.decoders.append(DecoderBlock(channels, width, width, upsampling, batch_norm=batch_norm))"
BEGIN = "skips = []"
RETURN_LOGITS = "return self.head(x)"

TASK_1_1 = (
    Wrong("1.1", "returns_swapped", "The block's main result, the pooled map, comes first.",
          ((RETURN_BOTH, "return pooled, features"),)),
    Wrong("1.1", "pools_the_input", "The pool works on what comes into the block.",
          (("pooled = self.pool(features)", "pooled = self.pool(x)"),)),
    Wrong("1.1", "pools_before_convolving", "Pooling first and convolving then gives the same, only cheaper.",
          (("pooled = self.pool(features)", "pooled = self.double_conv(self.pool(x))"),)),
    Wrong("1.1", "no_padding", "As in the paper of 2015, convolutions are not padded.",
          (("kernel_size=3, padding=1", "kernel_size=3"),)),
    Wrong("1.1", "one_convolution", "One convolution a block is enough.",
          (("for channels in (in_channels, out_channels):", "for channels in (in_channels,):"),)),
    Wrong("1.1", "kernel_5", "A larger kernel sees more.",
          (("kernel_size=3, padding=1", "kernel_size=5, padding=2"),)),
    Wrong("1.1", "no_relu", "BatchNorm already makes it non-linear.",
          ((f"{NORM}\n{RELU}", NORM),)),
    Wrong("1.1", "no_last_relu", "ReLU stands between the two convolutions only.",
          (("self.layers = nn.Sequential(*layers)", "self.layers = nn.Sequential(*layers[:-1])"),)),
    Wrong("1.1", "leaky_relu", "Any ReLU will do.",
          (("nn.ReLU(inplace=True)", "nn.LeakyReLU(0.1, inplace=True)"),)),
    Wrong("1.1", "no_batch_norm", "The paper has no BatchNorm, so it can stay away.",
          ((", bias=not batch_norm", ""), (f"{NORM}\n{RELU}", RELU))),
    Wrong("1.1", "norm_after_relu", "The order of BatchNorm and ReLU does not matter.",
          ((f"{NORM}\n{RELU}", f"{RELU}\n{NORM}"),)),
    Wrong("1.1", "one_norm_for_both", "Both norms have the same width, so one module serves twice.",
          (("layers = []", "layers = []\nnorm = nn.BatchNorm2d(out_channels)"),
           ("layers.append(nn.BatchNorm2d(out_channels))", "layers.append(norm)"))),
    Wrong("1.1", "flag_ignored", "batch_norm is accepted and forgotten.",
          (("if batch_norm:", "if True:"),)),
    Wrong("1.1", "flag_reversed", "batch_norm=True means: leave it out.",
          (("if batch_norm:", "if not batch_norm:"),)),
    Wrong("1.1", "flag_not_handed_on", "EncoderBlock takes batch_norm but does not tell its DoubleConv.",
          (("self.double_conv = DoubleConv(in_channels, out_channels, batch_norm=batch_norm)",
            "self.double_conv = DoubleConv(in_channels, out_channels)"),)),
    Wrong("1.1", "instance_norm", "All norms are alike.",
          (("nn.BatchNorm2d(out_channels)", "nn.InstanceNorm2d(out_channels, affine=True)"),)),
    Wrong("1.1", "no_running_statistics", "Running statistics are not needed; so a picture's result hangs on its batch.",
          (("nn.BatchNorm2d(out_channels)", "nn.BatchNorm2d(out_channels, track_running_stats=False)"),)),
    Wrong("1.1", "average_pool", "Average and max pooling are interchangeable.",
          (("nn.MaxPool2d", "nn.AvgPool2d"),)),
    Wrong("1.1", "strided_convolution", "A strided convolution learns the pooling.",
          (("nn.MaxPool2d(kernel_size=2, stride=2)", "nn.Conv2d(out_channels, out_channels, kernel_size=2, stride=2)"),)),
    Wrong("1.1", "pool_stride_1", "The stride of a pool is 1 by default, as a convolution's is.",
          (("nn.MaxPool2d(kernel_size=2, stride=2)", "nn.MaxPool2d(kernel_size=2, stride=1)"),)),
    Wrong("1.1", "pool_3x3", "The pool of ResNet halves too.",
          (("nn.MaxPool2d(kernel_size=2, stride=2)", "nn.MaxPool2d(kernel_size=3, stride=2, padding=1)"),)),
    Wrong("1.1", "skip_from_pooled", "The skip has the right size, so it holds the details.",
          ((RETURN_BOTH, "return F.interpolate(pooled, size=features.shape[-2:]), pooled"),)),
    Wrong("1.1", "skip_is_the_input", "The skip goes around the block, as in ResNet.",
          ((RETURN_BOTH, "return x, pooled"),)),
    Wrong("1.1", "skip_detached", "A skip only hands values over.",
          ((RETURN_BOTH, "return features.detach(), pooled"),)),
    Wrong("1.1", "dropout_left_in", "A dropout from an experiment was left in.",
          ((RELU, RELU + "\nlayers.append(nn.Dropout(0.5))"),)),
    Wrong("1.1", "dropout_always_on", "F.dropout knows by itself when the model is in eval mode.",
          (("features = self.double_conv(x)", "features = F.dropout(self.double_conv(x), 0.5)"),)),
    Wrong("1.1", "built_in_forward", "Layers can be made where they are used.",
          (("class DoubleConv", '''\
class DoubleConv(nn.Module):
    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        super().__init__()
        self.out_channels, self.batch_norm = out_channels, batch_norm

    def forward(self, x):
        for _ in range(2):
            x = nn.Conv2d(x.shape[1], self.out_channels, kernel_size=3, padding=1).to(x)(x)
            if self.batch_norm:
                x = nn.BatchNorm2d(self.out_channels).to(x)(x)
            x = F.relu(x)
        return x'''),)),
)

TASK_1_2 = (
    Wrong("1.2", "skip_ignored", "The decoder needs only what comes from below.",
          ((JOINED, JOINED.replace(" + skip_channels", "")), (CONCAT, "x"))),
    Wrong("1.2", "skip_added", "Joining means adding.",
          ((JOINED, JOINED.replace(" + skip_channels", "")), (CONCAT, "skip_features + x"))),
    Wrong("1.2", "skip_twice", "A slip of the pen: the skip is joined with itself.",
          ((CONCAT, "torch.cat([skip_features, skip_features], dim=1)"),)),
    Wrong("1.2", "skip_detached", "Gradients take the long way only.",
          ((CONCAT, "torch.cat([skip_features.detach(), x], dim=1)"),)),
    Wrong("1.2", "skip_changed_in_place", "inplace=True saves memory at no cost.",
          ((CONCAT, "torch.cat([F.relu(skip_features, inplace=True), x], dim=1)"),)),
    Wrong("1.2", "skip_cropped", "As in the paper of 2015, the skip is cropped to x.",
          ((PAD, "skip_features = skip_features[..., : x.shape[-2], : x.shape[-1]]"),)),
    Wrong("1.2", "skip_resized", "It does not matter which of the two is resized.",
          ((PAD, "skip_features = F.interpolate(skip_features, size=x.shape[-2:])"),)),
    Wrong("1.2", "not_aligned", "Doubling always gives back the size before the pool.",
          ((PAD, ""),)),
    Wrong("1.2", "pads_height_only", "One line for the height; the width is left to another day.",
          ((PAD, "x = F.pad(x, (0, 0, missing_rows // 2, missing_rows - missing_rows // 2))"),)),
    Wrong("1.2", "pads_if_heights_differ", "Where the heights agree, nothing is missing.",
          ((PAD, "if missing_rows:\n    x = F.pad(x, (0, missing_columns, 0, missing_rows))"),)),
    Wrong("1.2", "pads_axes_swapped", "F.pad begins with the first of the two axes.",
          ((PAD, "x = F.pad(x, (0, missing_rows, 0, missing_columns))"),)),
    Wrong("1.2", "pads_half_and_half", "Half on each side; an odd row is lost in the integer division.",
          ((PAD, "x = F.pad(x, (missing_columns // 2, missing_columns // 2, missing_rows // 2, missing_rows // 2))"),)),
    Wrong("1.2", "nearest", "Upsample is bilinear by default.",
          (('mode="bilinear", align_corners=False', 'mode="nearest"'),)),
    Wrong("1.2", "always_transpose", "upsampling is accepted and forgotten.",
          (('if upsampling == "transpose":', 'if upsampling in ("transpose", "bilinear"):'),)),
    Wrong("1.2", "always_bilinear", "Bilinear is the better choice whatever is asked.",
          (('if upsampling == "transpose":', "if False:"),
           ('elif upsampling == "bilinear":', 'elif upsampling in ("transpose", "bilinear"):'))),
    Wrong("1.2", "unknown_accepted", "Whatever is not a transposed convolution must be bilinear.",
          (('elif upsampling == "bilinear":', "elif True:"),)),
    Wrong("1.2", "bilinear_without_convolution", "Bilinear has nothing to learn, so no convolution follows.",
          ((BILINEAR, 'self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)\nup_channels = in_channels'),)),
    Wrong("1.2", "transposed_4x4", "The transposed convolution of DCGAN doubles too.",
          ((TRANSPOSED, "nn.ConvTranspose2d(in_channels, up_channels, kernel_size=4, stride=2, padding=1)"),)),
    Wrong("1.2", "stride_forgotten", "A 2×2 kernel doubles by itself; the padding hides what is missing.",
          ((TRANSPOSED, "nn.ConvTranspose2d(in_channels, up_channels, kernel_size=2)"),)),
    Wrong("1.2", "upsampled_twice", "Interpolate after the up-convolution; the crop hides what is too much.",
          (("x = self.up(x)", "x = F.interpolate(self.up(x), scale_factor=2)"),)),
    Wrong("1.2", "one_convolution", "One convolution after the join is enough.",
          ((JOINED, """\
layers = [nn.Conv2d(up_channels + skip_channels, out_channels, kernel_size=3, padding=1)]
if batch_norm:
    layers.append(nn.BatchNorm2d(out_channels))
self.double_conv = nn.Sequential(*layers, nn.ReLU())"""),)),
    Wrong("1.2", "skip_channels_ignored", "The skip always has half the channels of x.",
          ((JOINED, JOINED.replace("up_channels + skip_channels", "2 * up_channels")),)),
    Wrong("1.2", "out_channels_ignored", "A decoder always halves the channels.",
          ((JOINED, JOINED.replace("out_channels,", "up_channels,")),)),
    Wrong("1.2", "flag_not_handed_on", "DecoderBlock takes batch_norm but does not tell its DoubleConv.",
          ((JOINED, JOINED.replace(", batch_norm=batch_norm", "")),)),
)

TASK_1_3 = (
    Wrong("1.3", "bottleneck_not_doubled", "The bottleneck keeps the width of the last encoder.",
          ((WIDER, "self.bottleneck = DoubleConv(channels, channels, batch_norm=batch_norm)"),)),
    Wrong("1.3", "bottleneck_missing", "The last encoder is the bottleneck.",
          ((WIDER, "self.bottleneck = nn.Identity()"),)),
    Wrong("1.3", "bottleneck_one_convolution", "Between the two halves one convolution is enough.",
          ((BOTTLENECK, "self.bottleneck = nn.Conv2d(channels, 2 * channels, kernel_size=3, padding=1)"),)),
    Wrong("1.3", "bottleneck_1024", "The bottleneck has 1024 channels, as in the figure.",
          ((WIDER, "self.bottleneck = DoubleConv(channels, 1024, batch_norm=batch_norm)\nchannels = 1024"),)),
    Wrong("1.3", "features_hard_coded", "features is accepted and forgotten.",
          ((DOWN, "features = [64, 128, 256, 512]\n" + DOWN),)),
    Wrong("1.3", "features_doubled", "Only the first width counts; the others double.",
          ((DOWN, "features = [features[0] * 2**level for level in range(len(features))]\n" + DOWN),)),
    Wrong("1.3", "features_reversed_in_place", "list.reverse() leaves the caller's list, and the default, alone.",
          (("for width in reversed(features):", "features.reverse()\nfor width in features:"),)),
    Wrong("1.3", "four_levels_at_most", "A U-Net has four levels.",
          ((DOWN, "features = features[:4]\n" + DOWN),)),
    Wrong("1.3", "one_level_missing", "The last width is the bottleneck's, so it needs no encoder.",
          ((DOWN, "features = features[:-1]\n" + DOWN),)),
    Wrong("1.3", "encoders_in_a_list", "A plain list of modules is registered like any attribute.",
          (("self.encoders = nn.ModuleList()", "self.encoders = []"),)),
    Wrong("1.3", "decoders_in_a_list", "A plain list of modules is registered like any attribute.",
          (("self.decoders = nn.ModuleList()", "self.decoders = []"),)),
    Wrong("1.3", "decoders_all_wide", "The decoders keep the widest width up to the head.",
          ((UP, UP.replace("width, width", "width, features[-1]") + "\nwidth = features[-1]"),)),
    Wrong("1.3", "in_channels_ignored", "Pictures have three channels.",
          (("channels = in_channels", "channels = 3"),)),
    Wrong("1.3", "out_channels_ignored", "Segmentation means one channel out.",
          (("self.head = nn.Conv2d(channels, out_channels", "self.head = nn.Conv2d(channels, 1"),)),
    Wrong("1.3", "head_3x3", "The head is a convolution like the others.",
          (("self.head = nn.Conv2d(channels, out_channels, kernel_size=1)",
            "self.head = nn.Conv2d(channels, out_channels, kernel_size=3, padding=1)"),)),
    Wrong("1.3", "upsampling_not_handed_on", "upsampling is accepted and forgotten.",
          ((UP, UP.replace("upsampling, ", "")),)),
    Wrong("1.3", "flag_not_handed_to_decoders", "batch_norm reaches the way down only.",
          ((UP, UP.replace(", batch_norm=batch_norm", "")),)),
    Wrong("1.3", "flag_not_handed_to_bottleneck", "batch_norm reaches encoders and decoders only.",
          ((BOTTLENECK, BOTTLENECK.replace(", batch_norm=batch_norm", "")),)),
)

TASK_1_4 = (
    Wrong("1.4", "skips_not_reversed", "The first decoder takes the first skip.",
          (("reversed(skips)", "skips"),)),
    Wrong("1.4", "deepest_skip_everywhere", "The loop variable still holds a skip, so it serves every decoder.",
          (("x = decoder(x, skip)", "x = decoder(x, F.interpolate(features[:, : skip.shape[1]], size=skip.shape[-2:]))"),)),
    Wrong("1.4", "skips_zeroed", "Zeros stood in for the skips while testing, and stayed.",
          (("x = decoder(x, skip)", "x = decoder(x, torch.zeros_like(skip))"),)),
    Wrong("1.4", "top_skip_zeroed", "The finest level needs no skip.",
          (("x = self.bottleneck(x)", "x = self.bottleneck(x)\nskips[0] = torch.zeros_like(skips[0])"),)),
    Wrong("1.4", "skips_detached", "A skip only hands values over.",
          (("skips.append(features)", "skips.append(features.detach())"),)),
    Wrong("1.4", "skips_pooled", "The pooled map is what the decoder needs.",
          (("skips.append(features)", "skips.append(x)"),)),
    Wrong("1.4", "skips_of_the_first_call", "A list on self is empty again at the next call.",
          ((BEGIN, 'self.kept = getattr(self, "kept", [])'),
           ("skips.append(features)", "self.kept.append(features)"),
           ("reversed(skips)", "reversed(self.kept[: len(self.encoders)])"))),
    Wrong("1.4", "size_of_the_first_call", "All pictures are as large as the first.",
          ((BEGIN, 'self.size = getattr(self, "size", x.shape[-2:])\n' + BEGIN),
           (RETURN_LOGITS, "return F.interpolate(self.head(x), size=self.size)"))),
    Wrong("1.4", "bottleneck_on_the_skip", "The bottleneck follows the last encoder's features, not its pool.",
          (("x = self.bottleneck(x)", "x = self.bottleneck(features)"),)),
    Wrong("1.4", "sigmoid", "A network for masks ends in probabilities.",
          ((RETURN_LOGITS, "return torch.sigmoid(self.head(x))"),)),
    Wrong("1.4", "sigmoid_in_eval", "Logits for the loss, probabilities for everything else.",
          ((RETURN_LOGITS, "x = self.head(x)\nreturn x if self.training else torch.sigmoid(x)"),)),
    Wrong("1.4", "softmax", "Softmax over one channel is a probability.",
          ((RETURN_LOGITS, "return torch.softmax(self.head(x), dim=1)"),)),
    Wrong("1.4", "relu_on_logits", "Every convolution is followed by ReLU.",
          ((RETURN_LOGITS, "return F.relu(self.head(x))"),)),
    Wrong("1.4", "hard_mask", "The network returns the mask.",
          ((RETURN_LOGITS, "return (self.head(x) > 0).to(x)"),)),
    Wrong("1.4", "channel_squeezed", "One channel is no channel.",
          ((RETURN_LOGITS, "return self.head(x).squeeze(1)"),)),
    Wrong("1.4", "output_200", "The pictures of this lab are 200×200.",
          ((RETURN_LOGITS, "return F.interpolate(self.head(x), size=(200, 200))"),)),
    Wrong("1.4", "resized_to_208_and_back", "The network wants one size; resizing there and back is harmless.",
          ((BEGIN, "size = x.shape[-2:]\nx = F.interpolate(x, size=(208, 208))\n" + BEGIN),
           (RETURN_LOGITS, "return F.interpolate(self.head(x), size=size)"))),
    Wrong("1.4", "padded_not_cropped", "The input is padded to a multiple of 2^levels, and stays so.",
          ((BEGIN, "multiple = 2 ** len(self.encoders)\n"
                   "x = F.pad(x, (0, -x.shape[-1] % multiple, 0, -x.shape[-2] % multiple))\n" + BEGIN),)),
    Wrong("1.4", "cropped_to_a_multiple", "The rows that cannot be halved are dropped.",
          ((BEGIN, "multiple = 2 ** len(self.encoders)\n"
                   "x = x[..., : x.shape[-2] // multiple * multiple, : x.shape[-1] // multiple * multiple]\n" + BEGIN),)),
    Wrong("1.4", "input_scaled_in_place", "Scaling belongs into the network, and x is the network's own.",
          ((BEGIN, "with torch.no_grad():\n    x.div_(255)\n" + BEGIN),)),
    Wrong("1.4", "input_normalised", "Normalising over the batch at hand does no harm.",
          ((BEGIN, "x = (x - x.mean()) / (x.std() + 1e-6)\n" + BEGIN),)),
    Wrong("1.4", "float32_only", "Everything is float32.",
          ((BEGIN, "x = x.float()\n" + BEGIN),)),
    Wrong("1.4", "cuda_only", "There is always a GPU.",
          ((BEGIN, "x = x.cuda()\n" + BEGIN),)),
    Wrong("1.4", "encoders_without_gradient", "The encoders only extract features, so they need no gradient.",
          (("features, x = encoder(x)", "with torch.no_grad():\n    features, x = encoder(x)"),)),
    Wrong("1.4", "dropout_always_on", "F.dropout knows by itself when the model is in eval mode.",
          (("x = self.bottleneck(x)", "x = F.dropout(self.bottleneck(x), 0.5)"),)),
)

WRONG = TASK_1_1 + TASK_1_2 + TASK_1_3 + TASK_1_4
