"""`vl-keras config`: prints the settings, their defaults, rules and meanings."""

import argparse

from vl_keras.cli.arguments import Commands, add_command


def add(commands: Commands) -> None:
    """Describes the command."""
    command = add_command(
        commands,
        "config",
        run,
        "explain the settings",
        "Prints every setting with its key, type, default, meaning and rule.",
        "vl-keras config\n  vl-keras config data.augment\n  vl-keras config model --task captioning",
    )
    command.add_argument("section", metavar="SECTION", nargs="?", help="a section or a setting (default: all)")
    command.add_argument("--task", metavar="TASK", help="only what this task uses (default: the settings of all tasks)")
    command.add_argument("--markdown", action="store_true", help="as a page in Markdown, with how settings are written")


def run(options: argparse.Namespace) -> None:
    """Prints the settings."""
    from vl_keras.config.settings_page import as_markdown, as_text, sections

    page = sections(options.task, options.section)
    print(as_markdown(page) if options.markdown else as_text(page), end="")
