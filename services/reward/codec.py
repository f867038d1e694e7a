"""Reward's domain <-> protobuf."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from services.reward.domain import (
    LONG_AGO,
    Accuracy,
    Answer,
    Group,
    Judgement,
    LoggedAnswer,
    ModelCard,
    Pair,
    People,
    Rating,
    Score,
)
from services.reward.people.app.declaring import Appearance
from shared.contracts import pairs, turns
from shared.contracts.estimates import encode_estimate
from shared.contracts.messages import decode_message
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.gen.trimtab.reward.v1 import reward_pb2 as pb
from shared.language.errors import InvalidArgument
from shared.language.estimates import Estimate
from shared.language.identifiers import conversation_name, stable_id, user_id_of, user_name
from shared.language.messages import Message
from shared.language.pairs import PairSource
from shared.language.topics import REWARD_SCORED
from shared.language.verdicts import dissatisfaction_of
from shared.log.events import Event
from shared.telemetry.spans import trace_headers


def decode_pair(value: bytes) -> tuple[str, Pair, bool]:
    """Tenant, pair, and whether a reward model chose the pair's order: learning from that would only repeat the
    model's own judgement."""
    pair = pairs.decode_pair(events.PreferenceProposed.FromString(value).pair)
    decoded = Pair(
        required(pair.pair_id, "pair.pair_id"),
        required(pair.user_id, "pair.user_id"),
        Answer(pair.request, pair.chosen.text),
        Answer(pair.request, pair.rejected.text),
        pair.create_time or LONG_AGO,
        pair.conversation_id,
    )
    own = pair.source is PairSource.USER_BASED_REWARD
    return required(pair.tenant, "pair.tenant"), decoded, own


def decode_mined(value: bytes) -> tuple[str, Rating | Judgement] | None:
    """An explicit rating, or a follow-up that says whether its user was content; None for anything else."""
    mined = events.FeedbackMined.FromString(value)
    if mined.abstained:
        return None
    if mined.source == events.FEEDBACK_SOURCE_EXPLICIT:
        return _rating(mined)
    if mined.source == events.FEEDBACK_SOURCE_FOLLOW_UP:
        return _judgement(mined)
    return None


def _judgement(mined: events.FeedbackMined) -> tuple[str, Judgement] | None:
    kind = events.FollowUpKind.Name(mined.kind).removeprefix("FOLLOW_UP_KIND_").lower()
    dissatisfaction = dissatisfaction_of(kind)
    if dissatisfaction is None:
        return None
    judgement = Judgement(
        required(mined.feedback_id, "feedback_id"),
        required(mined.user_id, "user_id"),
        _answer(mined),
        dissatisfaction < 1,
        mined.create_time.ToDatetime(UTC),
        mined.conversation_id,
        mined.follow_up if dissatisfaction else "",
    )
    return required(mined.tenant, "tenant"), judgement


def _answer(mined: events.FeedbackMined) -> Answer:
    text = decode_message(mined.answer, "answer").text if mined.answer.parts else ""
    return Answer(_request(_messages(mined.context, "context")), text)


def _rating(mined: events.FeedbackMined) -> tuple[str, Rating]:
    rating = Rating(
        required(mined.feedback_id, "feedback_id"),
        required(mined.user_id, "user_id"),
        _answer(mined),
        1.0 - mined.dissatisfaction,
        mined.create_time.ToDatetime(UTC),
        tuple(mined.replaces),
        mined.conversation_id,
    )
    return required(mined.tenant, "tenant"), rating


def decode_turn(value: bytes) -> tuple[Message, LoggedAnswer, Appearance]:
    """The message, the turn as an answer without its request, which is not known yet, and what it says of its
    user."""
    turn = turns.decode_logged(value)
    logged = LoggedAnswer(
        required(turn.tenant, "turn.tenant"),
        required(turn.user_id, "turn.user_id"),
        required(turn.conversation_id, "turn.conversation_id"),
        required(turn.turn_id, "turn.turn_id"),
        turn.model_version,
        Answer("", turn.message.text),
        turn.create_time or LONG_AGO,
    )
    seen = Appearance(
        logged.tenant, logged.user_id, logged.create_time, turn.channel, turn.metadata
    )
    return turn.message, logged, seen


def decode_items(items: Sequence[pb.ScoreItem]) -> list[tuple[Answer, str]]:
    """Raises InvalidArgument if the messages of an item do not end with an assistant's answer; it names the
    item."""
    return [
        (_scored(item, f"items[{i}].messages"), user_id_of(item.user_id))
        for i, item in enumerate(items)
    ]


def encode_scores(scores: Sequence[Score], name: str) -> pb.ScoreResponse:
    return pb.ScoreResponse(scores=map(encode_score, scores), reward_model=name)


def encode_score(score: Score) -> pb.Score:
    return pb.Score(reward=score.reward, std=score.std, groups=score.groups)


def encode_card(card: ModelCard) -> pb.RewardModel:
    message = pb.RewardModel(
        name=card.name,
        version=card.version,
        pairs=card.pairs,
        ratings=card.ratings,
        users=card.users,
        members=card.members,
        held_out_accuracy=_accuracy("held_out_accuracy", card.held_out),
        mlflow_run_id=card.mlflow_run_id,
        people=encode_people(card.people) if card.people else None,
    )
    message.create_time.FromDatetime(card.create_time)
    return message


def encode_people(people: People) -> pb.RewardPeople:
    return pb.RewardPeople(
        groups=map(_group, people.groups),
        by_one_model=pb.RewardWelfare(**asdict(people.by_one_model)),
        by_group_models=pb.RewardWelfare(**asdict(people.by_group_models)),
        down_weighted_users=people.down_weighted,
        suspects=people.suspects,
    )


def _group(group: Group) -> pb.RewardGroup:
    return pb.RewardGroup(
        name=group.name,
        users=group.users,
        pairs=group.pairs,
        prefers=[pb.RewardTaste(what=what, z=z) for what, z in group.prefers],
        accuracy_by_one_model=_accuracy("accuracy_by_one_model", group.by_one_model),
        accuracy_by_own_model=_accuracy("accuracy_by_own_model", group.by_own_model),
    )


def _accuracy(name: str, found: Accuracy) -> common.Estimate:
    return encode_estimate(
        Estimate(
            name=name,
            value=found.value,
            low=found.low,
            high=found.high,
            count=found.count,
            users=found.users,
            suite="reward",
            method=found.method,
        )
    )


def scored_event(
    answer: LoggedAnswer, score: Score, name: str, groups: Sequence[str], now: datetime
) -> Event:
    """`groups`: those that the user is known to be in."""
    message = events.RewardScored(
        tenant=answer.tenant,
        user_id=answer.user_id,
        conversation_id=answer.conversation_id,
        turn_id=answer.turn_id,
        model_version=answer.model_version,
        reward=score.reward,
        std=score.std,
        reward_model=name,
        groups=groups,
    )
    message.create_time.FromDatetime(answer.create_time)
    return Event(
        topic=REWARD_SCORED,
        id=stable_id("reward.scored", answer.tenant, answer.conversation_id, answer.turn_id),
        key=conversation_name(answer.tenant, answer.conversation_id),
        value=message.SerializeToString(),
        source="reward",
        time=now,
        headers=trace_headers(),
        owner=user_name(answer.tenant, answer.user_id),
    )


def required(value: str, field: str) -> str:
    if not value:
        raise InvalidArgument(f"{field} is empty", reason="FIELD_MISSING", field=field)
    return value


def _messages(messages: Sequence[common.Message], field: str) -> list[Message]:
    return [decode_message(message, f"{field}[{i}]") for i, message in enumerate(messages)]


def _request(messages: Sequence[Message]) -> str:
    return next((m.text for m in reversed(messages) if m.role == "user"), "")


def _scored(item: pb.ScoreItem, field: str) -> Answer:
    messages = _messages(item.messages, field)
    if not messages or messages[-1].role != "assistant":
        raise InvalidArgument(
            f"{field} must end with an assistant's answer", reason="NO_ANSWER", field=field
        )
    return Answer(_request(messages), messages[-1].text)
