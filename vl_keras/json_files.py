"""JSON files, read and written whole; and files of one JSON object a line."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vl_keras.errors import RunError


def read_json(path: Path) -> Any:
    """The contents of a JSON file; raises `RunError` if it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"`{path}` is not JSON ({error}); put a whole copy in its place.") from None


def write_json(path: Path, values: Any) -> None:
    """Writes a JSON file that exists whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, path)


def write_json_lines(path: str | Path, rows: Iterable[dict[str, Any]]) -> None:
    """Writes dicts as UTF-8 JSON, one a line."""
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
