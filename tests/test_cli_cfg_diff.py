"""`yolor cfg diff`: layers aligned, keys by value, costs; exit code 0 for equal networks and 1 for others."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from yolor_cfg.analysis import cfg_diff
from yolor_cfg.analysis.cfg_diff import compare_graphs
from yolor_cfg.cli import main
from yolor_cfg.graph import Graph, build_graph
from yolor_cfg.lang.syntax import parse

CFG = Path(__file__).resolve().parents[1] / "cfg"
NET = "[net]\nwidth=32\nheight=32\nchannels=3\n"
CONV = "[convolutional]\nfilters={}\nsize=3\npad=1\nactivation=leaky\n"
HEAD = "[convolutional]\nfilters=18\n[yolo]\nmask=0\nnum=1\nanchors=4,5\nclasses=13\n"
SMALL = NET + CONV.format(4) + CONV.format(8) + "[route]\nlayers=0\n" + HEAD


def yolor(*args: object) -> Result:
    return CliRunner().invoke(main, ["cfg", "diff", *(str(arg) for arg in args)])


def graph_of(text: str) -> Graph:
    return build_graph(parse(text))


def compared(folder: Path, before: str, after: str, *options: str) -> Result:
    (folder / "a.cfg").write_text(before)
    (folder / "b.cfg").write_text(after)
    return yolor(folder / "a.cfg", folder / "b.cfg", *options)


def kinds_of(before: str, after: str) -> list[str]:
    return [pair.kind for pair in compare_graphs(graph_of(before), graph_of(after)).pairs]


def test_what_does_not_change_the_network_is_no_difference(tmp_path: Path) -> None:
    """Comments, order, spelling, a default written out, an absolute number for a relative one."""
    other = "# mine\n" + SMALL.replace("filters=4\nsize=3\npad=1", "pad=1\n size = 3\nstride=1\nfilters=04")
    other = other.replace("layers=0", "layers=-2 ; back")
    result = compared(tmp_path, SMALL, other)
    assert (result.exit_code, result.stderr) == (0, "")
    # (3 * 4 + 4 * 8) * 9 weights and 12 biases; the head reads #0: 4 * 18 + 18
    assert result.stdout.startswith(f"equal: 5 layers, {44 * 9 + 12 + 4 * 18 + 18} parameters, ")


def test_a_changed_key_is_told_with_both_values_and_what_it_costs(tmp_path: Path) -> None:
    result = compared(tmp_path, SMALL, SMALL.replace("filters=8", "filters=9\nstride=2"), "--json")
    assert result.exit_code == 1
    told: dict[str, Any] = json.loads(result.stdout)
    (layer,) = told["layers"]
    assert (layer["kind"], layer["before"]["number"], layer["after"]["number"]) == ("changed", 1, 1)
    assert layer["changes"] == [
        {"key": "filters", "before": "8", "after": "9", "use": "both"},
        {"key": "stride", "before": "1 (default)", "after": "2", "use": "both"},
    ]
    assert layer["after"]["parameters"] - layer["before"]["parameters"] == 4 * 9 + 1
    assert layer["before"]["macs"] == 4 * 9 * 8 * 32 * 32 and layer["after"]["macs"] == 4 * 9 * 9 * 16 * 16
    assert told["after"]["parameters"] - told["before"]["parameters"] == 4 * 9 + 1
    assert told["equal"] is False and told["net"] == []


def test_an_inserted_layer_shifts_no_other_one_and_references_that_follow_it_are_equal() -> None:
    after = SMALL.replace(CONV.format(8), CONV.format(8) + "[dropout]\n" + CONV.format(8))
    after = after.replace("layers=0", "layers=-4")
    diff = compare_graphs(graph_of(SMALL), graph_of(after))
    assert sorted(pair.kind for pair in diff.pairs) == ["added", "added", *["same"] * 5]
    assert [(pair.before.index, pair.after.index) for pair in diff.pairs if pair.before and pair.after][
        -3:
    ] == [(2, 4), (3, 5), (4, 6)]


def test_a_reference_that_leads_to_another_layer_is_a_change() -> None:
    after = SMALL.replace("layers=0", "layers=1")
    (change,) = [
        one for pair in compare_graphs(graph_of(SMALL), graph_of(after)).pairs for one in pair.changes
    ]
    assert (change.key, change.before, change.after) == ("layers", "0", "1")


@pytest.mark.parametrize(
    ("inserted", "number", "kind"), [("", 0, "same"), ("[dropout]\n", 1, "same"), ("", 1, "changed")]
)
def test_the_layer_whose_weights_are_shared_is_followed_too(inserted: str, number: int, kind: str) -> None:
    start = NET.replace("channels=3", "channels=4")
    before = start + CONV.format(4) * 2 + "[convolutional]\nfilters=4\nsize=3\npad=1\nshare_index=0\n"
    after = start + inserted + before[len(start) :].replace("share_index=0", f"share_index={number}")
    assert kinds_of(before, after)[-1] == kind


def test_layers_behind_a_change_that_differ_in_size_alone_are_told_as_such(tmp_path: Path) -> None:
    result = compared(tmp_path, SMALL, SMALL.replace("width=32", "width=64"))
    assert "    width: 32 -> 64\n" in result.stdout
    assert "= #0-4: other sizes alone, from 4x32x32 -> 4x32x64 on\n" in result.stdout
    assert kinds_of(SMALL, SMALL.replace("filters=8", "filters=9"))[:3] == ["same", "changed", "same"]


def test_a_removed_layer_and_the_sum_are_told(tmp_path: Path) -> None:
    result = compared(tmp_path, SMALL, SMALL.replace(CONV.format(8), ""))
    assert "- [convolutional] #1, line 10: 8x32x32, -296 parameters, -0.590 MFLOPs\n" in result.stdout
    # 296 of 498 parameters, 288 of 468 multiply-adds a pixel
    assert result.stdout.endswith(
        "layers: 0 added, 1 removed, 0 changed; -296 parameters (-59.4 %), -0.001 GFLOPs (-61.5 %)\n"
    )


def test_what_is_used_for_nothing_or_for_training_alone_is_marked(tmp_path: Path) -> None:
    after = SMALL.replace("classes=13", "classes=13\nmap=x\njitter=.4").replace(
        "channels=3", "channels=3\nseen=5"
    )
    result = compared(tmp_path, SMALL, after)
    assert "    map: none (default) -> x  (no effect here)\n" in result.stdout
    assert "    jitter: 0.2 (default) -> 0.4  (training)\n" in result.stdout
    assert "    seen: none -> 5  (no effect here)\n" in result.stdout


def test_a_dialect_that_reads_a_layer_otherwise_is_a_difference(tmp_path: Path) -> None:
    pool = SMALL.replace("[route]\nlayers=0", "[maxpool]\nsize=2\nstride=2")
    norm = pool.replace("pad=1", "pad=1\nbatch_normalize=1")
    result = compared(tmp_path, norm, norm.replace("[net]", "[net]\ndialect=yolor"))
    assert result.exit_code == 1 and "    bn_eps of the dialect: 1e-05 -> 0.0001\n" in result.stdout


def test_networks_of_one_kind_and_another_width_are_paired_layer_by_layer() -> None:
    before, after = (
        build_graph(parse((CFG / name).read_text())) for name in ("yolor_csp.cfg", "yolor_csp_x.cfg")
    )
    diff = compare_graphs(before, after)
    pairs = [pair for pair in diff.pairs if pair.before and pair.after]
    assert len(pairs) == len(before.nodes), "csp-x has all layers of csp, wider, and more"
    assert all(one.before.section.type == one.after.section.type for one in pairs if one.before and one.after)
    assert [pair.after.shape.height for pair in pairs if pair.after] == [
        pair.before.shape.height for pair in pairs if pair.before
    ]


def test_each_layer_of_both_networks_is_told_once_and_in_order() -> None:
    before, after = (
        build_graph(parse((CFG / name).read_text())) for name in ("yolov4_csp.cfg", "yolor_p6.cfg")
    )
    pairs = compare_graphs(before, after).pairs
    assert [pair.before.index for pair in pairs if pair.before] == list(range(len(before.nodes)))
    assert [pair.after.index for pair in pairs if pair.after] == list(range(len(after.nodes)))


def test_very_long_files_are_paired_by_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cfg_diff, "MAX_CELLS", 0)
    middle = CONV.format(5) + CONV.format(6)
    assert kinds_of(NET + middle + HEAD, NET + CONV.format(7) * 2 + HEAD) == ["changed"] * 2 + [
        "resized",
        "same",
    ]


def test_a_faulty_file_is_an_error_of_its_own_kind(tmp_path: Path) -> None:
    result = compared(tmp_path, SMALL, SMALL.replace("filters=8", "filters=none"))
    assert result.exit_code == 2 and f"{tmp_path}/b.cfg:11: " in result.stderr
