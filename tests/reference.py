"""Slow oracles: Eq. 1-7 of the paper and the scores, by loops over images, classes and pixels, in float64.

They share no code with the package and take numpy arrays. ``label`` is ``(N, C)`` 0/1; maps come as a list
in the order of ``pairs(label)``, each ``(h, w)``.
"""

import math

import numpy as np

VOID = 255


def pairs(label) -> list[tuple[int, int]]:
    """(image, class) of every class present, by image, then by class."""
    return [(n, c) for n in range(len(label)) for c in range(len(label[n])) if label[n][c] > 0]


def grad_cam(feature, gradient) -> np.ndarray:
    """Eq. 1 and 2 for one class of one image, from f and ds/df, both ``(K, h, w)``."""
    num_channels, height, width = feature.shape
    total = np.zeros((height, width))
    for k in range(num_channels):
        weight = sum(gradient[k, i, j] for i in range(height) for j in range(width)) / (height * width)
        total += weight * feature[k]
    return np.maximum(total, 0)


def scale(attention, scaling: str) -> np.ndarray:
    """One map to [0, 1]."""
    if scaling == "none":
        return attention
    low = attention.min() if scaling == "minmax" else 0.0
    high = (attention - low).max()
    return (attention - low) / high if high > 0 else np.zeros_like(attention)


def resize(attention, height: int, width: int) -> np.ndarray:
    """Bilinear interpolation of one map between pixel centres, constant beyond the outermost."""

    def neighbours(index, new, old):
        position = min(max((index + 0.5) * old / new - 0.5, 0), old - 1)
        first = math.floor(position)
        return first, min(first + 1, old - 1), position - first

    out = np.zeros((height, width))
    for i in range(height):
        top, bottom, down = neighbours(i, height, attention.shape[0])
        for j in range(width):
            left, right, along = neighbours(j, width, attention.shape[1])
            upper = (1 - along) * attention[top, left] + along * attention[top, right]
            lower = (1 - along) * attention[bottom, left] + along * attention[bottom, right]
            out[i, j] = (1 - down) * upper + down * lower
    return out


def soft_mask(attention, sigma: float, omega: float) -> np.ndarray:
    """Eq. 4."""
    return 1 / (1 + np.exp(-omega * (attention - sigma)))


def erase(image, mask) -> np.ndarray:
    """Eq. 3 for one image ``(3, H, W)`` and one mask ``(H, W)``."""
    out = np.zeros_like(image)
    for channel in range(len(image)):
        for i, j in np.ndindex(*mask.shape):
            out[channel, i, j] = image[channel, i, j] - mask[i, j] * image[channel, i, j]
    return out


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def softmax(values) -> list[float]:
    powers = [math.exp(value - max(values)) for value in values]
    return [power / sum(powers) for power in powers]


def classification_loss(logits, label, task: str, reduction: str = "sum") -> float:
    """L_cl."""
    total = 0.0
    for scores, present in zip(logits, label, strict=True):
        if task == "single_label":
            total -= sum(y * math.log(p) for y, p in zip(present, softmax(scores), strict=True))
        else:
            terms = [
                -math.log(sigmoid(s) if y else 1 - sigmoid(s)) for s, y in zip(scores, present, strict=True)
            ]
            total += sum(terms) / (len(terms) if reduction == "mean" else 1)
    return total / len(logits)


def mining_loss(erased_logits, label, score: str, task: str) -> float:
    """L_am, Eq. 5: mean over an image's classes, then over all images."""
    where = pairs(label)
    total = 0.0
    for image in range(len(label)):
        scores = []
        for p, (n, c) in enumerate(where):
            if n == image:
                scores.append(_class_score(erased_logits[p], c, score, task))
        if scores:
            total += sum(scores) / len(scores)
    return total / len(label)


def _class_score(logits, class_idx: int, score: str, task: str) -> float:
    if score == "logit":
        return logits[class_idx]
    if task == "single_label":
        return max(softmax(logits)[class_idx] - 1 / len(logits), 0.0)  # above chance
    return sigmoid(logits[class_idx])


def supervision_loss(maps, mask, label, reduction: str, loss: str = "l2") -> float:
    """L_e, Eq. 7: mean over an image's classes that its mask shows, then over the images that have one."""
    where = pairs(label)
    images = []
    for image in range(len(label)):
        errors = []
        for p, (n, c) in enumerate(where):
            if n == image and (mask[n] == c + 1).any():
                errors.append(_map_loss(maps[p], mask[n], c + 1, reduction, loss))
        if errors:
            images.append(sum(errors) / len(errors))
    return sum(images) / len(images) if images else 0.0


def _map_loss(attention, mask, index: int, reduction: str, loss: str) -> float:
    """Cells weigh by their share that is not void; the mask is its mean over a cell's valid pixels."""
    height, width = attention.shape
    error = weights = objects = brightness = inside = log_sum = 0.0
    for i in range(height):
        for j in range(width):
            cell = _cell(mask, i, j, height, width)
            valid = cell[cell != VOID]
            if not len(valid):
                continue
            share, a, h = len(valid) / cell.size, attention[i, j], (valid == index).sum() / len(valid)
            distance = {"l2": (a - h) ** 2, "l1": abs(a - h), "rrr": (1 - h) * a * a}.get(loss, 0.0)
            error += share * distance
            weights += share
            objects += share * h
            brightness += share * a
            inside += share * a * h
            log_sum += share * h * math.log(max(a, 1e-4))
    if loss == "energy":
        return 1 - inside / max(brightness, 1e-8)
    if loss == "cross_entropy":
        return -log_sum / objects
    return error / weights if reduction == "mean" else error


def _cell(mask, i: int, j: int, height: int, width: int) -> np.ndarray:
    """The pixels of ``mask`` that cell (i, j) of a height x width grid covers, in whole or in part."""
    rows = slice(math.floor(i * mask.shape[0] / height), math.ceil((i + 1) * mask.shape[0] / height))
    columns = slice(math.floor(j * mask.shape[1] / width), math.ceil((j + 1) * mask.shape[1] / width))
    return mask[rows, columns]


def seed_iou(maps, mask, label, threshold: float) -> list[float]:
    """IoU of background and every class over a set, VOC's way; nan where a class is in neither."""
    num_labels = len(label[0]) + 1
    confusion = np.zeros((num_labels, num_labels), int)
    where = pairs(label)
    for image in range(len(label)):
        for i, j in np.ndindex(*mask[image].shape):
            if mask[image][i, j] == VOID:
                continue
            seed, highest = 0, 0.0
            for p, (n, c) in enumerate(where):
                if n == image and maps[p][i, j] > highest:
                    seed, highest = c + 1, maps[p][i, j]
            confusion[mask[image][i, j], seed if highest > threshold else 0] += 1
    ious = []
    for index in range(num_labels):
        union = confusion[index].sum() + confusion[:, index].sum() - confusion[index, index]
        ious.append(confusion[index, index] / union if union else math.nan)
    return ious


def energy(attention, mask, class_idx: int) -> float:
    """Share of one map on its class, void left out."""
    inside = total = 0.0
    for i, j in np.ndindex(*mask.shape):
        if mask[i, j] != VOID:
            total += attention[i, j]
            inside += attention[i, j] if mask[i, j] == class_idx + 1 else 0
    return inside / total if total else 0.0


def pointing(attention, mask, class_idx: int) -> float:
    """1 if the highest pixel of one map that is not void lies on its class."""
    highest, hit = 0.0, 0.0
    for i, j in np.ndindex(*mask.shape):
        if mask[i, j] != VOID and attention[i, j] > highest:
            highest, hit = attention[i, j], float(mask[i, j] == class_idx + 1)
    return hit


def average_precision(probability, label) -> float:
    """Of one class: mean over its images of the precision at their rank. No ties."""
    order = sorted(range(len(label)), key=lambda n: -probability[n])
    precisions, hits = [], 0
    for rank, n in enumerate(order, start=1):
        if label[n]:
            hits += 1
            precisions.append(hits / rank)
    return sum(precisions) / len(precisions)
