"""A list counts how many there are, but not for ever."""

import pytest

from services.feedback.mining.adapters import sql_pages
from tests.unit.feedback.house import SHORT, House


def test_counting_ends_where_nobody_reads_on(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    for number in range(5):
        house.chat_with(f"u{number}", f"c{number}", "what is a river?", SHORT, "thanks")
    house.settle()
    assert house.parts.feedback.page("local", (), None, 2).total == 5
    monkeypatch.setattr(sql_pages, "MOST_COUNTED", 3)
    page = house.parts.feedback.page("local", (), None, 2)
    assert (page.total, len(page.items)) == (3, 2)
