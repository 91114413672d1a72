"""`vl-keras evaluate`: scores a trained run on a split."""

import argparse

from vl_keras.cli.arguments import Commands, add_command, add_run_arguments


def add(commands: Commands) -> None:
    """Describes the command."""
    command = add_command(
        commands,
        "evaluate",
        run,
        "score a trained run on a split",
        "Prints the metrics of the run's task on a split with 95% intervals. RUN/evaluation/ gets them (SPLIT.json), "
        "the output for every example (SPLIT_captions.json, SPLIT_answers.jsonl, …) and a contact sheet (SPLIT.png). "
        "They replace those of an earlier evaluation, whose scores stay in history.jsonl.",
        "vl-keras evaluate runs/flickr8k --split test --set data.manual_dir=~/flickr8k generation.beam_size=5",
    )
    command.add_argument("--split", default="dev", help="split of the data (default: dev)")
    command.add_argument("--java", action="store_true", help="captions: also METEOR and SPICE, which need Java")
    command.add_argument("--out", metavar="FOLDER", help="write there instead of RUN/evaluation")
    command.add_argument(
        "--report", metavar="OUT.html", help="also write a page with the metrics, the contact sheet and the curves"
    )
    add_run_arguments(command)


def run(options: argparse.Namespace) -> None:
    """Evaluates and prints the metrics."""
    from vl_keras.inference.evaluate import evaluate, format_evaluation

    result = evaluate(
        options.run,
        options.split,
        options.overrides,
        options.weights,
        options.java,
        options.out,
        options.report,
    )
    print(format_evaluation(result))
