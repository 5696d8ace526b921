"""What the classes of sections say of themselves, in words: for `yolor info --sections`, `yolor cfg explain`
and docs/cfg-reference.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from yolor_cfg.errors import CfgError
from yolor_cfg.lang.dialect import ALL_DIALECTS, C_DARKNET, DIALECTS, FAMILIES, Dialect
from yolor_cfg.lang.keys import NONE, TRAINING, Key, Use
from yolor_cfg.lang.syntax import parse
from yolor_cfg.sections.base import Section
from yolor_cfg.sections.reading import SectionPlace


class KeyManual(NamedTuple):
    """A key in words: `unit` of numbers that have one, `default` as in a cfg, the `dialects` of the section
    that have it, what goes by it here, and the reason where nothing does."""

    name: str
    meaning: str
    unit: str
    default: str
    allowed: str
    dialects: tuple[str, ...]
    use: Use
    reason: str = ""

    @property
    def sentence(self) -> str:
        """The meaning with the unit, where it does not name it, and why nothing goes by it."""
        unit = f" ({self.unit})" if self.unit and self.unit not in self.meaning else ""
        return join_reason(self.meaning + unit, self.reason)


def join_reason(meaning: str, reason: str) -> str:
    """What a key means, and why nothing goes by it, if nothing does."""
    return "; ".join(part for part in (meaning, reason and f"not used here: {reason}") if part)


def summarize(kind: type[Section]) -> str:
    """The first paragraph of the class, on one line."""
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split())


def describe_keys(kind: type[Section]) -> Iterator[KeyManual]:
    """The keys that this section has for itself, those without effect last."""
    for name in kind.own_keys():
        yield describe_key(kind, name)
    dialects = tuple(name for name in kind.dialects if name in C_DARKNET)
    for name, reason in kind.ignored_keys.items():
        yield KeyManual(name, "", "", "", "", dialects, NONE, reason)


def describe_key(kind: type[Section], name: str) -> KeyManual:
    """One key of this section."""
    key = kind.keys[name]
    use, reason = find_use(kind, name)
    default, dialects = _tell_absence(kind, key, name), key_dialects(kind, key)
    return KeyManual(name, key.help, key.unit, default, key.allowed, dialects, use, reason)


class KeyInUse(NamedTuple):
    """A key of a section in a file: what it is, its value there and the cfg line that gives it; without such
    a line (0) the value is the default. The value of a faulty key is None."""

    manual: KeyManual
    value: Any
    line: int


UNKNOWN_KEY = "no key of this section: it is read over"


def explain_keys(section: Section) -> Iterator[KeyInUse]:
    """The keys of a section with the values in use: its own, then those of every section, then others that
    the file gives."""
    lines = section.lines
    kind: Any = type(section)
    manuals = manuals_of(kind)
    for manual in manuals.values():
        line = lines.get(manual.name)
        yield KeyInUse(manual, _value_in_use(section, manual), line.number if line else 0)
    for name in lines.keys() - manuals.keys():
        manual = KeyManual(name, UNKNOWN_KEY, "", "", "", (), NONE)
        yield KeyInUse(manual, lines[name].value, lines[name].number)


@cache
def manuals_of(kind: Any) -> dict[str, KeyManual]:
    """All keys of this kind of section by name: its own, those without effect, those of every section."""
    own = {manual.name: manual for manual in describe_keys(kind)}
    return own | {name: describe_key(kind, name) for name in kind.keys if name not in own}


def _value_in_use(section: Section, manual: KeyManual) -> Any:
    if manual.name not in section.keys:
        line = section.lines.get(manual.name)
        return line.value if line else ""
    try:
        return getattr(section, section.keys[manual.name].attribute)
    except CfgError:
        return None


def key_dialects(kind: type[Section], key: Key[Any]) -> tuple[str, ...]:
    """The dialects of this section that have the key; what it inherits of others is its own."""
    return tuple(one for one in kind.dialects if one in key.dialects) or kind.dialects


def _tell_absence(kind: type[Section], key: Key[Any], name: str) -> str:
    """What counts where the key is absent: its default, or "required" and in which dialects."""
    dialects = key_dialects(kind, key)
    needing = tuple(one for one in dialects if name in _needed_keys(kind, DIALECTS[one]))
    if not needing:
        return format_default(kind, key)
    if needing == dialects:
        return "required"
    return f"{format_default(kind, key)}; required in {name_dialects(needing)}"


def _needed_keys(kind: type[Section], dialect: Dialect) -> frozenset[str]:
    """The keys without which an empty section is an error."""
    if not kind.names:
        return frozenset()
    raw = parse(f"[net]\n[{kind.names[0]}]").sections[-1]
    faults = kind(raw, SectionPlace(0, dialect, "")).faults
    return frozenset(fault.key for fault in faults if fault.message.startswith("missing key"))


def find_use(kind: type[Section], name: str) -> tuple[Use, str]:
    """What goes by this key of this section, and why nothing does."""
    key = kind.keys[name]
    if key.use == TRAINING and kind.untrained and name not in Section.keys:
        return NONE, kind.untrained
    return key.use, key.idle


def format_default(kind: type[Section], key: Key[Any]) -> str:
    """The default as written in a cfg; what depends on other keys by their names, and what families have
    otherwise after it."""
    if not callable(key.default):
        return format_value(key.default)
    texts = {one: _default_text(kind, key, DIALECTS[one]) for one in key_dialects(kind, key)}
    usual, *others = dict.fromkeys(texts.values())
    apart = [f"{text} in {name_dialects(_having(texts, text))}" for text in others]
    return f"{usual}; {', '.join(apart)}" if apart else usual


def _having(texts: Mapping[str, str], text: str) -> tuple[str, ...]:
    return tuple(name for name, its in texts.items() if its == text)


def format_value(value: Any) -> str:
    """A value as written in a cfg."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, (tuple, list)):
        mark = "/" if any(isinstance(item, tuple) for item in value) else ","
        return mark.join(format_value(item) for item in value) or "none"
    return "none" if value in (None, "") else str(value)


def name_dialects(dialects: tuple[str, ...]) -> str:
    """Dialects as families, where all of one are among them; empty if that is all there are."""
    if len(dialects) == len(ALL_DIALECTS):
        return ""
    whole = [
        family
        for family in FAMILIES
        if {one.name for one in DIALECTS.values() if one.family == family} <= set(dialects)
    ]
    rest = [name for name in dialects if DIALECTS[name].family not in whole]
    return ", ".join((*whole, *rest))


class _Unknown:
    """A value that is known by its name alone."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __rmul__(self, factor: Any) -> _Unknown:
        return _Unknown(f"{format_value(factor)} x {self.name}")

    def __sub__(self, other: Any) -> _Unknown:
        return _Unknown(f"{self.name} - {other}")

    def __index__(self) -> int:
        raise TypeError


class _Anyone:
    """A section without keys, of which nothing is known but its class and dialect."""

    def __init__(self, kind: type[Section], dialect: Dialect) -> None:
        self._kind, self.dialect = kind, dialect
        self.values: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name in self._kind.keys:
            return _Unknown(name)
        value = getattr(self._kind, name)
        return value.__get__(self) if isinstance(value, property) else value


def _default_text(kind: type[Section], key: Key[Any], dialect: Dialect) -> str:
    try:
        value = key.default_for(_Anyone(kind, dialect))
    except TypeError:
        return "from other keys"
    return value.name if isinstance(value, _Unknown) else format_value(value)
