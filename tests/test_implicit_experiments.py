"""The experiments on implicit knowledge: sections run from cached values, and the statistics."""

from __future__ import annotations

import math
from itertools import permutations
from pathlib import Path

import implicit_networks
import numpy as np
import pytest
import torch
from implicit_cache import NetworkEnd, cache_values, draw_pictures, score_end
from implicit_full import make_network, own_modules
from implicit_learn import (
    HeadTask,
    Lesson,
    Recipe,
    copy_for_task,
    implicit_parameters,
    learn_tasks,
    train_only,
)
from implicit_networks import WEIGHTS, find_levels, fresh_network, variant_text
from implicit_report import DOCUMENT, fill_document
from implicit_stats import (
    correct_holm,
    explained_share,
    paired_difference,
    permutation_p,
    t_point,
    t_tail,
)
from implicit_table import RunTable
from implicit_tasks import make_whole

from yolor_cfg import load
from yolor_cfg.graph import IMAGE_INDEX
from yolor_cfg.model import Network

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def trunk() -> Network:
    # The tools name files from the root, where they are started.
    return load(ROOT / WEIGHTS.with_suffix(".cfg"), ROOT / WEIGHTS).eval()


def tip_layers(network: Network) -> list[int]:
    return [level.tip for level in find_levels(network)]


def test_sections_behind_cached_values_equal_the_network_to_the_bit(trunk: Network) -> None:
    pictures = draw_pictures(3, 5)
    for layers in (tip_layers(trunk), [level.features for level in find_levels(trunk)], [22, 34]):
        cached = cache_values(trunk, pictures, layers)
        before = {layer: value.clone() for layer, value in cached.values.items()}
        with torch.no_grad():
            pairs = zip(NetworkEnd(trunk, layers)(cached.values), trunk(pictures.images), strict=True)
            assert all(torch.equal(*pair) for pair in pairs)
        assert all(torch.equal(value, before[layer]) for layer, value in cached.values.items())


def test_full_networks_start_alike_and_learn_from_images() -> None:
    plain, both = (make_network(variant, seed=1) for variant in ("plain", "+ iFA, × iPR"))
    states = [module.state_dict() for module in own_modules(both)]
    for given, state in zip(own_modules(plain), states, strict=True):
        assert all(torch.equal(tensor, state[name]) for name, tensor in given.state_dict().items())
    images = draw_pictures(2, seed=0, side=64).images
    whole = NetworkEnd(both.eval(), [IMAGE_INDEX])({IMAGE_INDEX: images})
    assert all(map(torch.equal, whole, both(images)))


def test_a_network_of_its_own_has_the_trained_trunk_and_the_heads_of_its_seed(
    trunk: Network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(implicit_networks, "WORK", tmp_path)
    monkeypatch.setattr(implicit_networks, "SEEDS", 4)
    network, images = make_whole(3).eval(), draw_pictures(2, 8).images
    seen = network.trace(images, tip_layers(network)), trunk.trace(images, tip_layers(trunk))
    assert all(torch.equal(*pair) for pair in zip(*(one.values() for one in seen), strict=True))
    heads = {level.features for level in find_levels(network)}
    fresh = fresh_network(variant_text("table1/baseline"), 3)
    for layer in heads:
        started = fresh.module_list[layer].state_dict()
        assert all(
            torch.equal(value, started[name])
            for name, value in network.module_list[layer].state_dict().items()
        )


def test_cached_pictures_score_as_the_trained_network_should(trunk: Network) -> None:
    cached = cache_values(trunk, draw_pictures(24, 6), tip_layers(trunk))
    assert score_end(NetworkEnd(trunk, tip_layers(trunk)), cached)["AP50"] > 0.9


def test_learning_changes_what_may_learn_and_repeats_itself(trunk: Network) -> None:
    layers = [level.features for level in find_levels(trunk)]
    cached = cache_values(trunk, draw_pictures(6, 7), layers)

    def learned(seed: int) -> list[torch.Tensor]:
        twin = copy_for_task(trunk)
        train_only(twin, implicit_parameters(twin))
        task = HeadTask(NetworkEnd(twin, layers), cached.targets)
        assert learn_tasks(Lesson([task], cached), Recipe(seed, 2, 0.01, batch=3))
        return [parameter.detach() for parameter in implicit_parameters(twin)]

    first, again, other = learned(0), learned(0), learned(1)
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert not any(torch.equal(*pair) for pair in zip(first, other, strict=True))
    kept = implicit_parameters(trunk)
    assert not any(torch.equal(*pair) for pair in zip(first, kept, strict=True))


def test_student_t() -> None:
    # One degree of freedom is Cauchy's distribution, two have a closed form; 2.262 is in every table.
    for t in (0.0, 0.4, 2.0, 30.0):
        assert t_tail(t, 1) == pytest.approx(0.5 - math.atan(t) / math.pi, abs=1e-13)
        assert t_tail(-t, 2) == pytest.approx(0.5 + t / (2 * math.sqrt(2 + t * t)), abs=1e-13)
    assert t_point(0.025, 9) == pytest.approx(2.262157163, abs=1e-9)
    assert t_point(0.05, 2) == pytest.approx(2.919985580, abs=1e-9)


def test_student_t_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for degrees in (1, 4, 9, 57):
        for t in (-3.0, 0.2, 1.7, 12.0):
            assert t_tail(t, degrees) == pytest.approx(stats.t.sf(t, degrees), abs=1e-13)


def test_paired_difference_and_equivalence_by_hand() -> None:
    # Differences 1, 2, 3: mean 2, standard error 1 / sqrt 3, t = 3.4641 with two degrees of freedom.
    found = paired_difference([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    t = 2 * math.sqrt(3)
    assert found.p == pytest.approx(1 - t / math.sqrt(2 + t * t))
    assert (found.low, found.high) == pytest.approx(
        (2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3))
    )
    upper = (5 - 2) * math.sqrt(3)
    assert found.equivalence_p(5) == pytest.approx(0.5 - upper / (2 * math.sqrt(2 + upper**2)))
    assert found.equivalence_p(1.5) > 0.5


def test_holm_by_hand() -> None:
    assert correct_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert correct_holm([0.6, 0.9]) == [1.0, 1.0]


def test_explained_share_and_its_permutation_test() -> None:
    values = np.array([1.0, 2.0, 5.0, 9.0])
    # Means 1.5 and 7 around 4.25: between 2 * 2 * 2.75^2 = 30.25 of 38.75.
    assert explained_share(values, [0, 0, 1, 1]) == pytest.approx(30.25 / 38.75)
    orders = [np.array(order) for order in permutations(values)]
    exact = np.mean([explained_share(order, [0, 0, 1, 1]) >= 30.25 / 38.75 - 1e-12 for order in orders])
    assert permutation_p(values, [0, 0, 1, 1], rounds=2000, seed=0) == pytest.approx(exact, abs=0.04)


def test_a_run_with_a_row_is_not_done_again(tmp_path: Path) -> None:
    table = RunTable(tmp_path / "runs.csv", ("variant", "seed"), ("AP", "seconds"))
    plan = [{"variant": name, "seed": seed} for name in "ab" for seed in (0, 1)]
    table.append({"variant": "a", "seed": 1, "AP": 0.25, "seconds": 1.0})
    assert table.missing(plan) == [plan[0], plan[2], plan[3]]
    assert table.read() == [{"variant": "a", "seed": "1", "AP": "0.25", "seconds": "1"}]


def test_the_document_has_the_figures_of_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    text = (ROOT / DOCUMENT).read_text(encoding="utf-8")
    assert fill_document(text) == text
