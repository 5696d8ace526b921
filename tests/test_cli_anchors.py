"""`yolor anchors`: what it prints, what it writes and how it refuses."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_detector as tiny
from click.testing import Result

from yolor_cfg.analysis.anchor_edit import find_head_anchors, used_slots
from yolor_cfg.graph import load_graph

ROOT = Path(__file__).resolve().parents[1]
SHAPES = {20: 30, 24: 30, 40: 30}
"""Width and height in pixels of the boxes in pictures of 96 x 64."""
QUICK = ("--runs", 3, "--generations", 30)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def data(name: str = "data", boxes: tuple[tuple[float, float], ...] = tuple(SHAPES.items())) -> Path:
    """A folder of four pictures of 96 x 64, each with a box of each shape (pixels)."""
    folder = Path(name)
    lines = [f"0 0.5 0.5 {w / 96:.6f} {h / 64:.6f}\n" for w, h in boxes]
    for kind in ("images", "labels"):
        (folder / kind / "train").mkdir(parents=True)
    for number in range(4):
        tiny.save(folder / f"images/train/{number}.png", tiny.photo(64, 96, seed=number))
        (folder / f"labels/train/{number}.txt").write_text("".join(lines))
    return folder


def cfg(anchors: str = "20,20, 40,30, 60,70", *, net: str = "", name: str = "some.cfg") -> Path:
    path = Path(name)
    path.write_text("# mine\n" + tiny.text(net=net).replace(tiny.ANCHORS, f"{anchors}  # pixels\n"))
    return path


def run(*args: object) -> Result:
    return tiny.yolor("anchors", *args)


def written(path: str) -> list[tuple[float, float]]:
    return [place.size_in_pixels for place in used_slots(find_head_anchors(load_graph(path)))]


def test_the_boxes_become_the_anchors_of_a_copy_that_differs_in_them_alone() -> None:
    path = cfg()
    before = path.read_bytes()
    result = run(path, "--data", data(), "--write", "out.cfg", *QUICK)
    assert result.exit_code == 0, result.output
    assert written("out.cfg") == [(20, 30), (24, 30), (40, 30)]
    assert path.read_bytes() == before
    text = Path("out.cfg").read_text()
    assert text == path.read_text().replace("20,20, 40,30, 60,70", "20,30, 24,30, 40,30")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["12", "boxes", "in", "64x96", "before", "after"]
    assert lines[1] == "best possible recall 1.0000 1.0000".split()
    # 20 x 30 and 24 x 30 are best met by 20 x 20, 40 x 30 by itself
    assert lines[2] == ["fitness", f"{np.mean([20 / 30, 20 / 30, 1]):.4f}", "1.0000"]
    assert lines[3][-1] == "1.0000"
    assert lines[4] == "stride 16 20,20 40,30 60,70 20,30 24,30 40,30".split()


def test_json_has_everything_of_the_table() -> None:
    result = run(cfg(), "--data", data(), "--json", *QUICK)
    value = json.loads(result.stdout)
    assert (value["boxes"], value["small"], value["size"]) == (12, 0, [64, 96])
    assert value["better"] is True and value["written"] is None
    assert value["before"]["anchors"] == [[20, 20], [40, 30], [60, 70]]
    assert value["after"]["mean_iou"] == pytest.approx(1)
    (head,) = value["heads"]
    assert head["stride"] == [16, 16] and head["after"] == [[20, 30], [24, 30], [40, 30]]
    for key in [*value, "recall", "fitness", "mean_iou", *head]:
        assert key in run("--help").stdout, key


def test_one_seed_gives_the_same_bytes() -> None:
    shapes = tuple((float(w), float(h)) for w, h in np.random.default_rng(0).uniform(5, 60, (40, 2)))
    folder, path = data(boxes=shapes), cfg()
    texts = []
    for number, seed in enumerate((7, 7, 8)):
        assert run(path, "--data", folder, "--write", f"{number}.cfg", "--seed", seed, *QUICK).exit_code == 0
        texts.append(Path(f"{number}.cfg").read_bytes())
    assert texts[0] == texts[1] != texts[2]


def test_a_set_that_is_not_better_is_refused_with_both_figures() -> None:
    path, folder = cfg("20,30, 24,30, 40,30"), data()
    result = run(path, "--data", folder, "--write", "out.cfg", *QUICK)
    assert result.exit_code == 1
    assert "out.cfg: the new anchors are not better, so nothing is written" in result.stderr
    assert result.stderr.count("best possible recall 1.000000, fitness 0.99999") == 2
    assert result.stderr.count("mean IoU 0.99999") == 2
    assert not Path("out.cfg").exists() and "stride 16" in result.stdout
    looked = run(path, "--data", folder, *QUICK)
    assert looked.exit_code == 0 and "not better" in looked.stderr


def test_fewer_anchors_that_fit_worse_are_refused() -> None:
    path, folder = cfg("20,30, 24,30, 40,30"), data()
    result = run(path, "--data", folder, "-n", 1, "--write", "out.cfg", *QUICK)
    assert result.exit_code == 1 and not Path("out.cfg").exists()


def test_fitness_decides_in_the_yolor_dialect_and_iou_in_the_darknet_dialect() -> None:
    """One k-means of one anchor is the mean shape, here 22 x 34: more IoU than 11 x 42, but less fitness."""
    folder, path = data(boxes=((37.0, 11.0), (22.0, 59.0), (7.0, 31.0))), cfg("11,42")
    one = path.read_text().replace("mask=0,1,2\nnum=3", "mask=0\nnum=1")
    path.write_text(one.replace("filters=24\nsize=1", "filters=8"))
    kmeans_alone = ("--runs", 1, "--generations", 0, "--write")
    assert run(path, "--data", folder, "--dialect", "darknet", *kmeans_alone, "a.cfg").exit_code == 0
    assert written("a.cfg") == [(22, 34)]
    refused = run(path, "--data", folder, "--dialect", "yolor", *kmeans_alone, "b.cfg")
    assert refused.exit_code == 1 and "nothing is written" in refused.stderr


def test_another_number_is_written_with_its_filters() -> None:
    result = run(cfg("90,90, 91,91, 92,92"), "--data", data(), "-n", 2, "--write", "out.cfg", *QUICK)
    assert result.exit_code == 0, result.output
    head = load_graph("out.cfg").heads[0]
    assert head.section.mask == (0, 1) and head.section.num == 2 and head.inputs[0].channels == 2 * (5 + 3)


def test_more_anchors_than_the_boxes_have_sizes_are_told() -> None:
    result = run(cfg(), "--data", data(), "-n", 6, *QUICK)
    assert result.exit_code == 0, result.output
    assert "note: the new anchors have 3 sizes among 6: the boxes differ too little" in result.stderr
    assert "the new anchors have" not in run(cfg(), "--data", "data", *QUICK).stderr


def test_darknet_stretches_and_letter_box_does_not() -> None:
    folder = data(boxes=((48.0, 32.0),))
    for net, want in (("", [64, 64]), ("letter_box=1\n", [64, 128 / 3])):
        result = run(cfg(net=net), "--data", folder, "--json", "--img-size", 128, *QUICK)
        value = json.loads(result.stdout)
        np.testing.assert_allclose(value["after"]["anchors"][1], np.round(want), err_msg=net)


def test_small_boxes_do_not_count_and_are_told() -> None:
    folder = data(boxes=((20.0, 30.0), (1.5, 30.0), (24.0, 1.0)))
    result = run(cfg(), "--data", folder, "--json", *QUICK)
    assert "8 boxes are not used" in result.stderr
    value = json.loads(result.stdout)
    assert (value["boxes"], value["small"]) == (4, 8)


def test_data_without_boxes_are_a_fault_of_the_data() -> None:
    result = run(cfg(), "--data", data(boxes=()))
    assert result.exit_code == 3 and "there are no boxes in the part for training" in result.stderr


def test_a_cfg_without_anchors_and_a_number_that_does_not_divide_are_faults_of_the_cfg() -> None:
    Path("plain.cfg").write_text(tiny.text().partition("[yolo]")[0])
    result = run("plain.cfg", "--data", data())
    assert result.exit_code == 2 and "no head of this network has anchors" in result.stderr
    listed = "[route]\nlayers=-3\n[convolutional]\nfilters=8\n[yolo]\nmask=0\nnum=1\nclasses=3\nanchors=9,9\n"
    Path("two.cfg").write_text(tiny.text() + listed)
    result = run("two.cfg", "--data", "data", "-n", 3)
    assert result.exit_code == 2 and "a multiple of 2, the number of heads" in result.stderr


def test_nothing_is_overwritten_without_force() -> None:
    path, folder = cfg(), data()
    for option, name in (("--write", "out.cfg"), ("--plot", "a.png")):
        Path(name).write_text("mine")
        result = run(path, "--data", folder, option, name, *QUICK)
        assert result.exit_code == 1 and "exists already" in result.stderr
        assert Path(name).read_text() == "mine"
        assert run(path, "--data", folder, option, name, "--force", *QUICK).exit_code == 0
    assert cv2.imread("a.png").shape == (792, 1080, 3)
    assert run(path, "--data", folder, "--plot", "a.txt").exit_code == 2


def test_a_plot_without_matplotlib_is_refused_before_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = run(cfg(), "--data", data(), "--plot", "a.png", "--write", "out.cfg", *QUICK)
    assert result.exit_code == 5 and "pip install 'yolor-cfg[plot]'" in result.stderr
    assert not Path("a.png").exists() and not Path("out.cfg").exists()
    assert run(cfg(), "--data", "data", *QUICK).exit_code == 0


def test_anchors_for_another_size_are_told_to_be_so() -> None:
    result = run(cfg(), "--data", data(), "--img-size", "128x96", "--write", "out.cfg", *QUICK)
    assert result.exit_code == 0 and "train with --img-size 128x96" in result.stderr
    assert "width=96" in Path("out.cfg").read_text()


def test_a_nano_network_gets_fitting_anchors_for_blood_cells(shared: Path) -> None:
    text = (ROOT / "cfg/yolor_nano.cfg").read_text()
    Path("nano.cfg").write_text(text.replace("classes=80", "classes=3").replace("filters=255", "filters=24"))
    result = run(
        "nano.cfg",
        "--data",
        shared / "data/bccd/bccd.data",
        "--img-size",
        "256x320",
        "--json",
        "--write",
        "out.cfg",
        *QUICK,
    )
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert value["before"]["fitness"] < 0.73 and value["after"]["fitness"] > 0.9
    assert value["after"]["recall"] >= value["before"]["recall"]
    assert value["written"] == "out.cfg" and len(written("out.cfg")) == 9


def test_classes_and_sizes_have_figures_of_their_own() -> None:
    """Against loops that know nothing of our tables; the class of long boxes fits no anchor, and is named."""
    rng = np.random.default_rng(3)
    sides = {
        0: rng.uniform(15, 40, (12, 2)),
        1: np.array([(90.0, 4 + i / 10) for i in range(12)]),
        2: np.array([[60.0, 50.0]]),
    }
    folder = data(boxes=())
    lines = [f"{k} 0.5 0.5 {w / 96:.8f} {h / 64:.8f}\n" for k, rows in sides.items() for w, h in rows]
    Path("data/labels/train/0.txt").write_text("".join(lines))
    Path("data/classes.txt").write_text("disc\nbar\nblock\n")
    result = run(cfg(), "--data", folder, "--json", *QUICK)
    value = json.loads(result.stdout)
    anchors = [(20.0, 20.0), (40.0, 30.0), (60.0, 70.0)]

    def best_iou(w: float, h: float) -> float:
        common = [min(w, a) * min(h, b) for a, b in anchors]
        return max(c / (w * h + a * b - c) for c, (a, b) in zip(common, anchors, strict=True))

    def fits(w: float, h: float) -> bool:
        return any(max(w / a, a / w, h / b, b / h) < 4 for a, b in anchors)

    for row, (k, name) in zip(value["classes"], enumerate(("disc", "bar", "block")), strict=True):
        assert (row["name"], row["boxes"], row["is_poor"]) == (name, len(sides[k]), name == "bar")
        assert row["before"]["recall"] == pytest.approx(np.mean([fits(w, h) for w, h in sides[k]]))
        wanted = np.mean([best_iou(w, h) for w, h in sides[k]])
        assert row["before"]["mean_iou"] == pytest.approx(wanted, abs=1e-6)
    boxes = np.concatenate(list(sides.values()))
    areas = boxes.prod(axis=1)
    wanted_counts = {"small": (areas < 1024).sum(), "medium": ((areas >= 1024) & (areas < 9216)).sum()}
    assert {row["name"]: row["boxes"] for row in value["sizes"]} == wanted_counts
    for row in value["sizes"]:
        own = boxes[areas < 1024] if row["name"] == "small" else boxes[areas >= 1024]
        assert row["before"]["recall"] == pytest.approx(np.mean([fits(w, h) for w, h in own]))
    shown = run(cfg(), "--data", folder, *QUICK)
    assert "the anchors serve badly: bar (recall 0.00" in shown.stderr
    assert [
        line.split()[0] for line in shown.stdout.splitlines()[-5:]
    ] == "bar disc block small medium".split()
