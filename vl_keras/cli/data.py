"""`vl-keras data`: the commands that look at data and make data."""

from vl_keras.cli import data_inspect, data_questions
from vl_keras.cli.arguments import Commands


def add(commands: Commands) -> None:
    """Describes the command and those that it holds."""
    data = commands.add_parser("data", help="look at data, make questions", description="Looks at data and makes data.")
    inner = data.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (data_inspect, data_questions):
        command.add(inner)
