"""One version of a model and its state."""

import asyncio
import enum
from typing import Any

from export.server.serving_error import ServingError


class State(enum.IntEnum):
    """State of a version; the numbers are those of `ModelVersionStatus.State`."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


class ModelVersion:
    """One version of a model and its state.

    Attributes:
        version: number of the version.
        path: folder of the version.
        state: a `State`.
        error: why loading failed, or None.
        wanted: whether the policy still selects it.
        servable: the loaded `Servable` while the version is available or unloading, else None.
        holders: number of requests that use it.
        attempted: set once the version has loaded or failed.
        look: `version_folder.look_of` at the failed attempt, or None.
        task: the task that loads or unloads it, or None.
    """

    def __init__(self, version: int, path: str) -> None:
        self.version = version
        self.path = path
        self.state = State.START
        self.error: ServingError | None = None
        self.wanted = True
        self.servable: Any = None  # a `Servable` while AVAILABLE or UNLOADING, else None
        self.holders = 0
        self.attempted = asyncio.Event()
        self.look: tuple[tuple[str, int, int], ...] | None = None
        self.task: asyncio.Task[None] | None = None
