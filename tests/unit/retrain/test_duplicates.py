"""Of pairs that say nearly the same one is trained on, and none that is like a held-out one."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from infra.demo.population import DEFAULT, Population, Visit, load
from services.retrain.domain.duplicates import Likeness, Told, jaccard, shingles
from services.retrain.domain.selection import Caps, select, verdicts
from services.retrain.settings import RetrainSettings
from shared.language.identifiers import stable_id
from shared.language.messages import text_message
from shared.language.pairs import Pair
from tests.e2e import feed
from tests.unit.retrain.pairs import HELD_OUT, TRAINED, pair

RULES = RetrainSettings().rules
ANN, BEA, CAL = TRAINED[:3]
ROOMY = Caps(user_share=1.0)


def said(number: int, user: str, changed: int = 0, **changes: object) -> Pair:
    """Of 47 shingles: two of the request, 18 of the chosen answer and 27 of the rejected one. Each of the
    `changed` words of the rejected answer is in three of them."""
    rejected = [f"long{n}" if n % 3 != 2 or n // 3 >= changed else "other" for n in range(29)]
    words = {
        "prompt": (text_message("user", "How does it go?"),),
        "chosen": text_message("assistant", " ".join(f"short{n}" for n in range(20))),
        "rejected": text_message("assistant", " ".join(rejected)),
    }
    return pair(number, user, **(words | changes))


def kept(*pairs: Pair, caps: Caps = ROOMY) -> tuple[list[str], dict[str, int]]:
    """What is trained on, and how many are left out for which reason."""
    selection = select(pairs, {}, caps)
    return [one.pair_id for one in selection.train], dict(selection.left_out)


def test_likeness_is_the_share_of_common_runs_of_three_words() -> None:
    one, other = said(1, ANN), said(2, ANN, changed=1)
    assert len(shingles(one)) == 2 + 18 + 27
    # Three runs of either have the changed word.
    assert jaccard(shingles(one), shingles(other)) == 44 / 50
    assert jaccard(shingles(one), shingles(said(3, ANN))) == 1
    assert {len(shingle.split()) - 1 for shingle in shingles(one)} == {3}


def test_sides_are_told_apart_and_short_or_wordless_texts_count() -> None:
    one = said(1, ANN)
    turned = replace(one, chosen=one.rejected, rejected=one.chosen)
    assert jaccard(shingles(one), shingles(turned)) == 2 / (2 + 2 * 45)
    short = said(2, ANN, prompt=(text_message("user", "Why?"),))
    assert {"prompt why"} == {text for text in shingles(short) if text.startswith("prompt")}
    thumbs = [said(3, ANN, prompt=(text_message("user", thumb),)) for thumb in ("👍", "👎")]
    assert jaccard(*map(shingles, thumbs)) == 45 / 47


def test_characters_that_no_space_divides_are_words() -> None:
    text = "明日の天気"
    found = shingles(said(1, ANN, prompt=(text_message("user", text),)))
    told = {one for one in found if one.startswith("prompt")}
    assert told == {"prompt 明 日 の", "prompt 日 の 天", "prompt の 天 気"}


def test_of_one_users_repetitions_the_newest_stays() -> None:
    assert kept(said(1, ANN), said(2, ANN, changed=1)) == (["p002"], {"NEAR_DUPLICATE": 1})
    # Of two changed words 41 / 53 are common.
    assert kept(said(1, ANN), said(2, ANN, changed=2)) == (["p001", "p002"], {})
    strict = Caps(user_share=1.0, likeness=Likeness(of_user=0.9))
    assert kept(said(1, ANN), said(2, ANN, changed=1), caps=strict)[0] == ["p001", "p002"]


def test_different_users_repeat_each_other_only_to_the_letter() -> None:
    assert kept(said(1, ANN), said(2, BEA, changed=1)) == (["p001", "p002"], {})
    assert kept(said(1, ANN), said(2, BEA), said(3, CAL)) == (["p003"], {"NEAR_DUPLICATE": 2})
    never = Caps(user_share=1.0, likeness=Likeness(1.01, 1.01, 1.01))
    assert kept(said(1, ANN), said(2, BEA), said(3, ANN), caps=never)[0] == ["p001", "p002", "p003"]


def test_the_opposite_preference_is_no_duplicate() -> None:
    one = said(1, ANN)
    other = said(2, ANN, chosen=one.rejected, rejected=one.chosen)
    assert kept(one, other) == (["p001", "p002"], {})


def test_a_group_never_takes_out_what_another_says() -> None:
    few, many = ("longer",), ("shorter",)
    pairs = [said(1, ANN, groups=few), said(2, BEA, groups=many), said(3, CAL, groups=many)]
    assert kept(*pairs) == (["p001", "p003"], {"NEAR_DUPLICATE": 1})
    declared = [said(1, ANN, groups=("team=a",)), said(2, BEA, groups=("team=b",)), said(3, CAL)]
    assert kept(*declared)[0] == ["p001", "p002", "p003"]
    # Of before there were groups, or of those of whom too little is known: one group.
    assert kept(said(1, ANN), said(2, BEA, groups=("unknown",)))[0] == ["p002"]
    # One person is one person, whatever was learnt of them meanwhile.
    assert kept(said(1, ANN, groups=("unknown",)), said(2, ANN, groups=many))[0] == ["p002"]


def test_a_duplicate_of_what_a_cap_leaves_out_stays() -> None:
    """Ann's newest two fill her cap; what Bea says of the third is not lost with it."""
    loud = [pair(8, ANN), pair(9, ANN), said(7, ANN)]
    caps = Caps(pairs_per_user=2, user_share=1.0)
    assert kept(said(1, BEA), *loud, caps=caps) == (["p001", "p008", "p009"], {"USER_CAP": 1})


def test_a_repetition_takes_no_room() -> None:
    caps = Caps(train_pairs=2, user_share=1.0)
    pairs = [pair(1, ANN), *(said(2 + n, BEA) for n in range(4))]
    assert kept(*pairs, caps=caps) == (["p001", "p005"], {"NEAR_DUPLICATE": 3})


def test_what_is_like_a_held_out_pair_is_not_trained_on() -> None:
    """Also if it is newer, and of another group: who judges must not have been read before."""
    judge = said(1, HELD_OUT[0], groups=("longer",))
    leak, apart = said(2, ANN, groups=("shorter",)), said(3, BEA, changed=1)
    selection = select([judge, leak, apart], {}, Caps())
    assert [one.pair_id for one in selection.held_out] == ["p001"]
    assert [one.pair_id for one in selection.train] == ["p003"]
    assert selection.left_out == {"LIKE_HELD_OUT": 1}
    never = Caps(likeness=Likeness(of_held_out=1.01))
    assert len(select([judge, leak], {}, never).train) == 1
    # Only what is held out counts, not what might have been.
    full = Caps(held_out_pairs=0)
    assert select([judge, leak], {}, full).left_out == {"PART_IS_FULL": 1}


def test_whoever_is_alike_is_found() -> None:
    """The index finds what comparing with each finds, at any threshold."""
    dice = random.Random(7)
    texts = [_scrambled(dice) for _ in range(120)]
    found = 0
    for least in (0.5, 0.7, 0.8, 0.95, 1.0):
        told = Told(least)
        for number, text in enumerate(texts):
            plain = [(n, jaccard(text, other)) for n, other in enumerate(texts[:number])]
            alike = list(told.alike(text))
            assert alike == [(n, likeness) for n, likeness in plain if likeness >= least]
            found += len(alike)
            told.add(number, text)
    assert found > 1000
    assert list(Told(1.01).alike(texts[0])) == []


def _scrambled(dice: random.Random) -> frozenset[str]:
    """One of three texts with a few words of it changed."""
    number = dice.randrange(3)
    words = [f"w{number}{place}" for place in range(dice.choice((4, 30, 60)))]
    for _ in range(dice.randrange(3)):
        words[dice.randrange(len(words))] = dice.choice(("a", "b"))
    return shingles(said(1, ANN, rejected=text_message("assistant", " ".join(words))))


@pytest.mark.parametrize(
    "field", ["duplicate_jaccard", "duplicate_jaccard_others", "held_out_jaccard"]
)
def test_thresholds_are_checked_when_the_service_starts(field: str) -> None:
    for wrong in (0.49, 2.1, "much"):
        with pytest.raises(ValueError, match=field):
            RetrainSettings.model_validate({field: wrong})
    likeness = RetrainSettings.model_validate({field: 0.6}).caps.likeness
    assert sorted((likeness.of_user, likeness.of_others, likeness.of_held_out))[0] == 0.6


# What ends in a run: a population's file, how many complaints start it, and how many pairs it waits for.
LOOPS = [(DEFAULT, 90, 40), (Path("tests/e2e/population.toml"), 24, 6)]


@pytest.mark.parametrize(("path", "complaints", "min_pairs"), LOOPS, ids=["demo", "e2e"])
def test_a_population_of_few_requests_keeps_enough_pairs(
    path: Path, complaints: int, min_pairs: int
) -> None:
    """At worst: the model answers a request always in the same words, and so is what users want instead."""
    pairs = list(_complained(load(path), complaints))
    assert len(pairs) == complaints
    selection = select(pairs, {}, RULES.caps)
    asked = Counter(one.request for one in pairs)
    assert max(asked.values()) > 1
    assert set(selection.left_out) <= {"NEAR_DUPLICATE", "LIKE_HELD_OUT", "USER_SHARE"}
    assert len(selection.train) >= min_pairs


def test_the_fixed_feed_repeats_nothing() -> None:
    """48 conversations of eleven users about seven things, in sentences that hardly differ."""
    chats = [feed.conversation(number) for number in range(feed.CONVERSATIONS)]
    said_in = [[message["content"] for message in chat["messages"]] for chat in chats]
    pairs = [
        pair(
            number,
            chat["user"],
            prompt=(text_message("user", texts[0]),),
            chosen=text_message("assistant", texts[3]),
            rejected=text_message("assistant", texts[1]),
        )
        for number, (chat, texts) in enumerate(zip(chats, said_in, strict=True))
    ]
    selection = select(pairs, {}, RULES.caps)
    assert len(selection.train) + len(selection.held_out) == feed.CONVERSATIONS


def _complained(population: Population, complaints: int) -> Iterator[Pair]:
    """The pairs of the first complaints after the shift, as `population` plans its visits."""
    planned = (population.visit(population.shift_at + n, shifted=True) for n in range(10_000))
    asked = ((visit, request) for visit in planned for request in visit.requests)
    complained = (
        (visit, request)
        for visit, request in asked
        if population.react(visit, 0, _answer(request, 55), more=True).text
    )
    for number, (visit, request) in enumerate(islice(complained, complaints)):
        yield _pair(number, visit, request)


def _pair(number: int, visit: Visit, request: str) -> Pair:
    return pair(
        number,
        visit.user,
        prompt=(text_message("user", request),),
        chosen=text_message("assistant", _answer(request, visit.taste.max_words or 80)),
        rejected=text_message("assistant", _answer(request, 55)),
        groups=tuple(f"{key}={value}" for key, value in visit.segments.items()),
    )


def _answer(request: str, words: int) -> str:
    dice = random.Random(stable_id(request))
    return " ".join(dice.choice(request.split()) + str(dice.randrange(9)) for _ in range(words))


def test_verdicts_do_not_depend_on_the_order_of_pairs() -> None:
    pairs = [said(n, TRAINED[n % 5], changed=n % 3) for n in range(30)]
    shuffled = random.Random(3).sample(pairs, len(pairs))
    assert verdicts(pairs, Caps()) == verdicts(shuffled, Caps())
