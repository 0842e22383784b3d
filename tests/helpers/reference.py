"""Slow oracles of Eq. 1-7 of the paper and of the scores, by loops over images, classes and pixels, in float64.

They share no code with the package and take numpy arrays. ``label`` is ``(N, C)`` of 0 and 1. Maps ``(h, w)`` and
masks ``(H, W)`` come as lists in the order of ``pairs(label)``; a mask is 1 on the class, 0 off it, 255 where unknown.
"""

import math

import numpy as np

VOID = 255


def pairs(label) -> list[tuple[int, int]]:
    """Return (image, class) of every class present, by image, then by class."""
    return [(n, c) for n in range(len(label)) for c in range(len(label[n])) if label[n][c] > 0]


def grad_cam(feature, gradient) -> np.ndarray:
    """Return the map of one class of one image by Eq. 1 and 2, from f and ds/df, both ``(K, h, w)``."""
    num_channels, height, width = feature.shape
    total = np.zeros((height, width))
    for k in range(num_channels):
        weight = sum(gradient[k, i, j] for i in range(height) for j in range(width)) / (height * width)
        total += weight * feature[k]
    return np.maximum(total, 0)


def scale(attention, scaling: str) -> np.ndarray:
    """Scale one map to [0, 1]."""
    if scaling == "none":
        return attention
    low = attention.min() if scaling == "minmax" else 0.0
    high = (attention - low).max()
    return (attention - low) / high if high > 0 else np.zeros_like(attention)


def split_index_mask(index, present) -> list[np.ndarray]:
    """Return the masks of one image's labelled classes, out of a mask of class indices.

    A class that the mask does not show is unknown, unless it shows none: then void pixels say where objects may be.
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
    """Return the masks of all pairs of a batch, out of its masks of class indices."""
    return [
        mask
        for index, present in zip(index_masks, label, strict=True)
        for mask in split_index_mask(index, present)
    ]


def pair_masks(mask, mask_image, mask_class, label) -> list[np.ndarray]:
    """Return the masks of all pairs of a batch, out of its rows; a pair without a row is unknown throughout."""
    out = []
    for n, c in pairs(label):
        rows = [row for row in range(len(mask)) if (mask_image[row], mask_class[row]) == (n, c)]
        out.append(mask[rows[0]] if rows else np.full(mask.shape[1:], VOID))
    return out


def place(attention, height: int, width: int, top, left, step_y, step_x) -> np.ndarray:
    """Return one map at the size of its picture, with cell (i, j) centred at (top + step_y i, left + step_x j).

    The map is bilinear between centres and constant beyond the outermost.
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
    """Enlarge one map as a picture is enlarged: its cells cut the picture into equal parts."""
    step_y, step_x = height / attention.shape[0], width / attention.shape[1]
    return place(attention, height, width, (step_y - 1) / 2, (step_x - 1) / 2, step_y, step_x)


def pool(values, height: int, width: int, top, left, step_y, step_x) -> np.ndarray:
    """Return the mean of ``values`` over each of height x width cells."""
    out = np.zeros((height, width))
    for i, j in np.ndindex(height, width):
        area = _cell(values.shape, top + step_y * i, left + step_x * j, step_y, step_x)
        out[i, j] = sum(share * values[y, x] for (y, x), share in area.items())
    return out


def _cell(shape, centre_y, centre_x, step_y, step_x) -> dict[tuple[int, int], float]:
    """Return each pixel's share of a cell's area inside the picture; outside of it the nearest pixel has all."""

    def shares(count, centre, step):
        low, high = centre - step / 2, centre + step / 2
        overlap = {pixel: min(high, pixel + 0.5) - max(low, pixel - 0.5) for pixel in range(count)}
        overlap = {pixel: part for pixel, part in overlap.items() if part > 1e-9}
        overlap = overlap or {0 if centre < 0 else count - 1: 1.0}
        return {pixel: part / sum(overlap.values()) for pixel, part in overlap.items()}

    rows, columns = shares(shape[0], centre_y, step_y), shares(shape[1], centre_x, step_x)
    return {(y, x): of_row * of_column for y, of_row in rows.items() for x, of_column in columns.items()}


def soft_mask(attention, sigma: float, omega: float) -> np.ndarray:
    """Return the soft mask of Eq. 4."""
    return 1 / (1 + np.exp(-omega * (attention - sigma)))


def erase(image, mask) -> np.ndarray:
    """Erase one image ``(3, H, W)`` by one mask ``(H, W)``, Eq. 3."""
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
    """Return L_cl."""
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
    """Return L_am, Eq. 5: the mean over an image's classes, then over all images."""
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
        # Only the part above chance counts.
        return max(softmax(logits)[class_idx] - 1 / len(logits), 0.0)
    return sigmoid(logits[class_idx])


def kept_classes_loss(erased_logits, label) -> float:
    """Return the soft margin loss of the other labelled classes of every pair, as a mean over pairs and images."""
    where, total = pairs(label), 0.0
    for image in range(len(label)):
        losses = [
            sum(
                -math.log(sigmoid(erased_logits[p][k]))
                for k in range(len(label[n]))
                if label[n][k] > 0 and k != c
            )
            for p, (n, c) in enumerate(where)
            if n == image
        ]
        total += sum(losses) / max(len(losses), 1)
    return total / len(label)


def sufficiency_loss(kept_logits, label, task: str) -> float:
    """Return the cross-entropy of every pair's class, as a mean over pairs and images."""
    where, total = pairs(label), 0.0
    for image in range(len(label)):
        losses = [
            -math.log(softmax(kept_logits[p])[c] if task == "single_label" else sigmoid(kept_logits[p][c]))
            for p, (n, c) in enumerate(where)
            if n == image
        ]
        total += sum(losses) / max(len(losses), 1)
    return total / len(label)


def local_mean(plane, reach: int) -> np.ndarray:
    """Return the mean of the part of the square around every pixel that lies inside."""
    height, width = plane.shape
    return np.array(
        [
            [
                plane[max(i - reach, 0) : i + reach + 1, max(j - reach, 0) : j + reach + 1].mean()
                for j in range(width)
            ]
            for i in range(height)
        ]
    )


def supervision_loss(maps, masks, label, reduction: str, loss: str = "l2", cells=None) -> float:
    """Return L_e, Eq. 7: the mean over an image's classes whose mask knows something, then over all images.

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


def absent_maps_loss(maps, masks, label, loss: str, cells=None) -> float:
    """Return L_e of the classes that images do not show, of maps of every class in order of image and class.

    ``masks`` are those of every class; those of absent classes say nothing.
    """
    num_images, num_classes = label.shape
    top, left, step_y, step_x = cells or (0, 0, 1, 1)
    total = 0.0
    for n in range(num_images):
        rows = [n * num_classes + c for c in range(num_classes)]
        shown = [row for row in rows if label[n, row - rows[0]] > 0]
        absent = [row for row in rows if row not in shown]
        if not shown or not absent:
            continue
        strongest = max(abs(value) for row in shown for value in maps[row].flat)
        for row in absent:
            unit = max(strongest, *(abs(value) for value in maps[row].flat), 1e-8)
            error = weights = 0.0
            for i, j in np.ndindex(*maps[row].shape):
                area = _cell(masks[row].shape, top + step_y * i, left + step_x * j, step_y, step_x)
                share = sum(part for at, part in area.items() if all(masks[s][at] == 0 for s in shown))
                value = abs(maps[row][i, j]) / unit
                error += share * (value**2 if loss in ("l2", "rrr") else value)
                weights += share
            total += error / max(weights, 1e-6) / len(absent)
    return total / num_images


def _map_loss(attention, mask, reduction: str, loss: str, cells) -> float:
    """Return the loss of one map; cells weigh by their known share, and the mask is its mean over known pixels."""
    # A mask that says only where the class is not has the class elsewhere.
    if loss == "energy" and not (mask == 1).any():
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
    """Return the IoU of background and every class over a set; nan where a class is in neither.

    A pixel belongs to the class whose map is highest there and above the threshold; where several are equal, each has
    its share. It belongs to the background where no map is above. A class takes no part where its mask is unknown, nor
    where another class that is there as well has the pixel. Background takes part where all classes are known, or one
    is known to be there.
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
    """Return the share of one map on its class, where unknown pixels are left out."""
    inside = total = 0.0
    for i, j in np.ndindex(*mask.shape):
        if mask[i, j] != VOID:
            total += attention[i, j]
            inside += attention[i, j] if mask[i, j] == 1 else 0
    return inside / total if total else 0.0


def pointing(attention, mask) -> float:
    """Return 1 if the highest known pixel of one map lies on its class, else 0."""
    highest, hit = 0.0, 0.0
    for i, j in np.ndindex(*mask.shape):
        if mask[i, j] != VOID and attention[i, j] > highest:
            highest, hit = attention[i, j], float(mask[i, j] == 1)
    return hit


def average_precision(probability, label) -> float:
    """Return the mean, over a class's images, of the precision at their rank; scores must not be equal."""
    order = sorted(range(len(label)), key=lambda n: -probability[n])
    precisions, hits = [], 0
    for rank, n in enumerate(order, start=1):
        if label[n]:
            hits += 1
            precisions.append(hits / rank)
    return sum(precisions) / len(precisions)


def box_ious(scaled, boxes, threshold: float) -> tuple[list[float], float]:
    """Compare the boxes of a map in [0, 1] that is cut at a threshold with true ones, as Choe et al. evaluate it.

    The map is kept with 8 bits. Bodies are of pixels above the threshold that touch, corners included; their holes are
    of pixels that touch by their sides. The largest body is the one whose outline encloses most.

    Args:
        scaled: The map, ``(H, W)``.
        boxes: True boxes as whole numbers (xmin, ymin, xmax, ymax), whose last row and column are their own.
        threshold: A share of the maximum.

    Returns:
        IoU of the largest body's box with the true box that fits it best, of each where several are equally large;
        and the best IoU of any outline's box.
    """
    image = (scaled * 255).astype(np.uint8)
    height, width = image.shape
    above = image > int(threshold * image.max())
    outlines = []
    for body in _bodies(above, diagonal=True):
        filled = np.zeros((height + 2, width + 2), bool)
        for i, j in body:
            filled[i + 1, j + 1] = True
        for hole in _bodies(~filled, diagonal=False):
            if (0, 0) not in hole:
                for i, j in hole:
                    filled[i, j] = True
                outlines.append((-1.0, _outline(((i - 1, j - 1) for i, j in hole), 1, height, width)))
        # a square between four centres of the body is enclosed, and half of one between three
        enclosed = 0.0
        for i in range(height + 1):
            for j in range(width + 1):
                enclosed += {4: 1.0, 3: 0.5}.get(int(filled[i : i + 2, j : j + 2].sum()), 0.0)
        outlines.append((enclosed, _outline(body, 0, height, width)))
    if not outlines:
        outlines = [(0.0, (0, 0, 0, 0))]
    best = [(area, max(_box_iou(found, box) for box in boxes)) for area, found in outlines]
    largest = max(area for area, _ in best)
    return [iou for area, iou in best if area == largest], max(iou for _, iou in best)


def _bodies(is_in, diagonal: bool) -> list[set[tuple[int, int]]]:
    """Return the pixels of each body, by flooding one after the other."""
    left = {(i, j) for i in range(is_in.shape[0]) for j in range(is_in.shape[1]) if is_in[i, j]}
    bodies = []
    while left:
        body, edge = set(), {min(left)}
        while edge:
            i, j = edge.pop()
            body.add((i, j))
            around = [(i + di, j + dj) for di in (-1, 0, 1) for dj in (-1, 0, 1) if diagonal or di * dj == 0]
            edge |= {place for place in around if place in left and place not in body}
        bodies.append(body)
        left -= body
    return bodies


def _outline(pixels, margin: int, height: int, width: int) -> tuple[int, int, int, int]:
    """Return the box around pixels: the evaluator's ends lie one pixel beyond, unless the image ends there."""
    rows, columns = zip(*pixels, strict=True)
    return (
        min(columns) - margin,
        min(rows) - margin,
        min(max(columns) + margin + 1, width - 1),
        min(max(rows) + margin + 1, height - 1),
    )


def _box_iou(a, b) -> float:
    """Return the IoU of two boxes by their pixels."""
    first, second = (
        {(x, y) for x in range(box[0], box[2] + 1) for y in range(box[1], box[3] + 1)} for box in (a, b)
    )
    return len(first & second) / len(first | second)
