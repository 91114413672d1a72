"""A trained run becomes a SavedModel that TensorFlow Serving answers from."""

import vl_keras  # noqa: F401  selects Keras 2 before TensorFlow is imported

# isort: split
import contextlib
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from export.errors import ExportError
from export.golden import golden_images
from export.inspect import inspect_savedmodel
from export.parity import check_parity
from export.publish import publishing
from export.signatures import serving_functions
from export.stored_weights import DTYPES, StoredWeights
from export.warmup import write_warmup
from vl_keras.errors import first_line
from vl_keras.runs.load_run import load_run
from vl_keras.runs.run_dir import RunDir
from vl_keras.runs.versions import describe_versions

MANIFEST = "manifest.json"
DEFAULT = "serving_default"


class Exported(NamedTuple):
    """What was published.

    Attributes:
        path: folder of the version.
        version: its number.
        manifest: dict, the contents of its `manifest.json`.
    """

    path: Path
    version: int
    manifest: dict


def export_savedmodel(
    run_dir,
    out,
    version=None,
    weights="auto",
    weights_dtype="float32",
    batch_sizes=(1, 4, 16),
    overrides=(),
    log=print,
):
    """Exports a run to `out/<version>/`, ready for TensorFlow Serving.

    The folder holds the SavedModel with the task's signatures, warm-up requests and `manifest.json`. It is checked
    against the model in memory before it appears (`check_parity`), and appears in one step (`publishing`). The same run
    gives the same graph and the same fingerprint each time. It computes in float32 whatever the training's precision.

    Args:
        run_dir: folder that `train` wrote.
        out: folder of the model, whose name is the model's name.
        version: positive int; None: the next one.
        weights: `auto`, `best`, `last` or `ema`; see `load_run`.
        weights_dtype: float32, or how the weights are kept on disk and in memory: float16, bfloat16, or int8. The
            development measures are then taken before and after, and logged.
        batch_sizes: rows of the warm-up requests.
        overrides: `"generation.…=value"` and `"data.…=value"` strings.
        log: called with lines that say what is done.

    Returns:
        `Exported`.

    Raises:
        ExportError: the version is there already, the SavedModel does not answer as the model does, it holds an
            operation that TensorFlow Serving has not, or the disk is full.
        RunError: there is no such run.
        RetrievalError: its `generation.memory` is not there or does not go with it.
    """
    if weights_dtype not in DTYPES:
        raise ExportError(f"`weights_dtype` must be one of {', '.join(DTYPES)}; got {weights_dtype!r}.")
    if not batch_sizes or min(batch_sizes) < 1:
        raise ExportError(f"`batch_sizes` must be positive numbers; got {batch_sizes!r}.")
    config, task, model, which = load_run(run_dir, weights, overrides, precision="float32")
    log(f"Exporting {run_dir}: {which}.")
    stored, loss = None, None
    if weights_dtype != "float32":
        stored, loss = _store_weights(task, model, weights_dtype, log)
    signatures = task.serving_signatures(model)
    with _room(out), publishing(out, version) as (folder, version):
        data = config.data
        functions = serving_functions(signatures, data.image_size, data.max_pixels, stored and stored.in_place)
        _save(functions, task, folder)
        description = inspect_savedmodel(folder)
        if description.problems:
            raise ExportError("TensorFlow Serving could not run this SavedModel: " + "; ".join(description.problems))
        log("Comparing with the model in memory.")
        parity = check_parity(folder, signatures, data.image_size, golden_images())
        log(
            f"The same {parity.rows} answers (numbers within {parity.largest:.1e}), by themselves within "
            f"{parity.largest_alone:.1e}" + (f"; ties: {', '.join(parity.ties)}." if parity.ties else ".")
        )
        inputs = {name: [spec.name for spec in function.input_signature] for name, function in functions.items()}
        # The default is a graph of its own, whose first run would otherwise be somebody's request.
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
            "config": dataclasses.asdict(config),
            "exported": {key: value for key, value in describe_versions().items() if key != "command"},
            "files": _hashes(folder),
        }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    path = Path(out).expanduser() / str(version)
    log(f"Published {path} ({description.size / 2**20:.0f} MiB).")
    return Exported(path, version, manifest)


@contextlib.contextmanager
def _room(out):
    """Inside, files are written; a disk that has no room for them is said, whoever of Python and TensorFlow writes."""
    try:
        yield
    except (OSError, tf.errors.ResourceExhaustedError) as error:
        if getattr(error, "filename", None) is not None:  # says itself which file
            raise
        raise ExportError(f"Nothing is published: `{out}` cannot be written. {first_line(error)} Make room.") from error


def _store_weights(task, model, dtype, log):
    """`StoredWeights` of a task's model, and the development measures before and after."""
    split = task.config.data.dev_split
    log(f"Measuring {split} with float32 and with {dtype} weights.")
    before, _ = task.epoch_metrics(model, split)
    stored = StoredWeights(task.parts(model).values(), dtype)
    after, _ = task.epoch_metrics(model, split)
    for name in before:
        log(f"  {name}: {before[name]:.4f} with float32, {after[name]:.4f} with {dtype}")
    return stored, {"split": split, "float32": before, dtype: after}


def _save(functions, task, folder):
    module = tf.Module()
    concrete = {name: function.get_concrete_function() for name, function in functions.items()}
    module.weights = _variables(concrete.values())
    if task.text_encoder is not None:
        module.preprocessor = task.text_encoder.preprocessor  # holds the vocabulary's lookup table
    default = next(iter(concrete.values()))
    tf.saved_model.save(module, str(folder), signatures={DEFAULT: default, **concrete})


def _variables(functions):
    """The variables that functions read, in the order in which they first do: `function.variables` has none."""
    by_handle = {id(variable.handle): variable for function in functions for variable in function.variables}
    handles = {id(capture): None for function in functions for capture in function.graph.external_captures}
    return [by_handle[handle] for handle in handles if handle in by_handle]


def _describe_run(run_dir):
    run = RunDir(run_dir)
    starts = json.loads((run.path / "versions.json").read_text(encoding="utf-8"))
    return {"name": run.path.resolve().name, "measures": run.read_metrics(), "started": starts[-1]}


def _hashes(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
