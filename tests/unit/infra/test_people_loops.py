"""How a whole loop of `make bench-people` is said to have ended."""

import pytest

from tests.benchmarks.people_loops import ending

UNTOLD = (
    "no evidence within 480 s that no group is worse by 0.15 (not known of wants.form=list): 1 of 9"
)
HURT = (
    "group reader=phone is worse by more than 0.15: 9 of 9 users; e-value 40. Of everyone: 9 of 30"
)


@pytest.mark.parametrize(
    ("verdict", "evidence", "ended"),
    [
        ("rolled back", UNTOLD, "refused"),
        ("rolled back", HURT, "refused"),
        ("rolled back", "measurably worse than the champion: dissatisfied 9 of 9", "badly"),
        ("rejected by the gate", "win_rate 0.4", "badly"),
        # Not decided when the demo gave up, whatever it says of groups.
        ("", UNTOLD, "badly"),
    ],
)
def test_a_version_that_does_not_serve(verdict: str, evidence: str, ended: str) -> None:
    result = {"effects": [], "effects_at_the_gate": [], "verdict": verdict, "evidence": evidence}
    assert ending(result, "brief") == ended
