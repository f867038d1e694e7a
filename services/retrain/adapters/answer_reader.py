"""Which pairs training could not tell apart, by the base model's tokenizer, without torch."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from cachetools import LRUCache

from services.retrain.domain.rules import Rules
from services.retrain.domain.selection import Alike
from shared.language.identifiers import stable_id
from shared.language.pairs import Pair

# More characters than a token has: as shared.encoding.chat reads at most.
_TOKEN_CHARACTERS = 32
_KEPT = 10_000


class AnswerReader:
    """Reads answers as training does (shared.encoding.chat): their first `answer_tokens` tokens. `bases`: where
    base models are, by served name. For one whose folder is not known, or has no tokenizer.json, no pair is
    found alike here, and training itself leaves out those that are. A tokenizer is loaded on first use (0.1 s,
    50 MB), which is rare: a token is at least a byte, so only answers that begin with the same `answer_tokens`
    bytes are looked at. Thread-safe."""

    def __init__(self, bases: Mapping[str, Path]) -> None:
        self._bases = bases
        self._turn = threading.Lock()
        self._tokenizers: dict[str, Any] = {}
        self._found: LRUCache[str, bool] = LRUCache(_KEPT)

    def alike(self, rules: Rules) -> Alike:
        """By the rules' base model."""
        return partial(self._are_alike, rules.base_model, rules.plan.answer_tokens)

    def _are_alike(self, base: str, most: int, pair: Pair) -> bool:
        read = most * _TOKEN_CHARACTERS
        chosen, rejected = (answer.text.strip()[:read] for answer in (pair.chosen, pair.rejected))
        begin = chosen.encode()[:most]
        if len(begin) < most or not rejected.encode().startswith(begin):
            return False
        key = stable_id(base, str(most), chosen, rejected)
        with self._turn:
            if key not in self._found:
                ids, others = self._ids(base, chosen, most), self._ids(base, rejected, most)
                self._found[key] = ids == others and bool(ids)
            return self._found[key]

    def _ids(self, base: str, text: str, most: int) -> list[int]:
        """Empty if there is no tokenizer."""
        if base not in self._tokenizers:
            self._tokenizers[base] = _load(self._bases.get(base))
        tokenizer = self._tokenizers[base]
        return tokenizer.encode(text, add_special_tokens=False).ids[:most] if tokenizer else []


def _load(folder: Path | None) -> Any:
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json" if folder else None
    if file is None or not file.is_file():
        return None
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer
