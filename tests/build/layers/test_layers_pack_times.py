"""Times in layers, with and without SOURCE_DATE_EPOCH."""

import io
import os
import tarfile

import pytest

from argosy.build.layers.pack import PackOptions, pack

EPOCH = 1_600_000_000


@pytest.mark.parametrize(
    ("options", "times"),
    [
        (PackOptions(), {"old": EPOCH - 50, "new": EPOCH + 50}),
        (PackOptions(epoch=EPOCH), {"old": EPOCH - 50, "new": EPOCH}),
        (PackOptions(epoch=EPOCH, timeless=True), {"old": EPOCH, "new": EPOCH}),
        (PackOptions(timeless=True), {"old": EPOCH - 50, "new": EPOCH + 50}),
    ],
)
def test_an_epoch_is_the_latest_time_and_the_only_one_where_times_mean_nothing(
    tmp_path, options, times
):
    for name, offset in (("old", -50), ("new", 50)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (EPOCH + offset,) * 2)
    out = io.BytesIO()
    pack(str(tmp_path), out.write, options)
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        assert {m.name: m.mtime for m in tar} == times
