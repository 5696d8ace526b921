"""The checker of the style limits finds each fault, and finds none in code that keeps them."""

from pathlib import Path

import pytest
import style_check

SEVEN = "\n".join(f"row_{i} = len('{i}')" for i in range(7))
FORTY_EIGHT = "\n".join(f"    first += {i}" for i in range(48))
AT_THE_LIMITS = f'''"""A module."""
import sys


def longest(first: int, second: int = 1, *rest: int, third: int = 2, fourth: int = 3, **more: int) -> int:
    """Fifty code lines; this docstring,

    that comment and the blank line do not count.
    """
    # A comment.
{FORTY_EIGHT}
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
'''
FAULTS = {
    "function of 51 lines": (
        "def f() -> None:\n" + FORTY_EIGHT + "\n    a = 1\n    b = 2\n",
        "f has 51 code lines",
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
    code, (*faults, _) = check(tmp_path, text, name="probe.py", capsys=capsys)
    assert (code, len(faults)) == (1, 1)
    assert faults[0].startswith("yolor_cfg/probe.py:") and what in faults[0]


def test_code_at_the_limits_passes_and_is_measured(tmp_path: Path, capsys) -> None:
    expected = "1 files, 2 functions: median 30 lines, p95 50, longest 50; 0 faults"
    assert check(tmp_path, AT_THE_LIMITS, name="probe.py", capsys=capsys) == (0, [expected])


def test_commands_may_print_and_take_many_options(tmp_path: Path, capsys) -> None:
    assert check(tmp_path, COMMAND, name="cli/probe.py", capsys=capsys)[0] == 0
