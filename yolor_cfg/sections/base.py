"""The interface of all sections. A new section is one class; everything has a sensible default."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Self

from yolor_cfg.errors import CfgError
from yolor_cfg.lang.dialect import (
    ALL_DIALECTS,
    C_DARKNET,
    DARKNET_ONLY,
    PJREDDIE_ONLY,
)
from yolor_cfg.lang.keys import ActivationKey, Answers, Flag, Float, Int, Key, KeyValues
from yolor_cfg.lang.lists import TaskList
from yolor_cfg.lang.syntax import RawSection
from yolor_cfg.ops.windows import Sight, usual_sight
from yolor_cfg.sections.demands import Resize, UpdateRules
from yolor_cfg.sections.reading import SectionPlace, SectionReader
from yolor_cfg.sections.tensors import TensorSpec
from yolor_cfg.shape import Shape

if TYPE_CHECKING:
    from torch import nn

    from yolor_cfg.lang.tree import Tree

SECTIONS: dict[str, type[Section]] = {}
MAX_DERIVED = 200  # answers that are kept for one text
CHECKED = "the checks of its keys found no fault"


class Section(SectionReader):
    """One `[name]` of a cfg with its typed keys. Shapes are those of a single image; sources are absolute
    indices, -1 for the image. A section does not change once it is made.

    Members are in the order in which the rest of the program uses them: keys, sources, shape, sights, module,
    macs, bflops, tensors, decayed. Methods with `*inputs: Any, **_: Any` receive one Shape for each source,
    by position; with this signature a subclass may name each of them.
    """

    names: ClassVar[tuple[str, ...]] = ()
    keys: ClassVar[dict[str, Key[Any]]] = {}
    _activation_keys: ClassVar[tuple[str, ...]] = ()
    dialects: ClassVar[tuple[str, ...]] = ALL_DIALECTS
    examples: ClassVar[tuple[str, ...]] = ()
    ignored_keys: ClassVar[dict[str, str]] = {}
    thop_reason: ClassVar[str] = ""  # what `thop_operations` counts, in words
    is_head: ClassVar[bool] = False
    label_kind: ClassVar[str] = ""  # of a head that tells the classes of an image: "single", "multi"
    gives_boxes_to_losses: ClassVar[bool] = False  # a [contrastive] loss may refer to it
    is_loss: ClassVar[bool] = False  # its output is not a prediction: a network never returns it
    untrained: ClassVar[str] = ""  # why no network with it is trained here: its own keys for that have no use
    learns_by_adam: ClassVar[bool] = False  # its update in C Darknet has the case of `adam=1`
    is_multiplier: ClassVar[bool] = (
        False  # it scales a feature map by learned values: the paper counts refined boxes
    )
    is_self_contained: ClassVar[bool] = False  # its size and costs follow from its text and inputs alone
    is_stored_by_its_program: ClassVar[bool] = False  # where that writes more than plain convolutions
    darknet_form: ClassVar[str] = "itself"  # how rewrite.to_darknet translates it (a name in TRANSLATORS)
    has_fixed_filters: ClassVar[bool] = False  # other programs store its constant filters as tensors

    task = TaskList(
        (),
        help="the tasks that this section serves; all of them if absent. An implicit section has values of "
        "its own for each. Only this program knows the key",
    )
    clip = Float(
        0, dialects=C_DARKNET, use="training", help="training keeps the weights between -clip and clip"
    )
    onlyforward = Flag(False, dialects=C_DARKNET, use="training", help="gradients stop at this section")
    dont_update = Int(
        0, dialects=C_DARKNET, use="training", unit="iterations", help="no update until that iteration"
    )
    burnin_update = Int(
        0, dialects=C_DARKNET, use="training", help="updates from that multiple of burn_in on"
    )
    stopbackward = Int(
        0,
        dialects=C_DARKNET,
        use="training",
        unit="iterations",
        help="1: freezes all sections before this one; N: no gradients until then",
    )
    train_only_bn = Flag(
        False,
        dialects=C_DARKNET,
        use="training",
        help="this section and all before it train only their batch norm",
    )
    dontload = Flag(
        False, dialects=C_DARKNET, help="the weights file does not contain the weights of this section"
    )
    dontloadscales = Flag(
        False, dialects=C_DARKNET, help="the weights file does not contain scales, means and variances"
    )
    learning_rate = Float(
        1, dialects=C_DARKNET, use="training", unit="factor", help="learning rate multiplier of this section"
    )
    truth = Flag(
        False,
        dialects=PJREDDIE_ONLY,
        unused="targets are the labels here",
        help="1: this output is the target of the losses after it",
    )
    numload = Int(
        0,
        least=0,
        dialects=PJREDDIE_ONLY,
        unused="the weights file holds all filters here",
        help="the weights file holds only so many filters",
    )
    dontsave = Flag(
        False,
        dialects=PJREDDIE_ONLY,
        unused="the weights of all sections are written here",
        help="1: the weights of this section are not written",
    )
    smooth = Float(0, dialects=PJREDDIE_ONLY, unused="the first Darknet does not use it", help="no effect")
    use_target = Flag(
        True,
        dialects=DARKNET_ONLY,
        unused="the images here are of one domain",
        help="0: in training only the first half of a batch, which has labels, gets here (MS-DAYOLO)",
    )

    def __init_subclass__(cls, names: str = "") -> None:
        super().__init_subclass__()
        cls.keys = {
            key.name: key
            for base in reversed(cls.__mro__)
            for key in vars(base).values()
            if isinstance(key, Key)
        }
        cls._activation_keys = tuple(name for name, key in cls.keys.items() if isinstance(key, ActivationKey))
        if not names:
            return
        cls.names = tuple(names.split())
        for name in cls.names:
            assert name not in SECTIONS, f"two sections are named [{name}]"
            SECTIONS[name] = cls

    def __init__(self, raw: RawSection, place: SectionPlace) -> None:
        super().__init__(raw, place)
        if CHECKED not in self.values.derived:
            self._check_keys()
        self.is_complete = True
        self.__dict__.update(self.values.attributes)

    @property
    def type(self) -> str:
        """The canonical name, with aliases resolved."""
        return self.names[0]

    @property
    def has_embedding(self) -> bool:
        """Whether, in a head, a vector of each cell stands behind its boxes."""
        return False

    @property
    def image(self) -> Shape:
        """The input of the network, from which heads compute their stride."""
        assert self.place.image is not None
        return self.place.image

    @property
    def earlier(self) -> list[Section]:
        """The sections before this one."""
        return [one for one in self.place.others if one.index < self.index]

    @property
    def reads_vectors(self) -> bool:
        """True if the input may be a vector without height and width."""
        return False

    @property
    def is_alias(self) -> bool:
        """True if the output is the first input itself, not a new value."""
        return False

    @property
    def loss_kind(self) -> str:
        """The loss in train.losses that trains this head; empty if there is none."""
        return ""

    @property
    def loss_weight(self) -> float:
        """The factor on the loss of this head."""
        return 1.0

    @property
    def loss_on_source(self) -> float:
        """What a loss section adds to that factor of the head that it reads."""
        return 0.0

    def replace_values(self, **values: Any) -> Self:
        """A copy of this section with other values for these keys."""
        other = copy.copy(self)
        for key in self.keys.values():
            other.__dict__.pop(key.attribute, None)
        other.values = KeyValues({**self.values, **values}.items())
        other.unusable = {key: fault for key, fault in self.unusable.items() if key not in values}
        return other

    @classmethod
    def key_dialects(cls, key: str) -> tuple[str, ...]:
        """The dialects that have this key, for a section of both dialects; none if it is not a key."""
        if key in cls.keys:
            return cls.keys[key].dialects
        return C_DARKNET if key in cls.ignored_keys else ()

    @classmethod
    def value_dialects(cls, key: str, word: str) -> tuple[str, ...]:
        """The dialects that this value points to, where it says nothing elsewhere; none for most."""
        return ()

    @property
    def activations(self) -> tuple[str, ...]:
        """The values of the activation keys of this section."""
        return tuple(self.values[name] for name in self._activation_keys if name in self.values)

    def check(self) -> None:
        """Report keys that do not fit together, with `self.fault(...)` and `self.warn(...)`."""

    def try_checks(self, *checks: Callable[[], None]) -> None:
        """Make each of these checks as far as it goes without a faulty key."""
        for check in checks:
            with suppress(CfgError):
                check()

    def _check_keys(self) -> None:
        """Make the checks; in a self-contained section without faults, once for all with the same text."""
        before = len(self.faults) + len(self.warnings)
        self.try_checks(self.check)
        self.unusable |= {fault.key: fault for fault in self.faults}
        if self.is_self_contained and not self.unusable and len(self.faults) + len(self.warnings) == before:
            self.values.derived[CHECKED] = True

    def check_map(self, *inputs: Any, **_: Any) -> None:
        """Raise CfgError if the inputs make no map, where a section needs one."""

    def check_inputs(self, *inputs: Any, **_: Any) -> None:
        """Report unusual but valid inputs with `self.warn(...)`; called once all sizes are known."""

    def sources(self) -> tuple[int, ...]:
        """Absolute indices of the sections this one reads; by default, the previous section."""
        return (self.index - 1,)

    def shape(self, *inputs: Any, **_: Any) -> Shape:
        """The shape of the output; raises CfgError if the inputs do not fit."""
        size: Shape = inputs[0]
        return size

    def recall(self, inputs: tuple[Shape, ...]) -> Answers:
        """What was worked out for these inputs; self-contained sections with the same text share it."""
        if not self.is_self_contained:
            return Answers()
        known = self.values.derived
        question = inputs, *map(type, inputs)  # a vector equals a map of one cell
        found: Answers | None = known.get(question)
        if found is None:
            found = Answers()
            if len(known) < MAX_DERIVED:
                known[question] = found
        return found

    def resize_inputs(self, width: int, *inputs: Any, **_: Any) -> tuple[Resize, ...]:
        """What each input has to become so that the output gets `width` channels: those as wide as the output
        is now follow it."""
        now = self.shape(*inputs).channels
        return tuple(Resize(x.channels, width if x.channels == now else x.channels) for x in inputs)

    def sights(self, out: Shape, *inputs: Any, **_: Any) -> tuple[Sight, ...]:
        """Which cells of each input a cell of the output is computed from, in one image, whatever is learned;
        by default those at its own place, or all where the input has another height or width."""
        return tuple(usual_sight(out[1:], x[1:]) for x in inputs)

    def module(self, *inputs: Any, **_: Any) -> nn.Module:
        """The torch module that computes this section; the only place that imports torch."""
        raise AssertionError(f"[{self.type}] builds no module")

    @property
    def input_size(self) -> tuple[int, int] | None:
        """Height and width of the input, where this section gives them instead of [net]."""
        return None

    def weight_source(self) -> int | None:
        """The absolute index of the section whose tensors this one uses instead of its own."""
        return None

    def macs(self, out: Shape, *inputs: Any, **_: Any) -> int:
        """Multiply-adds for one image: what torch's FlopCounterMode counts, halved."""
        return 0

    def bflops(self, out: Shape, *inputs: Any, **_: Any) -> float | None:
        """Billions of operations as C Darknet prints them; None if Darknet has no such section."""
        return 0.0 if "darknet" in self.dialects else None

    def thop_operations(self, out: Shape, *inputs: Any, **_: Any) -> int:
        """What thop 0.1.1 (vision/basic_hooks.py) counts besides weights and batch norms; `thop_reason`
        describes these FLOPs."""
        return 0

    def tensors(self, *inputs: Any, **_: Any) -> list[TensorSpec]:
        """The stored tensors in `.weights` order."""
        return []

    def values_by_task(self, tensors: Sequence[TensorSpec]) -> int:
        """Of the numbers in its tensors, how many belong to each of the tasks that it names."""
        return 0

    def label_tree(self, classes: int) -> Tree | None:
        """The tree of the classes of a head that classifies images; None if it has none."""
        return None

    def decayed(self) -> tuple[str, ...]:
        """State-dict names (relative to the section) of the parameters with weight decay."""
        return ()

    def update_rules(self, burn_in: int) -> UpdateRules:
        """What this section asks of training, by the keys that all sections have."""
        first = max(self.dont_update + 1, self.burnin_update * burn_in, 1)
        return UpdateRules(
            self.learning_rate,
            0 if self.train_only_bn else first,
            self.stopbackward,
            not self.onlyforward,
            abs(self.clip),
        )

    def reference(self) -> int | None:
        """The absolute index of a section that this one is told about, without reading its value."""
        return None

    def check_reference(self, other: Section) -> None:
        """Raise CfgError if the section of `reference()` is of the wrong kind."""

    def check_shared_weights(self, shared: Sequence[TensorSpec], *inputs: Any, **_: Any) -> None:
        """Raise CfgError if the tensors of `weight_source()` do not have the shapes this section needs."""

    def facts(self) -> tuple[str, ...]:
        """The facts of the dialect that this section goes by with these keys; users are told which other
        dialects differ."""
        return ()

    def resolve_refs(self, references: Sequence[int], key: str, *, forward: bool = False) -> tuple[int, ...]:
        """References as absolute indices (negative ones count back from here); raises CfgError if one is out
        of range."""
        resolved = tuple(ref if ref >= 0 else self.index + ref for ref in references)
        for ref, target in zip(references, resolved, strict=True):
            if not 0 <= target < self.index and not (forward and target > self.index):
                raise self._reference_error(ref, key)
        return resolved

    def _reference_error(self, reference: int, key: str) -> CfgError:
        allowed = (
            f"-{self.index}..-1, 0..{self.index - 1}" if self.index else "nothing: this is the first section"
        )
        other_sign = -reference
        fits = -self.index <= other_sign < self.index and other_sign != 0
        return self.error(
            key,
            "no such section before this one",
            found=str(reference),
            allowed=allowed,
            hint=f"{other_sign} would fit" if fits else "",
        )

    def _suggest_key(self, name: str, known: list[str]) -> str:
        return self._owner_hint(name) or super()._suggest_key(name, [*known, *Section.keys])

    def _owner_hint(self, name: str) -> str:
        here = {kind for kind in SECTIONS.values() if self.dialect.name in kind.dialects}
        owners = {kind.names[0] for kind in here if name in kind.own_keys() or name in kind.ignored_keys}
        return f"belongs to [{owners.pop()}]" if len(owners) == 1 else ""

    @classmethod
    def own_keys(cls) -> tuple[str, ...]:
        """The keys of this section except those that it has as every section does."""
        return tuple(name for name, key in cls.keys.items() if Section.keys.get(name) is not key)


Section.keys = {key.name: key for key in vars(Section).values() if isinstance(key, Key)}
