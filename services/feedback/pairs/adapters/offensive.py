"""How offensive a text is, by alt-profanity-check: a linear model over words, fitted on comments that people
judged (Wikipedia's and Twitter's; English). Small and fast, and coarse: it knows words, not what is meant."""

from __future__ import annotations

from profanity_check import predict_prob


class LinearModerator:
    """It is loaded when it is made: the first pair is stored within a transaction, where nothing should
    be waited for."""

    def __init__(self) -> None:
        predict_prob(["good morning"])

    def offence(self, text: str) -> float:
        return float(predict_prob([text])[0])
