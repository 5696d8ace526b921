"""`yolor models`: costs are those of `yolor info`, the front is that of a comparison of each with each."""

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from yolor_cfg.analysis.models.chart import AXES, write_number
from yolor_cfg.analysis.models.front import Tradeoff, find_dominators
from yolor_cfg.analysis.models.published import read_published
from yolor_cfg.analysis.models.read import make_models, read_sources
from yolor_cfg.analysis.models.types import Score
from yolor_cfg.cli import main
from yolor_cfg.graph import ReadOptions
from yolor_cfg.networks.catalog import new_cfg
from yolor_cfg.report.scatter.scales import fit_scale

ROOT = Path(__file__).resolve().parents[1]
NANO = ROOT / "weights/yolor_nano_shapes.pt"
SMALL = [ROOT / f"cfg/{name}.cfg" for name in ("yolor_micro", "yolor_nano", "yolor_csp_ssss", "yolor_s")]
SVG = "{http://www.w3.org/2000/svg}"


def yolor(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def models(*args: object) -> list[dict]:
    done = yolor("models", *args, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)["networks"]


@pytest.mark.parametrize("size", [(), ("--img-size", "256")])
def test_costs_are_those_of_info(size: tuple[str, ...]) -> None:
    found = models(*SMALL, NANO, *size)
    for one, path in zip(found, [*SMALL, NANO], strict=True):
        told = json.loads(yolor("info", path, *size, "--memory", "--json").stdout)
        same = ("dialect", "parameters", "parameters_folded", "macs", "gflops", "peak_activation_bytes")
        assert {name: one[name] for name in same} == {name: told[name] for name in same}
        assert one["layers"] == len(told["layers"])
        size_of_file = NANO.stat().st_size if path == NANO else told["weights_bytes"]
        assert one["file_bytes"] == size_of_file


def test_heads_are_those_of_the_cfg() -> None:
    (one,) = models(ROOT / "cfg/yolor_micro.cfg")
    text = (ROOT / "cfg/yolor_micro.cfg").read_text()
    assert [head["stride"] for head in one["heads"]] == [[8, 8], [16, 16], [32, 32]]
    assert [head["classes"] for head in one["heads"]] == [80] * 3 and text.count("[yolo]") == 3
    anchors = next(line for line in text.splitlines() if line.replace(" ", "").startswith("anchors="))
    numbers = [float(word) for word in anchors.partition("=")[2].split(",")]
    assert [x for head in one["heads"] for pair in head["anchors"] for x in pair] == numbers


FIELDS = """[net]
width=64
height=48
channels=3
[convolutional]
filters=7
size=3
stride={}
pad=1
activation=linear
[yolo]
mask=0
num=1
anchors=4,5
classes=2
{}[convolutional]
filters=7
size=5
pad=1
activation=linear
[yolo]
mask=0
num=1
anchors=4,5
classes=2
"""


@pytest.mark.parametrize(
    "stride, between, table, told",
    [
        ("2", "", "3..11", [[3, 3], [11, 11]]),
        ("1\nstride_x=2", "", "3..7x11", [[3, 3], [7, 11]]),
        ("1", "[avgpool]\n[scale_channels]\nfrom=0\n", "3..whole", [[3, 3], [None, None]]),
    ],
)
def test_the_table_has_the_smallest_and_the_largest_receptive_field(
    stride: str, between: str, table: str, told: list, tmp_path: Path
) -> None:
    (tmp_path / "a.cfg").write_text(FIELDS.format(stride, between))
    (one,) = models(tmp_path / "a.cfg")
    assert [head["receptive_field"] for head in one["heads"]] == told
    header, row = yolor("models", tmp_path / "a.cfg").stdout.splitlines()
    place = header.index("receptive field")
    assert row[place:].split()[0] == table
    described = json.loads(yolor("info", tmp_path / "a.cfg", "--json").stdout)["heads"]
    assert described == one["heads"]


def test_a_name_stands_for_the_cfg_that_new_writes(tmp_path: Path) -> None:
    (tmp_path / "row.cfg").write_text(new_cfg("table4/mul-iPR"))
    named, written = models("table4/mul-iPR", tmp_path / "row.cfg")
    assert (named["kind"], written["kind"]) == ("family", "cfg")
    assert (named["name"], named["macs"], named["heads"]) == ("mul-iPR", written["macs"], written["heads"])
    assert yolor("models", "yolor_micr").exit_code == 2
    assert "yolor_micro" in yolor("models", "yolor_micr").stderr


def test_weights_belong_to_the_cfg_before_them_and_must_fit_it(tmp_path: Path) -> None:
    weights = tmp_path / "a.weights"
    assert yolor("convert", NANO, weights).exit_code == 0
    cfg = ROOT / "weights/yolor_nano_shapes.cfg"
    (one,) = models(cfg, weights)
    assert one["file_bytes"] == weights.stat().st_size
    for paths, word in (((weights,), "no cfg before"), ((SMALL[0], weights), "longer than the network")):
        done = yolor("models", *paths)
        assert done.exit_code == 4 and word in done.stderr


def write_run(folder: Path, cfg: Path, ap: list[float | None], data: str) -> Path:
    """A folder as a training leaves it."""
    import yaml

    from yolor_cfg.train.settings import TrainOptions

    folder.mkdir(parents=True)
    shutil.copy(cfg, folder / "model.cfg")
    options = TrainOptions(cfg=str(cfg), data=data, dialect="yolor").to_dict()
    (folder / "args.yaml").write_text(yaml.safe_dump(options))
    (folder / "env.json").write_text(json.dumps({"folder": str(folder.parent)}))
    rows = [{"epoch": 1.0, **({} if x is None else {"AP": x, "AP50": x + 0.1})} for x in ap]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_the_score_of_a_run_counts_before_one_that_was_published() -> None:
    own, other = (Score(ap, None, "mine", ("mine",)) for ap in (0.25, 0.75))
    (source,) = read_sources([str(SMALL[0])], ReadOptions())
    name = SMALL[0].stem
    assert make_models([source._replace(score=own)], {name: other})[0].score == own
    assert make_models([source], {name: other})[0].score == other
    assert make_models([source], {"another": other})[0].score is None


def test_a_training_has_the_ap_of_its_best_epoch_and_its_data(tmp_path: Path) -> None:
    best = write_run(tmp_path / "best", SMALL[0], [None, 0.2, 0.5, 0.4], "a.yaml")
    none = write_run(tmp_path / "none", SMALL[1], [None], "a.yaml")
    first, second = models(best, none)
    assert (first["kind"], first["score"]["ap"], first["score"]["ap50"]) == ("training", 0.5, 0.6)
    assert first["score"]["key"] == [str(tmp_path / "a.yaml"), "val"]
    assert second["score"] is None and second["on_front"] is None
    (best / "metrics.jsonl").write_text("{\n")
    done = yolor("models", best)
    assert done.exit_code == 3 and "metrics.jsonl:1" in done.stderr


def test_runs_on_different_data_are_ranked_apart_and_the_note_says_so(tmp_path: Path) -> None:
    """The small one is better and cheaper, but on other data."""
    runs = [
        write_run(tmp_path / "small", SMALL[0], [0.9], "easy.yaml"),
        write_run(tmp_path / "large", SMALL[1], [0.3], "hard.yaml"),
        write_run(tmp_path / "worse", SMALL[2], [0.2], "hard.yaml"),
    ]
    assert [one["dominated_by"] for one in models(*runs)] == [[], [], ["large"]]
    done = yolor("models", *runs, "--sort", "ap")
    assert "2 data sets, which are ranked apart: easy; hard" in done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["network", "small", "large", "worse"]
    assert "behind large" in done.stdout.splitlines()[-1]


def test_a_test_has_the_network_the_data_and_the_ap_that_it_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert yolor("data", "draw", "shapes", "--count", "20", "--size", "128").exit_code == 0
    done = yolor("test", NANO, "--data", "shapes/shapes.data", "--json", "--img-size", "128")
    assert done.exit_code == 0, done.stderr
    (one,) = models("runs/test/exp")
    printed = json.loads(done.stdout)["coco"]
    assert (one["score"]["ap"], one["score"]["ap50"]) == (printed["AP"], printed["AP50"])
    assert (one["kind"], one["image"]) == ("test", [3, 128, 128])
    assert one["score"]["key"] == [str(tmp_path / "shapes/shapes.data"), "val"]
    record = tmp_path / "runs/test/exp/run.json"
    known = json.loads(record.read_text())
    for network, word in (("gone.cfg", "gone"), (str(record.with_name("a.onnx")), "exported")):
        record.with_name("a.onnx").touch()
        record.write_text(json.dumps({"tested": {**known["tested"], "network": network}}))
        done = yolor("models", "runs/test/exp")
        assert done.exit_code == 3 and word in done.stderr
    record.write_text('{"tested": {"network": 3}}')
    assert yolor("models", "runs/test/exp").exit_code == 3
    for name, value in (
        ("size", 0),
        ("size", [128]),
        ("size", True),
        ("data", "a"),
        ("data", [3]),
        ("task", 1),
    ):
        record.write_text(json.dumps({"tested": {**known["tested"], name: value}}))
        done = yolor("models", "runs/test/exp")
        assert done.exit_code == 3 and "not the record of a test" in done.stderr, (name, value)
    record.unlink()
    done = yolor("models", "runs/test/exp")
    assert done.exit_code == 3 and "which network was tested" in done.stderr
    assert yolor("models", "shapes").exit_code == 3


points = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12)


@given(points)
def test_the_front_is_that_of_comparing_each_with_each(pairs: list[tuple[int, int]]) -> None:
    def beats(i: int, j: int) -> bool:
        (cost, gain), (other_cost, other_gain) = pairs[i], pairs[j]
        return cost <= other_cost and gain >= other_gain and (cost < other_cost or gain > other_gain)

    count = range(len(pairs))
    front = [j for j in count if not any(beats(i, j) for i in count)]
    found = find_dominators([Tradeoff(*pair) for pair in pairs])
    assert [j for j in count if not found[j]] == front
    assert [set(one) for one in found] == [{i for i in front if beats(i, j)} for j in count]


PUBLISHED = "name,ap,ap50,data\nyolor_micro,20,30,COCO\nyolor_nano,35.5,,COCO\nyolor_s,30,40,COCO\n"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    path = tmp_path / "published.csv"
    path.write_text(PUBLISHED)
    return path


def test_published_scores_are_taken_by_name_and_percent_is_said(published: Path) -> None:
    done = yolor("models", *SMALL, "--ap", published, "--json")
    found = {one["name"]: one for one in json.loads(done.stdout)["networks"]}
    assert found["yolor_nano"]["score"]["ap"] == 0.355 and found["yolor_nano"]["score"]["ap50"] is None
    assert found["yolor_s"]["dominated_by"] == ["yolor_nano"] and found["yolor_csp_ssss"]["score"] is None
    assert "percent" in done.stderr
    by_ap50 = {one["name"]: one["on_front"] for one in models(*SMALL, "--ap", published, "--y", "ap50")}
    assert by_ap50["yolor_s"] is True and by_ap50["yolor_nano"] is None


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a,b\n1,2\n", "does not name the columns"),
        ('name, ap\n"yolor_s", many\n', "published.csv:2: ap: not a score"),
        ("name,ap\nyolor_s,many\n", "published.csv:2: ap: not a score"),
        ("name,ap\nyolor_s,120\n", "not a score"),
        ("name,ap\nyolor_s,.3\nyolor_s,.4\n", "twice"),
        ("name,ap\n,.3\n", "no name"),
        ("name,ap\nyolor_s,.3,.4\n", "more cells"),
        ("", "does not name the columns"),
    ],
)
def test_what_is_no_table_of_scores_is_told(published: Path, text: str, word: str) -> None:
    published.write_text(text)
    done = yolor("models", SMALL[0], "--ap", published)
    assert done.exit_code == 3 and word in done.stderr


def test_the_svg_has_a_mark_and_a_name_for_each_and_filled_ones_on_the_front(
    published: Path, tmp_path: Path
) -> None:
    plot = tmp_path / "front.svg"
    done = yolor("models", *SMALL, "--ap", published, "--plot", plot)
    assert done.exit_code == 0, done.stderr
    root = ElementTree.fromstring(plot.read_text())
    marks = [one for one in root.iter(f"{SVG}circle") if "mark" in one.get("class", "")]
    told = {one.find(f"{SVG}title").text.partition(":")[0]: one for one in marks}
    assert set(told) == {"yolor_micro", "yolor_nano", "yolor_s"}
    assert "disc" in told["yolor_nano"].get("class") and "ring" in told["yolor_s"].get("class")
    names = {one.text for one in root.iter(f"{SVG}text") if one.get("class") == "name"}
    assert names == set(told)
    # Of more multiply-adds further to the right, of more AP higher.
    x = {name: float(one.get("cx")) for name, one in told.items()}
    y = {name: float(one.get("cy")) for name, one in told.items()}
    assert x["yolor_micro"] < x["yolor_nano"] < x["yolor_s"]
    assert y["yolor_nano"] < y["yolor_s"] < y["yolor_micro"]
    again = yolor("models", *SMALL, "--ap", published, "--plot", plot)
    assert again.exit_code == 1 and "exists already" in again.stderr


def test_a_page_has_the_table_and_an_image_has_pixels(published: Path, tmp_path: Path) -> None:
    for name in ("front.html", "front.png"):
        done = yolor("models", *SMALL, "--ap", published, "--x", "memory", "--plot", tmp_path / name)
        assert done.exit_code == 0, done.stderr
    page = (tmp_path / "front.html").read_text()
    assert page.count("<tr>") == 1 + len(SMALL) and "behind yolor_nano" in page and "<svg" in page
    assert (tmp_path / "front.png").stat().st_size > 10_000


def test_a_name_cannot_write_into_the_page(tmp_path: Path) -> None:
    cfg = tmp_path / "<b>&.cfg"
    shutil.copy(SMALL[0], cfg)
    (tmp_path / "a.csv").write_text("name,ap\n<b>&,0.5\n")
    done = yolor("models", cfg, "--ap", tmp_path / "a.csv", "--plot", tmp_path / "a.html")
    assert done.exit_code == 0, done.stderr
    assert "<b>" not in (tmp_path / "a.html").read_text()


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (("--plot", "a.svg"), "no network has both macs and ap"),
        (("--plot", "a.txt"), "--plot must end in .html, .svg, .png"),
        (("--x", "time"), "without --time"),
        (("--sort", "time"), "without --time"),
        (("--force",), "--force is for"),
        (("--turns", "3"), "--turns belongs to --time"),
        (("--engine", "torch"), "--engine belongs to --time"),
        (("--no-rewrite", "all"), "--no-rewrite belongs to --time"),
        (("a.onnx",), "exported file"),
    ],
)
def test_what_does_not_go_together_is_a_usage_error(args: tuple[str, ...], word: str) -> None:
    done = yolor("models", SMALL[0], *args)
    assert done.exit_code == 2 and word in done.stderr


def test_a_size_for_all_is_noted_where_ap_is_of_another(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", SMALL[0], [0.5], "a.yaml")
    assert "at its own size" in yolor("models", run, "--img-size", "128").stderr
    assert "at its own size" not in yolor("models", run).stderr


@pytest.mark.slow
def test_time_is_measured_in_turns_and_the_larger_network_takes_longer() -> None:
    small, large = models("yolor_micro", "table4/mul-iPR", "--img-size", "160", "--time", "--turns", "3")
    assert 0 < small["time"]["median_ms"] < large["time"]["median_ms"]
    assert small["time"]["low_ms"] <= small["time"]["median_ms"] <= small["time"]["high_ms"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (64, "64"),
        (0.25, "0.25"),
        (37_300_000, "37.3 M"),
        (999.4, "999"),
        (999.7, "1 k"),
        (999_700_000, "1 G"),
        (2.5e15, "2500 T"),
        (0, "0"),
    ],
)
def test_a_number_is_written_in_the_unit_of_its_three_digits(value: float, text: str) -> None:
    assert write_number(value) == text


def test_scores_that_are_near_are_told_apart_at_their_axis() -> None:
    ticks = fit_scale([0.501, 0.5013], 450, 50, may_bend=False).ticks(7)
    for name in ("ap", "ap50"):
        written = [AXES[name].write(value) for value in ticks]
        assert len(set(written)) == len(ticks) >= 4
        assert [float(text) for text in written] == pytest.approx(ticks, abs=1e-9)
    assert [AXES["ap"].write(value) for value in (0.0, 0.30000000000000004, 1.0)] == ["0", "0.3", "1"]


def test_a_space_behind_a_comma_is_no_part_of_a_quoted_cell(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('name, ap, data\n"one", 0.5, "COCO, val"\n')
    (score,) = read_published(path).scores.values()
    assert (score.ap, score.data) == (0.5, "COCO, val")
