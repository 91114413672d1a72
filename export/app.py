"""A demo page: drop a photo, see the captions that a served model predicts and its attention for each word."""

import html
import math
import os
from typing import Any

from export.client.results import Candidates, Explanation

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr
import numpy as np
from PIL import Image, ImageOps

from export.client import CallError, Client
from export.client.results import OK
from export.errors import ExportError
from vl_keras.drawing.attention_map import fit, overlay

_TILE = 360  # pixels on the longer side of an attention map
_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")  # fonts of the browser: none is downloaded
_CSS = """
.candidates { display: flex; flex-direction: column; gap: 0.6rem; }
.candidate { border: 1px solid var(--border-color-primary); border-radius: 10px; padding: 0.65rem 0.9rem; }
.candidate .line { display: flex; justify-content: space-between; gap: 1rem; align-items: baseline; }
.candidate .score { font-variant-numeric: tabular-nums; opacity: 0.65; white-space: nowrap; }
.candidate:first-child .caption { font-size: 1.3rem; font-weight: 600; }
.candidate .bar { height: 4px; border-radius: 2px; margin-top: 0.5rem; background: #f5a524; }
.hint { opacity: 0.65; }
.refused { border-left: 4px solid #d33; padding: 0.4rem 0.9rem; }
#attention, #attention .grid-wrap { height: auto; max-height: none; }
#attention .grid-container { padding-top: 0; }
#attention .caption-label { left: 50%; right: auto; transform: translateX(-50%); font-weight: 600; }
footer { display: none !important; }
"""
_ABOUT = "The score is a log-probability: closer to 0 is more certain. The bars compare the captions shown."
_HINT = "<p class='hint'>The model's captions appear here.</p>"


def build_page(client: Client) -> gr.Blocks:
    """Builds the page over a served model.

    Args:
        client: `Client` of a model with the signature `caption_candidates`; with `caption_explain` the page also
            shows attention.

    Returns:
        `gr.Blocks`.

    Raises:
        ExportError: the server does not respond, or the model has no signature `caption_candidates`.
    """
    metadata = client.metadata()
    if "caption_candidates" not in metadata.signatures:
        raise ExportError(
            f"{metadata.name} has no signature `caption_candidates`; it has {', '.join(metadata.signatures)}."
        )
    most = metadata.signatures["caption_candidates"].outputs["captions"][1][1] or 1
    explains = "caption_explain" in metadata.signatures

    def show(path: str | None, count: float) -> tuple[Candidates | None, str, list[tuple[Image.Image, str]]]:
        if path is None:
            return None, _HINT, []
        try:
            found = client.candidates(path)
            explanation = client.explain(path) if explains and found.status == OK else None
        except CallError as error:
            raise gr.Error(f"The request failed: {error}", duration=None) from error
        return found, format_candidates(found, count), _maps(path, explanation)

    with gr.Blocks(title=f"{metadata.name}: captions", analytics_enabled=False) as page:
        gr.Markdown(f"## What does the model see?\n`{metadata.name}`, version {metadata.version}")
        candidates = gr.State()
        with gr.Row(equal_height=False):
            with gr.Column(scale=5):
                # No image mode: the file is sent unchanged; the served model decodes it.
                photo = gr.Image(
                    label="Photo", type="filepath", image_mode=None, sources=["upload", "clipboard"], height=380
                )
            with gr.Column(scale=6):
                count = gr.Slider(
                    1,
                    max(most, 2),
                    value=most,
                    step=1,
                    label="How many captions",
                    visible=most > 1,
                    interactive=True,
                    info=_ABOUT,
                )
                captions = gr.HTML(_HINT, elem_id="captions")
        if explains:
            gr.Markdown(
                "### Attention\nOne tile per word: bright regions have high attention, the cross marks the peak."
            )
        gallery = gr.Gallery(
            show_label=False,
            elem_id="attention",
            columns=6,
            height="auto",
            object_fit="contain",
            visible=explains,
            buttons=["fullscreen"],
        )
        photo.change(show, [photo, count], [candidates, captions, gallery], concurrency_limit=4, api_name="caption")
        count.change(
            format_candidates,
            [candidates, count],
            captions,
            show_progress="hidden",
            api_name=False,  # type: ignore[arg-type]  # False hides it from the page's own API documentation
        )
    return page


def run_app(
    server: str, port: int = 7860, host: str = "127.0.0.1", wait_s: float = 60.0, block: bool = True, **options: Any
) -> gr.Blocks:
    """Serves the page until interrupted.

    Args:
        server: URL of the model server; see `Client`.
        port: of the page; 0 picks a free one.
        host: address to listen on.
        wait_s: seconds to wait for the model server.
        block: serve until interrupted; False returns the running page at once.
        options: arguments of `Client`.

    Raises:
        ExportError: the model is not available, or the port is in use.
    """
    client = Client(server, **options)
    client.wait_until_available(wait_s)
    page = build_page(client)
    theme = gr.themes.Soft(primary_hue="amber", font=_FONTS, font_mono=("ui-monospace", "monospace"))
    try:
        _, url, _ = page.launch(
            server_name=host,
            server_port=port or _free_port(host),
            theme=theme,
            css=_CSS,
            footer_links=[],
            ssr_mode=False,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
        )
    except OSError as error:
        raise ExportError(f"Port {port} on {host} is in use; give another --port.") from error
    print(f"The page is at {url}", flush=True)
    if block:
        page.block_thread()
    return page


def format_candidates(found: Candidates | None, count: float) -> str:
    """`Candidates` as HTML; each bar shows the probability of a caption relative to the others shown."""
    if found is None:
        return _HINT
    if found.status != OK:
        return f"<p class='refused'>{html.escape(found.status)}</p>"
    rows = list(zip(found.captions, found.scores, strict=True))[: int(count)]
    weights = [math.exp(score - rows[0][1]) for _, score in rows]
    lines = [
        f"<div class='candidate'><div class='line'><span class='caption'>{html.escape(caption or '(no words)')}</span>"
        f"<span class='score' title='log-probability, length-normalised'>{score:.3f}</span></div>"
        f"<div class='bar' style='width: {100 * weight / sum(weights):.1f}%'></div></div>"
        for (caption, score), weight in zip(rows, weights, strict=True)
    ]
    return f"<div class='candidates'>{''.join(lines)}</div>"


def _maps(path: str, explanation: Explanation | None) -> list[tuple[Image.Image, str]]:
    """`(image with its attention map, word)` for the gallery."""
    if explanation is None or explanation.status != OK:
        return []
    with Image.open(path) as file:
        image = fit(np.asarray(ImageOps.exif_transpose(file).convert("RGB")), _TILE)
    return [
        (overlay(image, weights), word) for word, weights in zip(explanation.words, explanation.attention, strict=True)
    ]


def _free_port(host: str) -> int:
    import socket

    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]
