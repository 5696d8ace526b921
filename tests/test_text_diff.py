"""A unified diff of two texts: `difflib` on short texts, by line numbers where only values change."""

import difflib

import pytest

from yolor_cfg.lang.text_diff import unified_diff


def expected(before: list[str], after: list[str]) -> list[str]:
    return list(difflib.unified_diff(before, after, "a", "b", n=1, lineterm=""))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("abcdefgh", "abcdefghij"),
        ("abcdefgh", "xyabcdefgh"),
        ("abcdefgh", "abxycdefgh"),
        ("abcdefgh", "abgh"),
        ("abcdefgh", "bcdefgh"),
        ("abcdefgh", "abXdefYh"),
        ("a", "abc"),
        ("", "a"),
        ("a", ""),
        ("abcdefgh", "abcdefgh"),
    ],
)
def test_short_texts_differ_as_difflib_says(before: str, after: str) -> None:
    assert list(unified_diff(list(before), list(after), ("a", "b"))) == expected(list(before), list(after))


def test_values_that_change_stand_beside_each_other_however_often_lines_repeat() -> None:
    block = ["[convolutional]", "filters={}", "size=3", "pad=1", ""]
    before, after = ([line.format(number) for number in numbers for line in block] for numbers in (
        range(100, 200), range(101, 201)))  # fmt: skip
    found = list(unified_diff(before, after, ("a", "b")))
    assert [line for line in found if line.startswith(("-f", "+f"))] == [
        line for number in range(100, 200) for line in (f"-filters={number}", f"+filters={number + 1}")
    ]
    assert found[2:7] == ["@@ -1,3 +1,3 @@", " [convolutional]", "-filters=100", "+filters=101", " size=3"]
