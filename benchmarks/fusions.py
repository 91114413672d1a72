"""Compares all fusions on one question-answering config: accuracy, parameters, speed; and models with one input only.

    python benchmarks/fusions.py --set data.manual_dir=FOLDER_OF_THE_ZIP training.epochs=8 --out runs/fusions

Each is a run of `vl-keras train` with the same settings and seed; finished runs are reused. Then the training steps of
all runs are timed in turn; speed is the ratio to the first run, the median over the rounds. The last lines show by how
many points each fusion beats the better of the two models with one input only.
"""

import argparse
import json
import statistics
from collections.abc import Mapping
from pathlib import Path

from training_steps import stepper

from vl_keras.config import Config, load_config
from vl_keras.layers.fusion import FUSIONS
from vl_keras.runs.load_run import load_run
from vl_keras.runs.strategy import keras_settings
from vl_keras.training.train import train

MARGIN = 10.0  # points of accuracy
ROUNDS, STEPS = 5, 10  # for the timing
ALONE = {"question only": ["model.reads=text"], "image only": ["model.reads=image"]}


def main() -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/vqa/easy_vqa.yaml")
    parser.add_argument("--set", dest="overrides", nargs="+", action="extend", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", default="runs/fusions", help="folder of the runs (default: runs/fusions)")
    parser.add_argument("--only", nargs="+", help="names of fusions (default: all, and the two baselines)")
    options = parser.parse_args()
    base = load_config(options.config, options.overrides)
    wanted = {name: [f"model.fusion={name}"] for name in FUSIONS} | ALONE
    wanted = {name: changes for name, changes in wanted.items() if not options.only or name in options.only}
    accuracy, parameters = {}, {}
    for name, changes in wanted.items():
        run = Path(options.out) / name.replace(" ", "_")
        if not (run / "finished").exists():
            config = load_config(options.config, [*options.overrides, *changes])
            train(config, run, resume=(run / "config.yaml").exists())
            (run / "finished").touch()
        accuracy[name], parameters[name] = _result(run)
        print(f"{name}: {accuracy[name]:.2f}%", flush=True)
    speed = _speed({name: load_config(options.config, [*options.overrides, *c]) for name, c in wanted.items()})
    print("| fusion | accuracy | parameters after the encoders | steps/s | speed |\n|---|---|---|---|---|")
    for name in wanted:
        rate, ratio = speed[name]
        label = f"{name} ({base.model.fusion})" if name in ALONE else name
        print(f"| {label} | {accuracy[name]:.2f}% | {parameters[name]:,} | {rate:.2f} | {ratio:.2f} |")
    alone = [points for name, points in accuracy.items() if name in ALONE]
    joined = {name: points - max(alone) for name, points in accuracy.items() if name in FUSIONS and alone}
    for name, margin in sorted(joined.items(), key=lambda pair: pair[1]):
        print(f"{name}: {margin:+.1f} points ({'HELD' if margin >= MARGIN else 'MISSED'}, at least {MARGIN:g})")
    return 0 if all(margin >= MARGIN for margin in joined.values()) else 1


def _result(run: Path) -> tuple[float, int]:
    """The best accuracy of a run in percent, and its number of parameters after the encoders."""
    best = json.loads((run / "measures.json").read_text(encoding="utf-8"))["best"]
    _, _, model, _ = load_run(run)
    return 100 * best["measures"]["accuracy"], model.image_reader.count_params() + model.pair_reader.count_params()


def _speed(configs: Mapping[str, Config]) -> dict[str, tuple[float, float]]:
    """Median steps per second of each config, and the median ratio of its speed to the first."""
    steppers, seconds = {}, {name: [] for name in configs}
    for name, config in configs.items():
        with keras_settings(config.training.precision, config.training.seed):
            steppers[name], _ = stepper(config)
    for number in range(ROUNDS):
        for name in configs if number % 2 else reversed(configs):
            seconds[name].append(steppers[name](STEPS))
    first = next(iter(seconds.values()))
    return {
        name: (1 / statistics.median(own), statistics.median(a / b for a, b in zip(first, own, strict=True)))
        for name, own in seconds.items()
    }


if __name__ == "__main__":
    raise SystemExit(main())
