"""What an image says of where it comes from: `org.opencontainers.image.*`, from git, base and flags.

docs/adr/0005-metadata.md has the reasons: base and git facts are annotations of
manifests and index by default, labels only when asked for, since labels are part of
the config and so of the image's id. What the user writes always wins.
"""

from dataclasses import field
from typing import TYPE_CHECKING, Any

from argosy.build.results.git_facts import GitFacts
from argosy.build.telling import Telling
from argosy.values import frozen

if TYPE_CHECKING:
    from argosy.build.steps.lowering import Target

_OCI = "org.opencontainers.image."
TRACE = "dev.argosy.trace"


@frozen(kw_only=True)
class Metadata:
    """The facts of one build, to be written at every level."""

    telling: Telling = field(default_factory=Telling)
    git: GitFacts | None = None

    def labels(self, target: "Target") -> dict[str, str]:
        """The labels of a target's config: what the user wrote, git's facts, the base's."""
        found = dict(target.plan.target.config.get("Labels") or {})
        if self.git and "labels" in self.telling.words:
            own = _own_labels(target)
            found |= {k: v for k, v in _git_notes(self.git).items() if k not in own}
        return dict(sorted(found.items()))

    def for_manifest(self, target: "Target", created: str) -> dict[str, str]:
        """Annotations of one platform's manifest."""
        told = self._common(target)
        if self.git and "git" in self.telling.words:
            told.setdefault(_OCI + "created", created)
        if target.base is not None and "base" in self.telling.words:
            reference = target.base.reference
            tag = f":{reference.tag}" if reference.tag else ""
            told[_OCI + "base.name"] = f"{reference.locator}{tag}"
            told[_OCI + "base.digest"] = str(target.base.manifest.digest)
        return told

    def for_index(self, target: "Target") -> dict[str, str]:
        """Annotations of the index; of several targets the first one speaks."""
        return self._common(target)

    def _common(self, target: "Target") -> dict[str, str]:
        told: dict[str, str] = {}
        if self.git and "git" in self.telling.words:
            own = _own_labels(target)
            # What the user says as a label is said at every level, and wins over git.
            told = _git_notes(self.git) | {k: v for k, v in own.items() if k.startswith(_OCI)}
        if self.telling.trace and "trace" in self.telling.words:
            told[TRACE] = self.telling.trace
        return told


def _own_labels(target: "Target") -> dict[str, Any]:
    """Those that are not merely the base's."""
    inherited = (target.base.config.run.get("Labels") if target.base else None) or {}
    labels = target.plan.target.config.get("Labels") or {}
    return {k: v for k, v in labels.items() if inherited.get(k) != v}


def _git_notes(git: GitFacts) -> dict[str, str]:
    told = {_OCI + "revision": git.revision}
    if git.remote:
        told[_OCI + "source"] = git.remote
        if git.remote.startswith(("http://", "https://")):
            told[_OCI + "url"] = git.remote.removesuffix(".git")
    if git.tag and not git.is_dirty:
        told[_OCI + "version"] = git.tag
    return told
