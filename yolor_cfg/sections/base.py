"""What every section answers. A new section is one class; everything it is not asked about has a sensible
default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Unpack

from yolor_cfg.errors import CfgError, ErrorDetails
from yolor_cfg.lang.dialect import DIALECT_NAMES, YOLOR_KEYS, Dialect
from yolor_cfg.lang.keys import BadValue, Flag, Float, Int, Key, suggest_word
from yolor_cfg.lang.syntax import BARE, ENTRY, Line, RawSection, quote_text
from yolor_cfg.lang.tree import Tree, read_tree, resolve_cfg_path
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn

if TYPE_CHECKING:
    from torch import nn

if TYPE_CHECKING:
    from torch import nn

if TYPE_CHECKING:
    from torch import nn

SECTIONS: dict[str, type[Section]] = {}


class TensorSpec(NamedTuple):
    """One tensor of a section as `.weights` keeps it: its role, its state-dict name below the section, its
    shape.

    `trained` is False for running statistics, which are no parameters. `transposable` marks the matrices that
    old files (transpose flag in the header) keep the other way round; `flipped` the kernels [n, c, k, k] that
    a file which is read keeps as [c, k, k, n].
    """

    role: str
    name: str
    shape: tuple[int, ...]
    is_parameter: bool = True
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
    darknet_keys: ClassVar[frozenset[str]] = frozenset()  # those that YOLOR's parser refuses
    dialects: ClassVar[tuple[str, ...]] = DIALECT_NAMES
    examples: ClassVar[tuple[str, ...]] = ()
    ignored_keys: ClassVar[dict[str, str]] = {}
    is_head: ClassVar[bool] = False
    is_loss: ClassVar[bool] = False  # its output is no prediction: never what a network returns
    is_alias: ClassVar[bool] = False  # its output is its first input, not a new value

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
        cls.darknet_keys = frozenset(cls.keys).union(cls.ignored_keys) - YOLOR_KEYS
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
        if raw.header_comment:
            hint = "C Darknet does not know this header: put the comment on a line of its own"
            self.warn("", "a comment behind the header", found=quote_text(raw.header_comment), hint=hint)
        for line in raw.lines[1:]:
            self._keep_line(line)
        for name, line in self.lines.items():
            self._parse_key(name, line)
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

    def weight_source(self) -> int | None:
        """The absolute index of the section whose tensors this one uses in place of its own."""
        return None

    def macs(self, out: Shape, *inputs: Shape) -> int:
        """Multiply-adds for one image: what torch's FlopCounterMode counts, halved."""
        return 0

    def bflops(self, out: Shape, *inputs: Shape) -> float | None:
        """Billions of operations as C Darknet prints them; None where Darknet has no such section."""
        return 0.0 if "darknet" in self.dialects else None

    def tensors(self, *inputs: Shape) -> list[TensorSpec]:
        """The stored tensors in `.weights` order."""
        return []

    def decayed(self) -> tuple[str, ...]:
        """State-dict names (below the section) of the parameters that take weight decay."""
        return ()

    def check_shared_weights(self, shared: Sequence[TensorSpec], *inputs: Shape) -> None:
        """Raise CfgError when the tensors of `lender()` are not of the shapes that this section needs."""

    def has_dialect_variants(self) -> bool:
        """True where the same text means something else in the other dialect; people are told when one was
        assumed."""
        return False

    def resolve_refs(self, references: Sequence[int], key: str, *, forward: bool = False) -> tuple[int, ...]:
        """References as absolute indices (negative: back from here); raises CfgError when one points
        outside."""
        resolved = tuple(ref if ref >= 0 else self.index + ref for ref in references)
        for ref, target in zip(references, resolved, strict=True):
            if not 0 <= target < self.index and not (forward and target > self.index):
                raise self._reference_error(ref, key)
        return resolved

    def error(self, key: str, message: str, /, **details: Unpack[ErrorDetails]) -> CfgError:
        """A CfgError at this key; at the header when the key is absent or empty."""
        place: ErrorDetails = {
            "path": self.path,
            "line": self.lines[key].number if key in self.lines else self.line,
            "section": quote_text(self.raw.name),
            "number": self.index if self.index >= 0 else None,
            "key": quote_text(key),
        }
        return CfgError(message, **place | details)

    def fault(self, key: str, message: str, /, **details: Unpack[ErrorDetails]) -> None:
        """Note an error; all of a file are told together."""
        self.faults.append(self.error(key, message, **details))

    def warn(self, key: str, message: str, /, **details: Unpack[ErrorDetails]) -> None:
        """Note what is odd but has a meaning; `--strict` makes it an error."""
        self.warnings.append(self.error(key, message, **details))

    def require_keys(self, *names: str) -> None:
        """A fault for each of these keys that is absent."""
        for name in names:
            if name not in self.values:
                key = self.keys[name]
                self.fault(name, "missing key", allowed=key.allowed, hint=key.help)

    def _reference_error(self, reference: int, key: str) -> CfgError:
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

    def _keep_line(self, line: Line) -> None:
        """Keep the line of each key that counts: the first or the last of two, by the dialect."""
        if line.kind == BARE:
            without = "without a key" if "=" in line.value else "without ="
            self._report_line("", f"a line {without}", line, hint="expected `key = value`")
        if line.kind != ENTRY:
            return
        if not line.value:
            hint = "the key counts as absent" if self.dialect.is_forgiving else "give one, or delete the line"
            self._report_line(line.key, "no value after =", line, hint=hint)
            return
        earlier = self.lines.get(line.key)
        if earlier is not None and "".join(earlier.value.split()) != "".join(line.value.split()):
            counts = "first" if self.dialect.first_key_wins else "last"
            both = ", ".join(f"{quote_text(entry.value)} (line {entry.number})" for entry in (earlier, line))
            self.warn(line.key, f"given twice: the {counts} counts", line=line.number, found=both)
        if earlier is None or not self.dialect.first_key_wins:
            self.lines[line.key] = line

    def _report_line(self, key: str, message: str, line: Line, *, hint: str) -> None:
        tell = self.warn if self.dialect.is_forgiving else self.fault
        tell(key, message, line=line.number, found=quote_text(line.text), hint=hint)

    def _parse_key(self, name: str, line: Line) -> None:
        key = self.keys.get(name)
        if key is None:
            if name not in self.ignored_keys:
                self._report_unknown_key(name)
            return
        try:
            reading = key.parse(line.value, self.dialect)
        except BadValue as bad:
            hint = bad.hint or _key_help(bad, key)
            self.fault(name, bad.message, found=quote_text(line.value), allowed=bad.allowed, hint=hint)
            return
        self.values[name] = reading.value
        if reading.warning:
            found = quote_text(line.value)
            self.warn(name, reading.warning, found=found, allowed=reading.allowed, hint=reading.hint)

    def _report_unknown_key(self, name: str) -> None:
        known = sorted({*self.own_keys(), *self.ignored_keys})
        hint = self._owner_hint(name) or suggest_word(name, [*known, *Section.keys])
        meant = hint.removeprefix("did you mean ").removesuffix("?")
        lacking = meant in self.keys and self.keys[meant].wanted and meant not in self.lines
        tell = self.fault if lacking else self.warn
        tell(name, "unknown key", found=quote_text(name), allowed=known, hint=hint)

    @staticmethod
    def _owner_hint(name: str) -> str:
        owners = {
            cls.names[0] for cls in SECTIONS.values() if name in cls.own_keys() or name in cls.ignored_keys
        }
        return f"belongs to [{owners.pop()}]" if len(owners) == 1 else ""

    @classmethod
    def own_keys(cls) -> tuple[str, ...]:
        """The keys of this section without those that every section has."""
        return tuple(name for name in cls.keys if name not in Section.keys)


Section.keys = {key.name: key for key in vars(Section).values() if isinstance(key, Key)}


def _key_help(bad: BadValue, key: Key[Any]) -> str:
    return key.help if bad.message.startswith(("not a", "out of")) else ""


def check_one_source(section: Section, references: tuple[int, ...]) -> None:
    """A fault unless the key `from` names exactly one section."""
    section.require_keys("from")
    if len(references) > 1:
        section.fault("from", "takes one section", found=f"{len(references)} sections", allowed="one number")


def batch_norm_specs(channels: int, prefix: str = "BatchNorm2d.") -> list[TensorSpec]:
    """The four tensors of a batch norm in the order in which Darknet's convolutions store them."""
    return [
        TensorSpec("bias", f"{prefix}bias", (channels,)),
        TensorSpec("scale", f"{prefix}weight", (channels,)),
        TensorSpec("mean", f"{prefix}running_mean", (channels,), is_parameter=False),
        TensorSpec("variance", f"{prefix}running_var", (channels,), is_parameter=False),
    ]


def build_batch_norm(section: Section, channels: int) -> nn.BatchNorm2d:
    """A fresh batch norm with the epsilon and the pace of the section's dialect."""
    from yolor_cfg.ops.blocks import fresh_batch_norm

    return fresh_batch_norm(channels, eps=section.dialect.bn_eps, yolor=section.dialect.is_yolor)


def load_tree(section: Section, name: str, classes: int) -> Tree:
    """The tree that the key `tree` names, from the folder of the cfg or the current one.

    Raises CfgError at the key when it cannot be read or has not this many classes.
    """
    path = resolve_cfg_path(name, section.path)
    try:
        tree = read_tree(path)
    except CfgError as fault:
        place = f"{path}:{fault.line}" if fault.line else str(path)
        found = f"{place} {fault.found}".strip()
        hint = "a path is tried from the folder of the cfg, then from the current one"
        raise section.error("tree", fault.message, found=found, allowed=fault.allowed, hint=hint) from None
    if len(tree.names) != classes:
        raise section.error(
            "tree",
            "another number of classes than the section has",
            allowed=str(classes),
            found=f"{len(tree.names)} in {path}",
        )
    return tree
