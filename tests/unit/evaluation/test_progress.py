"""What an evaluation says while it goes on."""

from services.evaluation.app.evaluating import EvaluateVersion
from services.evaluation.codec import decode_request
from services.evaluation.domain import SuiteLimits
from tests.unit.evaluation.test_service import House, asked_for


class Heard:
    def __init__(self) -> None:
        self.words: list[tuple[str, float]] = []

    def say(self, step: str, share: float) -> None:
        self.words.append((step, share))


def test_a_suite_says_how_many_answers_it_has() -> None:
    house, heard = House(limits=SuiteLimits(prompts=60, pairs=8)), Heard()
    request = decode_request("r1", "local", asked_for(suites=["win_rate", "form"]))
    EvaluateVersion(house.bench)(request, heard)
    asked = [
        (f"win_rate, {count} of 60 answers of {version}", 0.0)
        for version in ("assistant-v1", "sft-v1", "assistant-v0")
        for count in (48, 60)
    ]
    # The form of the same answers is looked at without asking again.
    assert heard.words == [("win_rate", 0.0), *asked, ("form", 0.5)]
