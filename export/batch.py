"""Runs a SavedModel over any number of images in an Apache Beam pipeline that can be stopped and resumed."""

import concurrent.futures
import contextlib
import hashlib
import io
import json
import os
import re
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.ml.inference.base import RunInference
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from export.errors import ExportError
from export.savedmodel_handler import OK, SavedModelHandler

_PART, _QUARANTINE, _ABOUT = "part-", "_quarantine", "_written_by.json"
_SHARD = 128  # images in one output file, and the most that a kill can lose
_POLL_S = 1.0
_TYPES = {
    "string": pa.string(),
    "float": pa.float32(),
    "half": pa.float32(),
    "bfloat16": pa.float32(),
    "double": pa.float64(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint8": pa.uint8(),
    "bool": pa.bool_(),
}


class Summary(NamedTuple):
    """Counts of a finished run.

    Attributes:
        written: images whose outputs this run wrote.
        skipped: images that an earlier run had written.
        quarantined: images that cannot be read.
        quarantine: JSONL file with `image` and `reason` of each, or None.
    """

    written: int
    skipped: int
    quarantined: int
    quarantine: str | None


def run_batch(
    model: str | Path,
    pattern: str,
    output: str,
    signature: str = "serving_default",
    texts: Mapping[str, str] | None = None,
    batch_size: int | None = None,
    shard_size: int = _SHARD,
    beam_flags: Sequence[str] = (),
) -> Summary:
    """Writes the outputs of a signature, for every image that matches a pattern, to a Parquet dataset.

    `output` becomes a folder that Parquet readers open as one table with the columns `image` and the outputs of the
    signature. Each file is written atomically. A second run resumes: it skips names that are already in the table.
    Images that cannot be read are not in the table; `<stem of output>.quarantine.jsonl` next to it lists them with the
    reason, and the next run tries them again.

    Args:
        model: folder of a model, or of one of its versions.
        pattern: a folder, or a file pattern of Beam with `**` for folders at any depth, e.g. `photos/**` or
            `gs://bucket/photos/**.jpg`. Every file that matches is read, whatever its extension.
        output: folder, local or on any file system that Beam supports, e.g. `captions.parquet`.
        signature: its inputs must be `image_bytes` and the names in `texts`.
        texts: dict of input name -> the string to send with every image.
        batch_size: images in one call of the model; None: the largest batch size of its warm-up requests.
        shard_size: images in one output file.
        beam_flags: flags of Beam, e.g. `--runner=DataflowRunner`; without a runner the pipeline runs in this process.
            Remote workers need this package, TensorFlow, and the model under the same path.

    Returns:
        `Summary`.

    Raises:
        ExportError: the model, signature or runner does not exist, no file matches, or `output` belongs to another
            model or cannot be written.
    """
    if batch_size is not None and batch_size < 1:
        raise ExportError(f"`batch_size` must be at least 1; got {batch_size}.")
    folder = _version_folder(model)
    columns, about = _describe(folder, signature, dict(texts or {}))
    names = _images(pattern)
    if not names:
        raise ExportError(f"No file matches {pattern!r}; `**` stands for folders at any depth, `[ab]` for a or b.")
    output = output.rstrip("/")
    _prepare(output, about)
    done = _written_names(output)
    waiting = [name for name in names if name not in done]
    named = [name for name in waiting if _is_text(name)]
    if len(named) < len(waiting):
        reason = "unreadable: the file name is not UTF-8, which Parquet requires"
        _write_quarantine(output, f"{_PART}names", [(name, reason) for name in waiting if not _is_text(name)])
    slices = [tuple(named[start : start + shard_size]) for start in range(0, len(named), shard_size)]
    shards = {_PART + hashlib.sha256("\n".join(shard).encode()).hexdigest()[:20]: shard for shard in slices}
    if shards:
        size = batch_size or _largest_batch(folder)
        handler = SavedModelHandler(str(folder), signature, about["texts"], size)
        with _shown(output, shards):
            _run(shards, handler, output, pa.schema(columns), beam_flags)
    bad = _collect_quarantine(output)
    return Summary(len(waiting) - bad[0], len(names) - len(waiting), *bad)


def _run(
    shards: Mapping[str, tuple[str, ...]],
    handler: SavedModelHandler,
    output: str,
    schema: pa.Schema,
    beam_flags: Sequence[str],
) -> None:
    options = PipelineOptions(list(beam_flags))
    runner = None
    if options.view_as(StandardOptions).runner is None:
        # The default runner of Beam would try to download a binary.
        from apache_beam.runners.portability.fn_api_runner import FnApiRunner

        runner = FnApiRunner()
    try:
        made = beam.Pipeline(runner=runner, options=options)
    except ValueError as error:
        raise ExportError(f"Beam does not accept {' '.join(beam_flags)}: {error}") from error
    with made as pipeline:
        _ = (
            pipeline
            | "Shards" >> beam.Create([[shard] for shard in shards.items()])
            | "Model" >> RunInference(handler)
            | "Write" >> beam.Map(_write_shard, output=output, schema=schema)
        )


def _write_shard(result: Any, output: str, schema: pa.Schema) -> None:
    """Writes the files of a shard. Their names depend only on their contents, so writing them twice is harmless."""
    part, rows = result.example[0], result.inference
    bad = [(name, reason) for name, reason, _ in rows if reason != OK]
    if bad:
        _write_quarantine(output, part, bad)
    good = [{"image": name, **_plain(outputs)} for name, reason, outputs in rows if reason == OK]
    if good:
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(good, schema), buffer, compression="zstd")
        _write_whole(f"{output}/{part}.parquet", buffer.getvalue())


def _write_quarantine(output: str, part: str, rows: Iterable[tuple[str, str]]) -> None:
    lines = [json.dumps({"image": name, "reason": reason}, ensure_ascii=False) + "\n" for name, reason in rows]
    # Bytes that are not UTF-8 become JSON escapes; reading them gives the same name.
    _write_whole(f"{output}/{_QUARANTINE}/{part}.jsonl", "".join(lines).encode(errors="backslashreplace"))


def _is_text(name: str) -> bool:
    """Whether a file name is UTF-8."""
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)


def _write_whole(path: str, data: bytes) -> None:
    folder, _, name = path.rpartition("/")
    with contextlib.suppress(OSError):  # the folder exists
        FileSystems.mkdirs(folder)
    temporary = f"{folder}/_{name}.{uuid.uuid4().hex}.tmp"  # Parquet readers skip names that start with an underscore
    try:
        with FileSystems.create(temporary, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            file.write(data)
        FileSystems.rename([temporary], [path])
    except OSError as error:  # includes the errors of Beam
        raise ExportError(
            f"`{path}` cannot be written: {error.strerror or error}. Files already written stay; run again to resume."
        ) from error


def _plain(outputs: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.decode("utf-8", "replace")
        if isinstance(value, bytes)
        else [_plain({"": item})[""] for item in value]
        if isinstance(value, np.ndarray) and value.dtype == object
        else value.tolist()
        for name, value in outputs.items()
    }


def _read(path: str) -> bytes:
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        return file.read()


def _list(pattern: str) -> list[str]:
    # Beam lists the folder in front of the first wildcard, so the current folder needs a name.
    fixed = re.split(r"[*?[]", pattern, maxsplit=1)[0]
    here = "" if "/" in fixed else "./"
    found = FileSystems.match([here + pattern])[0].metadata_list
    return [each.path.removeprefix(here) for each in found]


def _images(pattern: str) -> list[str]:
    if os.path.isfile(pattern):  # its name may hold what would be wildcards
        return [pattern]
    if not os.path.isdir(pattern):
        return sorted(set(_list(pattern)))
    folder = pattern.rstrip("/")
    quoted = re.sub(r"[*?[]", "?", folder)  # Beam cannot escape wildcards in the name of a folder
    return sorted({path for path in _list(f"{quoted}/**") if path.startswith(f"{folder}/")})


def _prepare(output: str, about: Mapping[str, Any]) -> None:
    """Creates the output folder, or checks that it belongs to this model; deletes temporary files of a killed run."""
    if re.search(r"[*?[]", output):
        raise ExportError(
            f"The path of the output must not contain *, ? or [, which are wildcards for Beam; got `{output}`."
        )
    if os.path.isfile(output):
        raise ExportError(f"`{output}` is a file; the output is a folder of Parquet files.")
    path = f"{output}/{_ABOUT}"
    if FileSystems.exists(path):
        found = json.loads(_read(path))
        if found != about:
            changed = [name for name in about if found.get(name) != about[name]]
            raise ExportError(
                f"`{output}` was written with a different {' and '.join(changed)}; give another "
                "--output or delete this one."
            )
    elif FileSystems.exists(output) and _list(f"{output}/**"):
        raise ExportError(f"`{output}` contains files that this command did not write; give another --output.")
    else:
        _write_whole(path, json.dumps(about, indent=2).encode())
    left = [*_list(f"{output}/_*.tmp"), *_list(f"{output}/{_QUARANTINE}/*")]
    if left:
        FileSystems.delete(left)


def _written_names(output: str) -> set[str]:
    names = set()
    for path in _list(f"{output}/{_PART}*.parquet"):
        names.update(pq.read_table(io.BytesIO(_read(path)), columns=["image"])["image"].to_pylist())
    return names


def _collect_quarantine(output: str) -> tuple[int, str | None]:
    """Merges the quarantine files of the shards into one; returns `(number of images, path or None)`."""
    folder, _, name = output.rpartition("/")
    path = f"{folder}/" if folder or output.startswith("/") else ""
    path += f"{name.removesuffix('.parquet')}.quarantine.jsonl"
    parts = sorted(_list(f"{output}/{_QUARANTINE}/{_PART}*.jsonl"))
    lines = [line for part in parts for line in _read(part).splitlines(keepends=True)]
    if not lines:
        if FileSystems.exists(path):
            FileSystems.delete([path])
        return 0, None
    _write_whole(path if "/" in path else f"./{path}", b"".join(sorted(lines)))
    FileSystems.delete(parts)
    return len(lines), path


def _describe(
    folder: Path, signature: str, texts: Mapping[str, str]
) -> tuple[list[tuple[str, pa.DataType]], dict[str, Any]]:
    """The columns of the output, and the model, signature and texts that identify this job."""
    from export.inspect import inspect_savedmodel

    inspection = inspect_savedmodel(folder)
    known = inspection.signatures.get(signature)
    if known is None:
        raise ExportError(f"`{folder}` has no signature `{signature}`; it has {', '.join(inspection.signatures)}.")
    if set(known["inputs"]) != {"image_bytes", *texts}:
        raise ExportError(
            f"`{signature}` takes {' and '.join(known['inputs'])}; given: {' and '.join(['image_bytes', *texts])}."
        )
    columns = [("image", pa.string())]
    for name, info in known["outputs"].items():
        if name == "status":
            continue
        if info["dtype"] not in _TYPES or info["shape"] is None:
            raise ExportError(
                f"Output `{name}` of `{signature}` ({info['dtype']}) cannot be stored as a Parquet column."
            )
        kind = _TYPES[info["dtype"]]
        for _ in info["shape"][1:]:
            kind = pa.list_(kind)
        columns.append((name, kind))
    about = {"model": inspection.fingerprint, "signature": signature, "texts": texts}
    return columns, {**about, "columns": [name for name, _ in columns]}


def _version_folder(model: str | Path) -> Path:
    folder = Path(model).expanduser().resolve()
    if (folder / "saved_model.pb").is_file() or not folder.is_dir():
        return folder  # a missing folder raises a clear error when it is read
    versions = [path for path in folder.iterdir() if path.name.isdecimal()]
    return max(versions, key=lambda path: int(path.name), default=folder)


def _largest_batch(folder: Path) -> int:
    try:
        return max(json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["warmup"]["batch_sizes"])
    except (OSError, ValueError, KeyError):
        return 16


@contextlib.contextmanager
def _shown(output: str, shards: Mapping[str, tuple[str, ...]]) -> Iterator[None]:
    """Shows progress by counting output files, which works for every runner."""
    from vl_keras.progress import Progress

    stop = threading.Event()
    total = sum(map(len, shards.values()))

    def count() -> int:
        found = [*_list(f"{output}/{_PART}*"), *_list(f"{output}/{_QUARANTINE}/{_PART}*")]
        parts = {path.rpartition("/")[2].partition(".")[0] for path in found}
        return sum(len(shards[part]) for part in parts if part in shards)

    def watch() -> None:
        with Progress("images", total, "image") as progress:
            while not stop.wait(_POLL_S):
                progress.to(count())
            progress.to(count())

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        try:
            yield
        finally:
            stop.set()
    watching.result()
