"""What every section answers. A new section is one class; everything it is not asked about has a sensible
default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from yolor_cfg.errors import CfgError
from yolor_cfg.lang.dialect import BOTH, Dialect
from yolor_cfg.lang.keys import BadValue, Flag, Float, Int, Key, closest
from yolor_cfg.lang.syntax import Line, RawSection
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn

SECTIONS: dict[str, type[Section]] = {}


class Stored(NamedTuple):
    """One tensor of a section as `.weights` keeps it: its role, its state-dict name below the section, its
    shape.

    `trained` is False for running statistics, which are no parameters. `transposable` marks the matrices that
    old files (transpose flag in the header) keep the other way round.
    """

    role: str
    name: str
    shape: tuple[int, ...]
    trained: bool = True
    transposable: bool = False
    flipped: bool = False

    @property
    def size(self) -> int:
        """How many float32 numbers this is in the file."""
        size = 1
        for length in self.shape:
            size *= length
        return size


class Section:
    """One `[name]` of a cfg with its typed keys. Shapes are of one image; sources are absolute indices, -1
    the image.

    The order of members is the order in which the rest of the program asks: keys, sources, shape, module,
    macs, bflops, tensors, decayed.
    """

    names: ClassVar[tuple[str, ...]] = ()
    keys: ClassVar[dict[str, Key[Any]]] = {}
    dialects: ClassVar[tuple[str, ...]] = BOTH
    examples: ClassVar[tuple[str, ...]] = ()
    ignored: ClassVar[dict[str, str]] = {}
    is_head: ClassVar[bool] = False
    is_loss: ClassVar[bool] = False  # its output is no prediction: never what a network returns
    aliases_input: ClassVar[bool] = False  # its output is its first input, not a new value

    clip = Float(0, help="clips weight updates in training")
    onlyforward = Flag(False, help="training does not go back through this section")
    dont_update = Int(0, help="no update until that iteration")
    burnin_update = Int(0, help="updates from that multiple of burn_in on")
    stopbackward = Flag(False, help="freezes every section before this one")
    train_only_bn = Flag(False, help="this section and all before it train their batch norm alone")
    dontload = Flag(False, help="the weights of this section are not in the file that is read")
    dontloadscales = Flag(False, help="scales, means and variances are not in the file that is read")
    learning_rate = Float(1, help="factor on the learning rate of this section")

    def __init_subclass__(cls, names: str = "") -> None:
        super().__init_subclass__()
        cls.keys = {
            key.name: key
            for base in reversed(cls.__mro__)
            for key in vars(base).values()
            if isinstance(key, Key)
        }
        if not names:
            return
        cls.names = tuple(names.split())
        for name in cls.names:
            assert name not in SECTIONS, f"two sections are named [{name}]"
            SECTIONS[name] = cls

    def __init__(self, raw: RawSection, *, index: int, dialect: Dialect, path: str) -> None:
        self.raw, self.index, self.dialect, self.path = raw, index, dialect, path
        self.image = Shape(
            0, 0, 0
        )  # set by the graph as soon as it is known; heads measure their stride with it
        self.faults: list[CfgError] = []
        self.warnings: list[CfgError] = []
        self.values: dict[str, Any] = {}
        self.lines: dict[str, Line] = {}
        for line in raw.lines[1:]:
            self._take(line)
        for name, line in self.lines.items():
            self._read(name, line)
        if not self.faults:
            self.check()

    @property
    def type(self) -> str:
        """The canonical name; aliases resolved."""
        return self.names[0]

    @property
    def line(self) -> int:
        """The cfg line of the header."""
        return self.raw.line

    def check(self) -> None:
        """Say what does not fit between the keys of this section: `self.fault(...)` and `self.warn(...)`."""

    def sources(self) -> tuple[int, ...]:
        """Absolute indices of the sections this one reads; the one before unless said otherwise."""
        return (self.index - 1,)

    def shape(self, *inputs: Shape) -> Shape:
        """The size of the output; raises CfgError when the inputs do not fit."""
        return inputs[0]

    def module(self, *inputs: Shape) -> nn.Module:
        """The torch module that computes this section; the one place that imports torch."""
        raise AssertionError(f"[{self.type}] builds no module")

    def lender(self) -> int | None:
        """The absolute index of the section whose tensors this one uses in place of its own."""
        return None

    def macs(self, out: Shape, *inputs: Shape) -> int:
        """Multiply-adds for one image: what torch's FlopCounterMode counts, halved."""
        return 0

    def bflops(self, out: Shape, *inputs: Shape) -> float | None:
        """Billions of operations as C Darknet prints them; None where Darknet has no such section."""
        return 0.0 if "darknet" in self.dialects else None

    def tensors(self, *inputs: Shape) -> list[Stored]:
        """The stored tensors in `.weights` order."""
        return []

    def decayed(self) -> tuple[str, ...]:
        """State-dict names (below the section) of the parameters that take weight decay."""
        return ()

    def fit(self, lent: Sequence[Stored], *inputs: Shape) -> None:
        """Raise CfgError when the tensors of `lender()` are not of the shapes that this section needs."""

    def differs_by_dialect(self) -> bool:
        """True where the same text means something else in the other dialect; people are told when one was
        assumed."""
        return False

    def absolute(self, references: Sequence[int], key: str, *, forward: bool = False) -> tuple[int, ...]:
        """References as absolute indices (negative: back from here); raises CfgError when one points
        outside."""
        resolved = tuple(ref if ref >= 0 else self.index + ref for ref in references)
        for ref, target in zip(references, resolved, strict=True):
            if not 0 <= target < self.index and not (forward and target > self.index):
                raise self._outside(ref, key)
        return resolved

    def error(
        self, key: str, message: str, *, found: str = "", allowed: str | Sequence[str] = "", hint: str = ""
    ) -> CfgError:
        """A CfgError at this key (at the header when the key is absent or empty)."""
        line = self.lines[key].number if key in self.lines else self.line
        return CfgError(
            message,
            path=self.path,
            line=line,
            section=self.raw.name,
            number=self._number,
            key=key,
            found=found,
            allowed=allowed,
            hint=hint,
        )

    def fault(
        self, key: str, message: str, *, found: str = "", allowed: str | Sequence[str] = "", hint: str = ""
    ) -> None:
        """Note an error; all of a file are told together."""
        self.faults.append(self.error(key, message, found=found, allowed=allowed, hint=hint))

    def warn(
        self, key: str, message: str, *, found: str = "", allowed: str | Sequence[str] = "", hint: str = ""
    ) -> None:
        """Note what is odd but has a meaning; `--strict` makes it an error."""
        self.warnings.append(self.error(key, message, found=found, allowed=allowed, hint=hint))

    def needs(self, *names: str) -> None:
        """A fault for each of these keys that is absent."""
        for name in names:
            if name not in self.values:
                key = self.keys[name]
                self.fault(name, "missing key", allowed=key.allowed, hint=key.help)

    @property
    def _number(self) -> int | None:
        return self.index if self.index >= 0 else None

    def _outside(self, reference: int, key: str) -> CfgError:
        allowed = (
            f"-{self.index}..-1, 0..{self.index - 1}" if self.index else "nothing: this is the first section"
        )
        other_sign = -reference
        fits = -self.index <= other_sign < self.index and other_sign != 0
        return self.error(
            key,
            "points outside the sections before this one",
            found=str(reference),
            allowed=allowed,
            hint=f"{other_sign} would fit" if fits else "",
        )

    def _take(self, line: Line) -> None:
        """Keep the line of each key that counts: the first or the last of two, by the dialect."""
        if line.kind == "bare":
            self._odd_line(line, "a line without =", found=line.value, hint="expected `key = value`")
        elif line.kind == "entry" and not line.value:
            self._odd_line(
                line,
                f"{line.key}: no value after =",
                found=line.text.strip(),
                hint="the key counts as absent",
            )
        elif line.kind == "entry":
            earlier = self.lines.get(line.key)
            if earlier is not None and earlier.value != line.value:
                self._given_twice(earlier, line)
            if earlier is None or not self.dialect.first_key_wins:
                self.lines[line.key] = line

    def _given_twice(self, earlier: Line, later: Line) -> None:
        counts = "first" if self.dialect.first_key_wins else "last"
        self.lines[later.key] = later
        self.warn(
            later.key,
            f"given twice: the {counts} counts",
            found=f"{earlier.value} (line {earlier.number}), {later.value} (line {later.number})",
        )
        self.lines[later.key] = earlier

    def _odd_line(self, line: Line, message: str, *, found: str, hint: str) -> None:
        fault = CfgError(
            message,
            path=self.path,
            line=line.number,
            section=self.raw.name,
            number=self._number,
            found=found[:60],
            hint=hint,
        )
        (self.warnings if self.dialect.forgiving else self.faults).append(fault)

    def _read(self, name: str, line: Line) -> None:
        key = self.keys.get(name)
        if key is None:
            if name not in self.ignored:
                self._unknown(name)
            return
        try:
            reading = key.read(line.value, self.dialect)
        except BadValue as bad:
            self.fault(
                name, bad.message, found=line.value, allowed=bad.allowed, hint=bad.hint or _help(bad, key)
            )
            return
        self.values[name] = reading.value
        if reading.warning:
            self.warn(name, reading.warning, found=line.value, allowed=key.allowed, hint=reading.hint)

    def _unknown(self, name: str) -> None:
        known = sorted({*self.own_keys(), *self.ignored})
        hint = closest(name, known) or self._belongs(name)
        meant = hint.removeprefix("did you mean ").removesuffix("?")
        lacking = meant in self.keys and self.keys[meant].wanted and meant not in self.lines
        tell = self.fault if lacking else self.warn
        tell(name, "unknown key", found=name, allowed=known, hint=hint)

    @staticmethod
    def _belongs(name: str) -> str:
        owners = sorted({cls.names[0] for cls in SECTIONS.values() if name in cls.own_keys()})
        return f"belongs to [{owners[0]}]" if len(owners) == 1 else ""

    @classmethod
    def own_keys(cls) -> tuple[str, ...]:
        """The keys of this section without those that every section has."""
        return tuple(name for name in cls.keys if name not in Section.keys)


Section.keys = {key.name: key for key in vars(Section).values() if isinstance(key, Key)}


def _help(bad: BadValue, key: Key[Any]) -> str:
    return key.help if bad.message.startswith(("not a", "out of")) else ""
