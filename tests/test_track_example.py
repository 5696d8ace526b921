"""Following objects with norfair and our embeddings: on a drawn video, by TrackEval's figures."""

import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import training

from yolor_cfg import Detector
from yolor_cfg.data.shapes import KINDS, DrawnImage, PlacedObject, draw_frame, identity_look
from yolor_cfg.data.write_shapes import ShapesOptions, write_shapes
from yolor_cfg.detect.detections import Detections
from yolor_cfg.evaluate.tracks import TrackScores, score_tracks

SIDE, FRAMES = 96, 60
AWAY = {0: range(20, 40), 1: range(26, 44)}
"""The frames in which objects are not there; each comes back where the other one was."""


@pytest.fixture(scope="module")
def example() -> ModuleType:
    pytest.importorskip("norfair", reason="the extra `track` is not installed")
    pytest.importorskip("trackeval", reason="the extra `track` is not installed")
    path = Path(__file__).resolve().parents[1] / "examples/track_cards.py"
    spec = importlib.util.spec_from_file_location("track_cards", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def frames(identities: tuple[int, ...] = (17, 8, 22)) -> Iterator[DrawnImage]:
    """A video of three objects, two of which leave and come back at each other's place."""
    for time in range(FRAMES):
        placed = []
        for number, identity in enumerate(identities):
            place = number if number == 2 or time < 30 else 1 - number
            x = (24, 72, 48)[place] + 6 * math.sin(time / 9 + number)
            y = (26, 30, 74)[place] + 5 * math.cos(time / 7 + number)
            if time not in AWAY.get(number, ()):
                turn = time / 15 + number
                placed.append(PlacedObject(identity, identity_look(identity), (x, y), 14.0, turn, (0.6, 0.8)))
        yield draw_frame(np.random.default_rng(5), (SIDE, SIDE), placed)


def boxes_of(drawn: DrawnImage) -> np.ndarray:
    """Corners in pixels."""
    centre, half = drawn.boxes_xywh[:, :2] * SIDE, drawn.boxes_xywh[:, 2:] * SIDE / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def truth_rows() -> np.ndarray:
    rows = [
        (time, who, left, top, right - left, bottom - top)
        for time, drawn in enumerate(frames(), 1)
        for who, (left, top, right, bottom) in zip(drawn.identities, boxes_of(drawn), strict=True)
    ]
    return np.array(rows)


def told_detections() -> Iterator[Detections]:
    """What a good detector with embeddings finds: boxes off by a pixel, now and then none; noisy vectors."""
    draw = np.random.default_rng(0)
    codes = draw.normal(size=(30, 16))
    for drawn in frames():
        kept = draw.random(len(drawn.classes)) > 0.05
        boxes = boxes_of(drawn)[kept] + draw.normal(size=(kept.sum(), 4))
        vectors = codes[drawn.identities[kept]] + draw.normal(size=(kept.sum(), 16)) * 0.4
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        scores = np.full(kept.sum(), 0.9)
        yield Detections(boxes, scores, drawn.classes[kept], tuple("abcdef"), embeddings=vectors)


def score(example: ModuleType, found: Iterator[Detections], *, has_memory: bool) -> TrackScores:
    lines = list(example.follow(found, example.make_tracker(has_memory=has_memory)))
    return score_tracks(truth_rows(), np.array(lines)[:, :6])


def test_the_video_has_its_identities_and_their_gaps() -> None:
    drawn = list(frames())
    assert [len(one.identities) for one in drawn[:20]] == [3] * 20
    assert drawn[30].identities.tolist() == [22] and drawn[50].identities.tolist() == [17, 8, 22]
    assert (np.abs(drawn[0].image.astype(int) - drawn[1].image).mean(axis=2) > 20).mean() < 0.2


def test_embeddings_find_again_what_was_gone(example: ModuleType) -> None:
    alone, known = (score(example, told_detections(), has_memory=memory) for memory in (False, True))
    assert known.mota > 0.75 and known.idf1 > 0.85 and known.switches <= 1
    assert alone.switches >= 2 and alone.idf1 < known.idf1 - 0.1


def test_a_drawn_card_has_its_box_and_its_identity(example: ModuleType, tmp_path: Path) -> None:
    from yolor_cfg.data.sources import open_data
    from yolor_cfg.graph import load_graph

    data = open_data(example.draw_cards(tmp_path, 6))
    assert [len(sample.identities) for sample in data.samples] == [1] * 6
    assert data.names == ("card",) and all(0 <= sample.identities[0] < 40 for sample in data.samples)
    graph = load_graph(example.write_cfg(tmp_path))
    assert graph.classes == 1 and [node.section.embedding for node in graph.heads] == [32, 32]


@pytest.mark.slow
def test_a_trained_network_follows_the_objects_of_a_drawn_video(example: ModuleType, tmp_path: Path) -> None:
    data = write_shapes(
        tmp_path / "set", ShapesOptions(500, (SIDE, SIDE), KINDS["identities"], identities=True)
    )
    text = (Path(example.__file__).with_name("embedding.cfg")).read_text()
    said = training.options(tmp_path, data, text=text, hyp="small", optimizer="adamw", epochs=12, workers=2)
    result = training.run(said._replace(batch_size=8, update_batch=8, val_period=12), tmp_path)
    assert result.state.rows[-1]["rank1"] > 0.5
    detector = Detector(str(result.folder / "weights/best.pt"), conf=0.3, iou=0.3)
    known = score(example, (detector(drawn.image) for drawn in frames()), has_memory=True)
    assert known.idf1 > 0.5, known
