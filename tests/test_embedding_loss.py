"""The losses of embeddings: JDE's against its own numbers, ours against formulas written out."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from yolor_cfg.graph import ReadOptions, build_graph, load_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.train.identities import Identities, add_learner, learner_tensors
from yolor_cfg.train.loss import BatchLoss, LossRules, detection_loss, initialize_biases
from yolor_cfg.train.losses.embedding import KnownCells, triplet_loss
from yolor_cfg.train.losses.jde import assign
from yolor_cfg.train.schedule import CosineHyperparameters, JdeSteps

NET = "[net]\nwidth=32\nheight=32\nchannels=3\ndialect=yolor\n"
HEAD = (
    "[convolutional]\nfilters={filters}\nsize=8\nstride=8\n"
    "[{name}]\nmask=0,1\nnum=2\nclasses=2\nanchors=9,9, 14,14\n"
)
PARTS = ("s_c", "s_r", "s_id")


def own_network(keys: str = "", *, embedding: int = 3) -> Network:
    torch.manual_seed(1)
    text = (
        NET + HEAD.format(filters=14 + embedding, name="jde") + f"embedding={embedding}\n" * bool(embedding)
    )
    return Network(build_graph(parse(text + keys)))


def jde_case(shared: Path) -> tuple[Network, dict[str, np.ndarray], torch.Tensor, torch.Tensor]:
    """The network with the recorded weights of its losses, the numbers, targets and identities."""
    numbers = dict(np.load(shared / "golden/forks/jde_yolo.npz"))
    network = Network(load_graph(shared / "golden/forks/jde_yolo.cfg"))
    add_learner(network, Identities(7))
    own = learner_tensors(network)
    with torch.no_grad():
        for name in ("weight", "bias"):
            own[f"classifier.{name}"].copy_(torch.from_numpy(numbers[f"classifier_{name}"]))
        for index in (8, 16):
            for part, value in zip(PARTS, numbers[f"s_{index}"], strict=True):
                own[f"module_list.{index}.yolo_{index}.{part}"].fill_(float(value))
    rows, who = [], []
    for image, count in enumerate(numbers["targets_len"].astype(int).ravel()):
        for label, identity, *box in numbers["targets"][image, :count]:
            rows.append([image, label, *box])
            who.append(int(identity))
    return network, numbers, torch.tensor(rows), torch.tensor(who)


def test_jde_assigns_as_recorded(shared: Path) -> None:
    network, numbers, targets, who = jde_case(shared)
    for index in (8, 16):
        head = network.module_list[index]
        raw = head.box_map(torch.from_numpy(numbers[f"train_in_{index}"]))
        found = assign(raw, head, targets=targets, identities=who)
        mine = found.confidence > 0
        assert torch.equal(found.confidence, torch.from_numpy(numbers[f"tconf_{index}"]))
        assert torch.equal(found.identity, torch.from_numpy(numbers[f"tid_{index}"]).view_as(found.identity))
        wanted = torch.from_numpy(numbers[f"tbox_{index}"])
        torch.testing.assert_close(found.boxes[mine], wanted[mine], rtol=0, atol=1e-6)


def test_the_loss_and_all_gradients_of_jde_are_those_recorded(shared: Path) -> None:
    network, numbers, targets, who = jde_case(shared)
    raws = [torch.from_numpy(numbers[f"train_in_{index}"]).requires_grad_() for index in (8, 16)]
    found = detection_loss(raws, targets, network, rules=LossRules(), identities=who)
    loss = found.total / 2  # a sum over the images
    assert loss.item() == pytest.approx(numbers["train_loss"].item(), abs=1e-5)
    assert 2 * sum(part.item() for part in found.parts) == pytest.approx(found.total.item(), rel=1e-6)
    loss.backward()
    for raw, index in zip(raws, (8, 16), strict=True):
        assert raw.grad is not None
        torch.testing.assert_close(
            raw.grad, torch.from_numpy(numbers[f"train_grad_{index}"]), rtol=0, atol=1e-6
        )
        own = learner_tensors(network)
        found_s = [own[f"module_list.{index}.yolo_{index}.{part}"].grad.item() for part in PARTS]
        assert found_s == pytest.approx(numbers[f"s_grad_{index}"].tolist(), abs=1e-5)


def test_jde_learns_nothing_from_unknown_identities_where_its_own_mean_is_not_a_number(shared: Path) -> None:
    network, numbers, targets, who = jde_case(shared)
    raws = [torch.from_numpy(numbers[f"train_in_{index}"]) for index in (8, 16)]
    found = detection_loss(raws, targets, network, rules=LossRules(), identities=torch.full_like(who, -1))
    s_id = [numbers[f"s_{index}"][2] for index in (8, 16)]
    assert found.identity.item() == pytest.approx(sum(s_id) / 2, abs=1e-6)


def test_the_schedule_of_jde() -> None:
    rates = JdeSteps(CosineHyperparameters(lr0=0.01, momentum=0.9), epochs=30, batches=2000, batch_size=8)
    found = [rates(batch).other for batch in (0, 500, 1000, 14 * 2000, 15 * 2000, 21 * 2000, 22 * 2000)]
    assert found == pytest.approx([0, 0.01 * 0.5**4, 0.01, 0.01, 0.001, 0.001, 0.0001])
    assert rates(0) == (0, 0, 0.9, 1)


# ------------------------------------------------------------------------------------------ our own form

TARGETS = torch.tensor(
    [
        [0, 0, 0.15, 0.15, 0.3, 0.3],
        [0, 1, 0.8, 0.8, 0.4, 0.4],
        [1, 1, 0.5, 0.4, 0.3, 0.4],
        [1, 0, 0.5, 0.9, 0.3, 0.2],
    ]
)
WHO = torch.tensor([4, 0, 4, -1])


def raw_map(network: Network) -> torch.Tensor:
    return torch.randn(2, 17, 4, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)


def loss_of(network: Network, raw: torch.Tensor, who: torch.Tensor | None = WHO) -> BatchLoss:
    return detection_loss([raw], TARGETS, network, rules=LossRules(), identities=who)


def claims() -> dict[tuple[int, int, int], set[int]]:
    """The identities that each cell is claimed by, by YOLOR's rule written out: any of the anchors fits by
    less than a factor of 4; the cell of the centre and the two nearest neighbours."""
    found: dict[tuple[int, int, int], set[int]] = {}
    for (image, _, x, y, w, h), who in zip(TARGETS.tolist(), WHO.tolist(), strict=True):
        fits = any(max(32 * w / a, a / (32 * w), 32 * h / a, a / (32 * h)) < 4 for a in (9, 14))
        gx, gy = 4 * x, 4 * y
        cells = {(int(gy), int(gx))}
        if gx % 1 < 0.5 and gx > 1:
            cells.add((int(gy), int(gx) - 1))
        if gy % 1 < 0.5 and gy > 1:
            cells.add((int(gy) - 1, int(gx)))
        if gx % 1 > 0.5 and gx < 3:
            cells.add((int(gy), int(gx) + 1))
        if gy % 1 > 0.5 and gy < 3:
            cells.add((int(gy) + 1, int(gx)))
        if fits and who >= 0:
            for cell in cells:
                found.setdefault((int(image), *cell), set()).add(who)
    return found


def known(raw: torch.Tensor) -> KnownCells:
    alone = {cell: next(iter(who)) for cell, who in claims().items() if len(who) == 1}
    vectors = torch.stack([raw[image, 14:, row, column] for image, row, column in alone])
    return KnownCells(vectors, torch.tensor(list(alone.values())))


def test_without_identities_the_boxes_learn_as_those_of_yolo() -> None:
    network = own_network("learned_weights=0")
    raw = raw_map(network)
    found = loss_of(network, raw, None)
    text = NET + HEAD.format(filters=14, name="yolo")
    plain = detection_loss(
        [raw[:, :14].unflatten(1, (2, 7)).permute(0, 1, 3, 4, 2)],
        TARGETS,
        Network(build_graph(parse(text))),
        rules=LossRules(),
    )
    assert torch.equal(found.total, plain.total) and found.identity == 0
    assert torch.equal(torch.stack(found.parts[:3]), torch.stack(plain.parts[:3]))


def test_the_cross_entropy_is_that_of_the_cells_that_name_one_identity() -> None:
    network = own_network("learned_weights=0")
    add_learner(network, Identities(5))
    raw, own = raw_map(network), learner_tensors(network)
    cells = known(raw)
    unit = cells.vectors / cells.vectors.norm(dim=1, keepdim=True)
    scale = math.sqrt(2) * math.log(5 - 1)
    logits = scale * unit @ own["classifier.weight"].T + own["classifier.bias"]
    wanted = F.cross_entropy(logits, cells.identities) * 0.1 * 3  # the gain, and 3 heads' worth for one
    found = loss_of(network, raw)
    torch.testing.assert_close(found.identity, wanted.detach())
    found.total.backward()
    wanted_grad = torch.autograd.grad(2 * wanted, own["classifier.weight"])[0]
    torch.testing.assert_close(own["classifier.weight"].grad, wanted_grad)


def test_learned_weights_start_at_those_of_the_recipe_and_have_the_formula_of_jde() -> None:
    network, fixed = own_network(), own_network("learned_weights=0")
    add_learner(network, Identities(5))
    add_learner(fixed, Identities(5))
    with torch.no_grad():
        for name in ("weight", "bias"):
            own = learner_tensors(fixed)[f"classifier.{name}"]
            own.copy_(learner_tensors(network)[f"classifier.{name}"])
    raw = raw_map(network)
    plain, found = loss_of(fixed, raw), loss_of(network, raw)
    offset = -math.log(2) / 2
    for name in ("box", "objectness", "classes", "identity"):
        assert getattr(found, name).item() == pytest.approx(getattr(plain, name).item() + offset, abs=1e-6)
    found.total.backward()
    for name, part in (
        ("s_r", plain.box),
        ("s_c", plain.objectness),
        ("s_cls", plain.classes),
        ("s_id", plain.identity),
    ):
        # d/ds of images * (exp(-s) L + s) / 2 at s = -ln 2
        own = learner_tensors(network)[f"module_list.1.yolo_1.{name}"]
        assert own.grad.item() == pytest.approx(2 * (1 - 2 * part.item()) / 2, rel=1e-5)


def test_a_part_that_nothing_teaches_has_no_weight_that_learns() -> None:
    network = own_network()
    add_learner(network, Identities(5))
    raw = raw_map(network)
    loss_of(network, raw, torch.full_like(WHO, -1)).total.backward()
    assert learner_tensors(network)["module_list.1.yolo_1.s_id"].grad is None
    nothing = detection_loss([raw_map(network)], TARGETS[:0], network, rules=LossRules(), identities=WHO[:0])
    assert nothing.box == 0 and nothing.classes == 0 and nothing.identity == 0


@pytest.mark.parametrize("margin", [0.0, 0.3, 1.5])
def test_triplets_are_the_hardest_ones(margin: float) -> None:
    draw = torch.Generator().manual_seed(2)
    mine = KnownCells(
        torch.randn(7, 3, generator=draw, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 0, 5])
    )
    others = KnownCells(
        torch.cat([mine.vectors, torch.randn(3, 3, generator=draw, dtype=torch.float64)]),
        torch.cat([mine.identities, torch.tensor([0, 2, 9])]),
    )
    unit = [vector / vector.norm() for vector in others.vectors]
    total = 0.0
    for i in range(7):
        far = max(
            float((unit[i] - unit[j]).norm()) for j in range(10) if others.identities[j] == mine.identities[i]
        )
        near = min(
            float((unit[i] - unit[j]).norm()) for j in range(10) if others.identities[j] != mine.identities[i]
        )
        total += max(0.0, far - near + margin)
    assert triplet_loss(mine, others, margin).item() == pytest.approx(total, abs=1e-5)


def test_both_losses_add_up() -> None:
    values = {}
    for kind in ("ce", "triplet", "both"):
        network = own_network(f"learned_weights=0\nid_loss={kind}\nmargin=0.5")
        add_learner(network, Identities(5))
        values[kind] = loss_of(network, raw_map(network)).identity.item()
        assert ("classifier.weight" in learner_tensors(network)) == (kind != "triplet")
    assert values["triplet"] > 0 and values["both"] == pytest.approx(
        values["ce"] + values["triplet"], rel=1e-5
    )


def test_the_priors_of_the_biases_leave_the_embedding_alone() -> None:
    network = own_network()
    before = network.module_list[0].Conv2d.bias.detach().clone()
    assert initialize_biases(network) == ()
    moved = network.module_list[0].Conv2d.bias != before
    assert moved[14:].sum() == 0 and moved[:14].view(2, 7)[:, 4:].all()


def test_the_priors_are_found_before_a_route_that_joins_the_embedding() -> None:
    text = NET + HEAD.format(filters=14, name="jde").replace(
        "[jde]",
        "[route]\nlayers=-2\n[convolutional]\nfilters=3\nsize=8\nstride=8\n[route]\nlayers=-3,-1\n[jde]",
    )
    text = text.replace("[convolutional]", "[route]\nlayers=-1\n[convolutional]", 1).replace(
        "[route]\nlayers=-1\n", "[convolutional]\nfilters=3\nsize=1\n", 1
    )
    network = Network(build_graph(parse(text + "embedding=3\n")))
    before = network.module_list[1].Conv2d.bias.detach().clone()
    assert initialize_biases(network) == ()
    assert (network.module_list[1].Conv2d.bias != before).view(2, 7)[:, 4:].all()


def test_without_the_key_the_head_is_that_of_before() -> None:
    network = own_network(embedding=0)
    raw = network(torch.rand(1, 3, 32, 32))[0]
    assert raw.shape == (1, 2, 4, 4, 7) and not network.embeds
    add_learner(network, None)
    assert learner_tensors(network) == {}


def test_boxes_and_vectors_are_those_of_their_channels() -> None:
    network = own_network().eval()
    images = torch.rand(2, 3, 32, 32)
    raw = network([images][0])[0]
    text = NET + HEAD.format(filters=14, name="yolo")
    plain = Network(build_graph(parse(text))).eval()
    boxes = raw[:, :14].unflatten(1, (2, 7)).permute(0, 1, 3, 4, 2)
    for found, wanted in zip(network.decode([raw], least=0.3), plain.decode([boxes]), strict=True):
        assert torch.equal(found, wanted)
    vectors = network.embeddings([raw])
    assert torch.allclose(vectors.norm(dim=2), torch.ones(2, 32))
    number = 16 + 4 * 2 + 3  # the second anchor, row 2, column 3
    torch.testing.assert_close(vectors[1, number], F.normalize(raw[1, 14:, 2, 3], dim=0))
    chosen = network.embed_boxes([raw], [torch.tensor([5, 31]), torch.tensor([number])])
    torch.testing.assert_close(chosen[0], vectors[0, [5, 31]])
    torch.testing.assert_close(chosen[1], vectors[1, [number]])


def test_a_wrong_number_of_filters_is_told_with_the_embedding() -> None:
    from yolor_cfg.errors import CfgError

    text = NET + HEAD.format(filters=15, name="jde") + "embedding=3\n"
    with pytest.raises(CfgError, match="wrong number of channels") as caught:
        build_graph(parse(text), ReadOptions())
    assert caught.value.allowed == "filters=17" and "+ 3" in caught.value.hint
