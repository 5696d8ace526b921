"""Mutations that know a format: sections of cfgs, floats of weights, members of torch files, pickles."""

from __future__ import annotations

import io
import pickletools
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import lru_cache

from fuzz_mutate import (
    NUMBERS,
    WORDS,
    mutate_bytes,
    mutate_checkpoint,
    mutate_json,
    mutate_lines,
    mutate_safetensors,
    mutate_words,
)
from robustness_seeds import SeedPool

Rng = random.Random
Mutation = Callable[[bytes, Rng], bytes]
MOST_BYTES = 400_000
"""A mutated file grows no further."""
TEXT: tuple[Mutation, ...] = (mutate_words, mutate_words, mutate_lines, mutate_bytes)
HEADER = re.compile(rb"(?m)^(?=\s*\[)")
CENTRAL = b"PK\1\2"
COUNTS = (0, 1, 2, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1)
# Operations that ask for code, that no checkpoint has, or that want more operands than there are.
ODD_OPERATIONS = (
    b"cos\nsystem\n",
    b"cbuiltins\neval\n",
    b"cposix\nsystem\n(X\x04\0\0\0truetR",
    b"ctorch\nload\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"cnumpy\nndarray\n",
    b"cnumpy.core.multiarray\n_reconstruct\n",
    b"ccollections\nOrderedDict\n",
    b"ctorch\nSize\n",
    b"cmodels.models\nDarknet\n",
    b"(ios\nsystem\n",
    *(bytes((one,)) for one in b"()]}.0123bdaelostuQRN\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94"),
    b"h\0h\1",
    b"j\xff\xff\xff\xff",
    b"q\0",
    b"r\xff\xff\xff\x7f",
    b"\x82\1",
    b"K\xff",
    b"J\xff\xff\xff\xff",
    b"\x8a\x09" + b"\xff" * 8 + b"\x7f",
    b"G\x7f\xf8" + bytes(6),
    b"X\x01\0\0\0a",
    b"B\x01\0\0\0a",
    b"\x8b\xff\xff\xff\x7f",
    b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x95\xff\xff\xff\xff\xff\xff\xff\xff",
    b"P1\n",
    b"I99999999999999999999\n",
    b"Fnan\n",
    b"S'a'\n",
    b"K\x01K\x01\x86" + b"2\x86" * 40,
)


def mutate(kind: str, seeds: SeedPool, rng: Rng) -> tuple[bytes, str, str]:
    """The bytes of one input, the cfg that goes with its seed, and the seed's name."""
    seed = seeds.pick(rng)
    data = seed.data
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        how = rng.choice(MUTATIONS[kind])
        data = splice(data, rng, seeds) if how is None else how(data, rng)
    return data[:MOST_BYTES], seed.cfg, seed.name


def splice(data: bytes, rng: Rng, seeds: SeedPool) -> bytes:
    """A piece of another seed put in the place of one: of a cfg some sections, of all else some bytes."""
    other = seeds.pick(rng).data
    ours, theirs = HEADER.split(data), HEADER.split(other)
    if min(len(ours), len(theirs)) < 3:
        start, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        first = rng.randrange(len(other) + 1)
        return data[:start] + other[first : first + end - start] + data[end:]
    at, first = rng.randrange(len(ours) + 1), rng.randrange(len(theirs))
    taken = theirs[first : first + rng.choice((1, 1, 3, 10))]
    return b"".join([*ours[:at], *taken, *ours[at + rng.choice((0, len(taken))) :]])


def mutate_sections(data: bytes, rng: Rng) -> bytes:
    """Sections swapped, moved, removed, repeated, or cut off after one."""
    parts = HEADER.split(data)
    one, other = (rng.randrange(len(parts)) for _ in range(2))
    how = rng.randrange(5)
    if how == 0:
        parts[one], parts[other] = parts[other], parts[one]
    elif how == 1:
        parts.insert(other, parts.pop(one))
    elif how == 2:
        parts[one] = b""
    elif how == 3:
        parts[one] *= rng.choice((2, 5, 40))
    else:
        del parts[one + 1 :]
    return b"".join(parts)


def mutate_values(data: bytes, rng: Rng) -> bytes:
    """The value of one key is an extreme number, a word, or the value of another key."""
    values = list(re.finditer(rb"=[^\r\n]*", data))
    if not values:
        return mutate_lines(data, rng)
    one, other = (rng.choice(values) for _ in range(2))
    new = rng.choice((rng.choice(NUMBERS).encode(), rng.choice(WORDS).encode(), other[0][1:], other[0][1:]))
    return data[: one.start() + 1] + new + data[one.end() :]


def mutate_header(data: bytes, rng: Rng) -> bytes:
    """The version or the count of images seen of a weights file is another."""
    at = rng.choice((0, 4, 8, 12, 16))
    return data[:at] + struct.pack("<I", rng.choice(COUNTS) & 0xFFFFFFFF) + data[at + 4 :]


def mutate_floats(data: bytes, rng: Rng) -> bytes:
    """Floats that are no numbers, removed, or added, whole or in part."""
    count = rng.choice((1, 1, 4, 7, 100))
    at = 4 * rng.randrange(4, max(5, len(data) // 4))
    odd = struct.pack("<f", rng.choice((0.0, 1e38, -1e-45, float("nan"), float("inf"))))
    how = rng.randrange(4)
    if how == 0:
        return data[:at] + odd * count + data[at + 4 * count :]
    if how == 1:
        return data[:at] + data[at + 4 * count :]
    return data + odd * count if how == 2 else data[: -rng.choice((1, 2, 3, 4, 4 * count))]


def mutate_members(data: bytes, rng: Rng) -> bytes:
    """A member of a zip archive changed, renamed, repeated or removed, with the right checksums."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(one.filename, archive.read(one)) for one in archive.infolist()]
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError):
        return mutate_operations(data, rng)
    if not members:
        return mutate_bytes(data, rng)
    at = rng.randrange(len(members)) if rng.random() < 0.5 else 0
    at = next((n for n, (name, _) in enumerate(members) if name.endswith("data.pkl")), at) if at == 0 else at
    name, held = members[at]
    changed = mutate_operations(held, rng) if name.endswith(".pkl") else mutate_bytes(held, rng)
    other = rng.choice(members)[0]
    renamed = rng.choice((other, name + "x", "../x", "", "/" + name, name.replace("data", "date"), "\0"))
    how = rng.random()
    members[at] = (name, changed) if how < 0.8 else (renamed, held)
    if how > 0.95:
        del members[at]
    return _zip(members, rng)


def _zip(members: list[tuple[str, bytes]], rng: Rng) -> bytes:
    out = io.BytesIO()
    packing = zipfile.ZIP_DEFLATED if rng.random() < 0.03 else zipfile.ZIP_STORED
    with zipfile.ZipFile(out, "w", packing) as archive:
        for name, held in members:
            archive.writestr(_entry(name, packing), held)
    return out.getvalue()


def _entry(name: str, packing: int) -> zipfile.ZipInfo:
    """Without the time of day, which would make every archive another."""
    entry = zipfile.ZipInfo(name)
    entry.compress_type = packing
    return entry


def mutate_directory(data: bytes, rng: Rng) -> bytes:
    """A field of the directory of a zip archive is another: sizes, checksums, offsets, flags."""
    places = [found.start() for found in re.finditer(re.escape(CENTRAL), data)]
    if not places:
        return mutate_bytes(data, rng)
    at = rng.choice(places) + rng.choice((8, 10, 16, 20, 24, 28, 30, 42))
    return data[:at] + struct.pack("<I", rng.choice(COUNTS) & 0xFFFFFFFF) + data[at + 4 :]


@lru_cache(200)
def _operations(data: bytes) -> tuple[bytes, ...]:
    """The operations of all pickles at the start of the data, as bytes; the rest is the last one."""
    file, starts = io.BytesIO(data), [0]
    try:
        while data[file.tell() : file.tell() + 1] == b"\x80":
            starts += [place or 0 for _, _, place in pickletools.genops(file)][1:] + [file.tell()]
    except (ValueError, UnicodeError, OverflowError, EOFError):
        pass
    bounds = [*starts, len(data)]
    return tuple(data[a:b] for a, b in zip(bounds, bounds[1:], strict=False))


def mutate_operations(data: bytes, rng: Rng) -> bytes:
    """One operation of a pickle removed, repeated, moved, replaced, or its argument changed."""
    operations = list(_operations(data))
    one, other = (rng.randrange(len(operations)) for _ in range(2))
    how = rng.randrange(6)
    if how == 0:
        del operations[one]
    elif how == 1:
        operations[one] *= rng.choice((2, 3, 30))
    elif how == 2:
        operations[one], operations[other] = operations[other], operations[one]
    elif how == 3:
        operations[one] = rng.choice(ODD_OPERATIONS)
    elif how == 4:
        operations.insert(one, rng.choice((rng.choice(ODD_OPERATIONS), operations[other])))
    else:
        code, argument = operations[one][:1], operations[one][1:]
        operations[one] = code + (mutate_bytes(argument, rng) if argument else rng.randbytes(1))
    return b"".join(operations)


def mutate_any_weights(data: bytes, rng: Rng) -> bytes:
    """A torch file by its members, any other by its header and its floats."""
    if data.startswith(b"PK"):
        return rng.choice((mutate_members, mutate_members, mutate_checkpoint))(data, rng)
    return rng.choice((mutate_header, mutate_floats))(data, rng)


# None stands for a piece of another seed.
MUTATIONS: dict[str, tuple[Mutation | None, ...]] = {
    "cfg": (mutate_values, mutate_values, mutate_values, mutate_sections, mutate_sections, None, *TEXT),
    "weights": (mutate_header, mutate_floats, mutate_floats, None, mutate_bytes),
    "pt": (
        *(mutate_members, mutate_members, mutate_members, mutate_operations),
        *(mutate_checkpoint, mutate_directory, mutate_bytes),
    ),
    "safetensors": (mutate_safetensors, mutate_safetensors, mutate_bytes, None),
    "metadata": (mutate_json, mutate_json, mutate_bytes),
    "networks": (mutate_any_weights,),
    "images": (mutate_bytes, mutate_bytes, None),
    "json": (mutate_json, mutate_json, mutate_json, mutate_words, mutate_bytes),
    **dict.fromkeys(("labels", "names", "yaml", "voc", "tree"), (*TEXT, None)),
}
