"""Known-wrong variants of Part 1: the U-Net."""

from solutions.wrong.variant import Wrong

# Hints that several variants share.
SHAPES_OF_BOTH = (
    "Put in a skip of 25×25 and an x of 12×12 and print the size after each step. Which of the two changes its size "
    "in step 2, and what size shall come out?"
)
BOTH_KINDS = (
    'Print a block built with "transpose" and one built with "bilinear". Which lines should differ, and do they?'
)
NORMS_LEFT = (
    "Print the network that is built with batch_norm=False and look for norms. In which of its parts do you still "
    "find some?"
)
IN_A_LIST = (
    "Count the parameters: the default network should have about 31 million. Then print the network: which of your "
    "blocks does PyTorch not know about?"
)
SAME_PICTURE_TWICE = (
    "Send the same picture through twice in eval mode. Should the answers differ? Then look for the line that draws "
    "random numbers in eval mode, too."
)

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
          "the pooled map comes first and the features second",
          "Print the shapes of your two outputs for a 200×200 picture and lay them beside the task's shape table. "
          "Which row is which?",
          ((RETURN_BOTH, "return pooled, features"),)),
    Wrong("1.1", "pools_the_input", "The pool works on what comes into the block.",
          "the pool reads what comes into the block",
          "How many channels has the second output of your EncoderBlock(3, 64), and how many does the shape table "
          "say? Which tensor in the block has that many?",
          (("pooled = self.pool(features)", "pooled = self.pool(x)"),)),
    Wrong("1.1", "pools_before_convolving", "Pooling first and convolving then gives the same, only cheaper.",
          "the pooled output is made by pooling first and convolving the smaller map",
          "Take one 2×2 square of your features. Is the number that stands for it in the pooled map one of its four? "
          "Then look at the order of the task's steps.",
          (("pooled = self.pool(features)", "pooled = self.double_conv(self.pool(x))"),)),
    Wrong("1.1", "no_padding", "As in the paper of 2015, convolutions are not padded.",
          "the 3×3 convolutions have no padding, so each one takes two rows and two columns away",
          "Print height and width after each convolution. What does the task's formula H + 2p − k + 1 give with your "
          "k and p?",
          (("kernel_size=3, padding=1", "kernel_size=3"),)),
    Wrong("1.1", "one_convolution", "One convolution a block is enough.",
          "the double convolution is a single one, with its norm and ReLU",
          "Print DoubleConv(3, 8) and count its layers. Then count the steps in the task's list, and read the last of "
          "them twice.",
          (("for channels in (in_channels, out_channels):", "for channels in (in_channels,):"),)),
    Wrong("1.1", "kernel_5", "A larger kernel sees more.",
          "the convolutions are 5×5, with a padding that keeps the size",
          "The sizes come out right, so look at the weights instead: print the shapes of the parameters of "
          "DoubleConv(3, 8). What do their last two numbers say?",
          (("kernel_size=3, padding=1", "kernel_size=5, padding=2"),)),
    Wrong("1.1", "no_relu", "BatchNorm already makes it non-linear.",
          "there is no ReLU at all",
          "What is the smallest value of your features, and could it come out of a ReLU? Go through the task's list "
          "step by step and find each one in your code.",
          ((f"{NORM}\n{RELU}", NORM),)),
    Wrong("1.1", "no_last_relu", "ReLU stands between the two convolutions only.",
          "a ReLU stands between the two convolutions only, and none after the second",
          "Print the smallest value of the features. The last step of the task's list repeats three others: which "
          "three?",
          (("self.layers = nn.Sequential(*layers)", "self.layers = nn.Sequential(*layers[:-1])"),)),
    Wrong("1.1", "leaky_relu", "Any ReLU will do.",
          "the ReLU is a leaky one, which lets a part of each negative value through",
          "What does your activation make of −1? Look for values just below 0 among your features, then read step 3 "
          "again.",
          (("nn.ReLU(inplace=True)", "nn.LeakyReLU(0.1, inplace=True)"),),
          also=tuple((("nn.ReLU(inplace=True)", f"nn.LeakyReLU({slope}, inplace=True)"),) for slope in (0.01, 0.2))),
    Wrong("1.1", "no_batch_norm", "The paper has no BatchNorm, so it can stay away.",
          "there is no BatchNorm, whatever batch_norm says",
          "Send one batch through in train mode and in eval mode. Should the two answers agree? The table near the "
          "top of the notebook says where this lab leaves the paper of 2015.",
          ((", bias=not batch_norm", ""), (f"{NORM}\n{RELU}", RELU))),
    Wrong("1.1", "norm_after_relu", "The order of BatchNorm and ReLU does not matter.",
          "the norm follows the ReLU",
          "Can your features be negative? Ask which layer speaks last in each half of the block, and compare the "
          "order with the task's list.",
          ((f"{NORM}\n{RELU}", f"{RELU}\n{NORM}"),)),
    Wrong("1.1", "one_norm_for_both", "Both norms have the same width, so one module serves twice.",
          "both convolutions share one BatchNorm, with its weights and its statistics",
          "Print the shapes of the parameters of DoubleConv(3, 5). How many of them belong to norms, and how many "
          "norms does the task's list ask for?",
          (("layers = []", "layers = []\nnorm = nn.BatchNorm2d(out_channels)"),
           ("layers.append(nn.BatchNorm2d(out_channels))", "layers.append(norm)"))),
    Wrong("1.1", "flag_ignored", "batch_norm is accepted and forgotten.",
          "batch_norm=False changes nothing: the norms are built all the same",
          "Build a DoubleConv with batch_norm=False and print it. What is still in there, and which line put it "
          "there?",
          (("if batch_norm:", "if True:"),)),
    Wrong("1.1", "flag_reversed", "batch_norm=True means: leave it out.",
          "batch_norm=True leaves the norms out, and False puts them in",
          "Print one block with batch_norm=True and one with batch_norm=False. Which of them has the norms?",
          (("if batch_norm:", "if not batch_norm:"),)),
    Wrong("1.1", "flag_not_handed_on", "EncoderBlock takes batch_norm but does not tell its DoubleConv.",
          "the encoder block keeps batch_norm to itself, and its DoubleConv takes the default",
          "Print an EncoderBlock with batch_norm=False. Follow the argument from where it comes in to the layers that "
          "it is meant for: where does it stop?",
          (("self.double_conv = DoubleConv(in_channels, out_channels, batch_norm=batch_norm)",
            "self.double_conv = DoubleConv(in_channels, out_channels)"),)),
    Wrong("1.1", "instance_norm", "All norms are alike.",
          "an InstanceNorm takes the place of the norm: each picture is normalised by itself",
          "Put a dark and a bright picture into one batch. Can your features still tell them apart? Over what does "
          "the norm that the task names take its averages?",
          (("nn.BatchNorm2d(out_channels)", "nn.InstanceNorm2d(out_channels, affine=True)"),),
          also=((("nn.BatchNorm2d(out_channels)", "nn.InstanceNorm2d(out_channels)"),),)),
    Wrong("1.1", "no_running_statistics", "Running statistics are not needed; so a picture's result hangs on its batch.",
          "the norm keeps no running statistics and uses those of its batch in eval mode, too",
          "In eval mode, send one picture through alone and then among others. Should its features change with its "
          "neighbours?",
          (("nn.BatchNorm2d(out_channels)", "nn.BatchNorm2d(out_channels, track_running_stats=False)"),)),
    Wrong("1.1", "average_pool", "Average and max pooling are interchangeable.",
          "the pool takes the mean of each square",
          "Take one 2×2 square of the features and the number that came of it. How do you get from the four to the "
          "one, and which word does the task use?",
          (("nn.MaxPool2d", "nn.AvgPool2d"),)),
    Wrong("1.1", "strided_convolution", "A strided convolution learns the pooling.",
          "a convolution with stride 2 and weights of its own does the pooling",
          "How many parameters has the layer that halves your map? How many would a pool have to learn?",
          (("nn.MaxPool2d(kernel_size=2, stride=2)", "nn.Conv2d(out_channels, out_channels, kernel_size=2, stride=2)"),)),
    Wrong("1.1", "pool_stride_1", "The stride of a pool is 1 by default, as a convolution's is.",
          "the pool moves by one pixel at a time, so the map hardly shrinks",
          "Print the size of the pooled map for a 200×200 picture. By how far does the window move, and by how far "
          "should it so that half is left?",
          (("nn.MaxPool2d(kernel_size=2, stride=2)", "nn.MaxPool2d(kernel_size=2, stride=1)"),)),
    Wrong("1.1", "pool_3x3", "The pool of ResNet halves too.",
          "the pool looks at overlapping 3×3 squares, padded at the border",
          "Try a picture of 25×25. What is the height of your pooled map, and what does the last column of the shape "
          "table say? How many pixels does each maximum look at?",
          (("nn.MaxPool2d(kernel_size=2, stride=2)", "nn.MaxPool2d(kernel_size=3, stride=2, padding=1)"),)),
    Wrong("1.1", "skip_from_pooled", "The skip has the right size, so it holds the details.",
          "the features are the pooled map, enlarged again to the full size",
          "Look at one 2×2 square of your first output: how many different values are in it? Where have the details "
          "gone that the skip should keep?",
          ((RETURN_BOTH, "return F.interpolate(pooled, size=features.shape[-2:]), pooled"),)),
    Wrong("1.1", "skip_is_the_input", "The skip goes around the block, as in ResNet.",
          "the first output is the block's input, as it came",
          "How many channels has the first output of your EncoderBlock(3, 64), and what does the shape table say? "
          "Which work of the block is missing from it?",
          ((RETURN_BOTH, "return x, pooled"),)),
    Wrong("1.1", "skip_detached", "A skip only hands values over.",
          "the features are cut off from the gradient",
          "The numbers are right, so think of the way back. Compute a loss from the first output alone: which of your "
          "weights get a gradient?",
          ((RETURN_BOTH, "return features.detach(), pooled"),)),
    Wrong("1.1", "dropout_left_in", "A dropout from an experiment was left in.",
          "a dropout follows each ReLU",
          "In train mode and with batch_norm=False, send the same picture through twice. What makes the answers "
          "differ? Compare the printed layers with the task's list.",
          ((RELU, RELU + "\nlayers.append(nn.Dropout(0.5))"),)),
    Wrong("1.1", "dropout_always_on", "F.dropout knows by itself when the model is in eval mode.",
          "half of the features are dropped, in eval mode too",
          SAME_PICTURE_TWICE,
          (("features = self.double_conv(x)", "features = F.dropout(self.double_conv(x), 0.5)"),)),
    Wrong("1.1", "built_in_forward", "Layers can be made where they are used.",
          "every call makes new layers, with new random weights",
          "How many parameters does a DoubleConv list before its first call, and after it? Which of them would an "
          "optimizer train?",
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
          "the skip is left out: only what comes from below is convolved",
          "Change the skip and keep x: does your output notice? How many channels does the row 'after step 3' of the "
          "shape table have, and how many have you?",
          ((JOINED, JOINED.replace(" + skip_channels", "")), (CONCAT, "x"))),
    Wrong("1.2", "skip_added", "Joining means adding.",
          "the skip is added to the upsampled x",
          "How many channels are there after your step 3? Compare with the shape table, and try a skip that has "
          "another number of channels than the upsampled x.",
          ((JOINED, JOINED.replace(" + skip_channels", "")), (CONCAT, "skip_features + x"))),
    Wrong("1.2", "skip_twice", "A slip of the pen: the skip is joined with itself.",
          "the skip is joined with itself, and x is lost",
          "Change x and keep the skip: does your output notice? Read aloud the two names that you join.",
          ((CONCAT, "torch.cat([skip_features, skip_features], dim=1)"),),
          also=(((CONCAT, "torch.cat([skip_features, skip_features], dim=1)"),
                 (JOINED, JOINED.replace("up_channels + skip_channels", "2 * skip_channels"))),)),
    Wrong("1.2", "skip_detached", "Gradients take the long way only.",
          "the skip is cut off from the gradient before the join",
          "The output is right, so think of the way back. Which short way does the gradient have to the encoder of "
          "this level, and is it open in your block?",
          ((CONCAT, "torch.cat([skip_features.detach(), x], dim=1)"),)),
    Wrong("1.2", "skip_changed_in_place", "inplace=True saves memory at no cost.",
          "a ReLU writes into the skip, so the caller's tensor changes",
          "Keep a clone of a skip with negative values, call the block, compare the two. Who else may still need that "
          "tensor?",
          ((CONCAT, "torch.cat([F.relu(skip_features, inplace=True), x], dim=1)"),)),
    Wrong("1.2", "skip_cropped", "As in the paper of 2015, the skip is cropped to x.",
          "the skip is cropped to the size of the upsampled x",
          SHAPES_OF_BOTH,
          ((PAD, "skip_features = skip_features[..., : x.shape[-2], : x.shape[-1]]"),)),
    Wrong("1.2", "skip_resized", "It does not matter which of the two is resized.",
          "the skip is resized to the size of the upsampled x",
          SHAPES_OF_BOTH,
          ((PAD, "skip_features = F.interpolate(skip_features, size=x.shape[-2:])"),)),
    Wrong("1.2", "not_aligned", "Doubling always gives back the size before the pool.",
          "nothing is done where the upsampled x comes back smaller than the skip",
          "Halve 25, round down, double it: what do you get? Try your block with an x of 12×12 and a skip of 25×25, "
          "and read the error beside step 2.",
          ((PAD, ""),)),
    Wrong("1.2", "pads_height_only", "One line for the height; the width is left to another day.",
          "x is padded in its height, never in its width",
          "Try your block with a skip of 25×24 and with one of 24×25. Only one of them runs: what is different about "
          "the other?",
          ((PAD, "x = F.pad(x, (0, 0, missing_rows // 2, missing_rows - missing_rows // 2))"),)),
    Wrong("1.2", "pads_if_heights_differ", "Where the heights agree, nothing is missing.",
          "x is padded only where its height is short, so a width alone is not noticed",
          "Try a skip of 24×25: the heights agree there. Which question does your code ask before it pads, and is it "
          "the only one that counts?",
          ((PAD, "if missing_rows:\n    x = F.pad(x, (0, missing_columns, 0, missing_rows))"),)),
    Wrong("1.2", "pads_axes_swapped", "F.pad begins with the first of the two axes.",
          "missing rows are added as columns, and missing columns as rows",
          "Try a skip of 25×24 and print the size of x after the padding. With which dimension do the numbers of "
          "torch.nn.functional.pad begin? The task's text says so.",
          ((PAD, "x = F.pad(x, (0, missing_rows, 0, missing_columns))"),)),
    Wrong("1.2", "pads_half_and_half", "Half on each side; an odd row is lost in the integer division.",
          "each side is padded by half of what is missing, rounded down",
          "What is half of one row, rounded down? Add up what your padding puts on both sides where a single row is "
          "missing.",
          ((PAD, "x = F.pad(x, (missing_columns // 2, missing_columns // 2, missing_rows // 2, missing_rows // 2))"),)),
    Wrong("1.2", "nearest", "Upsample is bilinear by default.",
          'the "bilinear" upsampling repeats each value in a 2×2 square',
          "Enlarge the row 0, 1 with your upsampling layer and print it. Are there values in between? What does the "
          "layer do if nobody names a mode?",
          (('mode="bilinear", align_corners=False', 'mode="nearest"'),)),
    Wrong("1.2", "always_transpose", "upsampling is accepted and forgotten.",
          'upsampling="bilinear" builds a transposed convolution as well',
          BOTH_KINDS,
          (('if upsampling == "transpose":', 'if upsampling in ("transpose", "bilinear"):'),)),
    Wrong("1.2", "always_bilinear", "Bilinear is the better choice whatever is asked.",
          'upsampling="transpose" is interpolated bilinearly as well',
          BOTH_KINDS,
          (('if upsampling == "transpose":', "if False:"),
           ('elif upsampling == "bilinear":', 'elif upsampling in ("transpose", "bilinear"):'))),
    Wrong("1.2", "unknown_accepted", "Whatever is not a transposed convolution must be bilinear.",
          'whatever is not "transpose" is taken for "bilinear"',
          'Build a block with upsampling="bilinaer". Does anybody notice the typing error? Read the last of the three '
          "kinds in step 1.",
          (('elif upsampling == "bilinear":', "elif True:"),)),
    Wrong("1.2", "bilinear_without_convolution", "Bilinear has nothing to learn, so no convolution follows.",
          "nothing follows the bilinear upsampling, so x keeps all its channels",
          "How many channels has x after your bilinear step, and how many after the transposed convolution? The row "
          "'after step 1' of the shape table holds for both.",
          ((BILINEAR, 'self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)\nup_channels = in_channels'),)),
    Wrong("1.2", "transposed_4x4", "The transposed convolution of DCGAN doubles too.",
          "the transposed convolution has a 4×4 kernel with padding 1",
          "The size doubles as it should, so look at the weights: what are the last two numbers of their shape, and "
          "what does step 1 say?",
          ((TRANSPOSED, "nn.ConvTranspose2d(in_channels, up_channels, kernel_size=4, stride=2, padding=1)"),)),
    Wrong("1.2", "stride_forgotten", "A 2×2 kernel doubles by itself; the padding hides what is missing.",
          "the transposed convolution has stride 1, and the padding fills the rest with zeros",
          "Print the size of x right after the upsampling, before it is brought to the skip's. Has it doubled? What "
          "does your output look like along its border?",
          ((TRANSPOSED, "nn.ConvTranspose2d(in_channels, up_channels, kernel_size=2)"),)),
    Wrong("1.2", "upsampled_twice", "Interpolate after the up-convolution; the crop hides what is too much.",
          "x is enlarged twice, and what is too much is cut off again",
          "Print the size of x right after the upsampling, for an x of 12×12. Is it what the row 'after step 1' says? "
          "Which part of the map survives to the end?",
          (("x = self.up(x)", "x = F.interpolate(self.up(x), scale_factor=2)"),)),
    Wrong("1.2", "one_convolution", "One convolution after the join is enough.",
          "a single convolution, with its norm and ReLU, follows the join",
          "Print the block and count the 3×3 convolutions behind the join. Which block does step 4 name?",
          ((JOINED, """\
layers = [nn.Conv2d(up_channels + skip_channels, out_channels, kernel_size=3, padding=1)]
if batch_norm:
    layers.append(nn.BatchNorm2d(out_channels))
self.double_conv = nn.Sequential(*layers, nn.ReLU())"""),)),
    Wrong("1.2", "skip_channels_ignored", "The skip always has half the channels of x.",
          "the double convolution expects as many channels of the skip as of x",
          "Build DecoderBlock(12, 5, 7) and call it. How many channels does each of the two parts bring, and which of "
          "the arguments says so?",
          ((JOINED, JOINED.replace("up_channels + skip_channels", "2 * up_channels")),)),
    Wrong("1.2", "out_channels_ignored", "A decoder always halves the channels.",
          "the output always has half of in_channels, whatever out_channels says",
          "Build DecoderBlock(12, 5, 7): how many channels come out? Which of the three numbers does your code never "
          "look at?",
          ((JOINED, JOINED.replace("out_channels,", "up_channels,")),)),
    Wrong("1.2", "flag_not_handed_on", "DecoderBlock takes batch_norm but does not tell its DoubleConv.",
          "the decoder block keeps batch_norm to itself, and its DoubleConv takes the default",
          "Print a DecoderBlock with batch_norm=False. Which norms are left, and who should have been told?",
          ((JOINED, JOINED.replace(", batch_norm=batch_norm", "")),)),
)

TASK_1_3 = (
    Wrong("1.3", "bottleneck_not_doubled", "The bottleneck keeps the width of the last encoder.",
          "the bottleneck keeps the width of the last encoder",
          "Print the network: how many channels come out at the bottom of your U? Compare with the last row of the "
          "channel table.",
          ((WIDER, "self.bottleneck = DoubleConv(channels, channels, batch_norm=batch_norm)"),)),
    Wrong("1.3", "bottleneck_missing", "The last encoder is the bottleneck.",
          "nothing stands between the last encoder and the lowest decoder",
          "Print the network and go through it beside the channel table, row by row. Which row has no layers in your "
          "network?",
          ((WIDER, "self.bottleneck = nn.Identity()"),)),
    Wrong("1.3", "bottleneck_one_convolution", "Between the two halves one convolution is enough.",
          "the bottleneck is a single convolution",
          "Which block does step 2 name? Count the 3×3 convolutions at the bottom of your U.",
          ((BOTTLENECK, "self.bottleneck = nn.Conv2d(channels, 2 * channels, kernel_size=3, padding=1)"),)),
    Wrong("1.3", "bottleneck_1024", "The bottleneck has 1024 channels, as in the figure.",
          "the bottleneck has 1024 channels, whatever features says",
          "Build UNet(features=[16, 32]). How wide is its bottleneck, and how wide does step 2 want it?",
          ((WIDER, "self.bottleneck = DoubleConv(channels, 1024, batch_norm=batch_norm)\nchannels = 1024"),)),
    Wrong("1.3", "features_hard_coded", "features is accepted and forgotten.",
          "features is ignored, and the widths are always 64, 128, 256 and 512",
          "Build UNet(features=[16, 32]) and print it. What did the argument change?",
          ((DOWN, "features = [64, 128, 256, 512]\n" + DOWN),)),
    Wrong("1.3", "features_doubled", "Only the first width counts; the others double.",
          "each width is twice the one above: of features only the first entry and the length count",
          "Build UNet(features=[6, 10]) and print the channels of each encoder. Where is the second number of the "
          "list?",
          ((DOWN, "features = [features[0] * 2**level for level in range(len(features))]\n" + DOWN),)),
    Wrong("1.3", "features_reversed_in_place", "list.reverse() leaves the caller's list, and the default, alone.",
          "the list features is turned round in place, and with it the caller's list and the default",
          "Make a list, build a network from it, print the list. Then build UNet() twice and compare their first "
          "layers. Who else holds that list?",
          (("for width in reversed(features):", "features.reverse()\nfor width in features:"),)),
    Wrong("1.3", "four_levels_at_most", "A U-Net has four levels.",
          "every entry of features beyond the fourth is left out",
          "Build networks for lists of three, four and five entries, and count the encoders of each. Where does the "
          "count stop?",
          ((DOWN, "features = features[:4]\n" + DOWN),)),
    Wrong("1.3", "one_level_missing", "The last width is the bottleneck's, so it needs no encoder.",
          "the last entry of features gets no encoder and no decoder",
          "Build UNet(features=[16, 32]) and count the encoders. Go through the channel table: which level is not "
          "there?",
          ((DOWN, "features = features[:-1]\n" + DOWN),)),
    Wrong("1.3", "encoders_in_a_list", "A plain list of modules is registered like any attribute.",
          "the encoders stand in a plain Python list",
          IN_A_LIST,
          (("self.encoders = nn.ModuleList()", "self.encoders = []"),)),
    Wrong("1.3", "decoders_in_a_list", "A plain list of modules is registered like any attribute.",
          "the decoders stand in a plain Python list",
          IN_A_LIST,
          (("self.decoders = nn.ModuleList()", "self.decoders = []"),)),
    Wrong("1.3", "decoders_all_wide", "The decoders keep the widest width up to the head.",
          "every decoder ends at the last width of features, up to the head",
          "Write down the out-channels of your decoders from the bottom up, and lay them beside the right column of "
          "the channel table. From which row on do they differ?",
          ((UP, UP.replace("width, width", "width, features[-1]") + "\nwidth = features[-1]"),)),
    Wrong("1.3", "in_channels_ignored", "Pictures have three channels.",
          "the first encoder always takes three channels",
          "Build a network for pictures of two channels and print its first convolution. Where does the number in it "
          "come from?",
          (("channels = in_channels", "channels = 3"),)),
    Wrong("1.3", "out_channels_ignored", "Segmentation means one channel out.",
          "the head always gives one channel",
          "Build UNet(out_channels=5) and print its last layer. Where does the number in it come from?",
          (("self.head = nn.Conv2d(channels, out_channels", "self.head = nn.Conv2d(channels, 1"),)),
    Wrong("1.3", "head_3x3", "The head is a convolution like the others.",
          "the head is a 3×3 convolution",
          "Print the shape of the head's weights. Which kernel does step 4 name?",
          (("self.head = nn.Conv2d(channels, out_channels, kernel_size=1)",
            "self.head = nn.Conv2d(channels, out_channels, kernel_size=3, padding=1)"),)),
    Wrong("1.3", "upsampling_not_handed_on", "upsampling is accepted and forgotten.",
          "the decoders are never told about upsampling, and take their default",
          'Print the network that is asked for "bilinear" upsampling and look for the layers that enlarge. Follow the '
          "argument: how far does it get?",
          ((UP, UP.replace("upsampling, ", "")),)),
    Wrong("1.3", "flag_not_handed_to_decoders", "batch_norm reaches the way down only.",
          "batch_norm reaches the encoders and the bottleneck, but no decoder",
          NORMS_LEFT,
          ((UP, UP.replace(", batch_norm=batch_norm", "")),)),
    Wrong("1.3", "flag_not_handed_to_bottleneck", "batch_norm reaches encoders and decoders only.",
          "batch_norm reaches the encoders and decoders, but not the bottleneck",
          NORMS_LEFT,
          ((BOTTLENECK, BOTTLENECK.replace(", batch_norm=batch_norm", "")),)),
)

TASK_1_4 = (
    Wrong("1.4", "skips_not_reversed", "The first decoder takes the first skip.",
          "the first decoder gets the first encoder's skip, the last decoder the last one's",
          "Print the shape of each skip in the order in which your decoders get them. Where in the U does the first "
          "decoder stand, and what size is the map there?",
          (("reversed(skips)", "skips"),)),
    Wrong("1.4", "deepest_skip_everywhere", "The loop variable still holds a skip, so it serves every decoder.",
          "every decoder gets the deepest skip, cut to its channels and enlarged to its size",
          "Draw the arrows of your own code into the U: from which encoder does the skip of each decoder come? All of "
          "them should run straight across.",
          (("x = decoder(x, skip)", "x = decoder(x, F.interpolate(features[:, : skip.shape[1]], size=skip.shape[-2:]))"),)),
    Wrong("1.4", "skips_zeroed", "Zeros stood in for the skips while testing, and stayed.",
          "every decoder gets zeros in place of its skip",
          "Print the mean of what each decoder gets as its skip. What is left of the encoders' features there?",
          (("x = decoder(x, skip)", "x = decoder(x, torch.zeros_like(skip))"),)),
    Wrong("1.4", "top_skip_zeroed", "The finest level needs no skip.",
          "the top decoder gets zeros in place of its skip",
          "Print the mean of each skip as it goes into its decoder, level by level. Which one is unlike the others?",
          (("x = self.bottleneck(x)", "x = self.bottleneck(x)\nskips[0] = torch.zeros_like(skips[0])"),)),
    Wrong("1.4", "skips_detached", "A skip only hands values over.",
          "the skips are cut off from the gradient",
          "The logits are right, so think of the way back. How many ways lead the gradient to the first encoder in "
          "the drawing of the U, and how many are open in your code?",
          (("skips.append(features)", "skips.append(features.detach())"),)),
    Wrong("1.4", "skips_pooled", "The pooled map is what the decoder needs.",
          "what is kept for the decoders is each encoder's pooled output",
          "Print the shapes of your skips and lay them beside the two columns 'skip (features)' and 'pooled' of the "
          "table. Which column are they?",
          (("skips.append(features)", "skips.append(x)"),)),
    Wrong("1.4", "skips_of_the_first_call", "A list on self is empty again at the next call.",
          "the skips pile up on the network, and every call uses those of the first",
          "Call one network with two different pictures. Whose features reach the decoders the second time? Ask where "
          "the skips live between the calls.",
          ((BEGIN, 'self.kept = getattr(self, "kept", [])'),
           ("skips.append(features)", "self.kept.append(features)"),
           ("reversed(skips)", "reversed(self.kept[: len(self.encoders)])"))),
    Wrong("1.4", "size_of_the_first_call", "All pictures are as large as the first.",
          "the logits are resized to the size of the first picture that the network ever saw",
          "Call one network with a picture of 32×32 and then with one of 48×64. What does it remember from the first, "
          "and why should it remember anything?",
          ((BEGIN, 'self.size = getattr(self, "size", x.shape[-2:])\n' + BEGIN),
           (RETURN_LOGITS, "return F.interpolate(self.head(x), size=self.size)"))),
    Wrong("1.4", "bottleneck_on_the_skip", "The bottleneck follows the last encoder's features, not its pool.",
          "the bottleneck gets the last encoder's features, not pooled",
          "Print the size of what goes into your bottleneck for a 200×200 picture. What does the table say there?",
          (("x = self.bottleneck(x)", "x = self.bottleneck(features)"),)),
    Wrong("1.4", "sigmoid", "A network for masks ends in probabilities.",
          "a sigmoid follows the head",
          "Print the smallest and the largest number of the output. Are these logits? Think of the losses of Part 3: "
          "how often would the sigmoid be taken then?",
          ((RETURN_LOGITS, "return torch.sigmoid(self.head(x))"),)),
    Wrong("1.4", "sigmoid_in_eval", "Logits for the loss, probabilities for everything else.",
          "a sigmoid follows the head in eval mode",
          "Compare the range of the output in train mode and in eval mode. Which layers may behave differently there, "
          "and does the head belong to them?",
          ((RETURN_LOGITS, "x = self.head(x)\nreturn x if self.training else torch.sigmoid(x)"),)),
    Wrong("1.4", "softmax", "Softmax over one channel is a probability.",
          "a softmax over the channels follows the head",
          "Print the output for two different pictures. What does a softmax make of a single channel, and did the "
          "task ask for anything behind the head?",
          ((RETURN_LOGITS, "return torch.softmax(self.head(x), dim=1)"),)),
    Wrong("1.4", "relu_on_logits", "Every convolution is followed by ReLU.",
          "a ReLU follows the head",
          "What is the smallest number in your output? How could such a network say that it is sure of the "
          "background?",
          ((RETURN_LOGITS, "return F.relu(self.head(x))"),)),
    Wrong("1.4", "hard_mask", "The network returns the mask.",
          "the output is a mask of zeros and ones",
          "Which values occur in your output, and what is the slope of a step? A loss has to push the numbers up and "
          "down a little.",
          ((RETURN_LOGITS, "return (self.head(x) > 0).to(x)"),)),
    Wrong("1.4", "channel_squeezed", "One channel is no channel.",
          "the output has lost its channel dimension",
          "Print the shape of the output and count its dimensions. How many does the docstring of the class promise?",
          ((RETURN_LOGITS, "return self.head(x).squeeze(1)"),)),
    Wrong("1.4", "output_200", "The pictures of this lab are 200×200.",
          "the logits are always resized to 200×200",
          "Try a picture of 50×70, as in the cell below the task. Where does the size of your output come from?",
          ((RETURN_LOGITS, "return F.interpolate(self.head(x), size=(200, 200))"),)),
    Wrong("1.4", "resized_to_208_and_back", "The network wants one size; resizing there and back is harmless.",
          "every picture is resized to 208×208, and the logits back to its own size",
          "Print the size that your first encoder sees for a 64×64 picture. What did you want to protect the network "
          "from, and which block already takes care of it?",
          ((BEGIN, "size = x.shape[-2:]\nx = F.interpolate(x, size=(208, 208))\n" + BEGIN),
           (RETURN_LOGITS, "return F.interpolate(self.head(x), size=size)"))),
    Wrong("1.4", "padded_not_cropped", "The input is padded to a multiple of 2^levels, and stays so.",
          "the picture is padded to a multiple of 2^levels, and the logits keep that size",
          "Compare the size of the logits with that of a 37×45 picture. Which pixels are too many? And which block "
          "already takes care of odd sizes?",
          ((BEGIN, "multiple = 2 ** len(self.encoders)\n"
                   "x = F.pad(x, (0, -x.shape[-1] % multiple, 0, -x.shape[-2] % multiple))\n" + BEGIN),)),
    Wrong("1.4", "cropped_to_a_multiple", "The rows that cannot be halved are dropped.",
          "the picture is cropped to a multiple of 2^levels before it goes down",
          "Compare the size of the logits with that of a 37×45 picture. Which pixels never get an answer? And which "
          "block already takes care of odd sizes?",
          ((BEGIN, "multiple = 2 ** len(self.encoders)\n"
                   "x = x[..., : x.shape[-2] // multiple * multiple, : x.shape[-1] // multiple * multiple]\n" + BEGIN),)),
    Wrong("1.4", "input_scaled_in_place", "Scaling belongs into the network, and x is the network's own.",
          "the picture is divided by 255 in place, so the caller's tensor changes",
          "Keep a clone of a picture, call the network, compare the two. And in which range do the lab's pictures "
          "already come? The cell at 'The pictures' prints it.",
          ((BEGIN, "with torch.no_grad():\n    x.div_(255)\n" + BEGIN),)),
    Wrong("1.4", "input_normalised", "Normalising over the batch at hand does no harm.",
          "the input is normalised by the mean and the spread of its own batch",
          "Send in a picture and the same one twice as bright. Do the logits change as they should? Compare your "
          "first lines with the steps of the task.",
          ((BEGIN, "x = (x - x.mean()) / (x.std() + 1e-6)\n" + BEGIN),)),
    Wrong("1.4", "float32_only", "Everything is float32.",
          "the picture is cast to float32 in forward",
          "Turn network and picture into float64 and call it. Who has already chosen the type of the numbers, before "
          "forward is called?",
          ((BEGIN, "x = x.float()\n" + BEGIN),)),
    Wrong("1.4", "cuda_only", "There is always a GPU.",
          "the picture is moved to the GPU in forward",
          "What happens on a machine without a GPU? Who knows where the picture and the weights lie, before forward "
          "is called?",
          ((BEGIN, "x = x.cuda()\n" + BEGIN),)),
    Wrong("1.4", "encoders_without_gradient", "The encoders only extract features, so they need no gradient.",
          "the encoders run with their gradients switched off",
          "After one backward pass, print the gradient of the first convolution. What would an optimizer make of it, "
          "and what switched it off?",
          (("features, x = encoder(x)", "with torch.no_grad():\n    features, x = encoder(x)"),)),
    Wrong("1.4", "dropout_always_on", "F.dropout knows by itself when the model is in eval mode.",
          "half of what leaves the bottleneck is dropped, in eval mode too",
          SAME_PICTURE_TWICE,
          (("x = self.bottleneck(x)", "x = F.dropout(self.bottleneck(x), 0.5)"),)),
)

WRONG = TASK_1_1 + TASK_1_2 + TASK_1_3 + TASK_1_4
