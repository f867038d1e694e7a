"""Whether replicas serve what was trained: each answers what the trainer recorded (known_answers.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.registry.app.changes import known
from services.registry.domain.versions import Version
from services.registry.ports import AdapterStore, Fleet, Store
from shared.language.errors import FailedPrecondition
from shared.language.known_answers import KnownAnswers, Serves

_IT_SERVES = {
    Serves.BASE_MODEL: "the base model instead of its adapter",
    Serves.SOMETHING_ELSE: "another adapter or a stale one",
}


@dataclass(frozen=True, slots=True)
class Proof:
    """Of one replica. Distances in nats a token; None where nothing was compared."""

    replica: str
    serves: Serves
    words: str
    from_trained: float | None = None
    from_base: float | None = None

    @property
    def is_wrong(self) -> bool:
        return self.serves in _IT_SERVES


@dataclass(frozen=True, slots=True)
class Proving:
    store: Store
    adapters: AdapterStore
    fleet: Fleet
    # Nats a token.
    tolerance: float

    def verify(self, tenant: str, version: str) -> list[Proof]:
        """What each replica serves under the version's name now. Raises as Fleet.check does."""
        with self.store.read() as session:
            found = known(session, tenant, version)
        return self.proofs(found.served_name)

    def check(self, version: Version) -> list[Proof]:
        """Raises as Fleet.check does, and FailedPrecondition NOT_AS_TRAINED if a replica answers otherwise
        than the trained version did."""
        found = self.proofs(version.served_name)
        wrong = [proof.words for proof in found if proof.is_wrong]
        if wrong:
            raise FailedPrecondition("; ".join(wrong), reason="NOT_AS_TRAINED")
        return found

    def proofs(self, served_name: str) -> list[Proof]:
        """One for each replica. Raises as Fleet.check does."""
        self.fleet.check(served_name)
        recorded = self.adapters.known_answers(served_name)
        if recorded is None:
            words = f"nothing was recorded of {served_name} when it was made; one token came"
            return [Proof(one, Serves.UNPROVED, words) for one in self.fleet.replicas]
        seen = self.fleet.log_probs(served_name, recorded)
        return [
            _proof(served_name, replica, recorded, log_probs, self.tolerance)
            for replica, log_probs in seen.items()
        ]


def _proof(
    served_name: str,
    replica: str,
    recorded: KnownAnswers,
    log_probs: Sequence[Sequence[float]] | None,
    tolerance: float,
) -> Proof:
    if log_probs is None:
        words = f"{replica} tells no log-probabilities of prompts; one token of {served_name} came"
        return Proof(replica, Serves.UNPROVED, words)
    found = recorded.compared(log_probs, tolerance)
    figures = (
        f"{found.from_trained:.2f} nats a token from what was trained, {found.from_base:.2f} from the base"
        f" model, of which {tolerance:g} are tolerated"
    )
    words = f"{replica} serves {served_name} as it was trained: {figures}"
    if found.serves in _IT_SERVES:
        words = f"{replica} serves {_IT_SERVES[found.serves]} as {served_name}: {figures}"
    elif recorded.apart <= tolerance:
        words += f"; the two are only {recorded.apart:.2f} apart, so this proves little"
    return Proof(replica, found.serves, words, found.from_trained, found.from_base)
