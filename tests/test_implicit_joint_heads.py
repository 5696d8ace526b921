"""Table 3 in the paper's form: networks with two tasks run from cached values, their losses and starts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import implicit_joint_heads as joint
import implicit_networks
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from implicit_cache import CachedPictures, batch_targets, cache_values, draw_pictures
from implicit_learn import Lesson, sum_losses
from implicit_networks import end_at, find_levels
from implicit_stats import PairedDifference, seeds_for_equivalence
from implicit_task_tables import CONTRASTS, compare_networks, judge_contrasts

from yolor_cfg.data.shapes import IDENTITIES
from yolor_cfg.model import Network
from yolor_cfg.train.loss import BatchLoss, detection_loss

ROOT = Path(__file__).parents[1]
TASKS = ("detection", "JDC", "+ iJDC", "JDE", "+ iJDE")
PICTURES = draw_pictures(3, 5)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Network]]:
    """All with the starts of one seed, from files of this test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)  # the tools name files from the root
        for module in (implicit_networks, joint):
            patch.setattr(module, "WORK", tmp_path_factory.mktemp("starts"))
        patch.setattr(implicit_networks, "SEEDS", 1)
        yield {name: joint.make_joint(name, 0).eval() for name in joint.PLACES}


def cache_tips(network: Network) -> CachedPictures:
    return cache_values(network, PICTURES, [level.tip for level in find_levels(network)])


def loss_of_whole(network: Network, **more: Any) -> BatchLoss:
    targets = batch_targets(PICTURES.targets, range(3))
    return detection_loss(network(PICTURES.images), targets, network, rules=joint.TASK_RULES, **more)


@pytest.mark.parametrize("name", TASKS)
def test_cached_values_give_the_whole_networks_maps_and_loss(networks: dict[str, Network], name: str) -> None:
    network = networks[name]
    end, cached = end_at(network, "tip"), cache_tips(network)
    classes = [set(table[:, 0].int().tolist()) for table in PICTURES.targets]
    truth = torch.tensor([[float(k in its) for k in range(6)] for its in classes])
    with torch.no_grad():
        pairs = zip(end(cached.values), network(PICTURES.images), strict=True)
        assert all(torch.equal(*pair) for pair in pairs)
        lesson = Lesson([joint.joint_task(end, cached)], cached)
        want = loss_of_whole(network, truth=truth, identities=torch.cat(PICTURES.identities))
        assert torch.equal(sum_losses(lesson, range(3)), want.total / 3)


def test_a_second_task_adds_its_weighed_loss_alone(networks: dict[str, Network]) -> None:
    truth = joint.image_classes(cache_tips(networks["JDC"]))
    with torch.no_grad():
        # At the start both have the same boxes; `[jde]` weighs its parts once.
        alone = loss_of_whole(networks["detection"]).total
        labels = networks["JDC"](PICTURES.images)[-1].flatten(1).sigmoid()
        want = alone + 0.1 * F.binary_cross_entropy(labels, truth, reduction="sum")
        found = loss_of_whole(networks["JDC"], truth=truth).total
        assert found.item() == pytest.approx(want.item(), rel=1e-6)
        whole = loss_of_whole(networks["JDE"], identities=torch.cat(PICTURES.identities))
        # Box, objectness and classes of three levels and three images: (L / exp(-ln 2) - ln 2) / 2 each.
        assert whole.identity > 0
        boxes = whole.total - 3 * whole.identity
        assert boxes.item() == pytest.approx(alone.item() - 27 * math.log(2) / 2, rel=1e-5)


def test_networks_start_from_the_same_numbers(networks: dict[str, Network]) -> None:
    def shared(name: str) -> dict[str, torch.nn.Module]:
        network = networks[name]
        levels = {
            f"{n}.{part}": network.module_list[getattr(level, part)]
            for n, level in enumerate(find_levels(network))
            for part in ("features", "prediction")
        }
        return {**levels, **joint.name_modules(network)}

    every = shared("+ iJDE") | {"labels": shared("+ iJDC")["labels"]}
    for name in joint.PLACES:
        for key, module in shared(name).items():
            for kept, mine in module.state_dict().items():
                assert torch.equal(mine, every[key].state_dict()[kept]), (name, key, kept)
    assert shared("detection").keys() <= shared("JDC").keys() <= shared("+ iJDC").keys()
    aligned = {f"{level}.align" for level in range(3)}
    assert shared("detection, + iFA").keys() - shared("detection").keys() == aligned
    assert shared("+ iJDC").keys() - shared("JDC").keys() == aligned | {"2.own"}
    assert shared("+ iJDE").keys() - shared("JDE").keys() == aligned | {f"{level}.own" for level in range(3)}


def test_what_learns_is_the_heads_and_what_the_second_task_adds(networks: dict[str, Network]) -> None:
    added = {name: joint.start_joint(network).added for name, network in networks.items()}
    width = 80 + 112 + 160
    embedding = (width + 3) * 64 + 3 * 4 + 65 * IDENTITIES
    assert added == {
        "detection": 0,
        "detection, + iFA": width,
        "JDC": 161 * 6,
        "+ iJDC": 161 * 6 + width + 160,
        "JDE": embedding,
        "+ iJDE": embedding + 2 * width,
        "JDE, fixed weights": embedding - 3 * 4,
    }
    for network in networks.values():
        network.eval()


def test_an_object_has_the_vector_of_the_box_that_overlaps_it_most(networks: dict[str, Network]) -> None:
    network = networks["JDE"]
    with torch.no_grad():
        raws = network(PICTURES.images)
        boxes, vectors = network.decode(raws).boxes_xywh.double(), network.embeddings(raws)
        rows = joint.embed_objects(network, raws, pictures=cache_tips(network), images=range(3))
    row = iter(rows)
    for image, (table, identities) in enumerate(zip(PICTURES.targets, PICTURES.identities, strict=True)):
        for target, identity in zip(table, identities, strict=True):
            best = int(overlaps(target[1:].double() * 192, boxes[image]).argmax())
            want = [image, identity, *vectors[image, best].tolist()]
            assert next(row) == pytest.approx(np.array(want), abs=1e-6)
    assert next(row, None) is None


def overlaps(box: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """IoU of a box with others [B, 4], given by centre and size."""
    low = torch.maximum(box[:2] - box[2:] / 2, others[:, :2] - others[:, 2:] / 2)
    high = torch.minimum(box[:2] + box[2:] / 2, others[:, :2] + others[:, 2:] / 2)
    shared = (high - low).clamp(min=0).prod(1)
    return shared / (box[2:].prod() + others[:, 2:].prod(1) - shared)


def test_seeds_that_an_equivalence_needs() -> None:
    # Standard deviation 1, margin .5: of 52 pairs Student's t beyond .0125 and .1 is 2.310 and 1.298, and
    # 3.608 / sqrt 52 is .5003.
    one = PairedDifference(0.3, 1 / math.sqrt(5), 0, 0, 5)
    assert seeds_for_equivalence(one, 0.5, tests=4) == 53
    assert seeds_for_equivalence(one._replace(error=0.0), 0.5, tests=4) == 2


def test_contrasts_are_paired_by_seed() -> None:
    ap = {"detection": (0.60, 0.62), "JDC": (0.61, 0.60), "+ iJDC": (0.62, 0.61)}
    rows = [
        {"network": name, "seed": str(seed), "AP": str(value)}
        for name, values in ap.items()
        for seed, value in enumerate(values)
    ]
    rows.append({"network": "JDE", "seed": "0", "AP": "0.5"})
    found = compare_networks(rows, CONTRASTS)
    assert {name: round(one.mean, 6) for name, one in found.items()} == {
        "iJDC - JDC": 1.0,
        "JDC - detection": -0.5,
    }
    assert set(found) < set(CONTRASTS)
    assert judge_contrasts(found).verdicts["JDC - detection"] == "undecided"
