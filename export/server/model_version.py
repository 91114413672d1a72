"""One version of a model, from when it was first seen."""

import asyncio
import enum


class State(enum.IntEnum):
    """Of a version; the numbers of `ModelVersionStatus.State`."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


class ModelVersion:
    """One version of a model, from when it was first seen.

    Attributes:
        version: its number.
        path: its folder.
        state: a `State`.
        error: the `ServingError` that ended it, or None.
        wanted: whether the policy still asks for it.
        servable: the loaded `Servable`, while it is available or unloading.
        holders: requests that use it.
    """

    def __init__(self, version, path):
        self.version = version
        self.path = path
        self.state = State.START
        self.error = None
        self.wanted = True
        self.servable = None
        self.holders = 0
        self.attempted = asyncio.Event()  # loaded, or failed to once
        self.look = None  # of its files, when it failed
        self.task = None
