"""--cache-to and --cache-from: what buildx's users write is read, and what cannot be is said."""

import pytest

from argosy.build.remote_cache.words import CacheFrom, CacheTo
from argosy.errors import ArgosyError, UsageError
from argosy.model.digest import Digest

DIGEST = Digest.of(b"x")


def test_a_bare_reference_is_a_registry():
    assert CacheTo.parse("user/app:cache") == CacheTo(
        kind="registry", ref="docker.io/user/app:cache"
    )
    assert CacheFrom.parse("example.com/app").ref == "example.com/app:latest"


def test_every_word_of_a_registry_is_read():
    found = CacheTo.parse(
        "type=registry,ref=example.com/a:b,mode=max,image-manifest=true,oci-mediatypes=false,"
        "compression=zstd,compression-level=7,force-compression=true,ignore-error=true,mounts=true"
    )
    assert found == CacheTo(
        kind="registry",
        ref="example.com/a:b",
        mode="max",
        oci_media_types=False,
        compression="zstd",
        compression_level=7,
        force_compression=True,
        ignore_error=True,
        mounts=True,
    )


def test_every_word_of_a_directory_is_read():
    found = CacheTo.parse("type=local,dest=/c,tag=t,reset=true,compression=uncompressed")
    assert (found.dest, found.ref, found.reset) == ("/c", "t", True)
    assert found.compression == "none"
    assert CacheFrom.parse("type=local,src=/c").ref == "latest"
    assert CacheFrom.parse(f"type=local,src=/c,digest={DIGEST}").ref == DIGEST


def test_every_word_of_github_is_read_and_its_token_never_shown():
    words = "type=gha,scope=s,url=http://a/,url_v2=http://b/,token=hush,timeout=90s"
    found = CacheFrom.parse(words).actions
    assert (found.scope, found.url, found.url_v2, found.timeout) == (
        "s",
        "http://a/",
        "http://b/",
        90,
    )
    assert found.token == "hush"
    assert "hush" not in repr(found)
    with pytest.raises(UsageError) as e:
        CacheFrom.parse(words + ",nonsense=1")
    assert "hush" not in str(e.value.to_json())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("type=s3,bucket=b", "type must be one of"),
        ("type=registry", "needs ref="),
        ("type=local", "needs dest="),
        ("type=registry,ref=a,mode=most", "mode must be min or max"),
        ("type=registry,ref=a,dest=x", "has no 'dest'"),
        ("type=inline,ref=a", "has no 'ref'"),
        ("type=registry,ref=a,ignore-error=perhaps", "true or false"),
        ("type=registry,ref=a,compression=lzma", "compression must be"),
        ("type=registry,ref=a,compression-level=3", "say which compression"),
        ("type=registry,ref=a,compression=gzip,compression-level=x", "must be a number"),
        ("type=gha,timeout=soon", "duration"),
        ("type=registry,ref", "not NAME=VALUE"),
        ('type=registry,"ref=a', "unexpected end"),
    ],
)
def test_what_cannot_be_read_is_said(text, why):
    with pytest.raises(UsageError) as e:
        CacheTo.parse(text)
    assert why in e.value.why
    assert "--cache-to" in e.value.summary
    assert e.value.remedy


@pytest.mark.parametrize("text", ["type=inline", "type=local,dest=x", "type=local", "UPPER/x:y:z"])
def test_what_no_cache_can_be_read_from_is_said(text):
    with pytest.raises(ArgosyError):
        CacheFrom.parse(text)
