"""Exports a trained run as a SavedModel for TensorFlow Serving."""

import vl_keras  # noqa: F401  selects Keras 2 before TensorFlow is imported

# isort: split
import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from export.errors import ExportError
from export.inspect import inspect_savedmodel
from export.manifest import MANIFEST
from export.parity import check_parity
from export.publish import publishing
from export.signatures import serving_functions
from export.stored_weights import DTYPES, StoredWeights
from export.warmup import write_warmup
from vl_keras.config import config_to_dict
from vl_keras.errors import first_line
from vl_keras.runs.load_run import load_run
from vl_keras.runs.model_card import MODEL_CARD, model_card
from vl_keras.runs.run_dir import RunDir
from vl_keras.runs.versions import describe_versions

DEFAULT = "serving_default"


class Exported(NamedTuple):
    """A published version.

    Attributes:
        path: folder of the version.
        version: number of the version.
        manifest: contents of its `manifest.json`.
    """

    path: Path
    version: int
    manifest: dict[str, Any]


def export_savedmodel(
    run_dir: str | Path,
    out: str | Path,
    version: int | None = None,
    weights: str = "auto",
    weights_dtype: str = "float32",
    batch_sizes: Sequence[int] = (1, 4, 16),
    overrides: Sequence[str] = (),
    log: Callable[[str], object] = print,
) -> Exported:
    """Exports a run to `out/<version>/`, ready for TensorFlow Serving.

    The folder contains the SavedModel with the signatures of the task, warm-up requests, `MODEL_CARD.md` and
    `manifest.json`. It is
    compared with the model in memory (`check_parity`), then published atomically (`publishing`). Exporting the same run
    again gives the same graph and the same fingerprint. The SavedModel computes in float32, whatever the precision of
    the training.

    Args:
        run_dir: folder that `train` wrote.
        out: folder of the model; its name is the name of the model.
        version: positive int; None: the next free version.
        weights: `auto`, `best`, `last` or `ema`; see `load_run`.
        weights_dtype: type of the weights on disk: float32, float16, bfloat16 or int8. All but float32 make smaller
            files that need more memory and time to serve, because every run converts them; the metrics on the
            development split are computed before and after, and logged.
        batch_sizes: numbers of rows of the warm-up requests.
        overrides: settings to export with, e.g. `"generation.beam_size=5"`.
        log: called with each line of progress.

    Returns:
        `Exported`.

    Raises:
        ExportError: the version exists, the SavedModel and the model give different outputs, TensorFlow Serving lacks
            an operation, or the disk is full.
        VlKerasError: the run cannot be loaded, see `load_run`.
    """
    if weights_dtype not in DTYPES:
        raise ExportError(f"`weights_dtype` must be one of {', '.join(DTYPES)}; got {weights_dtype!r}.")
    if not batch_sizes or min(batch_sizes) < 1:
        raise ExportError(f"`batch_sizes` must be positive; got {batch_sizes!r}.")
    config, task, model, which = load_run(run_dir, weights, overrides, precision="float32")
    log(f"Exporting {run_dir}: {which}.")
    stored, loss = None, None
    if weights_dtype != "float32":
        stored, loss = _store_weights(task, model, weights_dtype, log)
    signatures = task.serving_signatures(model)
    with _room(out), publishing(out, version) as (folder, version):
        functions = serving_functions(signatures, config.data, stored.in_place if stored else None)
        _save(functions, task, folder)
        description = inspect_savedmodel(folder)
        if description.problems:
            raise ExportError("TensorFlow Serving cannot run this SavedModel: " + "; ".join(description.problems))
        log("Comparing the SavedModel with the model in memory.")
        parity = check_parity(folder, signatures, config.data)
        log(
            f"{parity.rows} rows have equal outputs (numbers within {parity.largest:.1e}; in batches of one within "
            f"{parity.largest_alone:.1e}" + (f"; ties: {', '.join(parity.ties)})." if parity.ties else ").")
        )
        inputs = {name: [spec.name for spec in function.input_signature] for name, function in functions.items()}
        # The default signature is a separate graph; without warm-up, the first request would be slow.
        records = write_warmup(folder, {DEFAULT: next(iter(inputs.values())), **inputs}, batch_sizes)
        manifest = {
            "model": Path(out).name,
            "version": version,
            "task": config.task,
            "fingerprint": description.fingerprint,
            "weights": which,
            "weights_dtype": weights_dtype,
            "weights_dtype_measures": loss,
            "signatures": description.signatures,
            "warmup": {"records": records, "batch_sizes": list(batch_sizes)},
            "parity": parity._asdict(),
            "run": _describe_run(run_dir),
            "config": config_to_dict(config),
            "exported": {key: value for key, value in describe_versions().items() if key != "command"},
            "files": _hashes(folder),
        }
        # The card is not among the files that servers check: people may add to it, e.g. the licence of the data.
        (folder / MODEL_CARD).write_text(model_card(run_dir, manifest), encoding="utf-8", errors="replace")
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    path = Path(out).expanduser() / str(version)
    log(f"Published {path} ({description.size / 2**20:.0f} MiB).")
    return Exported(path, version, manifest)


@contextlib.contextmanager
def _room(out: str | Path) -> Iterator[None]:
    """Turns a full disk into an `ExportError`, whether Python or TensorFlow was writing."""
    try:
        yield
    except (OSError, tf.errors.ResourceExhaustedError) as error:
        if getattr(error, "filename", None) is not None:  # the error names the file
            raise
        raise ExportError(
            f"Nothing was published: `{out}` cannot be written. {first_line(error)} Make room on that disk."
        ) from error


def _store_weights(
    task: Any, model: Any, dtype: str, log: Callable[[str], object]
) -> tuple[StoredWeights, dict[str, Any]]:
    """`StoredWeights` of a model, and the metrics on the development split before and after."""
    split = task.config.data.dev_split
    log(f"Evaluating {split} with float32 and with {dtype} weights.")
    before, _ = task.epoch_metrics(model, split)
    stored = StoredWeights(task.parts(model).values(), dtype)
    after, _ = task.epoch_metrics(model, split)
    for name in before:
        log(f"  {name}: {before[name]:.4f} with float32, {after[name]:.4f} with {dtype}")
    return stored, {"split": split, "float32": before, dtype: after}


def _save(functions: Mapping[str, Any], task: Any, folder: Path) -> None:
    module = tf.Module()
    concrete = {name: function.get_concrete_function() for name, function in functions.items()}
    module.weights = _variables(concrete.values())
    if task.text_encoder is not None:
        module.preprocessor = task.text_encoder.preprocessor  # owns the lookup table of the vocabulary
    default = next(iter(concrete.values()))
    tf.saved_model.save(module, str(folder), signatures={DEFAULT: default, **concrete})


def _variables(functions: Iterable[Any]) -> list[tf.Variable]:
    """The variables that functions read, in the order of first use; `function.variables` has no defined order."""
    by_handle = {id(variable.handle): variable for function in functions for variable in function.variables}
    handles = {id(capture): None for function in functions for capture in function.graph.external_captures}
    return [by_handle[handle] for handle in handles if handle in by_handle]


def _describe_run(run_dir: str | Path) -> dict[str, Any]:
    run = RunDir(run_dir)
    starts = json.loads((run.path / "versions.json").read_text(encoding="utf-8"))
    return {"name": run.path.resolve().name, "measures": run.read_metrics(), "started": starts[-1]}


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
