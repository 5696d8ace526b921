"""Checks that no input, kill, full disk or crowd of processes costs a user anything.

    python tools/robustness.py --short                       # what the slow tests run
    python tools/robustness.py --only fuzz-pt --seed 3 --json pt.json
    python tools/robustness.py --table pt.json cfg.json      # results of several runs as one table
    python tools/robustness.py --replay robustness-found/pt-3-31.json

The table says for each check how often it was tried, how many tries found a fault, the longest try and the
peak memory. Inputs of the fuzzer that found a fault are kept below --keep.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

# One thread each: a process that is forked has none but its first.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
from robustness_disk import check_disks  # noqa: E402
from robustness_fuzz import fuzz, replay  # noqa: E402
from robustness_kill import check_kills  # noqa: E402
from robustness_load import check_crowd, check_load  # noqa: E402
from robustness_networks import make_network_seeds  # noqa: E402
from robustness_seeds import KINDS, make_seeds  # noqa: E402
from robustness_sudden import check_sudden  # noqa: E402
from robustness_table import (  # noqa: E402
    CheckResult,
    NamedCheck,
    Options,
    format_table,
    read_results,
    write_results,
)


def find_checks() -> dict[str, NamedCheck]:
    """All checks by name."""
    return {
        **{
            f"fuzz-{kind}": NamedCheck(f"mutated {what}", partial(fuzz_kind, kind))
            for kind, what in KINDS.items()
        },
        "kill": NamedCheck("processes killed at random moments: files whole, work goes on", check_kills),
        "disk": NamedCheck("full disks, and folders that cannot be written", check_disks),
        "sudden": NamedCheck("data that goes, sources that end, signals, closed streams", check_sudden),
        "load": NamedCheck("20,000 images: flat memory, each record that of its image", check_load),
        "crowd": NamedCheck("three processes at once in one project", check_crowd),
    }


def fuzz_kind(kind: str, options: Options) -> CheckResult:
    """The fuzzer, with seeds that are made once."""
    return fuzz(kind, make_seeds(networks=make_network_seeds)[kind], options)


def main() -> None:
    """Run the checks that are asked for."""
    asked = parse_arguments()
    checks = find_checks()
    if asked.list:
        print("\n".join(f"{name:16} {check.about}" for name, check in checks.items()))
    elif asked.table:
        print(format_table([one for path in asked.table for one in read_results(path)]))
    elif asked.replay:
        kind = asked.replay.name.partition("-")[0]
        found = replay(asked.replay, make_seeds(networks=make_network_seeds)[kind])
        print(found or "no fault")
        sys.exit(1 if found else 0)
    else:
        sys.exit(run_checks({name: checks[name] for name in asked.only or checks}, asked))


def run_checks(checks: dict[str, NamedCheck], asked: argparse.Namespace) -> int:
    """Run them one after the other; 1 if there were faults."""
    done: list[CheckResult] = []

    def tell(one: CheckResult) -> None:
        if asked.json:
            write_results([*done, one], asked.json)

    for check in checks.values():
        with tempfile.TemporaryDirectory(prefix="robustness-") as folder:
            how = (asked.seed, asked.short, asked.count, asked.start, asked.here)
            result = check.run(Options(*how, Path(folder), asked.keep.absolute(), tell))
        tell(result)
        done.append(result)
        print(format_table([result]).splitlines()[2], flush=True)
    print(f"\n{format_table(done)}")
    return 1 if any(one.faults for one in done) else 0


def parse_arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", choices=[*find_checks()], metavar="NAME")
    parser.add_argument("--short", action="store_true", help="less of each, in under a minute together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=_read_tries, help="tries of each check")
    parser.add_argument("--start", type=int, default=0, help="number of the fuzzer's first input")
    parser.add_argument("--here", action="store_true", help="no process for the fuzzer: coverage, debuggers")
    parser.add_argument("--keep", type=Path, default=Path("robustness-found"))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, as they come")
    parser.add_argument("--table", type=Path, nargs="+", metavar="FILE", help="print such results")
    parser.add_argument("--replay", type=Path, metavar="FILE")
    parser.add_argument("--list", action="store_true", help="name the checks")
    asked = parser.parse_args()
    if asked.replay and asked.replay.name.partition("-")[0] not in KINDS:
        parser.error(
            f"--replay: {asked.replay.name} is not named after a kind, as {next(iter(KINDS))}-1-31.json is"
        )
    for path in [*(asked.table or ()), *filter(None, [asked.replay])]:
        if not path.is_file():
            parser.error(f"no such file: {path}")
    return asked


def _read_tries(text: str) -> int:
    """A number of tries: without one, "no fault" would say nothing."""
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{count} is not 1 or more")
    return count


if __name__ == "__main__":
    main()
