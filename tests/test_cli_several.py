"""`yolor train`, `yolor test` and `yolor data draw` on several data sets, as a user gives them."""

import json

import pytest
import tiny_detector as tiny
import training
from matplotlib.backends.backend_agg import FigureCanvasAgg

from yolor_cfg.data.shapes import NAMES

pytestmark = pytest.mark.usefixtures("one_thread", "blank_charts")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A run on two drawn data sets, by the commands; its folder. Charts stay white."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FigureCanvasAgg, "draw", lambda canvas: canvas.get_renderer().clear())
        yield run_commands(tmp_path_factory)


def run_commands(tmp_path_factory):
    root = tmp_path_factory.mktemp("commands")
    (root / "small.cfg").write_text(training.yolor_text())
    for name, classes in (("one", "disc,square,triangle"), ("two", "cross, ring,star")):
        draw = ["data", "draw", root / name, "--count", "10", "--size", "64", "--annotate", classes]
        assert tiny.yolor(*map(str, draw)).exit_code == 0
    data = [f"--data={root / name / 'shapes.data'}" for name in ("one", "two")]
    more = ["--epochs=1", "--batch-size=4", "--update-batch=8", "--workers=0", f"--project={root / 'runs'}"]
    result = tiny.yolor("train", str(root / "small.cfg"), *data, *more, "--data-weights=2,1")
    assert result.exit_code == 0, result.output
    return root, result


def test_the_table_of_classes_is_told_and_each_data_set_has_columns_and_plots(ran):
    root, result = ran
    assert "one labels 3 classes: disc, square, triangle" in result.stderr
    assert "two labels 3 classes: star, ring, cross" in result.stderr
    header = (root / "runs/exp/results.csv").read_text().splitlines()[0].split(",")
    assert {"one.loss", "two.loss", "one.AP", "two.AP", "AP"} < set(header)
    assert (root / "runs/exp/one/per_class.csv").exists() or (root / "runs/exp/one/PR_curve.png").exists()


def test_labels_are_those_of_the_annotated_classes_alone(ran):
    root, _ = ran
    ids = {line.split()[0] for path in (root / "two/labels").iterdir() for line in path.open()}
    assert ids == {"3", "4", "5"}
    found = json.loads((root / "two/annotations/instances_train.json").read_text())
    assert [one["name"] for one in found["categories"]] == list(NAMES[3:])
    assert {one["category_id"] for one in found["annotations"]} == {4, 5, 6}


def test_a_test_on_several_data_sets_gives_each_and_the_mean(ran):
    root, _ = ran
    best = str(root / "runs/exp/weights/best.pt")
    data = [f"--data={root / name / 'shapes.data'}" for name in ("one", "two")]
    result = tiny.yolor("test", best, *data, "--json", f"--project={root / 'tests'}")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found == json.loads((root / "tests/exp/metrics.json").read_text())
    assert [one["name"] for one in found["datasets"]] == ["one", "two"]
    assert [one["classes"] for one in found["datasets"]] == [list(NAMES[:3]), list(NAMES[3:])]
    assert found["images"] == 4 and (root / "tests/exp/two/predictions.json").exists()
    shown = tiny.yolor("test", best, *data, "--no-save")
    assert "data set" in shown.stdout and "predictions of the others are left out" in shown.stderr


def test_a_data_set_with_some_of_the_classes_is_tested_by_these(ran):
    """COCO's file of the second data set has three categories, the network six classes."""
    root, _ = ran
    best = str(root / "runs/exp/weights/best.pt")
    alone, listed = (
        json.loads(tiny.yolor("test", best, f"--data={data}", "--json", "--no-save").stdout)
        for data in (root / "two/annotations/instances_val.json", root / "two/shapes.data")
    )
    assert [one["name"] for one in alone["per_category"].values()] == list(NAMES[3:])
    assert alone["objects"] == listed["objects"] and alone["detections"] == listed["detections"]


def test_strange_classes_to_annotate_are_refused(tmp_path):
    result = tiny.yolor("data", "draw", str(tmp_path / "x"), "--annotate", "disc,disk")
    assert result.exit_code == 2 and "'disk' is none of" in result.stderr
