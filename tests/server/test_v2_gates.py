"""Policies stand at the gate: what they refuse is neither taken nor given, and the client is told why."""

import json
from pathlib import Path

import pytest

from argosy.catalog.catalog import Catalog, open_catalog
from argosy.content.policy import Moment, Pass, Refuse, Verdict
from argosy.content.store import Source
from argosy.model.descriptor import Descriptor
from argosy.server.guarding.open_guard import OpenGuard
from argosy.server.http.messages import Headers, MemoryBody, Request, Response
from argosy.server.v2.gates import Gates
from argosy.server.v2.registry import Registry
from argosy.stores.blobs import BlobStore

INDEX = "application/vnd.oci.image.index.v1+json"
EMPTY = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode()


class Rule:
    """Refuses what it was told to refuse, and remembers what it was asked."""

    def __init__(self, *moments: Moment) -> None:
        self.refused = moments
        self.asked: list[tuple[Moment, Descriptor, bool]] = []

    async def judge(self, subject: Descriptor, source: Source, moment: Moment) -> Verdict:
        self.asked.append((moment, subject, await source.exists(subject)))
        if moment in self.refused:
            return Refuse(rule="signed", reason="nobody signed it", remedy="sign it: argosy sign")
        return Pass()


def registry(catalog: Catalog, path: Path, *rules: Rule) -> Registry:
    return Registry(catalog, BlobStore(str(path / "data")), OpenGuard(), Gates(rules))


async def put(registry: Registry, tag: str = "a") -> Response:
    headers = Headers([("Content-Type", INDEX)])
    return await registry(
        Request("PUT", f"/v2/p/app/manifests/{tag}", headers=headers, body=MemoryBody(EMPTY))
    )


async def ask(registry: Registry, method: str = "GET") -> Response:
    return await registry(Request(method, "/v2/p/app/manifests/a"))


@pytest.fixture
async def catalog(tmp_path):
    async with open_catalog(str(tmp_path / "c.db")) as catalog:
        yield catalog


async def test_what_a_policy_refuses_is_not_taken(catalog, tmp_path):
    answer = await put(registry(catalog, tmp_path, Rule("push")))
    assert answer.status == 403
    error = json.loads(answer.body)["errors"][0]
    assert error["code"] == "DENIED"
    assert "signed" in error["message"]
    assert "nobody signed it" in error["message"]
    assert error["detail"]["remedy"] == "sign it: argosy sign"
    assert await catalog.manifest("p/app", "a") is None


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_a_policy_refuses_is_not_given_also_when_memory_has_it(
    catalog, tmp_path, method
):
    await put(registry(catalog, tmp_path))
    assert catalog.at_hand("p/app", "a") is None
    gated = registry(catalog, tmp_path, Rule("pull"))
    for _ in range(2):  # the second time memory has it
        assert (await ask(gated, method)).status == 403
    assert catalog.at_hand("p/app", "a") is not None


async def test_a_policy_sees_the_subject_and_the_repository(catalog, tmp_path):
    rule = Rule()
    gated = registry(catalog, tmp_path, rule)
    assert (await put(gated)).status == 201
    assert (await ask(gated)).status == 200
    assert [(moment, there) for moment, _, there in rule.asked] == [("push", False), ("pull", True)]
    assert {d.size for _, d, _ in rule.asked} == {len(EMPTY)}


async def test_the_first_refusal_is_the_answer_and_later_policies_are_not_asked(catalog, tmp_path):
    first, second = Rule("push"), Rule()
    await put(registry(catalog, tmp_path, first, second))
    assert first.asked
    assert not second.asked
