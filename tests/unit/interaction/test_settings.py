"""Settings that would lose what one process writes and the other reads are refused at the start."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from services.interaction.settings import InteractionSettings
from shared.configuration.settings import load


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite+pysqlite://"]
)
def test_a_database_in_memory_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRIMTAB_INTERACTION_DATABASE_URL", url)
    with pytest.raises(ValidationError):
        InteractionSettings()
    with pytest.raises(SystemExit) as ended:
        load(InteractionSettings)
    assert ended.value.code == 2
    assert "TRIMTAB_INTERACTION_DATABASE_URL: " in capsys.readouterr().err


@pytest.mark.parametrize("url", ["sqlite:////data/state.db", "postgresql+psycopg://db/trimtab"])
def test_a_file_and_a_server_are_taken(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_INTERACTION_DATABASE_URL", url)
    assert load(InteractionSettings).database_url == url


def test_the_rule_of_one_service_that_holds_for_all_now_is_refused_with_its_new_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRIMTAB_INTERACTION_RETENTION", '{"*": {"store_days": 90}}')
    with pytest.raises(SystemExit) as ended:
        load(InteractionSettings)
    assert ended.value.code == 2
    words = capsys.readouterr().err
    assert "TRIMTAB_INTERACTION_RETENTION: " in words
    assert "set TRIMTAB_RETENTION" in words
