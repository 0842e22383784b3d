"""Printing that never ends the work, even if the console lacks a letter, a pipe is closed or the log's disk is full."""

import contextlib
import io
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Outlet(io.FileIO):
    """A file descriptor that passes over failed writes, because nobody is left to read an error."""

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(memoryview(data).cast("B"))


@contextlib.contextmanager
def forgiving_output() -> Iterator[None]:
    """Let ``sys.stdout`` and ``sys.stderr`` survive every failure to print, for as long as the block lasts.

    A letter that the console's encoding lacks is printed as its code. Text that cannot be written is lost, as after
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
            # There may be no stream, or one of another kind (AttributeError), or a closed one (ValueError).
            with contextlib.suppress(AttributeError, ValueError):
                if stream is not None:
                    stream.flush()
        sys.stdout, sys.stderr = before


def _forgiving(stream: TextIO | None) -> TextIO | None:
    # There may be no stream at all; notebooks and tests have streams of their own.
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    # A stream that is closed or has no file stays as it is.
    try:
        stream.flush()
        number = stream.fileno()
    except (OSError, ValueError):
        return stream
    raw = io.BufferedWriter(_Outlet(number, "w", closefd=False))
    return io.TextIOWrapper(
        raw,
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering or stream.isatty(),
        write_through=stream.write_through,
    )
