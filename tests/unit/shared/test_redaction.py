"""What is taken out of texts, what stays, and what it costs."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.configuration.settings import CommonSettings
from shared.language.errors import InvalidArgument
from shared.language.messages import Media, Message, Text, ToolCall, ToolResult, text_message
from shared.redaction.patterns import compiled
from shared.redaction.policy import read_policies, redactor_of
from shared.redaction.redactor import (
    KINDS,
    Action,
    Pattern,
    RedactionPolicies,
    RedactionPolicy,
    Redactor,
)

MASK_ALL = RedactionPolicy(dict.fromkeys(KINDS, Action.MASK), phone_regions=("US", "DE"))
KEY = "an-installation's-own-key"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nAbC=\n-----END RSA PRIVATE KEY-----"
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"


def masked(text: str, policy: RedactionPolicy = MASK_ALL) -> str:
    return Redactor(RedactionPolicies(policy), KEY).text("acme", text)


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ("write to 'Bob.O@x.co.uk'.", "write to '[EMAIL]'."),
        ("josé@exämple.de, <a@b.de>", "[EMAIL], <[EMAIL]>"),
        ("4111 1111 1111 1111 until 2027", "[CARD] until 2027"),
        ("amex 378282246310005", "amex [CARD]"),
        ("to DE89 3704 0044 0532 0130 00 BANK", "to [IBAN] BANK"),
        ("gb82west12345698765432!", "[IBAN]!"),
        ("from 10.0.0.1 and fe80::1", "from [IP] and [IP]"),
        ("call (415) 555-2671 or +49 30 901820", "call [PHONE] or [PHONE]"),
        ("use sk-proj-abcdefghijklmnopqrstuv", "use [SECRET]"),
        ("AKIAIOSFODNN7EXAMPLE in S3", "[SECRET] in S3"),
        ("postgres://app:hunter2@db/x", "postgres://app:[SECRET]@db/x"),
        ('{"api_key": "0123abcd4567"}', '{"api_key": "[SECRET]"}'),
        ("Authorization: Bearer abcd1234efgh5678", "Authorization: Bearer [SECRET]"),
        (f"token {TOKEN}.", "token [SECRET]."),
        (f"key:\n{PEM}\nend", "key:\n[SECRET]\nend"),
        (f"cut off: {PEM[:40]}", "cut off: [SECRET]"),
    ],
)
def test_what_is_found_is_masked(said: str, stored: str) -> None:
    assert masked(said) == stored


@pytest.mark.parametrize(
    "said",
    [
        "foo@bar and x@@y",
        "4111 1111 1111 1112",  # Luhn fails
        "DE88 3704 0044 0532 0130 00",  # its check digits fail
        "std::vector, a::b, 12:30:45, 1.2.3",
        "on 2024-01-02 at 10:30, page 204",
        "password: whatever, key: signature",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "[Your Name] and [EMAIL]",
    ],
)
def test_what_only_looks_like_it_stays(said: str) -> None:
    assert masked(said) == said


def test_by_default_only_secrets_are_masked() -> None:
    said = "a@b.de has AKIAIOSFODNN7EXAMPLE"
    assert Redactor().text("acme", said) == "a@b.de has [SECRET]"


def test_a_hash_is_one_persons_within_a_tenant_and_nobodys_across() -> None:
    policy = RedactionPolicy({"email": Action.HASH, "phone": Action.HASH})
    redactor = Redactor(RedactionPolicies(policy), KEY)
    first, again = redactor.text("acme", "Bob@X.de"), redactor.text("acme", "bob@x.de")
    assert first == again
    assert first.startswith("[EMAIL:") and len(first) == len("[EMAIL:]") + 12
    assert redactor.text("other", "bob@x.de") != first
    assert Redactor(RedactionPolicies(policy), "another key").text("acme", "bob@x.de") != first
    spaced, plain = redactor.text("acme", "+49 30 901820"), redactor.text("acme", "+4930901820")
    assert spaced == plain


def test_drop_takes_the_whole_message() -> None:
    redactor = Redactor(RedactionPolicies(RedactionPolicy({"secret": Action.DROP})))
    said = Message(
        "user", (Text("look"), Text("AKIAIOSFODNN7EXAMPLE"), Media("https://x/y", "i/p"))
    )
    dropped = "[DROPPED:SECRET]"
    assert redactor.message("acme", said) == Message(
        "user", (Text(dropped), Text(dropped), Media(dropped, "i/p"))
    )
    assert redactor.message("acme", text_message("user", "fine")) == text_message("user", "fine")


def test_metadata_only_keeps_lengths_and_keyed_digests() -> None:
    redactor = Redactor(RedactionPolicies(RedactionPolicy(metadata_only=True)), KEY)
    stored = redactor.message("acme", text_message("user", "How are you?")).text
    assert stored.startswith("[TEXT 12 ") and "How" not in stored
    assert redactor.text("acme", stored) == stored
    assert redactor.message("other", text_message("user", "How are you?")).text != stored
    with redactor.of("acme") as redaction:
        assert (redaction.text("stop"), redaction.kinds) == ("stop", {})


def test_arguments_of_tools_stay_json() -> None:
    redactor = Redactor(RedactionPolicies(MASK_ALL))
    call = ToolCall("c1", "pay", '{"card": 4111111111111111, "to": "a\\u0040b.de", "n": 3}')
    (stored,) = redactor.message("acme", Message("assistant", (call,))).parts
    assert stored == ToolCall("c1", "pay", '{"card":"[CARD]","to":"[EMAIL]","n":3}')
    untouched = Message("assistant", (ToolCall("c2", "f", '{"a":  "\\n"}'), ToolResult("c2", "ok")))
    assert redactor.message("acme", untouched) is untouched


def test_json_in_metadata_stays_json_in_every_policy() -> None:
    said = {"openai.request": '{"user": "a@b.de", "n": 4111111111111111}', "note": "a@b.de"}
    for policy in (MASK_ALL, RedactionPolicy(MASK_ALL.actions, metadata_only=True)):
        with Redactor(RedactionPolicies(policy), KEY).of("acme") as redaction:
            stored = redaction.metadata(said)
        assert stored == {
            "openai.request": '{"user":"[EMAIL]","n":"[CARD]"}',
            "note": "[EMAIL]",
        }


def test_what_is_taken_out_is_counted_by_kind() -> None:
    counts: Counter[tuple[str, str]] = Counter()
    redactor = Redactor(
        RedactionPolicies(MASK_ALL),
        counted=lambda kind, action, n: counts.update({(kind, action): n}),
    )
    with redactor.of("acme") as redaction:
        redaction.text("a@b.de, c@d.de, 10.0.0.1")
    kinds = redaction.kinds
    assert kinds == {"EMAIL": 2, "IP": 1}
    assert counts == {("EMAIL", "mask"): 2, ("IP", "mask"): 1}


def test_an_own_kind_comes_before_the_built_in_ones() -> None:
    own = Pattern("CUSTOMER", compiled(r"CU-\d{6,10}", "regex"), Action.MASK)
    assert (
        masked("CU-4155552671", RedactionPolicy(MASK_ALL.actions, ("US",), (own,))) == "[CUSTOMER]"
    )


def test_a_category_stays_an_identifier() -> None:
    redactor = Redactor(RedactionPolicies(MASK_ALL))
    for name, kinds in (("a@b.de", {"EMAIL": 1}), ("EMAIL", {})):
        with redactor.of("acme") as redaction:
            assert (redaction.label(name), redaction.kinds) == ("EMAIL", kinds)


def test_places_that_hide_one_another_are_all_found() -> None:
    said = "a@b.de+49 30 901820DE89370400440532013000" * 3 + "+49 30 901820fe80::1"
    once = masked(said, MASK_ALL)
    assert masked(once, MASK_ALL) == once
    assert not any(one in once for one in ("a@b.de", "901820", "DE89", "fe80"))


_PIECES = st.sampled_from(
    """a@b.de|+49 30 901820|4111111111111111|10.0.0.1|[EMAIL]|[|]|:| |x|AKIAIOSFODNN7EXAMPLE|password=
    |hunter22|fe80::1|DE89370400440532013000|1|@""".split("|")
)


@settings(max_examples=300)
@given(st.lists(_PIECES, max_size=12).map("".join), st.sampled_from(list(Action)))
def test_redacting_twice_changes_nothing(said: str, action: Action) -> None:
    policy = RedactionPolicy(dict.fromkeys(KINDS, action), phone_regions=("US",))
    once = masked(said, policy)
    assert masked(once, policy) == once


def test_a_message_without_anything_costs_microseconds() -> None:
    said = ("The weather in spring tends to be mild; pack a coat, just as you like it. " * 10)[:700]
    redactor, message = Redactor(RedactionPolicies(MASK_ALL)), text_message("user", said)
    rounds = [_seconds(lambda: redactor.message("acme", message)) for _ in range(5)]
    assert min(rounds) < 60e-6  # 13 us alone on a core


@pytest.mark.parametrize(
    "said",
    [
        "415 555 2671 ",
        "1 ",
        "a@",
        "ab12 ",
        "1:",
        "1.2.3.",
        "eyJ",
        "://a:",
        "password: ",
        "+1 ",
        "-----BEGIN ",
        "sk-",
        "[",
        "[A",
        "a@b.de ",
    ],
)
def test_no_text_is_slow(said: str) -> None:
    text = said * (256_000 // len(said))
    began = time.process_time()
    masked(text)
    assert time.process_time() - began < 5


def _seconds(work: object, times: int = 200) -> float:
    """Of this thread alone: other tests run beside it."""
    began = time.thread_time()
    for _ in range(times):
        work()  # type: ignore[operator]
    return (time.thread_time() - began) / times


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        (r"CU-\d{6}(?!\d)", "no look-arounds"),
        (r"(a)\1", "no back-references"),
        ("(", r"missing \)"),
        ("a{1,5000}", "repetition size"),
        ("a?", "the empty text"),
        ("", "0 characters"),
        ("a" * 501, "501 characters"),
    ],
)
def test_what_is_no_pattern_is_refused_and_says_why(pattern: str, why: str) -> None:
    with pytest.raises(InvalidArgument, match=why) as refused:
        compiled(pattern, "default.patterns.X.regex")
    assert refused.value.field == "default.patterns.X.regex"


@pytest.mark.parametrize("pattern", [r"(a+)+b", r"(\w+\s?)+!", "(x+x+)+y", "a+"])
def test_no_text_makes_a_pattern_slow(pattern: str) -> None:
    """Python's own `re` takes hours for the first three on thirty letters."""
    found = Pattern("X", compiled(pattern, "regex"), Action.MASK)
    began = time.thread_time()
    list(found.find("a" * 20_000 + " x" * 20_000 + "x" * 20_000))
    assert time.thread_time() - began < 5.0


def test_an_own_pattern_finds_its_places_among_letters_of_all_kinds() -> None:
    """Even where the pattern matches the empty text, within letters of several bytes."""
    found = Pattern("X", compiled(r"(?i)x*(?:(?:cu|ac)-\d+\b|\b)", "regex"), Action.MASK)
    said = "Größe 👍 AC-1234567, cu-9"
    assert [one.value for one in found.find(said)] == ["AC-1234567", "cu-9"]
    assert [said[one.start : one.end] for one in found.find(said)] == ["AC-1234567", "cu-9"]


def _policy_file(folder: Path, text: str) -> Path:
    path = folder / "policy.toml"
    path.write_text(text)
    return path


def test_a_tenant_says_only_what_differs(tmp_path: Path) -> None:
    policies = read_policies(
        _policy_file(
            tmp_path,
            """
            [default]
            email = "mask"
            phone_regions = ["US"]
            [default.patterns.CUSTOMER]
            regex = 'CU-[0-9]{6}'
            [tenants.acme]
            email = "off"
            ip = "mask"
            [tenants.quiet]
            content = "metadata"
            """,
        )
    )
    redactor = Redactor(policies, KEY)
    said = "a@b.de 10.0.0.1 (415) 555-2671 CU-123456"
    assert redactor.text("anyone", said) == "[EMAIL] 10.0.0.1 (415) 555-2671 [CUSTOMER]"
    assert redactor.text("acme", said) == "a@b.de [IP] (415) 555-2671 [CUSTOMER]"
    assert redactor.text("quiet", said).startswith("[TEXT 40 ")


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('[default]\nemail = "mark"', "default.email"),
        ('[tenants.acme]\nemial = "mask"', "tenants.acme.emial"),
        ('[tenants.acme]\ncontent = "none"', "tenants.acme.content"),
        ('[default]\nphone_regions = ["Mars"]', "default.phone_regions"),
        ("[default.patterns.X]\nregex = '(a'", "default.patterns.X.regex"),
        ("[default.patterns.EMAIL]\nregex = 'ab'", "default.patterns.EMAIL"),
        ('[tenants."a b"]\nemail = "mask"', "tenants"),
        ("[tenant]", "tenant"),
    ],
)
def test_a_wrong_policy_names_its_field(tmp_path: Path, text: str, field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        read_policies(_policy_file(tmp_path, text))
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[default]\nip = "hide"', "TRIMTAB_REDACTION: default.ip: must be one of"),
        ('[default]\nip = "hash"', "TRIMTAB_REDACTION_KEY: "),
    ],
)
def test_a_wrong_policy_stops_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        redactor_of(CommonSettings(redaction=_policy_file(tmp_path, text)), "interaction")
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
