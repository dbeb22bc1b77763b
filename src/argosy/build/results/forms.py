"""The forms a result can have: one build, written in as many as its outputs ask for.

A form is all that makes two images of the same files different: the compression of
layers, the times, the media types, the annotations. Layers are remembered by snapshot
and form, so a second form costs one more packing and no more building.
"""

from dataclasses import field

from argosy.build.annotations import Annotations
from argosy.build.layers.compression import Compression
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.values import frozen

_DOCKER_LAYERS = {
    media.OCI_LAYER: media.DOCKER_LAYER,
    media.OCI_LAYER_GZIP: media.DOCKER_LAYER_GZIP,
    media.OCI_LAYER_ZSTD: media.DOCKER_LAYER_ZSTD,
}
_OCI_LAYERS = {
    **{docker: oci for oci, docker in _DOCKER_LAYERS.items()},
    media.DOCKER_FOREIGN_LAYER: media.OCI_NONDIST_PREFIX + "v1.tar+gzip",
}


# What layers with a table of contents are, and the annotation that gives them away.
_TABLES = {
    "gzip": ("estargz", "containerd.io/snapshot/stargz/toc.digest"),
    "zstd": ("zstd:chunked", "io.github.containers.zstd-chunked.manifest-checksum"),
}


@frozen(kw_only=True)
class LayerForm:
    """How a snapshot is written as a layer. Times later than `epoch` become it."""

    compression: Compression = field(default_factory=Compression)
    epoch: int | None = None

    def __str__(self) -> str:
        """The key of a layer's record: all that its bytes follow from, given the files."""
        words = [] if self.epoch is None else [f"epoch={self.epoch}"]
        return " ".join([*words, str(self.compression)])


@frozen(kw_only=True)
class Form:
    """One way to write a result. `epoch` is the time of the image and of its history."""

    layers: LayerForm = field(default_factory=LayerForm)
    epoch: int | None = None
    recompresses_bases: bool = False  # force-compression
    docker_types: bool = False  # oci-mediatypes=false
    annotations: Annotations = field(default_factory=Annotations)
    always_index: bool = False  # BUILDKIT_MULTI_PLATFORM: for a single platform too

    @property
    def manifest_type(self) -> str:
        """The media type of a manifest."""
        return media.DOCKER_MANIFEST if self.docker_types else media.OCI_MANIFEST

    @property
    def index_type(self) -> str:
        """The media type of an index."""
        return media.DOCKER_LIST if self.docker_types else media.OCI_INDEX

    @property
    def config_type(self) -> str:
        """The media type of a config."""
        return media.DOCKER_CONFIG if self.docker_types else media.OCI_CONFIG

    def layer(self, layer: Descriptor) -> Descriptor:
        """A layer's descriptor as a manifest of this form names it."""
        names = _DOCKER_LAYERS if self.docker_types else _OCI_LAYERS
        return Descriptor(
            media_type=names.get(layer.media_type, layer.media_type),
            digest=layer.digest,
            size=layer.size,
            annotations=layer.annotations,
            urls=layer.urls,
        )


def is_already(layer: Descriptor, wanted: Compression) -> bool:
    """Whether a layer of a base needs no recompressing; a level asked for always does."""
    same: str = media.compression(layer.media_type) or "none"
    if same in _TABLES and _TABLES[same][1] in layer.annotations:
        same = _TABLES[same][0]
    return same == wanted.name and wanted.level is None
