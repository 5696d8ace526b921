"""The parts of the page of a run, each from values that are written here."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from yolor_cfg.report.run.album import Album
from yolor_cfg.report.run.boxes import draw_boxes
from yolor_cfg.report.run.curves import Plots
from yolor_cfg.report.run.details import _show_hyperparameters
from yolor_cfg.report.run.drawings import draw_confusion, read_matrix
from yolor_cfg.report.run.figures import class_figures, run_figures, run_speeds
from yolor_cfg.report.run.read import RunFiles
from yolor_cfg.report.run.testing import Part, show_speed
from yolor_cfg.report.run.training import speed_of


def run_of(record: dict[str, Any], tests: list[dict[str, Any]] | None = None) -> RunFiles:
    return RunFiles(Path("runs/a"), "train", record, [], {}, {}, "", tests or [], ())


def rows_of(table: str) -> list[list[str]]:
    """The cells of the body of a table."""
    rows = re.findall(r"<tr>(<td.*?)</tr>", table, re.S)
    return [[re.sub(r"<.*?>", "", cell) for cell in re.findall(r"<td.*?</td>", row, re.S)] for row in rows]


def test_a_caption_stands_at_its_own_box() -> None:
    boxes = [
        {"box": [10 + 100 * n, 40, 50, 30], "class": n, "verdict": "right", "score": 0.5} for n in range(3)
    ]
    image = {"truth": [{"box": [10, 120, 50, 30], "class": 1, "verdict": "missed"}], "found": boxes}
    drawn = draw_boxes(image, ["cat", "dog", "fox"], scale=1.0, size=(340, 200))
    groups = list(ElementTree.fromstring(f"<svg>{drawn}</svg>"))
    told = {}
    for group in groups:
        (rect,), (text,) = group.findall("rect"), group.findall("text")
        told[text.text] = float(text.attrib["x"]), float(rect.attrib["x"])
        assert float(text.attrib["y"]) < float(rect.attrib["y"])
    assert told == {
        "cat 0.50": (10, 10),
        "dog 0.50": (110, 110),
        "fox 0.50": (210, 210),
        "missed: dog": (10, 10),
    }


def test_rows_of_a_matrix_are_true_classes_and_columns_detected_ones() -> None:
    found = {"size": 3, "cells": [[0, 0, 6], [0, 1, 2], [1, 1, 5], [2, 0, 4]], "left_out": 0}
    matrix = read_matrix(found, ["cat", "dog"])
    assert matrix.rows == ["cat", "dog", "background"] and matrix.columns == ["cat", "dog", "missed"]
    assert matrix.sums == [8, 5, 4]
    page = draw_confusion(found, ["cat", "dog"], said="detected")
    assert "cat → dog: 2 (25.0% of cat)" in page and "background → cat: 4 (100.0% of background)" in page
    assert rows_of(page) == [["background", "cat", "4", "1.000"], ["cat", "dog", "2", "0.250"]]
    squares = re.findall(r'<rect x="(\d+)" y="(\d+)" [^>]*><title>cat → dog', page)
    assert squares == [("34", "0")]


def test_of_many_classes_those_that_occur_nowhere_are_left_out() -> None:
    matrix = read_matrix({"size": 41, "cells": [[3, 7, 1], [40, 3, 2]]}, [f"c{n}" for n in range(40)])
    assert matrix.rows == ["c3", "c7", "background"] and matrix.cells == [(0, 1, 1), (2, 0, 2)]


def test_figures_that_cannot_be_told_are_none() -> None:
    """COCO writes -1 for what has no box."""
    metrics = {
        "coco": {"AP": 0.5, "APs": -1, "APm": float("nan"), "APl": 0.25},
        "yolor": {"f1": 0.75, "precision": None},
        "per_category": {"1": {"name": "cat", "AP": 0.5}, "2": {"name": "dog", "AP": -1}},
    }
    run = run_of({}, [{"name": "", "metrics": metrics}])
    assert run_figures(run) == {"AP": 0.5, "APl": 0.25, "F1": 0.75}
    assert class_figures(run) == {"cat": 0.5}


def test_the_speed_of_a_training_is_images_by_seconds() -> None:
    epochs = [
        {"epoch": n, "images": 120, "train_seconds": s, "memory_mib": 100 * n}
        for n, s in ((1, 60), (2, 30), (3, 40))
    ]
    assert [speed_of(row) for row in epochs] == [2, 4, 3]
    assert speed_of({"images": 5}) is None and speed_of({"train_seconds": 5}) is None
    speeds = run_speeds(run_of({"epochs": epochs, "sessions": [{"seconds": 50}, {"seconds": 100.5}]}))
    assert speeds == {
        "duration, s": 150.5,
        "training, images/s (median of epochs)": 3,
        "memory, MiB (most)": 300,
    }


def test_stages_of_a_test_are_shares_of_the_whole() -> None:
    found = {"metrics": {"speed_ms": {"pre": 1.0, "inference": 6.0, "nms": 1.0}}}
    rows = rows_of(show_speed(Part(found, Plots(), Album([]), 0)))
    assert [row[1:] for row in rows] == [
        ["1.00", "0.125"],
        ["6.00", "0.750"],
        ["1.00", "0.125"],
        ["8.00", "125.0 images/s"],
    ]


def test_hyperparameters_that_are_not_their_defaults_stand_first() -> None:
    hyp, usual = {"lr0": 0.02, "momentum": 0.9}, {"lr0": 0.01, "momentum": 0.9}
    page = _show_hyperparameters(run_of({"recipe": "yolor", "hyp": hyp, "hyp_defaults": usual}))
    before, _, after = page.partition("<details>")
    assert ["lr0", "0.02", "0.01"] in rows_of(before) and "momentum" not in before
    assert rows_of(after) == [["lr0", "0.02", "0.01"], ["momentum", "0.9", "0.9"]]
    same = _show_hyperparameters(run_of({"recipe": "yolor", "hyp": usual, "hyp_defaults": usual}))
    assert "All hyperparameters are their defaults" in same


@pytest.mark.parametrize("count", [1, 40, 41, 5000])
def test_images_are_left_out_only_where_the_page_is_full(count: int, tmp_path: Path) -> None:
    from yolor_cfg.runs import save_image

    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    save_image(tmp_path / "a.png", noise)
    size = len((Album([tmp_path]).embed("a.png", 40) or ("", ()))[0])
    album = Album([tmp_path], most=40 * size)
    shown = sum(album.embed("a.png", 40) is not None for _ in range(min(count, 45)))
    assert shown == min(count, 40) and album.left_out == min(count, 45) - shown and album.bytes <= album.most
    assert album.embed("gone.png", 40) is None and album.left_out == min(count, 45) - shown
