"""Small images made without any of Argosy's own code, so that a test has two opinions."""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

OCI = "application/vnd.oci.image."


def layer_tar(files: dict[str, bytes], mode: int = 0o644) -> bytes:
    """A plain layer with these files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, body in sorted(files.items()):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(body), mode
            tar.addfile(info, io.BytesIO(body))
    return out.getvalue()


class LayoutWriter:
    """An OCI layout written by hand (image-spec image-layout.md)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: list[dict[str, Any]] = []
        (path / "blobs/sha256").mkdir(parents=True, exist_ok=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def blob(self, media_type: str, body: bytes, **more: Any) -> dict[str, Any]:
        """Write a blob; its descriptor."""
        digest = hashlib.sha256(body).hexdigest()
        (self.path / "blobs/sha256" / digest).write_bytes(body)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(body), **more}

    def image(
        self,
        arch: str,
        layers: list[dict[str, bytes]],
        mode: int = 0o644,
        cmd: list[str] | None = None,
        level: int = 1,
    ) -> dict[str, Any]:
        """One image for linux/`arch`; its descriptor with platform."""
        tars = [layer_tar(files, mode) for files in layers]
        config = {
            "architecture": arch,
            "os": "linux",
            "config": {"Cmd": cmd or ["/bin/sh"], "Env": ["PATH=/bin"]},
            "rootfs": {
                "type": "layers",
                "diff_ids": ["sha256:" + hashlib.sha256(t).hexdigest() for t in tars],
            },
            "history": [{"created_by": "by hand"} for _ in tars],
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{OCI}manifest.v1+json",
            "config": self.blob(f"{OCI}config.v1+json", json.dumps(config).encode()),
            "layers": [
                self.blob(f"{OCI}layer.v1.tar+gzip", gzip.compress(t, mtime=0, compresslevel=level))
                for t in tars
            ],
        }
        body = json.dumps(manifest, indent=2).encode()
        return self.blob(
            f"{OCI}manifest.v1+json", body, platform={"architecture": arch, "os": "linux"}
        )

    def index(self, manifests: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """An index of manifests; its descriptor."""
        body = {
            "schemaVersion": 2,
            "mediaType": f"{OCI}index.v1+json",
            "manifests": manifests,
            **more,
        }
        return self.blob(f"{OCI}index.v1+json", json.dumps(body, indent=1).encode())

    def tag(self, desc: dict[str, Any], name: str) -> None:
        """Name a descriptor in index.json."""
        annotations = {"org.opencontainers.image.ref.name": name}
        self.entries.append({**desc, "annotations": annotations})
        value = {"schemaVersion": 2, "manifests": self.entries}
        (self.path / "index.json").write_text(json.dumps(value))


def multi_platform(path: Path, tag: str = "v1", payload: bytes = b"ahoy\n") -> dict[str, Any]:
    """A layout at `path` with an index for amd64 and arm64 that share one layer; the index's descriptor."""
    layout = LayoutWriter(path)
    shared = {"shared.txt": payload}
    images = [
        layout.image(arch, [shared, {"arch.txt": arch.encode()}]) for arch in ("amd64", "arm64")
    ]
    root = layout.index(images, annotations={"org.example": "kept"})
    layout.tag(root, tag)
    return root
