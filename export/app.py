"""A demo page over any served model: its inputs and outputs are those of the model's signatures."""

import html
import os
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr

from export.client import CallError, Client
from export.errors import ExportError
from export.page_questions import IMAGE, PageAnswer, ask, default_questions, needed_inputs, questions
from vl_keras.drawing.page import render, template_text

_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")  # fonts of the browser: none is downloaded
_CSS = """
.hint { opacity: 0.65; }
.refused { border-left: 4px solid #d33; padding: 0.4rem 0.9rem; }
#attention, #attention .grid-wrap { height: auto; max-height: none; }
#attention .grid-container { padding-top: 0; }
#attention .grid-container { grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)) !important; }
#attention .caption-label { left: 4px; right: auto; top: 4px; bottom: auto; font-weight: 600; }
footer { display: none !important; }
"""
_HINT = "<p class='hint'>The model's answer appears here.</p>"
_ATTENTION = (
    "### Attention\nOne tile per word: the share of the word's attention weight in each region, from 0 (dark) to the "
    "number below the tile (light). The cross marks the largest."
)
_SWEEP_S, _KEPT_S = 60, 600  # how often uploaded files are looked through, and how long one is kept


def build_page(client: Client) -> gr.Blocks:
    """Builds the page over a served model.

    Args:
        client: `Client` of a model that takes images or texts, whatever its task.

    Returns:
        `gr.Blocks`: a choice of signatures, their inputs, and their outputs in words; attention weights as maps, if
        a chosen signature returns them. Uploaded files are deleted after ten minutes.

    Raises:
        ExportError: the server does not respond, or no signature takes images or texts alone.
    """
    metadata = client.metadata()
    known = questions(metadata)
    first = default_questions(metadata, known)
    texts = [key for key in needed_inputs(known, known) if key != IMAGE]
    has_image = any(IMAGE in question.inputs for question in known.values())
    begins_with = needed_inputs(first, known)

    def show(chosen: list[str], path: str | None, *values: str) -> tuple[str, str, Any]:
        try:
            found = ask(client, known, chosen, path, dict(zip(texts, values, strict=True)))
        except CallError as error:
            raise gr.Error(f"The request failed: {error}", duration=None) from error
        maps = gr.update(value=list(found.maps), visible=bool(found.maps))
        return format_answer(found), _ATTENTION if found.maps else "", maps

    def show_inputs(chosen: list[str]) -> list[Any]:
        needed = needed_inputs(chosen, known)
        return [gr.update(visible=key in needed) for key in (IMAGE, *texts)]

    title = f"{metadata.name}, version {metadata.version}"
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(_SWEEP_S, _KEPT_S)) as page:
        gr.Markdown(f"## What does the model say?\n`{metadata.name}`, version {metadata.version}")
        chosen = gr.CheckboxGroup(list(known), value=first, label="Ask for", visible=len(known) > 1)
        with gr.Row(equal_height=False):
            with gr.Column(scale=5):
                # No image mode: the file is sent unchanged; the served model decodes it.
                photo = gr.Image(
                    label="image",
                    type="filepath",
                    image_mode=None,
                    sources=["upload", "clipboard"],
                    height=380,
                    visible=has_image and IMAGE in begins_with,
                )
                boxes = [gr.Textbox(label=key, visible=key in begins_with, elem_id=f"text-{key}") for key in texts]
                button = gr.Button("Ask", variant="primary")
            with gr.Column(scale=6):
                answer = gr.HTML(_HINT, elem_id="answer")
        heading = gr.Markdown("")
        gallery = gr.Gallery(
            show_label=False,
            elem_id="attention",
            visible=False,
            height="auto",
            object_fit="contain",
            buttons=["fullscreen"],
        )
        inputs, outputs = [chosen, photo, *boxes], [answer, heading, gallery]
        button.click(show, inputs, outputs, concurrency_limit=4, api_name="ask")
        hidden: Any = False  # from the page's own API documentation
        photo.change(show, inputs, outputs, concurrency_limit=4, api_name=hidden)
        for box in boxes:
            box.submit(show, inputs, outputs, concurrency_limit=4, api_name=hidden)
        chosen.change(show_inputs, chosen, [photo, *boxes], show_progress="hidden", api_name=hidden)
    return page


def run_app(
    server: str,
    port: int = 7860,
    host: str = "127.0.0.1",
    wait_s: float = 60.0,
    block: bool = True,
    max_upload_mb: int = 20,
    **options: Any,
) -> gr.Blocks:
    """Serves the page until interrupted.

    Args:
        server: URL of the model server; see `Client`.
        port: of the page; 0 picks a free one.
        host: address to listen on.
        wait_s: seconds to wait for the model server.
        block: serve until interrupted; False returns the running page at once.
        max_upload_mb: largest file that the page takes, in megabytes.
        options: arguments of `Client`.

    Raises:
        ExportError: the model is not available, the port is in use, or an argument is invalid.
    """
    if max_upload_mb < 1:
        raise ExportError(f"`max_upload_mb` must be at least 1; got {max_upload_mb}.")
    client = Client(server, **options)
    client.wait_until_available(wait_s)
    page = build_page(client)
    theme = gr.themes.Soft(primary_hue="amber", font=_FONTS, font_mono=("ui-monospace", "monospace"))
    for name in ("no_proxy", "NO_PROXY"):  # the page checks itself over HTTP
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "localhost", "127.0.0.1", "::1", host]))
    try:
        _, url, _ = page.launch(
            server_name=host,
            server_port=port or _free_port(host),
            theme=theme,
            css=_CSS + template_text("outputs.css"),
            footer_links=[],
            ssr_mode=False,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size=f"{max_upload_mb}mb",
        )
    except OSError as error:
        raise ExportError(f"Port {port} on {host} is in use; give another --port.") from error
    print(f"The page is at {url}", flush=True)
    if block:
        page.block_thread()
    return page


def format_answer(found: PageAnswer) -> str:
    """A `PageAnswer` as HTML, with every text escaped."""
    if found.refused:
        return f"<p class='refused'>{html.escape(found.refused)}</p>"
    return "".join(render("outputs.html", outputs=outputs) for outputs in found.blocks)


def _free_port(host: str) -> int:
    import socket

    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]
