"""Standard error that may be closed or broken: messages are lost then, and the work goes on."""

from __future__ import annotations

import os
import sys
from typing import IO, Any


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
    would take its number, and libraries would write their messages into it."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # open until the end
    elif not isinstance(sys.stderr, LossyStream):
        sys.stderr = LossyStream(sys.stderr)
