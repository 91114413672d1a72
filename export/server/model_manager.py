"""Loads, replaces and unloads the versions of the models."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from tensorflow_serving.apis import model_pb2
from tensorflow_serving.config import model_server_config_pb2

from export.server import version_folder
from export.server.model_config import ModelConfig, check_platforms, parse_models
from export.server.model_version import ModelVersion, State
from export.server.options import ServeOptions
from export.server.servable import Servable
from export.server.serving_error import ServingError

_log = logging.getLogger("export.server")


class ModelManager:
    """Keeps the versions loaded that configuration and folders specify. Use it on one event loop.

    A new version is loaded and warmed up; then it receives the requests, and the old version is unloaded after its last
    request. If the new version cannot be loaded, the old one stays, and loading is tried again when the files change.

    Args:
        load: called on a thread with name, version and path; returns a `Servable` or raises `ServingError`.
        options: `ServeOptions`.
    """

    def __init__(self, load: Callable[[str, int, str], Servable], options: ServeOptions) -> None:
        self._load = load
        self._options = options
        self._configs: dict[str, ModelConfig] = {}
        self._away: set[str] = set()  # models whose folders cannot be read
        self._models: dict[
            str, dict[int, ModelVersion]
        ] = {}  # name -> version -> ModelVersion, unloaded versions included
        self._changed = asyncio.Condition()
        self._polling = asyncio.Lock()
        self._poller: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._loaders = ThreadPoolExecutor(max(1, options.num_load_threads), thread_name_prefix="load")
        self._unloaders = self._loaders
        if options.num_unload_threads > 0:
            self._unloaders = ThreadPoolExecutor(options.num_unload_threads, thread_name_prefix="unload")
        self._files = ThreadPoolExecutor(1, thread_name_prefix="files")

    async def start(self, config: model_server_config_pb2.ModelServerConfig) -> None:
        """Applies the first configuration; returns when each version has loaded or failed once.

        Raises:
            ServingError: the configuration is rejected.
        """
        self._accept(config)
        await self.poll()
        if self._options.file_system_poll_wait_seconds > 0:
            self._poller = asyncio.create_task(self._poll_forever())
        found = [each for versions in self._models.values() for each in versions.values()]
        await asyncio.gather(*(each.attempted.wait() for each in found))

    async def reload(self, config: model_server_config_pb2.ModelServerConfig) -> None:
        """Applies another configuration; returns when its new models are available.

        Raises:
            ServingError: the configuration is rejected, then nothing has changed; or UNKNOWN, a new model cannot be
                loaded.
        """
        new = self._accept(config)
        await self.poll()
        async with self._changed:
            await self._changed.wait_for(lambda: all(self._is_settled(name) for name in new))
        failed = [name for name in new if name in self._configs and self._latest(name) is None]
        if failed:
            raise ServingError(
                grpc.StatusCode.UNKNOWN,
                f"{len(failed)} model(s) did not become available: "
                f"{{{''.join(f'{{{self._describe_failure(name)}}}, ' for name in failed)}}}",
            )

    async def poll(self) -> None:
        """Reads the folders once and starts to load and unload versions."""
        async with self._polling:
            loop = asyncio.get_running_loop()
            for name, config in list(self._configs.items()):
                try:
                    present = await loop.run_in_executor(self._files, version_folder.list_versions, config.base_path)
                except OSError as error:
                    # Loaded versions stay: the folder may be missing only for a moment.
                    level = logging.DEBUG if name in self._away else logging.ERROR
                    self._away.add(name)
                    _log.log(level, "Could not find base path %s for servable %s: %s", config.base_path, name, error)
                    continue
                self._away.discard(name)
                if self._configs.get(name) == config:
                    wanted = config.wanted(present)
                    if not wanted:
                        _log.debug("No versions of servable %s found under base path %s", name, config.base_path)
                    self._want(name, {version: present[version] for version in wanted})
                    await self._retry_changed(name)

    @contextlib.contextmanager
    def hold(self, model_spec: model_pb2.ModelSpec) -> Iterator[Servable]:
        """Yields the `Servable` of a `ModelSpec` and keeps it loaded.

        Raises:
            ServingError: the name is missing, or the model, version or label is unknown.
        """
        found = self._find(model_spec)
        found.holders += 1
        try:
            yield found.servable
        finally:
            found.holders -= 1

    def versions(self, name: str) -> list[ModelVersion]:
        """All versions of a model, unloaded ones included, highest first."""
        versions = self._models.get(name, {})
        return [versions[version] for version in sorted(versions, reverse=True)]

    def all_available(self) -> bool:
        """Whether every configured model has an available version."""
        return all(self._latest(name) is not None for name in self._configs)

    async def wait_until_available(self) -> None:
        """Waits until every configured model is available."""
        async with self._changed:
            await self._changed.wait_for(self.all_available)

    async def close(self) -> None:
        """Unloads all versions. No request may be in progress."""
        if self._poller is not None:
            self._poller.cancel()
        self._configs = {}
        for name in self._models:
            self._want(name, {})
        for task in list(self._tasks):  # loads and unloads; wait for a load in progress
            with contextlib.suppress(asyncio.CancelledError):
                await task
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        for executor in {self._loaders, self._unloaders, self._files}:
            executor.shutdown(wait=True)

    def _accept(self, config: model_server_config_pb2.ModelServerConfig) -> list[str]:
        """Checks and applies a configuration; returns the names of its new models."""
        models = parse_models(config)
        check_platforms(self._configs, config)
        for model in models.values():
            self._check_labels(model)
        new = [name for name in models if name not in self._configs]
        gone = [name for name in self._configs if name not in models]
        self._configs = models
        for name in gone:
            self._want(name, {})
        return new

    def _check_labels(self, model: ModelConfig) -> None:
        options, old = self._options, self._configs.get(model.name, ModelConfig(model.name, "")).labels
        for label, version in model.labels.items():
            known = self._models.get(model.name, {}).get(version)
            if known is not None and known.state == State.AVAILABLE:
                continue
            if options.force_allow_any_version_labels_for_unavailable_models:
                continue
            if options.allow_version_labels_for_unavailable_models and old.get(label, version) == version:
                continue
            raise ServingError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"Request to assign label to version {version} of model {model.name}, which is not currently available "
                "for inference",
                "--allow_version_labels_for_unavailable_models allows it for labels that are new, "
                "--force_allow_any_version_labels_for_unavailable_models for all.",
            )

    def _find(self, model_spec: model_pb2.ModelSpec) -> ModelVersion:
        name = model_spec.name
        if not name:
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        choice = model_spec.WhichOneof("version_choice")
        if choice is None:
            found = self._latest(name)
            description = f"Latest({name})"
        else:
            version = model_spec.version.value
            if choice == "version_label":
                label = model_spec.version_label
                labels = self._configs[name].labels if name in self._configs else {}
                if label not in labels:
                    raise ServingError(
                        grpc.StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}"
                    )
                version = labels[label]
            found = self._models.get(name, {}).get(version)
            description = f"Specific({name}, {version})"
        if found is None or found.state != State.AVAILABLE:
            raise ServingError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {description}")
        return found

    def _latest(self, name: str) -> ModelVersion | None:
        ready = [each for each in self._models.get(name, {}).values() if each.state == State.AVAILABLE]
        return max(ready, key=lambda each: each.version, default=None)

    def _want(self, name: str, wanted: Mapping[int, str]) -> None:
        """Serves the given versions (number -> path) and unloads the others."""
        versions = self._models.setdefault(name, {})
        for version, path in sorted(wanted.items(), reverse=True):
            known = versions.get(version)
            ended = known is not None and known.state == State.END and known.task is None
            if known is None or (ended and not (known.wanted and known.error)):
                versions[version] = ModelVersion(version, path)
                self._start(self._bring_up(name, versions[version]), versions[version])
            else:
                known.wanted = True
        for version, known in versions.items():
            known.wanted = version in wanted
        self._unload_unwanted(name)

    def _unload_unwanted(self, name: str) -> None:
        versions = self._models[name].values()
        wanted = [each for each in versions if each.wanted]
        if wanted and not any(each.state == State.AVAILABLE for each in wanted):
            return  # the old version stays until a new one is available
        for each in versions:
            if each.state == State.AVAILABLE and not each.wanted:
                each.state = State.UNLOADING
                self._start(self._take_down(name, each), each)

    async def _retry_changed(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        for each in list(self._models[name].values()):
            if each.wanted and each.state == State.END and each.task is None and each.look is not None:
                look = await loop.run_in_executor(self._files, version_folder.look_of, each.path)
                if look != each.look and each.wanted:
                    each.look = None
                    self._start(self._bring_up(name, each), each)

    async def _bring_up(self, name: str, each: ModelVersion) -> None:
        await self._wait_until_whole(each)
        attempts = 1 + max(0, self._options.max_num_load_retries)
        loop = asyncio.get_running_loop()
        while attempts and each.wanted:
            attempts -= 1
            await self._change(each, State.LOADING)
            look = await loop.run_in_executor(self._files, version_folder.look_of, each.path)
            try:
                each.servable = await loop.run_in_executor(self._loaders, self._load, name, each.version, each.path)
            except ServingError as error:
                _log.error("Cannot load %s version %d: %s", name, each.version, error.message)
                each.error, each.look = error, look
                await self._change(each, State.END)
                if attempts:
                    await self._wait_to_retry(each)
                continue
            each.error = each.look = None
            _log.info("Loaded %s version %d", name, each.version)
            if not each.wanted:  # no longer
                await self._take_down(name, each)
                return
            await self._change(each, State.AVAILABLE)
            self._unload_unwanted(name)
            break
        if each.servable is None:
            await self._change(each, State.END)

    async def _wait_until_whole(self, each: ModelVersion) -> None:
        """Waits while an incomplete folder is still changing. If it stays incomplete, loading it gives the error."""
        loop = asyncio.get_running_loop()
        pause = self._options.file_system_poll_wait_seconds
        pause = pause if pause > 0 else 1
        last = None
        while each.wanted and not await loop.run_in_executor(self._files, version_folder.looks_whole, each.path):
            look = await loop.run_in_executor(self._files, version_folder.look_of, each.path)
            if look == last:
                return
            last = look
            await asyncio.sleep(pause)

    async def _wait_to_retry(self, each: ModelVersion) -> None:
        """Waits until the interval is over, the files change, or the version is no longer wanted."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._options.load_retry_interval_micros / 1e6
        while each.wanted and loop.time() < until:
            await asyncio.sleep(min(1.0, max(0.0, until - loop.time())))
            if await loop.run_in_executor(self._files, version_folder.look_of, each.path) != each.look:
                return

    async def _take_down(self, name: str, each: ModelVersion) -> None:
        await self._change(each, State.UNLOADING)
        while each.holders:
            await asyncio.sleep(0.01)
        servable, each.servable = each.servable, None
        await servable.drained()
        await asyncio.get_running_loop().run_in_executor(self._unloaders, servable.close)
        _log.info("Unloaded %s version %d", name, each.version)
        await self._change(each, State.END)

    async def _change(self, each: ModelVersion, state: State) -> None:
        each.state = state
        if state in (State.AVAILABLE, State.END):
            each.attempted.set()
        async with self._changed:
            self._changed.notify_all()

    def _start(self, work: Coroutine[Any, Any, None], each: ModelVersion) -> None:
        async def run() -> None:
            try:
                await work
            except Exception:
                _log.exception("Internal error while loading or unloading a version")
                each.error = ServingError(grpc.StatusCode.INTERNAL, "Internal error; see the log of the server.")
                await self._change(each, State.END)
            finally:
                if each.task is asyncio.current_task():
                    each.task = None

        each.task = asyncio.create_task(run())
        self._tasks.add(each.task)
        each.task.add_done_callback(self._tasks.discard)

    def _is_settled(self, name: str) -> bool:
        if name not in self._configs or self._latest(name) is not None:
            return True
        versions = [each for each in self._models.get(name, {}).values() if each.wanted]
        return bool(versions) and all(each.state == State.END for each in versions)

    def _describe_failure(self, name: str) -> str:
        for failed in self.versions(name):
            if failed.error is not None:
                error = f"{failed.error.code.name}: {failed.error.message}"
                return f"{{name: {name} version: {failed.version}}} due to error: {error}"
        return f"{{name: {name}}}"

    async def _poll_forever(self) -> None:
        while True:
            await asyncio.sleep(self._options.file_system_poll_wait_seconds)
            try:
                await self.poll()
            except Exception:
                _log.exception("Polling the folders of the models failed")
