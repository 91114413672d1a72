"""The `vl-keras` command: finds the sub-command that was asked for and runs it.

Each sub-command is a module with `add(commands)`, which describes its arguments, and `run(options)`, which does the
work and returns the exit status. Modules import TensorFlow and all that needs it inside `run`, so that `--help` and
errors in a config show at once.
"""

import argparse
import sys
from collections.abc import Sequence

import vl_keras
from vl_keras.cli import (
    completion,
    config,
    configs,
    data,
    ensemble,
    evaluate,
    extract,
    index,
    make_bert,
    make_memory,
    predict,
    search,
    train,
)
from vl_keras.cli.arguments import Parser
from vl_keras.cli.errors import run_command

_COMMANDS = (
    train,
    evaluate,
    predict,
    ensemble,
    make_memory,
    extract,
    data,
    index,
    search,
    make_bert,
    config,
    configs,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: the command line after `vl-keras`; None: `sys.argv`'s.

    Returns:
        The exit status: 0; 1 if no image could be read; 2 for an error that the user can fix.
    """
    options = _parser().parse_args(arguments)
    return run_command("vl-keras", lambda: options.execute(options))


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = Parser(
        prog="vl-keras",
        description="Models that read images and text together: train, evaluate, explain, use.",
        epilog="`vl-keras COMMAND --help` shows a command's arguments and an example.",
    )
    parser.add_argument("--version", action="version", version=f"vl-keras {vl_keras.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add(commands)
    completion.add(commands, parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
