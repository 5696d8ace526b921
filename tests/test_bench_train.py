"""The benchmark of training: both loops compute the same, and its figures follow from what they took."""

import io
import json

import bench_train
import bench_train_loops as loops
import pytest
import torch
import training
from bench_train import SpeedSummary, TurnPair, can_compute_bf16, faults, growth, summarize
from bench_train_loops import NoMoreTurns, Pace, StepStats
from click.testing import CliRunner

from yolor_cfg.graph import load_graph
from yolor_cfg.model import Network

pytestmark = pytest.mark.usefixtures("one_thread", "blank_charts")

INTEL = "processor : 0\nflags : fpu sse2 avx2 avx512f avx512_bf16 amx_bf16 amx_tile\n"
AMD = "processor : 0\nflags : fpu sse2 avx avx2 fma\n"
ARM = "processor : 0\nFeatures : fp asimd i8mm bf16\n"


def losses_of(loop, options, *, steps):
    told = []
    with pytest.raises(NoMoreTurns):
        loop(options, Pace(iter([steps]), told.extend))
    return [step.loss for step in told]


def test_both_loops_have_the_same_losses_up_to_rounding(tmp_path, data):
    options = training.options(tmp_path, data, workers=1)
    ours = losses_of(loops.run_yolor_loop, options, steps=5)
    assert losses_of(loops.run_plain_loop, options, steps=5) == pytest.approx(ours, rel=1e-5)
    other_pictures = losses_of(loops.run_plain_loop, options._replace(seed=1), steps=1)
    assert other_pictures[0] != pytest.approx(ours[0], rel=1e-3)


def test_the_plain_network_keeps_its_values_in_the_order_n_c_h_w(tmp_path, data):
    graph = load_graph(training.options(tmp_path, data).cfg)
    x = torch.rand(2, 3, 64, 64)
    values = {kind: kind(graph).train().trace(x, [1])[1] for kind in (loops.PlainNetwork, Network)}
    assert values[loops.PlainNetwork].is_contiguous()
    assert values[Network].is_contiguous(memory_format=torch.channels_last)
    assert not values[Network].is_contiguous()


def test_a_line_in_gives_a_line_of_so_many_steps(tmp_path, data, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("2\n1\n"))
    loops.main("plain", training.options(tmp_path, data).to_dict())
    turns = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [len(turn) for turn in turns] == [2, 1]
    for step in (StepStats(*values) for turn in turns for values in turn):
        assert 0 < step.wait_seconds < step.seconds
        assert step.resident_mib > 1


@pytest.mark.parametrize(("processor", "able"), [(INTEL, True), (ARM, True), (AMD, False), ("", False)])
def test_a_processor_computes_bf16_when_its_flags_say_so(processor, able):
    assert can_compute_bf16(processor) is able


def test_memory_grows_as_the_line_through_all_but_the_first_quarter():
    assert growth([900.0, 100.0] + [400 + 0.5 * step for step in range(6)]) == pytest.approx(0.5 * 5)
    assert growth([1.0, 2.0, 3.0, 4.0] + [7.0] * 12) == pytest.approx(0)


def turn(seconds, waited=0.0):
    """The first three steps do not count."""
    return [StepStats(100.0, 50.0, 0.0, 0.0)] * 3 + [StepStats(seconds, waited, 0.0, 0.0)] * 2


def test_the_row_has_the_median_of_the_ratios_and_what_is_waited_for_of_ours():
    both = ((1.0, 0.1), 2.0), ((2.0, 0.1), 2.0), ((1.0, 0.2), 3.0)
    pairs = [TurnPair(turn(*ours), turn(plain)) for ours, plain in both]
    row = summarize(pairs, 16)
    assert (row.ours, row.plain) == (16 / 1.0, 16 / 2.0)
    assert (row.below, row.ratio, row.above) == (1.0, 2.0, 3.0)
    assert row.wait_share == pytest.approx(0.4 / 4)


def test_a_row_misses_each_bound_for_itself():
    good = SpeedSummary(13.0, 10.0, 1.2, 1.3, 1.4, 0.099)
    assert faults(good, 1.3) == []
    assert len(faults(good, 2.2)) == 1
    assert faults(good, None) == []
    assert len(faults(good._replace(wait_share=0.1), 1.3)) == 1
    assert len(faults(good._replace(wait_share=0.1, ratio=1.29), 1.3)) == 2


@pytest.mark.parametrize(("seconds", "grown", "code"), [(1.5, 0.0, 0), (1.2, 0.0, 1), (1.5, 20.0, 1)])
def test_the_exit_code_says_whether_a_bound_was_missed(monkeypatch, seconds, grown, code):
    pairs = [TurnPair(turn(1.0), turn(seconds))] * 2
    monkeypatch.setattr(bench_train, "compare_loops", lambda case, **turns: pairs)
    monkeypatch.setattr(bench_train, "_resident_sizes", lambda steps: [grown * i / 30 for i in range(40)])
    monkeypatch.setattr(bench_train, "_cpu_info", lambda: AMD)
    result = CliRunner().invoke(bench_train.main, [])
    assert result.exit_code == code, result.output
    assert ("MISS" in result.output) == bool(code)
    assert "no instructions for it" in result.output
    assert not any(line.startswith("bf16 ") for line in result.output.splitlines())
