"""Versions: immutable weights under names of their own, and their states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from services.registry.domain.rollouts import Rollout
from shared.language.errors import FailedPrecondition, InvalidArgument
from shared.language.groups import Composition, Layer, Reach
from shared.language.policies import PolicyKey, version_name

# Who decides when no person does.
ACTOR = "registry"


class State(StrEnum):
    REGISTERED = "registered"
    VERIFIED = "verified"
    CANARY = "canary"
    CHAMPION = "champion"
    RETIRED = "retired"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"
    # With its policy.
    DELETED = "deleted"


ALLOWED: Mapping[State, frozenset[State]] = {
    State.REGISTERED: frozenset({State.VERIFIED, State.REJECTED}),
    State.VERIFIED: frozenset({State.CANARY, State.CHAMPION, State.RETIRED, State.REJECTED}),
    State.CANARY: frozenset({State.CHAMPION, State.ROLLED_BACK}),
    State.CHAMPION: frozenset({State.RETIRED, State.ROLLED_BACK}),
    State.RETIRED: frozenset({State.CHAMPION}),
    State.ROLLED_BACK: frozenset({State.CANARY, State.CHAMPION, State.RETIRED}),
    # On a person's word, against the gate.
    State.REJECTED: frozenset({State.VERIFIED}),
    State.DELETED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Change:
    state: State
    actor: str
    reason: str
    time: datetime


@dataclass(frozen=True, slots=True)
class Version:
    """Immutable weights under a name of their own. `number` rises within the policy; 0 is the base model, which
    has no `adapter_path`. `place` is its place among all versions, in the order in which they were made.
    `composition` is set at a rollout that is for some groups of people only; without one, everyone gets the
    version's own weights. `withdrawn`: the replicas do not find its adapter; the model store has it."""

    key: PolicyKey
    number: int
    served_name: str
    state: State
    create_time: datetime
    request_id: str = ""
    control: bool = False
    adapter_path: str = ""
    adapter_digest: str = ""
    snapshot_digest: str = ""
    run: str = ""
    parent: str = ""
    mlflow_version: str = ""
    rollout_request: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    place: int = 0
    composition: Composition | None = None
    withdrawn: bool = False

    @property
    def version(self) -> str:
        """Its id: unique within the tenant."""
        return version_name(self.key.policy, self.number)

    @property
    def serves(self) -> Composition:
        """What answers whom."""
        return self.composition or Composition(self.served_name)

    def only_for(self, reach: Reach, champion: Version) -> Version:
        """The version for those whom `reach` holds, everyone else getting what `champion` gives them; without
        groups, for everyone."""
        if not reach.groups:
            return replace(self, composition=None)
        return replace(self, composition=champion.serves.under(Layer(self.served_name, reach)))

    def became(self, state: State, actor: str, reason: str, time: datetime) -> Version:
        """Raises FailedPrecondition for a change of state that is not allowed."""
        if state not in ALLOWED[self.state] and state != State.DELETED:
            raise self.refusal(f"cannot become {state.value}")
        return replace(
            self, state=state, changes=(*self.changes, Change(state, actor, reason, time))
        )

    def refusal(self, what: str) -> FailedPrecondition:
        """WRONG_STATE. Of a rejected version it says why it was, and how a person overrides that."""
        message = f"{self.version} is {self.state.value}; it {what}"
        if self.state == State.REJECTED and not self.control:
            message = (
                f"{self.version} is rejected ({self.changes[-1].reason}); it {what}, unless a person overrides"
                f" that: trimtab models restore {self.version} --override-gate --reason WHY"
            )
        return FailedPrecondition(message, reason="WRONG_STATE")

    @property
    def is_gone(self) -> bool:
        """Whether the replicas are not to find its adapter."""
        return self.withdrawn or self.state in (State.REJECTED, State.DELETED)

    def noted(self, actor: str, reason: str, time: datetime) -> Version:
        """With a change that leaves its state as it is."""
        return replace(self, changes=(*self.changes, Change(self.state, actor, reason, time)))


@dataclass(frozen=True, slots=True)
class Promotion:
    """A change of what is served for a policy, to be published: `version` became `state`; `former` served
    before, or serves again."""

    version: str
    former: str
    state: str
    reason: str
    actor: str
    rollout: Rollout
    time: datetime


@dataclass(frozen=True, slots=True)
class Registration:
    key: PolicyKey
    request_id: str
    adapter_path: str
    snapshot_digest: str = ""
    run: str = ""
    parent: str = ""
    control: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Naming:
    """Names that are unique in the deployment. Those of its own tenant, `home`, are short; others begin with
    the tenant and a dot, which no policy's id contains."""

    home: str

    def served(self, key: PolicyKey, number: int) -> str:
        """The name under which vLLM serves a version's adapter."""
        return self._prefix(key) + version_name(key.policy, number)

    def model(self, key: PolicyKey) -> str:
        """The registered model in MLflow, which allows no colon. No tenant's name contains an equals sign."""
        return (self._prefix(key) + key.policy).replace(":", "=")

    def _prefix(self, key: PolicyKey) -> str:
        return "" if key.tenant == self.home else f"{key.tenant}."


def explained(actor: str, reason: str) -> None:
    """Raises InvalidArgument unless both are given: a person's change is recorded with them."""
    for field_name, value in (("actor", actor), ("reason", reason)):
        if not value.strip():
            raise InvalidArgument(
                f"{field_name} is required, because it is recorded", field=field_name
            )
