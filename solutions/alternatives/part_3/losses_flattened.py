"""Dice on flattened views, focal loss in probabilities with clamps, and a combined loss that has all three written out."""


import torch
import torch.nn as nn
import torch.nn.functional as F


class DiceLoss(nn.Module):
    def __init__(self, smooth=1e-6, *, class_weights=None):
        super(DiceLoss, self).__init__()
        self.smooth = smooth
        self.weights = class_weights

    def forward(self, pred, target):
        num_classes = pred.shape[1]
        pred = torch.sigmoid(pred.float())
        target = target.float()
        total, norm = 0, 0
        for c in range(num_classes):
            weight = 1.0 if self.weights is None else float(self.weights[c])
            p = pred[:, c].contiguous().view(-1)
            t = target[:, c].contiguous().view(-1)
            intersection = (p * t).sum()
            dice = (2.0 * intersection + self.smooth) / (p.sum() + t.sum() + self.smooth)
            total = total + weight * (1 - dice)
            norm = norm + weight
        return total / norm


class FocalLoss(nn.Module):
    def __init__(self, alpha=0.25, gamma=2.0):
        super(FocalLoss, self).__init__()
        self.alpha = alpha
        self.gamma = gamma

    def forward(self, pred, target):
        pred, target = pred.float(), target.float()
        bce = nn.BCEWithLogitsLoss(reduction="none")(pred, target)
        p = torch.sigmoid(pred)
        p_t = torch.where(target > 0.5, p, 1 - p)
        alpha_t = torch.where(target > 0.5, self.alpha, 1 - self.alpha)
        focal = alpha_t * (1 - p_t).clamp(min=1e-7) ** self.gamma * bce
        return focal.mean()


class CombinedLoss(nn.Module):
    def __init__(self, weights={"ce": 0.5, "dice": 0.5, "focal": 0.0}):
        super(CombinedLoss, self).__init__()
        self.w_ce = weights.get("ce", 0.0)
        self.w_dice = weights.get("dice", 0.0)
        self.w_focal = weights.get("focal", 0.0)
        self.bce = nn.BCEWithLogitsLoss()

    def forward(self, pred, target):
        pred, target = pred.float(), target.float()
        loss = torch.zeros((), device=pred.device)
        if self.w_ce > 0:
            loss = loss + self.w_ce * self.bce(pred, target)
        if self.w_dice > 0:
            p = torch.sigmoid(pred).transpose(0, 1).flatten(1)
            t = target.transpose(0, 1).flatten(1)
            dice = (2 * (p * t).sum(1) + 1e-6) / (p.sum(1) + t.sum(1) + 1e-6)
            loss = loss + self.w_dice * (1 - dice).mean()
        if self.w_focal > 0:
            bce = F.binary_cross_entropy_with_logits(pred, target, reduction="none")
            p_t = torch.exp(-bce)
            alpha_t = 0.25 * target + 0.75 * (1 - target)
            loss = loss + self.w_focal * (alpha_t * (1 - p_t) ** 2 * bce).mean()
        return loss
