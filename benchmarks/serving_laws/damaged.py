"""Damaged versions: the old version must stay available, the new one must report why it failed."""

import asyncio
import itertools
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks.serving_laws.clients import Load
from benchmarks.serving_laws.finding import Finding, nothing
from benchmarks.serving_laws.models import prepare, publish
from benchmarks.serving_laws.server import Server
from benchmarks.serving_laws.states import States

_WARM_UP = "assets.extra/tf_serving_warmup_requests"
_FILES = (
    "saved_model.pb",
    _WARM_UP,
    "variables/variables.data-00000-of-00001",
    "variables/variables.index",
    "assets/words.txt",
    "fingerprint.pb",
)
_KINDS = ("truncated", "bit-flipped", "missing", "empty")
# Damage that TensorFlow detects without the checksums of a manifest.
_NOTICED = (
    *((name, kind) for name in (_FILES[0], *_FILES[2:4]) for kind in ("truncated", "missing")),
    ("saved_model.pb", "empty"),
    (_FILES[2], "bit-flipped"),
    (_WARM_UP, "bit-flipped"),
    ("assets/words.txt", "missing"),
)


def damaged(folder: Path, count: int = 50, clients: int = 4, seed: int = 0, original: bool = False) -> list[Finding]:
    """Publishes damaged versions one after the other while an intact version is served.

    Args:
        folder: empty folder for the models.
        count: number of damaged versions: each file is truncated, bit-flipped, missing or empty, at random positions;
            some have no manifest, whose checksums detect flipped bits in a graph.
        clients: clients that send requests meanwhile.
        seed: for the positions.
        original: start `tensorflow_model_server`, which does not check manifests.

    Returns:
        List of `Finding`.
    """
    ways = [(*pair, False) for pair in _NOTICED]
    if not original:
        ways += [(_WARM_UP, "truncated", False), *((*pair, True) for pair in itertools.product(_FILES, _KINDS))]
    rng = random.Random(seed)
    ways = [way for _ in range(0, count, len(ways)) for way in rng.sample(ways, len(ways))][:count]
    with Server(original, **prepare(folder), file_system_poll_wait_seconds=1) as server:
        return asyncio.run(_damaged(server, folder, ways, clients, rng))


async def _damaged(
    server: Server, folder: Path, ways: Sequence[tuple[str, str, bool]], clients: int, rng: random.Random
) -> list[Finding]:
    loaded, silent, unequal, gone = [], [], [], []
    async with Load(server, clients) as load, States(server) as states:
        for version, (name, kind, has_sums) in enumerate(ways, 2):
            what = f"{name} {kind}{'' if has_sums else ', no manifest'}"

            def damage(path: Path, name: str = name, kind: str = kind, has_sums: bool = has_sums) -> None:
                _damage(path / name, kind, rng)
                if not has_sums:
                    (path / "manifest.json").unlink()

            await asyncio.to_thread(publish, folder / "template", folder / "half", version, damage)
            if await states.settle(version) == "AVAILABLE":
                loaded.append(what)
                shutil.rmtree(folder / "half" / str(version))
                await states.wait_for({1: "AVAILABLE"})
                continue
            state, code, text = (await states.grpc(version))[version]
            if not code or not text or str(folder) in text:
                silent.append(f"{what}: {state} {code} {text!r}")
            if (await states.rest(version))[2] != text:
                unequal.append(what)
            if (await states.grpc(1))[1][0] != "AVAILABLE":
                gone.append(what)
            shutil.rmtree(folder / "half" / str(version))
    return [
        Finding("damaged versions", f"{len(ways)}, {len(set(ways))} kinds"),
        Finding("responses of the old version", f"{len(load.answered)}"),
        nothing("failed, wrong, other version", [*load.failed, *load.wrong, *load.back]),
        nothing("loaded despite the damage", loaded),
        nothing("old version not AVAILABLE", gone),
        nothing("status without a reason", silent),
        nothing("REST status differs from gRPC", unequal),
    ]


def _damage(path: Path, kind: str, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    if kind == "truncated":
        path.write_bytes(content[: rng.randrange(1, len(content))])
    elif kind == "bit-flipped":
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
    elif kind == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
