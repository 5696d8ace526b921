"""`yolor info --graph`: parts and stages, what the four formats hold, where lines run, what is refused."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from small import graph_of

from yolor_cfg.cli import main
from yolor_cfg.cli.picture import SUFFIXES
from yolor_cfg.count import count_costs
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph, build_graph, load_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.report.picture.describe import describe_picture
from yolor_cfg.report.picture.dot import write_dot
from yolor_cfg.report.picture.fold import fold_picture
from yolor_cfg.report.picture.layout import Arrangement, arrange
from yolor_cfg.report.picture.mermaid import write_mermaid
from yolor_cfg.report.picture.stages import find_places
from yolor_cfg.report.picture.svg import draw_svg
from yolor_cfg.report.picture.types import KNOWLEDGE, NEXT, ROUTE, SUM, WEIGHTS, Picture
from yolor_cfg.report.picture.write import FORMATS, draw_picture
from yolor_cfg.weights.checkpoint import save_checkpoint

ROOT = Path(__file__).resolve().parents[1]
FAMILY = [path for path in sorted((ROOT / "cfg").glob("yolo[rv]*.cfg")) if "u5r5" not in path.stem]
"""Without YOLOv5's, which count the pyramid among the backbone."""
CONV = "[convolutional]\nfilters={}\nsize=3\nstride={}\npad=1\nactivation=leaky\n"
HEAD = "[convolutional]\nfilters=14\nsize=1\nactivation=linear\n[yolo]\nmask=0,1\nclasses=2\nnum=2\n"
HEAD += "anchors=9,12,25,20\n"
CFG = "[net]\nwidth=64\nheight=64\nchannels=3\n" + CONV.format(8, 2) + CONV.format(8, 1) + HEAD
KNOWN = "[implicit_mul]\nfilters=14\ntask=day,night\n[route]\nlayers=-2\n"
LINEAR, YOLO = HEAD.split("[yolo]")
TASKS = "[net]\nwidth=64\nheight=64\nchannels=3\n" + CONV.format(8, 2) + KNOWN + LINEAR
TASKS += "[control_channels]\nfrom=-3\n[yolo]" + YOLO
SVG = "{http://www.w3.org/2000/svg}"


def picture_of(path: Path) -> Picture:
    return describe_picture(load_graph(path))


def yolor(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture
def cfg(tmp_path: Path) -> Path:
    path = tmp_path / "small.cfg"
    path.write_text(CFG)
    return path


def stated_parts(text: str) -> Iterator[tuple[int, str]]:
    """Each layer with its part, by the comments that tools/make_cfgs.py writes from its table."""
    kinds = {"stem": "backbone", "implicit": "implicit knowledge"}
    for first, last, word in re.findall(r"^# sections (\d+)\.\.(\d+): (\w+)", text, re.MULTILINE):
        for index in range(int(first), int(last) + 1):
            yield index, kinds.get(word, word)


@pytest.mark.parametrize("path", FAMILY, ids=lambda path: path.stem)
def test_the_parts_of_the_familys_networks_are_those_that_their_table_states(path: Path) -> None:
    places = find_places(load_graph(path))
    found = {index: re.sub(r" \d+$", "", place.part) for index, place in enumerate(places)}
    assert found == dict(stated_parts(path.read_text()))


def test_the_backbone_of_yolov3_is_what_darknet53_conv_74_holds(shared: Path) -> None:
    path = shared / "corpus/cfg/AlexeyAB__darknet__yolov3.cfg"
    parts = [place.part for place in find_places(load_graph(path))]
    assert [part == "backbone" for part in parts] == [True] * 75 + [False] * 32
    heads = {82: "head 1", 94: "head 2", 106: "head 3"}
    assert {index: parts[index] for index in heads} == heads


def test_a_stage_has_one_stride_and_every_layer_is_in_one_stage() -> None:
    picture = picture_of(ROOT / "cfg/yolor_p6.cfg")
    assert [layer.number for layer in picture.layers] == list(range(-1, 235))
    titles = [stage.heading for stage in picture.stages]
    assert titles[2:4] == ["Backbone, stride 8, 160x160", "Backbone, stride 16, 80x80"]
    assert titles[-1] == "Head 4, stride 64, 20x20" and "Implicit knowledge" in titles
    for stage in picture.stages:
        maps = [layer.shape for layer in stage.layers[1:] if layer.shape.area > 1]
        assert {shape[1:] for shape in maps} <= {(stage.height, stage.width)}


def test_implicit_knowledge_within_a_stage_belongs_to_it() -> None:
    known, plain = "[implicit_add]\nfilters=4\n", "[convolutional]\nfilters=4\nsize=1\n"
    inside = plain + known + "[route]\nlayers=-2\n[shift_channels]\nfrom=-2\n"
    for text, count in ((inside, 4), (known + plain, 2)):
        graph = graph_of(text + 3 * plain, dialect="yolor", image=(4, 8, 8))
        parts = [place.part for place in find_places(graph)]
        assert parts == ["backbone"] * (count + 1) + ["head"] * 2


def test_shares_are_those_of_the_multiply_adds() -> None:
    graph = load_graph(ROOT / "cfg/yolor_csp.cfg")
    picture, costs = describe_picture(graph), count_costs(graph)
    assert [layer.macs for layer in picture.layers[1:]] == [cost.macs for cost in costs.nodes]
    assert sum(stage.share for stage in picture.stages) == pytest.approx(1)
    stem = picture.stages[0]
    assert stem.share == pytest.approx(32 * 27 * 640 * 640 / costs.macs)


def test_links_are_all_that_is_read_by_kind() -> None:
    text = CONV.format(4, 1) + CONV.format(4, 1) + "[shortcut]\nfrom=-2\nactivation=linear\n"
    text += "[implicit_add]\nfilters=8\n[route]\nlayers=-2,0\n[shift_channels]\nfrom=-2\n"
    graph = graph_of(text, dialect="yolor", image=(3, 8, 8))
    kinds = {(link.source, link.target): link.kind for link in describe_picture(graph).links}
    assert set(kinds) == {(source, node.index) for node in graph.nodes for source in node.sources}
    assert kinds[0, 1] == NEXT and kinds[0, 2] == SUM and kinds[0, 4] == ROUTE and kinds[3, 5] == KNOWLEDGE


def test_weights_that_another_layer_lends_are_a_link() -> None:
    text = CONV.format(3, 1) + CONV.format(3, 1) + CONV.format(3, 1) + "share_index=0\n"
    links = describe_picture(graph_of(text, image=(3, 8, 8))).links
    assert [(0, 2, WEIGHTS)] == [link for link in links if link.kind != NEXT]


PICTURED = ["yolor_csp", "yolor_p6", "yolor_d6", "yolor_nano", "u5r5_s", "yolov4_p7"]


@pytest.fixture(scope="module", params=[(name, kind) for name in PICTURED for kind in ("whole", "folded")])
def arranged(request: pytest.FixtureRequest) -> Arrangement:
    name, kind = request.param
    picture = picture_of(ROOT / "cfg" / f"{name}.cfg")
    return arrange(fold_picture(picture) if kind == "folded" else picture)


def test_no_two_boxes_overlap_and_all_are_within_the_picture(arranged: Arrangement) -> None:
    boxes = [spot.box for spot in arranged.spots]
    for x, y, width, height in [*boxes, *(card.box for card in arranged.cards)]:
        assert 0 < x < x + width < arranged.width and 0 < y < y + height < arranged.height
    for one, other in combinations(boxes, 2):
        is_beside = one.x + one.width <= other.x or other.x + other.width <= one.x
        assert is_beside or one.y + one.height <= other.y or other.y + other.height <= one.y


def test_a_line_goes_from_its_source_to_its_target_and_through_no_other_layer(arranged: Arrangement) -> None:
    boxes = {spot.layer.number: spot.box for spot in arranged.spots}
    for link, points in arranged.lines:
        first, last = boxes[link.source], boxes[link.target]
        assert first.x <= points[0][0] <= first.x + first.width
        assert first.y <= points[0][1] <= first.y + first.height
        assert last.x <= points[-1][0] <= last.x + last.width
        assert last.y - 34 <= points[-1][1] <= last.y + last.height  # at most the title of a stage above
        for (x, y), (to_x, to_y) in pairwise(points):
            assert x == to_x or y == to_y
            for box in boxes.values():
                is_left, is_right = max(x, to_x) <= box.x, min(x, to_x) >= box.x + box.width
                is_above, is_below = max(y, to_y) <= box.y, min(y, to_y) >= box.y + box.height
                assert is_left or is_right or is_above or is_below


def test_upright_lines_from_different_layers_never_lie_on_each_other(arranged: Arrangement) -> None:
    upright = [
        (x, *sorted((y, to_y)), link.source)
        for link, points in arranged.lines
        for (x, y), (to_x, to_y) in pairwise(points)
        if x == to_x and len(points) > 2
    ]
    for (x, low, high, source), (other_x, other_low, other_high, other) in combinations(upright, 2):
        assert x != other_x or source == other or high < other_low or other_high < low


def test_a_picture_has_about_the_shape_of_a_screen(arranged: Arrangement) -> None:
    assert 1.2 < arranged.width / arranged.height < 2.3


def test_a_small_network_stands_in_few_columns(cfg: Path) -> None:
    arranged = arrange(picture_of(cfg))
    assert len({card.box.x for card in arranged.cards}) <= 2


def test_folding_keeps_every_layer_once_and_all_costs() -> None:
    picture = picture_of(ROOT / "cfg/yolor_p6.cfg")
    folded = fold_picture(picture)
    rows = [row for row in folded.layers if row.folded]
    assert [row.name for row in rows[:2]] == ["3 x 1x1, 3x3, shortcut", "7 x 1x1, 3x3, shortcut"]
    kept = [one.number for row in folded.layers for one in row.folded or (row,)]
    assert kept == [layer.number for layer in picture.layers]
    for name in ("macs", "parameters"):
        totals = [sum(getattr(layer, name) for layer in one.layers) for one in (picture, folded)]
        assert totals[0] == totals[1]
    assert folded.largest_share == picture.largest_share


def test_only_equal_blocks_are_folded() -> None:
    block = CONV.format(4, 1) + "[shortcut]\nfrom=-2\nactivation=linear\n"
    text = CONV.format(4, 1) + block + block + block.replace("leaky", "mish") + block + CONV.format(5, 1)
    picture = describe_picture(graph_of(text, image=(3, 8, 8)))
    folded = fold_picture(picture)
    assert [(row.number, len(row.folded)) for row in folded.layers if row.folded] == [(1, 4)]
    text = 4 * ("[implicit_add]\nfilters=4\n") + CONV.format(4, 1)
    picture = describe_picture(graph_of(text, dialect="yolor", image=(3, 8, 8)))
    assert fold_picture(picture) == picture


def texts(node: ElementTree.Element) -> list[str]:
    return [found.text or "" for found in node.iter(f"{SVG}text")]


def test_an_svg_is_xml_with_one_shape_for_each_layer_and_one_path_for_each_link() -> None:
    picture = picture_of(ROOT / "cfg/yolor_csp.cfg")
    root = ElementTree.fromstring(draw_svg(arrange(picture)))
    layers = [one for one in root.iter(f"{SVG}g") if "data-number" in one.attrib]
    assert [int(one.attrib["data-number"]) for one in layers] == list(range(-1, 188))
    assert texts(layers[1])[:] == ["0", "convolutional 3x3/1", "32x640x640"]
    paths = [one.attrib for one in root.iter(f"{SVG}path") if "data-source" in one.attrib]
    found = {(int(one["data-source"]), int(one["data-target"])) for one in paths}
    assert found == {link[:2] for link in picture.links}
    assert "prefers-color-scheme: dark" in "".join(style.text or "" for style in root.iter(f"{SVG}style"))


def test_a_layer_with_more_multiply_adds_has_a_stronger_shade() -> None:
    picture = picture_of(ROOT / "cfg/yolor_csp.cfg")
    root = ElementTree.fromstring(draw_svg(arrange(picture)))
    shades = {
        int(one.attrib["data-number"]): int(one.attrib["class"].rpartition("c")[2])
        for one in root.iter(f"{SVG}g")
        if "data-number" in one.attrib
    }
    ordered = sorted(picture.layers, key=lambda layer: layer.macs)
    assert [shades[layer.number] for layer in ordered] == sorted(shades.values())
    assert all((shades[layer.number] == 0) == (layer.macs == 0) for layer in ordered)
    assert max(shades.values()) == 8


ODD = 'a "b" <c> & \\d {e} [f] #1;.cfg'


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    path = tmp_path / ODD
    path.write_text(CFG)
    return path


def test_any_file_name_is_a_title_in_svg(odd: Path) -> None:
    root = ElementTree.fromstring(draw_picture(load_graph(odd), ".svg"))
    assert root.findtext(f"{SVG}title") == odd.stem and odd.stem in texts(root)


DOT_TOKEN = re.compile(r'\s*(?:("(?:[^"\\]|\\.)*")|(->|[{}\[\];=,])|([A-Za-z_]\w*|-?\d+(?:\.\d+)?))')


def read_dot(text: str) -> tuple[dict[str, dict[str, str]], list[tuple[str, str]], str]:
    """Nodes with attributes, edges and the name of a graph, by DOT's grammar; fails on anything else."""
    tokens, place = [], 0
    while text[place:].strip():
        found = DOT_TOKEN.match(text, place)
        assert found, text[place : place + 60]
        tokens.append(found.group(0).strip())
        place = found.end()
    nodes: dict[str, dict[str, str]] = {}
    edges: list[tuple[str, str]] = []
    assert tokens.pop(0) == "digraph"
    name = tokens.pop(0)
    rest = read_statements(tokens, nodes, edges)
    assert rest == []
    return nodes, edges, name


def read_statements(
    tokens: list[str], nodes: dict[str, dict[str, str]], edges: list[tuple[str, str]]
) -> list[str]:
    """What is left behind the closing brace of the statements."""
    assert tokens[0] == "{"
    tokens = tokens[1:]
    while tokens[0] != "}":
        if tokens[0] == "subgraph":
            tokens = read_statements(tokens[2:], nodes, edges)
            continue
        end = tokens.index(";")
        statement, tokens = tokens[:end], tokens[end + 1 :]
        target = statement[2] if statement[1] == "->" else ""
        given = statement[3:] if target else statement[1:]
        assert given[0] == "[" and given[-1] == "]"
        words = given[1:-1]
        assert all(word == "=" for word in words[1::4]) and all(word == "," for word in words[3::4])
        attributes = dict(zip(words[::4], words[2::4], strict=True))
        if target:
            edges.append((statement[0], target))
        elif statement[0] not in ("graph", "node", "edge"):
            nodes[statement[0]] = attributes
    return tokens[1:]


@pytest.mark.parametrize("name", ["yolor_csp", "yolor_nano", "u5r5_s"])
def test_dot_has_all_layers_and_links_and_obeys_its_grammar(name: str) -> None:
    picture = picture_of(ROOT / "cfg" / f"{name}.cfg")
    nodes, edges, _ = read_dot(write_dot(picture))
    assert set(nodes) == {layer.key for layer in picture.layers}
    assert nodes["layer0"]["label"].startswith(f'"#0 {picture.layers[1].name}\\n')
    keys = {layer.number: layer.key for layer in picture.layers}
    assert edges == [(keys[link.source], keys[link.target]) for link in picture.links]


def test_any_file_name_is_a_title_in_dot(odd: Path) -> None:
    *_, name = read_dot(write_dot(picture_of(odd)))
    assert name == '"a \\"b\\" <c> & \\\\d {e} [f] #1;"'


MERMAID_LINES = [
    re.compile(r"flowchart TB"),
    re.compile(r'  subgraph (?P<stage>stage\d+)\["[^"\[\]{}()<>]+"\]'),
    re.compile(r'    (?P<key>\w+)\(?\["(?:[^"\[\]{}()<>]|<br/>)+"\]\)?:::(?P<used>\w+)'),
    re.compile(r"  end"),
    re.compile(r"  (?P<source>\w+) (?:-->|-\.->) (?P<target>\w+)"),
    re.compile(r"  classDef (?P<kind>\w+) (?:[\w-]+:[#\w]+,?)+"),
]


@pytest.mark.parametrize("name", ["yolor_csp", "yolor_nano", "u5r5_s"])
def test_mermaid_has_all_layers_and_links_and_only_lines_of_a_flowchart(name: str) -> None:
    picture = picture_of(ROOT / "cfg" / f"{name}.cfg")
    found: dict[str, list[object]] = {"key": [], "link": [], "used": [], "kind": []}
    for line in write_mermaid(picture).splitlines():
        parts = next(match for kind in MERMAID_LINES if (match := kind.fullmatch(line))).groupdict()
        for part in ("key", "used", "kind"):
            found[part] += [parts[part]] if part in parts else []
        found["link"] += [(parts["source"], parts["target"])] if "source" in parts else []
    assert found["key"] == [layer.key for layer in picture.layers]
    keys = {layer.number: layer.key for layer in picture.layers}
    assert found["link"] == [(keys[link.source], keys[link.target]) for link in picture.links]
    assert set(found["used"]) == set(found["kind"])


def test_tasks_are_marked(tmp_path: Path) -> None:
    graph = build_graph(parse(TASKS, "tasks.cfg"))
    picture = describe_picture(graph)
    assert picture.tasks == ("day", "night")
    assert [layer.tasks for layer in picture.layers] == [(), (), ("day", "night"), (), (), (), ()]
    assert "tasks: day, night" in write_dot(picture) and "tasks: day, night" in write_mermaid(picture)
    root = ElementTree.fromstring(draw_svg(arrange(picture)))
    assert {"task day", "task night"} < set(texts(root))
    layer = next(one for one in root.iter(f"{SVG}g") if one.attrib.get("data-number") == "1")
    assert len({one.attrib["fill"] for one in layer.iter(f"{SVG}rect") if "fill" in one.attrib}) == 2


def test_the_command_takes_the_suffixes_that_are_drawn() -> None:
    assert SUFFIXES == tuple(FORMATS)


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".SVG"])
def test_the_command_writes_the_picture_and_prints_the_totals(cfg: Path, suffix: str) -> None:
    out = cfg.with_suffix(suffix)
    done = yolor("info", cfg, "--graph", out)
    assert done.exit_code == 0 and done.stderr.endswith(f"{out}: written\n")
    assert out.read_text() == draw_picture(load_graph(cfg), suffix.lower())
    assert done.stdout.startswith("dialect") and "parameters" in done.stdout
    assert json.loads(yolor("info", cfg, "--graph", out, "--force", "--json").stdout)["picture"] == str(out)


def test_an_existing_file_is_overwritten_by_force_alone(cfg: Path) -> None:
    out = cfg.with_suffix(".svg")
    out.write_text("mine")
    done = yolor("info", cfg, "--graph", out)
    assert done.exit_code == 1 and "exists already" in done.stderr and "--force" in done.stderr
    assert out.read_text() == "mine" and done.stdout == ""
    assert yolor("info", cfg, "--graph", out, "--force").exit_code == 0
    assert out.read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("--graph", "out.png"), "end the name in .html, .svg, .dot, .mermaid, .mmd"),
        (("--graph", "out"), "end the name in"),
        (("--graph", "folder.svg/"), "end the name in"),
        (("--force",), "--force is for the file of --graph"),
        (("--sections", "--graph", "out.svg"), "not --sections"),
    ],
)
def test_wrong_usage_is_told(cfg: Path, args: tuple[str, ...], told: str) -> None:
    done = yolor("info", cfg, *args)
    assert done.exit_code == 2 and told in done.stderr


def test_a_folder_that_is_missing_is_told(cfg: Path) -> None:
    done = yolor("info", cfg, "--graph", cfg.parent / "none" / "out.svg")
    assert done.exit_code == 1 and "create the folder" in done.stderr


def test_a_picture_of_a_cfg_needs_no_library_of_numbers(cfg: Path) -> None:
    code = "import sys; from yolor_cfg.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
    code += "print({'torch', 'numpy', 'cv2', 'matplotlib'} & set(sys.modules))"
    out = cfg.with_suffix(".html")
    args = [sys.executable, "-c", code, "info", str(cfg), "--graph", str(out)]
    done = subprocess.run(args, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n") and out.exists()


def drawn_numbers(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r'data-number="(-?\d+)"', path.read_text())]


def test_a_checkpoint_a_task_and_a_folded_network_are_drawn(tmp_path: Path) -> None:
    graph: Graph = build_graph(parse(TASKS, "tasks.cfg"))
    weights, out = tmp_path / "tasks.pt", tmp_path / "out.svg"
    save_checkpoint(Network(graph), weights, names=("a", "b"))
    assert yolor("info", weights, "--graph", out).exit_code == 0
    assert drawn_numbers(out) == list(range(-1, 6)) and ">task day<" in out.read_text()
    assert yolor("info", weights, "--task", "day", "--graph", out, "--force").exit_code == 0
    assert drawn_numbers(out) == list(range(-1, 6)) and ">task night<" not in out.read_text()
    done = yolor("info", weights, "--task", "day", "--folded", "--graph", out, "--force")
    assert done.exit_code == 0, done.output
    assert (
        drawn_numbers(out) == [-1, 0, 1, 2, 3] and "implicit" not in out.read_text().partition("</style>")[2]
    )


@pytest.mark.slow
def test_every_network_of_the_corpus_has_a_picture(shared: Path) -> None:
    drawn = 0
    for path in sorted((shared / "corpus/cfg").glob("*.cfg")):
        try:
            graph = load_graph(path)
        except CfgError:
            continue
        picture = describe_picture(graph)
        assert len(picture.layers) == len(graph.nodes) + 1
        ElementTree.fromstring(draw_svg(arrange(picture)))
        assert len(read_dot(write_dot(picture))[0]) == len(picture.layers)
        drawn += 1
    assert drawn > 200


def test_the_picture_in_the_docs_is_the_one_that_is_drawn() -> None:
    drawn = draw_picture(load_graph(ROOT / "cfg/yolor_micro.cfg"), ".svg")
    assert (ROOT / "docs/yolor_micro.svg").read_text() == drawn
