"""Slow oracles: Eq. 1-7 of the paper and the scores, by loops over images, classes and pixels, in float64.

They share no code with the package and take numpy arrays. ``label`` is ``(N, C)`` 0/1; maps come as a list
in the order of ``pairs(label)``, each ``(h, w)``, and so do masks, each ``(H, W)``: 1 the class, 0 not, 255 unknown.
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


def split_index_mask(index, present) -> list[np.ndarray]:
    """The masks of one image's labelled classes, out of a mask of class indices.

    A class that it does not show is unknown, unless it shows none: then its void pixels say where objects may be.
    """
    shown = {int(index[i, j]) for i, j in np.ndindex(*index.shape)}
    masks = []
    for c in range(len(present)):
        if present[c] > 0:
            is_known = c + 1 in shown or shown == {0, VOID}
            mask = np.full(index.shape, VOID)
            for i, j in np.ndindex(*index.shape):
                if is_known and index[i, j] != VOID:
                    mask[i, j] = 1 if index[i, j] == c + 1 else 0
            masks.append(mask)
    return masks


def split_index_masks(index_masks, label) -> list[np.ndarray]:
    """The masks of all pairs of a batch, out of its masks of class indices."""
    return [
        mask
        for index, present in zip(index_masks, label, strict=True)
        for mask in split_index_mask(index, present)
    ]


def pair_masks(mask, mask_image, mask_class, label) -> list[np.ndarray]:
    """The masks of all pairs of a batch, out of its rows; unknown where there is none."""
    out = []
    for n, c in pairs(label):
        rows = [row for row in range(len(mask)) if (mask_image[row], mask_class[row]) == (n, c)]
        out.append(mask[rows[0]] if rows else np.full(mask.shape[1:], VOID))
    return out


def place(attention, height: int, width: int, top, left, step_y, step_x) -> np.ndarray:
    """One map at the size of its picture, cell (i, j) centred at (top + step_y i, left + step_x j).

    Bilinear between centres, constant beyond the outermost.
    """

    def neighbours(pixel, first_centre, step, count):
        position = min(max((pixel - first_centre) / step, 0), count - 1)
        first = math.floor(position)
        return first, min(first + 1, count - 1), position - first

    out = np.zeros((height, width))
    for i in range(height):
        upper, lower, down = neighbours(i, top, step_y, attention.shape[0])
        for j in range(width):
            near, far, along = neighbours(j, left, step_x, attention.shape[1])
            above = (1 - along) * attention[upper, near] + along * attention[upper, far]
            below = (1 - along) * attention[lower, near] + along * attention[lower, far]
            out[i, j] = (1 - down) * above + down * below
    return out


def resize(attention, height: int, width: int) -> np.ndarray:
    """One map enlarged as a picture is: its cells cut the picture into equal parts."""
    step_y, step_x = height / attention.shape[0], width / attention.shape[1]
    return place(attention, height, width, (step_y - 1) / 2, (step_x - 1) / 2, step_y, step_x)


def pool(values, height: int, width: int, top, left, step_y, step_x) -> np.ndarray:
    """Mean of ``values`` over each of height x width cells."""
    out = np.zeros((height, width))
    for i, j in np.ndindex(height, width):
        area = _cell(values.shape, top + step_y * i, left + step_x * j, step_y, step_x)
        out[i, j] = sum(share * values[y, x] for (y, x), share in area.items())
    return out


def _cell(shape, centre_y, centre_x, step_y, step_x) -> dict[tuple[int, int], float]:
    """Share of a cell's area inside the picture that each pixel has; outside of it the nearest pixel has all."""

    def shares(count, centre, step):
        low, high = centre - step / 2, centre + step / 2
        overlap = {pixel: min(high, pixel + 0.5) - max(low, pixel - 0.5) for pixel in range(count)}
        overlap = {pixel: part for pixel, part in overlap.items() if part > 1e-9}
        overlap = overlap or {0 if centre < 0 else count - 1: 1.0}
        return {pixel: part / sum(overlap.values()) for pixel, part in overlap.items()}

    rows, columns = shares(shape[0], centre_y, step_y), shares(shape[1], centre_x, step_x)
    return {(y, x): of_row * of_column for y, of_row in rows.items() for x, of_column in columns.items()}


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


def supervision_loss(maps, masks, label, reduction: str, loss: str = "l2", cells=None) -> float:
    """L_e, Eq. 7: mean over an image's classes of whose mask something is known, then over all images.

    ``cells`` is (top, left, step_y, step_x) of maps that are smaller than the masks.
    """
    where = pairs(label)
    total = 0.0
    for image in range(len(label)):
        errors = []
        for p, (n, _) in enumerate(where):
            if n == image and (masks[p] != VOID).any():
                errors.append(_map_loss(maps[p], masks[p], reduction, loss, cells or (0, 0, 1, 1)))
        if errors:
            total += sum(errors) / len(errors)
    return total / len(label)


def _map_loss(attention, mask, reduction: str, loss: str, cells) -> float:
    """Cells weigh by their share that is known; the mask is its mean over a cell's known pixels."""
    if (
        loss == "energy" and not (mask == 1).any()
    ):  # where the class is not is all that is said: it is elsewhere
        mask = np.where(mask == VOID, 1, mask)
    top, left, step_y, step_x = cells
    error = weights = objects = brightness = inside = log_sum = 0.0
    for i, j in np.ndindex(*attention.shape):
        area = _cell(mask.shape, top + step_y * i, left + step_x * j, step_y, step_x)
        share = sum(part for place, part in area.items() if mask[place] != VOID)
        if share == 0:
            continue
        a, h = attention[i, j], sum(part for place, part in area.items() if mask[place] == 1) / share
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
        return -log_sum / objects if objects else 0.0
    return error / weights if reduction == "mean" else error


def seed_iou(maps, masks, label, threshold: float) -> list[float]:
    """IoU of background and every class over a set; nan where a class is in neither.

    A pixel is of the class whose map is highest there and above the threshold; where several are, each has its share.
    It is of the background where none is. A class takes no part where nobody knows of it, nor where another class
    that is there as well has the pixel; background takes part where all classes are known, or one is known to be.
    """
    num_labels = len(label[0]) + 1
    intersection, union = [0.0] * num_labels, [0.0] * num_labels
    where = pairs(label)
    for image in range(len(label)):
        mine = [p for p, (n, _) in enumerate(where) if n == image]
        if not mine:
            continue
        for pixel in np.ndindex(*masks[mine[0]].shape):
            truth = {p: masks[p][pixel] for p in mine}
            highest = max(maps[p][pixel] for p in mine)
            winners = [p for p in mine if maps[p][pixel] == highest] if highest > threshold else []
            share = {p: 1 / len(winners) if p in winners else 0.0 for p in mine}
            for p in mine:
                index = where[p][1] + 1
                if truth[p] == 1:
                    intersection[index] += share[p]
                    union[index] += 1 - sum(share[q] for q in mine if q != p and truth[q] == 1)
                elif truth[p] == 0:
                    union[index] += share[p]
            if all(value == 0 for value in truth.values()):
                intersection[0] += not winners
                union[0] += 1
            elif 1 in truth.values():
                union[0] += not winners
    return [part / whole if whole else math.nan for part, whole in zip(intersection, union, strict=True)]


def energy(attention, mask) -> float:
    """Share of one map on its class, unknown pixels left out."""
    inside = total = 0.0
    for i, j in np.ndindex(*mask.shape):
        if mask[i, j] != VOID:
            total += attention[i, j]
            inside += attention[i, j] if mask[i, j] == 1 else 0
    return inside / total if total else 0.0


def pointing(attention, mask) -> float:
    """1 if the highest known pixel of one map lies on its class."""
    highest, hit = 0.0, 0.0
    for i, j in np.ndindex(*mask.shape):
        if mask[i, j] != VOID and attention[i, j] > highest:
            highest, hit = attention[i, j], float(mask[i, j] == 1)
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
