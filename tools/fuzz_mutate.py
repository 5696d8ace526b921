"""Mutations of the fuzzer: of bytes, of the words and lines of a text, of values in JSON and torch files."""

from __future__ import annotations

import json
import random
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

Rng = random.Random
NUMBERS = (
    "0 -1 1 2 255 65536 2147483647 2147483648 -2147483649 18446744073709551616 1e9 1e-3 1e308 1e400 nan inf "
    "-inf 0x10 1_0 .5 5. 1,2 0.1.2 007 99999999999999999999999999"
).split()
WORDS = (
    "",
    " ",
    "\0",
    "\n",
    "\x1b[31m",
    "\ufeff",
    "\u2028",
    "\U0001f600",
    "..",
    "/",
    "/dev/zero",
    "/dev/null",
    "~",
    "null",
    "true",
    "no",
    "yes",
    "[]",
    "{}",
    "*a",
    "&a",
    "<<",
    "[",
    "]",
    "{",
    "}",
    "=",
    "#",
    ";",
    ":",
    ",",
    '"',
    "'",
    "<",
    ">",
    "%s",
    "\\",
    "-",
    "--",
    "auto",
    "yolo",
    "net",
    "relu6",
    "2001-01-01",
    "!!binary a",
    "9" * 5000,
    "a" * 5000,
    "[" * 2000,
    "\u0130",
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    1.5,
    -0.0,
    float("nan"),
    float("inf"),
    -float("inf"),
    2**31,
    2**63,
    2**64,
    10**400,
    "",
    "a",
    "0",
    "1e3",
    "\0",
    "\x1b[31m",
    "\n",
    "9" * 5000,
    [],
    {},
    [[]],
    [1],
    [1, 2, 3, 4, 5],
    {"a": 1},
    {"a": {"a": {}}},
    [None],
    ["a", 1],
    "../../x",
    "/dev/zero",
    1e308,
    -5,
    10**6,
)
TEXT_SUFFIXES = frozenset((".cfg", ".txt", ".json", ".xml", ".yaml", ".names", ".data", ".tree"))
WORD_PATTERN = re.compile(rb"[+-]?[0-9][0-9.eE+-]*|[A-Za-z_]+|\s+|.")


def mutate_file(path: Path, rng: Rng) -> None:
    """Change the file in one to four ways that fit its kind, most often once."""
    data = path.read_bytes()
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice(_mutations(path))(data, rng)
    path.write_bytes(data)


def _mutations(path: Path) -> tuple[Callable[[bytes, Rng], bytes], ...]:
    if path.suffix == ".json":
        return (mutate_json, mutate_json, mutate_json, mutate_words, mutate_bytes)
    if path.suffix == ".pt":
        return (mutate_checkpoint, mutate_checkpoint, mutate_bytes)
    if path.suffix == ".safetensors":
        return (mutate_safetensors, mutate_safetensors, mutate_bytes)
    if path.suffix in TEXT_SUFFIXES:
        return (mutate_words, mutate_words, mutate_lines, mutate_bytes)
    return (mutate_bytes,)


def mutate_bytes(data: bytes, rng: Rng) -> bytes:
    """Bits flipped, bytes set, or a piece cut, doubled, moved or put in, often near the start."""
    far = rng.choice((16, 64, 512, len(data)))
    start = rng.randrange(max(1, min(far, len(data))))
    end = start + rng.choice((1, 1, 2, 4, 8, 64, 1000))
    if rng.random() < 0.15:
        return data[:start]
    return data[:start] + _change_piece(data[start:end], rng) + data[end:]


def _change_piece(piece: bytes, rng: Rng) -> bytes:
    number = struct.pack(rng.choice(("<i", ">i", "<q")), rng.choice((-1, 0, 1, 2**31 - 1, 65536)))
    word = rng.choice(WORDS).encode("utf-8", "surrogatepass")
    flipped = bytes(byte ^ 1 << rng.randrange(8) for byte in piece)
    same = (bytes(len(piece)), b"\xff" * len(piece), rng.randbytes(len(piece)))
    return rng.choice((flipped, *same, b"", piece * rng.choice((2, 3, 50)), piece + word, number))


def mutate_words(data: bytes, rng: Rng) -> bytes:
    """One word or number replaced, removed or doubled."""
    words = WORD_PATTERN.findall(data)
    if not words:
        return rng.choice(WORDS).encode()
    place = rng.randrange(len(words))
    other = rng.choice((*NUMBERS, *WORDS, words[rng.randrange(len(words))].decode("utf-8", "replace")))
    words[place] = rng.choice((other.encode(), other.encode(), b"", words[place] * 2))
    return b"".join(words)


def mutate_lines(data: bytes, rng: Rng) -> bytes:
    """A line removed, repeated, moved, or its value changed."""
    lines = data.splitlines(keepends=True) or [b""]
    place = rng.randrange(len(lines))
    line = lines.pop(place)
    key, equals, _ = line.partition(b"=")
    value = rng.choice((*NUMBERS, *WORDS)).encode()
    changed = key + equals + value + b"\n" if equals else value + b"\n"
    put = rng.choice(([], [line] * rng.choice((2, 300)), [changed], [changed, line]))
    at = rng.choice((place, place, rng.randrange(len(lines) + 1)))
    return b"".join([*lines[:at], *put, *lines[at:]])


def mutate_json(data: bytes, rng: Rng) -> bytes:
    """One value of the document replaced, or an entry removed or doubled."""
    try:
        document = json.loads(data)
        return json.dumps(mutate_value(document, rng)).encode()
    except (ValueError, RecursionError):
        return data


def mutate_value(value: Any, rng: Rng) -> Any:
    """The value with something in it changed, at any depth."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        return rng.choice(VALUES)
    entries: list[tuple[Any, Any]] = [*(value.items() if isinstance(value, dict) else enumerate(value))]
    key, inner = rng.choice(entries)
    how = rng.random()
    if how < 0.15:
        entries = [(k, v) for k, v in entries if k != key]
    elif how < 0.25:
        entries.append((rng.choice(("x", "id", "", key)), inner))
    else:
        entries = [(k, mutate_value(v, rng) if k == key else v) for k, v in entries]
    return dict(entries) if isinstance(value, dict) else [entry for _, entry in entries]


def mutate_safetensors(data: bytes, rng: Rng) -> bytes:
    """The header or the record in its metadata changed."""
    try:
        length = struct.unpack_from("<Q", data)[0]
        header = json.loads(data[8 : 8 + length])
        if rng.random() < 0.5:
            record = json.loads(header["__metadata__"]["yolor"])
            header["__metadata__"]["yolor"] = json.dumps(mutate_value(record, rng))
        else:
            header = mutate_value(header, rng)
        text = json.dumps(header).encode()
    except (ValueError, KeyError, TypeError, struct.error, RecursionError):
        return data
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def mutate_checkpoint(data: bytes, rng: Rng) -> bytes:
    """One entry of the dict changed, and saved again."""
    import io

    import torch

    try:
        content = torch.load(io.BytesIO(data), weights_only=True)
        out = io.BytesIO()
        torch.save(_mutate_entry(content, rng), out)
    except Exception:  # whatever torch makes of a file that was damaged before
        return data
    return out.getvalue()


def _mutate_entry(content: Any, rng: Rng) -> Any:
    if not isinstance(content, dict) or not content or rng.random() < 0.1:
        return rng.choice((*_odd_entries(), *VALUES))
    key = rng.choice(list(content))
    changed = {k: v for k, v in content.items() if k != key}
    how = rng.random()
    if how < 0.1:
        changed[rng.choice(("", "x", 3, "model", "module.x", "\x1b[31m"))] = content[key]
    elif how < 0.85:
        changed[key] = _mutate_entry(content[key], rng)
    return changed


def _odd_entries() -> tuple[Any, ...]:
    import torch

    complex_one = torch.ones(1, dtype=torch.complex64)
    return torch.ones(2), complex_one, torch.zeros(2, 0), torch.ones(1).int(), b"x", (1, 2)
