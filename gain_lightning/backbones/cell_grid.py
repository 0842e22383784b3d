"""Places of a map's cells in the picture, composed from the kernel, stride, padding and dilation of every layer.

The network is run once on the meta device, where nothing is computed. Every axis of every tensor carries the place
of its first element and the distance between elements, in pixels of the picture. A convolution of kernel k, stride
s, dilation d and left padding p centres its output i at input ``s i - p + d (k - 1) / 2`` (Araujo et al.,
*Computing Receptive Fields of Convolutional Neural Networks*, Distill 2019).
"""

from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from gain_lightning.attention import Cells, even_cells
from gain_lightning.backbones.dry_run import evaluating, run_on_meta


class Axis(NamedTuple):
    """One axis of a tensor: the place of its first element and the distance between elements, in picture pixels.

    Attributes:
        start: Place of the first element.
        step: Distance between elements.
        is_guess: True if the layers could not be followed, so that both numbers are guessed.
    """

    start: float
    step: float
    is_guess: bool = False

    def window(self, kernel: int, stride: int, before: int, dilation: int = 1) -> "Axis":
        """Return the axis after a convolution or a pool that was padded by ``before`` elements."""
        return self._replace(
            start=self.start + self.step * (dilation * (kernel - 1) / 2 - before), step=self.step * stride
        )

    def resampled(self, old: int, new: int) -> "Axis":
        """Return the axis after its ``old`` elements were divided evenly into ``new``."""
        return self._replace(start=self.start + self.step * (old / new - 1) / 2, step=self.step * old / new)

    def picked(self, old: int, new: int, offset: float) -> "Axis":
        """Return the axis after ``new`` of its ``old`` elements were picked.

        The i-th is the element that holds the place ``(i + offset) old / new``. The picked elements scatter around
        even distances, and on average they lie at them.
        """
        taken = ((i + offset) * old // new - i * old / new for i in range(new))
        return self._replace(start=self.start + self.step * sum(taken) / new, step=self.step * old / new)

    def reversed(self, length: int) -> "Axis":
        """Return the axis read from its last element to its first."""
        return self._replace(start=self.start + self.step * (length - 1), step=-self.step)


# One entry for every axis of a tensor; None stands for an axis that is no place in the picture.
Axes = tuple[Axis | None, ...]
# A setting of torch for height and width.
Setting = int | Sequence[int]


def find_cells(features: nn.Module, size: tuple[int, int]) -> Cells:
    """Find where the cells of a map lie in the picture.

    Branches that meet are averaged: in a residual block both lie at the same place, or half a cell apart. Tokens
    that become a map again lie where the last map of that size did. Layers that cannot be followed at all are taken
    to cover the picture evenly, with a warning.

    Args:
        features: A network from pictures ``(N, 3, H, W)`` to maps ``(N, K, h, w)``.
        size: H and W, pixels.

    Returns:
        Centre and spacing of the cells.

    Example:
        >>> pooled = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2))
        >>> find_cells(pooled, (8, 8))
        Cells(top=0.5, left=0.5, step_y=2.0, step_x=2.0)
        >>> find_cells(nn.Conv2d(3, 8, 3, stride=2, padding=1), (8, 8))
        Cells(top=0.0, left=0.0, step_y=2.0, step_x=2.0)
    """
    with torch.inference_mode(False), torch.no_grad(), torch.compiler.set_stance("force_eager"):
        try:
            with _Places(size) as places:
                maps = run_on_meta(features, size)
        # The network looks at values, or holds tensors that are not moved to the meta device: run it as it is.
        except Exception:
            with _Places(size) as places, evaluating(features):
                maps = _run(features, size)
        y, x = places.spatial(maps)
    if y.is_guess or x.is_guess:
        rank_zero_warn(
            f"where the cells of {type(features).__name__} lie could not be followed through all of its layers: they "
            "are taken to cover the picture evenly, so that maps may be drawn aside"
        )
    return Cells(y.start, x.start, y.step, x.step)


def _run(features: nn.Module, size: tuple[int, int]) -> Tensor:
    """Return the network's map of a random picture, computed on its own device."""
    weight = next((tensor for tensor in features.parameters() if tensor.is_floating_point()), torch.empty(0))
    picture = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)).to(weight)
    maps: Tensor = features(picture)
    return maps


class _Places(TorchFunctionMode):
    """Notes the axes of every tensor that a network makes.

    Args:
        size: Height and width of the picture.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.axes: MutableMapping[Tensor, Axes] = WeakIdKeyDictionary()
        # The axis of the last known map by (1, number of rows) or (2, number of columns).
        self.last: dict[tuple[int, int], Axis] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for output in _tensors([result]):
            rule = _RULES.get(func)
            self.axes[output] = axes = (
                rule(self, output, *args, **(kwargs or {})) if rule else self.kept(output, [args, kwargs])
            )
            if output.ndim == 4 and axes[1] is None:
                places = [axis for axis in axes[2:] if axis is not None and not axis.is_guess]
                if len(places) == 2:
                    self.last |= {(dim, output.shape[dim + 1]): places[dim - 1] for dim in (1, 2)}
        return result

    def of(self, tensor: Tensor) -> Axes:
        """Return the axes of a tensor."""
        axes = self.axes.get(tensor, (None,) * tensor.ndim)
        # No operation has noted the axes of the picture itself.
        if tensor.ndim == 4 and tuple(tensor.shape[2:]) == tuple(self.size) and not any(axes):
            return (None, None, Axis(0.0, 1.0), Axis(0.0, 1.0))
        return axes

    def spatial(self, tensor: Tensor) -> tuple[Axis, Axis]:
        """Return the last two axes of a tensor; where they are lost, those of the last map of its size or a guess."""
        even, shape = even_cells(tensor.shape[-2:], self.size), tuple(tensor.shape[-2:])
        is_picture = shape == tuple(self.size)
        guesses = Axis(even.top, even.step_y, not is_picture), Axis(even.left, even.step_x, not is_picture)
        y, x = (
            axis or self.last.get((dim, length)) or guess
            for dim, axis, length, guess in zip((1, 2), self.of(tensor)[-2:], shape, guesses, strict=True)
        )
        return y, x

    def kept(self, output: Tensor, arguments: Iterable[object]) -> Axes:
        """Return the axes after an operation that moves nothing.

        They are the inputs' axes where sizes agree, aligned as in broadcasting.
        """
        found: list[list[Axis]] = [[] for _ in range(output.ndim)]
        for tensor in _tensors(arguments):
            for place, axis in enumerate(reversed(self.of(tensor)), start=1):
                fits = place <= output.ndim and output.shape[-place] == tensor.shape[-place]
                if axis is not None and fits:
                    found[-place].append(axis)
        return tuple(self.merged(axes) for axes in found)

    def merged(self, axes: Sequence[Axis]) -> Axis | None:
        """Return the mean of the axes of branches that meet.

        A branch of another step is a gate that was enlarged to fit: it moves nothing.
        """
        axes = [axis for axis in axes if not axis.is_guess] or axes
        if not axes:
            return None
        step = min((axis.step for axis in axes), key=lambda step: (abs(step - round(step)) > 1e-9, step))
        starts = [axis.start for axis in axes if axis.step == step]
        return axes[0]._replace(start=sum(starts) / len(starts), step=step)


def _tensors(values: Iterable[object]) -> Iterator[Tensor]:
    """Yield every tensor in nested lists, tuples and dicts."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
        elif isinstance(value, dict):
            yield from _tensors(value.values())


def _two(value: Setting) -> tuple[int, int]:
    """Return a setting for height and width, which may be given as one number."""
    first, *others = value if isinstance(value, Iterable) else (value,)
    return first, others[0] if others else first


def _conv2d(
    places: _Places,
    output: Tensor,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Setting = 1,
    padding: Setting | str = 0,
    dilation: Setting = 1,
    groups: int = 1,
) -> Axes:
    kernels, rates = _two(weight.shape[2:]), _two(dilation)
    if padding == "same":
        # torch puts the odd element behind.
        padding = [rate * (kernel - 1) // 2 for kernel, rate in zip(kernels, rates, strict=True)]
    before = (0, 0) if isinstance(padding, str) else _two(padding)
    return _windows(places, input, kernels, _two(stride), before, rates)


def _pool2d(
    places: _Places,
    output: Tensor,
    input: Tensor,
    kernel_size: Setting,
    stride: Setting | None = None,
    padding: Setting = 0,
    dilation: Setting = 1,
    *_: Any,
    **__: Any,
) -> Axes:
    stride = kernel_size if stride is None or stride == [] else stride
    return _windows(places, input, _two(kernel_size), _two(stride), _two(padding), _two(dilation))


def _avg_pool2d(
    places: _Places,
    output: Tensor,
    input: Tensor,
    kernel_size: Setting,
    stride: Setting | None = None,
    padding: Setting = 0,
    *_: Any,
    **__: Any,
) -> Axes:
    return _pool2d(places, output, input, kernel_size, stride, padding)


def _windows(places: _Places, input: Tensor, *settings: tuple[int, int]) -> Axes:
    pairs = zip(places.spatial(input), *settings, strict=True)
    moved = (axis.window(*numbers) for axis, *numbers in pairs)
    return (*(None,) * (input.ndim - 2), *moved)


def _pad(places: _Places, output: Tensor, input: Tensor, pad: Sequence[int], *_: Any, **__: Any) -> Axes:
    axes = list(places.of(input))
    if input.ndim == 4 and len(pad) <= 4:
        axes[-2:] = places.spatial(input) if axes[1] is None else axes[-2:]
    for place, before in enumerate(pad[::2], start=1):
        axis = axes[-place]
        axes[-place] = axis.window(1, 1, before) if axis else None
    return tuple(axes)


def _lp_pool2d(
    places: _Places, output: Tensor, input: Tensor, norm_type: float, *args: Any, **kwargs: Any
) -> Axes:
    return _pool2d(places, output, input, *args, **kwargs)


def _conv_transpose2d(
    places: _Places,
    output: Tensor,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Setting = 1,
    padding: Setting = 0,
    output_padding: Setting = 0,
    groups: int = 1,
    dilation: Setting = 1,
) -> Axes:
    """Follow a transposed convolution: input i reaches outputs ``s i - p`` to ``s i - p + d (k - 1)``."""
    settings = zip(
        places.spatial(input), weight.shape[2:], _two(stride), _two(padding), _two(dilation), strict=True
    )
    moved = (
        axis._replace(
            start=axis.start - axis.step / wide * (rate * (kernel - 1) / 2 - before), step=axis.step / wide
        )
        for axis, kernel, wide, before, rate in settings
    )
    return (None, None, *moved)


def _resample(places: _Places, output: Tensor, input: Tensor, *args: Any, **kwargs: Any) -> Axes:
    """Divide the axis evenly; or with ``align_corners``, lay the outermost elements on each other; or pick some."""
    sizes = zip(places.spatial(input), input.shape[-2:], output.shape[-2:], strict=True)
    corners, offset = kwargs.get("align_corners"), _PICKING.get(kwargs.get("mode", ""))
    moved = (
        axis._replace(step=axis.step * (old - 1) / (new - 1))
        if corners and new > 1
        else axis.resampled(old, new)
        if offset is None
        else axis.picked(old, new, offset)
        for axis, old, new in sizes
    )
    return (*(None,) * (output.ndim - 2), *moved)


def _shuffle(places: _Places, output: Tensor, input: Tensor, factor: int) -> Axes:
    """Turn channels into pixels, each cell cut into even parts; or pixels into channels, each block one cell."""
    return _resample(places, output, input)


def _cat(places: _Places, output: Tensor, tensors: Sequence[Tensor], dim: int = 0, **_: Any) -> Axes:
    """Join along an axis that is no place, or that begins at the first tensor that has a place."""
    axes = list(places.kept(output, [tensors]))
    shift = 0
    for tensor in tensors:
        axis = places.of(tensor)[dim] if tensor.ndim else None
        if axis is not None:
            axes[dim] = axis.window(1, 1, shift)
            break
        shift += tensor.shape[dim] if tensor.ndim else 0
    return tuple(axes)


def _narrow(places: _Places, output: Tensor, input: Tensor, dim: int, start: int, length: int) -> Axes:
    axes = list(places.of(input))
    axis = axes[dim]
    axes[dim] = axis.window(1, 1, -(int(start) % input.shape[dim])) if axis else None
    return tuple(axes)


def _roll(places: _Places, output: Tensor, input: Tensor, shifts: Setting, dims: Setting = ()) -> Axes:
    """Move the axis: most elements move on, and the few that wrap around lie where the axis would go on."""
    axes = list(places.of(input))
    shifts, dims = ((value,) if isinstance(value, int) else value for value in (shifts, dims))
    # Without ``dims`` torch rolls all elements as if they stood in one row.
    if not dims:
        return (None,) * input.ndim
    for dim, shift in zip(dims, shifts, strict=True):
        axis = axes[dim]
        axes[dim] = axis.window(1, 1, int(shift)) if axis else None
    return tuple(axes)


def _flip(places: _Places, output: Tensor, input: Tensor, *dims: Any, **kwargs: Any) -> Axes:
    """Turn the axis round: the last element becomes the first."""
    axes = list(places.of(input))
    for dim in kwargs.get("dims", dims[0] if dims and isinstance(dims[0], Iterable) else dims):
        axis = axes[dim]
        axes[dim] = axis.reversed(input.shape[dim]) if axis else None
    return tuple(axes)


def _fliplr(places: _Places, output: Tensor, input: Tensor) -> Axes:
    return _flip(places, output, input, 1)


def _flipud(places: _Places, output: Tensor, input: Tensor) -> Axes:
    return _flip(places, output, input, 0)


def _movedim(places: _Places, output: Tensor, input: Tensor, source: Any, destination: Any) -> Axes:
    # Axis n has n + 1 elements, so its size tells where it goes.
    numbered = torch.empty(tuple(range(1, input.ndim + 1)), device="meta")
    return tuple(places.of(input)[length - 1] for length in numbered.movedim(source, destination).shape)


def _reshape(places: _Places, output: Tensor, *args: Any, **kwargs: Any) -> Axes:
    """Keep the axes; tokens that become a map lie where the last map of that size did."""
    axes = places.kept(output, [args, kwargs])
    if output.ndim == 4 and not any(axes):
        return (None, None, *(places.last.get((dim, output.shape[dim + 1])) for dim in (1, 2)))
    return axes


def _permute(places: _Places, output: Tensor, input: Tensor, *dims: Any, **kwargs: Any) -> Axes:
    order = kwargs.get("dims", dims[0] if dims and isinstance(dims[0], Iterable) else dims)
    return tuple(places.of(input)[dim] for dim in order)


def _transpose(places: _Places, output: Tensor, input: Tensor, dim0: int, dim1: int) -> Axes:
    axes = list(places.of(input))
    axes[dim0], axes[dim1] = axes[dim1], axes[dim0]
    return tuple(axes)


def _index(places: _Places, output: Tensor, input: Tensor, index: object) -> Axes:
    """Follow an index: a slice moves and widens its axis, and a number takes its axis away.

    After any other index only axes that keep their size keep their place.
    """
    index = index if isinstance(index, tuple) else (index,)
    if not all(isinstance(part, slice | int) or part is Ellipsis for part in index):
        return places.kept(output, [input])
    if Ellipsis in index:
        at = index.index(Ellipsis)
        index = (*index[:at], *[slice(None)] * (input.ndim - len(index) + 1), *index[at + 1 :])
    axes = []
    for dim, axis in enumerate(places.of(input)):
        part = index[dim] if dim < len(index) else slice(None)
        if isinstance(part, slice):
            first, _, stride = part.indices(input.shape[dim])
            axes.append(axis.window(1, stride, -first) if axis else None)
    return tuple(axes)


# Modes of F.interpolate that pick elements, and their offsets.
_PICKING = {"nearest": 0.0, "nearest-exact": 0.5}

_RULES: dict[Callable[..., Any], Callable[..., Axes]] = {
    **dict.fromkeys((F.conv2d, torch.conv2d), _conv2d),
    **dict.fromkeys((F.max_pool2d, torch.max_pool2d, F.max_pool2d_with_indices), _pool2d),
    F.lp_pool2d: _lp_pool2d,
    F.conv_transpose2d: _conv_transpose2d,
    **dict.fromkeys((F.pixel_shuffle, F.pixel_unshuffle), _shuffle),
    **dict.fromkeys((torch.cat, torch.concat, torch.concatenate), _cat),
    **dict.fromkeys((torch.narrow, Tensor.narrow), _narrow),
    **dict.fromkeys((torch.roll, Tensor.roll), _roll),
    **dict.fromkeys((torch.flip, Tensor.flip), _flip),
    **dict.fromkeys((torch.fliplr, Tensor.fliplr), _fliplr),
    **dict.fromkeys((torch.flipud, Tensor.flipud), _flipud),
    **dict.fromkeys((torch.movedim, Tensor.movedim, torch.moveaxis, Tensor.moveaxis), _movedim),
    F.avg_pool2d: _avg_pool2d,
    F.pad: _pad,
    **dict.fromkeys((F.interpolate, F.adaptive_avg_pool2d, F.adaptive_max_pool2d), _resample),
    **dict.fromkeys(
        (Tensor.reshape, torch.reshape, Tensor.view, Tensor.unflatten, torch.unflatten), _reshape
    ),
    **dict.fromkeys((Tensor.permute, torch.permute), _permute),
    **dict.fromkeys((Tensor.transpose, torch.transpose, Tensor.swapaxes), _transpose),
    Tensor.__getitem__: _index,
}
