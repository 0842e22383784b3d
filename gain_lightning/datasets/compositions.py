"""Every marked object of a set, shown in six ways: on its own ground, on grounds of other pictures, and on none."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from gain_lightning.constants import YES
from gain_lightning.datasets.grounds import (
    fit_ground,
    inpaint_object,
    leaves_ground,
    object_alone,
    paste_object,
    with_border,
)
from gain_lightning.datasets.resize import Window, slices_of
from gain_lightning.datasets.sample import PictureSet, Sample, window_of

# Grounds are kept in memory, so no more than so many are made, equally many of each class.
MOST_GROUNDS = 1000


class Marked(NamedTuple):
    """One marked (image, class) pair.

    Attributes:
        id: The name of the picture.
        class_idx: The class of the object.
        label: The classes that the picture shows, ``(C,)`` bool.
        picture: ``(H, W, 3)`` uint8, without a border.
        body: The pixels of the class, or of its boxes, ``(H, W)`` bool.
        window: Where the picture lies in its image, ``(xmin, ymin, xmax, ymax)``; None without borders.
        size: Height and width of the image.
    """

    id: str
    class_idx: int
    label: np.ndarray
    picture: np.ndarray
    body: np.ndarray
    window: Window = None
    size: tuple[int, ...] = ()


class Ground(NamedTuple):
    """A picture without one of its objects: its ``id``, the object's class, its label as before, and its pixels."""

    id: str
    class_idx: int
    label: np.ndarray
    picture: np.ndarray


class Composed(NamedTuple):
    """One object in all its versions.

    Attributes:
        marked: The object.
        own, other: The names of the pictures whose grounds the object is put on.
        pictures: The versions by name: ``as_is``, ``alone``, ``own_ground``, ``other_ground``, ``removed`` and
            ``control``, each ``(H, W, 3)`` uint8.
    """

    marked: Marked
    own: str
    other: str
    pictures: dict[str, np.ndarray]


def marked_objects(sample: Sample, classes: Sequence[int]) -> list[Marked]:
    """List the objects of a sample that a mask or a box shows, of the classes that are asked for."""
    image, window = sample["image"].permute(1, 2, 0).numpy(), window_of(sample)
    rows, columns = slices_of(window)
    picture = np.ascontiguousarray(image[rows, columns])
    label = sample["label"].numpy() > 0
    bodies = sample["mask"].numpy()[:, rows, columns] == YES
    found = zip(sample["mask_class"].tolist(), bodies, strict=True)
    return [
        Marked(sample["id"], class_idx, label, picture, body, window, image.shape[:2])
        for class_idx, body in found
        if class_idx in classes and label[class_idx] and body.any()
    ]


def make_grounds(images: PictureSet, seed: int) -> list[Ground]:
    """Draw pictures of every class and remove the object of the class from each.

    Args:
        images: Marked pictures.
        seed: Seed of the draw.

    Returns:
        Up to :data:`MOST_GROUNDS` / C grounds of each of the C classes, in the order of the classes.
    """
    most = max(2, MOST_GROUNDS // len(images.class_names))
    grounds = []
    for class_idx in range(len(images.class_names)):
        rows = np.flatnonzero(np.asarray(images.labels)[:, class_idx] > 0)
        of_class: list[Ground] = []
        for row in np.random.default_rng((seed, class_idx)).permutation(rows).tolist():
            for found in marked_objects(images[row], [class_idx]):
                if leaves_ground(found.body):
                    removed = inpaint_object(found.picture, found.body)
                    of_class.append(Ground(found.id, class_idx, found.label, removed))
            if len(of_class) == most:
                break
        grounds += of_class
    return grounds


def draw_grounds(marked: Marked, grounds: Sequence[Ground], seed: int) -> tuple[Ground, Ground] | None:
    """Draw two grounds for an object, neither of its own picture: one of its class, and one without its class.

    The draw depends on the seed, the object and the grounds alone.

    Args:
        marked: The object.
        grounds: The grounds to choose from.
        seed: Seed of the draw.

    Returns:
        A ground from which an object of this class was removed, and one of a picture that does not show the class;
        None where there is no such ground.

    Example:
        >>> pixels, boat, car = np.zeros((2, 2, 3), np.uint8), np.array([True, False]), np.array([False, True])
        >>> grounds = [Ground("a", 0, boat, pixels), Ground("b", 0, boat, pixels), Ground("c", 1, car, pixels)]
        >>> marked = Marked("a", 0, boat, pixels, np.ones((2, 2), bool))
        >>> [ground.id for ground in draw_grounds(marked, grounds, 0)]
        ['b', 'c']
        >>> draw_grounds(marked, grounds[:2], 0) is None
        True
    """
    own = [ground for ground in grounds if ground.class_idx == marked.class_idx and ground.id != marked.id]
    other = [ground for ground in grounds if not ground.label[marked.class_idx] and ground.id != marked.id]
    if not own or not other:
        return None
    rng = np.random.default_rng((seed, marked.class_idx, *marked.id.encode()))
    return own[rng.integers(len(own))], other[rng.integers(len(other))]


def compose(marked: Marked, own: Ground, other: Ground) -> Composed:
    """Show an object in all versions.

    Args:
        marked: The object, whose body leaves some ground.
        own: A ground of its class, from another picture.
        other: A ground of another class.
    """
    removed = inpaint_object(marked.picture, marked.body)
    pictures = {
        "as_is": marked.picture,
        "alone": object_alone(marked.picture, marked.body),
        "own_ground": paste_object(marked.picture, marked.body, fit_ground(own.picture, marked.body.shape)),
        "other_ground": paste_object(
            marked.picture, marked.body, fit_ground(other.picture, marked.body.shape)
        ),
        "removed": removed,
        "control": paste_object(marked.picture, marked.body, removed),
    }
    shown = {name: with_border(picture, marked.window, marked.size) for name, picture in pictures.items()}
    return Composed(marked, own.id, other.id, shown)


class Compositions:
    """The objects of a set in all versions, picture after picture.

    Args:
        images: The set.
        grounds: The grounds to put objects on.
        classes: The classes of the objects.
        seed: Seed of all draws.
        most: The number of pictures with an object that are shown at most; which ones is drawn.

    Attributes:
        num_images: The number of pictures whose objects were shown, once they were.
        too_large: The number of objects that were left out, for they leave too little ground.
        without_ground: The number of objects that were left out, for there is no ground to put them on.
    """

    def __init__(
        self, images: PictureSet, grounds: Sequence[Ground], classes: Sequence[int], *, seed: int, most: int
    ) -> None:
        self.images, self.grounds, self.classes = images, grounds, classes
        self.seed, self.most = seed, most
        self.num_images = self.too_large = self.without_ground = 0

    def __iter__(self) -> Iterator[Composed]:
        self.num_images = self.too_large = self.without_ground = 0
        has_class = (np.asarray(self.images.labels)[:, self.classes] > 0).any(1)
        rows = np.random.default_rng(self.seed).permutation(np.flatnonzero(has_class))
        for row in rows.tolist():
            if self.num_images == self.most:
                return
            shown = False
            for marked in marked_objects(self.images[row], self.classes):
                drawn = draw_grounds(marked, self.grounds, self.seed)
                if not leaves_ground(marked.body):
                    self.too_large += 1
                elif drawn is None:
                    self.without_ground += 1
                else:
                    shown = True
                    yield compose(marked, *drawn)
            self.num_images += shown
