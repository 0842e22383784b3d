"""What is printed never ends the work: a console that lacks a letter, a pipe that is closed, a log on a full disk."""

import contextlib
import io
import sys
from collections.abc import Iterator
from typing import TextIO


class _Outlet(io.FileIO):
    """A file descriptor whose failures are swallowed: there is nobody left to tell."""

    def write(self, data: bytes | memoryview) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(memoryview(data).cast("B"))


@contextlib.contextmanager
def forgiving_output() -> Iterator[None]:
    """Make ``sys.stdout`` and ``sys.stderr`` print on whatever happens to them, for as long as this lasts.

    A letter that the console's encoding lacks is printed as its code; what cannot be written is lost, as after
    ``gain runs | head -1``, and the work goes on.

    Example:
        >>> with forgiving_output():
        ...     print("a")
        a
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(_forgiving, before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, ValueError):  # none, or closed
                stream.flush()
        sys.stdout, sys.stderr = before


def _forgiving(stream: TextIO | None) -> TextIO | None:
    if not isinstance(stream, io.TextIOWrapper):  # none at all, or a notebook's or a test's own
        return stream
    try:
        stream.flush()
        number = stream.fileno()
    except (OSError, ValueError):  # closed, or no file
        return stream
    raw = io.BufferedWriter(_Outlet(number, "w", closefd=False))
    return io.TextIOWrapper(
        raw,
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering or stream.isatty(),
        write_through=stream.write_through,
    )
