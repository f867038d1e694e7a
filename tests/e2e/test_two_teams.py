"""Two tenants with opposed wishes close their loops at the same time on one machine: each gets its own wish,
and nothing of the other's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from infra.demo.act_two import ActTwo
from infra.demo.clients import Clients
from infra.demo.compare import Compared, compare
from infra.demo.measures import Rate, rate
from infra.demo.progress import Progress
from infra.demo.stage import Stage
from shared.gen.trimtab.registry.v1 import registry_pb2
from shared.language.policies import PolicyKey
from shared.statistics.intervals import difference
from tests.e2e.search import contents
from tests.e2e.teams import ACME, COURTESY, LOCAL, TEAMS, Team, director_of
from tests.e2e.world import World, make_world

SETTINGS = {
    "TRIMTAB_GATEWAY_KEYS": json.dumps({team.key: team.tenant for team in TEAMS}),
    "TRIMTAB_GATEWAY_UPSTREAM_TIMEOUT_S": "300",
    "TRIMTAB_DRIFT_REFERENCE_OBSERVATIONS": "12",
    "TRIMTAB_DRIFT_MEAN_ROWS_BETWEEN_FALSE_ALARMS": "200",
    # Users write the better answers themselves; the model is busy enough.
    "TRIMTAB_FEEDBACK_REWRITE_MIN_PROBABILITY": "1",
    "TRIMTAB_FEEDBACK_UBR_SHARE": "0",
    "TRIMTAB_FEEDBACK_PERSONA_MAX_PER_MINUTE": "0.1",
    "TRIMTAB_FEEDBACK_PERSONA_COMPLAINT_MAX_PER_MINUTE": "0.1",
    "TRIMTAB_FEEDBACK_FILTER_EVERY_S": "0.5",
    "TRIMTAB_FEEDBACK_REWARD_MIN_PAIRS": "4",
    "TRIMTAB_REWARD_MIN_PAIRS": "6",
    "TRIMTAB_RETRAIN_MIN_PAIRS": "36",
    "TRIMTAB_RETRAIN_PAIRS_WAIT_S": "900",
    # How far to push decides everything, and these steps do; a margin depends on the wish.
    "TRIMTAB_RETRAIN_MAX_STEPS": "12",
    "TRIMTAB_RETRAIN_STOP_MARGIN": "6",
    "TRIMTAB_RETRAIN_TRAIN_CONTROL": "false",
    "TRIMTAB_RETRAIN_IN_CONTEXT_ARM": "false",
    # Fewer could not show that a version is as sane as the one before, within the gate's margin.
    "TRIMTAB_EVALUATION_PROMPTS": "96",
    "TRIMTAB_EVALUATION_PAIRS": "8",
    "TRIMTAB_EVALUATION_ANSWER_TOKENS": "60",
    "TRIMTAB_EVALUATION_REFUSAL_TOKENS": "12",
    "TRIMTAB_REGISTRY_MIN_USERS": "4",
    "TRIMTAB_REGISTRY_ROLLOUT_MAX_S": "800",
}
PARTS = ("kafka", "mlflow", "vllm", "gateway", "interaction", "feedback", "reward", "evaluation",
         "drift", "retrain", "registry")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Played:
    """What a team's users saw, and the version that serves them now."""

    act: ActTwo
    version: registry_pb2.ModelVersion
    # Before and now, asked the same requests, judged by each team's wish: by its tenant.
    compared: dict[str, list[Compared]]

    def broken(self, *phases: str) -> Rate:
        """How many answers broke the wish that the team's users have now."""
        [taste] = {one.taste for one in self.act.book.in_phase(*phases)}
        seen = self.act.book.in_phase(*phases)
        assert taste
        return rate((one.user, bool(one.broken)) for one in seen)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = make_world(tmp_path_factory.mktemp("teams"), SETTINGS)
    try:
        made.stack.up(PARTS, timeout_s=600)
        yield made
    finally:
        made.stack.discard()


@pytest.fixture(scope="module")
def played(world: World) -> dict[str, Played]:
    """Both acts at the same time, once for all tests."""
    return asyncio.run(_play(world))


async def _play(world: World) -> dict[str, Played]:
    acts = await asyncio.gather(*(_act(world, team) for team in TEAMS))
    return {team.tenant: act for team, act in zip(TEAMS, acts, strict=True)}


async def _act(world: World, team: Team) -> Played:
    clients = Clients(world.env, team.tenant)
    stage = Stage(team.tenant, world.gateway_url, "", team.key, clients, Progress())
    try:
        await _prepare(clients, team)
        act = await director_of(team, stage).play()
        request = registry_pb2.GetVersionRequest(name=f"modelVersions/{act.champion}")
        version = (await clients.ask(clients.registry.GetVersion, request)).version
        return Played(act, version, await _compared(world, act, version))
    finally:
        await clients.close()


async def _prepare(clients: Clients, team: Team) -> None:
    """The team's own recipe, if it has one; the other's and the deployment's stay as they are."""
    if changed := [f"recipe.{field.name}" for field, _ in team.recipe.ListFields()]:
        policy = registry_pb2.Policy(name=PolicyKey(team.tenant).name, recipe=team.recipe)
        request = registry_pb2.UpdatePolicyRequest(policy=policy)
        request.update_mask.paths.extend(changed)
        await clients.ask(clients.registry.UpdatePolicy, request)


async def _compared(
    world: World, act: ActTwo, version: registry_pb2.ModelVersion
) -> dict[str, list[Compared]]:
    vllm, base = world.env["TRIMTAB_VLLM_URLS"], world.env["TRIMTAB_BASE_MODEL_NAME"]
    versions = {
        "before": (act.first_champion, base),
        "now": (version.version, version.served_name),
    }
    return {team.tenant: await compare(vllm, versions, team.population()) for team in TEAMS}


pytestmark = [pytest.mark.teams, pytest.mark.timeout(5400)]


@pytest.mark.parametrize("team", TEAMS, ids=lambda team: team.tenant)
def test_each_team_gets_its_own_wish(played: dict[str, Played], team: Team) -> None:
    """Broken wishes are down by at least half of the rise, and the interval excludes zero."""
    mine = played[team.tenant]
    assert mine.act.problem == ""
    assert mine.act.verdict == "promoted", mine.act.evidence
    calm, shift, now = mine.broken("calm"), mine.broken("shift"), mine.broken("measure")
    assert shift.value - calm.value > 0.5
    assert shift.value - now.value >= (shift.value - calm.value) / 2
    assert difference(shift.interval, now.interval)[0] > 0
    assert mine.act.book.failures == []


@pytest.mark.parametrize("team", TEAMS, ids=lambda team: team.tenant)
def test_nobody_gets_the_others_wish(played: dict[str, Played], team: Team) -> None:
    """On requests that nobody sent: its own wish is broken less often than before, the other's is not."""
    mine = played[team.tenant]
    for other, (before, now) in mine.compared.items():
        low = difference(before.broken.interval, now.broken.interval)[0]
        assert (low > 0) is (other == team.tenant), (other, before.broken.words, now.broken.words)
        assert now.too_short.value <= 0.2


def test_two_versions_of_one_name_are_served_apart(played: dict[str, Played]) -> None:
    ours, theirs = played[LOCAL.tenant].version, played[ACME.tenant].version
    assert ours.version == theirs.version == "assistant-v1"
    assert (ours.served_name, theirs.served_name) == ("assistant-v1", "acme.assistant-v1")
    assert ours.adapter_digest != theirs.adapter_digest
    for one in played.values():
        assert {version for _, version in one.act.book.calls} == {"assistant-v0", "assistant-v1"}


def test_the_loops_were_closed_at_the_same_time(played: dict[str, Played]) -> None:
    spans = []
    for one in played.values():
        assert one.act.alarm is not None
        changed = one.version.changes[-1].time.ToDatetime()
        spans.append((one.act.alarm.create_time.ToDatetime(), changed))
    assert max(began for began, _ in spans) < min(ended for _, ended in spans)


def test_no_snapshot_has_a_word_of_the_other_team(world: World, played: dict[str, Played]) -> None:
    folder = world.stack.settings.data / "retrain" / "snapshots"
    words = {
        LOCAL.tenant: [*LOCAL.population().requests],
        ACME.tenant: [*ACME.population().requests, COURTESY],
    }
    found = {}
    for tenant, one in played.items():
        assert one.act.run is not None
        files = sorted((folder / one.act.run.snapshot.digest).iterdir())
        content = b"".join(part for file in files for part in contents(file)).decode(
            errors="replace"
        )
        found[tenant] = {
            owner: sum(word in content for word in said) for owner, said in words.items()
        }
        assert one.act.run.snapshot.train_pairs >= 24
    assert found[LOCAL.tenant][LOCAL.tenant] >= 10
    assert found[ACME.tenant][ACME.tenant] >= 10
    assert found[LOCAL.tenant][ACME.tenant] == found[ACME.tenant][LOCAL.tenant] == 0
    assert len([one for one in folder.iterdir() if one.is_dir()]) == len(TEAMS)
