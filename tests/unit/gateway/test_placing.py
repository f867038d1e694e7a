"""Where a call's messages belong: applications that carry all of a history, its end, or nothing of it."""

from datetime import timedelta

import pytest

from tests.unit.gateway.talk import Said, Talk


def plain(*texts: str) -> list[Said]:
    return [(place, text, "") for place, text in enumerate(texts)]


# -- a named conversation --------------------------------------------------------------------


def test_a_history_that_is_cut_off_goes_on_where_it_was() -> None:
    talk = Talk(name="c")
    assert talk.say("Explain rainbows", answer="Light and so on") == "c"
    assert talk.say("No, too long, one sentence", answer="Light bends.") == "c"
    talk.say("Continue.", answer="More.")
    talk.say("Continue.", answer="And more.")
    assert talk.stored("c") == plain(
        *("Explain rainbows", "Light and so on", "No, too long, one sentence", "Light bends."),
        *("Continue.", "More.", "Continue.", "And more."),
    )


@pytest.mark.parametrize(
    ("window", "name"), [(2, "c"), (3, "c"), (4, "c"), (5, "c"), (3, ""), (4, ""), (5, "")]
)
def test_a_sliding_window_goes_on_where_it_was(window: int, name: str) -> None:
    talk, texts = Talk(name=name), list[str]()
    conversations = set()
    for number in range(6):
        texts.append("Continue." if number % 2 else f"question {number}")
        answer = f"answer {number}"
        conversations.add(talk.say(*texts[-window:], answer=answer))
        texts.append(answer)
    (conversation,) = conversations
    assert talk.stored(conversation) == plain(*texts)


def test_equal_answers_and_equal_questions_are_as_many_turns_as_were_said() -> None:
    for window in (1, 2, 3, 100):
        talk, texts = Talk(name="c"), ["Count."]
        for _ in range(4):
            talk.say(*texts[-window:], answer="OK.")
            texts += ["OK.", "Continue."]
        assert talk.stored("c") == plain(*texts[:-1]), window


@pytest.mark.parametrize("carried", [3, 100])
def test_another_answer_to_the_same_is_a_regeneration(carried: int) -> None:
    talk = Talk(name="c")
    texts: tuple[str, ...] = ("one", "first", "two", "second", "three")
    for count in (1, 3, 5, 5):
        talk.say(*texts[:count][-carried:], answer=f"answer {talk.calls}")
        texts = (*texts[:count], f"answer {talk.calls - 1}", *texts[count + 1 :])
    assert [said for said in talk.stored("c") if said[2]] == [(5, "answer 3", "regeneration")]


@pytest.mark.parametrize("carried", [3, 100])
def test_another_question_after_the_same_is_an_edit(carried: int) -> None:
    talk = Talk(name="c")
    talk.say("one", answer="first")
    for said in ("a joke", "a poem"):
        talk.say(*("one", "first", said)[-carried:], answer=f"{said}!")
    assert talk.stored("c")[2:] == [
        (2, "a joke", ""),
        (2, "a poem", "edit"),
        (3, "a joke!", ""),
        (3, "a poem!", ""),
    ]
    (edit, _) = talk.logged["c"][-2:]
    assert edit.replaces_turn_id == "asked-2"


def test_the_first_message_again_is_a_regeneration_until_something_followed() -> None:
    talk = Talk(name="c")
    talk.say("hi", answer="Hello!")
    talk.say("hi", answer="Hey!")
    talk.say("more", answer="Sure.")
    talk.say("hi", answer="Hello again!")
    assert talk.stored("c") == [
        *((0, "hi", ""), (1, "Hello!", ""), (1, "Hey!", "regeneration")),
        *((2, "more", ""), (3, "Sure.", ""), (4, "hi", ""), (5, "Hello again!", "")),
    ]


def test_where_histories_are_whole_other_first_words_are_another_conversation() -> None:
    talk = Talk(name="c")
    talk.say("hi", answer="Hello!")
    talk.say("hi", "Hello!", "a joke", answer="Ha.")
    other = talk.say("Make a title of: hi, Hello!", answer="Greetings")
    assert talk.stored(other) == plain("Make a title of: hi, Hello!", "Greetings")
    assert talk.say("hi", "Hello!", "a joke", "Ha.", "another", answer="Ho.") == "c"
    assert talk.stored("c") == plain("hi", "Hello!", "a joke", "Ha.", "another", "Ho.")


def test_what_came_between_and_is_in_no_history_takes_no_place_in_the_chat() -> None:
    """A title's call that could not be told yet, as nothing was known of the application."""
    talk = Talk(name="c")
    talk.say("hi", answer="Hello!")
    assert talk.say("Make a title", answer="Greetings") == "c"
    chat = talk.say("hi", "Hello!", "too long", answer="Hi!")
    assert talk.stored(chat) == plain("hi", "Hello!", "too long", "Hi!")
    assert talk.logged[chat][1].model_version == "v1"
    assert talk.say("hi", "Hello!", "too long", "Hi!", "more", answer="Ok") == chat


def test_an_application_that_changes_answers_keeps_its_places() -> None:
    talk = Talk(name="c")
    talk.say("one", answer="first [1]")
    talk.say("one", "first", "two", answer="second [2]")
    assert talk.say("one", "first", "two", "second", "three", answer="third") == "c"
    assert talk.stored("c") == plain("one", "first [1]", "two", "second [2]", "three", "third")


def test_a_request_that_is_sent_again_is_no_signal_and_no_turn() -> None:
    talk = Talk(name="c")
    talk.say("one", answer="first")
    talk.say("two", answer="second", request="r-2")
    talk.say("two", answer="second, again", request="r-2")
    talk.say("two", answer="second, too", repeated=True)
    assert [one for one in talk.stored("c") if one[0] > 1] == [
        *((2, "two", ""), (3, "second", ""), (3, "second, again", ""), (3, "second, too", "")),
    ]


def test_a_proxys_name_for_a_request_stands_for_all_the_calls_made_because_of_it() -> None:
    talk = Talk()
    router = talk.say("A seat", answer="travel", system="Classify", request="r-1")
    assert talk.say("A seat", answer="In 12C.", system="Be kind", request="r-1") != router


# -- side calls ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "c"])
def test_a_router_before_the_answer_is_told_apart(name: str) -> None:
    talk, router = Talk(name=name), "Classify what the user wants"
    first = talk.say("Where do I sit?", answer="seat", system=router)
    chat = talk.say("Where do I sit?", answer="You have aisle seat 12C.")
    again = talk.say("A window!", answer="seat", system=router)
    here = ("Where do I sit?", "You have aisle seat 12C.", "A window!")
    assert talk.say(*here, answer="You have 12A.") == chat
    assert len({first, chat, again}) == 3
    assert talk.stored(chat) == plain(*here, "You have 12A.")
    assert talk.stored(again) == plain("A window!", "seat")


def test_a_side_call_that_carries_the_chat_takes_nothing_of_it() -> None:
    talk, main, router = Talk(), "You help with 3 flights.", "Classify the last message."
    one = ("Where do I sit?", "In 12C.")
    chat = talk.say(one[0], answer=one[1], system=main)
    side = talk.say(*one, "A window!", answer="seat", system=router)
    assert side != chat
    assert talk.say(*one, "A window!", answer="12A.", system="You help with 4 flights.") == chat
    assert talk.say(*one, "A window!", "12A.", "Thanks", answer="Welcome", system=main) == chat
    assert talk.stored(chat) == plain(*one, "A window!", "12A.", "Thanks", "Welcome")
    assert talk.stored(side) == plain("A window!", "seat")


def test_an_answer_of_another_agent_is_taken_in_once_somebody_goes_on_from_it() -> None:
    talk = Talk()
    said = ("My bill is wrong", "I pass you on.", "It says 40", "It is 30 now.", "Thanks")
    chat = talk.say(*said[:1], answer=said[1], system="You are the desk", version="desk-1")
    other = talk.say(*said[:3], answer=said[3], system="You do bills", version="bills-1")
    assert other != chat
    assert talk.say(*said, answer="Bye", system="You do bills", version="bills-1") == chat
    assert talk.stored(chat) == plain(*said, "Bye")
    (taken,) = [turn for turn in talk.logged[chat] if turn.index == 3]
    assert (taken.model_version, taken.completion_id) == ("bills-1", "completion-2")


def test_system_messages_that_never_begin_alike_do_not_tear_a_chat_apart() -> None:
    talk = Talk(name="c")
    found = [
        talk.say(f"question {number}", answer=f"answer {number}", system=f"{word} is the mood")
        for number, word in enumerate(["sunny", "rainy", "foggy", "windy", "snowy", "warm"])
    ]
    assert found[0] == "c"
    assert found[4:] == ["c", "c"]


# -- a user's unnamed conversations ------------------------------------------------------------------


def test_two_chats_that_begin_alike_are_two_once_they_differ() -> None:
    talk = Talk()
    first = talk.say("hi", answer="Hello!")
    assert talk.say("hi", answer="Hey!") == first
    one = talk.say("hi", "Hello!", "too long", answer="Ok.")
    two = talk.say("hi", "Hey!", "too short", answer="Okay.")
    assert talk.stored(one) == plain("hi", "Hello!", "too long", "Ok.")
    assert two == first != one
    assert talk.stored(two) == [
        *((0, "hi", ""), (1, "Hello!", ""), (1, "Hey!", "regeneration")),
        *((2, "too short", ""), (3, "Okay.", "")),
    ]


def test_a_first_message_again_is_a_new_chat_after_something_else_or_some_minutes() -> None:
    talk = Talk()
    first = talk.say("hi", answer="Hello!")
    talk.say("What is the time?", answer="Noon.")
    second = talk.say("hi", answer="Hello!")
    talk.now += timedelta(minutes=2)
    third = talk.say("hi", answer="Hello!")
    assert len({first, second, third}) == 3
    assert talk.say("hi", answer="Hey!", system="You write titles") not in (first, second, third)


def test_of_two_chats_that_began_alike_each_goes_on_in_its_own() -> None:
    talk = Talk()
    first = talk.say("hi", answer="Hello!")
    talk.now += timedelta(minutes=5)
    second = talk.say("hi", answer="Hello!")
    on = [talk.say("hi", "Hello!", said, answer=f"{said}!") for said in ("a joke", "a poem")]
    assert sorted(on) == sorted([first, second])
    assert talk.say("hi", "Hello!", "a joke", answer="Ha.") == on[0]
    assert talk.stored(on[0])[-1] == (3, "a joke!", "") or talk.stored(on[0])[-2:] == [
        (3, "Ha.", "regeneration"),
        (3, "a joke!", ""),
    ]


def test_going_back_to_an_answer_that_was_replaced_leaves_what_replaced_it_alone() -> None:
    talk = Talk()
    one = ("hi", "Hello!")
    chat = talk.say("hi", answer="Hello!")
    talk.say(*one, "a joke", answer="Ha.", version="v2")
    talk.say(*one, "a poem", answer="Oh.")
    branch = talk.say(*one, "a joke", "Ha.", "another", answer="Ho.")
    assert branch != chat
    # It begins with the exchange that it goes on from, so that nothing is judged twice.
    assert talk.stored(branch) == plain("a joke", "Ha.", "another", "Ho.")
    assert talk.logged[branch][1].model_version == "v2"
    assert talk.say(*one, "a poem", "Oh.", "more", answer="Ah.") == chat
