"""The same Dockerfile gives the same image config as with Docker's own builder."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from argosy.build.dockerfile.evaluate import base_images, evaluate
from argosy.build.dockerfile.parser import parse
from argosy.build.dockerfile.stages import FrontendOptions

pytestmark = [pytest.mark.peer, pytest.mark.root]

# Only what needs no base and no command, so that nothing runs and nothing is fetched.
DOCKERFILE = r"""
ARG GLOBAL="of all"
FROM scratch AS first
ARG GLOBAL
ARG TARGETARCH
ARG GIVEN=default
ARG UNSET
ENV A=1 B="two words" C='$A' D=\$A E="$A" F=$A$A G=${UNSET:-dflt} H=${A:+alt} I=$GLOBAL
ENV OLD the  rest "of" the line
ENV A=2 J=${A}x K=a\ b L="a\"b" M="it's" N=${OLD} O='"' P="\a" Q=\\a
ENV R=${UNSET} S=${A:-x} T=${B:+"$A"} U=$TARGETARCH V=$GIVEN W="${UNSET:-a b}" X=é$A
ENV PATH=$PATH:/opt/bin
LABEL plain=value "quoted key"="quoted value" multi="a \
b" expanded=$B
LABEL plain=again other=${GLOBAL}
LABEL old form of label
WORKDIR /app
WORKDIR sub/../dir
WORKDIR $A/x/
EXPOSE 80 443/tcp 53/udp
EXPOSE 7000-7002
EXPOSE 80/UDP $A
VOLUME /data "/quoted" $B
VOLUME ["/json", "/j son"]
USER $A:group
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=1m30s --timeout=1500ms --start-period=2s --retries=4 CMD curl -f "x" || exit 1
ENTRYPOINT ["/bin/app", "--flag", "$A"]
CMD echo "$A" && \
    # a comment
    echo b
MAINTAINER someone <a@b.c>
ONBUILD ENV T=$A

FROM first AS second
WORKDIR /
ENV Y=$U
SHELL ["/bin/bash", "-c"]
ENTRYPOINT exec x
HEALTHCHECK NONE
STOPSIGNAL 9

FROM first AS third
CMD []
ENTRYPOINT []
USER root
ENV A= B=$A
WORKDIR rel
ENV Z=variable
ARG Z=argument
ARG ONE=1 TWO=2
LABEL z=$Z global=$GLOBAL two=$TWO $Z=name empty="" single='$Z' $UNSET=lost
"""


def ours(target: str) -> tuple[dict[str, Any], list[str]]:
    options = FrontendOptions(target=target, build_args={"GIVEN": "given"}, labels={"cli": "yes"})
    dockerfile = parse(DOCKERFILE)
    assert not base_images(dockerfile, options)
    found = evaluate(dockerfile, options, {}).target
    assert found.author == "someone <a@b.c>"
    return dict(found.config), [h["created_by"] for h in found.history]


def normal(config: dict[str, Any]) -> dict[str, Any]:
    """Without what Docker writes for fields that are not set."""
    unset = (None, False, "", {}, [])
    left_out = ("Image", "ArgsEscaped", "Hostname", "Domainname")
    return {k: v for k, v in config.items() if v not in unset and k not in left_out}


def without_marks(created_by: str) -> str:
    return created_by.removesuffix(" # buildkit")


@pytest.mark.parametrize("target", ["first", "second", "third"])
def test_the_config_is_that_of_docker(
    target: str, dockerd: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    tag = f"parity-{target}-{time.monotonic_ns()}"
    args = ["--build-arg", "GIVEN=given", "--label", "cli=yes", "--target", target]
    dockerd("build", "-q", "-t", tag, *args, str(tmp_path), env={"DOCKER_BUILDKIT": "1"})
    theirs = json.loads(dockerd("image", "inspect", tag))[0]
    config, history = ours(target)
    assert normal(config) == normal(theirs["Config"])
    lines = dockerd("history", "--no-trunc", "--format", "{{json .CreatedBy}}", tag).splitlines()
    said = [without_marks(json.loads(line)) for line in reversed(lines)]
    unlike = re.compile("HEALTHCHECK|EXPOSE|ARG")  # Go prints values of its own there
    assert [h for h in history if not unlike.match(h)] == [h for h in said if not unlike.match(h)]
