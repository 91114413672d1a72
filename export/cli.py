"""The `vl-export` command: parse, call, exit."""

import argparse
import io
import os
import signal
import sys
import warnings

from export.errors import ExportError
from export.server.options import add_serve_arguments


def main(arguments=None):
    """Runs one sub-command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="vl-export", description="Turn a trained run into a served model: export, inspect, serve, call."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_savedmodel(commands)
    _add_inspect(commands)
    _add_serve(commands)
    _add_request(commands)
    _add_deploy(commands)
    _add_batch(commands)
    _add_app(commands)
    options = parser.parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # notices go, errors stay, as in `vl_keras`
    # TensorFlow Hub's warning of its own import is nothing the user can mend.
    warnings.filterwarnings("ignore", "pkg_resources is deprecated")
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name need not be UTF-8: its bytes come out as they are
        sys.stdout.reconfigure(errors="surrogateescape")
    try:
        return options.run(options) or 0
    except ExportError as error:
        print(f"vl-export {options.command}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.filename is None:  # not about a file that the user named: the traceback is of more use
            raise
        print(f"vl-export {options.command}: {error.filename}: {error.strerror}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _add_savedmodel(commands):
    parser = commands.add_parser(
        "savedmodel",
        help="export a trained run for TensorFlow Serving",
        description="Exports a trained run to OUT/<version>/, checked against the model in memory and published in "
        "one step, so that a server which polls OUT can load it at any moment.",
    )
    parser.add_argument("run_dir", metavar="RUN", help="folder that `vl-keras train` wrote")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the model, e.g. models/captioner")
    parser.add_argument("--version", type=int, metavar="N", help="default: one more than the highest that is there")
    parser.add_argument(
        "--weights", choices=("auto", "best", "last", "ema"), default="auto", help="default: best, else last"
    )
    parser.add_argument(
        "--weights-dtype",
        choices=("float32", "float16", "bfloat16", "int8"),
        default="float32",
        help="how the weights are kept; other than float32, the development measures before and after are printed",
    )
    parser.add_argument(
        "--batch-sizes", type=int, nargs="+", default=(1, 4, 16), metavar="B", help="of the warm-up requests: 1 4 16"
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="generation.… and data.… settings to serve with, e.g. generation.beam_size=5",
    )
    parser.set_defaults(run=_savedmodel)


def _savedmodel(options):
    from export.savedmodel import export_savedmodel
    from vl_keras.errors import ConfigError, RetrievalError, RunError

    try:
        export_savedmodel(
            options.run_dir,
            options.out,
            options.version,
            options.weights,
            options.weights_dtype,
            tuple(options.batch_sizes),
            options.set,
            log=lambda line: print(line, flush=True),
        )
    except (ConfigError, RetrievalError, RunError) as error:
        raise ExportError(str(error)) from error


def _add_inspect(commands):
    parser = commands.add_parser(
        "inspect",
        help="what a SavedModel answers and is made of",
        description="Prints a SavedModel's signatures, operations, size and fingerprint, and whether TensorFlow "
        "Serving can run it; exit status 1 if not.",
    )
    parser.add_argument("folder", metavar="DIR", help="folder of one version, e.g. models/captioner/1")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=_inspect)


def _inspect(options):
    import json

    from export.inspect import format_inspection, inspect_savedmodel

    inspection = inspect_savedmodel(options.folder)
    print(json.dumps(inspection._asdict(), indent=2) if options.json else format_inspection(inspection))
    return 1 if inspection.problems else 0


def _add_serve(commands):
    parser = commands.add_parser(
        "serve",
        help="a local server that speaks TensorFlow Serving's gRPC and REST",
        description="Serves SavedModels as TensorFlow Serving 2.20 does, under tensorflow_model_server's own flags.",
    )
    add_serve_arguments(parser)
    parser.set_defaults(run=_serve)


def _serve(options):
    from export.server.main import serve

    return serve(options)


def _add_request(commands):
    parser = commands.add_parser(
        "request",
        help="ask a served model about images",
        description="Sends images to TensorFlow Serving, or to `vl-export serve`, and prints what the model answers; "
        "exit status 1 if no image could be read.",
    )
    parser.add_argument("url", metavar="URL", help="grpc://HOST:PORT, http://HOST:PORT, grpcs://… or https://…")
    parser.add_argument(
        "--image", nargs="+", action="extend", default=[], metavar="FILE", help="files, and folders at any depth"
    )
    parser.add_argument("--context", metavar="TEXT", help="that the model reads beside every image")
    parser.add_argument("--question", metavar="TEXT", help="about every image")
    parser.add_argument("--text", metavar="TEXT", help="for models that read text")
    parser.add_argument("--signature", metavar="NAME", help="default: the one that takes what is given")
    parser.add_argument("--candidates", action="store_true", help="several captions, with their scores")
    parser.add_argument("--explain", metavar="OUT.png", help="draw where the model looked for each word")
    parser.add_argument("--json", action="store_true", help="a JSON object a line, with every output whole")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="of each request; default: 60")
    parser.add_argument("--wait", type=float, default=0.0, metavar="SECONDS", help="for the model to become available")
    _add_client_arguments(parser)
    parser.set_defaults(run=_request)


def _add_client_arguments(parser):
    parser.add_argument("--model", default="captioner", metavar="NAME", help="default: captioner")
    parser.add_argument("--version", type=int, metavar="N", help="of the model; default: the newest")
    parser.add_argument("--label", metavar="NAME", help="of a version")
    parser.add_argument("--token-file", metavar="FILE", help="with the token that the server asks for")
    parser.add_argument("--ca-file", metavar="FILE", help="PEM; who signed the server's certificate")
    parser.add_argument(
        "--certificate-file", metavar="FILE", help="PEM; the client's own, where the server asks for it"
    )
    parser.add_argument("--key-file", metavar="FILE", help="PEM; of that certificate")


def _client_options(options):
    names = ("model", "version", "label", "ca_file", "certificate_file", "key_file")
    chosen = {name: getattr(options, name) for name in names}
    if options.token_file is not None:
        try:
            with open(options.token_file, encoding="utf-8") as file:
                chosen["token"] = file.read().strip()
        except OSError as error:
            raise ExportError(f"Cannot read `{options.token_file}`: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise ExportError(f"`{options.token_file}` holds no token: it is no text.") from error
    return chosen


def _given_texts(options, *names):
    texts = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    for name, text in texts.items():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ExportError(f"--{name} must be UTF-8; got {os.fsencode(text)!r}.") from error
    return texts


def _request(options):
    import json

    from export.request import OK, format_rows, request

    rows = request(
        options.url,
        options.image,
        _given_texts(options, "context", "question", "text"),
        options.signature or ("caption_candidates" if options.candidates else None),
        options.explain,
        options.wait,
        timeout_s=options.timeout,
        **_client_options(options),
    )
    print("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) if options.json else format_rows(rows))
    return 0 if any(row["status"] == OK for row in rows) else 1


def _add_deploy(commands):
    parser = commands.add_parser(
        "deploy",
        help="write the files that run TensorFlow Serving",
        description="Writes TensorFlow Serving's own configuration for one or several models, and docker-compose.yaml, "
        "kubernetes.yaml and kserve.yaml, which use its published image.",
    )
    parser.add_argument("models", nargs="+", metavar="MODEL", help="folders of models, e.g. models/captioner")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--claim", default="models", metavar="NAME", help="PersistentVolumeClaim with these folders; default: models"
    )
    parser.set_defaults(run=_deploy)


def _deploy(options):
    from export.serving_config import write_serving_config

    for path in write_serving_config(options.models, options.out, options.claim):
        print(path)


def _add_batch(commands):
    parser = commands.add_parser(
        "batch",
        help="run a SavedModel over any number of images",
        description="Writes what a SavedModel answers to every image that a pattern matches to a Parquet dataset, "
        "with Apache Beam: in this process, or with Beam's own flags after -- on a cluster. A run that was stopped "
        "goes on where it was.",
    )
    parser.add_argument("--model", required=True, metavar="DIR", help="folder of a model or of one version")
    parser.add_argument("--input", required=True, metavar="PATTERN", help="folder or pattern, e.g. 'photos/**.jpg'")
    parser.add_argument("--output", required=True, metavar="DIR", help="e.g. captions.parquet")
    parser.add_argument("--signature", default="serving_default", metavar="NAME", help="default: serving_default")
    parser.add_argument("--context", metavar="TEXT", help="that the model reads beside every image")
    parser.add_argument("--question", metavar="TEXT", help="about every image")
    parser.add_argument("--text", metavar="TEXT", help="that is matched with every image")
    parser.add_argument("--batch-size", type=int, metavar="B", help="default: the largest that it was warmed up with")
    parser.add_argument("beam_flags", nargs="*", metavar="-- FLAG", help="of Beam, e.g. -- --runner=DataflowRunner")
    parser.set_defaults(run=_batch)


def _batch(options):
    import vl_keras  # noqa: F401  settles TensorFlow's environment before it is imported
    from export.batch import run_batch

    summary = run_batch(
        options.model,
        options.input,
        options.output,
        options.signature,
        _given_texts(options, "context", "question", "text"),
        options.batch_size,
        beam_flags=options.beam_flags,
    )
    print(f"{options.output}: {summary.written} written, {summary.skipped} were there already.")
    if summary.quarantined:
        print(f"{summary.quarantined} could not be read, see {summary.quarantine}.")


def _add_app(commands):
    parser = commands.add_parser(
        "app",
        help="a page on which people try a served captioner",
        description="Serves a page over a served captioner: drop a photo, read captions with their scores, see where "
        "the model looked for each word.",
    )
    parser.add_argument(
        "--server", required=True, metavar="URL", help="of the model server, e.g. grpc://localhost:8500"
    )
    parser.add_argument("--port", type=int, default=7860, metavar="N", help="of the page; 0: a free one; default: 7860")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="to listen on; default: 127.0.0.1")
    _add_client_arguments(parser)
    parser.set_defaults(run=_app)


def _app(options):
    from export.app import run_app

    run_app(options.server, options.port, options.host, **_client_options(options))
