"""What `yolor train` takes at the start of a run it takes when the run is resumed."""

import click
import pytest
import tiny_detector as tiny
import yaml

from yolor_cfg.cli.train import CLI_ONLY_OPTIONS, train
from yolor_cfg.train.settings import TrainOptions

FIELDS = {"size": "img_size"}
TEXTS = (
    "a",
    "=",
    "~",
    "null",
    "1e-3",
    "no",
    "2024-01-01",
    "a: b",
    "#",
    "a\nb",
    "\x07",
    "é",
    "\udcff",
    "x" * 500,
)
KEPT = [param for param in train.params if param.name not in ({*CLI_ONLY_OPTIONS, "cfg_file"} - {"size"})]


def values_of(param):
    """Texts that the command takes for this option: for numbers the bounds, which there must be."""
    if isinstance(param.type, click.Choice):
        return [choice for choice in param.type.choices if choice != "auto"]  # which is decided before
    if isinstance(param.type, click.IntRange | click.FloatRange):
        return [str(param.type.min), str(param.type.max)]
    if getattr(param, "is_flag", False):
        return [True, False]
    if param.name == "size":
        return ["1", "99999x1", "416", "416x320", "16384"]
    if param.name == "device":
        return ["cpu", "mps", "0", "cuda:1"]
    if param.name == "data_weights":
        return ["1,1,2", "0,1e-3", "7"]
    return TEXTS if param.name == "data" else TEXTS[:3]


def read_back(name, value):
    """The value after a run has saved its options and read them."""
    said = TrainOptions("a.cfg", "a.data")._replace(**{name: value})
    return getattr(TrainOptions.from_dict(yaml.safe_load(yaml.safe_dump(said.to_dict()))), name)


@pytest.mark.parametrize("param", KEPT, ids=lambda param: param.name)
def test_every_value_that_the_command_takes_comes_back_from_the_record(param):
    name = FIELDS.get(param.name, param.name)
    assert name in TrainOptions._fields
    for text in values_of(param):
        value = param.type.convert(text, param, None)
        kept = read_back(name, value)
        assert value == kept and type(value) is type(kept)


def test_every_option_in_the_record_is_one_of_the_command():
    assert {FIELDS.get(param.name, param.name) for param in KEPT} == set(TrainOptions._fields)


NUMBERS = [param for param in KEPT if isinstance(param.type, click.IntRange | click.FloatRange)]


@pytest.mark.parametrize("param", NUMBERS, ids=lambda param: param.name)
@pytest.mark.parametrize("beyond", ["1e30", 10**30, "below", "above"])
def test_a_number_out_of_its_bounds_is_refused_by_the_command_and_by_the_record(param, beyond):
    number = {"below": param.type.min - 1, "above": param.type.max + 1}.get(beyond, beyond)
    result = tiny.yolor("train", "a.cfg", "--data", "a.data", f"{param.opts[0]}={number}")
    assert result.exit_code == 2 and "Error: " in result.stderr
    with pytest.raises(ValueError, match=f"^{param.name}: "):
        read_back(param.name, float(number) if beyond == "1e30" else number)
