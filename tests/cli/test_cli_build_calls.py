"""`argosy build --check` and `--call`: what is printed, and the exit codes."""

from pathlib import Path

import pytest

from tests.cli.conftest import Argosy

TWO = """# build makes it
FROM scratch AS build
# MODE is how
ARG MODE=fast
RUN --mount=type=secret,id=token,required make

FROM scratch
COPY --from=build /out /
USER 1000
CMD /out/run
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    place = tmp_path / "context"
    place.mkdir()
    (place / "Dockerfile").write_text(TWO)
    return place


def test_a_check_prints_each_finding_with_its_lines_and_fails(
    argosy: Argosy, context: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(context)
    said = argosy("build", "--check", ".")
    assert said.code == 1
    assert said.out == (
        "Check complete, 1 warning has been found!\n"
        "\n"
        "WARNING: JSONArgsRecommended - https://docs.docker.com/go/dockerfile/rule/"
        "json-args-recommended/\n"
        "JSON arguments recommended for CMD to prevent unintended behavior related to OS signals\n"
        "Dockerfile:10\n"
        "--------------------\n"
        "  8 |     COPY --from=build /out /\n"
        "  9 |     USER 1000\n"
        " 10 | >>> CMD /out/run\n"
        "--------------------\n"
    )


def test_a_check_that_finds_nothing_says_so(argosy: Argosy, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\n")
    said = argosy("build", "--check", context)
    assert (said.code, said.out) == (0, "Check complete, no warnings found.\n")


def test_a_check_shows_a_syntax_error_and_fails(argosy: Argosy, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch AS X\nCOPPY a /\n")
    said = argosy("build", "--call=check", context)
    assert said.code == 1
    assert "WARNING: StageNameCasing" in said.out
    assert "did you mean COPY?" in said.err
    assert argosy("build", "--call=check,ignorestatus=true", context).code == 0


def test_the_json_of_a_check_is_buildkits(argosy: Argosy, context: Path) -> None:
    for words in (["--call=check,format=json"], ["--check", "--json"], ["--call=lint", "--json"]):
        said = argosy("build", *words, context)
        assert said.code == 1
        assert said.json["version"] == "1.0.0"
        (warning,) = said.json["warnings"]
        assert warning["ruleName"] == "JSONArgsRecommended"
        assert warning["location"]["ranges"][0]["start"] == {"line": 10}
        assert said.json["sources"][0]["language"] == "Dockerfile"


def test_an_outline_is_tables(argosy: Argosy, context: Path) -> None:
    said = argosy("build", "--call=outline", "--target=build", context)
    assert said.code == 0
    assert said.out == (
        "TARGET:      build\n"
        "DESCRIPTION: makes it\n"
        "\n"
        "BUILD ARG   VALUE   DESCRIPTION\n"
        "MODE        fast    is how\n"
        "\n"
        "SECRET   REQUIRED\n"
        "token    true\n"
        "\n"
    )
    json = argosy("build", "--call=outline,format=json", "--target=build", context).json
    assert [arg["name"] for arg in json["args"]] == ["MODE"]
    assert json["secrets"][0]["required"] is True


def test_targets_are_a_table(argosy: Argosy, context: Path) -> None:
    said = argosy("build", "--call=targets", context)
    assert said.out == "TARGET    DESCRIPTION\nbuild     makes it\n(default)\n"
    json = argosy("build", "--call=targets,format=json", context).json
    assert [t.get("default", False) for t in json["targets"]] == [False, True]


def test_what_can_be_asked_is_described(argosy: Argosy, context: Path) -> None:
    said = argosy("build", "--call=subrequests.describe", context)
    assert [line.split()[0] for line in said.out.splitlines()] == [
        "NAME",
        "check",
        "outline",
        "targets",
        "subrequests.describe",
    ]


@pytest.mark.parametrize(
    ("words", "said_of_it"),
    [
        (["--call=outlin"], "did you mean outline?"),
        (["--call=check,format=xml"], "format=xml"),
        (["--check", "--call=targets"], "two things"),
    ],
)
def test_a_call_that_cannot_be_read_is_refused(
    argosy: Argosy, context: Path, words: list[str], said_of_it: str
) -> None:
    said = argosy("build", *words, context)
    assert said.code == 2
    assert said_of_it in said.err
