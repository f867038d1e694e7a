"""On a slow processor the demo waits longer, and lets its canary wait."""

from pathlib import Path

from infra.demo.act_two import Limits
from infra.demo.stage import ENVIRONMENT, ROLLOUT_S, overlay
from services.registry.settings import RegistrySettings


def test_what_is_stretched_is_the_registrys_own_default() -> None:
    assert RegistrySettings.model_fields["rollout_max_s"].default == ROLLOUT_S


def test_every_limit_is_stretched() -> None:
    assert Limits().times(1.0) == Limits()
    assert (Limits().times(4.0).calm_s, Limits().times(4.0).run_ends_s) == (2400.0, 3600.0)


def test_what_the_file_says_goes_before_what_is_stretched(tmp_path: Path) -> None:
    assert "TRIMTAB_REGISTRY_ROLLOUT_MAX_S" not in overlay(ENVIRONMENT)
    assert overlay(ENVIRONMENT, 4.0)["TRIMTAB_REGISTRY_ROLLOUT_MAX_S"] == "3600"
    file = tmp_path / "environment.toml"
    file.write_text('TRIMTAB_REGISTRY_ROLLOUT_MAX_S = "60"')
    assert overlay(file, 4.0) == {"TRIMTAB_REGISTRY_ROLLOUT_MAX_S": "60"}
