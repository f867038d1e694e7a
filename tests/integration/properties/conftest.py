from collections.abc import Iterator

import pytest

from tests.integration.properties.doors import Doors


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    opened = Doors(tmp_path_factory.mktemp("doors"))
    opened.open()
    yield opened
    opened.close()
