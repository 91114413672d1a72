"""The rows of a manifest in the forms that people have: JSON lines, one JSON array, or a CSV table."""

import csv
import io
import json
import re
from collections.abc import Iterator

from vl_keras.errors import DataError

_COLUMNS = ("image", "captions", "split", "context", "question", "answer")


def manifest_lines(content: bytes, name: str) -> Iterator[tuple[int, bytes]]:
    """Yields each row as a line of JSON, with its number.

    Args:
        content: of the file, without a byte order mark.
        name: of the file, whose ending `.csv` tells a table.

    Yields:
        Number from 1 of the line, or of the item of an array, and its bytes.

    Raises:
        DataError: a table does not name its columns, or an array is not whole.
    """
    if name.lower().endswith(".csv"):
        yield from _table(content, name)
    elif re.match(rb"\s*\[\s*\{", content):
        yield from _array(content, name)
    else:
        yield from enumerate(content.split(b"\n"), 1)


def _array(content: bytes, name: str) -> Iterator[tuple[int, bytes]]:
    try:
        rows = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"The manifest `{name}` starts with `[{{` but is no whole JSON array: {error}.") from None
    for number, row in enumerate(rows, 1):
        yield number, json.dumps(row).encode()


def _table(content: bytes, name: str) -> Iterator[tuple[int, bytes]]:
    """The first line names the columns; every column whose name starts with "caption" holds one caption."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"The table `{name}` is not UTF-8: {error}; save it as UTF-8.") from None
    head = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count))
    try:
        columns = [column.strip().lower() for column in next(reader, [])]
        if "image" not in columns:
            raise DataError(
                f"The first line of the table `{name}` must name its columns, among them image, then of "
                f"{', '.join(_COLUMNS[1:])} those there are; it is {head.strip()[:80]!r}."
            )
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, json.dumps(_row(columns, cells)).encode()
    except csv.Error as error:
        raise DataError(f"The table `{name}` cannot be read in line {reader.line_num}: {error}.") from None


def _row(columns: list[str], cells: list[str]) -> dict[str, object]:
    row: dict[str, object] = {}
    captions = []
    for column, cell in zip(columns, cells, strict=False):
        if not cell.strip():
            continue
        if column.startswith("caption"):
            captions.append(cell)
        else:
            row[column] = cell.strip() if column == "image" else cell
    return {**row, "captions": captions} if captions else row
