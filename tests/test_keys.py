"""Text becomes a value as C Darknet's atoi and atof make it, or is refused with what is allowed."""

import sys

import pytest

from yolor_cfg.lang.activations import ACTIVATIONS
from yolor_cfg.lang.dialect import DARKNET, YOLOR
from yolor_cfg.lang.keys import (
    ActivationKey,
    BadValue,
    Choice,
    Flag,
    Float,
    Int,
    ParsedValue,
    Text,
    list_nearest,
    strip_comment,
    suggest_word,
)
from yolor_cfg.lang.lists import FloatList, IntList, RefList

FORGIVING, STRICT = DARKNET, YOLOR


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("-3", -3), ("+3", 3), ("007", 7), ("2147483647", 2**31 - 1), ("-2147483647", 1 - 2**31)],
)
def test_a_whole_number_is_read_in_both_dialects(text: str, value: int) -> None:
    assert Int(0).parse(text, FORGIVING) == Int(0).parse(text, STRICT) == ParsedValue(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("6.9", 6), ("3abc", 3), ("2,1", 2), ("1 6", 16), ("18#filters=255", 18), ("0x10", 0), ("8 ; eight", 8)],
)
def test_c_reads_the_number_at_the_front(text: str, value: int) -> None:
    reading = Int(1).parse(text, FORGIVING)
    assert reading.value == value and reading.warning


@pytest.mark.parametrize("text", ["6.9", "3abc", "2,1", "1 6", "0x10"])
def test_the_yolor_dialect_refuses_what_follows_a_number(text: str) -> None:
    with pytest.raises(BadValue, match="not a whole number"):
        Int(1).parse(text, STRICT)


@pytest.mark.parametrize("dialect", [FORGIVING, STRICT], ids=["darknet", "yolor"])
def test_a_comment_behind_a_number_is_odd_in_both_dialects(dialect) -> None:
    reading = Int(1).parse("8 # eight", dialect)
    assert reading == ParsedValue(8, "an inline comment: read as 8")


@pytest.mark.parametrize("text", ["x", "", "-", "+", ".", "# 5", "\u0663", "\u2163"])
def test_text_without_a_number_is_none(text: str) -> None:
    for key in (Int(0), Float(0), Flag(False), IntList(()), FloatList(())):
        with pytest.raises(BadValue, match="not a"):
            key.parse(text, FORGIVING)


@pytest.mark.parametrize(
    ("text", "value"),
    [(".5", 0.5), ("1e-3", 1e-3), ("1.", 1.0), ("-2.5E+2", -250.0), ("5", 5.0), ("0.0", 0.0)],
)
def test_a_decimal_number_is_what_python_reads(text: str, value: float) -> None:
    assert Float(0).parse(text, FORGIVING) == Float(0).parse(text, STRICT) == ParsedValue(value)


def test_bounds_are_inclusive_and_said() -> None:
    key = Int(1, least=1, most=9)
    assert [key.parse(text, FORGIVING).value for text in ("1", "9")] == [1, 9]
    for text in ("0", "10"):
        with pytest.raises(BadValue) as caught:
            key.parse(text, FORGIVING)
        assert (caught.value.message, caught.value.allowed) == ("out of bounds", "1 to 9")
    assert Int(0, least=1).allowed == "1 or more"
    assert Float(0, most=2).allowed == "2 or less"
    assert (Int(0).allowed, Float(0).allowed) == ("whole number", "number")


def test_a_number_beyond_32_bits_is_the_largest_with_a_warning_or_refused() -> None:
    reading = Int(0).parse("1000000000000", FORGIVING)
    assert reading.value == 2**31 - 1 and "32-bit" in reading.warning
    assert Int(0).parse("-" + "9" * 5000, FORGIVING).value == 1 - 2**31
    for key, text in ((Int(0), "1000000000000"), (IntList(()), "1,3000000000"), (Flag(False), "9" * 50)):
        with pytest.raises(BadValue, match="out of bounds"):
            key.parse(text, STRICT)


def test_a_float_beyond_all_floats_is_refused() -> None:
    assert Float(0).parse("1.7e308", FORGIVING).value < sys.float_info.max
    for key, text in ((Float(0), "1e309"), (FloatList(()), "1,-1e999")):
        with pytest.raises(BadValue, match="out of bounds"):
            key.parse(text, FORGIVING)


@pytest.mark.parametrize(
    ("text", "value"), [("0", False), ("1", True), ("2", True), ("-1", True), ("00", False)]
)
def test_any_number_but_0_sets_a_flag(text: str, value: bool) -> None:
    assert Flag(False).parse(text, FORGIVING) == ParsedValue(value)


def test_lists_split_at_commas_and_blanks_mean_nothing() -> None:
    assert RefList(()).parse("-1, 8 ,\t-12", STRICT) == ParsedValue((-1, 8, -12))
    assert FloatList(()).parse("10,14,  23.5,27", STRICT) == ParsedValue((10.0, 14.0, 23.5, 27.0))
    assert IntList(()).parse("5", STRICT) == ParsedValue((5,))


@pytest.mark.parametrize(
    ("text", "value", "warning"),
    [
        ("61,45    61,45", (61, 4561, 45), "a missing comma"),
        ("1,,2", (1, 0, 2), "an empty item"),
        (",1", (0, 1), "an empty item"),
        ("1,2,", (1, 2), "a trailing comma"),
        ("1,2 # two", (1, 2), "an inline comment"),
        ("1.5,2", (1, 2), "read as 1"),
    ],
)
def test_odd_lists_are_read_as_c_reads_them(text: str, value: tuple[int, ...], warning: str) -> None:
    reading = IntList(()).parse(text, FORGIVING)
    assert reading.value == value and warning in reading.warning


@pytest.mark.parametrize("text", ["61,45    61,45", "1,,2", ",1", "1,2,", "1.5,2", "a,b"])
def test_the_yolor_dialect_refuses_odd_lists(text: str) -> None:
    with pytest.raises(BadValue):
        IntList(()).parse(text, STRICT)


def test_every_activation_of_both_dialects_is_a_name() -> None:
    known = {name for name, one in ACTIVATIONS.items() if one.is_in("darknet", "yolor")}
    assert {ActivationKey("linear").parse(name, FORGIVING).value for name in known} == known
    assert len(known) == 24


def test_an_unknown_activation_is_relu_in_darknet_and_an_error_in_yolor() -> None:
    reading = ActivationKey("linear").parse("lekay", FORGIVING)
    assert (reading.value, reading.hint) == ("relu", "did you mean leaky?")
    with pytest.raises(BadValue) as caught:
        ActivationKey("linear").parse("lekay", STRICT)
    assert (caught.value.message, caught.value.hint) == ("unknown value", "did you mean leaky?")


def test_a_comment_glued_to_a_word_makes_it_unknown_in_darknet() -> None:
    assert ActivationKey("linear").parse("leaky#x", FORGIVING).value == "relu"
    assert ActivationKey("linear").parse("leaky # x", STRICT) == ParsedValue("leaky", "an inline comment")


def test_a_choice_without_a_fallback_refuses_unknown_words_in_both_dialects() -> None:
    for dialect in (FORGIVING, STRICT):
        with pytest.raises(BadValue) as caught:
            Choice("one", ("two", "one")).parse("tow", dialect)
        assert caught.value.allowed == ["one", "two"]


def test_text_loses_its_blanks_and_its_comment() -> None:
    assert Text("").parse("data/ 9k.tree", FORGIVING) == ParsedValue("data/9k.tree")
    assert Text("").parse("a.tree # b", FORGIVING) == ParsedValue("a.tree", "an inline comment")


def test_the_closest_match_does_not_care_for_case() -> None:
    assert suggest_word("FILTERS", ["filters", "filter_x"]) == "did you mean filters?"
    assert suggest_word("gaussian_yolo", ["yolo", "Gaussian_yolo"]) == "did you mean Gaussian_yolo?"
    assert suggest_word("hidden", ["stride", "pad"]) == ""


def test_comments_start_at_either_sign() -> None:
    assert [strip_comment(text) for text in ("a # b", "a;b", "a", "#b")] == ["a", "a", "a", ""]


def test_of_many_words_the_nearest_are_told_with_the_command_that_lists_all() -> None:
    words = [f"key{number}" for number in range(10)]
    assert list_nearest("kye", words, "yolor") == ", ".join(words)
    assert list_nearest("kex", [*words, "kex1", "other"], "yolor info").startswith("kex1, key")
    assert list_nearest("kex", [*words, "kex1", "other"], "yolor info").endswith(", 7 more: yolor info")
    assert list_nearest("", [*words, "other"], "yolor info") == "11 words: yolor info"
