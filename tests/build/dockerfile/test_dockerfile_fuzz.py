"""Whatever the text: a plan or a DockerfileError, never anything else, and in bounded time."""

import json
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.build.dockerfile.evaluate import base_images, evaluate
from argosy.build.dockerfile.lint.linter import Surroundings, lint, lint_beginning
from argosy.build.dockerfile.outline import outline, targets
from argosy.build.dockerfile.parser import parse, parse_beginning
from argosy.build.dockerfile.render import render
from argosy.build.dockerfile.stages import FrontendOptions
from argosy.errors import DockerfileError

pytestmark = pytest.mark.slow

WEB = """# syntax=docker/dockerfile:1
ARG NODE=20
FROM --platform=$BUILDPLATFORM node:${NODE}-slim AS build
ARG TARGETARCH
ENV NODE_ENV=production PATH="/app/bin:$PATH"
WORKDIR /app
COPY --link package*.json ./
RUN --mount=type=cache,target=/root/.npm,sharing=locked \\
    --mount=type=secret,id=npmrc,target=/root/.npmrc \\
    npm ci \\
    # production only
    --omit=dev
COPY --chown=1000:1000 --exclude=**/*.test.js . .
RUN <<-EOT
	set -e
	npm run build
EOT
ONBUILD RUN echo child

FROM nginx:1.27 AS final
LABEL org.opencontainers.image.title="web" maintainer='x y'
COPY --from=build --chmod=u=rwX,go=rX /app/dist /usr/share/nginx/html
COPY <<"CONF" /etc/nginx/conf.d/default.conf
server { listen $port; }
CONF
ADD --chown=${RUNAS:-1}:1 a.tar /x/
EXPOSE 80 443/tcp 9000-9002/udp
VOLUME ["/var/cache", "/data"]
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=30s --timeout=1.5s --retries=3 CMD curl -f http://localhost/ || exit 1
USER ${RUNAS:-nginx}:nginx
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENTRYPOINT ["/docker-entrypoint.sh"]
CMD ["nginx", "-g", "daemon off;"]
"""

LEGACY = """from debian:bookworm
maintainer someone <a@b.c>
env HOME /root
run apt-get update && apt-get install -y --no-install-recommends \\
      ca-certificates \\

      curl \\
 && rm -rf /var/lib/apt/lists/*
add . /src
workdir src
expose 22
cmd /usr/sbin/sshd -D
"""

GO = """ARG GO_VERSION=1.22
ARG BASE=golang:${GO_VERSION}
FROM ${BASE} AS deps
WORKDIR /src
RUN --mount=type=bind,source=go.sum,target=go.sum --network=none go mod verify
FROM deps AS test
RUN go test ./... || { echo "${FAIL:-failed}"; exit 1; }
FROM deps AS bin
ARG TARGETOS TARGETARCH
ENV GOOS=$TARGETOS GOARCH=${TARGETARCH/amd64/x86}
RUN ["go", "build", "-o", "/out/app"]
FROM scratch
COPY --from=bin /out/app /app
COPY --from=0 --parents /src/./docs /
ENTRYPOINT ["/app"]
"""

CORPUS = [WEB, LEGACY, GO]
TOKENS = [
    "\\", "`", "\n", "\r\n", "\t", " ", "$", "${", "}", ":-", "'", '"', "<<EOF", "EOF", "<<-", "#", "--",
    "=", ",", "[", "]", "--mount=", "type=", "FROM ", "ONBUILD ", "COPY ", "AS ", "\ufeff", "\x00", "é",
    "--from=", "/./", "..", "*", "**", "!", "%%", "//", "# escape=`\n", "ARG X\n", "ENV ", "999999999999",
]  # fmt: skip


def outcome(content: bytes | str) -> None:
    """Read and evaluate, as a build does; only a DockerfileError may come out."""
    options = FrontendOptions(build_args={"X": "$X", "NODE": "''"})
    checked(content, options)
    try:
        dockerfile = parse(content)
        bases = {image: {} for image in base_images(dockerfile, options)}
        evaluate(dockerfile, options, bases)
    except DockerfileError as e:
        error = e
    else:
        return
    assert error.summary in render(error) or not error.summary.isprintable()
    assert error.line >= 0


def checked(content: bytes | str, options: FrontendOptions) -> None:
    """Check whatever can be read: the checks never raise, and the error is that of a build."""
    above = parse_beginning(content)
    findings = lint_beginning(above, options.build_args) if above else ()
    try:
        dockerfile = parse(content)
    except DockerfileError:
        pass
    else:
        report = lint(dockerfile, options, Surroundings(), every_stage=True)
        findings = (*findings, *report.findings)
        assert targets(dockerfile)
        with suppress(DockerfileError):
            bases = {image: {} for image in base_images(dockerfile, options)}
            json.dumps(outline(dockerfile, options, bases).to_json())
    for finding in findings:
        assert finding.detail
        assert finding.where.first > 0
        json.dumps(finding.to_json())


@pytest.mark.parametrize("text", CORPUS)
def test_real_dockerfiles_come_to_a_plan(text: str) -> None:
    options = FrontendOptions()
    dockerfile = parse(text)
    bases = {image: {} for image in base_images(dockerfile, options)}
    assert evaluate(dockerfile, options, bases).target.history


@given(st.text())
def test_any_text_is_a_plan_or_an_error(text: str) -> None:
    outcome(text)


@given(st.binary())
def test_any_bytes_are_a_plan_or_an_error(content: bytes) -> None:
    outcome(content)


@given(st.lists(st.sampled_from(TOKENS) | st.text(max_size=3), max_size=30).map("".join))
def test_any_words_of_the_language_are_a_plan_or_an_error(text: str) -> None:
    outcome("FROM a\n" + text)


edits = st.lists(
    st.tuples(st.integers(0, 10_000), st.integers(0, 12), st.sampled_from(["", *TOKENS])),
    min_size=1,
    max_size=4,
)


@settings(max_examples=400)
@given(st.sampled_from(CORPUS), edits)
def test_a_mutated_dockerfile_is_a_plan_or_an_error(
    text: str, edits: list[tuple[int, int, str]]
) -> None:
    for place, length, piece in edits:
        start = place % (len(text) + 1)
        text = text[:start] + piece + text[start + length :]
    outcome(text)


@given(st.sampled_from(CORPUS), st.randoms(use_true_random=False))
def test_shuffled_lines_are_a_plan_or_an_error(text: str, random) -> None:
    lines = text.splitlines(keepends=True)
    random.shuffle(lines)
    outcome("FROM a\n" + "".join(lines))


LINE = 60_000


@pytest.mark.parametrize(
    "text",
    [
        "# " + " " * LINE + "=" + "x y " * (LINE // 4),
        "#" + " a" * (LINE // 2),
        "FROM a\n" + "RUN a \\\n" * 20_000,
        "FROM a\nRUN x" + " \\\n\n" * 20_000,
        "FROM a\nRUN " + "[" * LINE,
        'FROM a\nRUN ["' + '\\"' * (LINE // 2) + '"]',
        "FROM a\nRUN " + "<<A " * 2000 + "\n" + "A\n" * 2000,
        "FROM a\nRUN " + "<<A " * 5000 + "\n" + "B\n" * 20_000,
        "FROM a\nRUN <<" + " " * LINE + "A\nA\n",
        "FROM a\nRUN " + "<< " * (LINE // 3) + "\n",
        "FROM a\nRUN " + "'" * LINE,
        "FROM a\nENV " + "a=b " * (LINE // 4),
        "FROM a\nENV " + "a=$a$a " * 40 + "\n" + "ENV a=x$a$a$a\n" * 200,
        "FROM a\nENV a=" + "${a:-" * 10_000,
        "FROM a\nENV a=" + "x" * LINE + "\n" + "LABEL b=${a//x/y}\n" * 50,
        "FROM a\nENV " + " ".join(f"x=$b{n}" for n in range(6000)),
        "FROM a\n" + "".join(f"ENV a{n}=$b{n}\n" for n in range(1000)),
        "".join(f"ARG a{n}\n" for n in range(2000)) + "FROM a" + "$b$c$d" * 200 + "\n",
        "FROM a\n" + "# check=skip=a,b,c\nCMD x\n" * 3000,
        "FROM a\nCOPY " + "--exclude=a " * 5000 + "a b",
        "FROM a\nCOPY --exclude=" + "**a" * 10_000 + " a b",
        "FROM a\nRUN --mount=" + "a," * (LINE // 2) + " x",
        "FROM a\nRUN --mount=" + '"' * LINE + " x",
        "FROM a\nHEALTHCHECK --interval=" + "1h" * (LINE // 2) + " CMD x",
        "FROM a\nEXPOSE " + "1-65535 " * 40,
        "FROM a AS s0\n" + "".join(f"FROM s{n} AS s{n + 1}\n" for n in range(2000)),
        "FROM a AS s\n" + "COPY --from=s a b\n" * 5000,
        "FROM a AS s0\n"
        + "".join(f"FROM a AS s{n}\nCOPY --from=s{n - 1} a b\n" for n in range(1, 1500)),
    ],
)
def test_no_dockerfile_takes_long(text: str) -> None:
    started = time.process_time()
    outcome(text)  # reads it three times and evaluates it three times: once as a build does
    assert time.process_time() - started < 10
