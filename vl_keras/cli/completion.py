"""`vl-keras completion` and `vl-export completion`: completion of the command line in a shell."""

import argparse

from vl_keras.cli.arguments import Commands, add_command

_SHELLS = ("bash", "zsh", "tcsh", "fish")


def add(commands: Commands, parser: argparse.ArgumentParser) -> None:
    """Adds the command.

    Args:
        commands: of the parser.
        parser: the whole command's.
    """
    command = add_command(
        commands,
        "completion",
        lambda options: _run(parser, options.shell),
        "print the script that completes this command in a shell",
        "Prints a script for a shell, which then completes commands, options and file names.",
        f'eval "$({parser.prog} completion bash)"',
    )
    command.add_argument("shell", choices=_SHELLS, help="name of the shell")


def _run(parser: argparse.ArgumentParser, shell: str) -> None:
    import shtab

    _complete_files(parser)
    print(shtab.complete(parser, shell))


def _complete_files(parser: argparse.ArgumentParser) -> None:
    """Has every value without a list of choices completed as the name of a file."""
    import shtab

    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _complete_files(command)
        elif action.nargs != 0 and action.choices is None:
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # what shtab reads
