"""The walks of docs/architecture.md pass functions that exist, no room twice, and grow no longer."""

import importlib
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs/architecture.md").read_text(encoding="utf-8")
MOST_STOPS = {"image": 30, "label": 40, "implicit": 27}
STOP = re.compile(r"`([a-z_]+(?:\.\w+)+)`")


def stops(walk: str) -> list[str]:
    part = PAGE.split(f"<!-- walk: {walk} -->\n")[1].split("\n\n<!--")[0].split("\n## ")[0]
    return STOP.findall("\n".join(line for line in part.splitlines() if line.startswith(("- ", "  "))))


def find(stop: str) -> object:
    """The function or class that a stop names; raises AttributeError where there is none."""
    names = stop.split(".")
    for end in range(len(names), 0, -1):
        try:
            found = importlib.import_module(".".join(["yolor_cfg", *names[:end]]))
        except ModuleNotFoundError:
            continue
        for name in names[end:]:
            found = getattr(found, name)
        return found
    raise AttributeError(stop)


@pytest.mark.parametrize("walk", MOST_STOPS)
def test_every_stop_of_a_walk_can_be_called(walk: str) -> None:
    assert len(stops(walk)) > 10
    assert [stop for stop in stops(walk) if not callable(find(stop))] == []


@pytest.mark.parametrize("walk", MOST_STOPS)
def test_a_walk_enters_no_room_twice_and_is_not_longer_than_it_was(walk: str) -> None:
    rooms = [stop.partition(".")[0] for stop in stops(walk)]
    entered = [room for before, room in zip(["", *rooms], rooms, strict=False) if room != before]
    assert len(entered) == len(set(entered)), entered
    assert len(rooms) <= MOST_STOPS[walk]


def test_a_stop_that_is_not_there_is_found_out() -> None:
    with pytest.raises(AttributeError):
        find("detect.run.no_such_function")
