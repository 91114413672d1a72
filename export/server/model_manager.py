"""Which versions of which models are loaded, and how one replaces another."""

import asyncio
import contextlib
import logging
from concurrent.futures import ThreadPoolExecutor

import grpc

from export.server import version_folder
from export.server.model_config import ModelConfig, check_platforms, parse_models
from export.server.model_version import ModelVersion, State
from export.server.serving_error import ServingError

_log = logging.getLogger("export.server")


class ModelManager:
    """Keeps the loaded versions as the configuration and the folders ask for; lives on one event loop.

    A new version is loaded and warmed up first; then it takes the traffic, and the old one is unloaded when its last
    request is answered. A version that cannot be loaded leaves the old one answering, and is tried again when its files
    change.

    Args:
        load: called on a thread with model name, version and path; returns a `Servable` or raises `ServingError`.
        options: `ServeOptions`.
    """

    def __init__(self, load, options):
        self._load = load
        self._options = options
        self._configs = {}
        self._away = set()  # models whose folder cannot be read
        self._models = {}  # name -> version -> ModelVersion; also what is gone
        self._changed = asyncio.Condition()
        self._polling = asyncio.Lock()
        self._poller = None
        self._tasks = set()
        self._loaders = ThreadPoolExecutor(max(1, options.num_load_threads), thread_name_prefix="load")
        self._unloaders = self._loaders
        if options.num_unload_threads > 0:
            self._unloaders = ThreadPoolExecutor(options.num_unload_threads, thread_name_prefix="unload")
        self._files = ThreadPoolExecutor(1, thread_name_prefix="files")

    async def start(self, config):
        """Takes the first configuration; returns when each version in the folders was loaded, or failed to once.

        Raises:
            ServingError: the configuration is refused.
        """
        self._accept(config)
        await self.poll()
        if self._options.file_system_poll_wait_seconds > 0:
            self._poller = asyncio.create_task(self._poll_forever())
        found = [each for versions in self._models.values() for each in versions.values()]
        await asyncio.gather(*(each.attempted.wait() for each in found))

    async def reload(self, config):
        """Takes another configuration; returns when the models that are new in it are available.

        Raises:
            ServingError: it is refused, and nothing has changed; or (UNKNOWN) a new model could not be loaded.
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

    async def poll(self):
        """Looks into the folders once, and starts what has to be loaded or unloaded."""
        async with self._polling:
            loop = asyncio.get_running_loop()
            for name, config in list(self._configs.items()):
                try:
                    present = await loop.run_in_executor(self._files, version_folder.list_versions, config.base_path)
                except OSError as error:
                    # What is loaded stays: the folder may be away for a moment.
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
    def hold(self, model_spec):
        """Gives the `Servable` that a `ModelSpec` means, and keeps it loaded meanwhile.

        Raises:
            ServingError: no name, unknown model, version or label.
        """
        found = self._find(model_spec)
        found.holders += 1
        try:
            yield found.servable
        finally:
            found.holders -= 1

    def versions(self, name):
        """Every version of a model that was ever seen, as `ModelVersion`s, highest first."""
        versions = self._models.get(name, {})
        return [versions[version] for version in sorted(versions, reverse=True)]

    def all_available(self):
        """Whether every configured model has a version that answers."""
        return all(self._latest(name) is not None for name in self._configs)

    async def wait_until_available(self):
        """Waits until `all_available`."""
        async with self._changed:
            await self._changed.wait_for(self.all_available)

    async def close(self):
        """Unloads everything; no request may be left."""
        if self._poller is not None:
            self._poller.cancel()
        self._configs = {}
        for name in self._models:
            self._want(name, {})
        for task in list(self._tasks):  # loads and unloads; a load that is under way is waited for
            with contextlib.suppress(asyncio.CancelledError):
                await task
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        for executor in {self._loaders, self._unloaders, self._files}:
            executor.shutdown(wait=True)

    def _accept(self, config):
        """Checks a configuration and takes it; returns the names that are new in it."""
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

    def _check_labels(self, model):
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
            )

    def _find(self, model_spec):
        name = model_spec.name
        if not name:
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        choice = model_spec.WhichOneof("version_choice")
        if choice is None:
            found = self._latest(name)
            asked = f"Latest({name})"
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
            asked = f"Specific({name}, {version})"
        if found is None or found.state != State.AVAILABLE:
            raise ServingError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {asked}")
        return found

    def _latest(self, name):
        ready = [each for each in self._models.get(name, {}).values() if each.state == State.AVAILABLE]
        return max(ready, key=lambda each: each.version, default=None)

    def _want(self, name, wanted):
        """Makes the given versions, number -> path, those that should be served."""
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

    def _unload_unwanted(self, name):
        versions = self._models[name].values()
        wanted = [each for each in versions if each.wanted]
        if wanted and not any(each.state == State.AVAILABLE for each in wanted):
            return  # the old one answers until a new one can
        for each in versions:
            if each.state == State.AVAILABLE and not each.wanted:
                each.state = State.UNLOADING
                self._start(self._take_down(name, each), each)

    async def _retry_changed(self, name):
        loop = asyncio.get_running_loop()
        for each in list(self._models[name].values()):
            if each.wanted and each.state == State.END and each.task is None and each.look is not None:
                look = await loop.run_in_executor(self._files, version_folder.look_of, each.path)
                if look != each.look and each.wanted:
                    each.look = None
                    self._start(self._bring_up(name, each), each)

    async def _bring_up(self, name, each):
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
            if not each.wanted:  # any more
                await self._take_down(name, each)
                return
            await self._change(each, State.AVAILABLE)
            self._unload_unwanted(name)
            break
        if each.servable is None:
            await self._change(each, State.END)

    async def _wait_until_whole(self, each):
        """Leaves a folder that is still being copied alone; one that stays as it is will tell what it lacks."""
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

    async def _wait_to_retry(self, each):
        """Until the interval is over, or the files change, or nobody wants it."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._options.load_retry_interval_micros / 1e6
        while each.wanted and loop.time() < until:
            await asyncio.sleep(min(1.0, max(0.0, until - loop.time())))
            if await loop.run_in_executor(self._files, version_folder.look_of, each.path) != each.look:
                return

    async def _take_down(self, name, each):
        await self._change(each, State.UNLOADING)
        while each.holders:
            await asyncio.sleep(0.01)
        servable, each.servable = each.servable, None
        await servable.drained()
        await asyncio.get_running_loop().run_in_executor(self._unloaders, servable.close)
        _log.info("Unloaded %s version %d", name, each.version)
        await self._change(each, State.END)

    async def _change(self, each, state):
        each.state = state
        if state in (State.AVAILABLE, State.END):
            each.attempted.set()
        async with self._changed:
            self._changed.notify_all()

    def _start(self, work, each):
        async def run():
            try:
                await work
            except Exception:
                _log.exception("A version's life ended by an error of the server")
                each.error = ServingError(grpc.StatusCode.INTERNAL, "The server failed; its log says more.")
                await self._change(each, State.END)
            finally:
                if each.task is asyncio.current_task():
                    each.task = None

        each.task = asyncio.create_task(run())
        self._tasks.add(each.task)
        each.task.add_done_callback(self._tasks.discard)

    def _is_settled(self, name):
        if name not in self._configs or self._latest(name) is not None:
            return True
        versions = [each for each in self._models.get(name, {}).values() if each.wanted]
        return bool(versions) and all(each.state == State.END for each in versions)

    def _describe_failure(self, name):
        failed = next((each for each in self.versions(name) if each.error is not None), None)
        if failed is None:
            return f"{{name: {name}}}"
        error = f"{failed.error.code.name}: {failed.error.message}"
        return f"{{name: {name} version: {failed.version}}} due to error: {error}"

    async def _poll_forever(self):
        while True:
            await asyncio.sleep(self._options.file_system_poll_wait_seconds)
            try:
                await self.poll()
            except Exception:
                _log.exception("Looking into the models' folders failed")
