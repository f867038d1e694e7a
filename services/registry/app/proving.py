"""Whether replicas serve what was trained: each answers what the trainer recorded (known_answers.py)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from services.registry.app.changes import known
from services.registry.domain.versions import Version
from services.registry.ports import AdapterStore, Fleet, Store
from shared.language.errors import FailedPrecondition, TrimtabError
from shared.language.known_answers import KnownAnswers, Serves

_ASK_EVERY_S = 0.5
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
        return self.serves is Serves.NOTHING or self.serves in _IT_SERVES


@dataclass(frozen=True, slots=True)
class Look:
    """At every replica. `errors`: of those that could not be asked, which says nothing of what they serve."""

    proofs: tuple[Proof, ...] = ()
    errors: tuple[TrimtabError, ...] = ()

    @property
    def shows_none_right(self) -> bool:
        """Whether replicas answered, and each serves something else, or nothing."""
        return bool(self.proofs) and all(proof.is_wrong for proof in self.proofs)


@dataclass(frozen=True, slots=True)
class Proving:
    store: Store
    adapters: AdapterStore
    fleet: Fleet
    # Nats a token.
    tolerance: float
    # How long a replica that does not know a name yet is asked again: adapters may come to it from storage.
    arrival_s: float = 0.0

    def verify(self, tenant: str, version: str) -> tuple[Proof, ...]:
        """What each replica serves under the version's name now. Raises Unavailable or Internal if one could
        not be asked."""
        with self.store.read() as session:
            found = known(session, tenant, version)
        return self._all(found.served_name)

    def check(self, version: Version) -> tuple[Proof, ...]:
        """As `verify`. Raises FailedPrecondition, too: NOT_SERVED if a replica does not know the version's
        name, NOT_AS_TRAINED if one answers otherwise than the trained version did."""
        deadline = time.monotonic() + self.arrival_s
        while _lacks(found := self._all(version.served_name)) and time.monotonic() < deadline:
            time.sleep(_ASK_EVERY_S)
        wrong = [proof for proof in found if proof.is_wrong]
        if wrong:
            raise FailedPrecondition(
                "; ".join(proof.words for proof in wrong),
                reason="NOT_SERVED" if _lacks(wrong) else "NOT_AS_TRAINED",
            )
        return found

    def look(self, served_name: str) -> Look:
        """Never raises: what was recorded and cannot be read is one of the errors."""
        try:
            recorded = self.adapters.known_answers(served_name)
        except TrimtabError as error:
            return Look(errors=(error,))
        proofs, errors = list[Proof](), list[TrimtabError]()
        for replica, seen in self.fleet.look(served_name, recorded).items():
            if isinstance(seen, FailedPrecondition):
                proofs.append(Proof(replica, Serves.NOTHING, seen.message))
            elif isinstance(seen, TrimtabError):
                errors.append(seen)
            elif recorded is None:
                words = f"nothing was recorded of {served_name} when it was made; one token came"
                proofs.append(Proof(replica, Serves.UNPROVED, words))
            else:
                proofs.append(_proof(served_name, replica, recorded, seen, self.tolerance))
        return Look(tuple(proofs), tuple(errors))

    def _all(self, served_name: str) -> tuple[Proof, ...]:
        found = self.look(served_name)
        if found.errors:
            raise found.errors[0]
        return found.proofs


def _lacks(proofs: Sequence[Proof]) -> bool:
    return any(proof.serves is Serves.NOTHING for proof in proofs)


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
