"""One user is erased from the whole stack while another's data stays: proved by searching everything.

The same search that finds nothing of the erased user finds them before, and finds the other user
before and after, in each kind of place. Two services die by SIGKILL in the middle of it.

Words begin with letters that no other word begins with: full-text indexes and SQLite's b-trees would
else store only the ends of words that begin alike.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local.environment import environment
from services.cli.adapters.grpc_platform import GrpcPlatform
from services.cli.app.platform import SERVICES
from services.cli.main import connect, run
from services.retrain.adapters.snapshots import ParquetSnapshots
from services.retrain.domain.snapshots import Selection
from shared.configuration.settings import CommonSettings
from shared.contracts.pairs import encode_pair
from shared.gen.trimtab.events.v1 import events_pb2
from shared.language.identifiers import user_name
from shared.language.messages import text_message
from shared.language.pairs import Pair, PairSource
from shared.language.topics import PREFERENCE_MINED
from shared.log.events import Event
from shared.serving.opening import open_event_log
from shared.vault.sealing import SEALED_WITH, SealedEventLog
from tests.e2e.policy_server import PolicyServer
from tests.e2e.search import places, raw_log
from tests.e2e.tracing import ANSWER_TRACED, VOTE_TRACED, places_of, vote
from tests.e2e.world import World, make_world

REPORTING = ("interaction", "gateway", "feedback", "reward", "evaluation", "drift", "retrain")
PARTS = ("kafka", *REPORTING)
GONE, STAYS = "zuleika", "kestrel"
# What each says, and is answered: nobody else in the world says it.
WORDS = {GONE: ("zzymurgist", "qqfandango"), STAYS: ("jjuniper", "wwombatine")}
OVERLAY = {
    "TRIMTAB_KEYRING_TTL_S": "0.5",
    "TRIMTAB_FEEDBACK_PERSONA_MAX_PER_MINUTE": "6000",
    "TRIMTAB_FEEDBACK_PERSONA_COMPLAINT_MAX_PER_MINUTE": "6000",
    "TRIMTAB_FEEDBACK_UBR_SHARE": "0",
    "TRIMTAB_INTERACTION_ARCHIVE_EVERY_S": "1",
    "TRIMTAB_LOG_LEVEL": "WARNING",
}
# Where a user's words are found as long as they are there.
HELD = {
    "interaction/state.db",
    "archive",
    "retrain/snapshots",
    "feedback/state.db",
    "reward/state.db",
    "retrain/state.db",
}
TOPICS = {
    "topic interaction.logged.v1",
    "topic feedback.given.v1",
    "topic feedback.mined.v1",
    "topic preference.given.v1",
    "topic preference.proposed.v1",
    "topic preference.mined.v1",
}


@dataclass
class House:
    world: World
    platform: GrpcPlatform
    client: httpx.Client
    log: SealedEventLog

    @property
    def data(self) -> Path:
        return self.world.stack.settings.data

    def say(self, user: str, *texts: str, conversation: str = "") -> list[str]:
        """Through the proxy; the completions' ids."""
        completions, messages = [], []
        for text in texts:
            messages.append({"role": "user", "content": text})
            answer = self._post(
                "/v1/chat/completions", {"model": "assistant", "user": user, "messages": messages}
            )
            messages.append(answer["choices"][0]["message"])
            completions.append(answer["id"])
        return completions

    def feedback(self, **said: Any) -> None:
        self._post("/v1/feedback", {"feedback": [said]})

    def erasure(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.platform.call("interaction", "GetErasure", {"name": name})
        return dict(found["erasure"])

    def counts(self) -> dict[tuple[str, str, str], int]:
        """By stage, outcome and reason."""
        found = {}
        for part in REPORTING:
            if part != "gateway":
                answer = self.platform.call(part, "GetStageCounts", {})
                for one in answer["counts"]:
                    found[one["stage"], one["outcome"], one["reason"]] = int(one["count"])
        return found

    def found(self, *words: str) -> dict[str, set[str]]:
        """Where each of the words is read by the services themselves."""
        found = places(self.data, self.log, *words)
        return {word: {kind_of(one) for one in of} for word, of in found.items()}

    def seen(self, *words: str) -> set[str]:
        """Where any of the words is seen by somebody without the keys, who does see that there are
        sealed events on every topic."""
        log = raw_log(self.world.env)
        try:
            found = places(self.data, log, *words, SEALED_WITH)
        finally:
            log.close()
        assert found.pop(SEALED_WITH) >= TOPICS
        return set.union(*found.values())

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        response = self.client.post(path, json=body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with PolicyServer() as policy:
        world = make_world(tmp_path / "world", OVERLAY | {"TRIMTAB_VLLM_URLS": policy.url})
        try:
            world.stack.up(PARTS)
            env = environment(world.stack.settings)
            common = CommonSettings(
                kafka=env["TRIMTAB_KAFKA"],
                TRIMTAB_KEYRING_URL=env["TRIMTAB_KEYRING_URL"],
                keyring_ttl_s=0.5,
            )
            addresses = {name: env[f"TRIMTAB_{name.upper()}_ADDRESS"] for name in SERVICES}
            headers = {"Authorization": f"Bearer {world.key}"}
            with httpx.Client(
                base_url=world.gateway_url, headers=headers, timeout=30, trust_env=False
            ) as client:
                yield House(
                    world, GrpcPlatform(addresses, world.tenant), client, open_event_log(common)
                )
        finally:
            world.stack.discard()


@pytest.mark.timeout(300)
def test_an_erased_user_is_found_nowhere(
    house: House,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in house.world.env.items():
        monkeypatch.setenv(name, value)
    traced = partial(places_of, house.world.tenant, capsys)
    answers = {user: _live(house, user) for user in WORDS}
    for user, words in WORDS.items():
        vote(user, f"vote-{stand_in(user)}", words, house.world.tenant, tmp_path)
    eventually(lambda: _missing(house), {})
    for user in WORDS:
        eventually(partial(traced, f"vote-{stand_in(user)}-b"), VOTE_TRACED)
    eventually(lambda: traced(answers[GONE][0]), ANSWER_TRACED)
    # Whoever has the topics and not the keys reads nothing of anybody, ever.
    seen = house.seen(*WORDS[GONE], *WORDS[STAYS])
    assert not {one for one in seen if one.startswith(("kafka", "topic"))}
    exported = _export(house, GONE, tmp_path)
    kinds = {"turn", "feedback", "pair", "reward_pair", "training_pair"}
    assert kinds <= exported.keys()

    erasure = _erase_while_services_die(house)
    assert erasure["waiting_for"] == []
    removed = {
        (report["service"], one["place"]): int(one["count"])
        for report in erasure["reports"]
        for one in report["removals"]
    }
    assert [report["service"] for report in erasure["reports"]] == sorted(REPORTING)
    assert removed["interaction", "turns"] == exported["turn"] + 2
    assert removed["feedback", "pairs"] == exported["pair"]
    assert removed["reward", "pairs"] == exported["reward_pair"]
    assert removed["retrain", "pairs"] == exported["training_pair"]
    assert removed["retrain", "snapshots"] == exported["snapshot_pair"] == 2
    # An evaluation that has ended keeps figures only.
    assert ("evaluation", "held_out_pairs") not in removed
    assert int(erasure["keys_destroyed"]) >= 1

    gone, stays = (f"vote-{stand_in(user)}-b" for user in WORDS)
    assert [traced(one) for one in (gone, answers[GONE][0], stays)] == [set(), set(), VOTE_TRACED]
    found = house.found(*WORDS[GONE], GONE, *WORDS[STAYS])
    assert [found[word] for word in (*WORDS[GONE], GONE)] == [set(), set(), set()]
    assert all(found[word] >= HELD | TOPICS for word in WORDS[STAYS])
    assert house.seen(*WORDS[GONE], GONE) == set()
    _counts_add_up(house)
    _again(house, erasure)


def _missing(house: House) -> dict[str, set[str]]:
    """By word, the kinds of places where it is not found yet."""
    found = house.found(*WORDS[GONE], *WORDS[STAYS])
    return {word: gaps for word, of in found.items() if (gaps := (HELD | TOPICS) - of)}


def _live(house: House, user: str) -> list[str]:
    """Leaves the user's words in every kind of place; the completions of its chat."""
    first, second = WORDS[user]
    completions = house.say(
        user,
        f"Tell me of the {first} and the {second}, please.",
        f"That's too long. Please say it of the {first} and {second} in at most 20 words.",
    )
    house.feedback(
        completion_id=completions[0],
        user=user,
        demonstration=f"A {first} is a friend of every {second}.",
        comment=f"{first} and {second} were forgotten",
    )
    # Of nobody, on the user's answer.
    house.feedback(completion_id=completions[1], value=False, comment=f"{first}? {second}!")
    _learn(house, user)
    return completions


def _learn(house: House, user: str) -> None:
    """What a training of the past left: a mined pair and a snapshot. An evaluation leaves nothing."""
    first, second = WORDS[user]
    pair = Pair(
        pair_id=f"pair-of-{stand_in(user)}",
        tenant=house.world.tenant,
        user_id=user,
        conversation_id=f"past-{stand_in(user)}",
        source=PairSource.DEMONSTRATION,
        prompt=(text_message("user", f"What of the {first}?"),),
        chosen=text_message("assistant", f"It is a {second}, this {first}."),
        rejected=text_message("assistant", "I do not know."),
        create_time=datetime.now(UTC),
    )
    mined = events_pb2.PreferenceMined(pair=encode_pair(pair)).SerializeToString()
    owner = user_name(pair.tenant, user)
    house.log.ensure_topics([PREFERENCE_MINED])
    house.log.publish(
        [Event(PREFERENCE_MINED, pair.pair_id, "k", mined, "e2e", pair.time, {}, owner)]
    )
    snapshots = ParquetSnapshots(str(house.data / "retrain" / "snapshots"))
    snapshots.keep(Selection((pair,), (pair,)))
    request = events_pb2.PreferencePair.FromString(encode_pair(pair).SerializeToString())
    house.platform.call(
        "evaluation",
        "Evaluate",
        {
            "request_id": f"past-{stand_in(user)}",
            "model_version": "assistant-v0",
            "served_name": "assistant-v0",
            "suites": ["over_refusal"],
            "held_out_pairs": [_as_json(request)],
        },
    )


def _erase_while_services_die(house: House) -> dict[str, Any]:
    """Feedback stands still, so that the erasure has to wait for it; interaction, which conducts it,
    is killed while it waits; then feedback is killed, too."""
    feedback = house.world.stack.pid("feedback")
    os.kill(feedback, signal.SIGSTOP)
    # Feedback has not read this when the keys are closed: it will never be able to.
    house.say(GONE, f"One more word of {WORDS[GONE][0]}, of the {WORDS[GONE][1]}.")
    eventually(lambda: _turns_of(house, GONE), 10)
    operation = house.platform.call(
        "interaction", "EraseUser", {"user_id": GONE, "actor": "e2e", "request_id": "r1"}
    )
    name = operation["metadata"]["erasure"]["name"]
    eventually(lambda: house.erasure(name)["waiting_for"], ["feedback"])
    assert house.erasure(name)["state"] == "ERASURE_STATE_RUNNING"
    house.world.stack.kill("interaction")
    house.world.stack.wait_ready(["interaction"])
    assert house.erasure(name)["waiting_for"] == ["feedback"]
    house.world.stack.kill("feedback")
    eventually(lambda: house.erasure(name)["state"], "ERASURE_STATE_COMPLETE", 60.0)
    return house.erasure(name)


def _counts_add_up(house: House) -> None:
    """Of every stage, what could not be read included."""

    def wrong() -> object:
        counts = house.counts()
        stages = {stage for stage, _, _ in counts}
        sums = {
            stage: {
                outcome: sum(n for (s, o, _), n in counts.items() if (s, o) == (stage, outcome))
                for outcome in ("taken", "made", "abstained", "dropped", "waiting")
            }
            for stage in stages
        }
        return {
            stage: of for stage, of in sums.items() if of["taken"] != sum(of.values()) - of["taken"]
        }

    eventually(wrong, {})
    # Feedback could not read the last two turns, nor keep what had waited to be judged.
    assert house.counts()["feedback.turns", "dropped", "ERASED"] >= 2


def _again(house: House, erasure: dict[str, Any]) -> None:
    """Asking again changes nothing, or reports that nothing is left; the audit can be asked; and who
    comes back is a new user under a new key."""
    ask = {"user_id": GONE, "actor": "e2e", "request_id": "r1"}
    operation = house.platform.call("interaction", "EraseUser", ask)
    assert operation["response"]["erasure"]["name"] == erasure["name"]
    house.say(GONE, "Hello, I am new here.")
    eventually(lambda: _turns_of(house, GONE), 2)
    listed = house.platform.call("interaction", "ListErasures", {"user_id": GONE})
    assert [one["name"] for one in listed["erasures"]] == [erasure["name"]]
    assert house.platform.call("interaction", "ListErasures", {"user_id": STAYS})["erasures"] == []
    assert GONE not in json.dumps(listed)


def _turns_of(house: House, user: str) -> int:
    found = house.platform.call(
        "interaction", "ListConversations", {"filter": f'user_id = "{user}"', "page_size": 100}
    )
    return sum(int(one["turn_count"]) for one in found["conversations"])


def _export(house: House, user: str, folder: Path) -> Counter[str]:
    """By the command line; how many records of each kind were written."""
    out = folder / "export.jsonl"
    assert (
        run(["users", "export", user, "-o", str(out), "--tenant", house.world.tenant], connect) == 0
    )
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    text = out.read_text()
    assert all(word in text for word in WORDS[user])
    assert not any(word in text for word in WORDS[STAYS])
    return Counter(line["kind"] for line in lines)


def kind_of(place: str) -> str:
    """What SQLite has in its write-ahead log is in its database; Parquet lies in folders by name."""
    for folder in ("archive", "retrain/snapshots"):
        if place.startswith(f"{folder}/"):
            return folder
    return place.removesuffix("-wal")


def stand_in(user: str) -> str:
    """An id that does not give the user away: ids stay on the topics."""
    return {GONE: "1", STAYS: "2"}[user]


def _as_json(pair: events_pb2.PreferencePair) -> dict[str, Any]:
    from google.protobuf.json_format import MessageToDict

    return dict(MessageToDict(pair, preserving_proto_field_name=True))


def eventually(look: Callable[[], object], wanted: object = True, limit_s: float = 40.0) -> None:
    deadline = time.monotonic() + limit_s
    while (found := look()) != wanted:
        assert time.monotonic() < deadline, f"{found} instead of {wanted} after {limit_s:.0f} s"
        time.sleep(0.3)
