"""Rules on the claims of CI jobs: what fits, and what would fit too much to be kept."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.access.identity import claims
from argosy.errors import UsageError
from tests.access.ci_claims import GITHUB, GITLAB


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [
        ("acme/app", "acme/app", True),
        ("acme/app", "acme/app2", False),
        ("acme/app", "Acme/app", False),
        ("acme/*", "acme/app", True),
        ("acme/*", "acme/", True),
        ("acme/*", "acme/app/more", False),
        ("acme/**", "acme/app/more", True),
        ("acme/*", "acme", False),
        ("acme*", "acme-evil/app", False),
        ("refs/tags/v*.*", "refs/tags/v1.2", True),
        ("refs/tags/v*.*", "refs/tags/v12", False),
        ("*-main", "a-main-main", True),
        ("a.c", "abc", False),
        ("[a]", "a", False),
        ("[a]", "[a]", True),
        ("true", True, True),
        ("false", True, False),
        ("1", 1, True),
        ("*", None, False),
        ("**", ["acme"], False),
        ("x", {"x": 1}, False),
        ("", "", True),
    ],
)
def test_patterns(pattern: str, value: object, fits: bool) -> None:
    assert claims.fits(pattern, value) is fits


@given(
    st.lists(st.sampled_from(["a", "b", "/", "*", "**", "."]), max_size=8).map("".join),
    st.text(alphabet="ab/.", max_size=10),
)
def test_patterns_are_as_the_expression_they_stand_for(pattern: str, value: str) -> None:
    parts = re.findall(r"\*\*|\*|[^*]+", pattern)
    expression = "".join({"*": "[^/]*", "**": ".*"}.get(part) or re.escape(part) for part in parts)
    assert claims.fits(pattern, value) == (re.fullmatch(expression, value) is not None)


def test_a_hostile_pattern_costs_no_time() -> None:
    assert not claims.fits("*a" * 200 + "b", "a" * 2000)
    assert not claims.fits("**a" * 150 + "b", "a" * 2000)


_CHOSEN: dict[str, object] = {
    "sub": "environment:prod:repository_owner:acme"
}  # the order is theirs


@pytest.mark.parametrize(
    ("rule", "job"),
    [
        ({"repository": "acme/app"}, GITHUB),
        ({"repository": "acme/*", "ref": "refs/heads/main"}, GITHUB),
        ({"repository_id": "74", "environment": "prod"}, GITHUB),
        ({"sub": "repo:acme/app:ref:refs/heads/main"}, GITHUB),
        ({"sub": "repo:acme/**"}, GITHUB),
        ({"sub": "environment:prod:repository_owner:acme"}, _CHOSEN),
        ({"project_path": "my-group/my-project", "ref_protected": "false"}, GITLAB),
        ({"namespace_path": "my-group", "ref_type": "branch", "ref": "feature-*"}, GITLAB),
        ({"sub": "project_path:my-group/**"}, GITLAB),
        ({"project_id": "20", "runner_id": "1"}, GITLAB),
    ],
)
def test_rules_that_say_whose_job_it_is_fit_that_job_only(
    rule: dict[str, str], job: dict[str, object]
) -> None:
    claims.check(rule)
    assert claims.all_fit(rule, job)
    other = GITLAB if job is GITHUB else GITHUB
    assert not claims.all_fit(rule, other)
    for name in rule:
        assert not claims.all_fit(rule, {**job, name: "somebody/else"})
        assert not claims.all_fit(rule, {k: v for k, v in job.items() if k != name})


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"ref": "refs/heads/main"},
        {"environment": "prod"},
        {"repository": "*"},
        {"repository": "**"},
        {"repository": "*/app"},
        {"repository": "acme*"},
        {"repository": "a*/app"},
        {"repository_owner": "ac*"},
        {"repository_id": "*"},
        {"project_path": "**/my-project"},
        {"namespace_path": "my-group*"},
        {"sub": "*"},
        {"sub": "repo:*"},
        {"sub": "repo:acme*"},
        {"sub": "**:ref:refs/heads/main"},
        {"sub": "ref:refs/heads/main"},
        {"sub": "ref:refs/heads/*"},
        {"sub": "environment:prod:ref:refs/heads/main"},
        {"sub": "environment:repository_owner:ref:**"},
        {"sub": "job_workflow_ref:acme/shared/.github/workflows/x.yml@refs/heads/main"},
        {"sub": "job_workflow_ref:acme/**"},
        {"sub": "environment:prod:repository_owner:ac*"},
        {"actor": "octocat"},
        {"job_workflow_ref": "acme/shared/.github/workflows/x.yml@refs/heads/main"},
    ],
)
def test_rules_that_fit_other_peoples_jobs_are_refused(rule: dict[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        claims.check(rule)
    assert "repository=OWNER/NAME" in caught.value.remedy


@pytest.mark.parametrize(
    "rule",
    [
        {"repository": "acme/app", "iss": "x"},
        {"repository": "acme/app", "aud": "x"},
        {"repository": "acme/app", "bad name": "x"},
        {"repository": "acme/app", "ref": ""},
        {"repository": "acme/app", "ref": "x" * 600},
        {"repository": "acme/app", "ref": "x\n"},
        {"repository": "acme/app", "ref": "*a" * 11},
        {"repository": "acme/app", **{f"c{n}": "x" for n in range(20)}},
    ],
)
def test_rules_that_cannot_be_read_are_refused(rule: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        claims.check(rule)
