"""Nothing in the remote client may block the event loop."""

from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx


@pytest.fixture(autouse=True)
def _nothing_blocks() -> Iterator[BlockBuster]:
    with blockbuster_ctx("argosy") as watch:
        yield watch
