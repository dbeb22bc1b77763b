"""Outline and targets: the cases are BuildKit's own, where they have one."""

import base64

from argosy.build.dockerfile.evaluate import base_images
from argosy.build.dockerfile.outline import Need, Outline, outline, targets
from argosy.build.dockerfile.parser import parse
from argosy.build.dockerfile.stages import FrontendOptions
from argosy.model.platform import Platform

LINUX = Platform("linux", "amd64")

ARGS = """
ARG inherited=box
ARG inherited2=box2
ARG unused=abc${inherited2}
# sfx is a suffix
ARG sfx="usy${inherited}"

FROM b${sfx} AS first
# this is not assigned to anything
ARG FOO=123
# BAR is a number
ARG BAR=456
RUN true

FROM alpine${unused} AS second
ARG BAZ
RUN true

FROM scratch AS third
ARG ABC=a

# target defines build target
FROM third AS target
COPY --from=first /etc/passwd /

FROM second
"""

SECRETS = """
FROM busybox AS first
RUN --mount=type=secret,target=/etc/passwd,required=true --mount=type=ssh true

FROM alpine AS second
RUN --mount=type=secret,id=unused --mount=type=ssh,id=ssh2 true

FROM scratch AS third
ARG BAR
RUN --mount=type=secret,id=second${BAR} --mount=type=cache,target=/c true

FROM third AS target
COPY --from=first /foo /
RUN --mount=type=ssh,id=ssh3,required true

FROM second
"""

RECURSIVE = """
ARG FOO=123
ARG ABC=abc
ARG DEF=def
ARG FOO=${FOO}${ABC}
ARG BAR=${FOO}456
ARG FOO=${FOO}456${BAR}
FROM scratch
ARG FOO
ARG INFOO=123
ARG INBAR=${INFOO}456
ARG INFOO=${INFOO}456${INBAR}
"""


def outlined(text: str, target: str = "", **build_args: str) -> Outline:
    options = FrontendOptions(
        platform=LINUX, build_platform=LINUX, target=target, build_args=build_args
    )
    dockerfile = parse(text)
    bases = {image: {} for image in base_images(dockerfile, options)}
    return outline(dockerfile, options, bases)


def test_the_arguments_are_those_that_the_target_depends_on() -> None:
    found = outlined(ARGS, "target", BAR="678")
    assert (found.name, found.description) == ("target", "defines build target")
    assert [(a.name, a.value, a.description, a.where.first) for a in found.args] == [
        ("inherited", "box", "", 2),
        ("sfx", "usybox", "is a suffix", 6),
        ("FOO", "123", "", 10),
        ("BAR", "678", "is a number", 12),
        ("ABC", "a", "", 20),
    ]


def test_arguments_that_are_made_of_each_other_are_followed() -> None:
    assert [(a.name, a.value) for a in outlined(RECURSIVE).args] == [
        ("ABC", "abc"),
        ("BAR", "123abc456"),
        ("FOO", "123abc456123abc456"),
        ("INBAR", "123456"),
        ("INFOO", "123456123456"),
    ]


def test_secrets_agents_and_caches_are_named_with_their_variables_expanded() -> None:
    found = outlined(SECRETS, "target", BAR="678")
    shown = [(n.id, n.required, n.where.first) for n in found.secrets]
    assert shown == [("passwd", True, 3), ("second678", False, 10)]
    shown = [(n.id, n.required, n.where.first) for n in found.agents]
    assert shown == [("default", False, 3), ("ssh3", True, 14)]
    assert [n.id for n in found.caches] == ["/c"]


def test_a_secret_is_required_if_any_step_says_so() -> None:
    text = "FROM scratch\nRUN --mount=type=secret,id=a x\nRUN --mount=type=secret,id=a,required x\n"
    (need,) = outlined(text).secrets
    assert need == Need(id="a", required=True, where=need.where)
    assert need.where.first == 2


def test_an_outline_is_as_buildkits_json() -> None:
    text = "FROM scratch AS a\n# V is it\nARG V=1\nRUN --mount=type=secret,id=s x\n"
    value = outlined(text).to_json()
    assert base64.b64decode(value.pop("sources")[0]).decode() == text.removesuffix("\n")
    where = {"ranges": [{"start": {"line": 3}, "end": {"line": 3}}]}
    secret = {"ranges": [{"start": {"line": 4}, "end": {"line": 4}}]}
    assert value == {
        "version": "1.0.0",
        "name": "a",
        "args": [{"name": "V", "description": "is it", "value": "1", "location": where}],
        "secrets": [{"name": "s", "location": secret}],
    }


def test_the_targets_are_all_stages_and_the_last_is_the_default() -> None:
    found = targets(parse("# a is one\nFROM --platform=$BUILDPLATFORM debian AS a\nFROM a\n"))
    assert [t.to_json() for t in found] == [
        {
            "name": "a",
            "description": "is one",
            "base": "debian",
            "platform": "$BUILDPLATFORM",
            "location": {"ranges": [{"start": {"line": 2}, "end": {"line": 2}}]},
        },
        {
            "default": True,
            "base": "a",
            "location": {"ranges": [{"start": {"line": 3}, "end": {"line": 3}}]},
        },
    ]
