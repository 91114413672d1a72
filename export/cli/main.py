"""The `vl-export` command: parses the command line and runs the sub-command.

Each sub-command is a module with `add(commands)`, which adds its arguments, and `run(options)`, which does the work and
returns the exit status. The modules import TensorFlow and gRPC inside `run`, so `--help` is fast.
"""

import argparse
from collections.abc import Sequence

import vl_keras
from export.cli import app, batch, deploy, inspect, request, savedmodel, serve
from export.errors import ExportError
from vl_keras.cli import completion
from vl_keras.cli.arguments import Parser
from vl_keras.cli.errors import run_command

_COMMANDS = (savedmodel, inspect, serve, request, deploy, batch, app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: the command line after `vl-export`; None: that of the process.

    Returns:
        The exit status: 0, 1 for an error that the user can fix, 2 for a bad command line.
    """
    parser: argparse.ArgumentParser = Parser(
        prog="vl-export",
        description="Takes a trained run into production: export, inspect, serve, request, batch.",
        epilog="`vl-export COMMAND --help` shows the arguments of a command and an example.",
    )
    parser.add_argument("--version", action="version", version=f"vl-export {vl_keras.__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add(commands)
    completion.add(commands, parser)
    options = parser.parse_args(arguments)
    return run_command(f"vl-export {options.command}", lambda: options.execute(options), failed=1, errors=ExportError)
