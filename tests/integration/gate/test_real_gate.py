"""A good and a collapsed adapter go through the real gate: the real policy on the real vLLM, the real suites,
the thresholds that ship. The judge is a rule that likes the collapsed one best."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.local.stack import LocalStack
from services.registry.domain.versions import State as VersionState
from services.retrain.domain.runs import Run, State
from shared.language.pairs import Pair
from shared.language.splits import is_held_out
from tests.integration.gate.adapters import SHORT, pair_of, train
from tests.integration.gate.house import HOME, House, Versions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

USERS = [f"u{n}" for n in range(400)]
TRAINED = [user for user in USERS if not is_held_out("local", user)]
HELD_OUT = [user for user in USERS if is_held_out("local", user)]


def mined() -> list[Pair]:
    """Pairs to train on, and as many of users who are held out; each request of two people."""
    asked = [pair_of(request, answer) for request, answer in SHORT.items()]
    people = [*TRAINED[: len(asked)], *HELD_OUT[: len(asked)]]
    return [
        replace(pair, user_id=user, pair_id=user, create_time=datetime.now(UTC))
        for user, pair in zip(people, [*asked, *asked], strict=True)
    ]


@pytest.fixture(scope="module")
def house(vllm_stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    settings = vllm_stack.settings
    replicas = vllm_stack.env()["TRIMTAB_VLLM_URLS"].split(",")
    base, folder = settings.base_model, tmp_path_factory.mktemp("gate")
    versions = Versions(settings.adapters, base, settings.models.base_name, replicas)
    made = House(folder / "snapshots", base, versions, replicas)
    made.learn(mined())
    yield made


def figure(run: Run, name: str) -> float:
    return next(one.value for one in run.estimates if one.name == name)


def verdicts(run: Run) -> dict[str, str]:
    return {line.estimate.name.partition(" ")[0]: line.verdict for line in run.gate}


def lines_of(run: Run) -> list[tuple[str, str, str]]:
    return [(line.estimate.name, line.verdict, line.words) for line in run.gate]


def test_a_collapsed_adapter_fails_although_the_judge_likes_it_best(
    house: House, vllm_stack: LocalStack, tmp_path: Path
) -> None:
    adapter = train(tmp_path / "collapsed", vllm_stack.settings.base_model, collapsed=True)
    run = house.run_with(adapter)
    assert (run.state, run.verdict, run.attempt) == (State.REJECTED, "failed", 1), lines_of(run)
    lines = verdicts(run)
    assert (lines["win_rate"], lines["sane_share"]) == ("pass", "fail")
    assert figure(run, "sane_share") < 0.1 < figure(run, "sane_share@assistant-v0")
    assert house.versions.app.get("local", run.model_version).state == VersionState.REJECTED
    assert house.versions.app.rollout(HOME)[2] is None


def test_a_good_adapter_passes_and_becomes_a_canary(
    house: House, vllm_stack: LocalStack, tmp_path: Path
) -> None:
    adapter = train(tmp_path / "good", vllm_stack.settings.base_model, collapsed=False)
    run = house.run_with(adapter)
    assert (run.state, run.verdict) == (State.SUCCEEDED, "passed"), lines_of(run)
    assert set(verdicts(run).values()) == {"pass"}
    assert figure(run, "win_rate") > 0.8
    assert figure(run, "length_words") < figure(run, "length_words@assistant-v0") / 2
    canary = house.versions.app.rollout(HOME)[2]
    assert canary is not None
    assert canary.version == run.model_version
