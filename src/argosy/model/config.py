"""Image configs: what a container runs with, and how the image came to be (OCI image-spec config.md)."""

import json
from typing import Any

from argosy.errors import InvalidDigest, ManifestInvalid
from argosy.model.digest import Digest
from argosy.model.platform import Platform
from argosy.values import frozen


@frozen(kw_only=True)
class ImageConfig:
    """A view of an image config; `raw` is the whole JSON object, unknown fields included."""

    platform: Platform
    diff_ids: tuple[Digest, ...]
    raw: dict[str, Any]

    @property
    def run(self) -> dict[str, Any]:
        """The `config` object: Env, Cmd, Entrypoint, User, WorkingDir, Labels, …"""
        found = self.raw.get("config")
        return found if isinstance(found, dict) else {}

    @property
    def history(self) -> list[dict[str, Any]]:
        """One entry per step, oldest first; entries with `empty_layer` made no layer."""
        found = self.raw.get("history")
        return [step for step in found if isinstance(step, dict)] if isinstance(found, list) else []

    @property
    def created(self) -> str:
        """RFC 3339 time of creation, or ``."""
        found = self.raw.get("created")
        return found if isinstance(found, str) else ""


def parse_config(body: bytes) -> ImageConfig:
    """View bytes as an image config; ManifestInvalid says which part is wrong."""
    try:
        value = json.loads(body)
        rootfs = value.get("rootfs") or {}
        diff_ids = tuple(Digest.parse(d) for d in rootfs.get("diff_ids") or ())
        return ImageConfig(platform=Platform.from_json(value), diff_ids=diff_ids, raw=value)
    except InvalidDigest as e:
        raise ManifestInvalid(
            f"the image config has a wrong diff ID: {e.summary}", why=e.why
        ) from e
    except (ValueError, TypeError, AttributeError, RecursionError) as e:
        raise ManifestInvalid("the image config cannot be read", why=str(e)) from e
