"""The captions of a retrieval run's training split, kept for captioners."""

from collections.abc import Sequence
from pathlib import Path

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
        out: folder that gets the memory; must be absent.
        overrides: `"data.…=value"` strings, e.g. where the training data is now, or for other captions.
        weights: `auto`, `best`, `last` or `ema`; see `load_run`.

    Returns:
        The `CaptionMemory`.

    Raises:
        RunError: there is no such run, it is not of retrieval, or its training split has no captions.
        RetrievalError: `out` is there already or cannot be written.
    """
    if Path(out).expanduser().exists():
        raise RetrievalError(f"`{out}` is there already; give another name, or remove it first.")
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
