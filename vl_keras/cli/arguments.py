"""Arguments that several commands share, and how a command's help is laid out."""

import argparse
from collections.abc import Callable
from typing import NoReturn, TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Run: TypeAlias = Callable[[argparse.Namespace], int | None]


def add_command(
    commands: Commands, name: str, run: Run, summary: str, description: str, example: str
) -> argparse.ArgumentParser:
    """Adds a command to the parser.

    Args:
        commands: of the parser.
        name: what the user types.
        run: called with the parsed options; returns the exit status, None for 0.
        summary: a few words for the list of commands.
        description: what it does, in a few sentences.
        example: lines that can be typed as they stand.

    Returns:
        Its parser, for its arguments.
    """
    command = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=_HelpFormatter,
    )
    command.set_defaults(execute=run)
    return command


class Parser(argparse.ArgumentParser):
    """Says how a value that begins with "-" is written, which would be taken for an option."""

    def error(self, message: str) -> NoReturn:
        if "expected" in message and "argument" in message:
            message += "; a value that begins with - is written --option=VALUE"
        super().error(message)


class _HelpFormatter(argparse.HelpFormatter):
    """Folds the description to the terminal and leaves the example's lines as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("example:"):
            return text
        return super()._fill_text(text, width, indent)


def add_config_arguments(command: argparse.ArgumentParser) -> None:
    """Adds CONFIG and `--set`."""
    command.add_argument(
        "config", metavar="CONFIG", help="YAML file, or the name of a shipped experiment (see `vl-keras configs`)"
    )
    _add_set(command, "settings that replace the file's, e.g. training.epochs=5 data.batch_size=16")


def add_run_arguments(command: argparse.ArgumentParser) -> None:
    """Adds RUN, `--set` and `--weights`."""
    command.add_argument("run", metavar="RUN", help="run directory written by `vl-keras train` or `vl-keras ensemble`")
    add_use_arguments(command)


def add_use_arguments(command: argparse.ArgumentParser) -> None:
    """Adds `--set` and `--weights`, for commands that use trained runs."""
    _add_set(
        command,
        "settings that replace the run's; only those that leave its weights valid, such as data.… and "
        "generation.…, e.g. generation.beam_size=5",
    )
    command.add_argument(
        "--weights",
        choices=("auto", "best", "last", "ema"),
        default="auto",
        help="which of the run's weights (auto: best, else last)",
    )


def _add_set(command: argparse.ArgumentParser, help: str) -> None:
    command.add_argument(
        "--set", dest="overrides", metavar="KEY=VALUE", nargs="+", action="extend", default=[], help=help
    )


def utf8(text: str) -> str:
    """Type of an argument whose text a model reads.

    Raises:
        argparse.ArgumentTypeError: it is not UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("the text is not UTF-8") from None
    return text
