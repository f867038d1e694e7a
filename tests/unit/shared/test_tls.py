"""TLS files: a wrong one stops the start and names its variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.configuration.settings import CommonSettings, load
from shared.configuration.tls import Tls, load_tls
from tests.unit.shared.certificates import Authority


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    ours = Authority("ours")
    cert, key = ours.issue("localhost")
    _, other = ours.issue("localhost")
    texts = {"cert": cert, "key": key, "other": other, "ca": ours.pem, "no": b"nothing"}
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text)
    return {name: tmp_path / name for name in texts}


def test_what_is_right_is_read(files: dict[str, Path]) -> None:
    common = CommonSettings(
        tls_cert=files["cert"],
        tls_key=files["key"],
        tls_ca=files["ca"],
        tls_client_ca=files["ca"],
    )
    tls = load_tls(common)
    assert (tls.cert, tls.ca) == (files["cert"].read_bytes(), files["ca"].read_bytes())
    assert tls.server() is not None and tls.channel() is not None
    assert load_tls(CommonSettings()) == Tls()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tls_cert": "no", "tls_key": "key"}, "TRIMTAB_TLS_CERT: "),
        ({"tls_cert": "cert", "tls_key": "no"}, "TRIMTAB_TLS_KEY: "),
        ({"tls_cert": "cert", "tls_key": "other"}, "TRIMTAB_TLS_KEY: "),
        ({"tls_cert": "cert"}, "TRIMTAB_TLS_KEY: "),
        ({"tls_key": "key"}, "TRIMTAB_TLS_CERT: "),
        ({"tls_ca": "key"}, "TRIMTAB_TLS_CA: "),
        ({"tls_client_ca": "ca"}, "TRIMTAB_TLS_CERT: "),
    ],
)
def test_what_is_wrong_names_its_variable(
    files: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
    settings: dict[str, str],
    said: str,
) -> None:
    common = CommonSettings(**{name: files[file] for name, file in settings.items()})  # type: ignore[arg-type]
    with pytest.raises(SystemExit) as ended:
        load_tls(common)
    assert ended.value.code == 2
    assert f"settings: {said}" in capsys.readouterr().err


def test_a_path_to_nothing_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRIMTAB_TLS_CA", "/nowhere/ca.pem")
    with pytest.raises(SystemExit):
        load(CommonSettings)
    assert "TRIMTAB_TLS_CA" in capsys.readouterr().err
    monkeypatch.setenv("TRIMTAB_TLS_CA", "")
    assert load(CommonSettings).tls_ca is None
