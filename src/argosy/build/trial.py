"""Running a command in an image, and throwing its changes away: does what was built work?

Not a container engine: no stdin, no published ports, nothing that stays. Layers are
unpacked into the build's snapshots, where the next build finds them.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import field
from typing import Any, Literal

from argosy.build.execute.runtime import OCIRuntime
from argosy.build.graph import Layer, Output, Process, Snapshot
from argosy.build.options import Engine
from argosy.build.snapshot.overlay import OverlaySnapshotter
from argosy.build.snapshot.supply import Supply
from argosy.content.graph import manifest
from argosy.content.select import pick
from argosy.content.store import Source
from argosy.content.verify import read
from argosy.errors import ManifestInvalid, UsageError
from argosy.model import media
from argosy.model.config import ImageConfig, parse_config
from argosy.model.descriptor import Descriptor
from argosy.model.manifest import Manifest
from argosy.model.platform import Platform
from argosy.observe import Report, silent
from argosy.settings import Settings
from argosy.values import frozen

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@frozen(kw_only=True)
class Trial:
    """What to run; empty means what the image says."""

    command: Sequence[str] = ()
    entrypoint: str | None = None  # "" is no entrypoint
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    cwd: str = ""
    platform: Platform | None = None  # none: this machine's
    network: Literal["default", "none", "host"] = "none"


async def run_image(
    source: Source,
    image: Descriptor,
    trial: Trial,
    *,
    settings: Settings,
    output: Output,
    report: Report = silent,
    engine: Engine | None = None,
) -> int:
    """Run it to its end; the command's exit status.

    NoMatchingPlatform, ManifestInvalid for what is no image, RuntimeUnavailable where
    its platform cannot be run.
    """
    desc = await pick(source, image, trial.platform or Platform.host())
    view, config = await _image(source, desc)
    process = process_of(config, trial)
    async with AsyncExitStack() as stack:
        engine = engine or await _engine(settings, Supply(source=source, report=report), stack)
        top: Snapshot | None = None
        for layer, diff_id in zip(view.layers, config.diff_ids, strict=True):
            top = engine.snapshots.apply(top, Layer(layer, diff_id))
        async with engine.snapshots.edit(top) as workspace:
            return await engine.execute(process, workspace.root, output)


def process_of(config: ImageConfig, trial: Trial) -> Process:
    """The process of an image (OCI image-spec config.md), with what the trial says otherwise."""
    run = config.run
    entrypoint = _words(run, "Entrypoint")
    arguments = list(trial.command) or _words(run, "Cmd")
    if trial.entrypoint is not None:
        entrypoint = [trial.entrypoint] if trial.entrypoint else []
        arguments = list(trial.command)  # the image's arguments are meant for its entrypoint
    if not entrypoint and not arguments:
        raise UsageError(
            "the image says no command", remedy="give one: argosy run IMAGE COMMAND [ARGUMENTS]"
        )
    env = dict(pair.partition("=")[::2] for pair in _words(run, "Env"))
    return Process(
        args=(*entrypoint, *arguments),
        env={"PATH": _PATH, **env, **trial.env},
        cwd=trial.cwd or str(run.get("WorkingDir") or "/"),
        user=trial.user or str(run.get("User") or ""),
        platform=config.platform,
        network=trial.network,
    )


def _words(run: Mapping[str, Any], name: str) -> list[str]:
    found = run.get(name)
    return [str(word) for word in found] if isinstance(found, list) else []


async def _image(source: Source, desc: Descriptor) -> tuple[Manifest, ImageConfig]:
    view = await manifest(source, desc)
    if not isinstance(view, Manifest) or view.config.media_type not in media.CONFIGS:
        raise ManifestInvalid(
            f"{desc.digest} is not a container image",
            remedy="argosy inspect --raw shows what it is",
        )
    config = parse_config(await read(source, view.config))
    if len(config.diff_ids) != len(view.layers):
        raise ManifestInvalid(
            f"{desc.digest} is damaged",
            why=f"{len(view.layers)} layers, but {len(config.diff_ids)} diffIDs",
        )
    return view, config


async def _engine(settings: Settings, supply: Supply, stack: AsyncExitStack) -> Engine:
    state = os.path.join(settings.home, "build")
    return Engine(
        snapshots=await stack.enter_async_context(
            OverlaySnapshotter(os.path.join(state, "snapshots"), supply=supply)
        ),
        execute=await stack.enter_async_context(OCIRuntime(os.path.join(state, "runtime"))),
    )
