"""Checks the guarantees of the server at full length; exit status 1 if one does not hold.

    python -m benchmarks.serving_laws swaps
    python -m benchmarks.serving_laws fuzz --captioner models/captioner
    python -m benchmarks.serving_laws kills --run runs/demo

With --original, `tensorflow_model_server` from the PATH is started instead of the local server.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.serving_laws.finding import Finding

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def main(arguments: Sequence[str] | None = None) -> int:
    """Checks one guarantee and prints the findings."""
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="serving-laws-") as folder:
        findings = options.run(options, Path(folder))
    print(f"{options.law}:")
    for finding in findings:
        print(finding)
    return 1 if any(finding.held is False for finding in findings) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="serving_laws", description=__doc__.split("\n\n")[0])
    laws = parser.add_subparsers(dest="law", required=True, metavar="LAW")

    def add(run: Callable[[argparse.Namespace, Path], list[Finding]], help: str) -> argparse.ArgumentParser:
        law = laws.add_parser(run.__name__.strip("_"), help=help, description=help)
        law.set_defaults(run=run)
        if run is not _kills:
            law.add_argument("--original", action="store_true", help="start tensorflow_model_server")
        return law

    law = add(_soak, "no errors, and memory constant within 5%")
    law.add_argument("--seconds", type=float, default=600)
    _add_captioner(law)
    law = add(_swaps, "new versions under load: no request fails, no client gets an older version")
    law.add_argument("--count", type=int, default=100)
    law.add_argument(
        "--steady-seconds", type=float, default=5, help="seconds without a swap before each tenth of the swaps"
    )
    law = add(_damaged, "damaged versions: the old version stays available, the new one reports why it failed")
    law.add_argument("--count", type=int, default=50)
    law = add(_overload, "three times the capacity: requests within capacity succeed, the rest is rejected at once")
    law.add_argument("--seconds", type=float, default=10, help="duration of each measurement")
    law.add_argument("--rounds", type=int, default=3)
    law = add(_queued, "waiting requests: not run after their deadline, finished before the server stops")
    law.add_argument("--count", type=int, default=100)
    law = add(_kills, "kill -9 of the exporter: no incomplete version")
    law.add_argument("--run", dest="run_dir", type=Path, required=True, help="a trained run")
    law.add_argument("--exported", type=Path, help="folder of a version exported from it (default: export first)")
    law.add_argument(
        "--publishings", type=int, default=40, help="number of kills while a version is written and renamed"
    )
    law.add_argument("--exports", type=int, default=10, help="number of kills of the whole command")
    law = add(_fuzz, "invalid requests and size bombs: no crash, no hang, no details of the machine, little memory")
    law.add_argument("--count", type=int, default=20_000)
    law.add_argument("--seed", type=int, default=0)
    _add_captioner(law)
    return parser


def _add_captioner(law: argparse.ArgumentParser) -> None:
    law.add_argument(
        "--captioner", type=Path, help="folder with the versions of an exported captioner (default: no images)"
    )


def _soak(options: argparse.Namespace, folder: Path) -> list[Finding]:
    from benchmarks.serving_laws.soak import soak

    return soak(folder, options.seconds, captioner=options.captioner, original=options.original)


def _swaps(options: argparse.Namespace, folder: Path) -> list[Finding]:
    from benchmarks.serving_laws.swaps import swaps

    return swaps(folder, options.count, steady_s=options.steady_seconds, original=options.original)


def _damaged(options: argparse.Namespace, folder: Path) -> list[Finding]:
    from benchmarks.serving_laws.damaged import damaged

    return damaged(folder, options.count, original=options.original)


def _overload(options: argparse.Namespace, folder: Path) -> list[Finding]:
    from benchmarks.serving_laws.overload import overload

    return overload(folder, options.seconds, options.rounds, original=options.original)


def _queued(options: argparse.Namespace, folder: Path) -> list[Finding]:
    from benchmarks.serving_laws.queued import queued

    return queued(folder, options.count, original=options.original)


def _kills(options: argparse.Namespace, folder: Path) -> list[Finding]:
    from benchmarks.serving_laws.kills import kills
    from export.savedmodel import export_savedmodel

    exported = options.exported or export_savedmodel(options.run_dir, folder / "exported" / "captioner").path
    return kills(folder, exported.resolve(), options.run_dir.resolve(), options.publishings, options.exports)


def _fuzz(options: argparse.Namespace, folder: Path) -> list[Finding]:
    from benchmarks.serving_laws.fuzz import fuzz

    return fuzz(folder, options.count, options.captioner, options.seed, options.original)


if __name__ == "__main__":
    sys.exit(main())
