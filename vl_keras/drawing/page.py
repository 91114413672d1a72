"""Pages for people, from templates: HTML files that hold everything they show, and Markdown."""

from __future__ import annotations

import base64
import functools
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from vl_keras.errors import RunError


def render(template: str, **values: Any) -> str:
    """Fills a template of `vl_keras/drawing/templates`; in HTML, every value is escaped.

    Args:
        template: its file name.
        **values: what it names.
    """
    return _environment().get_template(template).render(**values)


def template_text(template: str) -> str:
    """A template as it is, e.g. the styles that pages of other programs share with the reports."""
    return Path(__file__).with_name("templates").joinpath(template).read_text(encoding="utf-8")


def check_page(path: str | Path) -> None:
    """Raises `RunError` if a file for a report is no HTML file."""
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise RunError(f"A report is an HTML file; `{path}` does not end in .html.")


def write_page(path: str | Path, template: str, **values: Any) -> Path:
    """Writes a `render`ed page, whole or not at all; its folder is created.

    Returns:
        The path, with `~` expanded.
    """
    path = Path(path).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    # A file's name need not be UTF-8; what cannot be written becomes a question mark.
    part.write_text(render(template, **values), encoding="utf-8", errors="replace")
    os.replace(part, path)
    return path


def image_uri(image: Image.Image) -> str:
    """An image as a `data:` address that a page can hold; WebP, which every browser of today shows."""
    file = io.BytesIO()
    image.convert("RGB").save(file, "WEBP", quality=82, method=2)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=lambda name: name is not None and name.endswith(".html"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: dict[str, Callable[[Any], str]] = {"md": _markdown}
    environment.filters.update(filters)
    return environment


def _markdown(value: Any) -> str:
    """A text in a line or table cell of Markdown, where no sign in it means anything but itself."""
    text = " ".join(str(value).split())
    for sign in "\\`*_[]<>|#":
        text = text.replace(sign, f"\\{sign}" if sign not in "<>" else {"<": "&lt;", ">": "&gt;"}[sign])
    return text
