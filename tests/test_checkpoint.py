"""Checkpoints: ours carry all that detection needs, others' load by name, and none loads in part."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import golden
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from yolor_cfg.errors import MissingExtra, WeightsError
from yolor_cfg.graph import ReadOptions, build_graph
from yolor_cfg.lang.syntax import parse
from yolor_cfg.model import Network
from yolor_cfg.weights.checkpoint import load_tensors, read_checkpoint, save_checkpoint

CONV = "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\npad=1\nactivation=leaky\n"


def text_of(classes: int = 3) -> str:
    """A convolution and a head whose output meets an implicit vector; the comment shows that text is kept."""
    filters = 3 * (5 + classes)
    return (
        f"# my network\n[net]\nwidth=32\nheight=32\nchannels=3\n{CONV}"
        f"[convolutional]\nfilters={filters}\nsize=1\nactivation=linear\n[implicit_mul]\nfilters={filters}\n"
        f"[route]\nlayers=1\n[control_channels]\nfrom=2\n"
        f"[yolo]\nmask=0,1,2\nclasses={classes}\nnum=3\nanchors=4,5, 7,6, 9,9\n"
    )


def network_of(text: str | None = None, dialect: str = "yolor") -> Network:
    return Network(build_graph(parse(text or text_of(), "net.cfg"), ReadOptions(dialect=dialect)))


def state_of(network: Network) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def saved(content: Any, folder: Path) -> Path:
    torch.save(content, folder / "x.pt")
    return folder / "x.pt"


def refusal(network: Network, tensors: dict[str, Tensor]) -> str:
    """The message, after making sure that the network is as it was."""
    before = state_of(network)
    with pytest.raises(WeightsError) as caught:
        load_tensors(network, tensors, path="x.pt")
    assert same(before, state_of(network))
    assert caught.value.exit_code == 4
    return str(caught.value)


# --------------------------------------------------------------------------------------------------- our own


def test_our_checkpoint_gives_back_all_that_detection_needs(tmp_path: Path) -> None:
    network = network_of()
    save_checkpoint(
        network, tmp_path / "x.pt", names=["cat", "dog", "höst"], numbers={"step": 7, "best": 0.5}
    )
    checkpoint = read_checkpoint(tmp_path / "x.pt")
    assert same(checkpoint.tensors, state_of(network))
    assert (checkpoint.cfg, checkpoint.dialect, checkpoint.bn_eps) == (text_of(), "yolor", 1e-4)
    assert (checkpoint.names, checkpoint.numbers) == (("cat", "dog", "höst"), {"step": 7, "best": 0.5})
    assert not checkpoint.is_foreign


def test_our_checkpoint_loads_in_torch_with_weights_only(tmp_path: Path) -> None:
    save_checkpoint(network_of(), tmp_path / "x.pt", names=["a"], numbers={"step": 7})
    content = torch.load(tmp_path / "x.pt", weights_only=True)
    assert content["cfg"] == text_of() and content["names"] == ["a"] and content["numbers"] == {"step": 7}
    network_of().load_state_dict(content["model"], strict=True)


def test_the_epsilon_of_the_cfg_is_the_one_kept(tmp_path: Path) -> None:
    network = network_of(text_of().replace("channels=3", "channels=3\nbn_eps=0.001"))
    save_checkpoint(network, tmp_path / "x.pt")
    assert read_checkpoint(tmp_path / "x.pt").bn_eps == 1e-3


def test_an_existing_checkpoint_is_replaced_only_by_force(tmp_path: Path) -> None:
    save_checkpoint(network_of(), tmp_path / "x.pt", numbers={"step": 1})
    with pytest.raises(WeightsError, match="exists already"):
        save_checkpoint(network_of(), tmp_path / "x.pt", numbers={"step": 2})
    save_checkpoint(network_of(), tmp_path / "x.pt", numbers={"step": 3}, force=True)
    assert read_checkpoint(tmp_path / "x.pt").numbers == {"step": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["x.pt"]


def test_safetensors_without_the_library_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(MissingExtra) as caught:
        save_checkpoint(network_of(), tmp_path / "x.safetensors")
    assert caught.value.exit_code == 5
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def plain_safetensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """What safetensors_io calls of the library, in the format's terms: a JSON head, then the numbers."""
    package, torch_side = ModuleType("safetensors"), ModuleType("safetensors.torch")

    def save(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
        head: dict[str, Any] = {"__metadata__": metadata}
        data = b""
        for name, tensor in tensors.items():
            raw = tensor.double().numpy().tobytes()
            head[name] = {"shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(raw)]}
            data += raw
        text = json.dumps(head).encode()
        return len(text).to_bytes(8, "little") + text + data

    class Opened:
        def __init__(self, path: str, framework: str) -> None:
            data = Path(path).read_bytes()
            end = 8 + int.from_bytes(data[:8], "little")
            self.head, self.data = json.loads(data[8:end]), data[end:]
            self.texts = self.head.pop("__metadata__")

        def __enter__(self) -> Opened:
            return self

        def __exit__(self, *_: object) -> None:
            self.data = b""

        def keys(self) -> list[str]:
            return list(self.head)

        def metadata(self) -> dict[str, str]:
            return self.texts

        def get_tensor(self, name: str) -> Tensor:
            start, end = self.head[name]["data_offsets"]
            numbers = torch.from_numpy(np.frombuffer(self.data[start:end]).copy())
            return numbers.reshape(self.head[name]["shape"])

    vars(torch_side)["save"] = save
    for name, part in {"torch": torch_side, "safe_open": Opened, "SafetensorError": ValueError}.items():
        setattr(package, name, part)
    monkeypatch.setitem(sys.modules, "safetensors", package)
    monkeypatch.setitem(sys.modules, "safetensors.torch", torch_side)


@pytest.mark.usefixtures("plain_safetensors")
def test_safetensors_carry_the_same_as_torch_files(tmp_path: Path) -> None:
    network, other = network_of(), network_of()
    save_checkpoint(network, tmp_path / "x.safetensors", names=["a", "b"], numbers={"step": 7})
    checkpoint = read_checkpoint(tmp_path / "x.safetensors")
    load_tensors(other, checkpoint.tensors)
    assert same(state_of(other), state_of(network))
    assert checkpoint._replace(tensors={}) == ({}, text_of(), "yolor", ("a", "b"), 1e-4, {"step": 7}, {})


# ------------------------------------------------------------------------------------------- other programs'


@pytest.mark.parametrize("case", golden.yolor_cases(), ids=lambda case: case.name)
def test_checkpoints_as_yolor_writes_them_load_by_name(case: golden.Case, tmp_path: Path) -> None:
    meta = json.loads(case.meta.read_text())
    maker = golden.module_at(golden.GOLDEN / "yolor" / "make_state.py")
    state = {name: torch.from_numpy(np.asarray(array)) for name, array in maker.make_state(meta).items()}
    # What the main branch's training script puts beside the state dict; best_fitness is numpy's.
    content = {
        "epoch": -1,
        "best_fitness": np.float64(0.5),
        "best_fitness_p": np.array([0.1]),
        "training_results": "0/1 ...",
        "model": state,
        "optimizer": None,
        "wandb_id": None,
    }
    checkpoint = read_checkpoint(saved(content, tmp_path))
    network = Network(build_graph(parse(case.cfg.read_text()), ReadOptions(dialect="yolor")))
    assert checkpoint.is_foreign
    assert load_tensors(network, checkpoint.tensors) == ()
    assert same(state_of(network), state)


@pytest.mark.parametrize(
    ("wrap", "prefix"),
    [
        (lambda state: state, ""),
        (lambda state: {"state_dict": state}, ""),
        (lambda state: {"model": state}, "module."),
        (lambda state: {"model": None, "ema": state}, ""),
    ],
    ids=["plain", "state_dict", "module prefix", "ema"],
)
def test_state_dicts_are_found_where_programs_keep_them(wrap: Any, prefix: str, tmp_path: Path) -> None:
    network = network_of()
    content = wrap({prefix + name: tensor for name, tensor in network.state_dict().items()})
    assert same(read_checkpoint(saved(content, tmp_path)).tensors, state_of(network))


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    network = network_of()
    halved = {name: tensor.half() for name, tensor in network.state_dict().items() if tensor.ndim}
    load_tensors(network, read_checkpoint(saved({"model": halved}, tmp_path)).tensors)
    assert all(tensor.dtype == torch.float32 for name, tensor in state_of(network).items() if tensor.ndim)
    assert all(torch.equal(state_of(network)[name], tensor.float()) for name, tensor in halved.items())


def test_what_no_result_hangs_on_may_be_missing_or_more() -> None:
    network = network_of()
    tensors = {name: tensor for name, tensor in state_of(network).items() if "num_batches" not in name}
    tensors["module_list.1.dwt.h0_col"] = torch.ones(2)
    assert load_tensors(network, tensors) == ()


def pickled_module(names: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint with a whole module of a class that is not there when it is read."""
    place = ModuleType("models.yolo")
    kind = type("Model", (nn.Module,), {"__module__": "models.yolo"})
    vars(place)["Model"] = kind
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "models", ModuleType("models"))
        patched.setitem(sys.modules, "models.yolo", place)
        model = kind()
        for name in names:
            *parents, last = name.split(".")
            inner = model
            for parent in parents:
                if parent not in inner._modules:
                    inner.add_module(parent, nn.Module())
                inner = inner._modules[parent]
            inner.register_parameter(last, nn.Parameter(torch.ones(3)))
        return saved({"epoch": 1, "model": model}, folder)


def test_a_module_of_the_paper_branch_is_refused_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pickled_module(["model.0.conv.weight", "model.0.bn.weight"], tmp_path, monkeypatch)
    with pytest.raises(WeightsError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: this is a pickled module, not a state dict")
    assert "models.yolo.Model with 2 tensors, first model.0.conv.weight" in message
    assert "paper branch" in message


def test_a_module_with_sections_gives_its_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pickled_module(["module_list.0.Conv2d.weight"], tmp_path, monkeypatch)
    assert torch.equal(read_checkpoint(path).tensors["module_list.0.Conv2d.weight"], torch.ones(3))


@pytest.mark.parametrize(
    "content",
    [
        {"epoch": 1},
        {},
        [1, 2],
        {"model": {"model.0.conv.weight": torch.ones(2)}},
        {"model": 3},
        {"model": {1: torch.ones(1)}},
    ],
    ids=["no tensors", "nothing", "a list", "other names", "a number", "numbers for names"],
)
def test_what_holds_no_weights_of_a_cfg_is_refused_with_its_path(content: Any, tmp_path: Path) -> None:
    path = saved(content, tmp_path)
    with pytest.raises(WeightsError, match="contains no weights") as caught:
        read_checkpoint(path)
    assert caught.value.path == str(path)


@pytest.mark.parametrize(
    "beside",
    [
        {"dialect": ["yolor"], "cfg": "[net]"},
        {"dialect": "yolor", "cfg": 3},
        {"dialect": "other", "cfg": "[net]"},
    ],
)
def test_entries_that_only_look_like_ours_count_as_foreign(beside: dict[str, Any], tmp_path: Path) -> None:
    path = saved({"model": state_of(network_of()), **beside}, tmp_path)
    assert read_checkpoint(path).is_foreign


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, value) for key in ("cfg", "dialect") for value in (None, 3, b"[net]", ["yolor"], "x\ud800")),
        *(("names", value) for value in (3, "ab", {"a": 1}, [1], ["\ud800"], [["a"]], torch.ones(2))),
        *(("numbers", value) for value in ([1], {"seen": "1"}, {1: 1}, {"seen": 1 << 70}, torch.ones(2))),
        *(("bn_eps", value) for value in ("x", 0.0, -1.0, float("nan"), 1e9, [1e-5], torch.ones(1))),
    ],
)
def test_an_odd_entry_in_our_own_record_is_named(key: str, value: Any, tmp_path: Path) -> None:
    content = {"format": "yolor-cfg 1", "cfg": "[net]", "dialect": "yolor", "model": state_of(network_of())}
    with pytest.raises(WeightsError, match="its record is damaged") as caught:
        read_checkpoint(saved({**content, key: value}, tmp_path))
    assert (caught.value.key, caught.value.exit_code) == (key, 4)


def test_complex_numbers_are_no_weights(tmp_path: Path) -> None:
    content = {"module_list.0.Conv2d.weight": torch.ones(2)}
    read_checkpoint(saved(content, tmp_path))
    content["module_list.0.Conv2d.weight"] = torch.ones(2, dtype=torch.complex64)
    with pytest.raises(WeightsError):
        read_checkpoint(saved(content, tmp_path))


# ----------------------------------------------------------------------------------------- what does not fit


def test_every_mismatch_is_told_in_one_message_with_its_line() -> None:
    network = network_of()
    tensors = state_of(network)
    del tensors["module_list.0.BatchNorm2d.weight"]
    tensors["module_list.0.Conv2d.weight"] = torch.ones(4, 3, 1, 1)
    tensors["module_list.9.implicit"] = torch.ones(1, 2, 1, 1)
    assert refusal(network, tensors).splitlines() == [
        "x.pt: the checkpoint does not fit net.cfg: 3 tensors differ",
        "  found:   missing: module_list.0.BatchNorm2d.weight 4 (line 6)",
        "           module_list.0.Conv2d.weight: 4x3x1x1 in the file, 4x3x3x3 in the network (line 6)",
        "           unexpected: module_list.9.implicit 1x2x1x1",
        "  hint:    use the cfg that the checkpoint was trained with",
    ]


def test_eight_mismatches_are_listed_and_the_rest_counted() -> None:
    message = refusal(network_of(), {"module_list.7.w": torch.ones(1)})
    # 5 tensors of the convolution with batch norm, 2 of the last one, 1 implicit vector and the stranger
    assert "9 tensors differ" in message
    assert message.count("missing: ") == 8 and "and 1 more" in message


@pytest.mark.parametrize("classes", [1, 20, 80])
def test_the_class_count_that_would_fit_is_told(classes: int) -> None:
    message = refusal(network_of(), state_of(network_of(text_of(classes))))
    assert f"classes={classes} would fit (filters={3 * (5 + classes)} before the head)" in message
    assert (
        f"module_list.1.Conv2d.weight: {3 * (5 + classes)}x4x1x1 in the file, 24x4x1x1 in the network (line"
        in message
    )


def test_cutoff_takes_the_layers_before_it_and_no_other() -> None:
    network, other = network_of(), network_of(text_of(80))
    before = state_of(network)
    assert load_tensors(network, state_of(other), cutoff=1) == (
        "layers 0..0 loaded; 1..5 keep their initialisation",
    )
    for name, tensor in state_of(network).items():
        source = state_of(other) if name.startswith("module_list.0.") else before
        assert torch.equal(tensor, source[name]), name


def test_weights_that_are_not_finite_are_told() -> None:
    tensors = state_of(network_of())
    tensors["module_list.0.BatchNorm2d.bias"][1] = float("inf")
    (note,) = load_tensors(network_of(), tensors)
    assert "NaN or infinity" in note and "[convolutional #0] (line 6 of net.cfg)" in note
