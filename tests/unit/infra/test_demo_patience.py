"""On a slow processor the demo waits longer, and lets its canary wait."""

from pathlib import Path

from infra.demo.act_two import Limits
from infra.demo.stage import ENVIRONMENT, ROLLOUT_S, overlay


def test_a_rollout_is_decided_while_the_demo_still_waits_for_it() -> None:
    for times in (1.0, 4.0):
        most = float(overlay(ENVIRONMENT, times)["TRIMTAB_REGISTRY_ROLLOUT_MAX_S"])
        assert most == times * ROLLOUT_S < Limits().times(times).rollout_s


def test_every_limit_is_stretched() -> None:
    assert Limits().times(1.0) == Limits()
    assert (Limits().times(4.0).calm_s, Limits().times(4.0).run_ends_s) == (2400.0, 3600.0)


def test_what_the_file_says_goes_before_what_is_stretched(tmp_path: Path) -> None:
    assert overlay(ENVIRONMENT, 4.0)["TRIMTAB_REGISTRY_ROLLOUT_MAX_S"] == "1920"
    file = tmp_path / "environment.toml"
    file.write_text('TRIMTAB_REGISTRY_ROLLOUT_MAX_S = "60"')
    assert overlay(file, 4.0) == {"TRIMTAB_REGISTRY_ROLLOUT_MAX_S": "60"}
