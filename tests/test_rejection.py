"""The deltas that C Darknet drops: forward_yolo_layer in yolo_layer.c (745 to 853), for [yolo] alone; the
iteration there is the number of updates done (train_network_waitkey in network.c counts after the deltas)."""

import math

import numpy as np
import pytest
import tiny_detector as tiny
import training
from test_loss_darknet import gradient, raw_of, targets_of, yolo

from yolor_cfg.graph import build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.train import run
from yolor_cfg.train.logger import TrainDrawing
from yolor_cfg.train.loss import LossRules
from yolor_cfg.train.rejection import DeltaHistory, read_rejection
from yolor_cfg.train.run import resume_run

OF, CLASSES = 40, 3
KEYS = (
    "equidistant_point=5",
    "badlabels_rejection_percentage=30",
    "badlabels_rejection_percentage=.001",
    "num_sigmas_reject_badlabels=1",
    "num_sigmas_reject_badlabels=.5\nequidistant_point=33",
    "num_sigmas_reject_badlabels=2\nbadlabels_rejection_percentage=2\nequidistant_point=20",
)


def drop(deltas, numbers, *, net, done, of):
    """One call of a head, number by number: what C Darknet makes of the deltas, and of its four numbers."""
    start = int(of * 3 / 4)
    share, sigmas, point = (
        net.badlabels_rejection_percentage,
        net.num_sigmas_reject_badlabels,
        net.equidistant_point,
    )
    late = done > start
    if not ((share and late) or (sigmas and late) or (point and done > point)):
        return deltas
    out = deltas.ravel().copy()
    progress = (done - point) / (of - point)
    low = numbers["avg"] * progress * 1.4
    alive = [abs(d) for d in out if d != 0]
    numbers["max"] = numbers["max"] or max(alive)
    numbers["max"] = numbers["max"] * 0.99 + max(alive) * 0.01
    numbers["avg"] = numbers["avg"] * 0.99 + sum(alive) / len(alive) * 0.01
    if sigmas and late:
        before = numbers["std"]
        spread = math.sqrt(sum((d - numbers["avg"]) ** 2 for d in out if d != 0) / len(alive))
        numbers["std"] = before * 0.99 + spread * 0.01
        final = numbers["avg"] + before * sigmas
        most = numbers["max"] - (done - start) / start * abs(numbers["max"] - final)
        most = max(most, final)
        out = np.array([0 if abs(d) > most else d for d in out])
        low = min(final, numbers["avg"]) * progress
    if share and late:
        numbers["limit"] = numbers["limit"] or numbers["max"]
        count = sum(d != 0 for d in out)
        gone = sum(abs(d) > numbers["limit"] for d in out)
        out = np.array([0 if abs(d) > numbers["limit"] else d for d in out])
        if 100 * gone * (CLASSES + 5) / count > share:
            numbers["limit"] += 0.01
        elif numbers["limit"] > 0.01:
            numbers["limit"] -= 0.01
    if point and done > point:
        out = np.array([0 if abs(d) < low else d for d in out])
    return out.reshape(deltas.shape)


@pytest.mark.parametrize("scale", [1, 0.5])
@pytest.mark.parametrize("keys", KEYS, ids=lambda keys: keys.replace("\n", " "))
def test_yolo_drops_the_deltas_that_c_darknet_drops(keys, scale):
    """yolo_layer.c 745 to 853; delta_normalizer comes afterwards (yolo_layer.c 1225)."""
    plain, scaled = yolo(), yolo(f"delta_normalizer={scale}")
    net = build_graph(parse(f"[net]\nwidth=8\nheight=8\nchannels=3\n{keys}\n[convolutional]")).net
    history, numbers = DeltaHistory(), dict.fromkeys(("max", "avg", "std", "limit"), 0.0)
    dropped = []
    for done in (1, 5, 6, 20, 21, 25, 30, 31, 32, 34, 36, 38, 39):
        raw = raw_of(plain, seed=done, spread=1 + done / 20)
        _, targets = targets_of(plain, seed=done)
        deltas = -gradient(plain, raw, targets).numpy()
        want = drop(deltas, numbers, net=net, done=done, of=OF)
        rules = LossRules(rejection=read_rejection(net, history, updates=done, of=OF))
        got = -gradient(scaled, raw, targets, rules).numpy()
        np.testing.assert_allclose(got, want * scale, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(history.values, list(numbers.values()), rtol=1e-9)
        dropped.append(np.count_nonzero(deltas) - np.count_nonzero(want))
    assert dropped[0] == 0 and any(dropped)


def test_a_run_that_drops_deltas_resumes_bit_equal(tmp_path, monkeypatch):
    """The running numbers are part of the state, or the limits would begin anew."""
    keys = "equidistant_point=1\nnum_sigmas_reject_badlabels=1\nbadlabels_rejection_percentage=1\n"
    drawing = TrainDrawing(lambda batch, names: np.zeros((8, 8, 3), np.uint8), lambda rows: None)
    monkeypatch.setattr(training, "DRAWING", drawing)
    data, ends = training.shapes(tmp_path, count=5), []
    for more in ("", keys):
        text = training.darknet_text(f"batch=2\nsubdivisions=1\nmax_batches=8\nlearning_rate=.01\n{more}")
        plain = {"epochs": None, "batch_size": 2, "update_batch": 2, "no_val": True}
        said = training.options(tmp_path, data, text=text, **plain)
        ends.append(training.run(said, tmp_path / "runs", "whole"))
    usual, whole = ends
    assert all(whole.state.deltas.values) and not any(usual.state.deltas.values)
    assert training.different(usual.folder / run.LAST, whole.folder / run.LAST)
    with monkeypatch.context() as patch:
        training.stop_after(patch, 6)
        parts = training.run(said, tmp_path / "runs", "parts")
    assert parts.ending.reason == "terminated" and parts.state.deltas.mean
    ended = resume_run(parts.folder, drawing=training.DRAWING, say=lambda text: None)
    assert ended.state.deltas == whole.state.deltas
    assert training.different(whole.folder / run.LAST, parts.folder / run.LAST) == []


@pytest.mark.parametrize(("head", "told"), [("yolo", False), ("Gaussian_yolo", True), ("region", True)])
def test_the_keys_are_told_where_no_loss_goes_by_them(tmp_path, head, told):
    """gaussian_yolo_layer.c and region_layer.c read none of the three."""
    filters = {"yolo": 18, "Gaussian_yolo": 30, "region": 18}[head]
    anchors = "mask=0,1,2\nnum=3\n" if head != "region" else "num=3\n"
    cfg = tmp_path / "x.cfg"
    cfg.write_text(
        "[net]\nwidth=32\nheight=32\nchannels=3\nequidistant_point=9\nnum_sigmas_reject_badlabels=2\n"
        f"[convolutional]\nfilters={filters}\nsize=1\nactivation=linear\n"
        f"[{head}]\nclasses=1\n{anchors}anchors=1,1, 2,2, 3,3\n"
    )
    result = tiny.yolor("cfg", "check", cfg)
    assert result.exit_code == 0
    assert ("equidistant_point: has no effect here" in result.stderr) == told
    assert ("num_sigmas_reject_badlabels: has no effect here" in result.stderr) == told
