"""What users ask for in words, as evidence of their group: by hand, in learning, and of each user."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import exp, log

import numpy as np
import pytest

from services.reward.adapters.hashing import HashingEncoder
from services.reward.adapters.sql_models import SqlModelWriter, weights_file
from services.reward.app.featurising import Featuriser
from services.reward.app.training import TrainModel
from services.reward.domain import Answer, TrainingRules
from services.reward.learning import changes
from services.reward.learning.asking import (
    NOWHERE,
    by_group,
    counts,
    log_probabilities,
    most_asked,
    statements,
    table_of,
)
from services.reward.learning.belonging import EVERYBODY, Belonging, belonging
from services.reward.learning.changes import Discriminants, learn
from services.reward.learning.fitting import TASTE_L2, GroupReward, Model, Reward
from services.reward.learning.groups import Comparisons, Grouping, choose, group, renumbered
from services.reward.learning.lines import Preference
from services.reward.learning.patience import Patience
from services.reward.learning.people import Probabilities, Speaker
from services.reward.learning.table import Ints, Scaling, Surface, build, taste_space
from services.reward.people.adapters.sql_evidence import SqlEvidence
from services.reward.people.app.declaring import NoteUser
from services.reward.people.app.learning import LearnMemberships
from services.reward.people.domain import Division, Taste
from services.reward.tables import MODELS
from shared.language.splits import is_held_out
from tests.unit.reward.judged_people import ASKS, BRIEF, LISTS, THOROUGH, people, talk
from tests.unit.reward.running import NOW, RewardService

SHORTER, LIST = "wants.length=shorter", "wants.form=list"
# Of users 0 to 3, the second says both and the last nothing.
ASKED = np.array([[1.0, 0], [1, 1], [0, 1], [0, 0]])


def test_only_a_users_own_wishes_are_statements() -> None:
    assert statements(["shorter", SHORTER, "plan=wants.all", LIST, LIST]) == (LIST, SHORTER)
    names, asked = table_of(
        {"u0": [SHORTER], "u1": [LIST, SHORTER], "x": ["wants.tone=casual"]}, ["u0", "u1", "u2"]
    )
    assert names == (LIST, SHORTER)
    assert asked.tolist() == [[0, 1], [1, 1], [0, 0]]
    names, asked = table_of({}, ["u0", "u1"])
    assert (names, asked.shape) == ((), (2, 0))


def test_words_by_hand_without_the_users_own() -> None:
    """Both statements were made twice, so each group begins with two and a half of each."""
    found = by_group(ASKED, np.array([0, 0, 1, 1]), 2)
    # Beside user 0 the first group has one of each; beside user 1 only the first one.
    assert found[0].tolist() == pytest.approx([log(3.5 / 7), log(2.5 / 6)])
    assert found[1].tolist() == pytest.approx([log(3.5 / 6 * 2.5 / 6), log(2.5 / 6 * 3.5 / 6)])
    assert found[2].tolist() == pytest.approx([log(3.5 / 8), log(2.5 / 5)])
    assert found[3].tolist() == [0, 0]
    # Who is in no group yet counts in none, and has nothing to be left out.
    found = by_group(ASKED, np.array([NOWHERE, 0, 1, 1]), 2)
    assert found[0].tolist() == pytest.approx([log(3.5 / 7), log(2.5 / 6)])
    assert found[2].tolist() == pytest.approx([log(3.5 / 7), log(2.5 / 5)])
    assert by_group(np.zeros((0, 0)), np.array([0, 1]), 2).tolist() == [[0, 0], [0, 0]]


def test_probabilities_of_statements_by_hand() -> None:
    counted = counts(ASKED, np.array([0, 0, 1, 1]), 2)
    assert counted.tolist() == [[2, 1], [0, 1]]
    # 5 of 8 statements are the first, were each said once more.
    found = np.exp(log_probabilities(counted, np.array([4.0, 2])))
    assert found[0].tolist() == pytest.approx([(2 + 5 * 5 / 8) / 8, (1 + 5 * 3 / 8) / 8])
    assert found.sum(axis=1).tolist() == pytest.approx([1, 1])


def test_a_start_sorts_by_what_is_asked_for_most() -> None:
    asked = np.vstack([ASKED, [[1, 0]]])
    assert most_asked(asked, 2).tolist() == [0, 1, 1, NOWHERE, 0]
    assert most_asked(asked, 1).tolist() == [0, 0, NOWHERE, NOWHERE, 0]


def two_tastes() -> tuple[Comparisons, Ints]:
    """Sixteen users who like more of the first feature, and eight of the second, two noisy pairs each."""
    rng, wish = np.random.default_rng(6), np.repeat([0, 1], [16, 8])
    users, rows = np.repeat(np.arange(24), 2), np.arange(48)
    differences = rng.normal(size=(48, 2))
    liked = differences[rows, wish[users]] + 0.4 * rng.normal(size=48)
    differences *= np.sign(liked)[:, None]
    return Comparisons(differences, np.ones(48), np.ones(48), users, np.zeros(48)), wish


def test_words_divide_whom_rewards_alone_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    data, wish = two_tastes()
    asked = (wish[:, None] == [0, 1]).astype(float)
    asked[::3] = 0  # every third says nothing
    spoken = replace(data, asked=asked)
    assert (choose(data, 2, 0.01)[0], choose(spoken, 2, 0.01)[0]) == (1, 2)
    found = group(spoken, 2, 0.01)
    assert found.of_user.tolist() == wish.tolist()
    assert found.asked.tolist() == [[10, 0], [0, 6]]
    monkeypatch.setattr(changes, "by_group", lambda *rows: np.zeros((24, rows[-1])))
    assert (group(data, 2, 0.01).of_user == wish).mean() < 0.7
    assert group(spoken, 2, 0.01).of_user.tolist() == wish.tolist()


def test_without_words_all_is_as_before() -> None:
    data, _ = two_tastes()
    silent = replace(data, asked=np.zeros((24, 0)))
    found, other = group(data, 2, 0.01), group(silent, 2, 0.01)
    assert found.log_likelihood == other.log_likelihood == pytest.approx(-9.105009099215607)
    assert found.of_user.tolist() == other.of_user.tolist()
    assert found.asked.shape == (2, 0)


def test_rows_of_words_go_with_their_users() -> None:
    data, wish = two_tastes()
    data = replace(data, asked=(wish[:, None] == [0, 1]).astype(float))
    seen, numbers = renumbered(data.where(data.users >= 15))
    assert numbers.tolist() == list(range(15, 24))
    assert seen.asked.tolist() == [[1, 0]] + 8 * [[0, 1]]


def test_one_taste_is_one_group_whatever_words_it_has() -> None:
    rng = np.random.default_rng(3)
    users = np.repeat(np.arange(24), 6)
    differences = np.column_stack([1 + 0.5 * rng.normal(size=144), rng.normal(size=144)])
    asked = (np.arange(24)[:, None] % 2 == [0, 1]).astype(float)
    ones = np.ones(144)
    data = Comparisons(differences, ones, ones, users, np.zeros(144), asked)
    assert choose(data, 2, 0.01)[0] == 1
    found = group(data, 2, 0.01)
    assert found.count == 1
    assert found.asked.tolist() == [[12, 12]]


def of_two() -> Belonging:
    """Of two equal groups, whose statements were learnt without fold 0, and of everybody."""
    words = np.log([[[0.9, 0.1], [0.5, 0.5]], [[0.8, 0.2], [0.4, 0.6]]])
    coefficients = np.array([[[0.0], [0.0]], [[1.0], [-1.0]]])
    return Belonging(
        coefficients,
        np.array([0.5, 0.5]),
        Patience(0.0, 1e-9),
        np.array([9.0]),
        (LIST, SHORTER),
        words,
    )


def test_probabilities_with_words_by_hand() -> None:
    found, nothing, none = of_two(), np.zeros((0, 1)), np.zeros(0)

    def first(fold_: int, *asked_for: str) -> float:
        return float(found.probabilities(nothing, nothing, none, fold_, asked_for)[0])

    assert first(EVERYBODY) == pytest.approx(0.5)
    assert first(EVERYBODY, LIST) == pytest.approx(0.8 / 1.2)
    assert first(0, LIST) == pytest.approx(0.9 / 1.4)
    assert first(0, LIST, SHORTER, "wants.tone=casual") == pytest.approx(0.09 / 0.34)
    # Beside a pair that the first group would order so: σ(1) and σ(-1).
    pair = found.probabilities(
        np.ones((1, 1)), np.zeros((1, 1)), np.zeros(1), EVERYBODY, (SHORTER,)
    )
    assert pair[0] == pytest.approx(0.2 / (0.2 + 0.6 * exp(-1)))


def test_words_and_changes_are_learnt_without_the_users_of_a_fold() -> None:
    answers = [Answer("q", f"{'word ' * n}end.") for n in range(1, 9)]
    rows = [Preference(answers[n], answers[7 - n], "q", f"u{n}") for n in range(4)]
    table = build([Surface()], rows, lambda _: None, {"u0": [LIST], "u1": [LIST], "u3": [SHORTER]})
    assert (table.statements, table.asked.tolist()) == (
        (LIST, SHORTER),
        [[1, 0], [1, 0], [0, 0], [0, 1]],
    )
    grouping = Grouping(np.array([0, 0, 1, 1]), np.zeros((2, 1)), 0.0, Patience(), np.zeros(4))
    found = belonging(table, grouping, TASTE_L2, lambda user: int(user == "u1"), 2)
    assert found.statements == (LIST, SHORTER)
    # Without fold 0 only u1 said anything; without fold 1 u0 and u3 did.
    assert np.exp(found.words[0, 0]).tolist() == pytest.approx([(1 + 5 * 2 / 3) / 6, 5 / 3 / 6])
    assert np.exp(found.words[1, 0]).tolist() == pytest.approx([3.5 / 6, 2.5 / 6])
    assert np.exp(found.words[2]).ravel().tolist() == pytest.approx([5 / 7, 2 / 7, 3 / 6, 3 / 6])
    # And so is how pairs change an answer.
    shares = np.array([one.shares for one in found.changes])
    assert shares.ravel().tolist() == pytest.approx([1, 0, 1 / 3, 2 / 3, 0.5, 0.5], abs=1e-8)
    data = taste_space(table)
    whole = learn(data.changes, data.weights, grouping.of_user[data.users], 2).log_ratios(
        data.changes
    )
    assert found.changes[2].log_ratios(table.differences) == pytest.approx(whole)
    assert np.abs(whole).max() > 0.1


def model_of_two() -> Model:
    reward = Reward(np.ones(1), 0.0)
    groups = tuple(GroupReward(name, reward, 3, 9, ()) for name in ("lists", "shorter"))
    return Model((), Scaling(np.zeros(1), np.ones(1)), reward, (), 1.0, groups)


def without_words(weights: bytes) -> bytes:
    """As models were stored before words were evidence."""
    buffer = io.BytesIO()
    with np.load(io.BytesIO(weights)) as arrays:
        later = (
            "_words",
            "_statements",
            "_changes_coefficients",
            "_changes_offsets",
            "_changes_shares",
        )
        kept = [one for one in arrays.files if not one.endswith(later)]
        assert len(kept) == len(arrays.files) - len(later)
        np.savez(buffer, **{one: arrays[one] for one in kept})
    return buffer.getvalue()


def test_words_and_changes_of_a_model_are_kept_and_older_models_have_none() -> None:
    service = RewardService()
    service.train()
    by_fold = [
        Discriminants(np.full((2, 1), n), np.full(2, -n), np.array([0.5, 0.5])) for n in (1.0, 2.0)
    ]
    learnt = replace(of_two(), changes=tuple(by_fold))
    model = replace(service.models.load("local", 1), tastes=model_of_two(), belonging=learnt)
    with service.database.begin() as transaction:
        version = SqlModelWriter(transaction).add("local", model).version
    kept = service.models.load("local", version).belonging
    assert kept is not None
    assert kept.statements == (LIST, SHORTER)
    assert kept.words.tolist() == of_two().words.tolist()
    assert [one.coefficients.tolist() for one in kept.changes] == [[[1], [1]], [[2], [2]]]
    assert [one.offsets.tolist() for one in kept.changes] == [[-1, -1], [-2, -2]]
    assert [one.shares.tolist() for one in kept.changes] == 2 * [[0.5, 0.5]]
    with service.database.begin() as transaction:
        former = MODELS.update().values(weights=without_words(weights_file(model)))
        transaction.connection.execute(former.where(MODELS.c.version == version))
    old = service.models.load("local", version).belonging
    assert old is not None
    assert (old.statements, old.words.shape, old.changes) == ((), (0, 0, 0), ())
    assert old.probabilities(np.ones((1, 1)), np.zeros((1, 1)), np.zeros(1), 0, (LIST,))[0] == 0.5


def test_probabilities_are_of_words_alone_where_nothing_else_is_known() -> None:
    found = Probabilities(Featuriser(HashingEncoder(8)))
    speakers = [Speaker((), EVERYBODY, (LIST,)), Speaker((), 0)]
    first, second = found(model_of_two(), of_two(), speakers)
    assert first == pytest.approx({"lists": 0.8 / 1.2, "shorter": 0.4 / 1.2})
    assert second == {"lists": 0.5, "shorter": 0.5}


@dataclass
class Heard(Probabilities):
    """Says nothing, and remembers whom it was asked about."""

    speakers: list[Speaker] = field(default_factory=list)

    def __call__(
        self, model: Model, belonging: Belonging, speakers: Sequence[Speaker]
    ) -> list[dict[str, float]]:
        self.speakers = list(speakers)
        return [{} for _ in speakers]


@pytest.mark.parametrize("takes_wishes", [True, False])
def test_memberships_are_learnt_from_what_users_ask_for(takes_wishes: bool) -> None:
    service, heard = RewardService(), Heard()
    service.train()
    model = replace(service.models.load("local", 1), tastes=model_of_two(), belonging=of_two())
    note = NoteUser((), lambda: NOW, takes_wishes)
    with service.database.begin() as transaction:
        memberships = service.people(transaction)
        card = SqlModelWriter(transaction).add("local", model)
        memberships.divide("local", Division(card.name, (Taste("lists"), Taste("shorter"))))
        note.wishes(memberships, "local", "ada", "Shorter please, as a list", NOW)
    evidence = SqlEvidence(service.database)
    learn = LearnMemberships(service.memberships, evidence, service.models, heard)
    learn("local", ["ada", "ben"])
    asked_for = (LIST, SHORTER) if takes_wishes else ()
    assert [one.statements for one in heard.speakers] == [asked_for, ()]


def test_a_corrected_wish_is_learnt_from() -> None:
    service = RewardService()
    with service.database.begin() as transaction:
        service.people(transaction).divide(
            "local", Division("rewardModels/reward-v1", (Taste("lists"),))
        )
    service.correct("local", "ada", None, {"plan": "free"}, "ops", "")
    assert service.memberships.due(5, "") == ("", {})
    service.correct("local", "ada", None, {"wants.form": "list"}, "ada", "I like lists")
    assert service.memberships.due(5, "") == ("local", {"ada": 1})


def test_a_model_learns_from_what_its_users_ask_for() -> None:
    service = RewardService()
    said = talk(people({BRIEF: 0.5, THOROUGH: 0.5}, 24), asked=(4, 6), stating=0.5)
    with service.database.begin() as transaction:
        for pair in said.pairs:
            service.intake(transaction).add_pair("local", pair)
        for judgement in said.judged:
            service.intake(transaction).add_judgement("local", judgement)
    asked_about: list[set[str]] = []

    def groups_of(_: str, users: Iterable[str]) -> dict[str, tuple[str, ...]]:
        asked_about.append(set(users))
        return {user: (*groups, "plan=free") for user, groups in said.groups_of.items()}

    featuriser = Featuriser(HashingEncoder(8))
    learn = TrainModel(featuriser, service.models, TrainingRules(), groups_of, words_divide=True)
    model = learn("local", NOW)
    assert model.belonging is not None
    assert model.belonging.statements == (LIST, "wants.length=longer", SHORTER)
    assert model.belonging.words.shape == (6, 2, 3)
    learners = {user for user in said.wish_of if not is_held_out("local", user)}
    assert asked_about == [learners]
    without = TrainModel(featuriser, service.models, TrainingRules(), groups_of)("local", NOW)
    assert without.belonging is None or without.belonging.statements == ()


def test_what_made_up_people_say_changes_nothing_else() -> None:
    persons = people({BRIEF: 0.5, THOROUGH: 0.3, LISTS: 0.2}, 200)
    silent, said = talk(persons), talk(persons, stating=0.5)
    assert (said.pairs, said.judged, silent.asked_for) == (silent.pairs, silent.judged, {})
    # As many as before anybody spoke.
    assert (len(said.pairs), len(said.judged)) == (597, 1319)
    share = {
        wish: sum(said.wish_of[user] == wish for user in said.asked_for) / (200 * of_all)
        for wish, of_all in ((BRIEF, 0.5), (THOROUGH, 0.3), (LISTS, 0.2))
    }
    assert share[BRIEF] > 0.9 < share[LISTS]
    assert share[THOROUGH] < 0.2, "who is content says nothing"
    right = [
        said.asked_for[user].get(ASKS[wish][0]) == ASKS[wish][1]
        for user, wish in said.wish_of.items()
        if user in said.asked_for
    ]
    assert 0.95 < sum(right) / len(right) < 1
