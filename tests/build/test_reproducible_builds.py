"""Reproducibility: the same inputs give one digest on any machine; what does not is told to the file."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from argosy.build.options import BuildOptions, Output
from argosy.build.results.git_facts import GitFacts, git_facts, without_credentials
from argosy.build.results.reproduce import verify_reproducible
from argosy.build.telling import Telling, trace_of
from argosy.errors import UsageError
from tests.peers import need

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not os.path.exists("/bin/busybox"), reason="needs busybox"),
]
BASE = "FROM scratch AS base\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\n"


def context(path, steps):
    path.mkdir(parents=True)
    shutil.copy("/bin/busybox", path / "busybox")
    (path / "busybox").chmod(0o755)
    (path / "Dockerfile").write_text(BASE + steps)
    return path


def argosy(*words, home, code=0, umask=0o022, cwd=None, **env):
    done = subprocess.run(
        [sys.executable, "-m", "argosy", *map(str, words)],
        capture_output=True,
        text=True,
        umask=umask,
        cwd=cwd,
        env={**os.environ, "ARGOSY_HOME": str(home), **env},
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def verified(tmp_path, steps, code, **env):
    words = ("build", "-q", "--json", "--verify-reproducible", context(tmp_path / "c", steps))
    return json.loads(argosy(*words, home=tmp_path / "home", code=code, **env))


@pytest.mark.slow
def test_a_reproducible_build_is_proved_and_leaves_nothing(tmp_path):
    told = verified(tmp_path, "RUN echo hello > /x\n", 0, SOURCE_DATE_EPOCH="1700000000")
    assert told["reproducible"]
    assert told["differences"] == []
    assert len(set(told["digests"])) == 1
    assert not [n for n in os.listdir(tmp_path / "home") if n.startswith("verify-")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "path", "what"),
    [
        ("busybox date +%s > /made", "/made", "content"),
        ("busybox head -c 8 /dev/urandom > /made", "/made", "content"),
        ("busybox touch /d-$(busybox date +%s)", "/d-", "there"),
        ("busybox touch /m && busybox chmod $(($(busybox date +%s) % 2 + 4))00 /m", "/m", "mode"),
    ],
)
def test_what_differs_is_told_with_file_layer_and_step(tmp_path, step, path, what):
    told = verified(tmp_path, f"RUN true\nRUN {step}\n", 8, SOURCE_DATE_EPOCH="1700000000")
    assert not told["reproducible"]
    files = [d for d in told["differences"] if "path" in d]
    assert {d["what"] for d in files} <= {what, "size"}
    assert all(d["path"].startswith(path) and d["where"] == "layer 3" for d in files)
    assert step in files[0]["step"]
    assert files[0]["first"] != files[0]["second"]


@pytest.mark.slow
def test_without_an_epoch_times_differ_and_the_way_out_is_told(tmp_path):
    folder = context(tmp_path / "c", "RUN echo hello > /x\n")
    words = ("build", "-q", "--verify-reproducible", folder)
    said = argosy(*words, home=tmp_path / "home", code=8, SOURCE_DATE_EPOCH="")
    assert "/x: mtime:" in said
    assert "set SOURCE_DATE_EPOCH" in said


async def test_nothing_can_be_delivered_by_a_proof(bench):
    options = BuildOptions(context=".", outputs=(Output.parse("type=tar,dest=x"),))
    with pytest.raises(UsageError, match="delivers nothing"):
        await verify_reproducible(options, settings=bench.settings, ends=bench.ends)


@pytest.mark.slow
@pytest.mark.peer
def test_two_machines_make_one_digest(tmp_path):
    """Other root, path, umask, zone, locale, host name, user, file times: days apart."""
    steps = "COPY files /srv/\nRUN busybox date > /dev/null; echo x > /y; busybox mkdir /d\nWORKDIR /w\n"
    digests = set()
    for number, (umask, zone, locale) in enumerate(
        [(0o022, "UTC", "C"), (0o077, "Pacific/Kiritimati", "de_DE.UTF-8")]
    ):
        folder = context(tmp_path / f"machine{number}" / ("deep/" * number) / "context", steps)
        (folder / "files").mkdir()
        for name in ("b", "a", "c")[:: 1 - 2 * number]:  # made in another order
            file = folder / "files" / name
            file.write_text(name)
            os.utime(
                file, (1_599_000_000 + number * 10**9 // 500,) * 2
            )  # before and after the epoch
        words = ["build", "-q", "--platform=linux/amd64", "-t", "x", folder]
        program = [sys.executable, "-m", "argosy", *map(str, words)]
        host = ["unshare", "--uts", "sh", "-c", f'hostname machine{number}; exec "$@"', "-"]
        host += [need("faketime"), "-f", f"+{9 * number}d"]
        done = subprocess.run(
            [*host, *program],
            capture_output=True,
            text=True,
            umask=umask,
            cwd=tmp_path / f"machine{number}",
            env={
                **os.environ,
                "ARGOSY_HOME": str(tmp_path / f"machine{number}" / "home"),
                "SOURCE_DATE_EPOCH": "1600000000",
                "TZ": zone,
                "LC_ALL": locale,
                "USER": f"user{number}",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            },
        )
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout.split("@")[-1].strip())
    assert len(digests) == 1


def git(folder, *words, **env):
    identity = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a"}
    identity |= {"GIT_COMMITTER_EMAIL": "a@b", "GIT_COMMITTER_DATE": "@1500000000 +0000"}
    identity |= {"GIT_CONFIG_GLOBAL": "/dev/null", "HOME": str(folder)}
    words = ["git", "-C", str(folder), *words]
    subprocess.run(words, check=True, capture_output=True, env={**os.environ, **identity, **env})


def repository(tmp_path):
    folder = context(tmp_path / "repo", "RUN echo hello > /x\n")
    git(folder, "init", "-q")
    git(folder, "remote", "add", "origin", "https://me:secret@example.com/a/b.git?x=1")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "one")
    git(folder, "tag", "v1.2.0")
    git(folder, "tag", "v1.10.0")
    return folder


def test_git_tells_commit_time_tag_remote_and_dirt(tmp_path):
    folder = repository(tmp_path)
    facts = git_facts(str(folder))
    assert isinstance(facts, GitFacts)
    assert (facts.time, facts.tag, facts.is_dirty) == (1500000000, "v1.10.0", False)
    assert facts.remote == "https://example.com/a/b.git"
    (folder / "Dockerfile").write_text("FROM scratch\n")
    assert git_facts(str(folder)).revision == f"{facts.commit}-dirty"


def test_without_a_repository_or_a_commit_there_is_nothing_to_tell(tmp_path):
    assert git_facts(str(tmp_path)) == "none"
    git(tmp_path, "init", "-q")
    assert git_facts(str(tmp_path)) == "none"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("git@github.com:a/b.git", "git@github.com:a/b.git"),
        ("https://token@host/a", "https://host/a"),
        ("ssh://me@host:22/a", "ssh://host:22/a"),
        ("/srv/git/a", ""),
        ("file:///srv/a", ""),
        ("../a", ""),
    ],
)
def test_a_remote_is_told_without_credentials_and_paths(url, shown):
    assert without_credentials(url) == shown


@pytest.mark.parametrize(
    ("words", "environ", "found"),
    [
        ([], {}, {"base", "git"}),
        (["none"], {"BUILDX_GIT_LABELS": "1"}, {"none"}),
        ([], {"BUILDX_GIT_LABELS": "full"}, {"base", "git", "labels"}),
        ([], {"BUILDX_GIT_INFO": "false"}, {"base"}),
        (["labels", "trace"], {}, {"labels", "git", "trace"}),
    ],
)
def test_what_is_told_can_be_chosen(words, environ, found):
    assert Telling.parse(words, environ).words == found


def test_the_trace_of_a_pipeline_is_found():
    trace = "0af7651916cd43dd8448eb211c80319c"
    assert trace_of({"TRACEPARENT": f"00-{trace}-b7ad6b7169203331-01"}) == trace
    assert trace_of({"GITHUB_RUN_ID": "7", "GITHUB_REPOSITORY": "a/b"}) == "github:a/b/7/1"
    assert trace_of({"CI_PIPELINE_ID": "9", "CI_PROJECT_PATH": "g/p"}).startswith("gitlab:g/p/9")
    assert trace_of({"TRACEPARENT": "junk"}) == ""


def notes(home, name):
    told = json.loads(argosy("inspect", "--raw", f"local:{name}", home=home))
    return told.get("annotations", {})


@pytest.mark.slow
def test_git_is_told_in_annotations_and_in_labels_only_when_asked(tmp_path):
    folder, home = repository(tmp_path), tmp_path / "home"
    env = {"SOURCE_DATE_EPOCH": "git"}
    argosy("build", "-q", "-t", "one", folder, home=home, **env)
    told = notes(home, "one")
    oci = "org.opencontainers.image."
    assert told[oci + "version"] == "v1.10.0"
    assert told[oci + "source"] == "https://example.com/a/b.git"
    assert told[oci + "created"] == "2017-07-14T02:40:00Z"
    assert len(told[oci + "revision"]) == 40
    argosy("build", "-q", "-t", "two", "--describe=none", folder, home=home, **env)
    assert notes(home, "two") == {}
    argosy("build", "-q", "-t", "three", "--describe=labels", folder, home=home, **env)
    config = argosy("inspect", "--config", "local:three", home=home)
    assert oci + "revision" in config
    user = ["--label", f"{oci}revision=mine", "--describe=labels"]
    argosy("build", "-q", "-t", "four", *user, folder, home=home, **env)
    assert notes(home, "four")[oci + "revision"] == "mine"


@pytest.mark.slow
def test_the_newest_file_can_be_the_time(tmp_path):
    folder, home = context(tmp_path / "c", "RUN echo hello > /x\n"), tmp_path / "home"
    for name in ("busybox", "Dockerfile"):
        os.utime(folder / name, (1400000000, 1400000000))
    argosy("build", "-q", "-t", "x", folder, home=home, SOURCE_DATE_EPOCH="context")
    config = argosy("inspect", "--config", "local:x", home=home)
    assert "2014-05-13T16:53:20Z" in config


def test_a_time_from_git_needs_a_repository(tmp_path):
    folder = context(tmp_path / "c", "")
    argosy("build", "-q", folder, home=tmp_path / "home", code=2, SOURCE_DATE_EPOCH="git")
