"""Heat maps: gradients against finite differences, the layer against a search, the way back to the image, and
how often the maps of a trained network point at its objects."""

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_detector as tiny
import torch

from yolor_cfg import Detector
from yolor_cfg.detect.heat.gradients import explain
from yolor_cfg.detect.heat.layers import find_layer
from yolor_cfg.detect.heat.mapper import HeatChoice, HeatMapper
from yolor_cfg.detect.heat.maps import lay_over_image, make_spot, overlay_heat
from yolor_cfg.detect.image_labels import ImageLabel
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import Graph, build_graph, load_graph
from yolor_cfg.images.preprocess import NetworkInput, centre_crop, letterbox, stretch, yolor_letterbox
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network

ROOT = Path(__file__).resolve().parents[1]
NANO = ROOT / "weights/yolor_nano_shapes.pt"
NET = "[net]\nheight=32\nwidth=48\nchannels=3\n"
BODY = "".join(tiny.CONV.format(filters) for filters in (6, 8))
CONV = "[convolutional]\nfilters={}\nsize=3\npad=1\nactivation=linear\n"
HEADS = {
    "yolo": CONV.format(16) + "[yolo]\nmask=0,1\nnum=2\nclasses=3\nanchors=10,10, 20,20\n",
    "new_coords": CONV.format(16).replace("linear", "logistic")
    + "[yolo]\nmask=0,1\nnum=2\nclasses=3\nanchors=10,10, 20,20\nnew_coords=1\n",
    "gaussian": CONV.format(24) + "[Gaussian_yolo]\nmask=0,1\nnum=2\nclasses=3\nanchors=10,10, 20,20\n",
    "region": CONV.format(16) + "[region]\nnum=2\nclasses=3\nanchors=1,1, 2,2\nsoftmax=1\n",
    "jde": CONV.format(16) + "[jde]\nmask=0,1\nnum=2\nclasses=3\nanchors=10,10, 20,20\n",
    "softmax": CONV.format(4) + "[avgpool]\n[softmax]\n",
}


def seeded(text: str) -> Network:
    """A network in float64 whose weights are neither tiny nor large."""
    torch.manual_seed(3)
    network = Network(build_graph(parse(text))).double().eval()
    for tensor in network.parameters():
        torch.nn.init.normal_(tensor, 0, 0.25)
    return network


def score_of(network: Network, pixels: torch.Tensor, layer: int, change: torch.Tensor) -> torch.Tensor:
    """All scores of the first head where the layer's value is changed by so much."""
    handle = network.module_list[layer].register_forward_hook(lambda *values: values[2] + change)
    with torch.no_grad():
        raws = network(pixels[None])
    handle.remove()
    if not network.graph.box_heads:
        labels = network.labels(raws)
        assert labels is not None
        return labels
    found = network.decode(raws)
    return (found.objectness[..., None] * found.scores)[0]


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("layer", [0, 1])
def test_gradients_are_those_of_finite_differences(kind: str, layer: int) -> None:
    network = seeded(NET + BODY + HEADS[kind])
    pixels = torch.rand(3, 32, 48, dtype=torch.float64)
    found = explain(network, pixels, layer)
    scores = found.heads[0].scores
    assert torch.allclose(scores.detach(), score_of(network, pixels, layer, torch.zeros(())))
    place = int(scores.argmax())
    gradient = found.gradient(scores.flatten()[place])
    assert gradient.abs().max() > 1e-6
    for index in torch.randint(gradient.numel(), (12,)).tolist() + [int(gradient.abs().argmax())]:
        step = torch.zeros_like(gradient)
        step.view(-1)[index] = 1e-5
        above, below = (score_of(network, pixels, layer, sign * step).flatten()[place] for sign in (1, -1))
        assert float(gradient.flatten()[index]) == pytest.approx(
            float(above - below) / 2e-5, rel=1e-4, abs=1e-9
        )
    weighed = (gradient * found.value.detach()).sum(0).clamp(min=0)
    assert torch.equal(found.weigh(scores.flatten()[place]), weighed)


def test_a_map_leaves_the_network_as_it_was() -> None:
    network = seeded(NET + BODY + HEADS["yolo"])
    flags = [one.requires_grad for one in network.parameters()]
    explain(network, torch.rand(3, 32, 48, dtype=torch.float64), 1)
    assert [one.requires_grad for one in network.parameters()] == flags and all(flags)
    assert not any(layer._forward_hooks for layer in network.module_list)


def reaches_a_head(graph: Graph, without: int) -> bool:
    """Whether the image reaches a head on a way around this layer."""
    seeing = {-1}
    for node in graph.nodes:
        if node.index != without and seeing.intersection(node.sources):
            seeing.add(node.index)
    return any(head in seeing for head in graph.outputs)


@pytest.mark.parametrize(
    "name", ["yolor_micro", "yolor_csp_sss_dwt", "yolor_p6_paper", "yolov4_p7", "u5r5_s"]
)
def test_the_layer_is_the_last_that_no_way_leads_around(name: str) -> None:
    graph = load_graph(ROOT / f"cfg/{name}.cfg")
    cuts = [node.index for node in graph.nodes if not reaches_a_head(graph, node.index)]
    maps = [index for index in cuts if graph.nodes[index].shape.area > 1 and index not in graph.outputs]
    assert find_layer(graph) == max(maps) and len(maps) > 1


def test_a_layer_without_a_map_is_told() -> None:
    graph = build_graph(parse(NET + BODY + HEADS["softmax"]))
    assert find_layer(graph) == 2 and find_layer(graph, 1) == 1
    for layer, word in ((3, "no map"), (9, "no such layer"), (4, "no map")):
        with pytest.raises(CfgError, match=word):
            find_layer(graph, layer)
    with pytest.raises(CfgError, match="no layer has all"):
        find_layer(build_graph(parse(f"{NET}[avgpool]\n[softmax]\n")))


@pytest.mark.parametrize("size", [(40, 90), (120, 50), (64, 64)])
@pytest.mark.parametrize("given", [(64, 64), (48, 96)])
@pytest.mark.parametrize(
    "fit", [stretch, letterbox, yolor_letterbox, centre_crop], ids=["stretch", "letterbox", "yolor", "crop"]
)
def test_a_hot_cell_lies_where_its_box_lies(
    fit: Callable[[np.ndarray, tuple[int, int]], NetworkInput],
    given: tuple[int, int],
    size: tuple[int, int],
) -> None:
    """The middle of each cell, as a box of the input brought back like every box."""
    placement = fit(np.zeros((*size, 3), np.uint8), given).placement
    height, width = placement.input_size
    rows, columns = height // 8, width // 8
    seen = 0
    for row, column in np.ndindex(rows, columns):
        cells = np.zeros((rows, columns), np.float32)
        cells[row, column] = 1
        box = placement.to_image(np.array([[8 * column + 4.0, 8 * row + 4.0, 0, 0]]))[0]
        heat = lay_over_image(cells, placement)
        assert heat.shape == size
        inside = 4 <= box[0] < size[1] - 4 and 4 <= box[1] < size[0] - 4
        if not inside:
            continue
        y, x = np.mgrid[: size[0], : size[1]] + 0.5
        middle = [(axis * heat).sum() / heat.sum() for axis in (x, y)]
        assert middle == pytest.approx(box[:2].tolist(), abs=1.5)
        seen += 1
    assert seen >= 4


def test_what_a_crop_cut_off_has_no_heat() -> None:
    placement = centre_crop(np.zeros((64, 128, 3), np.uint8), (64, 64)).placement
    heat = lay_over_image(np.ones((8, 8), np.float32), placement)
    assert (heat[:, 32:96] == 1).all() and (heat[:, :31] == 0).all() and (heat[:, 97:] == 0).all()


def test_the_energy_of_a_box_is_its_share_of_the_map() -> None:
    heat = np.random.default_rng(0).random((20, 30)).astype(np.float32)
    spot = make_spot(0, heat, image_size=(200, 300), box=(50, 40, 120, 100))
    assert spot.energy_in_box == pytest.approx(heat[4:10, 5:12].sum() / heat.sum())
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert spot.peak_xy == (10 * column + 5, 10 * row + 5)
    empty = make_spot(0, np.zeros((4, 4), np.float32), image_size=(4, 4), box=(0, 0, 1, 1))
    assert empty.to_dict() == {"peak_xy": None}


def test_a_cold_image_is_seen_as_it_is() -> None:
    image = tiny.photo()
    assert np.array_equal(overlay_heat(image, [np.zeros((50, 70), np.float32)]), image)
    assert not np.array_equal(overlay_heat(image, [np.ones((50, 70), np.float32)]), image)


def test_maps_of_a_trained_network_point_at_its_objects(tmp_path: Path) -> None:
    """At chance a twentieth of them would. The figures of docs/heatmap.md are of 100 images."""
    assert tiny.yolor("data", "draw", tmp_path / "shapes", "--count", 12, "--kind", "coloured").exit_code == 0
    detector = Detector(NANO).explain(HeatChoice())
    hits, energies, areas = [], [], []
    for path in sorted((tmp_path / "shapes/images").glob("*.jpg")):
        found = detector(path)
        assert [spot.number for spot in found.heat.spots] == list(range(len(found)))
        for one, spot in zip(found, found.heat.spots, strict=True):
            left, top, right, bottom = np.clip(one.box, 0, 320)
            x, y = spot.peak_xy
            hits.append(left <= x <= right and top <= y <= bottom)
            energies.append(spot.energy_in_box)
            areas.append((right - left) * (bottom - top) / 320**2)
    assert len(hits) > 30 and np.mean(areas) < 0.1
    assert np.mean(hits) > 0.85 and np.mean(energies) > 0.5


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tiny.Files:
    monkeypatch.chdir(tmp_path)
    tiny.save(tmp_path / "a.png", tiny.photo())
    return tiny.write(tmp_path, tiny.text())


def lines(*args: object) -> list[dict]:
    done = tiny.yolor("detect", *args, "--json")
    assert done.exit_code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_json_names_the_picture_and_tells_of_each_detection(files: tiny.Files) -> None:
    (plain,) = lines(*files, "a.png", "--conf", "0.3")
    (one,) = lines(*files, "a.png", "--conf", "0.3", "--heatmap", "all", "--save-json", "--name", "hot")
    assert one["heatmap"] == "runs/detect/hot/a_heat.jpg"
    assert cv2.imread(one["heatmap"]).shape == (50, 70, 3)
    heats = [found.pop("heat") for found in one["detections"]]
    assert one["detections"] == plain["detections"] and len(heats) > 1
    assert all(0 <= heat["energy_in_box"] <= 1 for heat in heats if heat["peak_xy"])
    record = json.loads(Path("runs/detect/hot/detections.jsonl").read_text())
    assert record["heatmap"] == one["heatmap"] and record["detections"][0]["heat"] == heats[0]


def test_the_best_each_and_those_of_a_head(files: tiny.Files) -> None:
    (best,) = lines(*files, "a.png", "--heatmap", "best", "--conf", "0.3")
    assert ["heat" in found for found in best["detections"]].count(True) == 1 and "heat" in best[
        "detections"
    ][0]
    (each,) = lines(*files, "a.png", "--heatmap", "each", "--conf", "0.3")
    names = [found["heat"]["file"] for found in each["detections"]]
    assert len(set(names)) == len(names) and all(Path(name).is_file() for name in names)
    assert "heatmap" not in each
    (head,) = lines(*files, "a.png", "--heatmap", "0", "--conf", "0.3", "--heatmap-layer", "1", "--nosave")
    assert all("heat" in found for found in head["detections"])
    assert Path(head["heatmap"]).is_file()


def test_an_image_without_detections_has_no_picture(files: tiny.Files) -> None:
    (one,) = lines(*files, "a.png", "--heatmap", "all", "--conf", "1")
    assert one["detections"] == [] and one["heatmap"] is None
    assert not list(Path("runs").rglob("*_heat*"))


def test_heat_pictures_and_results_never_share_a_name(files: tiny.Files) -> None:
    tiny.save(Path("a_heat.jpg"), tiny.photo(seed=1))
    found = lines(*files, "a.png", "a_heat.jpg", "--heatmap", "all", "--conf", "0.3")
    names = sorted(path.name for path in Path("runs/detect/exp").glob("*.*g"))
    assert len(names) == 4 and len({one["heatmap"] for one in found}) == 2


def test_a_detection_of_a_head_before_the_layer_has_a_cold_map() -> None:
    """Nothing of the first head is behind a layer between the two: its scores have no gradient there."""
    network = seeded(NET + BODY + HEADS["yolo"] + "[route]\nlayers=1\n" + HEADS["yolo"])
    layer = next(node.index for node in network.graph.nodes if node.section.is_head) + 2
    explained = explain(network, torch.rand(3, 32, 48, dtype=torch.float64), layer)
    before, behind = (explained.weigh(head.scores.max()) for head in explained.heads)
    assert not before.any() and explained.gradient(explained.heads[1].scores.max()).any()
    assert before.shape == behind.shape


@pytest.mark.parametrize(
    ("args", "code", "word"),
    [
        (("--heatmap", "none"), 2, "none of all, best, each"),
        (("--heatmap-layer", "1"), 2, "goes with --heatmap"),
        (("--heatmap", "all", "--heatmap-layer", "99"), 2, "no such layer"),
        (("--heatmap", "7"), 2, "no such head"),
        (("--heatmap", "all", "--shard", "1/2"), 2, "leave out --heatmap"),
    ],
)
def test_what_cannot_be_is_told(files: tiny.Files, args: tuple[str, ...], code: int, word: str) -> None:
    done = tiny.yolor("detect", *files, "a.png", *args)
    assert done.exit_code == code and word in done.stderr, done.stderr


def test_an_exported_file_is_refused(files: tiny.Files) -> None:
    assert tiny.yolor("export", *files, "--format", "onnx", "--name", "out").exit_code == 0
    done = tiny.yolor("detect", "runs/export/out/model.onnx", "a.png", "--heatmap", "all")
    assert done.exit_code == 2 and "not an exported file" in done.stderr


def test_a_recurrent_network_is_refused(tmp_path: Path) -> None:
    cell = "[conv_lstm]\nbatch_normalize=1\nsize=3\npad=1\noutput=4\nactivation=leaky\n"
    files = tiny.write(tmp_path, NET + BODY + cell + HEADS["yolo"])
    tiny.save(tmp_path / "a.png", tiny.photo())
    done = tiny.yolor("detect", *files, tmp_path / "a.png", "--heatmap", "all")
    assert done.exit_code == 2 and "recurrent" in done.stderr


def test_a_classifier_shows_its_best_class_even_where_it_is_sure(tmp_path: Path) -> None:
    """A softmax of float32 would have no slope at such a probability."""
    files = tiny.write(tmp_path, NET + BODY + HEADS["softmax"])
    network = Network(load_graph(files.cfg))
    detector = Detector(files.cfg, files.weights)
    with torch.no_grad():
        detector.network.module_list[2].Conv2d.bias[1] += 25.0
        assert network.graph.label_heads
    found = detector.explain(HeatChoice())(tiny.photo())
    assert found.labels[0].score == 1.0
    (spot,) = found.heat.spots
    assert spot.peak_xy is not None and spot.map.max() == 1 and spot.energy_in_box is None
    each = detector.explain(HeatChoice("each"))(tiny.photo())
    assert len(each.heat.spots) == len(each.labels) and "heat" not in each.to_dict()["labels"][0]


def test_each_head_that_classifies_has_the_map_of_its_own_classes(tmp_path: Path) -> None:
    """The labels of the second count on from those of the first."""
    heads = f"{HEADS['softmax']}[route]\nlayers=1\n{CONV.format(3)}[avgpool]\n[softmax]\n"
    files = tiny.write(tmp_path, NET + BODY + heads)
    detector = Detector(files.cfg, files.weights, conf=0.0)
    graph = load_graph(files.cfg)
    first, second = (node.index for node in graph.label_heads)
    mapper = HeatMapper(detector.network, HeatChoice("each"))
    item = NetworkInput(torch.rand(3, 32, 48).numpy(), stretch(tiny.photo(), (32, 48)).placement)
    labels = tuple(ImageLabel(number, str(number), 0.5) for number in (5, 0, 6))
    found = replace(detector(tiny.photo()), labels=labels)
    network = mapper.network
    explained = explain(network, torch.from_numpy(item.pixels).double(), mapper.layer)
    scores = {one.head: one.scores[0] for one in explained.heads}
    wanted = {0: scores[second][5 - 4], 1: scores[first][0], 2: scores[second][6 - 4]}
    spots = mapper.explain(item, found).spots
    assert [spot.number for spot in spots] == [1, 0, 2]
    for spot in spots:
        heat = lay_over_image(explained.weigh(wanted[spot.number]).float().numpy(), item.placement)
        assert heat.max() > 0 and np.allclose(spot.map, heat / heat.max(), atol=1e-5)
    (only,) = HeatMapper(detector.network, HeatChoice("all", head=1)).explain(item, found).spots
    assert only.number == 0 and np.array_equal(only.map, spots[1].map)


def test_a_detector_with_maps_can_be_sliced_and_sent(files: tiny.Files) -> None:
    detector = pickle.loads(pickle.dumps(Detector(*files, conf=0.3).explain(HeatChoice("best"))))
    found = detector(tiny.photo())
    assert len(found.heat.spots) == 1 and found[:1].heat is None
    assert detector.explain(None)(tiny.photo()).heat is None


def test_images_in_tiles_have_no_maps(files: tiny.Files) -> None:
    with pytest.raises(CfgError, match="of whole images"):
        Detector(*files, tile=True).explain(HeatChoice())
    done = tiny.yolor("detect", *files, "a.png", "--heatmap", "all", "--tile")
    assert done.exit_code == 2 and "of whole images" in done.stderr
