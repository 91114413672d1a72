"""`vl-keras predict`: what a trained run says about anybody's images."""

import argparse
import sys
from typing import Any

from vl_keras.cli.arguments import Commands, add_command, add_run_arguments, utf8
from vl_keras.cli.errors import LinePrinter
from vl_keras.tasks import TASKS
from vl_keras.tasks.task import TextInput


def add(commands: Commands) -> None:
    """Describes the command."""
    command = add_command(
        commands,
        "predict",
        run,
        "caption images, answer questions about them, match them with texts",
        "Prints a line for each image: its path, a tab, and the prediction, such as a caption. If the run reads "
        "texts, it prints a line for each image and each text: path, text, and the prediction with its confidence. An "
        "image that cannot be read is listed at the end and stops nothing. Exit status 1: none could be read.",
        "vl-keras predict runs/flickr8k --image holiday/ dog.jpg --out captions.jsonl --report holiday.html\n"
        "  vl-keras predict runs/flickr8k --image dog.jpg --explain dog.png\n"
        '  vl-keras predict runs/easy_vqa --image shapes/ --question "what shape is it?" --question "is it red?"\n'
        '  vl-keras predict runs/matching --image holiday/ --text "a dog in the snow"',
    )
    command.add_argument(
        "--image", metavar="PATH", nargs="+", action="extend", required=True, help="files, or folders of images"
    )
    for name, help in _inputs().items():
        command.add_argument(f"--{name}", metavar="TEXT", type=utf8, action="append", default=[], help=help)
    command.add_argument(
        "--explain",
        metavar="OUT.png",
        help="draw where the model looked for each word (several images: OUT-NAME.png, several texts: OUT-1.png)",
    )
    command.add_argument("--out", metavar="FILE", help="also write JSON lines, with other candidates and their scores")
    command.add_argument(
        "--report", metavar="OUT.html", help="also write a page with the images, the predictions and the explanations"
    )
    add_run_arguments(command)


def run(options: argparse.Namespace) -> int:
    """Predicts and prints a line for each prediction."""
    from vl_keras.inference.predict import format_failures, predict
    from vl_keras.inference.prediction import OK

    show = LinePrinter(goes_on=bool(options.out or options.explain))

    def report(prediction: Any) -> None:
        if prediction.status == OK:
            show(f"{prediction.path}\t{prediction.line}")

    predictions = predict(
        options.run,
        options.image,
        inputs={name: getattr(options, name) for name in _inputs()},
        explain=options.explain,
        out=options.out,
        overrides=options.overrides,
        weights=options.weights,
        report=report,
        page=options.report,
    )
    for prediction in predictions:
        if prediction.explanation is not None:
            print(f"explanation: {prediction.explanation}", file=sys.stderr)
    if options.report:
        print(f"report: {options.report}", file=sys.stderr)
    failures = format_failures(predictions)
    if failures:
        print(failures, file=sys.stderr)
    return int(not any(prediction.status == OK for prediction in predictions))


def _inputs() -> dict[str, str]:
    """Help by name of every text that some task reads beside an image."""
    inputs: dict[str, TextInput] = {}
    users: dict[str, list[str]] = {}
    for task, kind in TASKS.items():
        for text in kind.inputs:
            inputs.setdefault(text.name, text)
            users.setdefault(text.name, []).append(task)
    return {
        name: f"{', '.join(users[name])}: {text.help}{'; may be given several times' if text.many else ''}"
        for name, text in inputs.items()
    }
