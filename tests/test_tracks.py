"""MOTA and IDF1 of tracks, by TrackEval, against counts by hand."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from yolor_cfg.cli import main
from yolor_cfg.errors import DataError, MissingExtra
from yolor_cfg.evaluate.tracks import overlaps, read_mot, score_tracks

TRUTH = [(frame, identity, 100 * identity, 10, 40, 40) for frame in range(1, 11) for identity in (1, 2)]


def write(path: Path, rows: list[tuple[float, ...]]) -> str:
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    return str(path)


def test_files_of_the_mot_challenge_are_read_and_faults_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("1,2,10,20,30.5,40,1,-1,-1,-1\n\n2 2 10 20 30 40\n2,3,1,1,1,1,0\n")
    assert read_mot(str(path))[:2].tolist() == [[1, 2, 10, 20, 30.5, 40], [2, 2, 10, 20, 30, 40]]
    assert len(read_mot(str(path), is_truth=True)) == 2
    for text, found in (
        ("1,2,3\n", "not a line of tracks"),
        ("1,1.5,1,1,1,1\n", "not a line of tracks"),
        ("1,1,nan,1,1,1\n", "not a line of tracks"),
        ("a,b,c,d,e,f\n", "not a line of tracks"),
        ("1,1,1,1,1,1\n1,1,2,2,2,2\n", "an id twice"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=found):
            read_mot(str(path))
    with pytest.raises(DataError):
        read_mot(str(tmp_path / "none.txt"))


def test_overlaps_are_iou() -> None:
    found = overlaps(
        np.array([[0.0, 0, 10, 10]]), np.array([[5.0, 0, 10, 10], [20, 20, 1, 1], [0, 0, 10, 10]])
    )
    np.testing.assert_allclose(found, [[50 / 150, 0, 1]])


def test_without_the_library_one_line_tells_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackeval.metrics.clear", None)
    with pytest.raises(MissingExtra, match=r"pip install 'yolor-cfg\[track\]'"):
        score_tracks(np.zeros((0, 6)), np.zeros((0, 6)))


def test_mota_and_idf1_are_those_counted_by_hand(tmp_path: Path) -> None:
    pytest.importorskip("trackeval", reason="the extra `track` is not installed")
    tracks = []
    for frame, identity, *box in TRUTH:
        if identity == 1:  # tracked throughout, its id changes once
            tracks.append((frame, 7 if frame <= 6 else 8, *box))
        elif frame > 2:  # missed twice
            tracks.append((frame, 9, *box))
    tracks += [(5, 30, 500, 500, 10, 10)]  # nothing there
    truth, found = write(tmp_path / "gt.txt", TRUTH), write(tmp_path / "t.txt", tracks)
    args = ["test", "--tracks", found, "--annotations", truth, "--json"]
    ran = CliRunner().invoke(main, args, catch_exceptions=False)
    scores = json.loads(ran.stdout)["tracking"]
    # 20 boxes: 2 misses, 1 false positive, 1 switch. Identities: the best pairing is 1-7 (6 boxes), 2-9 (8).
    assert scores["MOTA"] == pytest.approx(1 - (2 + 1 + 1) / 20)
    assert scores["IDF1"] == pytest.approx(2 * 14 / (20 + 19))
    assert scores["id_precision"] == pytest.approx(14 / 19) and scores["id_recall"] == pytest.approx(14 / 20)
    assert (scores["misses"], scores["false_positives"], scores["switches"]) == (2, 1, 1)
    assert (scores["objects"], scores["identities"], scores["frames"]) == (20, 2, 10)
    text = CliRunner().invoke(main, args[:-1], catch_exceptions=False).stdout
    assert "IDF1" in text and "0.8000" in text


def test_tracks_stand_alone(tmp_path: Path) -> None:
    truth = write(tmp_path / "gt.txt", TRUTH)
    for more in ([], ["--annotations", truth, "--data", "x"], ["--annotations", truth, "a.cfg", "a.pt"]):
        ran = CliRunner().invoke(main, ["test", "--tracks", truth, *more])
        assert ran.exit_code == 2 and "--tracks and --annotations" in ran.stderr
