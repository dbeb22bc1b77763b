"""Who can have a robot's secret: only who may all that it may. The secret is the robot."""

import pytest

from tests.company import Company, Person
from tests.serving import escaped

RULE = {
    "issuer": "https://token.actions.githubusercontent.com",
    "audience": "https://registry.example",
    "claims": {"repository": "mine/app"},
}


def robot(company: Company, maker: Person, project: str, *grants: str) -> tuple[str, Person]:
    """A new robot: where the API has it, and itself."""
    name = f"r{len(maker.get(f'/projects/{project}/robots')['items'])}"
    made = maker.post(f"/projects/{project}/robots", {"name": name, "grants": list(grants)})
    return f"/robots/{escaped(made['name'])}", Person(company.client, made["name"], made["secret"])


def test_a_project_admin_does_not_become_what_a_system_admin_made(company: Company) -> None:
    project = company.project()
    boss = company.member(project, "project-admin")
    where, _ = robot(company, company.admin, project, f"quota:{project}:read,write")
    for what, body in (("rotate", {}), ("workload-rules", RULE)):
        refused = boss("POST", f"{where}/{what}", body)
        assert refused.status == 403
        assert f"{boss.name} lacks write on quota {project}" in refused.json["detail"]
    assert company.admin("POST", f"{where}/rotate", {}).status == 200


def test_a_robot_that_looks_after_robots_becomes_none_of_them(company: Company) -> None:
    project = company.project()
    boss = company.member(project, "project-admin")
    _, keeper = robot(company, boss, project, f"robot:{project}:read,write")
    where, _ = robot(company, boss, project, f"repository:{project}/**:pull,push")
    assert keeper("GET", where).status == 200
    assert keeper("POST", f"{where}/rotate", {}).status == 403
    assert keeper("POST", f"{where}/workload-rules", RULE).status == 403
    assert boss("POST", f"{where}/rotate", {}).status == 200


@pytest.mark.parametrize("grant", ["robot:{}:read,write", "repository:{}/app:pull"])
def test_a_robot_may_change_its_own_secret_if_it_may_change_robots(
    company: Company, grant: str
) -> None:
    project = company.project()
    boss = company.member(project, "project-admin")
    grants = {grant.format(project), f"repository:{project}/app:pull"}
    where, itself = robot(company, boss, project, *sorted(grants))
    may = grant.startswith("robot")
    assert itself("POST", f"{where}/rotate", {}).status == (200 if may else 403)
