"""Both forms of placement, for the tests of a folder: patch by patch, and a batch at once as on a GPU."""

from collections.abc import Iterator

import pytest

from ptychopinn.device import prefer_batched


@pytest.fixture(autouse=True, scope="module", params=[False, True], ids=["patch by patch", "batch at once"])
def placement(request: pytest.FixtureRequest) -> Iterator[None]:
    prefer_batched(request.param)
    yield
    prefer_batched(False)
