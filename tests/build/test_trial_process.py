"""What `argosy run` starts: the image's own words, and those given instead."""

from collections.abc import Sequence
from typing import Any, Self

import pytest

from argosy.build.graph import Layer
from argosy.build.options import Engine
from argosy.build.trial import Trial, process_of, run_image
from argosy.content.memory import MemoryStore
from argosy.content.pack import image
from argosy.content.store import put_bytes
from argosy.errors import NoMatchingPlatform, UsageError
from argosy.model.config import ImageConfig, parse_config
from argosy.model.descriptor import Descriptor
from argosy.model.manifest import dump
from argosy.model.platform import Platform
from argosy.settings import Settings


def config(**run: Any) -> ImageConfig:
    return parse_config(dump({"architecture": "amd64", "os": "linux", "config": run}))


@pytest.mark.parametrize(
    ("run", "trial", "args"),
    [
        ({"Cmd": ["a", "b"]}, Trial(), ("a", "b")),
        ({"Entrypoint": ["e"], "Cmd": ["a"]}, Trial(), ("e", "a")),
        ({"Entrypoint": ["e"], "Cmd": ["a"]}, Trial(command=["x"]), ("e", "x")),
        ({"Entrypoint": ["e"], "Cmd": ["a"]}, Trial(entrypoint="f"), ("f",)),
        ({"Entrypoint": ["e"]}, Trial(entrypoint="", command=["x", "y"]), ("x", "y")),
    ],
)
def test_the_command_is_put_together_as_docker_run_does(
    run: dict[str, Any], trial: Trial, args: Sequence[str]
) -> None:
    assert process_of(config(**run), trial).args == args


def test_environment_user_and_directory_come_from_the_image_unless_given() -> None:
    image_ = config(Cmd=["a"], Env=["A=1", "B=x=y"], User="1000:1000", WorkingDir="/srv")
    process = process_of(image_, Trial(env={"A": "2"}))
    assert process.env["A"] == "2"
    assert process.env["B"] == "x=y"
    assert process.env["PATH"].startswith("/usr/local/sbin")
    assert (process.user, process.cwd, process.network) == ("1000:1000", "/srv", "none")
    other = process_of(image_, Trial(user="root", cwd="/tmp"))
    assert (other.user, other.cwd) == ("root", "/tmp")


def test_an_image_without_a_command_asks_for_one() -> None:
    with pytest.raises(UsageError, match="no command"):
        process_of(config(), Trial())


async def test_an_image_of_another_platform_lists_what_it_has() -> None:
    store = MemoryStore()
    body = dump({"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": []}})
    found = await image(store, body, [])
    with pytest.raises(NoMatchingPlatform) as caught:
        await run_image(
            store,
            found,
            Trial(platform=Platform.parse("linux/s390x")),
            settings=Settings(),
            output=lambda _piece: None,
        )
    assert caught.value.available == ["linux/amd64"]


async def test_layers_are_applied_in_order_and_nothing_is_committed() -> None:
    calls: list[str] = []

    class Snapshots:
        def apply(self, parent: object, layer: Layer) -> str:
            calls.append(f"apply {layer.descriptor.size} {layer.diff_id[-1]}")
            return f"{parent}+{layer.descriptor.size}"

        def edit(self, parent: object) -> "Snapshots":
            calls.append(f"edit {parent}")
            return self

        root = "/merged"

        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *_: object) -> None:
            calls.append("closed")

    async def execute(process: Any, root: str, output: Any) -> int:
        calls.append(f"run {process.args} in {root}")
        output(b"said")
        return 7

    store, said = MemoryStore(), []
    layers = [
        await put_bytes(store, d, b)
        for b in (b"1", b"22")
        for d in [Descriptor.of("application/vnd.oci.image.layer.v1.tar", b)]
    ]
    body = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["x"]}}
    diff_ids = [f"sha256:{n:064}" for n in (1, 2)]
    found = await image(store, dump({**body, "rootfs": {"diff_ids": diff_ids}}), layers)
    engine = Engine(snapshots=Snapshots(), execute=execute)  # type: ignore[arg-type]
    trial = Trial(platform=Platform.parse("linux/amd64"))
    status = await run_image(
        store, found, trial, settings=Settings(), output=said.append, engine=engine
    )
    assert (status, said) == (7, [b"said"])
    assert calls == [
        "apply 1 1",
        "apply 2 2",
        "edit None+1+2",
        "run ('x',) in /merged",
        "closed",
    ]
