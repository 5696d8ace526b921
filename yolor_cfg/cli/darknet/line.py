"""A command line of C Darknet: its options may stand anywhere (find_arg in utils.c), and the other words keep
their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import click

FLAGS = frozenset(
    "-benchmark -benchmark_layers -clear -cuda_debug_sync -dont_show -dontdraw_bbox -dontuse_opencv "
    "-ext_output -letter_box -map -save_labels -show -show_imgs -topk".split()
)
WITH_VALUE = frozenset(
    "-avgframes -c -chart -gpus -height -hier -http_post_host -i -iou_thresh -json_file_output -json_port "
    "-mAP_epochs -mjpeg_port -num_of_clusters -out -out_filename -points -prefix -s -t -thresh "
    "-time_limit_sec -width".split()
)
STRIPPED = str.maketrans("", "", "\r\n\t")
"""What C Darknet removes from each word: a list of commands may have Windows' line ends."""


class CommandLine(NamedTuple):
    """The words that are no options; the options with their values ("" for one without); and the options of
    ours, with two dashes, which are handed on."""

    words: tuple[str, ...]
    options: Mapping[str, str]
    own: tuple[str, ...] = ()

    def integer(self, name: str, default: int) -> int:
        """The value of an option as a whole number."""
        text = self.options.get(name, str(default))
        try:
            return int(text)
        except ValueError:
            raise click.UsageError(f"{name} {text}: not a whole number") from None


def parse_line(args: Sequence[str]) -> CommandLine:
    """Sort the words; raises UsageError for an option that C Darknet does not have. Of one that is given
    twice the first counts, as there."""
    rest = [arg.translate(STRIPPED) for arg in args]
    words, options, own = list[str](), dict[str, str](), list[str]()
    while rest:
        word = rest.pop(0)
        if word.startswith("--"):
            own.append(word)
        elif not word.startswith("-") or word == "-":
            words.append(word)
        elif word in FLAGS:
            options.setdefault(word, "")
        else:
            options.setdefault(word, _take_value(word, rest))
    return CommandLine(tuple(words), options, tuple(own))


def _take_value(word: str, rest: list[str]) -> str:
    if word not in WITH_VALUE:
        from yolor_cfg.lang.keys import suggest_word

        hint = suggest_word(word, sorted(FLAGS | WITH_VALUE))
        raise click.UsageError(f"no such option of C Darknet: {word}" + (f"; {hint}" if hint else ""))
    if not rest:
        raise click.UsageError(f"{word} needs a value")
    return rest.pop(0)
