"""Known-wrong variants of Tasks 3.4 and 3.5: training."""

from solutions.wrong.variant import Wrong

# Lines of the reference that several variants change.
PREDICTED = "predicted = torch.sigmoid(pred.float()) > threshold"
RATIO = "((shared + 1e-6) / (either + 1e-6)).mean().item()"
SHARED = "shared = (predicted & actual).sum(dim=(0, 2, 3))"
EITHER = "either = (predicted | actual).sum(dim=(0, 2, 3))"
EVALUATED = "losses.append(criterion(logits, masks).item())\nious.append(calculate_iou(logits, masks))"
FEED = "scheduler.step(history[\"val_loss\"][-1])"
PLATEAU = "torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=5)"
BETTER = 'if history["val_iou"][-1] > best["iou"]:'
WORTH = 'best = {"iou": history["val_iou"][-1]'
COPY = '"epoch": epoch, "weights": copy.deepcopy(model.state_dict())}'
SAVE = "torch.save(best[\"weights\"], checkpoint_path)"
RESTORE = 'model.load_state_dict(best["weights"])'
ADAM = "torch.optim.Adam(model.parameters(), lr=lr, weight_decay=weight_decay)"
KEYS = '("train_loss", "train_iou", "val_loss", "val_iou", "lr")}'
EPOCHS = 'range(len(history["lr"]) + 1, epochs + 1)'
LIVE = "model.state_dict()"
OPTIONS = '{"accumulation_steps": accumulation_steps, "max_grad_norm": max_grad_norm, "scaler": scaler}'

# The loop as most hand-ins write it, itself right; a variant changes one piece of it.
EPOCH = '''\
def train_epoch(model, dataloader, optimizer, criterion, device, *, accumulation_steps=1, max_grad_norm=None, **_):
    model.train()
    running_loss, running_iou = 0.0, 0.0
    optimizer.zero_grad()
    for i, (images, masks) in enumerate(dataloader):
        images, masks = images.to(device), masks.to(device)
        outputs = model(images)
        loss = criterion(outputs, masks)
        (loss / accumulation_steps).backward()
        if (i + 1) % accumulation_steps == 0 or i + 1 == len(dataloader):
            if max_grad_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
        running_loss += loss.item()
        running_iou += calculate_iou(outputs, masks)
    return running_loss / len(dataloader), running_iou / len(dataloader)'''
START = "    optimizer.zero_grad()\n    for"
BACKWARD = "(loss / accumulation_steps).backward()"
WHEN = "if (i + 1) % accumulation_steps == 0 or i + 1 == len(dataloader):"
CLIP = """            if max_grad_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
"""
MEANS = "running_loss / len(dataloader), running_iou / len(dataloader)"
STEP = "            optimizer.step()\n            optimizer.zero_grad()\n"


def _epoch(name: str, misconception: str, title: str, hint: str, *pieces: tuple[str, str]) -> Wrong:
    """A variant of the loop above; each piece must be in it once."""
    text = EPOCH
    for old, new in pieces:
        if text.count(old) != 1:
            raise ValueError(f"{name}: found {text.count(old)} times: {old!r}")
        text = text.replace(old, new)
    return Wrong("3.4", name, misconception, title, hint, (("def train_epoch", text),))


IOU = (
    Wrong("3.4", "iou_of_raw_logits", "The network's output is compared with the threshold as it is.", "", "",
          ((PREDICTED, "predicted = pred > threshold"),)),
    Wrong("3.4", "iou_threshold_fixed", "The threshold is always one half.", "", "",
          ((PREDICTED, "predicted = torch.sigmoid(pred.float()) > 0.5"),)),
    Wrong("3.4", "iou_threshold_of_zero_on_logits", "Logits above zero are probabilities above one half.", "", "",
          ((PREDICTED, "predicted = pred > 0"),)),
    Wrong("3.4", "iou_of_the_background", "The comparison is the wrong way round.", "", "",
          ((PREDICTED, "predicted = torch.sigmoid(pred.float()) < threshold"),)),
    Wrong("3.4", "iou_of_probabilities", "A soft IoU needs no threshold.", "", "",
          ((PREDICTED, "predicted = torch.sigmoid(pred.float())"),
           (SHARED, "shared = (predicted * target).sum(dim=(0, 2, 3))"),
           (EITHER, "either = (predicted + target - predicted * target).sum(dim=(0, 2, 3))"))),
    Wrong("3.4", "iou_empty_is_zero", "The ε guards the division only.", "", "",
          ((RATIO, "(shared / (either + 1e-6)).mean().item()"),)),
    Wrong("3.4", "iou_absent_is_one", "Where the object is absent, nothing can be wrong.", "", "",
          ((RATIO, "torch.where(actual.sum((0, 2, 3)) == 0, 1.0, (shared + 1e-6) / (either + 1e-6)).mean().item()"),)),
    Wrong("3.4", "iou_union_counted_twice", "The union is the sum of both masks.", "", "",
          ((EITHER, "either = (predicted.int() + actual.int()).sum(dim=(0, 2, 3))"),)),
    Wrong("3.4", "iou_is_dice", "Dice and IoU are the same.", "", "",
          ((RATIO, "((2 * shared + 1e-6) / (shared + either + 1e-6)).mean().item()"),)),
    Wrong("3.4", "iou_is_accuracy", "The share of right pixels.", "", "",
          ((RATIO, "(predicted == actual).float().mean().item()"),)),
    Wrong("3.4", "iou_per_picture", "The IoU of each picture, and then the mean.", "", "",
          ((SHARED, SHARED.replace("(0, 2, 3)", "(2, 3)")), (EITHER, EITHER.replace("(0, 2, 3)", "(2, 3)")))),
    Wrong("3.4", "iou_classes_together", "All pixels of all classes are counted in one sum.", "", "",
          ((SHARED, SHARED.replace("dim=(0, 2, 3)", "")), (EITHER, EITHER.replace("dim=(0, 2, 3)", "")))),
    Wrong("3.4", "iou_not_returned", "Printing shows the value.", "", "",
          ((f"return {RATIO}", f"print({RATIO})"),)),
)

TRAIN = (
    _epoch("never_zeroed", "backward() begins anew each time.", "", "",
           (START, "    for"), (STEP, "            optimizer.step()\n")),
    _epoch("zeroed_after_backward", "zero_grad belongs in front of step.", "", "",
           (BACKWARD, BACKWARD + "\n        optimizer.zero_grad()")),
    _epoch("zeroed_every_batch", "zero_grad stands at the top of every batch, also within a group.", "", "",
           ("        outputs = model", "        optimizer.zero_grad()\n        outputs = model")),
    _epoch("no_backward", "step knows the loss.", "", "", (BACKWARD, "pass")),
    _epoch("no_step", "backward() learns.", "", "", (STEP, "            optimizer.zero_grad()\n")),
    _epoch("one_step_an_epoch", "step stands after the loop.", "", "", (WHEN, "if i + 1 == len(dataloader):")),
    _epoch("last_group_dropped", "Only full groups make a step.", "", "", (WHEN, "if (i + 1) % accumulation_steps == 0:")),
    _epoch("group_counted_from_zero", "The batch's number is taken without + 1, so the first group has one batch.", "", "",
           (WHEN, "if i % accumulation_steps == 0 or i + 1 == len(dataloader):")),
    _epoch("accumulation_ignored", "accumulation_steps is accepted and forgotten.", "", "",
           (BACKWARD, "loss.backward()"), (WHEN, "if True:")),
    _epoch("loss_not_scaled", "Gradients that add up are a mean.", "", "", (BACKWARD, "loss.backward()")),
    _epoch("scaled_loss_reported", "The loss is divided in place, and that is what is reported.", "", "",
           (BACKWARD, "loss = loss / accumulation_steps\n        loss.backward()")),
    _epoch("loss_summed", "The sum over the batches is returned.", "", "",
           ("running_loss / len(dataloader)", "running_loss")),
    _epoch("divided_by_pictures", "A mean of batches is divided by the number of pictures.", "", "",
           (MEANS, MEANS.replace("len(dataloader)", "len(dataloader.dataset)"))),
    _epoch("last_batch_returned", "The last batch stands for the epoch.", "", "",
           (MEANS, "loss.item(), calculate_iou(outputs, masks)")),
    _epoch("returned_in_the_loop", "return is indented one level too far.", "", "",
           ("    return running", "        return running")),
    _epoch("only_the_loss_returned", "The loss says everything.", "", "",
           (MEANS, "running_loss / len(dataloader)")),
    _epoch("sigmoid_twice", "calculate_iou gets probabilities.", "", "",
           ("calculate_iou(outputs, masks)", "calculate_iou(torch.sigmoid(outputs), masks)")),
    _epoch("clipped_after_step", "Clipping comes last.", "", "",
           (CLIP, ""), (STEP, STEP.replace("step()\n", "step()\n" + CLIP))),
    _epoch("clipped_every_batch", "Each batch's gradients are clipped as they come.", "", "",
           (CLIP, ""), (BACKWARD, BACKWARD + "\n" + CLIP.replace("            ", "        ", 1).rstrip())),
    _epoch("clipped_by_value", "Clipping limits each number.", "", "", ("clip_grad_norm_", "clip_grad_value_")),
    _epoch("clipped_to_one", "The limit is always 1.", "", "", (CLIP, CLIP.replace("(), max_grad_norm", "(), 1.0"))),
    _epoch("never_clipped", "max_grad_norm is accepted and forgotten.", "", "", (CLIP, "")),
    _epoch("train_mode_missing", "A model is in train mode from the start.", "", "", ("    model.train()\n", "")),
    _epoch("trains_in_eval_mode", "A slip of the pen: eval for train.", "", "", ("model.train()", "model.eval()")),
    _epoch("own_criterion", "The loss of the lab is used whatever the caller hands over.", "", "",
           ("criterion(outputs, masks)", "CombinedLoss()(outputs, masks)")),
    _epoch("criterion_turned_round", "Target first, prediction second.", "", "",
           ("criterion(outputs, masks)", "criterion(masks, outputs)")),
    _epoch("always_cuda", "There is a GPU.", "", "", ("images.to(device), masks.to(device)", "images.cuda(), masks.cuda()")),
)

VALIDATE = (
    Wrong("3.4", "eval_mode_missing", "Without gradients, nothing can change.", "", "", (("model.eval()", "pass"),)),
    Wrong("3.4", "validates_with_gradients", "eval() switches gradients off.", "", "", (("@torch.no_grad()", ""),)),
    Wrong("3.4", "validation_learns_gradients", "A copy of the training loop without its step.", "", "",
          (("@torch.no_grad()", ""),
           (EVALUATED, "loss = criterion(logits, masks)\nloss.backward()\nlosses.append(loss.item())\n"
                       "ious.append(calculate_iou(logits, masks))"))),
    Wrong("3.4", "validation_of_the_last_batch", "The lists are made anew in every batch.", "", "",
          ((EVALUATED, "losses = [criterion(logits, masks).item()]\nious = [calculate_iou(logits, masks)]"),)),
    Wrong("3.4", "validation_summed", "The sum over the batches is returned.", "", "",
          ((EVALUATED, EVALUATED.replace(".item())", ".item() * len(dataloader))")),)),
)

MODEL = (
    Wrong("3.4", "scheduler_gets_the_training_loss", "The loss is the loss.", "", "",
          ((FEED, FEED.replace("val_loss", "train_loss")),)),
    Wrong("3.4", "scheduler_gets_the_iou", "The plateau is one of the IoU.", "", "",
          ((FEED, FEED.replace("val_loss", "val_iou")),
           (PLATEAU, PLATEAU.replace("patience=5", 'mode="max", patience=5')))),
    Wrong("3.4", "scheduler_takes_the_iou_for_a_loss", "The scheduler gets the IoU and waits for it to fall.", "", "",
          ((FEED, FEED.replace("val_loss", "val_iou")),)),
    Wrong("3.4", "scheduler_by_epochs", "A StepLR is a scheduler, too.", "", "",
          ((PLATEAU, "torch.optim.lr_scheduler.StepLR(optimizer, step_size=5)"), (FEED, "scheduler.step()"))),
    Wrong("3.4", "scheduler_never_stepped", "It watches the optimizer by itself.", "", "", ((FEED, "pass"),)),
    Wrong("3.4", "scheduler_default_patience", "Ten epochs of patience are the default.", "", "",
          ((PLATEAU, "torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)"),)),
    Wrong("3.4", "optimizer_anew_each_epoch", "Every epoch begins with an optimizer of its own.", "", "",
          (("*train_epoch(model, train_loader, optimizer,", f"*train_epoch(model, train_loader, {ADAM},"),)),
    Wrong("3.4", "best_weights_alias", "state_dict() is a copy.", "", "",
          ((COPY, COPY.replace(f"copy.deepcopy({LIVE})", LIVE)),)),
    Wrong("3.4", "best_weights_shallow_copy", "A copy of the dict is a copy of the weights.", "", "",
          ((COPY, COPY.replace(f"copy.deepcopy({LIVE})", f"dict({LIVE})")),)),
    Wrong("3.4", "best_by_the_loss", "The lowest loss is the best model.", "", "",
          ((BETTER, 'if history["val_loss"][-1] <= min(history["val_loss"]):'),)),
    Wrong("3.4", "best_by_the_training_iou", "The best IoU is the best IoU.", "", "",
          ((BETTER, BETTER.replace("val", "train")), (WORTH, WORTH.replace("val", "train")))),
    Wrong("3.4", "worst_kept", "The comparison of the loss is kept for the IoU.", "", "",
          ((BETTER, 'if history["val_iou"][-1] < best["iou"] or best["iou"] < 0:'),)),
    Wrong("3.4", "best_never_updated", "The first epoch stays the one to beat, so every better one counts as best.", "", "",
          ((WORTH, 'best = {"iou": history["val_iou"][0]'),)),
    Wrong("3.4", "last_weights_left", "The best weights are in the file.", "", "", ((RESTORE, "pass"),)),
    Wrong("3.4", "buffers_not_restored", "A model is its parameters.", "", "",
          ((RESTORE, 'for name, value in model.named_parameters():\n    value.data.copy_(best["weights"][name])'),)),
    Wrong("3.4", "whole_model_saved", "torch.save(model) keeps everything.", "", "",
          ((SAVE, "torch.save(model, checkpoint_path)"),)),
    Wrong("3.4", "checkpoint_wrapped", "The optimizer goes along in the file.", "", "",
          ((SAVE, 'torch.save({"model": best["weights"], "optimizer": optimizer.state_dict()}, checkpoint_path)'),)),
    Wrong("3.4", "optimizer_saved", "A slip of the pen: the optimizer's state for the model's.", "", "",
          ((SAVE, "torch.save(optimizer.state_dict(), checkpoint_path)"),)),
    Wrong("3.4", "last_checkpoint_kept", "The file is written after every epoch.", "", "",
          (("progress.save(history, best)",
            f"progress.save(history, best)\nif checkpoint_path is not None:\n    torch.save({LIVE}, checkpoint_path)"),)),
    Wrong("3.4", "nothing_saved", "checkpoint_path is accepted and forgotten.", "", "", ((SAVE, "pass"),)),
    Wrong("3.4", "file_name_fixed", "The file has a name of its own.", "", "",
          ((SAVE, 'torch.save(best["weights"], "best_model.pth")'),)),
    Wrong("3.4", "lr_ignored", "Adam knows its learning rate.", "", "", ((ADAM, ADAM.replace("lr=lr, ", "")),)),
    Wrong("3.4", "weight_decay_ignored", "Adam needs no weight decay.", "", "",
          ((ADAM, ADAM.replace(", weight_decay=weight_decay", "")),)),
    Wrong("3.4", "accumulation_not_handed_on", "train_model takes accumulation_steps and keeps it.", "", "",
          ((OPTIONS, OPTIONS.replace('"accumulation_steps": accumulation_steps, ', "")),)),
    Wrong("3.4", "clipping_not_handed_on", "train_model takes max_grad_norm and keeps it.", "", "",
          ((OPTIONS, OPTIONS.replace('"max_grad_norm": max_grad_norm, ', "")),)),
    Wrong("3.4", "default_is_cross_entropy", "Any loss will do for a default.", "", "",
          (("CombinedLoss() if criterion is None", "nn.BCEWithLogitsLoss() if criterion is None"),)),
    Wrong("3.4", "criterion_replaced", "train_model always takes the lab's loss.", "", "",
          (("CombinedLoss() if criterion is None else criterion", "CombinedLoss()"),)),
    Wrong("3.4", "validates_on_the_training_set", "A slip of the pen: the loader of the training.", "", "",
          (("*validate(model, val_loader,", "*validate(model, train_loader,"),)),
    Wrong("3.4", "history_without_lr", "The learning rate is known.", "", "",
          ((KEYS, KEYS.replace(', "lr"', "")), (EPOCHS, "range(1, epochs + 1)"))),
    Wrong("3.4", "history_of_the_last_epoch", "The history is overwritten in each epoch.", "", "",
          (("history[name].append(value)", "history[name] = [value]"), (EPOCHS, "range(1, epochs + 1)"))),
    Wrong("3.4", "history_not_returned", "Whoever wants the history can plot it.", "", "", (("return history", "pass"),)),
    Wrong("3.4", "training_and_validation_swapped", "The numbers of validate stand first.", "", "",
          ((KEYS, '("val_loss", "val_iou", "train_loss", "train_iou", "lr")}'),)),
    Wrong("3.4", "trains_a_copy", "The optimizer is given a copy of the parameters.", "", "",
          ((ADAM, ADAM.replace("model.parameters()", "copy.deepcopy(model).parameters()")),)),
)

WRONG: list[Wrong] = [*IOU, *TRAIN, *VALIDATE, *MODEL]
