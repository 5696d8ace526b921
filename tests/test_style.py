"""The checker of the style limits finds each fault, and finds none in code that keeps them."""

from pathlib import Path

import pytest
import style_check
import style_names
import style_structure

SEVEN = "\n".join(f"row_{i} = len('{i}')" for i in range(7))
FORTY_FOUR = "\n".join(f"    first += {i}" for i in range(44))
TWENTY_SHORT = "\n".join(f"def short_{i}() -> int: return {i}" for i in range(20))
AT_THE_LIMITS = f'''"""A module."""
import sys


def longest(first: int, second: int = 1, *rest: int, third: int = 2, fourth: int = 3, **more: int) -> int:
    """Forty-six code lines; this docstring,

    that comment and the blank line do not count.
    """
    # A comment.
{FORTY_FOUR}
    return first


class Block:
    def forward(self, x: int, y: int, z: int) -> int:
        for _ in range(x):
            while y:
                if z: return [a for a in range(x) if a]
        if x == 1: return 1
        elif x == 2: return 2
        elif x == 3: return 3
        elif x == 4: return 4
        elif x == 5: return 5
        return self.eval() + {"1" * 81}


{TWENTY_SHORT}
'''
FAULTS = {
    "function of 47 lines": (
        f"def f() -> None:\n{FORTY_FOUR}\n    a = 1\n    b = 2\n{TWENTY_SHORT}",
        "f has 47 code lines",
    ),
    "file of 401 lines": ("# a\n" * 401, "file has 401 lines"),
    "nesting of 4": (
        "def f() -> None:\n  if 1:\n    for i in x:\n      with y:\n        try: z()\n        finally: w()",
        "nested 4 blocks deep",
    ),
    "7 parameters": (
        "def f(*, a: int, b: int, c: int, d: int, e: int, f: int, g: int) -> None: ...",
        "f has 7 parameters",
    ),
    "4 positional": ("def f(a: int, b: int, c: int, d: int) -> None: ...", "4 positional parameters"),
    "line of 111": ("x = '" + "a" * 105 + "'", "line has 111 characters"),
    "star import": ("from math import *", "star import"),
    "bare except": ("try: x()\nexcept: y()", "bare except"),
    "global": ("def f() -> None:\n    global x", "global"),
    "eval": ("x = eval('1')", "eval call"),
    "exec": ("exec('1')", "exec call"),
    "print": ("print(1)", "print outside cli/"),
    "5 elif": ("if a: b\n" + "elif a: b\n" * 5, "chain of 5 elif"),
    "parameter without annotation": ("def f(*a) -> None: ...", "parameter without annotation: a"),
    "return without annotation": ("class A:\n    def f(self): ...", "return value without annotation"),
    "repeated lines": (
        f"{SEVEN}\n\n# again\n{SEVEN.replace(' = ', '  =  ')}",
        "repeats 6 lines of yolor_cfg/probe.py:1",
    ),
    "type: ignore without a code": ("x = y  # type: ignore  # no types yet", "without its [code]"),
    "type: ignore without a reason": ("x = y  # type: ignore[arg-type]", "without a reason"),
    "too many type: ignore": (
        "".join(f"x = {i}  # type: ignore[x]  # why\n" for i in range(style_check.TYPE_IGNORES + 1)),
        f"more than {style_check.TYPE_IGNORES} type: ignore",
    ),
    "bare participle": ("def added() -> int: ...", "added is a bare participle"),
    "irregular participle": ("class A:\n    def _found(self) -> int: ...", "_found is a bare participle"),
    "leading preposition": ("def of_image() -> int: ...", "of_image starts with a preposition"),
    "two classes of one name": ("class A: ...\nclass A: ...", "A is a type in yolor_cfg/probe.py:1 too"),
    "an alias named like a class": (
        "class Pair: ...\nPair = tuple[int, int]",
        "Pair is a type in yolor_cfg/probe.py:1 too",
    ),
    "a type and a function but for case": (
        "class Shape: ...\ndef shape() -> int: ...",
        "Shape and the function shape (yolor_cfg/probe.py) differ only in case",
    ),
}


COMMAND = """
@main.command()
def f(a: int, b: int, c: int, d: int, e: int, g: int, h: int) -> None:
    print(a)
"""


def check(folder: Path, text: str, *, name: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    file = folder / "yolor_cfg" / name
    file.parent.mkdir(parents=True)
    file.write_text(text)
    code = style_check.main(folder)
    return code, capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(("text", "what"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_named_once_with_its_place(text: str, what: str, tmp_path: Path, capsys) -> None:
    code, (*faults, _, _) = check(tmp_path, text, name="probe.py", capsys=capsys)
    assert (code, len(faults)) == (1, 1)
    assert faults[0].startswith("yolor_cfg/probe.py:") and what in faults[0]


@pytest.mark.parametrize(("lines", "code"), [(17, 0), (18, 1)])
def test_most_functions_are_short(lines: int, code: int, tmp_path: Path, capsys) -> None:
    body = "\n".join(f"    first += {i}" for i in range(lines - 1))
    text = f"def f() -> None:\n{body}\ndef g() -> int: ...\ndef h() -> int: ...\n"
    found, (*faults, _, _) = check(tmp_path, text, name="probe.py", capsys=capsys)
    assert found == code
    assert faults == ["yolor_cfg:1: p95 of the functions is 18 lines, at most 17"] * code


def test_code_at_the_limits_passes_and_is_measured(tmp_path: Path, capsys) -> None:
    code, (measured, _) = check(tmp_path, AT_THE_LIMITS, name="probe.py", capsys=capsys)
    expected = "1 files, 22 functions: median 1 lines, p95 10, longest 46; 0 faults"
    assert (code, measured) == (0, expected)


def test_commands_may_print_and_take_many_options(tmp_path: Path, capsys) -> None:
    assert check(tmp_path, COMMAND, name="cli/probe.py", capsys=capsys)[0] == 0


def test_tests_are_held_to_the_rules_for_type_ignore(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tests").mkdir()
    text = '"""Says # type: ignore in a text."""\nx = y  # type: ignore\nprint(x)\n'
    (tmp_path / "tests/test_probe.py").write_text(text)
    assert style_check.main(tmp_path) == 1
    fault, _ = capsys.readouterr().out.splitlines()
    assert fault.startswith("tests/test_probe.py:2: type: ignore")


@pytest.mark.parametrize(
    "name", ["add", "read", "split", "embed", "speed", "decayed", "added_boxes", "box_of", "image", "_red"]
)
def test_verbs_and_nouns_may_name_functions(name: str) -> None:
    assert style_names.function_name_fault(name) == ""


def test_properties_and_special_methods_may_be_adjectives(tmp_path: Path, capsys) -> None:
    text = "class A:\n    @property\n    def fixed(self) -> int: ...\n    def __added__(self) -> int: ...\n"
    assert check(tmp_path, text, name="probe.py", capsys=capsys)[0] == 0


def test_constants_are_no_types(tmp_path: Path, capsys) -> None:
    text = "AREA = SIDE * SIDE\ndef area() -> int: ...\n"
    assert check(tmp_path, text, name="probe.py", capsys=capsys)[0] == 0


def grow(root: Path, files: dict[str, str]) -> Path:
    """A package of these files below `root`."""
    for name, text in files.items():
        file = root / "yolor_cfg" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def chain(imports: int) -> dict[str, str]:
    """A file that imports the next, and so on."""
    links = {f"lang/m{i}.py": f"from yolor_cfg.lang import m{i + 1}" for i in range(imports)}
    return {**links, f"lang/m{imports}.py": ""}


STRUCTURES = {
    "up": (
        {"lang/a.py": "def late() -> None:\n    import yolor_cfg.model", "model.py": ""},
        "lang imports model",
    ),
    "up to the package": (
        {"lang/a.py": "\nfrom yolor_cfg import Detector", "__init__.py": ""},
        "lang.a:2: lang imports __init__",
    ),
    "between siblings": (
        {"data/a.py": "from yolor_cfg.detect import b", "detect/b.py": ""},
        "data.a:1: data imports detect",
    ),
    "without a floor": (
        {"attic/a.py": "from yolor_cfg import errors", "errors.py": ""},
        "attic.a:1: a room without a floor: attic",
    ),
    "cycle": (
        {"lang/a.py": "from . import b", "lang/b.py": "from . import c", "lang/c.py": "from .a import x"},
        "import cycle: lang.a -> lang.b -> lang.c -> lang.a",
    ),
    "long chain": (chain(style_structure.CHAIN + 1), f"a chain of {style_structure.CHAIN + 1} imports"),
    "crowded root": (
        {f"{letter}.py": "" for letter in "abcdefghijk"},
        "11 modules at the package root, at most 10: a, b, c",
    ),
}


@pytest.mark.parametrize(("files", "what"), STRUCTURES.values(), ids=STRUCTURES)
def test_a_fault_of_structure_is_named_once(
    files: dict[str, str], what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert style_check.main(grow(tmp_path, files)) == 1
    fault, _, _ = capsys.readouterr().out.splitlines()
    assert fault.startswith("yolor_cfg:1: ") and what in fault


def test_structure_at_the_limits_passes_and_is_measured(tmp_path: Path, capsys) -> None:
    entries = {"__init__.py": "from yolor_cfg.model import m", "__main__.py": ""}
    rooms = {
        f"{name}.py": "" for name in "model graph files shape runs names count parallel errors a".split()
    }
    down = {"model.py": "from .lang.m0 import y", **chain(style_structure.CHAIN - 2)}
    assert style_check.main(grow(tmp_path, {**entries, **rooms, **down})) == 0
    *_, measured = capsys.readouterr().out.splitlines()
    assert (
        measured == "10 modules at the package root, longest chain 13 imports, no import cycle, 0 arrows up"
    )


def test_without_a_package_there_is_no_structure_to_fault(tmp_path: Path) -> None:
    assert list(style_structure.structure_faults(tmp_path)) == []
