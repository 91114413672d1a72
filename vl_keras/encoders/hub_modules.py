"""Finds and loads TensorFlow Hub modules, with errors that name the setting."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from vl_keras.errors import EncoderError

Loaded = TypeVar("Loaded")


def module_path(handle: str) -> str:
    """Where the module of a handle lies, for TensorFlow Hub: a URL as it is, a folder with its `~` expanded."""
    return handle if is_url(handle) else str(Path(handle).expanduser())


def is_url(handle: str) -> bool:
    """Whether a handle is a URL, not a folder."""
    return "://" in handle


def load_module(handle: str, key: str, contract: str, advice: str, load: Callable[[str], Loaded]) -> Loaded:
    """Loads a module.

    Args:
        handle: URL or folder.
        key: of the setting that names it, for errors.
        contract: what the module must be and do, completes "does not keep the contract of …".
        advice: what to do where there is no module, or one that cannot be downloaded.
        load: called with the module's path.

    Returns:
        What `load` returns.

    Raises:
        EncoderError: the module cannot be found, downloaded or loaded, or does not keep the contract.
    """
    path = module_path(handle)
    if not is_url(handle) and not (Path(path) / "saved_model.pb").is_file():
        raise EncoderError(
            f"`{key}` is `{handle}`, where there is no module (a folder with saved_model.pb). It takes a URL or a "
            f"folder; {advice}"
        )
    try:
        return load(path)
    except (OSError, RuntimeError) as error:  # URLError is an OSError
        raise EncoderError(
            f"`{key}`: the module `{handle}` could not be loaded: {error}. Where it cannot be downloaded, unpack it on "
            f"this machine and set `{key}` to its folder; {advice}"
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise EncoderError(f"`{key}`: `{handle}` does not keep the contract of {contract}: {error}") from error
