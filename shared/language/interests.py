"""How a policy weighs the interests of its groups of people where they conflict.

No rule serves every interest (Arrow; Sen): so the product names its rule, says who chose it, and what it does
not promise.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ConflictRule(StrEnum):
    NO_GROUP_WORSE = "no_group_worse"
    MAXMIN = "maxmin"
    MEAN = "mean"


class SmallGroups(StrEnum):
    """What happens where a group has too few users to tell whether it loses."""

    HOLD = "hold"
    GO_ON = "go_on"


# What each rule does not promise, as it stands on runs, rollouts and reports.
LIMITS = {
    ConflictRule.NO_GROUP_WORSE: (
        "a gain of many users is given up for the loss of one group; a group may lose up to the margin, and"
        " within a group single users may lose"
    ),
    ConflictRule.MAXMIN: (
        "the group that is worst off decides, however small; other groups may lose up to the margin, and the"
        " mean may gain less than it could"
    ),
    ConflictRule.MEAN: (
        "groups may lose, whole and lastingly, if the others gain more; they are reported, and stop nothing"
    ),
}


@dataclass(frozen=True, slots=True)
class Interests:
    """`margin`: how much worse a group may become, in rate of dissatisfaction, in (0, 1). Who chose the rule,
    when and why; nobody chose a default."""

    rule: ConflictRule = ConflictRule.NO_GROUP_WORSE
    margin: float = 0.15
    small_groups: SmallGroups = SmallGroups.HOLD
    reason: str = ""
    actor: str = ""
    set_time: datetime | None = None

    @property
    def limits(self) -> str:
        return LIMITS[self.rule]

    @property
    def words(self) -> str:
        """The rule, who chose it and when, and what goes with it, in one line."""
        small = "are waited for" if self.small_groups is SmallGroups.HOLD else "are passed over"
        rest = f"margin {self.margin:g}; groups too small to tell {small}"
        if not self.actor:
            return f"{self.rule} (the default; nobody chose it); {rest}"
        day = f", {self.set_time:%Y-%m-%d}" if self.set_time else ""
        chosen = f"chosen by {self.actor}{day}: {self.reason or 'no reason given'}"
        return f"{self.rule} ({chosen}); {rest}"
