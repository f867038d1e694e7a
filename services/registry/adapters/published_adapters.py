"""Adapters of a registry that shares no volume with the replicas: in its own folder, and in object storage."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.registry.adapters.adapter_bucket import AdapterBucket
from services.registry.adapters.adapter_folder import AdapterFolder
from shared.language.errors import TrimtabError
from shared.language.known_answers import KnownAnswers

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PublishedAdapters:
    """What another replica of the registry has published is brought when it is asked for."""

    folder: AdapterFolder
    bucket: AdapterBucket

    def inspect(self, folder: str, base_model: str) -> str:
        return self.folder.inspect(folder, base_model)

    def place(self, folder: str, served_name: str, digest: str) -> str:
        self._bring(served_name)
        placed = self.folder.place(folder, served_name, digest)
        self.bucket.publish(served_name, Path(placed))
        return placed

    def known_answers(self, served_name: str) -> KnownAnswers | None:
        self._bring(served_name)
        return self.folder.known_answers(served_name)

    def settle(self) -> str:
        """What cannot be read or written in the storage is said, and stays as it is there: the registry starts
        all the same."""
        names = list[str]()
        with _said():
            names += self.bucket.signatures()
        for name in names:
            with _said():
                self._bring(name)
        found = self.folder.settle()
        for name in names:
            if (self.folder.root / name).is_dir():
                with _said():
                    self.bucket.publish(name, self.folder.root / name)
        return found

    def remove(self, served_name: str) -> None:
        self.bucket.withdraw(served_name)
        self.folder.remove(served_name)

    def _bring(self, name: str) -> None:
        target = self.folder.root / name
        if not target.is_dir() and (manifest := self.bucket.manifest(name)):
            self.bucket.bring(name, manifest, target)


@contextmanager
def _said() -> Iterator[None]:
    try:
        yield
    except TrimtabError as error:
        _log.warning("an adapter is not settled in its storage: %s", error.message)
