"""Media types of the OCI image-spec 1.1 and of Docker's schema 2, and what they mean."""

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
OCI_NONDIST_PREFIX = "application/vnd.oci.image.layer.nondistributable."
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
OCI_LAYOUT_HEADER = "application/vnd.oci.layout.header.v1+json"

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_ZSTD = "application/vnd.docker.image.rootfs.diff.tar.zstd"
DOCKER_FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"

MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
_LAYER_PREFIXES = (OCI_LAYER, OCI_NONDIST_PREFIX, "application/vnd.docker.image.rootfs.")
CONFIGS = frozenset({OCI_CONFIG, DOCKER_CONFIG})
ACCEPT = (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST)

EMPTY_JSON = (
    b"{}"  # the content of OCI_EMPTY (image-spec manifest.md, guidance for an empty descriptor)
)

REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"
ATTESTATION_TYPE = "vnd.docker.reference.type"
ATTESTATION_SUBJECT = "vnd.docker.reference.digest"


def is_manifest(media_type: str) -> bool:
    """Whether it names a single image manifest or an index, of either family."""
    return media_type in MANIFESTS or media_type in INDEXES


def is_index(media_type: str) -> bool:
    """Whether it names an OCI index or a Docker manifest list."""
    return media_type in INDEXES


def is_layer(media_type: str) -> bool:
    """Whether it names a layer of files: a tar, packed or not, of either family."""
    return media_type.startswith(_LAYER_PREFIXES)


def is_nondistributable(media_type: str) -> bool:
    """Whether a layer of this type is fetched from its own URLs and never pushed."""
    return media_type.startswith(OCI_NONDIST_PREFIX) or media_type == DOCKER_FOREIGN_LAYER


def compression(media_type: str) -> str:
    """`gzip`, `zstd` or `` (a plain tar, or not a layer)."""
    if media_type.endswith(("+gzip", ".gzip")):
        return "gzip"
    return "zstd" if media_type.endswith(("+zstd", ".zstd")) else ""
