"""C Darknet's `train` in the words of `yolor train`."""

from __future__ import annotations

from yolor_cfg.cli.darknet.line import CommandLine

USUAL_EPOCHS = 4
"""Epochs between the tests of `detector train -map`."""


def train_words(line: CommandLine) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words, and the notes; raises UsageError for several GPUs, which need several processes."""
    data, cfg, *weights = line.words
    words = ("train", cfg, "--data", data, *_weights_words(weights), *_validation_words(line))
    return (*words, *_gpu_words(line, words)), _seen_notes(line, weights)


def _weights_words(weights: list[str]) -> tuple[str, ...]:
    return ("--weights", weights[0]) if weights and weights[0] else ()


def _validation_words(line: CommandLine) -> tuple[str, ...]:
    """Without -map or -topk C Darknet does not test while it trains."""
    if "-topk" in line.options:
        return ()
    if "-map" not in line.options:
        return ("--no-val",)
    return ("--val-period", str(line.integer("-mAP_epochs", USUAL_EPOCHS)))


def _gpu_words(line: CommandLine, words: tuple[str, ...]) -> tuple[str, ...]:
    import shlex

    import click

    numbers = [number for number in line.options.get("-gpus", "").split(",") if number]
    if len(numbers) > 1:
        start = (
            f"CUDA_VISIBLE_DEVICES={','.join(numbers)} torchrun --standalone --nproc-per-node={len(numbers)}"
        )
        own = shlex.join((*words, "--device", "cuda", "--sync-bn"))
        raise click.UsageError(f"-gpus: several GPUs are several processes: {start} -m yolor_cfg {own}")
    return ("--device", numbers[0]) if numbers else ()


def _seen_notes(line: CommandLine, weights: list[str]) -> tuple[str, ...]:
    """That the iterations of weights are not gone on with."""
    if "-clear" in line.options or not weights or not weights[0]:
        return ()
    from yolor_cfg.weights.layout import WeightsHeader
    from yolor_cfg.weights.prefix import is_checkpoint, read_prefix

    file = read_prefix(weights[0])
    is_short = file.size_bytes < WeightsHeader().size_bytes  # the training says what is wrong with it
    seen = 0 if is_checkpoint(file) or is_short else WeightsHeader.from_bytes(file.first_bytes).seen
    if not seen:
        return ()
    return (
        f"{weights[0]} has seen {seen:,} images: C Darknet goes on from there without -clear; this run "
        "begins at iteration 0 (`yolor train --resume RUN` goes on with a run of ours)",
    )
