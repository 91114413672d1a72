"""One row for each finished epoch, with losses and metrics, in a CSV file that a resumed run continues."""

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class History:
    """The rows of `history.csv`; each is a dict of numbers and strings with at least `phase`, `epoch` and `step`.

    Nothing else records the results of earlier epochs: the best epoch and the remaining patience are computed from this
    file, so a resumed run cannot disagree with it.

    Args:
        path: the CSV file; read if it exists.
        writes: false: keep the rows in memory only.
    """

    def __init__(self, path: str | Path, writes: bool = True) -> None:
        self.path = Path(path)
        self._writes = writes
        self.rows: list[Row] = []
        if self.path.exists():
            with open(self.path, newline="", encoding="utf-8") as file:
                self.rows = [{key: _read(value) for key, value in row.items()} for row in csv.DictReader(file)]

    def of(self, phase: str) -> list[Row]:
        """The rows of one phase."""
        return [row for row in self.rows if row["phase"] == phase]

    def append(self, row: Row) -> None:
        """Adds a row and writes the file."""
        self.rows.append(row)
        self._write()

    def keep(self, step: int) -> None:
        """Drops the rows of epochs that end after `step`: these epochs run again."""
        kept = [row for row in self.rows if row["step"] <= step]
        if len(kept) != len(self.rows):
            self.rows = kept
            self._write()

    def rename_phases(self, renamed: Mapping[str, str]) -> None:
        """Gives phases other names: dict of old name -> new name."""
        self.rows = [{**row, "phase": renamed.get(row["phase"], row["phase"])} for row in self.rows]
        self._write()

    def best(self, metric: str) -> Row | None:
        """The last row with the highest value of a metric; None if no row has it."""
        return self._highest(metric, self.rows[::-1])

    def first_best(self, metric: str) -> Row | None:
        """The first row with the highest value of a metric, after which it has not improved; None if no row has it."""
        return self._highest(metric, self.rows)

    @staticmethod
    def _highest(metric: str, rows: Sequence[Row]) -> Row | None:
        rows = [row for row in rows if isinstance(row.get(metric), float)]
        return max(rows, key=lambda row: row[metric]) if rows else None

    def _write(self) -> None:
        if not self._writes:
            return
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        part = self.path.with_name(f"{self.path.name}.part")
        with open(part, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names, restval="")
            writer.writeheader()
            writer.writerows(self.rows)
        os.replace(part, self.path)


def _read(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
