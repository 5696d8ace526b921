"""`yolor cfg set-classes`, `set-size` and `set-anchors`: what changes, and that nothing else does."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from yolor_cfg.analysis.class_edit import ClassCount
from yolor_cfg.cli import main
from yolor_cfg.graph import Graph, load_graph

NET = "[net]\nwidth=64\nheight=64\nchannels=3\n"
SCHEDULE = "max_batches = 500200 # mine\npolicy=steps\nsteps=400000,450000\nscales=.1,.1\n"
CONV = "[convolutional]\nfilters={}\nsize=1\nstride={}\nactivation=linear\n"
YOLO = "[yolo]\nmask={}\nanchors=1,1, 2,2, 3,3\nnum=3\nclasses={}  ; what I have\n"
TINY = NET + SCHEDULE + CONV.format(4, 8) + CONV.format(255, 1) + YOLO.format("0,1,2", 80)
GAUSSIAN = (
    CONV.format(4, 8) + CONV.format(18, 1) + "[Gaussian_yolo]\nmask=0,2\nanchors=1,1, 2,2, 3,3\nnum=3\n"
)
REGION = CONV.format(4, 32) + CONV.format(12, 1) + "[region]\nanchors=1,1, 2,2\nnum=2\nclasses=1\n"
DETECTION = "[connected]\noutput=44\nactivation=linear\n[detection]\nclasses=1\ncoords=4\nside=2\nnum=2\n"
IMPLICIT = (
    CONV.format(4, 8)
    + "[implicit_mul]\nfilters=255\n[route]\nlayers=0\n"
    + CONV.format(255, 1)
    + "[control_channels]\nfrom=1\n"
    + YOLO.format("0,1,2", 80)
)


def yolor(*args: object) -> Result:
    return CliRunner().invoke(main, ["cfg", *(str(arg) for arg in args)])


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.cfg"
    path.write_text(TINY)
    return path


def fitted(folder: Path, text: str, classes: int, *options: object) -> tuple[str, Graph]:
    """The new text and its graph."""
    cfg, out = folder / "a.cfg", folder / "b.cfg"
    cfg.write_text(text)
    result = yolor("set-classes", cfg, classes, "-o", out, "--force", *options)
    assert result.exit_code == 0, result.output
    return out.read_text(), load_graph(out)


def test_classes_filters_and_schedule_follow_darknets_readme_and_nothing_else_changes(tiny: Path) -> None:
    """AlexeyAB's README: max_batches = classes*2000, steps 80 % and 90 % of it, filters = (classes + 5)*3."""
    result = yolor("set-classes", tiny, 4)
    assert result.exit_code == 0, result.output
    want = TINY.replace("500200", "8000").replace("400000,450000", "6400,7200")
    want = want.replace("filters=255", "filters=27").replace("classes=80", "classes=4")
    assert tiny.with_name("tiny-4.cfg").read_text() == want
    assert tiny.read_text() == TINY
    assert "-filters=255\n" in result.stdout and "+filters=27\n" in result.stdout
    assert "tiny-4.cfg: written" in result.stderr


@pytest.mark.parametrize(("classes", "total", "steps"), [(1, 6000, "4800,5400"), (3, 6000, "4800,5400")])
def test_few_classes_train_for_6000_iterations_as_the_readme_says(
    classes: int, total: int, steps: str, tmp_path: Path
) -> None:
    text, _ = fitted(tmp_path, TINY, classes)
    assert f"max_batches = {total} # mine\n" in text and f"steps={steps}\n" in text


def test_iterations_are_not_below_the_number_of_training_images_as_the_readme_says(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "images" / "a.png")
    (tmp_path / "list.txt").write_text("images/a.png\n")
    (tmp_path / "images" / "a.txt").write_text("0 .5 .5 .5 .5\n")
    text, _ = fitted(tmp_path, TINY, 2, "--data", tmp_path / "list.txt")
    assert "max_batches = 6000 " in text
    assert ClassCount(2, images=7001).max_batches == 7001


def test_earlier_steps_stay_before_the_two_of_the_advice(tmp_path: Path) -> None:
    schedule = "max_batches=80200\npolicy=steps\nsteps=-1,500,40000,60000\nscales=0.1,10,.1,.1\n"
    text, _ = fitted(tmp_path, TINY.replace(SCHEDULE, schedule), 1)
    assert "steps=-1,500,4800,5400\nscales=0.1,10,.1,.1\n" in text


def test_a_single_step_becomes_two_with_the_same_scale(tmp_path: Path) -> None:
    schedule = "max_batches=9\npolicy=steps\nsteps=5\nscales=.2\n"
    text, _ = fitted(tmp_path, TINY.replace(SCHEDULE, schedule), 1)
    assert "steps=4800,5400\nscales=0.2,0.2\n" in text


@pytest.mark.parametrize(
    ("layers", "key"),
    [
        (GAUSSIAN + "classes=0\n".replace("0", "20"), "filters=26"),  # parser.c: n * (classes + 8 + 1)
        (REGION, "filters=18"),  # parser.c: num * (classes + coords + 1)
        (DETECTION, "output=52"),  # parser.c: side * side * ((1 + coords) * num + classes)
    ],
)
def test_each_head_has_its_own_formula(layers: str, key: str, tmp_path: Path) -> None:
    layers = layers.replace("filters=18\n", "filters=58\n") if "Gaussian" in layers else layers
    classes = 3 if "side" in layers else 4
    text, graph = fitted(tmp_path, NET + layers, classes)
    assert key in text and graph.classes == classes


def test_implicit_values_follow_the_filters_that_they_scale(tmp_path: Path) -> None:
    text, graph = fitted(tmp_path, NET + IMPLICIT, 3)
    assert text.count("filters=24") == 2 and "255" not in text and graph.classes == 3
    assert "max_batches" not in text, "the yolor dialect counts epochs"


def test_a_missing_key_is_written_at_the_end_of_its_section(tmp_path: Path) -> None:
    layers = "[convolutional]\nfilters=75\n[yolo]\nmask=0,1,2\nanchors=1,1, 2,2, 3,3\nnum=3 ; last"
    text, _ = fitted(tmp_path, NET + layers, 1)
    assert text.endswith("num=3 ; last\nclasses=1\n")
    assert f"{NET}max_batches=6000\n[convolutional]\nfilters=18\n" in text


def test_a_cfg_whose_head_does_not_fit_yet_is_mended(tmp_path: Path) -> None:
    text, _ = fitted(tmp_path, TINY.replace("classes=80", "classes=2"), 2)
    assert "filters=21\n" in text


def test_counters_of_the_old_data_become_a_comment(tmp_path: Path) -> None:
    two = TINY.replace("filters=255", "filters=21").replace("classes=80", "counters_per_class=5,9\nclasses=2")
    text, _ = fitted(tmp_path, two, 3)
    assert "\n# counters_per_class=5,9\n" in text


def test_two_heads_on_one_section_and_a_network_without_classes_are_refused(tiny: Path) -> None:
    tiny.write_text(TINY + "[route]\nlayers=1\n" + YOLO.format("0,1", 80))
    result = yolor("set-classes", tiny, 2)
    assert result.exit_code == 2 and not tiny.with_name("tiny-2.cfg").exists()
    tiny.write_text(NET + CONV.format(4, 8))
    assert "no head of this network has classes" in yolor("set-classes", tiny, 2).stderr


def test_a_head_on_joined_sections_is_refused_with_its_line(tiny: Path) -> None:
    joined = "[route]\nlayers=0,1\n" + YOLO.format("0,1,2", 80)
    tiny.write_text(NET + CONV.format(4, 8) + CONV.format(251, 1) + joined)
    result = yolor("set-classes", tiny, 2)
    assert result.exit_code == 2 and "[route #2] the channels of a head cannot be changed" in result.stderr


def test_nothing_is_overwritten_unless_asked_to(tiny: Path) -> None:
    yolor("set-classes", tiny, 4)
    assert "exists already" in yolor("set-classes", tiny, 4).stderr
    assert yolor("set-classes", tiny, 4, "--in-place", "-o", "x.cfg").exit_code == 2
    assert yolor("set-classes", tiny, 4, "--in-place").exit_code == 0
    assert load_graph(tiny).classes == 4


def test_the_size_is_set_where_the_network_takes_it(tiny: Path) -> None:
    result = yolor("set-size", tiny, "32x96")
    assert result.exit_code == 0, result.output
    want = TINY.replace("width=64", "width=96").replace("height=64", "height=32")
    assert tiny.with_name("tiny-32x96.cfg").read_text() == want
    assert "anchors in pixels stay" in result.stderr


def test_anchors_are_written_in_the_given_order_where_the_list_has_as_many(tiny: Path) -> None:
    result = yolor("set-anchors", tiny, "9,8, 4.5,5, 60,61")
    assert result.exit_code == 0, result.output
    assert tiny.with_name("tiny-anchors.cfg").read_text() == TINY.replace(
        "1,1, 2,2, 3,3", "9,8, 4.5,5, 60,61"
    )


def test_another_number_of_anchors_changes_the_head(tiny: Path) -> None:
    assert yolor("set-anchors", tiny, "9,8, 4,5", "--in-place").exit_code == 0
    text = tiny.read_text()
    assert "anchors=4,5, 9,8\nnum=2\n" in text and "mask=0,1\n" in text and "filters=170\n" in text


@pytest.mark.parametrize("anchors", ["9", "9,8,7", "a,b", "0,4", "nan,4", "", "-1,4"])
def test_what_is_no_list_of_anchors_is_a_usage_error(anchors: str, tiny: Path) -> None:
    result = yolor("set-anchors", tiny, "--", anchors)
    assert result.exit_code == 2 and "Traceback" not in result.output


def test_hints_name_the_command_that_exists(tiny: Path) -> None:
    tiny.write_text(TINY.replace("classes=80", "classes=2"))
    assert "yolor cfg set-classes CFG 2" in yolor("check", tiny).stderr
    assert "N" in yolor("set-classes", "--help").stdout


def test_anchors_may_be_several_arguments(tiny: Path) -> None:
    assert yolor("set-anchors", tiny, "9,8", "4.5,5", "60,61", "--in-place").exit_code == 0
    assert "anchors=9,8, 4.5,5, 60,61\n" in tiny.read_text()


CLASSIFIER = CONV.format(4, 8) + CONV.format(1000, 1) + "[avgpool]\n"


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        (CLASSIFIER + "[softmax]\n[cost]\n", "filters=1000"),
        (CLASSIFIER + "[cost]\n", "filters=1000"),
        (CLASSIFIER + "[connected]\noutput=1000\n[dropout]\n[softmax]\ntemperature=2\n", "output=1000"),
    ],
)
def test_the_outputs_of_a_classifier_are_its_classes(text: str, changed: str, tmp_path: Path) -> None:
    """softmax_layer.c and cost_layer.c: as many truths as inputs, one for each class of the .data file."""
    new, graph = fitted(tmp_path, NET + SCHEDULE + text, 7)
    place = text.rindex(changed)
    want = text[:place] + changed.replace("1000", "7") + text[place + len(changed) :]
    assert new == NET + SCHEDULE + want
    assert graph.nodes[-1].shape.size == 7


@pytest.mark.parametrize("head", ["[softmax]\ngroups=2\n", "[softmax]\ntree=a.tree\n"])
def test_a_classifier_of_several_groups_is_left_alone(head: str, tiny: Path) -> None:
    tiny.write_text(NET + CLASSIFIER + head)
    assert yolor("set-classes", tiny, 7).exit_code == 2


def test_a_map_that_goes_into_a_loss_has_no_classes(tiny: Path) -> None:
    tiny.write_text(NET + CONV.format(3, 1) + "[cost]\n")
    assert "does not read one number for each class" in yolor("set-classes", tiny, 7).stderr


def test_a_network_on_vectors_gets_no_image_size(tiny: Path) -> None:
    tiny.write_text("[net]\ninputs=44\n[connected]\noutput=5\n")
    assert "no image size" in yolor("set-size", tiny, 32).stderr
