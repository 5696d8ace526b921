"""The losses of several data sets in one batch: what is not labelled is not taught, and what weighs."""

import json
import math

import pytest
import torch
import training
from dist_runs import run_in
from test_several_data import write_half

from yolor_cfg.data.types import DataPart
from yolor_cfg.errors import CfgError
from yolor_cfg.graph import ReadOptions, build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.train.loss import ImageSources, Lessons, LossRules, detection_loss, loss_by_source
from yolor_cfg.train.losses.partial import UnlabeledRules
from yolor_cfg.train.losses.terms import TERMS, LossTerms, parse_factors
from yolor_cfg.train.run import LAST

pytestmark = pytest.mark.usefixtures("one_thread", "blank_charts")

NET = "[net]\nwidth=32\nheight=32\nchannels=3\n{}"
NET += "[convolutional]\nfilters={}\nsize=8\nstride=8\nactivation=linear\n"
ANCHORS = "mask=0,1\nnum=2\nanchors=6,6, 14,14\nclasses=3\n"
HEADS = {
    "yolor": NET.format("dialect=yolor\n", 16) + "[yolo]\n" + ANCHORS,
    "yolo": NET.format("", 16) + "[yolo]\n" + ANCHORS,
    "gaussian": NET.format("", 24) + "[Gaussian_yolo]\n" + ANCHORS,
    "region": NET.format("", 16) + "[region]\nclasses=3\nnum=2\ncoords=4\nanchors=1,1, 2,2\nsoftmax=0\n",
    "softmax": NET.format("", 16) + "[region]\nclasses=3\nnum=2\ncoords=4\nanchors=1,1, 2,2\nsoftmax=1\n",
}
VALUES = {"yolor": 8, "yolo": 8, "gaussian": 12, "region": 8, "softmax": 8}


def build(text: str) -> Network:
    torch.manual_seed(3)
    return Network(build_graph(parse(text, "small.cfg"), ReadOptions()))


def part(first: int, known: tuple[int, ...], **more) -> DataPart:
    names = ("a", "b", "c")
    return DataPart(f"set{first}", "", more.pop("task", ""), first, 1, names, known, **more)


def head_map(network: Network, kind: str, *, images: int = 2) -> torch.Tensor:
    """A random map of the head [N, A, H, W, V], with gradients."""
    torch.manual_seed(5)
    raw = network(torch.rand(images, 3, 32, 32))[0].detach()
    return torch.randn(raw.shape).requires_grad_()


TARGETS = torch.tensor([[0, 0, 0.4, 0.4, 0.3, 0.3], [1, 1, 0.6, 0.6, 0.4, 0.4]])


def gradient(network, raw, parts, rows, *, rules: LossRules) -> torch.Tensor:
    raw = raw.detach().requires_grad_()
    sources = ImageSources(torch.tensor(rows), parts)
    loss_by_source([raw], Lessons(TARGETS), network, rules=rules, sources=sources).total.backward()
    assert raw.grad is not None
    return raw.grad


RULES = LossRules(seen=10**6)
WHOLE, PARTIAL = part(0, (0, 1, 2)), part(1, (0, 1))


@pytest.mark.parametrize("kind", HEADS)
def test_two_data_sets_that_label_everything_are_two_batches(kind):
    network = build(HEADS[kind])
    raw = head_map(network, kind)
    sources = ImageSources(torch.tensor([0, 1]), (part(0, (0, 1, 2)), part(1, (0, 1, 2))))
    found = loss_by_source([raw], Lessons(TARGETS), network, rules=RULES, sources=sources)
    each = [
        detection_loss([raw[i : i + 1]], TARGETS[i : i + 1] - torch.eye(6)[0] * i, network, rules=RULES)
        for i in range(2)
    ]
    torch.testing.assert_close(found.total, sum(one.total for one in each))
    for name in ("box", "objectness", "classes"):
        mean = sum(getattr(one, name) for one in each) / 2
        torch.testing.assert_close(getattr(found, name), mean)
    for source, one in zip(found.sources, each, strict=True):
        assert float(source.images) == 1
        torch.testing.assert_close(torch.stack(source.parts), torch.stack(one.parts[:5]))


@pytest.mark.parametrize("kind", HEADS)
def test_a_data_set_that_no_process_has_an_image_of_gives_no_loss(kind):
    network = build(HEADS[kind])
    raw = head_map(network, kind)
    alone = detection_loss([raw], TARGETS, network, rules=RULES)
    sources = ImageSources(torch.tensor([1, 1]), (part(0, (0, 1, 2)), part(1, (0, 1, 2))))
    found = loss_by_source([raw], Lessons(TARGETS), network, rules=RULES, sources=sources)
    torch.testing.assert_close(found.total, alone.total)
    assert [float(one.images) for one in found.sources] == [0, 2]


@pytest.mark.parametrize("kind", HEADS)
def test_a_process_without_an_image_of_a_data_set_computes_along(kind):
    """As in two processes, of which the other has one image of each."""
    network = build(HEADS[kind])
    raw = head_map(network, kind)
    rules = RULES._replace(all_reduce=lambda counts: counts + (1 if len(counts) > 1 else 0))
    sources = ImageSources(torch.tensor([0, 0]), (WHOLE, PARTIAL))
    found = loss_by_source([raw], Lessons(TARGETS), network, rules=rules, sources=sources)
    found.total.backward()
    assert found.total.isfinite() and torch.isfinite(raw.grad).all()


@pytest.mark.parametrize("kind", HEADS)
def test_with_mask_objects_teach_nothing_of_a_class_that_is_not_labelled(kind):
    network = build(HEADS[kind])
    raw = head_map(network, kind)
    masked = RULES._replace(unlabeled=UnlabeledRules(classes="mask"))
    negative = gradient(network, raw, (WHOLE, PARTIAL), (0, 1), rules=RULES._replace(unlabeled=None))
    found = gradient(network, raw, (WHOLE, PARTIAL), (0, 1), rules=masked)
    assert negative[1, ..., -1].abs().max() > 0 and found[1, ..., -1].abs().max() == 0
    assert torch.equal(found[0], negative[0])
    assert found[1, ..., -3:-1].abs().max() > 0


@pytest.mark.parametrize("kind", ["yolor", "yolo", "gaussian", "region"])
def test_with_spare_they_do_unless_the_network_finds_it(kind):
    network = build(HEADS[kind])
    raw = head_map(network, kind).detach()
    off, on = (-3.0, 3.0) if kind != "region" else (0.1, 0.9)
    for value, taught in ((off, True), (on, False)):
        raw[1, ..., -1] = value
        found = gradient(network, raw, (WHOLE, PARTIAL), (0, 1), rules=RULES)
        assert bool(found[1, ..., -1].abs().max() > 0) == taught
    labelled = gradient(network, raw, (WHOLE, WHOLE), (0, 1), rules=RULES)
    assert labelled[1, ..., -1].abs().max() > 0


@pytest.mark.parametrize("kind", HEADS)
def test_what_looks_like_an_unlabelled_object_is_not_taught_to_be_background(kind):
    network = build(HEADS[kind])
    raw = head_map(network, kind).detach()
    objectness = VALUES[kind] - 4
    strange = (1, 0, 0, 0)  # far from any label
    raw[strange][objectness] = 2.0
    raw[strange][-3:] = torch.tensor([-4.0, -4.0, 4.0]) if kind != "region" else torch.tensor([0, 0, 0.9])
    for known, taught in (((0, 1, 2), True), ((0, 1), False)):
        found = gradient(network, raw, (WHOLE, part(1, known)), (0, 1), rules=RULES)
        assert bool(found[strange][objectness] > 0) == taught
    raw[strange][-3:] = raw[strange][-3:].flip(0)
    found = gradient(network, raw, (WHOLE, PARTIAL), (0, 1), rules=RULES)
    assert found[strange][objectness] > 0


def test_an_object_of_a_class_that_is_not_all_labelled_is_taught_itself():
    network = build(HEADS["yolor"])
    raw = head_map(network, "yolor")
    masked = RULES._replace(unlabeled=UnlabeledRules(classes="mask"))
    found = gradient(network, raw, (part(0, (1, 2)), WHOLE), (0, 1), rules=masked)
    assert found[0, ..., 5].min() < 0 and found[0, ..., 5].max() == 0


LABELS = NET.format("", 3) + "[avgpool]\n[{}]\n"


@pytest.mark.parametrize(("kind", "learns"), [("logistic", False), ("softmax", True)])
def test_image_labels_of_any_number_say_nothing_of_other_classes_a_single_one_does(kind, learns):
    network = build(LABELS.format(kind))
    raw = network(torch.rand(2, 3, 32, 32))[0].detach().requires_grad_()
    truth = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    sources = ImageSources(torch.tensor([0, 1]), (WHOLE, PARTIAL))
    lessons = Lessons(None, truth)
    loss_by_source([raw], lessons, network, rules=RULES, sources=sources).total.backward()
    grad = raw.grad.flatten(1)
    assert (grad[0] != 0).all() and (grad[1, :2] != 0).all()
    assert bool(grad[1, 2] != 0) == learns


def test_images_without_boxes_teach_the_heads_of_boxes_nothing():
    network = build(HEADS["yolor"] + LABELS_BEHIND)
    raws = [raw.detach().requires_grad_() for raw in network(torch.rand(2, 3, 32, 32))]
    lessons = Lessons(TARGETS[:1], torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]))
    sources = ImageSources(torch.tensor([0, 1]), (WHOLE, part(1, (0, 1, 2), has_boxes=False)))
    loss_by_source(raws, lessons, network, rules=RULES, sources=sources).total.backward()
    assert raws[0].grad[0].abs().max() > 0 and raws[0].grad[1].abs().max() == 0
    assert (raws[1].grad != 0).all()


LABELS_BEHIND = (
    "[route]\nlayers=-2\n[convolutional]\nfilters=3\nsize=1\nactivation=linear\n[avgpool]\n[logistic]\n"
)


def test_learned_weights_are_exp_minus_s_of_each_kind():
    network = build(HEADS["yolor"] + LABELS_BEHIND)
    raws = network(torch.rand(2, 3, 32, 32))
    truth = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    plain = detection_loss(raws, TARGETS, network, rules=RULES, truth=truth)
    network.add_module(TERMS, LossTerms(("boxes", "labels")))
    terms = network.get_submodule(TERMS)
    assert detection_loss(raws, TARGETS, network, rules=RULES, truth=truth).total == plain.total
    with torch.no_grad():
        terms.s.copy_(torch.tensor([0.5, -1.0]))
    found = detection_loss(raws, TARGETS, network, rules=RULES, truth=truth)
    boxes, labels = 2 * (plain.box + plain.objectness + plain.classes), 2 * plain.labels
    wanted = math.exp(-0.5) * boxes + math.e * labels + 2 * 0.5 - 2 * 1.0
    torch.testing.assert_close(found.total, wanted)
    found.total.backward()
    slopes = torch.stack([2 - math.exp(-0.5) * boxes, 2 - math.e * labels])
    torch.testing.assert_close(terms.s.grad, slopes)


def test_fixed_factors_scale_their_kind_alone_and_strange_ones_are_refused():
    network = build(HEADS["yolor"] + LABELS_BEHIND)
    raws = network(torch.rand(2, 3, 32, 32))
    truth = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    factors = parse_factors("labels=3,boxes=0.5", ("boxes", "labels"))
    one, other = (
        detection_loss(raws, TARGETS, network, rules=RULES._replace(factors=given), truth=truth)
        for given in ({}, factors)
    )
    torch.testing.assert_close(
        torch.stack(other.parts[:4]), torch.stack(one.parts[:4]) * torch.tensor([0.5, 0.5, 0.5, 3])
    )
    for text in ("labels", "labels=-1", "labels=nan", "masks=1", "labels=1;boxes=2"):
        with pytest.raises(CfgError, match="not a weight of a loss"):
            parse_factors(text, ("boxes", "labels"))


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    root = tmp_path_factory.mktemp("both")
    first = write_half(root / "one", "disc, square, triangle", count=15)
    return str(first), str(write_half(root / "two", "star, ring, cross", count=10, seed=1))


def test_a_run_on_two_data_sets_stopped_and_resumed_ends_bit_equal(both, tmp_path, monkeypatch):
    said = training.options(tmp_path, tmp_path, epochs=2, optimizer="adamw", val_period=2, update_batch=12)
    said = said._replace(data=both, data_weights=(1.0, 2.0), loss_weights="learned")
    whole = training.check_resume(said, tmp_path / "runs", monkeypatch, stop=3)
    rows = (whole.folder / "metrics.jsonl").read_text().splitlines()
    last = json.loads(rows[-1])
    assert last["s(boxes)"] != 0 and last["one.loss"] > 0 and last["two.AP"] >= 0
    assert last["AP"] == pytest.approx((last["one.AP"] + last["two.AP"]) / 2)
    saved = torch.load(whole.folder / LAST, weights_only=True)["training"]["network"]
    assert saved[f"{TERMS}.s"].tolist() == [pytest.approx(last["s(boxes)"], abs=1e-6)]


@pytest.mark.slow
def test_two_processes_train_on_two_data_sets_as_one_does(both, tmp_path):
    said = training.options(tmp_path, tmp_path, batch_size=4, epochs=2, sync_bn=True, val_period=2)
    said = said._replace(data=both, loss_weights="learned")
    folders = [run_in(world, said, tmp_path) for world in (1, 2)]
    one, two = (training.weights_of(folder / LAST) for folder in folders)
    for name in [name for name in two if not name.startswith("optimizer.")]:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-4, msg=name)
    rows = [json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1]) for folder in folders]
    assert rows[0].keys() == rows[1].keys()
    for name in ("one.loss", "two.loss", "s(boxes)", "one.AP", "two.AP"):
        assert rows[1][name] == pytest.approx(rows[0][name], rel=1e-3, abs=1e-4)
