"""--explain: each step that runs says which of its inputs is not what it was."""

import os
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.build import explain
from argosy.build.explain import table
from argosy.build.graph import Reason
from argosy.build.pipeline import BuildOptions, build

DOCKERFILE = """\
FROM scratch AS base
COPY tool /bin/
FROM base AS build
ARG MODE=fast
ARG TOKEN=a
WORKDIR /src
COPY src .
RUN echo $MODE
FROM scratch
COPY --from=build /src /out
"""


class Project:
    """A small project that is built again and again."""

    def __init__(self, bench):
        self.bench = bench
        self.context = bench.context(
            {"tool": "tool", "src/a.c": "a", "src/b.c": "b", "src/sub/c.c": "c"}
        )
        self.state = os.path.join(bench.settings.home, "build")

    def file(self, path, text):
        self.bench.context({path: text})

    async def build(self, text, **options):
        self.file("Dockerfile", text)
        return await build(
            BuildOptions(context=self.context, **options),
            settings=self.bench.settings,
            ends=self.bench.ends,
            engine=self.bench.engine,
        )


@pytest.fixture
def project(bench):
    return Project(bench)


async def reasons(project, text=DOCKERFILE, **options):
    """What ran, by instruction, and why (without the time)."""
    result = await project.build(text, **options)
    return {
        r.step.partition("] ")[2]: r.why.partition(" since 20")[0]
        for r in result.reasons
        if r.result == "ran"
    }


async def test_what_was_never_built_says_so_and_what_did_not_change_does_not_run(project):
    first = await reasons(project)
    assert set(first.values()) == {"no earlier build of it is remembered"}
    assert len(first) == 5
    assert await reasons(project) == {}
    again = await project.build(DOCKERFILE)
    assert {r.result for r in again.reasons} == {"cached"}


async def test_a_changed_file_is_named_and_what_follows_names_the_step_before(project):
    await reasons(project)
    project.file("src/b.c", "changed")
    found = await reasons(project)
    assert found["COPY src ."] == "file src/b.c changed"
    assert found["RUN echo $MODE"] == "step [build 2] COPY src . changed"
    assert not any(step.startswith("COPY tool") for step in found)


async def test_new_lost_and_reprotected_files_are_told_apart(project):
    await reasons(project)
    project.file("src/new.c", "n")
    assert (await reasons(project))["COPY src ."] == "file src/new.c is new"
    os.unlink(os.path.join(project.context, "src/new.c"))
    os.unlink(os.path.join(project.context, "src/a.c"))
    assert (await reasons(project))["COPY src ."] == "file src/a.c is gone, and 1 more file"
    os.chmod(os.path.join(project.context, "src/b.c"), 0o755)
    assert (await reasons(project))["COPY src ."] == "file src/b.c changed from 0644 to 0755"


async def test_a_changed_argument_is_shown_unless_it_sounds_secret(project):
    await reasons(project)
    found = await reasons(project, build_args={"MODE": "slow"})
    assert found["RUN echo $MODE"] == "variable MODE changed from 'fast' to 'slow'"
    found = await reasons(project, build_args={"MODE": "slow", "TOKEN": "s3cr3t"})
    assert found["RUN echo $MODE"] == "variable TOKEN changed"
    path = os.path.join(project.state, "reasons.db")
    with open(path, "rb") as file:
        assert b"s3cr3t" not in file.read()


async def test_another_instruction_is_shown_with_what_it_was(project):
    await reasons(project)
    found = await reasons(project, DOCKERFILE.replace("echo $MODE", "echo all"))
    (why,) = [why for step, why in found.items() if step.startswith("RUN")]
    assert why.startswith("the instruction changed; at 20")
    assert why.endswith("it was RUN echo $MODE")


async def test_a_step_that_was_put_in_does_not_hide_the_others(project):
    await reasons(project)
    found = await reasons(project, DOCKERFILE.replace("WORKDIR", "RUN true\nWORKDIR"))
    assert found["COPY src ."].startswith("step [build")
    assert "is new" in found["COPY src ."] or "changed" in found["COPY src ."]


async def test_without_cache_that_is_the_reason(project):
    await reasons(project)
    assert set((await reasons(project, no_cache=True)).values()) == {"--no-cache"}


async def test_a_result_that_is_gone_is_told_apart_from_a_change(project):
    await reasons(project)
    with sqlite3.connect(os.path.join(project.state, "cache.db")) as db:
        db.execute("DELETE FROM records")
    found = await reasons(project)
    assert set(found.values()) == {"nothing changed, but its result is gone (pruned)"}


async def test_a_damaged_file_is_only_a_missing_answer(project):
    await reasons(project)
    path = os.path.join(project.state, "reasons.db")
    with open(path, "wb") as file:
        file.write(b"no database at all" * 400)
    project.file("src/a.c", "other")
    assert (await reasons(project))["COPY src ."] == "no earlier build of it is remembered"


async def test_few_times_before_are_kept(project):
    for number in range(8):
        project.file("src/a.c", str(number))
        await reasons(project)
    with sqlite3.connect(os.path.join(project.state, "reasons.db")) as db:
        (most,) = db.execute(
            "SELECT max(n) FROM (SELECT count(*) n FROM steps GROUP BY stage, place)"
        ).fetchone()
    assert most == 3


def test_the_table_reads_well():
    shown = table(
        (
            Reason(step="[build 1/2] COPY src .", result="cached"),
            Reason(step="[build 2/2] RUN make", result="ran", why="variable A changed"),
        )
    )
    assert shown == (
        "cached  [build 1/2] COPY src .\n"
        "ran     [build 2/2] RUN make\n"
        "        because variable A changed\n"
    )


parts = st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=6)


@given(parts, parts)
def test_any_two_times_are_compared(old, new):
    told = list(explain._differences(old, new))
    assert bool(told) == (old != new)
    assert all(isinstance(line, str) for line in told)
