"""--output read, and what becomes of a result at its outputs."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.build.options import BuildOptions, Output
from argosy.build.pipeline import build
from argosy.build.results.export import EMPTY_LAYER, _history
from argosy.build.results.outputs import check, names_of
from argosy.errors import InvalidReference, StorageError, UsageError
from argosy.model.digest import Digest

FULL = Digest.of(b"layer")


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("out", Output(kind="local", dest="out")),
        ("-", Output(kind="tar", dest="-")),
        ("type=tar", Output(kind="tar", dest="-")),
        ("type=tar,dest=x.tar", Output(kind="tar", dest="x.tar")),
        ("type=local,dest=./a=b", Output(kind="local", dest="./a=b")),
        ("type=oci,dest=x.tar", Output(kind="oci", dest="x.tar")),
        ("type=oci,dest=dir,tar=false", Output(kind="oci", dest="dir/")),
        ("type=docker,dest=-", Output(kind="docker", dest="-")),
        ("type=docker", Output(kind="docker")),
        ("type=cacheonly", Output(kind="cacheonly")),
        ("type=registry", Output(kind="registry")),
        ("type=image,push=true", Output(kind="registry")),
        ("type=image,push=false,name=a", Output(kind="image", names=("a",))),
        ('type=registry,"name=a,b"', Output(kind="registry", names=("a", "b"))),
        ('type=local,"dest=a,b"', Output(kind="local", dest="a,b")),
    ],
)
def test_outputs_are_read_as_buildx_reads_them(text, output):
    assert Output.parse(text) == output


@pytest.mark.parametrize(
    "text",
    [
        "type=oci",
        "type=local",
        "type=nope,dest=x",
        "dest=x",
        "type=image,push=maybe",
        "type=oci,dest",
        'type=oci,"dest',
    ],
)
def test_what_cannot_be_honoured_is_refused(text):
    with pytest.raises(UsageError, match="--output"):
        Output.parse(text)


@given(st.text(max_size=60))
def test_any_text_is_an_output_or_refused(text):
    try:
        assert isinstance(Output.parse(text), Output)
    except UsageError:
        return


def test_names_are_full_and_unique():
    assert [str(n) for n in names_of(["app", "app:latest", "localhost:5000/x:1"])] == [
        "docker.io/library/app:latest",
        "localhost:5000/x:1",
    ]
    with pytest.raises(InvalidReference):
        names_of(["UPPER"])


def test_options_are_checked_before_anything_is_built():
    for options in (
        {"push": True},
        {"outputs": (Output(kind="registry"),)},
        {"outputs": (Output(kind="local", dest="-"),)},
        {"tags": ("a@" + FULL,)},
    ):
        with pytest.raises(UsageError):
            check(BuildOptions(context=".", **options))
    check(BuildOptions(context=".", outputs=(Output(kind="registry", names=("a",)),)))


def test_a_step_without_a_layer_is_marked_in_the_history():
    history = [
        {"created_by": "base"},
        {"created_by": "base env", "empty_layer": True},
        {"created_by": "one"},
        {"created_by": "ENV", "empty_layer": True},
        {"created_by": "two"},
    ]
    found = _history(history, [EMPTY_LAYER, FULL])
    assert [bool(h.get("empty_layer")) for h in found] == [False, True, True, True, False]
    assert "empty_layer" not in history[2], "the plan's own entries stay as they are"
    assert [bool(h.get("empty_layer")) for h in _history(history, [])] == [
        False,
        True,
        False,
        True,
        False,
    ]


async def run(bench, **options):
    context = bench.context({"Dockerfile": "FROM scratch\nRUN write /x 1\n"})
    return await build(
        BuildOptions(context=context, **options),
        settings=bench.settings,
        ends=bench.ends,
        engine=bench.engine,
    )


async def test_a_tar_that_cannot_be_written_leaves_nothing_behind(bench, tmp_path):
    with pytest.raises(StorageError, match="cannot write"):
        await run(bench, outputs=(Output(kind="tar", dest=str(tmp_path / "no" / "x.tar")),))
    target = tmp_path / "dir"
    target.mkdir()
    with pytest.raises((StorageError, OSError)):
        await run(bench, outputs=(Output(kind="tar", dest=str(target)),))
    assert not [n for n in os.listdir(tmp_path) if n.startswith(".argosy")]


async def test_a_metadata_file_that_cannot_be_written_is_one_of_our_errors(bench, tmp_path):
    with pytest.raises(StorageError, match="cannot write"):
        await run(bench, metadata_file=str(tmp_path / "no" / "meta.json"))


async def test_an_image_without_a_name_is_kept_all_the_same(bench):
    result = await run(bench)
    assert result.names == ()
    assert await bench.images.resolve(result.digest) == result.descriptor


async def test_a_push_that_fails_is_raised_and_what_was_loaded_stays_here(bench):
    def broken(_reference):
        raise StorageError("no such registry")

    ends = bench.ends
    context = bench.context({"Dockerfile": "FROM scratch\nRUN write /x 1\n"})
    with pytest.raises(StorageError, match="no such registry"):
        await build(
            BuildOptions(context=context, tags=("a",), push=True, load=True),
            settings=bench.settings,
            ends=type(ends)(images=ends.images, repository=broken, archive=ends.archive),
            engine=bench.engine,
        )
    assert await bench.images.resolve("docker.io/library/a:latest")
