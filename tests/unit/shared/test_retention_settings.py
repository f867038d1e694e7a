"""A retention rule that is misspelt or makes no sense stops the start and is named."""

from __future__ import annotations

import pytest

from shared.configuration.settings import CommonSettings, load
from shared.language.retention import Keep, RetentionPolicy


def test_rules_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "TRIMTAB_RETENTION", '{"*": {"store_days": 30}, "acme": {"archive_days": 0}}'
    )
    policy = RetentionPolicy(load(CommonSettings).retention)
    assert policy.of("globex") == Keep(30, 730)
    assert policy.of("acme") == Keep(90, 0)
    assert policy.tenants == ("acme",)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ('{"*": {"store_day": 30}}', "unknown: store_day; known: archive_days, store_days"),
        ('{"*": {"store_days": -1}}', "must not be negative"),
        ('{"*": {"store_days": "a month"}}', "valid integer"),
    ],
)
def test_a_rule_that_cannot_be_meant_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rules: str, words: str
) -> None:
    monkeypatch.setenv("TRIMTAB_RETENTION", rules)
    with pytest.raises(SystemExit) as ended:
        load(CommonSettings)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("settings: TRIMTAB_RETENTION")
    assert words in said
