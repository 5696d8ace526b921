"""What darkflow cuts out of a bigger network: classes named by a key, channels listed in a profile file."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from yolor_cfg.errors import CfgError
from yolor_cfg.files import read_bounded
from yolor_cfg.lang.dialect import Dialect
from yolor_cfg.lang.keys import BadValue, Key, ParsedValue, strip_comment

CONVERT_HINT = (
    'a pickle can run any code; if you trust it: python -c "import json, pickle; '
    "print(json.dumps(pickle.load(open('OLD', 'rb'), encoding='latin1'), default=lambda x: x.tolist()))\" "
    "> NEW, and name NEW in the cfg"
)
MAX_PROFILES = 16  # files whose lists are kept
PROFILE_FORM = "JSON: [[number,...],[number,...],...], one list for each section with weights"
KEEP_PATTERN = re.compile(r"([0-9]{1,9}(?:,[0-9]{1,9})*)/([0-9]{1,9})")


class KeptClasses(NamedTuple):
    """The classes that stay, in their new order, of so many."""

    kept: tuple[int, ...]
    classes: int


class KeepKey(Key[KeptClasses]):
    """`8,14,15/20`: the classes that stay, a slash, and how many there were."""

    def parse(self, text: str, dialect: Dialect) -> ParsedValue:
        """The classes, each below their number."""
        match = KEEP_PATTERN.fullmatch(re.sub(r"\s", "", strip_comment(text)))
        if match is None:
            raise BadValue("not a list of classes", self.allowed)
        kept, classes = tuple(map(int, match[1].split(","))), int(match[2])
        if max(kept) >= classes:
            raise BadValue("no such class", f"0 to {classes - 1}", "classes count from 0")
        return ParsedValue(KeptClasses(kept, classes))

    @property
    def allowed(self) -> str:
        """The form in words."""
        return "class,class,.../number of classes"


Profile = tuple[tuple[int, ...], ...]
"""The numbers of the channels (or outputs) that stay, for each section with weights, in their order."""


def read_profile(path: Path) -> Profile:
    """The lists of a profile; raises CfgError for anything but JSON of the expected form."""
    status = path.stat()
    return _parse_profile(path, status.st_mtime_ns, status.st_size)


@lru_cache(MAX_PROFILES)
def _parse_profile(path: Path, _changed: int, _size: int) -> Profile:
    """The profile, read once for all the sections that name it."""
    data = read_bounded(path, fault=CfgError, what="the profile")
    try:
        outer = json.loads(data)
    except (ValueError, RecursionError):
        is_pickle = data[:1] in (b"\x80", b"(", b"]")
        what = "this is a pickle, which is not read" if is_pickle else "not a profile"
        raise _profile_error(path, what, hint=CONVERT_HINT if is_pickle else "") from None
    is_wrapped = isinstance(outer, list) and len(outer) == 1 and not _is_index_list(outer[0])
    lists = outer[0] if is_wrapped else outer  # as darkflow's pickles hold them, or alone
    if not isinstance(lists, list) or not lists or not all(map(_is_index_list, lists)):
        raise _profile_error(path, "not a profile")
    return tuple(map(tuple, lists))


def _profile_error(path: Path, message: str, *, hint: str = "") -> CfgError:
    return CfgError(message, path=str(path), allowed=PROFILE_FORM, hint=hint)


def _is_index_list(value: Any) -> bool:
    if not isinstance(value, list) or not value:
        return False
    return all(type(one) is int and 0 <= one < 2**31 for one in value)
