"""Torch checkpoints are read as torch reads them, and nothing that a file asks for is ever run."""

import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from yolor_cfg.errors import WeightsError
from yolor_cfg.weights.pickle_machine import Opaque
from yolor_cfg.weights.torch_file import module_state_dict, read_pt

FORMATS = pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
FUZZ = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def saved(value: object, is_zip: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=is_zip)
    return buffer.getvalue()


def torch_zip(program: bytes, top: str = "archive", **members: bytes) -> bytes:
    """A torch file with this pickle; members by their last name, `s0=b"..."` being the storage data/s0."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{top}/data.pkl", program)
        for name, data in members.items():
            archive.writestr(f"{top}/data/{name}" if name[0] == "s" else f"{top}/{name}", data)
    return buffer.getvalue()


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], object]:
    """Reads these bytes as a file."""

    def from_bytes(data: bytes) -> object:
        (tmp_path / "a.pt").write_bytes(data)
        return read_pt(tmp_path / "a.pt")

    return from_bytes


@pytest.fixture
def refusal(read: Callable[[bytes], object]) -> Callable[[bytes], WeightsError]:
    """The fault that these bytes as a file are refused with."""

    def of_bytes(data: bytes) -> WeightsError:
        with pytest.raises(WeightsError) as caught:
            read(data)
        assert caught.value.path.endswith("a.pt")
        return caught.value

    return of_bytes


def official(optimizer: object = None) -> dict[str, object]:
    """The shape of YOLOR's own checkpoints."""
    generator = torch.Generator().manual_seed(0)
    model = OrderedDict(
        (name, torch.randn(shape, generator=generator))
        for name, shape in [
            ("module_list.0.Conv2d.weight", (8, 3, 3, 3)),
            ("module_list.0.BatchNorm2d.running_var", (8,)),
            ("module_list.3.implicit", (1, 8, 1, 1)),
            ("module_list.4.w", (2,)),
        ]
    )
    model["module_list.0.BatchNorm2d.num_batches_tracked"] = torch.tensor(7)
    return {
        "epoch": 3,
        "best_fitness": np.float64(0.625),
        "best_fitness_p": np.array([0.5, 0.25]),
        "training_results": "   0/299  1.5G\n",
        "model": model,
        "optimizer": optimizer,
        "wandb_id": None,
    }


def assert_equal(ours: object, theirs: object) -> None:
    assert type(ours) is type(theirs)
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            assert_equal(ours[key], theirs[key])
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs)
        for our, their in zip(ours, theirs, strict=True):
            assert_equal(our, their)
    elif isinstance(theirs, Tensor):
        assert (ours.dtype, ours.shape, ours.stride()) == (theirs.dtype, theirs.shape, theirs.stride())
        assert torch.equal(ours, theirs)
    else:
        assert np.array_equal(ours, theirs)


@FORMATS
def test_an_official_checkpoint_comes_back_whole(read, is_zip: bool) -> None:
    assert_equal(read(saved(official(), is_zip)), official())


@FORMATS
def test_the_state_of_an_optimizer_comes_back_whole(read, is_zip: bool) -> None:
    weight = nn.Parameter(torch.ones(3, 2))
    optimizer = torch.optim.SGD([weight], lr=0.01, momentum=0.9, nesterov=True)
    weight.sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    assert state["state"][0]["momentum_buffer"].shape == (3, 2)
    assert_equal(read(saved(official(state), is_zip))["optimizer"], state)


@FORMATS
@pytest.mark.parametrize(
    "dtype",
    [
        torch.float16,
        torch.bfloat16,
        torch.float64,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
        torch.bool,
    ],
)
def test_every_number_type_keeps_its_type_and_values(read, dtype: torch.dtype, is_zip: bool) -> None:
    tensor = torch.arange(-3, 4).to(dtype)
    assert_equal(read(saved({"a": tensor, "type": dtype}, is_zip)), {"a": tensor, "type": dtype})


@FORMATS
def test_views_of_one_storage_stay_views_of_one_storage(read, is_zip: bool) -> None:
    base = torch.arange(24.0)
    views = [
        base.view(4, 6).t(),
        base[5:9],
        base.view(2, 3, 4)[:, 1, ::2],
        base[:0],
        torch.zeros(1).expand(3, 5),
    ]
    ours = read(saved(views, is_zip))
    assert_equal(ours, views)
    assert ours[0].untyped_storage().data_ptr() == ours[1].untyped_storage().data_ptr()
    ours[1][0] = 100
    assert ours[0][5, 0] == 100


@FORMATS
def test_containers_numbers_and_texts_come_back_as_they_were(read, is_zip: bool) -> None:
    tree = {
        "tuple": (1, 2.5, "three", None, True),
        "deep": [[[{}]], (), b"bytes\xff"],
        "big": -(1 << 80),
        "set": {1, "a"},
        "size": torch.Size([2, 3]),
        "device": torch.device("cuda:1"),
        "empty": torch.zeros(0, 3),
        "array": np.arange(6).reshape(2, 3).T,
        "half": np.float16(0.5),
        "int": np.int64(-5),
        "bool": np.bool_(True),
    }
    assert_equal(read(saved(tree, is_zip)), tree)


def test_a_parameter_is_read_as_its_tensor(read) -> None:
    assert_equal(read(saved(nn.Parameter(torch.ones(2)))), torch.ones(2))


def test_a_tensor_with_python_attributes_is_read_as_its_tensor(read) -> None:
    tensor = torch.ones(2)
    tensor.note = "kept by torch, dropped here"
    ours = read(saved(tensor))
    assert_equal(ours, torch.ones(2))
    assert not hasattr(ours, "note")


def test_a_plain_pickle_of_any_protocol_inside_a_torch_file_is_read(read) -> None:
    tree = {"a": [1, 2.5, "x" * 300, b"y" * 300, None, {1, 2}, (1, 2, 3, 4)], 1: -1, 2: 1 << 70, 3: 70000}
    for protocol in range(6):
        assert_equal(read(torch_zip(pickle.dumps(tree, protocol))), tree)


def test_a_list_that_holds_itself_is_read(read) -> None:
    loop: list[object] = []
    loop.append(loop)
    ours = read(saved(loop))
    assert ours[0] is ours


# Whole pickled modules.


def fake_class(monkeypatch, module: str, base: type, name: str) -> type:
    """A class that pickle files under `module`, as YOLOR's paper branch does."""
    for part in (module.split(".")[0], module):
        if part not in sys.modules:
            monkeypatch.setitem(sys.modules, part, types.ModuleType(part))
    made = type(name, (base,), {"__module__": module})
    setattr(sys.modules[module], name, made)
    return made


@pytest.fixture
def paper_model(monkeypatch) -> Iterator[nn.Module]:
    conv, model, implicit = (
        fake_class(monkeypatch, module, nn.Module, name)
        for module, name in [
            ("models.common", "Conv"),
            ("models.yolo", "Model"),
            ("models.common", "ImplicitA"),
        ]
    )
    torch.manual_seed(0)
    block, head, whole = conv(), implicit(), model()
    block.conv = nn.Conv2d(3, 4, 3, bias=False)
    block.bn = nn.BatchNorm2d(4)
    block.act = nn.SiLU()
    block.none = None
    head.implicit = nn.Parameter(torch.randn(1, 4, 1, 1))
    head.register_buffer("anchors", torch.randn(3, 2))
    head.register_buffer("passing", torch.zeros(2), persistent=False)
    head.register_parameter("bias", None)
    whole.model = nn.Sequential(block, nn.ModuleList([head, block]))
    whole.names, whole.yaml = ["person"], {"nc": 1}
    yield whole


@FORMATS
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_a_pickled_module_gives_the_state_dict_without_its_classes(
    read, paper_model, monkeypatch, is_zip
) -> None:
    paper_model.half()
    data = saved({"model": paper_model, "epoch": -1}, is_zip)
    for name in ("models", "models.yolo", "models.common"):
        monkeypatch.delitem(sys.modules, name)
    tree = read(data)
    assert type(tree["model"]) is Opaque
    assert tree["model"].kind == ("models.yolo", "Model")
    assert (tree["model"].state["names"], tree["epoch"]) == (["person"], -1)
    assert_equal(module_state_dict(tree["model"]), dict(paper_model.state_dict()))
    assert "models.yolo" not in sys.modules


def test_modules_inside_themselves_are_refused(read) -> None:
    outer = nn.Sequential()
    outer.inner = nn.Sequential()
    tree = read(saved(outer))
    tree.state["_modules"]["inner"].state["_modules"]["outer"] = tree
    with pytest.raises(WeightsError, match="modules are nested too deeply"):
        module_state_dict(tree)


def test_what_is_no_module_is_told_so(read) -> None:
    for value in (
        read(saved({"a": 1})),
        read(saved(nn.ReLU())).kind,
        Opaque(read(saved(nn.ReLU())).kind, ()),
    ):
        with pytest.raises(WeightsError, match="is not a module"):
            module_state_dict(value)


# Files that ask to run something.


class Calls:
    """Pickles to a call of `function`."""

    def __init__(self, function: object, *args: object) -> None:
        self.made = (function, args)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.made

    def __call__(self) -> None:
        raise AssertionError("is only written, never called; pickle wants its functions callable")


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def attacks(sentinel: Path) -> dict[str, tuple[bytes, str]]:
    """Name -> a pickle that makes the sentinel file when run, and the name that must be in the refusal."""
    import builtins
    import functools
    import importlib
    import operator
    import os
    import subprocess

    import torch.hub

    shell = f"touch {sentinel}"
    code = f"open({str(sentinel)!r}, 'w')"
    inner = pickle.dumps(Calls(os.system, shell), 2)
    stack_global = text("posix") + text("system") + b"\x93"
    return {
        "reduce": (pickle.dumps(Calls(os.system, shell), 2), "posix.system"),
        "text protocol": (pickle.dumps(Calls(os.system, shell), 0), "posix.system"),
        "eval": (pickle.dumps(Calls(builtins.eval, code), 2), "__builtin__.eval"),
        "exec": (pickle.dumps(Calls(builtins.exec, code), 4), "builtins.exec"),
        "stack global": (b"\x80\x04" + stack_global + text(shell) + b"\x85R.", "posix.system"),
        "newobj": (
            b"\x80\x02csubprocess\nPopen\n(" + b"(" + text("touch") + text(str(sentinel)) + b"l" + b"t\x81.",
            "subprocess.Popen",
        ),
        "inst": (b"(" + text(shell) + b"iposix\nsystem\n.", "posix system"),
        "obj": (b"(cposix\nsystem\n" + text(shell) + b"o.", "posix.system"),
        "popen": (pickle.dumps(Calls(subprocess.getoutput, shell), 4), "subprocess.getoutput"),
        "getattr chain": (
            pickle.dumps(Calls(Calls(getattr, Calls(importlib.import_module, "os"), "system"), shell), 2),
            "__builtin__.getattr",
        ),
        "partial": (pickle.dumps(Calls(functools.partial(os.system, shell)), 2), "functools.partial"),
        "method caller": (
            pickle.dumps(Calls(Calls(operator.methodcaller, "system", shell), 1), 2),
            "operator.methodcaller",
        ),
        "hub": (pickle.dumps(Calls(torch.hub.load, str(sentinel.parent), "a"), 2), "torch.hub.load"),
        "torch load": (pickle.dumps(Calls(torch.load, "x"), 2), "torch.serialization.load"),
        "nested bytes": (
            pickle.dumps(Calls(torch.storage._load_from_bytes, inner), 2),
            "torch.storage._load_from_bytes",
        ),
        "numpy load": (b"cnumpy\nload\n" + text(str(sentinel)) + b"\x85R.", "numpy.load"),
        "numpy exec": (b"cnumpy.testing\nrunstring\n.", "numpy.testing.runstring"),
        "dotted name": (b"\x80\x04" + text("models") + text("sys.modules") + b"\x93.", "models.sys.modules"),
        "dtype with objects": (b"cnumpy\ndtype\n" + text("O8") + b"\x89\x88\x87R.", "numpy.dtype('O8')"),
        "codec": (b"c_codecs\nencode\n" + text("a") + text("rot13") + b"\x86R.", "_codecs.encode to rot13"),
        "code of an allowed kind": (b"ccollections\nOrderedDict\n)Rq\x00)R.", "a call of a OrderedDict"),
        "setstate of a type": (b"cnumpy\nndarray\n}" + text("a") + b"K\x01sb.", "attributes for a Global"),
        "call of a dtype": (b"ctorch\nfloat32\n)R.", "a call of a dtype"),
        "call of a storage": (b"ctorch\nFloatStorage\n)R.", "a call of torch.FloatStorage"),
        "rebuilt by another": (
            b"ctorch._tensor\n_rebuild_from_type_v2\n(c_codecs\nencode\nctorch\nTensor\n)NtR.",
            "encode",
        ),
        "extension": (b"\x80\x02\x82\x01.", "EXT1"),
        "keyword arguments": (b"\x80\x04cmodels\nA\n)}\x92.", "NEWOBJ_EX"),
        "text persistent": (b"Pstorage\n.", "PERSID"),
        "unknown persistent": (b"(" + text("file") + text("passwd") + b"tQ.", "persistent id"),
        "pickle as a storage": (
            b"(" + text("storage") + b"cposix\nsystem\n" + text("0") + text("cpu") + b"K\x01tQ.",
            "posix.system",
        ),
    }


NAMES = tuple(attacks(Path("sentinel")))


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_asks_to_run_code_is_refused_and_nothing_runs(refusal, tmp_path: Path, name: str) -> None:
    sentinel = tmp_path / "sentinel"
    program, mentioned = attacks(sentinel)[name]
    fault = refusal(torch_zip(program))
    assert mentioned in fault.found
    assert fault.allowed
    assert fault.hint == "the file tries to run code; it was not loaded"
    assert not sentinel.exists()


@pytest.mark.parametrize(
    "name", ["reduce", "text protocol", "eval", "exec", "stack global", "inst", "obj", "getattr chain"]
)
def test_the_same_pickles_do_run_code_in_the_standard_library(tmp_path: Path, name: str) -> None:
    pickle.loads(attacks(tmp_path / "sentinel")[name][0])
    assert (tmp_path / "sentinel").exists()


def test_the_legacy_format_refuses_the_same(refusal, tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    import os

    for value in (
        Calls(os.system, f"touch {sentinel}"),
        [torch.ones(2), Calls(os.system, f"touch {sentinel}")],
    ):
        assert "posix.system" in refusal(saved(value, False)).found
    magic, *rest = saved(1, False).partition(b".")
    assert "posix.system" in refusal(magic + rest[0] + attacks(sentinel)["reduce"][0]).found
    assert not sentinel.exists()


def test_inert_classes_are_only_recorded(read) -> None:
    made = read(torch_zip(b"cutils.general\nrun\n" + text("a") + b"\x85R}" + text("b") + b"K\x01sb."))
    assert (made.kind, made.args, made.state) == (("utils.general", "run"), ("a",), {"b": 1})


# Tensors that reach outside their storage, and sizes that no machine has.


def tensor_program(offset: int, size: tuple[int, ...], stride: tuple[int, ...], elements: int = 4) -> bytes:
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("s0") + text("cpu")
    layout = b"".join(pickle.dumps(value, 2)[2:-1] for value in (offset, size, stride))
    hooks = b"\x89ccollections\nOrderedDict\n)R"
    number = pickle.dumps(elements, 2)[2:-1]
    return (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number + b"tQ" + layout + hooks + b"tR."
    )


FOUR = np.arange(4, dtype="<f4").tobytes()


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (1, (4,), (1,)),
        (0, (5,), (1,)),
        (0, (2, 3), (2, 1)),
        (4, (1,), (1,)),
        (5, (0,), (1,)),
        (-1, (1,), (1,)),
        (0, (-1,), (1,)),
        (3, (2,), (-1,)),
        (0, (2,), (4,)),
        (0, (1 << 40,), (0,)),
        (0, (1 << 61, 1 << 61), (0, 0)),
        (0, (1 << 80,), (1,)),
        (0, (0, 1 << 61), (1, 1)),
        (1 << 61, (1,), (1,)),
        (0, (2, 2), (1,)),
        (0, (1,) * 40, (1,) * 40),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(refusal, offset, size, stride) -> None:
    assert "damaged" in refusal(torch_zip(tensor_program(offset, size, stride), s0=FOUR)).message


def test_the_same_tensor_inside_its_storage_is_read(read) -> None:
    made = read(torch_zip(tensor_program(1, (2, 2), (1, 1)), s0=FOUR))
    assert made.tolist() == [[1, 2], [2, 3]]


@pytest.mark.parametrize("elements", [0, 3, 5, 1 << 33, 1 << 61, 1 << 70, -1])
def test_a_storage_of_another_size_than_declared_is_refused(refusal, elements: int) -> None:
    assert refusal(torch_zip(tensor_program(0, (1,), (1,), elements), s0=FOUR)).found


def test_a_missing_storage_is_refused(refusal) -> None:
    assert "data/s0" in refusal(torch_zip(tensor_program(0, (1,), (1,)))).found


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x04\x8e" + (1 << 40).to_bytes(8, "little") + b"abc.",
        b"B" + (1 << 31).to_bytes(4, "little") + b"abc.",
        b"]r\xff\xff\xff\xff0j\xff\xff\xff\xfe.",
        b"\x8b\xff\xff\xff\x7f1.",
        b"I" + b"9" * 100_000 + b"\n.",
        b"(" + b"(" * 100_000 + b"t" * 100_000 + b"\x94",
        b"}" + b")" + b"\x86\x94h\x00" * 3 + b"K\x01s.",
        b"",
        b".",
        b"(",
        b"0.",
        b"h\x05.",
        b"]K\x01K\x02s.",
        b"}(K\x01u.",
        b"K\x01R.",
        b"Na.",
        b"](K\x01\x90.",
        b"}(Nt",
    ],
)
def test_a_pickle_that_makes_no_sense_is_refused(refusal, program: bytes) -> None:
    messages = ("is a damaged torch file", "asks for something that no checkpoint needs")
    assert refusal(torch_zip(program)).message in messages


def test_a_key_that_takes_for_ever_to_hash_is_refused(refusal) -> None:
    doubled = b")" + b"2\x86" * 60
    assert "key that is a tuple" in refusal(torch_zip(b"}" + doubled + b"K\x01s.")).found


# What is not a checkpoint.


def test_what_is_no_torch_file_is_named(refusal) -> None:
    for data, kind in [
        (b"", "an empty file"),
        (b"<!DOCTYPE html>", "an HTML page"),
        (b"\xff\xd8\xff\xe0", "an image"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"\0\0\0\0\2\0\0\0\5\0\0\0", "first bytes 00 00 00 00 02 00 00 00"),
    ]:
        fault = refusal(data)
        assert (fault.message, fault.found) == ("is not a torch file", kind)
    assert "download failed" in refusal(b"<html>").hint


def test_a_zip_file_of_something_else_shows_what_is_in_it(refusal) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("photos/a.jpg", b"")
    assert refusal(buffer.getvalue()).found == "photos/a.jpg"


def test_a_compiled_program_is_told_apart(refusal) -> None:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.ReLU()), buffer)
    assert "TorchScript" in refusal(buffer.getvalue()).message


@FORMATS
def test_a_file_cut_short_anywhere_is_refused(refusal, is_zip: bool) -> None:
    data = saved(official(), is_zip)
    for length in range(16, len(data), len(data) // 60):
        assert refusal(data[:length]).message == "is a damaged torch file"


def test_a_flipped_bit_in_a_weight_is_refused(refusal) -> None:
    data = saved({"a": torch.full((50,), 1.5)})
    place = data.index(np.full(50, 1.5, "<f4").tobytes())
    assert "CRC" in refusal(data[:place] + b"\1" + data[place + 1 :]).found


def test_numbers_of_a_big_endian_machine_are_refused(refusal) -> None:
    program = pickle.dumps(1, 2)
    assert "big-endian" in refusal(torch_zip(program, byteorder=b"big")).message
    assert (
        "big-endian"
        in refusal(saved(1, False).replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89")).message
    )


def test_a_compressed_member_is_refused(refusal) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(1 << 24))
    assert "not compressed" in refusal(buffer.getvalue()).allowed


def test_a_missing_file_a_folder_and_a_device_are_told_apart(tmp_path: Path) -> None:
    for path, told in [
        (tmp_path / "none.pt", "No such file"),
        (tmp_path, "a folder"),
        (Path("/dev/zero"), "a device"),
    ]:
        with pytest.raises(WeightsError, match=told):
            read_pt(path)


# Random damage.


def outcome(read: Callable[[bytes], object], data: bytes) -> str:
    """`read` or `refused`; any other exception goes on to the test."""
    try:
        read(data)
    except WeightsError:
        return "refused"
    return "read"


def peak_kib() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def damaged(data: bytes, places: list[tuple[int, int]]) -> bytes:
    changed = bytearray(data)
    for place, value in places:
        changed[place % len(changed)] = value
    return bytes(changed)


PLACES = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=4)
WHOLE = {"zip": saved(official()), "legacy": saved(official(), False)}
PROGRAM = zipfile.ZipFile(io.BytesIO(WHOLE["zip"])).read("archive/data.pkl")


@FUZZ
@given(
    data=st.binary(max_size=200),
    start=st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", WHOLE["legacy"][:40]]),
)
def test_random_bytes_are_refused(read, data: bytes, start: bytes) -> None:
    assert outcome(read, start + data) == "refused"


@FUZZ
@given(places=PLACES, kind=st.sampled_from(sorted(WHOLE)))
def test_a_damaged_file_is_read_or_refused_and_takes_little_memory(read, places, kind: str) -> None:
    before = peak_kib()
    assert outcome(read, damaged(WHOLE[kind], places)) in ("read", "refused")
    assert peak_kib() - before < 1 << 18


@FUZZ
@given(places=PLACES)
def test_a_damaged_pickle_in_a_sound_archive_is_read_or_refused(read, places) -> None:
    before = peak_kib()
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(WHOLE["zip"])) as whole, zipfile.ZipFile(buffer, "w") as archive:
        for name in whole.namelist():
            archive.writestr(
                name, damaged(PROGRAM, places) if name.endswith("data.pkl") else whole.read(name)
            )
    assert outcome(read, buffer.getvalue()) in ("read", "refused")
    assert peak_kib() - before < 1 << 18


@FUZZ
@given(program=st.binary(max_size=60))
def test_a_random_pickle_is_read_or_refused(read, program: bytes) -> None:
    assert outcome(read, torch_zip(program + b".")) in ("read", "refused")
