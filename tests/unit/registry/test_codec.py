"""What is said of a rollout."""

from datetime import UTC, datetime

from services.registry.codec.versions import encode_rollout
from services.registry.domain.rollouts import Rollout, RolloutRules
from services.registry.domain.versions import State, Version
from shared.language.policies import PolicyKey
from shared.statistics.betting import Arm, RolloutTest

KEY = PolicyKey("local", "m")
NOW = datetime(2026, 1, 2, tzinfo=UTC)
COMPARED = RolloutTest(champion=Arm(15, 15.0), canary=Arm(19, 1.0))


def version(name: str, state: State) -> Version:
    return Version(KEY, int(name[-1]), name, state, NOW)


def test_a_rollout_under_way_says_what_it_compares() -> None:
    rollout = Rollout(KEY, 3, ("m-v0",), NOW, canary="m-v1", canary_share=0.5, test=COMPARED)
    said = encode_rollout(
        rollout, version("m-v0", State.CHAMPION), version("m-v1", State.CANARY), RolloutRules()
    )
    champion, canary = said.champion_dissatisfaction, said.canary_dissatisfaction
    assert (champion.value, champion.count, champion.users) == (1.0, 15, 15)
    assert (round(canary.value, 4), canary.count) == (0.0526, 19)
    assert said.canary.version == "m-v1"


def test_a_promoted_version_does_not_get_the_figures_of_the_one_before() -> None:
    rollout = Rollout(KEY, 4, ("m-v0", "m-v1"), NOW, test=COMPARED, words="m-v1 was promoted: ...")
    said = encode_rollout(rollout, version("m-v1", State.CHAMPION), None, RolloutRules())
    assert not said.HasField("champion_dissatisfaction")
    assert not said.HasField("canary_dissatisfaction")
    assert not said.HasField("canary")
    assert (said.champion.version, said.words) == ("m-v1", "m-v1 was promoted: ...")
