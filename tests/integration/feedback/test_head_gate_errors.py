"""How often the gate of heads lets through what it should not, in simulated tenants."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from services.feedback.heads.app.fitting import choose_strength, fit, sigmoid
from services.feedback.heads.app.gate import GateRules, compare, verdict

RULES = GateRules()
# Each takes half a minute of a core that is busy with nothing else.
pytestmark = pytest.mark.timeout(400)


def attempt(seed: int, kind: str) -> str:
    """A tenant of 40 users to fit on and 10 held out, six labels each; the verdict."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(300, 12)) * 0.4
    shipped = x @ (random.normal(size=12) * 2)
    users = np.repeat(np.arange(50), 6)
    chances = {
        "noise": np.full(300, 0.4),
        "moods": np.repeat(random.beta(1, 1, 50), 6),
        "as shipped": sigmoid(shipped),
        "reversed": sigmoid(-2 * shipped),
        "of their own": sigmoid(x @ (random.normal(size=12) * 4)),
    }[kind]
    bad = (random.random(300) < chances).astype(float)
    inside, outside = users < 40, users >= 40
    rows = sparse.csr_matrix(x)
    folds = (users[inside] % 5).tolist()
    strength = choose_strength(rows[inside], shipped[inside], bad[inside], folds)
    found = fit(rows[inside], shipped[inside], bad[inside], strength)
    after = found.logits(rows[outside], shipped[outside])
    names = [str(user) for user in users[outside]]
    return verdict(
        compare(bad[outside], shipped[outside], after, names, RULES.confidence(1)), RULES
    )


@pytest.mark.parametrize("kind", ["noise", "moods", "as shipped"])
def test_what_is_no_better_seldom_passes(kind: str) -> None:
    """The rules allow 1.25% by chance; with ten users the bootstrap keeps that only roughly."""
    verdicts = [attempt(seed, kind) for seed in range(100)]
    assert verdicts.count("") <= 5


@pytest.mark.parametrize("kind", ["reversed", "of their own"])
def test_what_is_better_passes(kind: str) -> None:
    assert [attempt(seed, kind) for seed in range(20)].count("") >= 18
