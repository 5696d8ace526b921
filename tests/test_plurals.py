"""One of a thing is told in the singular."""

import pytest

from yolor_cfg.errors import count_of


@pytest.mark.parametrize(
    ("number", "word", "text"),
    [(0, "image", "0 images"), (1, "box", "1 box"), (2, "box", "2 boxes"), (2, "class", "2 classes")],
)
def test_a_number_and_its_word_agree(number: int, word: str, text: str) -> None:
    assert count_of(number, word) == text


def test_large_numbers_may_be_grouped() -> None:
    assert count_of(12345, "batch", spec=",") == "12,345 batches"
