"""YAML files of people's making: plain values, read in time and memory that fit the length of the file."""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import accumulate, chain
from typing import Any

import yaml

from yolor_cfg.errors import YolorError
from yolor_cfg.files import StrPath, read_bounded

BOOL, MERGE = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:merge"
NULL, TEXT = "tag:yaml.org,2002:null", "tag:yaml.org,2002:str"
MOST_LEVELS = 50
MOST_VALUES = 1_000_000
"""With each alias counted as what it stands for: a few lines of them can stand for more than any memory."""
RESOLVERS = {
    first: [(tag, pattern) for tag, pattern in known if tag != BOOL or first in "tTfF"]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
"""yes, no, on and off are texts, as in YAML 1.2: they may be names."""


def _refuse_repeated(node: yaml.MappingNode) -> None:
    """A key that is given twice: PyYAML takes the last one without a word."""
    seen = set[tuple[str, str]]()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
            continue
        if (key.tag, key.value) in seen:
            raise yaml.MarkedYAMLError(problem=f"{key.value} is given twice", problem_mark=key.start_mark)
        seen.add((key.tag, key.value))


def _count_values(node: yaml.Node, counts: dict[int, int]) -> int:
    if id(node) in counts:
        return counts[id(node)]
    counts[id(node)] = MOST_VALUES + 1  # what an alias within itself finds
    if isinstance(node, yaml.MappingNode):
        _refuse_repeated(node)
    parts = node.value if isinstance(node, yaml.CollectionNode) else []
    inner = [child for part in parts for child in (part if isinstance(part, tuple) else (part,))]
    counts[id(node)] = 1 + sum(_count_values(child, counts) for child in inner)
    if counts[id(node)] > MOST_VALUES:
        raise yaml.MarkedYAMLError(problem="aliases that stand for too much", problem_mark=node.start_mark)
    return counts[id(node)]


def _keep_texts(root: yaml.Node, keys: Collection[str]) -> None:
    """Let what is listed or mapped to under these keys of the file be texts, as they are written."""
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    lists = [value.value for key, value in pairs if key.value in keys and isinstance(value.value, list)]
    for part in chain.from_iterable(lists):
        last = part[1] if isinstance(part, tuple) else part
        if isinstance(last, yaml.ScalarNode) and last.tag != NULL:
            last.tag = TEXT


def _find_depth(data: bytes) -> int:
    """The most brackets that are open at once."""
    steps = (1 if bracket in b"[{" else -1 for bracket in re.findall(rb"[][{}]", data))
    return max(accumulate(steps), default=0)


def read_yaml(path: StrPath, *, fault: type[YolorError], what: str, texts: Collection[str] = ()) -> Any:
    """The plain values in the file: dicts, lists, texts, numbers, dates; raises `fault` for anything else.
    What a list or a map has under the keys `texts` is not taken for a number: 010 and 1.10 stay so."""
    data = read_bounded(path, fault=fault, what=what)
    if _find_depth(data) > MOST_LEVELS:  # which PyYAML takes a quadratic time to find
        raise fault(f"{what} is not valid YAML", path=str(path), found="values within values too deep")
    try:
        loader = yaml.SafeLoader(data.decode("utf-8-sig"))
        loader.yaml_implicit_resolvers = RESOLVERS
        root = loader.get_single_node()
        if root is None:
            return None
        _count_values(root, {})
        _keep_texts(root, texts)
        return loader.construct_document(root)
    except (yaml.YAMLError, ValueError, RecursionError, AttributeError) as cause:
        mark = getattr(cause, "problem_mark", None)
        line, problem = mark.line + 1 if mark else 0, getattr(cause, "problem", None)
        found = (
            "values within values too deep" if isinstance(cause, RecursionError) else problem or str(cause)
        )
        message = f"{what} is not valid YAML"
        raise fault(message, path=str(path), line=line, found=found.partition("\n")[0][:200]) from None
