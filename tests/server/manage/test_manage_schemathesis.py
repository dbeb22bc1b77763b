"""schemathesis over the whole OpenAPI document, against a real server: it finds nothing."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.company import PASSWORD, Company
from tests.company import company as running

# Which answers are right for what fits the schema, beside those schemathesis knows: 412 for an
# If-Match that is not the present one, 422 for what is well-formed but cannot be.
CONFIG = """\
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "401", "403", "404", "409", "412", "422", "429"]
[checks.missing_required_header]
expected-statuses = ["400", "401", "403", "404", "406", "412", "415", "422", "428"]
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "406", "412", "413", "415", "422", "428"]
"""


@pytest.fixture
def checked(tmp_path: Path) -> Iterator[Company]:
    """A registry of the test's own, where wrong passwords cost no time: they are tried a lot."""
    with running(tmp_path / "data") as found:

        async def at_once(_name: str, _address: str) -> float:
            return 0.0

        found.access.logins.throttle.wait = at_once  # type: ignore[method-assign]
        yield found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("who", "phases", "examples"),
    [
        ("admin", "examples,coverage,stateful", 1),
        ("developer", "examples,fuzzing", 1),
        ("nobody", "examples,fuzzing", 1),
    ],
)
def test_schemathesis_finds_nothing(
    who: str, phases: str, examples: int, checked: Company, tmp_path: Path
) -> None:
    project = checked.project()
    checked.admin.push(f"{project}/app")
    name = {"admin": "admin", "nobody": ""}.get(who)
    if name is None:
        name = checked.member(project, who).name
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")), "run",
            f"http://{checked.host}/api/v1/openapi.json",
            "--phases", phases, "-n", str(examples),
            "--generation-deterministic",
            "--continue-on-failure", "--no-shrink", "--no-color",
            *(["-a", f"{name}:{PASSWORD}"] if name else []),
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=240,
        env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    tested = [line for line in done.stdout.splitlines() if line.strip().startswith("Tested:")]
    assert tested, done.stdout[-3000:]
