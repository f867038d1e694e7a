"""Follows which groups of people users belong to, as the reward service says.

Counts of stage "feedback.people", one for each change: made: "known", "removed"; dropped: OUT_OF_DATE (what
is known is as new or newer, or nothing is known that could be removed), and what is malformed (to the dead
letters).
"""

from __future__ import annotations

from services.feedback.people.ports import PeopleWork
from shared.language.groups import Membership

STAGE = "feedback.people"
OUT_OF_DATE = "OUT_OF_DATE"


def follow(membership: Membership, work: PeopleWork) -> None:
    """Keeps the newest version. What was stamped with an older one stays as it is."""
    known = work.memberships.version(membership.tenant, membership.user_id)
    if membership.is_removed:
        # It has the number of the last version, so that it comes after it.
        outcome = _remove(membership, work) if 0 < known <= membership.version else ""
    else:
        outcome = _keep(membership, work) if known < membership.version else ""
    work.count(STAGE, "made" if outcome else "dropped", outcome or OUT_OF_DATE)


def _keep(membership: Membership, work: PeopleWork) -> str:
    work.memberships.put(membership)
    return "known"


def _remove(membership: Membership, work: PeopleWork) -> str:
    work.memberships.remove(membership.tenant, membership.user_id)
    return "removed"
