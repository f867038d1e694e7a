"""What the user, or the tenant for them, says of their groups. Each change is a version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from services.reward.people.app.learning import note_evidence
from services.reward.people.domain import check_group, composed, corrected, nobody_yet
from services.reward.people.ports import MembershipStore
from shared.language.errors import InvalidArgument
from shared.language.groups import WANTS, Membership, check_segment


@dataclass(frozen=True, slots=True)
class CorrectMembership:
    """`redact` (tenant, text): reasons are redacted by the tenant's policy before they are stored."""

    store: MembershipStore
    clock: Callable[[], datetime]
    redact: Callable[[str, str], str]

    def __call__(
        self,
        tenant: str,
        user_id: str,
        group: str | None,
        segments: Mapping[str, str],
        actor: str,
        reason: str,
    ) -> Membership:
        """The newest correction counts, until it is withdrawn by an empty text. Also of a user who is not known
        yet."""
        if group is None and not segments:
            raise InvalidArgument(
                "give the correct group, or a segment", reason="EMPTY_CORRECTION", field="group"
            )
        checked = dict(_checked(key, value) for key, value in segments.items())
        reason = self.redact(tenant, reason)
        with self.store.begin() as memberships:
            division, now = memberships.division(tenant), self.clock()
            check_group(group or "", division)
            former = memberships.get(tenant, user_id) or nobody_yet(tenant, user_id, now)
            said = corrected(former.said, group, checked, actor, reason)
            standing = replace(former, said=said)
            found = composed(standing, division, now)
            memberships.put(standing, found)
            # What a user asks for is evidence of their learnt group.
            if any(key.startswith(WANTS) for key in checked):
                note_evidence(memberships, tenant, user_id)
            return found


def _checked(key: str, value: str) -> tuple[str, str]:
    """An empty value withdraws what was said of the key."""
    return check_segment(key, value) if value.strip() else (check_segment(key, "-")[0], "")
