"""Known-wrong variants of Part 2: skip connections."""

from solutions.wrong.variant import Wrong

# Hints that several variants share.
WAY_BACK = (
    "The output is right, so think of the way back. Compute a loss from it: does a gradient arrive at the skip, "
    "through which the encoder shall learn?"
)
CLONE = (
    "Keep a clone of a skip with negative values, call the class, compare the two. Who else may still need that "
    "tensor?"
)
NEW_LAYERS = (
    "How many parameters does the class list before its first call? Call it twice with the same input: are the "
    "answers alike, and what could an optimizer train?"
)
FLOAT64 = (
    "Turn the module and its inputs into float64 and call it. Who has already chosen the type of the numbers, before "
    "forward is called?"
)
PLACE = (
    "Who knows where the weights and the features lie, before forward is called? Think of a machine that has another "
    "device than yours."
)
GATE_TABLE = (
    "Count the parameters of each layer, for the two gates of the table below the task. In which column do yours "
    "differ first, and which of the two numbers sets the inner width?"
)
GRAD_BEFORE = (
    "Fill every .grad of a model with 0.25 and call your function. Does it change the norms, and what is in .grad "
    "afterwards? Somebody may be in the middle of a training step."
)
KEYS = "Print the keys of one of your rows and lay them beside the first column of the task's table."

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
    Wrong("2.1", "added", "Joining means adding; the convolution follows.",
          "the skip is added to the decoder's features, and the sum is convolved",
          "How many channels are there before your convolution? Look at the row 'after step 1' of the shape table, "
          "and try a skip that has other channels than the decoder.",
          ((CONCAT_CONV, CONCAT_CONV.replace("decoder_channels + skip_channels", "decoder_channels")),
           (CONCAT, "both = decoder_features + skip_features"))),
    Wrong("2.1", "skip_forgotten", "The skip is taken and then forgotten.",
          "only the decoder's features are convolved, and the skip is left out",
          "Change the skip and keep the decoder's features: does your output notice? How many channels should your "
          "convolution see?",
          ((CONCAT_CONV, CONCAT_CONV.replace("decoder_channels + skip_channels", "decoder_channels")),
           (CONCAT, "both = decoder_features"))),
    Wrong("2.1", "joined_along_the_batch", "torch.cat joins along the channels by itself.",
          "the two are joined along the batch",
          "Print the shape after your step 1, for a batch of 2. Which of the four numbers has grown, and which should "
          "have?",
          ((CONCAT, "both = torch.cat([decoder_features, skip_features])"),)),
    Wrong("2.1", "skip_channels_ignored", "The skip always has the decoder's channels.",
          "the convolution expects as many channels of the skip as of the decoder",
          "Build ConcatSkip(8, 5) and call it. Where in your code does the 5 have a say?",
          ((CONCAT_CONV, CONCAT_CONV.replace("decoder_channels + skip_channels", "2 * decoder_channels")),)),
    Wrong("2.1", "keeps_all_channels", "A convolution gives as many channels as it gets.",
          "the convolution gives as many channels as it gets",
          "Print the shape of the output of ConcatSkip(64, 32). Whose channels should it have? The last row of the "
          "shape table tells.",
          ((CONCAT_CONV, CONCAT_CONV.replace(", decoder_channels,", ", decoder_channels + skip_channels,")),)),
    Wrong("2.1", "not_convolved", "The concatenation is the joined skip.",
          "the concatenation itself is returned, and nothing in it can learn",
          "How many parameters has your class? The cell below the task says how many there should be, so which of the "
          "steps is not there?",
          ((CONCAT_CONV, ""), (RETURN_CONCAT, "return both"))),
    Wrong("2.1", "kernel_1", "A 1×1 convolution is enough to mix channels.",
          "the convolution is 1×1",
          "Count the parameters of ConcatSkip(64, 32) and compare with the cell below the task. About how many times "
          "too few are they, and which kernel has that many pixels?",
          ((CONCAT_CONV, CONCAT_CONV.replace("kernel_size=3, padding=1", "kernel_size=1")),)),
    Wrong("2.1", "no_padding", "Convolutions keep height and width.",
          "the convolution has no padding, so the map shrinks by two",
          "Print height and width before and after the convolution. What does step 2 say about the border?",
          ((CONCAT_CONV, CONCAT_CONV.replace("kernel_size=3, padding=1", "kernel_size=3")),)),
    Wrong("2.1", "reflected_border", "Padding is padding, whatever stands in it.",
          "the convolution sees mirrored values beyond the border",
          "Put in maps that are 1 everywhere. Does your output change towards the border? Think of what lies outside "
          "a map when padding is left as it comes.",
          ((CONCAT_CONV, CONCAT_CONV.replace("padding=1", 'padding=1, padding_mode="reflect"')),)),
    Wrong("2.1", "relu_after", "A ReLU follows every convolution.",
          "a ReLU follows the convolution",
          "What is the smallest value of your output? Read step 3, and look which block comes right behind the join "
          "anyway.",
          ((RETURN_CONCAT, "return F.relu(self.conv(both))"),)),
    Wrong("2.1", "norm_and_relu_after", "Convolution, BatchNorm and ReLU belong together.",
          "a norm and a ReLU follow the convolution",
          "Print the class and count its layers. What does step 3 say about them, and which block comes right behind "
          "the join anyway?",
          ((CONCAT_CONV, f"{CONCAT_CONV}\nself.conv = nn.Sequential(self.conv, nn.BatchNorm2d(decoder_channels), nn.ReLU())"),)),
    Wrong("2.1", "double_conv", "A DoubleConv follows every concatenation, as in the U-Net.",
          "a whole DoubleConv follows the concatenation",
          "Print the class and count its convolutions. How many does the task ask for, and which block comes right "
          "behind the join anyway?",
          ((CONCAT_CONV, "self.conv = DoubleConv(decoder_channels + skip_channels, decoder_channels)"),)),
    Wrong("2.1", "skip_detached", "A skip only hands values over.",
          "the skip is cut off from the gradient before the join",
          WAY_BACK,
          ((CONCAT, CONCAT.replace("skip_features]", "skip_features.detach()]")),)),
    Wrong("2.1", "skip_changed_in_place", "inplace=True saves memory at no cost.",
          "a ReLU writes into the skip, so the caller's tensor changes",
          CLONE,
          ((CONCAT, CONCAT.replace("skip_features]", "F.relu(skip_features, inplace=True)]")),)),
    Wrong("2.1", "unused_layer", "A projection is built for every mode, needed or not.",
          "a 1×1 projection of the skip is built, and never called",
          "Compare your number of parameters with the one in the cell below the task. After a backward pass, which of "
          "them have no gradient?",
          ((CONCAT_CONV, f"{CONCAT_CONV}\nself.project = nn.Conv2d(skip_channels, decoder_channels, kernel_size=1)"),)),
    Wrong("2.1", "built_in_forward", "Layers can be made where they are used.",
          "every call makes a new convolution, with new random weights",
          NEW_LAYERS,
          ((CONCAT_CONV, "self.decoder_channels = decoder_channels"),
           (RETURN_CONCAT, "return nn.Conv2d(both.shape[1], self.decoder_channels, 3, padding=1).to(both)(both)"))),
    Wrong("2.1", "float32_only", "Everything is float32.",
          "the concatenation is cast to float32 in forward",
          FLOAT64,
          ((RETURN_CONCAT, "return self.conv(both.float())"),)),
    Wrong("2.1", "cpu_only", "A module knows its device.",
          "the concatenation is moved to the CPU in forward",
          PLACE,
          ((RETURN_CONCAT, 'return self.conv(both.to("cpu"))'),)),
    Wrong("2.1", "return_forgotten", "The last value of a function is what it gives back.",
          "forward computes the output and gives nothing back",
          "Print what your class gives back. What does a Python function give whose last line only stores a value?",
          ((RETURN_CONCAT, "both = self.conv(both)"),)),
)

TASK_2_2 = (
    Wrong("2.2", "always_projected", "A 1×1 convolution does no harm where the channels agree.",
          "the skip is projected even where the channels agree",
          "Count the parameters of AddSkip(64, 64). What does the last row of the shape table say?",
          ((PROJECT, "self.project = nn.Conv2d(skip_channels, decoder_channels, kernel_size=1)"),)),
    Wrong("2.2", "never_projected", "Encoder and decoder of one level have the same channels.",
          "the skip is never projected",
          "Try AddSkip(64, 32), and then AddSkip(64, 1), where PyTorch repeats the one channel without a word. Which "
          "part of step 1 speaks of these?",
          ((PROJECT, "self.project = nn.Identity()"),)),
    Wrong("2.2", "projects_the_decoder", "It does not matter which of the two is projected.",
          "the decoder's features are projected to the skip's channels",
          "Print the shape of the output of AddSkip(64, 32). Which of the two should go through as it is?",
          ((PROJECT, "self.project = nn.Identity() if same else nn.Conv2d(decoder_channels, skip_channels, kernel_size=1)"),
           (RETURN_SUM, "return self.project(decoder_features) + skip_features"))),
    Wrong("2.2", "kernel_3", "Every convolution of a U-Net is 3×3.",
          "the projection is a 3×3 convolution",
          "The shape table works out 2,112 parameters for AddSkip(64, 32). How many has yours, and which number in "
          "your layer makes so many of them?",
          ((PROJECT, PROJECT.replace("kernel_size=1", "kernel_size=3, padding=1")),)),
    Wrong("2.2", "condition_reversed", "same and different mixed up.",
          "the skip is projected where the channels agree, and left alone where they differ",
          "Count the parameters of AddSkip(64, 64) and of AddSkip(64, 32) and compare with the table. In which of the "
          "two is a projection of any use?",
          ((PROJECT, PROJECT.replace("if same", "if not same")),)),
    Wrong("2.2", "channels_cut_off", "What is too much is cut off, what is missing is zero.",
          "surplus channels of the skip are cut off, and missing ones filled with zeros",
          "Which channels of its skip does AddSkip(4, 7) never look at? Count your parameters and compare with the "
          "right column of the table.",
          ((PROJECT, ""),
           (RETURN_SUM, """\
skip = skip_features[:, : decoder_features.shape[1]]
return decoder_features + F.pad(skip, (0, 0, 0, 0, 0, decoder_features.shape[1] - skip.shape[1]))"""))),
    Wrong("2.2", "sum_in_place", "a += b and a = a + b are the same.",
          "the sum is written into the decoder's features, so the caller's tensor changes",
          "Keep a clone of the decoder's features, call the class, compare the two. Whose tensor have you written "
          "into?",
          ((RETURN_SUM, "decoder_features += self.project(skip_features)\nreturn decoder_features"),)),
    Wrong("2.2", "mean", "The mean keeps the scale.",
          "the mean of the two is returned",
          "Put in ones for both. What comes out of yours, and what comes out of step 2?",
          ((RETURN_SUM, "return (decoder_features + self.project(skip_features)) / 2"),)),
    Wrong("2.2", "product", "Multiplying is how features are combined.",
          "the decoder's features are multiplied by the skip",
          "Put in a skip of zeros. What should be left of the decoder's features, and what is left in yours?",
          ((RETURN_SUM, "return decoder_features * self.project(skip_features)"),)),
    Wrong("2.2", "relu_after", "A ReLU follows the sum, as in ResNet.",
          "a ReLU follows the sum",
          "Put in negative numbers alone. What comes out? Read the last words of step 2.",
          ((RETURN_SUM, "return F.relu(decoder_features + self.project(skip_features))"),)),
    Wrong("2.2", "norm_after_projection", "A BatchNorm follows the projection, as in ResNet.",
          "a BatchNorm follows the projection",
          "Count the parameters of AddSkip(64, 32) and compare with the table. To which layer do the surplus ones "
          "belong?",
          ((PROJECT, f"""\
{PROJECT}
if not same:
    self.project = nn.Sequential(self.project, nn.BatchNorm2d(decoder_channels))"""),)),
    Wrong("2.2", "skip_detached", "A skip only hands values over.",
          "the skip is cut off from the gradient before the sum",
          WAY_BACK,
          ((RETURN_SUM, "return decoder_features + self.project(skip_features.detach())"),)),
    Wrong("2.2", "projection_without_gradient", "The projection is fixed.",
          "the skip's branch runs with its gradients switched off",
          "After a backward pass, print the gradient of the projection and that of the skip. Which line keeps PyTorch "
          "from recording this way?",
          ((RETURN_SUM, "with torch.no_grad():\n    skip = self.project(skip_features)\nreturn decoder_features + skip"),)),
    Wrong("2.2", "built_in_forward", "Layers can be made where they are used.",
          "every call makes a new projection, with new random weights",
          NEW_LAYERS,
          ((PROJECT, ""),
           (RETURN_SUM, """\
before, after = skip_features.shape[1], decoder_features.shape[1]
if before != after:
    skip_features = nn.Conv2d(before, after, kernel_size=1).to(skip_features)(skip_features)
return decoder_features + skip_features"""))),
    Wrong("2.2", "joined_by_concatenation", "Concatenation and a convolution contain the sum.",
          "both are concatenated and mixed by a 1×1 convolution",
          "Put in a skip of zeros. Do the decoder's features come out as they went in? Look at the table of the four "
          "modes: which one have you written?",
          ((PROJECT, "self.project = nn.Conv2d(decoder_channels + skip_channels, decoder_channels, kernel_size=1)"),
           (RETURN_SUM, "return self.project(torch.cat([decoder_features, skip_features], dim=1))"))),
    Wrong("2.2", "skip_dropped", "Where the channels differ, there is no skip.",
          "the skip is left out where the channels differ",
          "Build AddSkip(8, 5) and change its skip only: does your output notice? What does step 1 do in this case?",
          ((PROJECT, "self.same = same"),
           (RETURN_SUM, "return decoder_features + skip_features if self.same else decoder_features"))),
    Wrong("2.2", "float32_only", "Everything is float32.",
          "the sum is cast to float32",
          FLOAT64,
          ((RETURN_SUM, "return (decoder_features + self.project(skip_features)).float()"),)),
)

TASK_2_3 = (
    Wrong("2.3", "no_sigmoid", "The last convolution gives the weights.",
          "the skip is weighted by what the last convolution gives, of any size and sign",
          "Print the smallest and the largest α. Between which two numbers does the task put it, and which step takes "
          "care of that?",
          ((ALPHA, "self.alpha = self.alpha_conv(asked)"),)),
    Wrong("2.3", "no_relu", "The sigmoid already makes it non-linear.",
          "the last convolution reads the sum of gate and skip as it is",
          "Two linear layers in a row are no more than one linear layer. What do the steps put between them?",
          ((ASKED, "asked = self.gate_conv(gate) + self.skip_conv(skip)"),)),
    Wrong("2.3", "relu_before_the_sum", "ReLU follows each convolution.",
          "gate and skip are each rectified before they are added",
          "Look at the brackets of the ReLU in the task's formula: what is inside them? Could a negative answer of "
          "the skip outweigh the gate there, and could it in your code?",
          ((ASKED, "asked = F.relu(self.gate_conv(gate)) + F.relu(self.skip_conv(skip))"),)),
    Wrong("2.3", "softmax", "Attention is a softmax, so the weights of a picture sum to one.",
          "a softmax makes the weights of all positions of a picture sum to one",
          "Add up α over all positions of one picture. How large can a single weight be on a large map, and how would "
          "such a gate open everywhere?",
          ((ALPHA, "weight = self.alpha_conv(asked)\nself.alpha = weight.flatten(1).softmax(dim=1).view_as(weight)"),)),
    Wrong("2.3", "alpha_of_every_channel", "Every channel has its own weight.",
          "every channel of the skip gets a weight of its own",
          "Print the shape of α. What is the second number in its row of the shape table, and what does that mean for "
          "the channels of one position?",
          ((ALPHA_CONV, ALPHA_CONV.replace("1, kernel_size", "skip_channels, kernel_size")),)),
    Wrong("2.3", "one_alpha_a_picture", "A weight a picture is enough, as in squeeze-and-excitation.",
          "one weight, the mean over all positions, serves the whole picture",
          "Print α at two positions of one picture. How could such a gate let the animal's edges through and keep the "
          "carpet's out?",
          ((ALPHA, "self.alpha = torch.sigmoid(self.alpha_conv(asked)).mean(dim=(2, 3), keepdim=True).expand_as(skip[:, :1])"),)),
    Wrong("2.3", "inner_not_halved", "The inner width is that of the gate.",
          "the two inner convolutions are as wide as the gate",
          GATE_TABLE,
          (("inner_channels = gate_channels // 2", "inner_channels = gate_channels"),)),
    Wrong("2.3", "inner_of_the_skip", "The inner width is half of the skip's.",
          "the two inner convolutions are half as wide as the skip",
          GATE_TABLE,
          (("inner_channels = gate_channels // 2", "inner_channels = skip_channels // 2"),)),
    Wrong("2.3", "kernel_3", "Every convolution of a U-Net is 3×3.",
          "the convolutions of gate and skip are 3×3",
          "Count the parameters of each layer beside the table below the task. About how many times too many are "
          "they, and which kernel does step 2 name?",
          ((GATE_CONV, GATE_CONV.replace("kernel_size=1", "kernel_size=3, padding=1")),
           (SKIP_CONV, SKIP_CONV.replace("kernel_size=1", "kernel_size=3, padding=1")))),
    Wrong("2.3", "concatenated_inside", "Gate and skip are concatenated, as everything else.",
          "gate and skip are concatenated inside the gate",
          "How many numbers a position does your last convolution see? Compare with its column in the table below the "
          "task. Which sign stands between gate and skip in the formula?",
          ((ALPHA_CONV, ALPHA_CONV.replace("inner_channels", "2 * inner_channels")),
           (ASKED, "asked = F.relu(torch.cat([self.gate_conv(gate), self.skip_conv(skip)], dim=1))"))),
    Wrong("2.3", "not_resized", "Gate and skip have one size.",
          "the gate stays as small as it came",
          "Call AttentionGate(64, 32) with a gate of 12×12 and a skip of 25×25. What does the row 'after step 1' of "
          "the shape table ask for?",
          ((RESIZE, ""),)),
    Wrong("2.3", "nearest", "F.interpolate is bilinear by default.",
          "the gate is enlarged by repeating its nearest values",
          "Enlarge the row 0, 1 in the way of your gate and print it. Are there values in between? What does PyTorch "
          "do if nobody names a mode?",
          ((RESIZE, "gate = F.interpolate(gate, size=skip.shape[-2:])"),)),
    Wrong("2.3", "always_doubled", "The gate comes from the level below, so it has half the size.",
          "a smaller gate is enlarged by a factor of 2, whatever size the skip has",
          "Call the gate with 12×12 and a skip of 25×25: what is twice 12? Then with a gate that is as wide as the "
          "skip, but not as high.",
          ((RESIZE, '''\
if gate.shape[-1] != skip.shape[-1]:
    gate = F.interpolate(gate, scale_factor=2, mode="bilinear", align_corners=False)'''),)),
    Wrong("2.3", "skip_resized", "It does not matter which of the two is resized.",
          "the skip is resized to the gate",
          "Print the size of the output for a gate of 12×12 and a skip of 25×25. The table at the end of the task "
          "says in which way this lab differs from the paper.",
          ((RESIZE, 'skip = F.interpolate(skip, size=gate.shape[-2:], mode="bilinear", align_corners=False)'),)),
    Wrong("2.3", "returns_alpha", "A gate gives the weights.",
          "the weights themselves are returned",
          "How many channels has your output, and what does the last row of the shape table say? Which step is not "
          "there yet?",
          ((RETURN_GATED, "return self.alpha"),)),
    Wrong("2.3", "weighs_the_gate", "The gate is what is gated.",
          "the gate is multiplied by the weights",
          "How many channels has the output of your AttentionGate(64, 32)? Which of the two brings the edges that are "
          "to be chosen from?",
          ((RETURN_GATED, "return gate * self.alpha"),)),
    Wrong("2.3", "skip_added_again", "The weighted skip is added to the skip, as in a residual block.",
          "the weighted skip is added to the skip itself",
          "Divide your output by the skip. Between which numbers do the factors lie? A closed gate should let nothing "
          "through.",
          ((RETURN_GATED, "return skip + skip * self.alpha"),)),
    Wrong("2.3", "skip_changed_in_place", "a *= b and a = a * b are the same.",
          "the weights are multiplied into the skip in place, so the caller's tensor changes",
          CLONE,
          ((RETURN_GATED, "skip *= self.alpha\nreturn skip"),)),
    Wrong("2.3", "alpha_detached", "Weights are no values to differentiate.",
          "the weights are cut off from the gradient before they meet the skip",
          "After a backward pass, print the gradients of the gate's convolutions. Which α may be cut off, the one "
          "that is kept or the one that is used?",
          ((RETURN_GATED, "return skip * self.alpha.detach()"),)),
    Wrong("2.3", "alpha_not_kept", "alpha is a local value.",
          "the weights are gone when the call is over",
          "Call the gate and look for its α afterwards. Where would the maps further down find it? Step 5 says so.",
          ((ALPHA, "alpha = torch.sigmoid(self.alpha_conv(asked))"), (RETURN_GATED, "return skip * alpha"))),
    Wrong("2.3", "alpha_kept_before_the_sigmoid", "alpha is what the last convolution gives.",
          "what is kept as alpha comes from before the sigmoid",
          "Print the smallest and the largest number of what is kept. Is it what the skip was multiplied by?",
          ((ALPHA, "self.alpha = self.alpha_conv(asked)"), (RETURN_GATED, "return skip * torch.sigmoid(self.alpha)"))),
    Wrong("2.3", "alpha_of_the_first_call", "alpha is kept once.",
          "what is kept as alpha stays that of the first call",
          "Call the gate with two different pictures and print its α after each call. Which of the two pictures does "
          "it belong to?",
          ((ALPHA, "alpha = torch.sigmoid(self.alpha_conv(asked))\nself.alpha = getattr(self, 'alpha', alpha)"),
           (RETURN_GATED, "return skip * alpha"))),
    Wrong("2.3", "alpha_kept_as_a_mean", "One number is enough to look at.",
          "what is kept as alpha is one number, the mean of all weights",
          "Print what is kept. The maps further down want to show where the gate opens: what shape does the table "
          "give to α?",
          ((ALPHA, """\
alpha = torch.sigmoid(self.alpha_conv(asked))
self.alpha = 0.0 if alpha.is_meta else alpha.mean().item()"""),
           (RETURN_GATED, "return skip * alpha"))),
    Wrong("2.3", "gate_not_asked", "The skip knows best what it is worth.",
          "the weights are worked out from the skip alone",
          "Change the gate and keep the skip: does α move? After a backward pass, which convolution has no gradient?",
          ((ASKED, "asked = F.relu(self.skip_conv(skip))"),)),
    Wrong("2.3", "skip_not_asked", "The gate alone decides.",
          "the weights are worked out from the gate alone",
          "Change the skip and keep the gate: does α move? After a backward pass, which convolution has no gradient?",
          ((ASKED, "asked = F.relu(self.gate_conv(gate))"),)),
    Wrong("2.3", "float32_only", "Everything is float32.",
          "the gate is cast to float32 in forward",
          FLOAT64,
          ((RESIZE, RESIZE.replace("interpolate(gate,", "interpolate(gate.float(),")),)),
    Wrong("2.3", "cuda_only", "There is always a GPU.",
          "the gate is moved to the GPU in forward",
          PLACE,
          ((RESIZE, RESIZE.replace("interpolate(gate,", "interpolate(gate.cuda(),")),)),
    Wrong("2.3", "gate_not_used", "The gate is built, and the skip goes around it.",
          "a gate is built and never called: the skip goes around it",
          "After a backward pass through AttentionSkip, print the gradients of the gate's layers. What should be done "
          "with what the gate returns?",
          ((GATED, "gated = skip_features"),)),
    Wrong("2.3", "no_gate", "attention is another word for concatenation.",
          "the attention join is a plain concatenation, and there is no gate in it",
          "Count the parameters of AttentionSkip(64, 32) and of ConcatSkip(64, 32). Should they be equal?",
          ((GATE, ""), (GATED, "gated = skip_features"))),
    Wrong("2.3", "gate_and_skip_swapped", "The skip gates the decoder's features.",
          "the skip gates the decoder's features",
          "Who asks, and who is weighted? Read the first sentence of the task again and follow both tensors through "
          "your forward.",
          ((GATE, "self.gate = AttentionGate(skip_channels, decoder_channels)"),
           (GATED, "gated = self.gate(skip_features, decoder_features)"),
           (RETURN_ATTENTION, "return self.conv(torch.cat([gated, skip_features], dim=1))"))),
    Wrong("2.3", "gate_detached", "The decoder only says where to look.",
          "the decoder's features are cut off from the gradient on their way into the gate",
          "The output is right, so think of the way back. The decoder should learn to ask well, too: does any "
          "gradient reach it through the gate?",
          ((GATED, "gated = self.gate(decoder_features.detach(), skip_features)"),)),
    Wrong("2.3", "only_the_gated_skip", "What the gate lets through is the output.",
          "only the gated skip is convolved, and the decoder's features are left out",
          "How many channels does your 3×3 convolution see? Compare with Task 2.1, and read the second step of "
          "AttentionSkip again.",
          ((CONCAT_CONV,
            "self.conv = nn.Conv2d(skip_channels, decoder_channels, kernel_size=3, padding=1)"),
           (RETURN_ATTENTION, "return self.conv(gated)"))),
    Wrong("2.3", "relu_after", "A ReLU follows every convolution.",
          "a ReLU follows the convolution of the attention join",
          "What is the smallest value of your output? The task says 'as in Task 2.1': what stood behind the "
          "convolution there?",
          ((RETURN_ATTENTION, "return F.relu(self.conv(torch.cat([decoder_features, gated], dim=1)))"),)),
    Wrong("2.3", "not_convolved", "The concatenation is the joined skip.",
          "the concatenation itself is returned by the attention join",
          "Print the shape of the output of AttentionSkip(64, 32). How many channels should it have, and which step "
          "brings them down?",
          ((CONCAT_CONV, ""),
           (RETURN_ATTENTION, "return torch.cat([decoder_features, gated], dim=1)"))),
    Wrong("2.3", "super_forgotten", "super().__init__() is decoration.",
          "the attention join sets up its layers before it is a module",
          "Build AttentionSkip and read the error to its end. Which first line have all other classes of this "
          "notebook in common?",
          (("super().__init__()\n# TODO Task 2.3: build the gate and the convolution after the concatenation.", ""),)),
)

TASK_2_4 = (
    Wrong("2.4", "norms_of_the_weights", "parameter.norm() is the norm of its gradient.",
          "the norms are those of the weights",
          "In the cell below the task the gradient is (3, 4), whatever the weights are. Build that convolution once "
          "more: does your number change?",
          ((NORM, "norms[name] = trainable[name].norm().item()"),)),
    Wrong("2.4", "sum_of_magnitudes", "Any norm will do.",
          "the magnitudes of each gradient are added up (the L1 norm)",
          "What do you get for the gradient (3, 4) of the cell below the task? How do 3 and 4 become 5?",
          ((NORM, "norms[name] = gradient.abs().sum().item()"),)),
    Wrong("2.4", "squared", "The root changes no order.",
          "the squares of each gradient are added up, and that is all",
          "You get 25 for the gradient (3, 4) of the cell below the task. What is left to do in the formula of step "
          "3?",
          ((NORM, "norms[name] = gradient.square().sum().item()"),)),
    Wrong("2.4", "mean_magnitude", "The mean makes layers of different size comparable.",
          "each norm is the mean magnitude of its gradient",
          "You get 3.5 for the gradient (3, 4) of the cell below the task. Does the formula of step 3 divide by "
          "anything?",
          ((NORM, "norms[name] = gradient.abs().mean().item()"),)),
    Wrong("2.4", "signed_sum", "A norm is a sum.",
          "the numbers of each gradient are added up with their signs",
          "You get 7 for the gradient (3, 4) of the cell below the task. What would you get for (3, −3), and should a "
          "length ever be that?",
          ((NORM, "norms[name] = gradient.sum().item()"),)),
    Wrong("2.4", "own_criterion", "The criterion is accepted and forgotten.",
          "the loss is binary cross-entropy, whatever criterion is handed in",
          "In the cell below the task the criterion is the mean of the logits. Does your function ever call it?",
          ((LOSS, "loss = F.binary_cross_entropy_with_logits(model(images), masks)"),)),
    Wrong("2.4", "gradients_returned", "The gradient is its own norm.",
          "the dict holds the gradients themselves",
          "Print one entry of your dict. How many numbers is it, and how many does step 3 want?",
          ((NORM, "norms[name] = gradient"),)),
    Wrong("2.4", "weights_only", "Biases do not count.",
          "only weights get an entry in the dict, and biases get none",
          "Count the entries of your dict and the names that model.named_parameters() gives. Which ones are missing?",
          (("norms = {name: 0.0 for name, _ in model.named_parameters()}",
            'norms = {name: 0.0 for name, _ in model.named_parameters() if name.endswith("weight")}'),
           (NORM, 'if name.endswith("weight"):\n    norms[name] = gradient.norm().item()'))),
    Wrong("2.4", "list_of_norms", "The order says which is which.",
          "the norms come as a list, without their names",
          "How would the plot know which number belongs to which layer? Look at what the docstring promises to "
          "return.",
          (("return norms", "return list(norms.values())"),
           ("norms = gradient_norms(model, images, masks, criterion)",
            "norms = dict(zip(dict(model.named_parameters()), gradient_norms(model, images, masks, criterion)))"))),
    Wrong("2.4", "one_norm_for_all", "One number says how large the gradient is.",
          "the dict has one entry more, the norm of all gradients together",
          "Lay the names in your dict beside those of model.named_parameters(). Which one is no parameter?",
          (("return norms", 'return {"total": sum(norm**2 for norm in norms.values()) ** 0.5, **norms}'),)),
    Wrong("2.4", "unused_left_out", "Where there is no gradient, there is no entry.",
          "a parameter without a gradient gets no entry",
          "Freeze one layer of a model and count the entries of your dict. What does step 4 want for it?",
          (("norms = {name: 0.0 for name, _ in model.named_parameters()}", "norms = {}"),)),
    Wrong("2.4", "unused_crash", "Every parameter gets a gradient.",
          "a parameter that the loss never uses ends the function with an error",
          "Try a model with a parameter that its forward never touches. Read the error to its end, and then step 4.",
          ((GRADIENTS, GRADIENTS.replace(", allow_unused=True", "")),)),
    Wrong("2.4", "frozen_crash", "Every parameter learns.",
          "a frozen parameter ends the function with an error",
          "Freeze one layer of a model and call your function. For which of the parameters can a gradient be asked "
          "for at all?",
          ((TRAINABLE, "trainable = dict(model.named_parameters())"),)),
    Wrong("2.4", "backward_leaves_gradients", "loss.backward() and done.",
          "the gradients of the measurement are left in .grad",
          "Print the .grad of a weight after your call, as the cell below the task does. What was there before, and "
          "what does step 5 say?",
          (("def gradient_norms", WITH_BACKWARD.format(before="model.zero_grad()", after="pass")),)),
    Wrong("2.4", "backward_on_old_gradients", "What .grad held before does not matter.",
          "the norms include what .grad held before",
          GRAD_BEFORE,
          (("def gradient_norms", WITH_BACKWARD.format(
              before="old = {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}",
              after="for n, p in model.named_parameters():\n        p.grad = old[n]")),)),
    Wrong("2.4", "backward_and_zero_grad", "Cleaning up afterwards leaves no trace.",
          "every .grad is emptied, whatever it held before",
          GRAD_BEFORE,
          (("def gradient_norms", WITH_BACKWARD.format(before="model.zero_grad()", after="model.zero_grad()")),)),
    Wrong("2.4", "weights_stepped", "A backward pass is followed by a step.",
          "the weights move a little down the gradient",
          "Call your function twice on the same model. Are the norms alike? Print a weight before and after.",
          (("return norms", """\
with torch.no_grad():
    for parameter, gradient in zip(trainable.values(), gradients):
        if gradient is not None:
            parameter -= 0.01 * gradient
return norms"""),)),
    Wrong("2.4", "only_the_first_model", "return belongs to the last line of the loop.",
          "the first model gets a row, and then the function returns",
          "How many rows do you get for two models? Look how far your last line is indented.",
          (("rows.append(row)", "rows.append(row)\nreturn rows"),)),
    Wrong("2.4", "dict_of_rows", "A dict by name is handier than a list.",
          "the rows come in a dict, under the names of the models",
          "Print what your function gives for two models. Which kind of collection does the docstring promise?",
          (("rows = []", "rows = {}"), ("rows.append(row)", "rows[name] = row"))),
    Wrong("2.4", "name_missing", "The order says which is which.",
          "the rows do not say which model they belong to",
          KEYS,
          (('"name": name,', ""),)),
    Wrong("2.4", "keys_of_my_own", "The names of the columns are free.",
          "the time of the forward pass stands under another key",
          KEYS,
          (('"forward_ms": forward_ms', '"forward_time": forward_ms'),)),
    Wrong("2.4", "memory_of_the_gpu_only", "Memory is the GPU's.",
          "the memory is what the GPU reports, which is 0 where there is none",
          "Look at your number on a machine without a GPU. The task's table names a given function that measures on "
          "both.",
          (('step_memory_mb(model, images, masks, criterion)', "torch.cuda.max_memory_allocated() / 1e6"),)),
    Wrong("2.4", "clock_read_once", "One reading of the clock is a time.",
          "both times come from a single reading of the clock, so they are 0",
          "Print your two times. What happens between the two readings that you subtract? The task's table names a "
          "given function for it.",
          (("forward_ms, backward_ms = step_times_ms(model, images, masks, criterion)",
            "start = time.perf_counter()\nmodel(images)\nforward_ms = backward_ms = start - start"),)),
    Wrong("2.4", "tensors_counted", "len counts parameters.",
          "every parameter tensor counts as one",
          "A 1×1 convolution of two channels to one learns two weights and a bias. How many parameters does your row "
          "say?",
          ((COUNT, "len(list(model.parameters()))"),)),
    Wrong("2.4", "second_encoder", "The first encoder has number 1.",
          "first_encoder_grad belongs to the second encoder",
          "Print the names of the parameters that you take for the first encoder. With which number does Python begin "
          "to count?",
          ((FIRST, FIRST.replace("encoders.0.", "encoders.1.")),)),
    Wrong("2.4", "first_decoder", "The last decoder stands first, at the top of the figure.",
          "last_decoder_grad belongs to the lowest decoder",
          "In which order do the decoders run, and which of them is next to the head? The docstring says from where "
          "they are counted.",
          ((LAST, '"last_decoder_grad": "decoders.0."'),)),
    Wrong("2.4", "two_levels", "There are as many decoders as in the network at hand.",
          "last_decoder_grad belongs to the second decoder, however many there are",
          "Try models of one level and of three. Which decoder does your row speak of, and which is the last?",
          ((LAST, '"last_decoder_grad": "decoders.1."'),)),
    Wrong("2.4", "norms_added_up", "The norm of a block is the sum of its norms.",
          "the norms of a block's parameters are added up",
          "Two parameters have gradients of 3 and of 4. Written one after the other they are the vector (3, 4): how "
          "long is it, and what do you get?",
          ((BLOCK_NORM, "sum(norm for parameter, norm in norms.items() if parameter.startswith(block))"),)),
    Wrong("2.4", "analysis_unfinished", "The table can wait.",
          "analyze_skip_connections gives nothing back",
          "Print what the function gives you for one model. Is its TODO filled, and do your rows leave the function?",
          (("def analyze_skip_connections", "def analyze_skip_connections(models, images, masks, criterion):\n    pass"),)),
)

WRONG = TASK_2_1 + TASK_2_2 + TASK_2_3 + TASK_2_4
