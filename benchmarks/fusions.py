"""Every fusion on one question-answering config: accuracy, parameters, steps a second; and models shown one input only.

    python benchmarks/fusions.py --set data.manual_dir=FOLDER_OF_THE_ZIP training.epochs=8 --out runs/fusions

Each is a run of `vl-keras train` with the same settings and seed. A run that is there already is not made again. At the
end: by how many points every fusion beats the better of the two models that are shown one input only.
"""

import argparse
import csv
import json
from pathlib import Path

from vl_keras.config import load_config
from vl_keras.layers.fusion import FUSIONS
from vl_keras.training.run_dir import load_run
from vl_keras.training.train import train

MARGIN = 10.0  # points of accuracy


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/vqa/easy_vqa.yaml")
    parser.add_argument("--set", dest="overrides", nargs="+", action="extend", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", default="runs/fusions", help="folder of the runs (default: runs/fusions)")
    parser.add_argument("--only", nargs="+", help="names of fusions; default: all, and the two baselines")
    options = parser.parse_args()
    base = load_config(options.config, options.overrides)
    wanted = {f"question only ({base.model.fusion})": ["model.reads=text"]}
    wanted[f"image only ({base.model.fusion})"] = ["model.reads=image"]
    wanted = {name: [f"model.fusion={name}"] for name in FUSIONS} | wanted
    print("| fusion | accuracy | parameters after the encoders | steps/s |\n|---|---|---|---|", flush=True)
    accuracy = {}
    for name, changes in wanted.items():
        if options.only and name.split(" (")[0] not in options.only:
            continue
        run = Path(options.out) / name.split(" (")[0].replace(" ", "_")
        if not (run / "finished").exists():
            train(
                load_config(options.config, [*options.overrides, *changes]), run, resume=(run / "config.yaml").exists()
            )
            (run / "finished").touch()
        accuracy[name], row = _row(name, run)
        print(row, flush=True)
    alone = [points for name, points in accuracy.items() if " only" in name]
    joined = {name: points - max(alone) for name, points in accuracy.items() if name in FUSIONS and alone}
    for name, margin in sorted(joined.items(), key=lambda pair: pair[1]):
        print(f"{name}: {margin:+.1f} points ({'HELD' if margin >= MARGIN else 'MISSED'}, at least {MARGIN:g})")
    return 0 if all(margin >= MARGIN for margin in joined.values()) else 1


def _row(name, run):
    best = json.loads((run / "measures.json").read_text(encoding="utf-8"))["best"]
    with open(run / "history.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    # The first epoch holds the graph's tracing.
    seconds = sorted(float(row["seconds"]) for row in rows[1:] or rows)
    rate = int(rows[0]["step"]) / seconds[len(seconds) // 2]
    _, _, model, _ = load_run(run)
    parameters = model.image_reader.count_params() + model.pair_reader.count_params()
    points = 100 * best["measures"]["accuracy"]
    return points, f"| {name} | {points:.2f}% | {parameters:,} | {rate:.2f} |"


if __name__ == "__main__":
    raise SystemExit(main())
