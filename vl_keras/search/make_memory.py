"""Makes a memory of the captions of a retrieval run's training split, for captioning runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vl_keras.errors import RetrievalError, RunError
from vl_keras.progress import Progress
from vl_keras.retrieval.caption_memory import CaptionMemory
from vl_keras.runs.load_run import load_run


def make_memory(
    run_dir: str | Path, out: str | Path, overrides: Sequence[str] = (), weights: str = "auto"
) -> CaptionMemory:
    """Writes a `CaptionMemory`, for `generation.memory` of captioning runs with the same frozen image encoder.

    Args:
        run_dir: folder of a trained retrieval run.
        out: folder to write; must not exist.
        overrides: `"data.…=value"` strings, e.g. to read the training data from another folder, or other captions.
        weights: `auto`, `best`, `last` or `ema`; see `load_run`.

    Returns:
        The `CaptionMemory`.

    Raises:
        RunError: there is no such run, its task cannot make a memory, or its training split has no captions.
        RetrievalError: `out` exists already or cannot be written.
    """
    if Path(out).expanduser().exists():
        raise RetrievalError(f"`{out}` is there already; give another name, or remove it first.")
    task: Any  # of any class; the check below is what counts
    config, task, model, _ = load_run(run_dir, weights, overrides, precision="float32")
    if not hasattr(task, "caption_memory") or not hasattr(task, "texts"):
        raise RunError(
            f"A memory is made with a run that embeds captions beside images, such as one of retrieval; `{run_dir}` is "
            f"a {config.task} run."
        )
    split = config.data.train_split
    count = sum(bool(caption.strip()) for captions in task.texts(split) for caption in captions)
    if not count:
        raise RunError(f"Split `{split}` of the run `{run_dir}` has no captions to keep.")
    with Progress("captions", count, "caption") as progress:
        memory = task.caption_memory(model, progress.to)
    memory.save(out)
    return memory
