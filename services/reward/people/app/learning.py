"""Learns which group users belong to, from what they preferred and how they judged answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.reward.domain import version_of
from services.reward.learning.asking import statements
from services.reward.learning.belonging import EVERYBODY
from services.reward.learning.people import Probabilities, Speaker, preferences, renamed
from services.reward.people.domain import (
    Division,
    Learnt,
    Taste,
    composed,
    named_alike,
    nobody_yet,
)
from services.reward.people.ports import (
    EvidenceReads,
    MembershipReads,
    Memberships,
    MembershipStore,
)
from services.reward.ports import RewardModel, RewardModels
from shared.language.splits import fold, is_held_out

# Of a user, the newest of each kind count.
MOST_OF_USER = 50


def note_evidence(memberships: Memberships, tenant: str, user_id: str) -> None:
    """There is something new to learn of the user, if the tenant's users are divided at all."""
    if memberships.division(tenant).tastes:
        memberships.mark_due(tenant, [user_id])


def division_of(model: RewardModel) -> Division:
    """What a model divides users into."""
    people = model.card.people
    groups = people.groups if people is not None and model.belonging is not None else ()
    return Division(model.card.name, tuple(Taste(one.name, one.prefers) for one in groups))


@dataclass(frozen=True, slots=True)
class KeepNames:
    """Groups of a new model keep the names of those that they share most members with."""

    reads: MembershipReads

    def __call__(self, tenant: str, model: RewardModel) -> RewardModel:
        people, tastes = model.card.people, model.tastes
        if people is None or tastes is None or not model.members:
            return model
        former = self.reads.learnt_groups(tenant, model.members)
        kept = named_alike(model.members, former, len(tastes.groups))
        people, tastes = renamed(people, tastes, kept, self.reads.division(tenant).names)
        return replace(model, card=replace(model.card, people=people), tastes=tastes)


@dataclass(frozen=True, slots=True)
class LearnMemberships:
    """By the tenant's newest model. Each user is judged by rewards that did not learn from them."""

    reads: MembershipReads
    evidence: EvidenceReads
    models: RewardModels
    probabilities: Probabilities

    def __call__(self, tenant: str, user_ids: Sequence[str]) -> tuple[Division, dict[str, Learnt]]:
        division = self.reads.division(tenant)
        if not division.tastes:
            return division, {user_id: Learnt() for user_id in user_ids}
        model = self.models.load(tenant, version_of(division.reward_model))
        if model.tastes is None or model.belonging is None:
            raise ValueError(
                f"{division.reward_model} divides nobody, but {tenant} is divided by it"
            )
        said = self.evidence.of_users(tenant, user_ids, MOST_OF_USER)
        groups_of = self.reads.groups_of(tenant, user_ids)
        folds = len(model.belonging.coefficients) - 1
        speakers = [
            Speaker(
                preferences(one.pairs, one.judged),
                _fold(tenant, user_id, folds),
                statements(groups_of.get(user_id, ())),
            )
            for user_id, one in said.items()
        ]
        found = self.probabilities(model.tastes, model.belonging, speakers)
        return division, {
            user_id: Learnt(
                {name: round(p, 4) for name, p in by_group.items()},
                len(speaker.preferences),
                one.names(tenant),
            )
            for (user_id, one), speaker, by_group in zip(said.items(), speakers, found, strict=True)
        }


@dataclass(frozen=True, slots=True)
class KeepLearnt:
    """Stores what was learnt of users; False if their tenant has been divided anew meanwhile."""

    store: MembershipStore
    clock: Callable[[], datetime]

    def __call__(
        self, tenant: str, division: Division, learnt: dict[str, Learnt], marks: dict[str, int]
    ) -> bool:
        with self.store.begin() as memberships:
            if memberships.division(tenant) != division:
                return False
            now = self.clock()
            for user_id, one in learnt.items():
                former = memberships.get(tenant, user_id)
                if former is None and not division.tastes:
                    continue
                standing = replace(former or nobody_yet(tenant, user_id, now), learnt=one)
                memberships.put(standing, composed(standing, division, now))
            memberships.take_due(tenant, marks)
            return True


def _fold(tenant: str, user_id: str, folds: int) -> int:
    return EVERYBODY if is_held_out(tenant, user_id) else fold(tenant, user_id, folds)
