"""TRIMTAB_BASE_MODELS: where the weights of base models are, by the name that each is served under."""

from pathlib import Path

import pytest

from shared.configuration.settings import CommonSettings, load


def test_the_deployments_own_base_model_is_always_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_BASE_MODEL", "/models/small")
    monkeypatch.setenv("TRIMTAB_BASE_MODEL_NAME", "small")
    assert load(CommonSettings).bases == {"small": Path("/models/small")}
    monkeypatch.setenv("TRIMTAB_BASE_MODELS", '{"org/large-7b": "/models/large"}')
    assert load(CommonSettings).bases == {
        "small": Path("/models/small"),
        "org/large-7b": Path("/models/large"),
    }


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"": "/models/large"}', "cannot name a base model"),
        ('{"../large": "/models/large"}', "cannot name a base model"),
        ('{"assistant-v3": "/models/large"}', "cannot name a base model"),
        ('{"acme.support-v3": "/models/large"}', "cannot name a base model"),
        ('{"small": "/models/large"}', "is in /models/large here, but in /models/small"),
    ],
)
def test_a_name_that_collides_stops_the_start(
    line: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRIMTAB_BASE_MODEL", "/models/small")
    monkeypatch.setenv("TRIMTAB_BASE_MODEL_NAME", "small")
    monkeypatch.setenv("TRIMTAB_BASE_MODELS", line)
    with pytest.raises(SystemExit) as ended:
        load(CommonSettings)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("settings: TRIMTAB_BASE_MODELS: ") and words in said


def test_a_value_that_is_no_json_stops_the_start_and_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRIMTAB_BASE_MODELS", "{large: /models/large}")
    with pytest.raises(SystemExit):
        load(CommonSettings)
    assert 'field "base_models"' in capsys.readouterr().err
