"""The server's laws at full length; exit status 1 where one is broken.

    python -m benchmarks.serving_laws swaps
    python -m benchmarks.serving_laws fuzz --captioner models/captioner
    python -m benchmarks.serving_laws kills --run runs/demo

With --original, `tensorflow_model_server` is started from the PATH in place of the local server.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def main(arguments=None):
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="serving-laws-") as folder:
        findings = options.run(options, Path(folder))
    print(f"{options.law}:")
    for finding in findings:
        print(finding)
    return 1 if any(finding.held is False for finding in findings) else 0


def _parser():
    parser = argparse.ArgumentParser(prog="serving_laws", description=__doc__.split("\n\n")[0])
    laws = parser.add_subparsers(dest="law", required=True, metavar="LAW")

    def add(run, help):
        law = laws.add_parser(run.__name__.strip("_"), help=help, description=help)
        law.set_defaults(run=run)
        if run is not _kills:
            law.add_argument("--original", action="store_true", help="start tensorflow_model_server")
        return law

    law = add(_soak, "no error, and memory flat within 5%")
    law.add_argument("--seconds", type=float, default=600)
    _add_captioner(law)
    law = add(_swaps, "new versions under load: nothing fails, nobody goes back")
    law.add_argument("--count", type=int, default=100)
    law.add_argument("--steady-seconds", type=float, default=5, help="without a swap, before each tenth of them")
    law = add(_damaged, "damaged versions: the old one answers, the new one says why it does not")
    law.add_argument("--count", type=int, default=50)
    law = add(_overload, "three times what the server can do: what it can is answered, the rest refused at once")
    law.add_argument("--seconds", type=float, default=10, help="of each measurement")
    law.add_argument("--rounds", type=int, default=3)
    law = add(_queued, "what waits: not run past its deadline, answered before the server stops")
    law.add_argument("--count", type=int, default=100)
    law = add(_kills, "kill -9 of the exporter: never half a version")
    law.add_argument("--run", dest="run_dir", type=Path, required=True, help="a trained run")
    law.add_argument("--exported", type=Path, help="folder of a version exported from it; default: exported first")
    law.add_argument("--publishings", type=int, default=40, help="kills while a version is written and renamed")
    law.add_argument("--exports", type=int, default=10, help="kills of the whole command")
    law = add(_fuzz, "broken requests and size bombs: no crash, no hang, no word of the machine, little memory")
    law.add_argument("--count", type=int, default=20_000)
    law.add_argument("--seed", type=int, default=0)
    _add_captioner(law)
    return parser


def _add_captioner(law):
    law.add_argument("--captioner", type=Path, help="folder of an exported captioner's versions; default: no images")


def _soak(options, folder):
    from benchmarks.serving_laws.soak import soak

    return soak(folder, options.seconds, captioner=options.captioner, original=options.original)


def _swaps(options, folder):
    from benchmarks.serving_laws.swaps import swaps

    return swaps(folder, options.count, steady_s=options.steady_seconds, original=options.original)


def _damaged(options, folder):
    from benchmarks.serving_laws.damaged import damaged

    return damaged(folder, options.count, original=options.original)


def _overload(options, folder):
    from benchmarks.serving_laws.overload import overload

    return overload(folder, options.seconds, options.rounds, original=options.original)


def _queued(options, folder):
    from benchmarks.serving_laws.queued import queued

    return queued(folder, options.count, original=options.original)


def _kills(options, folder):
    from benchmarks.serving_laws.kills import kills
    from export.savedmodel import export_savedmodel

    exported = options.exported or export_savedmodel(options.run_dir, folder / "exported" / "captioner").path
    return kills(folder, exported.resolve(), options.run_dir.resolve(), options.publishings, options.exports)


def _fuzz(options, folder):
    from benchmarks.serving_laws.fuzz import fuzz

    return fuzz(folder, options.count, options.captioner, options.seed, options.original)


if __name__ == "__main__":
    sys.exit(main())
