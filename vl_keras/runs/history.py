"""One row per finished epoch: losses and measures, in a CSV file that a stopped run continues."""

import csv
import os
from pathlib import Path


class History:
    """The rows of `history.csv`; each is a dict of numbers and words with at least `phase`, `epoch` and `step`.

    The file is the one memory of what earlier epochs reached: the best epoch and the patience that is left follow from
    it, so that a resumed run cannot disagree with what is written.

    Args:
        path: of the CSV file; read where it is there.
        writes: false: the rows are kept in memory only.
    """

    def __init__(self, path, writes=True):
        self.path = Path(path)
        self._writes = writes
        self.rows = []
        if self.path.exists():
            with open(self.path, newline="", encoding="utf-8") as file:
                self.rows = [{key: _read(value) for key, value in row.items()} for row in csv.DictReader(file)]

    def of(self, phase):
        """The rows of one phase."""
        return [row for row in self.rows if row["phase"] == phase]

    def append(self, row):
        """Adds a row and writes the file."""
        self.rows.append(row)
        self._write()

    def keep(self, step):
        """Drops the rows of epochs that end after `step`: they are run again."""
        kept = [row for row in self.rows if row["step"] <= step]
        if len(kept) != len(self.rows):
            self.rows = kept
            self._write()

    def best(self, measure):
        """The first row with the highest value of a measure; None where no row has it."""
        rows = [row for row in self.rows if isinstance(row.get(measure), float)]
        return max(rows, key=lambda row: row[measure]) if rows else None

    def _write(self):
        if not self._writes:
            return
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        part = self.path.with_name(f"{self.path.name}.part")
        with open(part, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names, restval="")
            writer.writeheader()
            writer.writerows(self.rows)
        os.replace(part, self.path)


def _read(text):
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
