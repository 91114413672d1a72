"""Files of one JSON object a line."""

import json


def write_json_lines(path, rows):
    """Writes an iterable of dicts, a line each, UTF-8."""
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
