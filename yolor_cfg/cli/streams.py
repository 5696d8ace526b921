"""Standard error that may be closed or broken: messages are lost then, and the work goes on."""

from __future__ import annotations

import os
import sys
from typing import IO, Any, TextIO

STDERR = 2  # the descriptor


class LossyStream:
    """A text stream that loses what cannot be written."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text if the stream takes it."""
        try:
            return self._stream.write(text)
        except (OSError, ValueError):  # ValueError: closed
            return len(text)

    def flush(self) -> None:
        """Flush what the stream still takes."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            return

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def keep_stderr() -> None:
    """Let standard error never fail. A closed one becomes the null device: else the next file that is opened
    would take its number, and libraries would write their messages into it.

    Ours get a descriptor of their own, since number 2 leads nowhere while a thread decodes an image.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # open until the end
    elif not isinstance(sys.stderr, LossyStream):
        sys.stderr = LossyStream(_copy_stderr(sys.stderr))


def _copy_stderr(stream: TextIO) -> TextIO:
    """The same under a descriptor of its own; what is not the process's own standard error stays as it is."""
    try:
        if stream.fileno() != STDERR:
            return stream
        stream.flush()
        copy = os.dup(STDERR)
        return open(copy, "w", 1, stream.encoding, stream.errors)  # noqa: SIM115  # open until the end
    except (OSError, ValueError):  # as of a stream without a descriptor
        return stream
