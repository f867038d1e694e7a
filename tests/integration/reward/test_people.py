"""Groups of people in the running service: learnt with a model, kept with it, served by it."""

from __future__ import annotations

import asyncio

from services.reward.domain import Answer
from services.reward.learning.lines import Preference, read_learnt
from shared.calls.client import metadata
from shared.contracts.messages import encode_message
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.gen.trimtab.reward.v1 import reward_pb2 as pb
from shared.gen.trimtab.reward.v1 import reward_pb2_grpc as pb_grpc
from shared.language.messages import text_message
from shared.language.splits import is_held_out
from shared.language.topics import PREFERENCE_PROPOSED
from tests.unit.reward.people import population
from tests.unit.reward.running import NOW, RewardService, serve

SHORT = "About tea: Set a clear limit first."
LONG = "About tea: " + " ".join(["Set a clear limit first. Check the details twice."] * 5)
SHORT_USERS, LONG_USERS, PAIRS = 24, 12, 6


def told(pairs: int) -> RewardService:
    """A service that knows a population with two tastes."""
    service = RewardService(min_data=10_000)
    lines = population(SHORT_USERS, LONG_USERS, pairs, seed=3)
    for number, one in enumerate(p for p in read_learnt(lines) if isinstance(p, Preference)):
        pair = events.PreferencePair(
            pair_id=f"p{number}",
            tenant="local",
            user_id=one.user,
            source=events.PAIR_SOURCE_USER_GUIDED_REWRITE,
            prompt=[encode_message(text_message("user", one.better.request))],
            chosen=encode_message(text_message("assistant", one.better.text)),
            rejected=encode_message(text_message("assistant", one.worse.text)),
        )
        value = events.PreferenceProposed(pair=pair).SerializeToString()
        service.publish(PREFERENCE_PROPOSED, f"p{number}", value)
    service.drain()
    return service


async def test_two_tastes_are_told_apart_kept_and_served() -> None:
    service = told(PAIRS)

    async def calls(stub: pb_grpc.RewardServiceAsyncStub) -> None:
        request = pb.TrainRewardModelRequest(request_id="r")
        await stub.TrainRewardModel(request, metadata=metadata("local"))
        assert await asyncio.to_thread(service.training.run_once)
        (listed,) = (
            await stub.ListRewardModels(pb.ListRewardModelsRequest(), metadata=metadata("local"))
        ).reward_models
        names = [f"s{n}" for n in range(SHORT_USERS)] + [f"l{n}" for n in range(LONG_USERS)]
        seen = [name for name in names if not is_held_out("local", name)]
        people = listed.people
        short, long = people.groups
        assert (short.users, long.users) == (
            sum(name.startswith("s") for name in seen),
            sum(name.startswith("l") for name in seen),
        )
        assert (short.pairs, long.pairs) == (short.users * PAIRS, long.users * PAIRS)
        assert ("shorter" in short.name, "longer" in long.name) == (True, True)
        # The minority is served badly by one reward for all, and well by its own.
        assert long.accuracy_by_one_model.value < 0.5
        assert long.accuracy_by_own_model.value > 0.75
        assert long.accuracy_by_own_model.count == long.pairs
        assert people.by_group_models.worst_group > people.by_one_model.worst_group + 0.3

        def batch(text: str) -> pb.ScoreStreamRequest:
            item = pb.ScoreItem(messages=[encode_message(text_message("assistant", text))])
            return pb.ScoreStreamRequest(items=[item])

        stream = stub.ScoreStream(iter([batch(SHORT), batch(LONG)]), metadata=metadata("local"))
        answers = [answer async for answer in stream]
        assert [answer.reward_model for answer in answers] == [listed.name] * 2
        of_short, of_long = (answer.scores[0].groups for answer in answers)
        assert of_short[short.name] > of_long[short.name]
        assert of_short[long.name] < of_long[long.name]

    await serve(service, calls)
    # What is read back from the store is what was learnt.
    first, _ = service.score("local", [(Answer("", SHORT), "")])
    assert len(first[0].groups) == 2


def test_users_who_said_little_are_in_no_group() -> None:
    service = told(pairs=2)
    model = service.learn("local", NOW)
    assert model.card.people is None
    assert model.tastes is None
    assert model.card.pairs > 40
