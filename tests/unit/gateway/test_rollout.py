import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from services.gateway.adapters.rollouts import RolloutFile
from services.gateway.domain.policies import Served
from services.gateway.domain.rollout import Rollout, Version, choose_replica
from shared.language.groups import Composition
from shared.language.policies import PolicyKey

CHAMPION, CANARY = Version("assistant-v1", "assistant-v1"), Version("assistant-v2", "assistant-v2")
USERS = [f"user-{n}" for n in range(10_000)]


def test_the_canary_gets_its_share_of_users_and_keeps_them_as_it_grows() -> None:
    def on_canary(share: float) -> set[str]:
        rollout = Rollout(1, CHAMPION, CANARY, share)
        return {user for user in USERS if rollout.for_user("local", user) == CANARY}

    tenth, half = on_canary(0.1), on_canary(0.5)
    assert abs(len(tenth) - 1_000) < 120  # four standard deviations of a binomial
    assert abs(len(half) - 5_000) < 200
    assert tenth < half
    assert on_canary(0.0) == set()
    assert len(on_canary(1.0)) == len(USERS)


def test_another_canary_draws_other_users() -> None:
    other = Version("assistant-v3", "assistant-v3")
    first = {u for u in USERS if Rollout(1, CHAMPION, CANARY, 0.1).for_user("t", u) == CANARY}
    second = {u for u in USERS if Rollout(2, CHAMPION, other, 0.1).for_user("t", u) == other}
    assert abs(len(first & second) - 100) < 50


def test_without_a_canary_all_get_the_champion() -> None:
    assert Rollout(1, CHAMPION, None, 0.5).for_user("local", "ada") == CHAMPION


def test_replicas_share_the_users_and_a_new_one_moves_few() -> None:
    two, three = ("a", "b"), ("a", "b", "c")
    before = {user: choose_replica(two, "t", user)[0] for user in USERS}
    after = {user: choose_replica(three, "t", user)[0] for user in USERS}
    assert abs(sum(replica == "a" for replica in before.values()) - 5_000) < 200
    moved = {user for user in USERS if before[user] != after[user]}
    assert {after[user] for user in moved} == {"c"}
    assert abs(len(moved) - 3_333) < 190


def test_a_replica_that_is_left_out_answers_nobody_as_long_as_there_are_others() -> None:
    three = ("a", "b", "c")
    for user in USERS[:100]:
        order = choose_replica(three, "t", user)
        rest = tuple(one for one in order if one != "b")
        assert choose_replica(three, "t", user, {"b"}) == rest
        assert choose_replica(three, "t", user, three) == order


LEFT_OUT = {"assistant-v2": ["http://two"]}
FULL = Rollout(7, CHAMPION, CANARY, 0.25, (Version("assistant-v0", "base"),), LEFT_OUT)
COMPOSED = Version("support-v1", "acme.v1", Composition.by_group({"plan=free": "acme.v1"}, "base"))


def test_what_was_served_last_is_kept(tmp_path: Path) -> None:
    file = RolloutFile(tmp_path / "gateway" / "rollout.json")
    assert file.load() == []
    served = [
        Served(PolicyKey("local"), FULL),
        Served(PolicyKey("acme", "support"), Rollout(2, COMPOSED, COMPOSED, 0.5, (COMPOSED,))),
        Served(PolicyKey("acme", "sales"), None),
    ]
    file.save(served)
    assert file.load() == served
    file.path.write_text("{}")
    assert file.load() == []


def test_the_file_of_a_gateway_that_knew_one_rollout_is_read(tmp_path: Path) -> None:
    file = RolloutFile(tmp_path / "rollout.json")
    own = Served(PolicyKey("local", "assistant"), FULL)
    assert _loaded(file, asdict(FULL)) == [own]
    # Neither did it know of compositions.
    older = [_without_composition(one) for one in (asdict(FULL), {"served": [asdict(own)]})]
    assert [_loaded(file, one) for one in older] == [[own], [own]]


def _loaded(file: RolloutFile, kept: object) -> list[Served]:
    file.path.write_text(json.dumps(kept))
    return file.load()


def _without_composition(kept: Any) -> Any:
    if isinstance(kept, dict):
        return {
            name: _without_composition(one) for name, one in kept.items() if name != "composition"
        }
    return [_without_composition(one) for one in kept] if isinstance(kept, list | tuple) else kept
