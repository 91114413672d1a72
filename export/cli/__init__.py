"""The `vl-export` command."""

from export.cli.main import main

__all__ = ["main"]
