"""Conducts an erasure from the request to the complete audit record (for the steps see domain.ErasureStep)."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.interaction.erasure.domain import ROUNDS, Audit, ErasureStep, Report, operation_name
from services.interaction.erasure.ports import ErasureState, ErasureWriter, UserKeys
from shared.language.errors import InvalidArgument
from shared.language.identifiers import stable_id
from shared.language.paging import decode_token, encode_token, page_size

# Finishes a step within a transaction.
Finish = Callable[[ErasureWriter], None]


@dataclass(frozen=True, slots=True)
class Conductor:
    """`services`: those that must report before an erasure is complete. `clock` gives Unix times."""

    state: ErasureState
    keys: UserKeys
    services: Sequence[str]
    clock: Callable[[], float]

    def start(self, tenant: str, user_id: str, actor: str, request_id: str) -> str:
        """The name of the operation: of the erasure that is under way for the user, of the one with this
        request id, or of a new one."""
        subject = self.keys.subject(tenant, user_id)
        erasure = stable_id("erasure", tenant, request_id or uuid.uuid4().hex)
        with self.state.begin() as writer:
            known = writer.find(erasure)
            if known is not None and known.subject != subject:
                raise InvalidArgument(
                    "request_id was used for another user's erasure", field="request_id"
                )
            under_way = writer.running(tenant, subject)
            if known is None and under_way is None:
                audit = self._new(erasure, tenant, subject, user_id, actor)
                writer.add(audit)
                writer.begin(audit, ErasureStep.CLOSE)
            return operation_name(under_way or erasure)

    def perform(self, erasure: str, step: ErasureStep) -> Finish:
        """Does the part of a step that must happen outside of a transaction; returns the rest, for its end."""
        audit = self.state.find(erasure)
        if audit is None:
            raise RuntimeError(f"step {step} belongs to no erasure: {erasure}")
        match step:
            case ErasureStep.CLOSE:
                return self._close(audit)
            case ErasureStep.ASK:
                return lambda writer: writer.ask(audit)
            case ErasureStep.DESTROY:
                return self._destroy(audit)
            case ErasureStep.COMPLETE:
                return lambda writer: self._complete(audit, writer)

    def reported(self, writer: ErasureWriter, erasure: str, report: Report) -> bool:
        """Accepts a service's report; False if it was not waited for. InvalidArgument if it belongs to no
        erasure."""
        audit = writer.find(erasure)
        if audit is None:
            raise InvalidArgument("the report belongs to no erasure", reason="UNKNOWN_ERASURE")
        if report.service not in audit.waiting_for or report.round != audit.round:
            return False
        writer.add_report(erasure, report)
        self._go_on(writer, erasure)
        return True

    def _new(self, erasure: str, tenant: str, subject: str, user_id: str, actor: str) -> Audit:
        return Audit(
            erasure=erasure,
            tenant=tenant,
            subject=subject,
            actor=actor,
            created=self.clock(),
            ended=0.0,
            round=1,
            services=tuple(self.services),
            keys_destroyed=0,
            user_id=user_id,
        )

    def _close(self, audit: Audit) -> Finish:
        ids = self.keys.close(audit)

        def finish(writer: ErasureWriter) -> None:
            writer.note_keys(audit.erasure, ids)
            writer.begin(audit, ErasureStep.ASK, 2 * self.keys.settles_s)

        return finish

    def _go_on(self, writer: ErasureWriter, erasure: str) -> None:
        """Once all services have reported: the next round, or the end."""
        audit = writer.find(erasure)
        if audit is None:
            return
        if not audit.waiting_for:
            if audit.round < ROUNDS:
                audit = writer.change(erasure, round=audit.round + 1)
                writer.begin(audit, ErasureStep.ASK)
            else:
                writer.begin(audit, ErasureStep.DESTROY)
        writer.show(audit)

    def _destroy(self, audit: Audit) -> Finish:
        destroyed = self.keys.destroy(audit)

        def finish(writer: ErasureWriter) -> None:
            changed = writer.change(audit.erasure, keys_destroyed=destroyed)
            writer.begin(changed, ErasureStep.COMPLETE, self.keys.settles_s)

        return finish

    def _complete(self, audit: Audit, writer: ErasureWriter) -> None:
        writer.show(writer.end(audit.erasure, self.clock()))


@dataclass(frozen=True, slots=True)
class Erasures:
    """Reads the audit; a tenant sees only its own."""

    state: ErasureState
    keys: UserKeys

    def get(self, tenant: str, erasure: str) -> Audit:
        return self.state.get(tenant, erasure)

    def list(self, tenant: str, user_id: str, size: int, token: str) -> tuple[list[Audit], str]:
        """Newest first, of one user if `user_id` is given; and the next page's token."""
        subject = self.keys.subject(tenant, user_id) if user_id else ""
        limit, asked = page_size(size), f"{tenant}\n{subject}"
        position = decode_token(token, asked)
        before = (float(position[0]), str(position[1])) if isinstance(position, list) else None
        found = self.state.page(tenant, subject, before, limit + 1)
        if len(found) <= limit:
            return found, ""
        last = found[limit - 1]
        return found[:limit], encode_token([last.created, last.erasure], asked)
