"""Settings are read from flags, environment and file, in this order, and every problem is told at once."""

import contextlib
import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.errors import ConfigError
from argosy.server.config.describing import example, in_force, page
from argosy.server.config.kinds import DURATION, SIZE
from argosy.server.config.loading import load, misspelt, read, table
from argosy.server.config.sections import ServerSettings


def written(path: Path, text: str) -> str:
    file = path / "argosy.toml"
    file.write_text(text)
    return str(file)


def test_without_a_word_everything_is_at_its_default():
    assert load(environ={}) == ServerSettings()


def test_a_flag_stands_above_the_environment_that_above_the_file(tmp_path):
    file = written(tmp_path, '[server]\nlisten = "a:1"\nworkers = 3\ndata = "/file"\n')
    environ = {"ARGOSY_SERVER_LISTEN": "b:2", "ARGOSY_SERVER_WORKERS": "4"}
    found = read(file, environ=environ, flags={"server.listen": "c:3", "server.workers": None})
    server = found.settings.server
    assert (server.listen, server.workers, server.data) == ("c:3", 4, "/file")
    assert found.origins == {
        "server.listen": "flag",
        "server.workers": "environment",
        "server.data": "file",
    }


def test_sections_in_sections_and_every_kind_of_value(tmp_path):
    file = written(
        tmp_path,
        """
        [storage]
        backend = "s3"
        [storage.s3]
        bucket = "b"
        part_size = "16MiB"
        redirect = false
        retries = 7
        [auth.ldap]
        urls = ["ldaps://a", "ldaps://b"]
        timeout = "1m30s"
        [log]
        sample = 0.25
        [limits]
        requests = 12
        """,
    )
    found = load(file, environ={})
    assert found.storage.backend == "s3"
    assert (found.s3.bucket, found.s3.part_size, found.s3.redirect) == ("b", 16 << 20, False)
    assert found.ldap.urls == ("ldaps://a", "ldaps://b")
    assert (found.ldap.timeout, found.log.sample, found.limits.requests) == (90.0, 0.25, 12.0)


def test_every_problem_is_told_with_its_place(tmp_path):
    file = written(
        tmp_path,
        """
        [server]
        wrokers = 2
        workers = "two"
        listen = 5
        [storage]
        backend = "tape"
        [tokens]
        issuer = "x"
        """,
    )
    with pytest.raises(ConfigError) as caught:
        load(file, environ={"ARGOSY_LOG_SAMPLE": "2"})
    problems = caught.value.evidence["problems"]
    assert [p.partition(":")[0] for p in problems] == [
        "server.wrokers",
        "tokens",
        "server.listen",
        "server.workers",
        "storage.backend",
        "ARGOSY_LOG_SAMPLE",
    ]
    assert "did you mean server.workers?" in problems[0]
    assert "one of" not in problems[2]
    assert "files, s3" in problems[4]
    assert "6 settings" in caught.value.summary


@pytest.mark.parametrize(
    ("section", "line", "why"),
    [
        ("server", "workers = 0", "'0' is less than 1"),
        ("server", "max_connections = 0", "less than 1"),
        ("server", 'public_url = "registry.example.com"', "http:// or https://"),
        ("server", 'public_url = "https://"', "http:// or https://"),
        ("server", 'public_url = "https://host:port"', "http:// or https://"),
        ("database", "pool = 0", "less than 1"),
        ("storage.s3", 'part_size = "1MiB"', "less than 5MiB"),
        ("storage.s3", 'redirect_endpoint = "s3.example.com"', "http:// or https://"),
        ("uploads", "ttl = 0", "less than 1s"),
        ("auth.oidc", 'issuer = "idp.example.com"', "http:// or https://"),
        ("redis", 'url = "http://x:sesame@h"', "redis:// or rediss://"),
        ("limits", "requests = -4", "less than 0"),
        ("limits", "requests = nan", "less than 0"),
        ("limits", "nodes = 0", "less than 1"),
        ("audit", "keep_rows = -1", "less than 0"),
        ("metrics", "projects = -1", "less than 0"),
        ("tracing", 'endpoint = "collector:4318"', "http:// or https://"),
    ],
)
def test_what_can_never_work_is_refused_at_once(tmp_path, section, line, why):
    (problem,) = read(written(tmp_path, f"[{section}]\n{line}\n"), environ={}).problems
    assert problem.place == f"{section}.{line.partition(' ')[0]}"
    assert why in problem.why
    assert "sesame" not in str(problem)


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("server", 'public_url = "http://[::1]:5000"'),
        ("redis", 'url = "unix:///run/redis.sock"'),
        ("redis", 'url = "rediss://h:6380/1"'),
        ("audit", "keep = 0"),
        ("limits", "requests = 0"),
    ],
)
def test_what_can_work_is_taken(tmp_path, section, line):
    assert not read(written(tmp_path, f"[{section}]\n{line}\n"), environ={}).problems


@pytest.mark.parametrize(
    ("text", "why"), [("[server", "TOML"), ("\xff", "TOML"), ("a = 1", "no such setting")]
)
def test_a_file_that_is_none_is_refused(tmp_path, text, why):
    file = tmp_path / "argosy.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        load(str(file), environ={})
    assert why in f"{caught.value.summary} {caught.value.why}"


def test_a_file_that_is_not_there_is_refused_with_what_to_do():
    with pytest.raises(ConfigError) as caught:
        load("/nowhere/argosy.toml", environ={})
    assert "argosy config example" in caught.value.remedy


def test_a_secret_may_be_in_a_file_or_in_another_variable(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("from a file\n")
    file = written(
        tmp_path,
        f'[database]\npassword = {{ file = "{secret}" }}\n[redis]\npassword = {{ env = "RP" }}\n',
    )
    environ = {"RP": "from a variable", "ARGOSY_STORAGE_S3_SECRET_KEY_FILE": str(secret)}
    found = load(file, environ=environ)
    assert found.database.password == "from a file"
    assert found.redis.password == "from a variable"
    assert found.s3.secret_key == "from a file"


@pytest.mark.parametrize(
    "where", ['{ file = "/nowhere" }', '{ env = "NOWHERE" }', "{ fiel = 'x' }"]
)
def test_a_secret_that_is_not_there_is_a_problem(tmp_path, where):
    with pytest.raises(ConfigError, match="cannot be used"):
        load(written(tmp_path, f"[database]\npassword = {where}\n"), environ={})


def test_secrets_are_in_no_error_and_no_picture_of_the_settings(tmp_path):
    file = written(tmp_path, '[database]\npassword = "sesame"\n[redis]\npassword = [1, "sesame"]\n')
    found = read(file, environ={})
    assert "sesame" not in repr(found.settings)
    assert "sesame" not in str(found.problems)
    shown = {name: value for name, value, _ in in_force(found)}
    assert shown["database.password"] == "********"
    assert "sesame" not in str(shown)
    file = written(
        tmp_path,
        '[database]\nurl = "postgresql://me:sesame@h/d"\n[redis]\nurl = "redis://:sesame@h"',
    )
    shown = {name: value for name, value, _ in in_force(read(file, environ={}))}
    assert shown["database.url"] == '"postgresql://me:********@h/d"'
    assert shown["redis.url"] == '"redis://:********@h"'


def test_a_slip_in_the_name_of_a_variable_is_told_of():
    slips = misspelt({"ARGOSY_SERVER_LISTN": ":5000", "ARGOSY_S3_BUCKET": "b", "PATH": "/bin"})
    assert [(slip.place, slip.remedy) for slip in slips] == [
        ("ARGOSY_SERVER_LISTN", "did you mean ARGOSY_SERVER_LISTEN?")
    ]


def test_variables_of_others_are_no_slips():
    ours = [item.variable for item in table()]
    builds = ["HOME", "REGISTRY", "CHUNK_SIZE", "READ_TIMEOUT", "VERIFY_TIMEOUT", "ID_TOKEN"]
    services = ["REDIS_PORT", "REDIS_PORT_6379_TCP_ADDR", "SERVER_SERVICE_HOST", "LOG_SERVICE_PORT"]
    given = [*ours, "ARGOSY_AUTH_SECRET_FILE", *(f"ARGOSY_{n}" for n in [*builds, *services])]
    assert misspelt(dict.fromkeys(given, "x")) == []


@pytest.mark.parametrize(
    ("kind", "value", "written"),
    [
        (SIZE, 10**10, '"9765625KiB"'),
        (SIZE, 1234567 << 30, '"1234567GiB"'),
        (DURATION, 1234567.0, '"1234567s"'),
        (DURATION, 1e11, '"100000000000s"'),
    ],
)
def test_what_is_shown_of_a_size_or_duration_is_its_value(kind, value, written):
    assert kind.write(value) == written
    assert kind.read(json.loads(written)) == value


def test_durations_and_sizes_are_shown_as_people_write_them():
    shown = {name: value for name, value, _ in in_force(read(environ={}))}
    assert shown["audit.keep"] == '"365d"'
    assert shown["token.lifetime"] == '"5m"'
    assert shown["server.drain"] == '"0s"'
    assert shown["storage.s3.part_size"] == '"8MiB"'
    assert shown["limits.download"] == "0"


@pytest.mark.parametrize(
    ("text", "rate"), [("10MB", 10_000_000), ("10MiB", 10 << 20), ("10m", 10 << 20), ("512", 512)]
)
def test_sizes_mean_what_they_mean_to_the_verbs(tmp_path, text, rate):
    found = load(written(tmp_path, f'[limits]\ndownload = "{text}"'), environ={})
    assert found.limits.download == rate


def test_the_example_is_a_file_that_changes_nothing_also_when_all_of_it_is_meant(tmp_path):
    assert load(written(tmp_path, example()), environ={}) == ServerSettings()
    keys = tuple(f"# {item.name} = " for item in table())
    meant = "\n".join(
        line.removeprefix("# ") if line.startswith(keys) else line for line in example().split("\n")
    )
    assert len(tomllib.loads(meant)) >= 10
    assert load(written(tmp_path, meant), environ={}) == ServerSettings()


def test_the_page_of_the_docs_has_every_setting_and_is_what_the_repository_has():
    text = page()
    for item in table():
        assert f"| `{item.name}` |" in text
        assert item.help
    kept = Path(__file__).resolve().parents[3] / "docs" / "settings.md"
    assert kept.read_text() == text, "make docs writes it anew"


def test_variables_of_the_environment_are_told_apart():
    variables = [item.variable for item in table()]
    assert len(set(variables)) == len(variables)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(value=_VALUES, item=st.sampled_from(table()))
def test_no_value_breaks_a_kind(value, item):
    with contextlib.suppress(ValueError):  # nothing else may come
        item.kind.take(value)


@given(text=st.text(max_size=60), item=st.sampled_from(table()))
def test_whatever_the_environment_says_is_a_value_or_a_problem(text, item):
    found = read(environ={item.variable: text})
    if not found.problems:
        assert found.origins == {item.key: "environment"}
