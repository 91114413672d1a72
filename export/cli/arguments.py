"""Arguments that several commands share."""

import argparse
import os
from typing import Any

from export.errors import ExportError

_TEXT_OPTIONS = {
    "context": "a text that the model reads with every image",
    "question": "a question about every image",
    "text": "a text for models that read text",
}


def add_text_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds `--context`, `--question`, `--text` and, for any other text input of a signature, `--input-text`."""
    for name, help in _TEXT_OPTIONS.items():
        parser.add_argument(f"--{name}", metavar="TEXT", help=help)
    parser.add_argument(
        "--input-text",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=TEXT",
        help="the same for any text input of the signature, by its name",
    )


def read_texts(options: argparse.Namespace) -> dict[str, str]:
    """The given texts: dict of input name -> text.

    Raises:
        ExportError: a text is not UTF-8, has no name, or is given twice.
    """
    given = [(f"--{name}", name, getattr(options, name)) for name in _TEXT_OPTIONS]
    for item in options.input_text:
        name, separator, text = item.partition("=")
        if not separator or not name:
            raise ExportError(f"--input-text must be NAME=TEXT; got {item!r}.")
        given.append((f"--input-text {name}", name, text))
    texts: dict[str, str] = {}
    for option, name, text in given:
        if text is None:
            continue
        if name in texts:
            raise ExportError(f"The input `{name}` is given twice; give it once.")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ExportError(f"{option} must be UTF-8; got {os.fsencode(text)!r}.") from error
        texts[name] = text
    return texts


def add_client_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the model and what a secure connection needs."""
    parser.add_argument("--model", default="captioner", metavar="NAME", help="name of the model (default: captioner)")
    parser.add_argument("--version", type=int, metavar="N", help="version of the model (default: the newest)")
    parser.add_argument("--label", metavar="NAME", help="label of the version, instead of its number")
    parser.add_argument("--token-file", metavar="FILE", help="file with the bearer token that the server requires")
    parser.add_argument(
        "--ca-file", metavar="FILE", help="PEM file of the authority that signed the server certificate"
    )
    parser.add_argument("--certificate-file", metavar="FILE", help="PEM file of the client certificate, if required")
    parser.add_argument("--key-file", metavar="FILE", help="PEM file of the key of that certificate")


def client_options(options: argparse.Namespace) -> dict[str, Any]:
    """Arguments of `Client` from the parsed options.

    Raises:
        ExportError: the token cannot be read.
    """
    names = ("model", "version", "label", "ca_file", "certificate_file", "key_file")
    chosen = {name: getattr(options, name) for name in names}
    if options.token_file is not None:
        try:
            with open(options.token_file, encoding="utf-8") as file:
                chosen["token"] = file.read().strip()
        except OSError as error:
            raise ExportError(f"Cannot read `{options.token_file}`: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise ExportError(f"`{options.token_file}` contains no token: it is not text.") from error
    return chosen
