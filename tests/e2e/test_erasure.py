"""Users are erased from the whole stack while another's data stays: proved by searching everything.

Each of them is called by the application as no id may be, talks by every door, and is exported and erased by
that name with the command line. The same search that finds nothing of the erased finds them before, and finds
the other user before and after, in each kind of place. Two services die by SIGKILL in the middle of the first.

Words begin with letters that no other word begins with: full-text indexes and SQLite's b-trees would
else store only the ends of words that begin alike.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest
from google.protobuf.json_format import MessageToDict

from services.retrain.adapters.snapshots import ParquetSnapshots
from services.retrain.domain.snapshots import Selection
from shared.contracts.pairs import encode_pair
from shared.gen.trimtab.events.v1 import events_pb2
from shared.language.identifiers import user_id_of, user_name
from shared.language.messages import text_message
from shared.language.pairs import Pair, PairSource
from shared.language.topics import PREFERENCE_MINED
from shared.log.events import Event
from tests.e2e.house import HELD, REPORTING, TOPICS, House, eventually, open_house
from tests.e2e.tracing import ANSWER_TRACED, VOTE_TRACED, places_of, vote

FIRST, STAYS = "auth0|zuleika5f7c", "kestrel"
GONE = (FIRST, "zuleika+mail@x.org", "Zuleika M\u00fcller-\u00d6z", "zuleika-" + "9" * 292)
# What each says, and is answered: nobody else in the world says it.
WORDS = {
    GONE[0]: ("zzymurgist", "qqfandango"),
    GONE[1]: ("xxylograph", "kkeratome"),
    GONE[2]: ("vvermiculite", "yyataghan"),
    GONE[3]: ("uuakariform", "ffumarole"),
    STAYS: ("jjuniper", "wwombatine"),
}
ALL = [word for words in WORDS.values() for word in words]
# Turns of a user: a chat of four, a vote between two conversations, and one exchange by each other door.
SAID = 4 + 4 + 2 + 2


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with open_house(tmp_path / "world") as opened:
        yield opened


@pytest.mark.timeout(300)
def test_erased_users_are_found_nowhere(
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
    eventually(lambda: traced(answers[FIRST][0]), ANSWER_TRACED)
    # Whoever has the topics and not the keys reads nothing of anybody, ever.
    seen = house.seen(*ALL)
    assert not {one for one in seen if one.startswith(("kafka", "topic"))}
    exported = {user: _export(house, user, tmp_path, capsys) for user in GONE}

    erasure = _erase_while_services_die(house, capsys)
    _removed_all(erasure, exported[FIRST], said_since=2)
    for user in GONE[1:]:
        told = house.trimtab(capsys, "users", "erase", user, "--yes")
        assert (told["said"], told["user_id"]) == (user, user_id_of(user))
        _removed_all(told, exported[user])

    lost = [f"vote-{stand_in(user)}-b" for user in GONE]
    assert [traced(one) for one in (*lost, answers[FIRST][0])] == [set()] * 5
    assert traced(f"vote-{stand_in(STAYS)}-b") == VOTE_TRACED
    traces = [one for user in GONE for one in _traces(user)]
    found = house.found(*traces, *WORDS[STAYS])
    assert {one: found[one] for one in traces if found[one]} == {}
    assert all(found[word] >= HELD | TOPICS for word in WORDS[STAYS])
    assert house.seen(*traces) == set()
    _counts_add_up(house)
    _again(house, erasure)


def _missing(house: House) -> dict[str, set[str]]:
    """By word, the kinds of places where it is not found yet; and ids of users that are not found."""
    ids = [user_id_of(user) for user in WORDS]
    found = house.found(*ALL, *ids)
    wanted = dict.fromkeys(ALL, HELD | TOPICS) | {one: {"interaction/state.db"} for one in ids}
    return {word: gaps for word, of in found.items() if (gaps := wanted[word] - of)}


def _traces(user: str) -> list[str]:
    """What would show that something of the user is left: ends of their words, their id, and the beginning of
    their name in every spelling."""
    spelt = [user[:60], normalize("NFD", user)[:60], json.dumps(user)[1:60].rstrip('"')]
    return [*(word[1:] for word in WORDS[user]), user_id_of(user), *dict.fromkeys(spelt)]


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
    place = stand_in(user)
    house.tell(user, f"told/{place}", f"By letter: a {first}?", f"No, a {second}.")
    house.trace(user, f"traced/{place}", f"By telegraph: a {first}?", f"Yes, a {second}.")
    _learn(house, user)
    return completions


def _learn(house: House, user: str) -> None:
    """What a training of the past left: a mined pair and a snapshot. An evaluation leaves nothing."""
    first, second = WORDS[user]
    pair = Pair(
        pair_id=f"pair-of-{stand_in(user)}",
        tenant=house.world.tenant,
        user_id=user_id_of(user),
        conversation_id=f"past-{stand_in(user)}",
        source=PairSource.DEMONSTRATION,
        prompt=(text_message("user", f"What of the {first}?"),),
        chosen=text_message("assistant", f"It is a {second}, this {first}."),
        rejected=text_message("assistant", "I do not know."),
        create_time=datetime.now(UTC),
    )
    mined = events_pb2.PreferenceMined(pair=encode_pair(pair)).SerializeToString()
    owner = user_name(pair.tenant, pair.user_id)
    house.log.ensure_topics([PREFERENCE_MINED])
    house.log.publish(
        [Event(PREFERENCE_MINED, pair.pair_id, "k", mined, "e2e", pair.time, {}, owner)]
    )
    snapshots = ParquetSnapshots(str(house.data / "retrain" / "snapshots"))
    snapshots.keep(Selection((pair,), (pair,)))
    request = events_pb2.PreferencePair.FromString(encode_pair(pair).SerializeToString())
    request.user_id = user
    house.platform.call(
        "evaluation",
        "Evaluate",
        {
            "request_id": f"past-{stand_in(user)}",
            "model_version": "assistant-v0",
            "served_name": "assistant-v0",
            "suites": ["over_refusal"],
            "held_out_pairs": [MessageToDict(request, preserving_proto_field_name=True)],
        },
    )


def _erase_while_services_die(house: House, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Feedback stands still, so that the erasure has to wait for it; interaction, which conducts it,
    is killed while it waits; then feedback is killed, too."""
    feedback = house.world.stack.pid("feedback")
    os.kill(feedback, signal.SIGSTOP)
    # Feedback has not read this when the keys are closed: it will never be able to.
    house.say(FIRST, f"One more word of {WORDS[FIRST][0]}, of the {WORDS[FIRST][1]}.")
    eventually(lambda: house.turns_of(FIRST), SAID + 2)
    line = ["users", "erase", FIRST, "--yes", "--no-wait", "--request-id", "r1"]
    name = house.trimtab(capsys, *line)["name"]
    eventually(lambda: house.erasure(name)["waiting_for"], ["feedback"])
    assert house.erasure(name)["state"] == "ERASURE_STATE_RUNNING"
    house.world.stack.kill("interaction")
    house.world.stack.wait_ready(["interaction"])
    assert house.erasure(name)["waiting_for"] == ["feedback"]
    house.world.stack.kill("feedback")
    eventually(lambda: house.erasure(name)["state"], "ERASURE_STATE_COMPLETE", 60.0)
    return house.erasure(name)


def _removed_all(erasure: dict[str, Any], exported: Counter[str], said_since: int = 0) -> None:
    """All that was exported, and the turns that the user `said_since`."""
    assert (erasure["state"], erasure["waiting_for"]) == ("ERASURE_STATE_COMPLETE", [])
    assert [report["service"] for report in erasure["reports"]] == sorted(REPORTING)
    removed = {
        (report["service"], one["place"]): int(one["count"])
        for report in erasure["reports"]
        for one in report["removals"]
    }
    assert removed["interaction", "turns"] == exported["turn"] + said_since == SAID + said_since
    assert removed["feedback", "pairs"] == exported["pair"]
    assert removed["reward", "pairs"] == exported["reward_pair"]
    assert removed["retrain", "pairs"] == exported["training_pair"]
    assert removed["retrain", "snapshots"] == exported["snapshot_pair"] == 2
    # An evaluation that has ended keeps figures only.
    assert ("evaluation", "held_out_pairs") not in removed
    assert int(erasure["keys_destroyed"]) >= 1


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
    ask = {"user_id": FIRST, "actor": "e2e", "request_id": "r1"}
    operation = house.platform.call("interaction", "EraseUser", ask)
    assert operation["response"]["erasure"]["name"] == erasure["name"]
    house.say(FIRST, "Hello, I am new here.")
    eventually(lambda: house.turns_of(FIRST), 2)
    listed = house.platform.call("interaction", "ListErasures", {"user_id": FIRST})
    assert [one["name"] for one in listed["erasures"]] == [erasure["name"]]
    assert house.platform.call("interaction", "ListErasures", {"user_id": STAYS})["erasures"] == []
    assert not any(one in json.dumps(listed) for one in (FIRST, user_id_of(FIRST)))


def _export(
    house: House, user: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> Counter[str]:
    """By the command line; how many records of each kind were written."""
    out = folder / "export.jsonl"
    told = house.trimtab(capsys, "users", "export", user, "-o", str(out))
    assert (told["said"], told["user_id"]) == (user, user_id_of(user))
    text = out.read_text()
    said = [*WORDS[user], "By letter", "By telegraph", "is the best", "Tell me of", "I do not know"]
    assert [one for one in said if one not in text] == []
    assert not any(word in text for other in WORDS for word in WORDS[other] if other != user)
    kinds = Counter(json.loads(line)["kind"] for line in text.splitlines())
    assert {"turn", "feedback", "pair", "reward_pair", "training_pair"} <= kinds.keys()
    return kinds


def stand_in(user: str) -> str:
    """An id that does not give the user away: ids stay on the topics."""
    return str(list(WORDS).index(user))
