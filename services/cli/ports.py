"""What the use cases need from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from services.cli.domain import Json
from services.cli.domain.records import Imported, Item, Record, Refused


class Platform(Protocol):
    """The services over gRPC. The adapter is `GrpcPlatform`."""

    def call(self, part: str, method: str, request: Json, timeout_s: float = 10.0) -> Json:
        """Raises the TrimtabError that the service raised; Unavailable if it cannot be reached."""

    def stream(self, part: str, method: str, request: Json) -> Iterator[Json]:
        """The answers as they arrive; raises as `call` does, also between two answers."""


class Probe(Protocol):
    def trouble(self, part: str) -> str:
        """Empty if the PROBED part answers, otherwise why it does not."""


class Sent(Protocol):
    """A batch that was sent and not answered yet."""

    def refusals(self) -> list[tuple[int, str, str, str]]:
        """Waits until the rest is held by Kafka: (place in the batch, field, reason, detail) of what
        was refused. Unavailable, ResourceExhausted or DeadlineExceeded: it is to be sent again."""


class ImportTarget(Protocol):
    """Where conversations are imported to. The adapters are GrpcImport and HttpImport."""

    def send(self, items: Sequence[Item]) -> Sent:
        """Does not wait for the answer."""


# Steps of a conversation's turns that the gateway has not forwarded yet, by conversation id. Unavailable
# if the gateway does not answer.
Spooled = Callable[[str], Sequence[Json]]


class ImportFiles(Protocol):
    """Where the records of an import come from, and what is written beside it."""

    def files_of(self, path: Path) -> list[Path]:
        """Standard input (`-`), the file, or those of a folder. NotFound."""

    def records_of(self, path: Path, name: str) -> Iterator[Record]:
        """In order, as records of the file `name`. What cannot be cut out of the file comes as a record
        with its error, and what is wrong with the file as a whole as the last one."""

    def chitchat_records(self) -> Iterator[Record]:
        """The chats that come with the package chitchat-dataset."""

    def parse(self, raw: bytes) -> object:
        """A record's JSON. InvalidArgument says what is wrong with it, and where."""

    def report(self, path: Path, size: int) -> RefusalReport:
        """The report of an import that came as far as `size` bytes of it."""

    def progress(self, source: Path, options: Json, kept_in: Path | None) -> ImportProgress:
        """How far the import of `source` with these options has come. Without `kept_in` the place for it is
        found by the source."""


class RefusalReport(Protocol):
    """The refused records, each with its reason."""

    @property
    def size(self) -> int:
        """In bytes."""

    def add(self, refused: Sequence[Refused]) -> None: ...


class ImportProgress(Protocol):
    """What was acknowledged, and nothing that was not."""

    def load(self) -> tuple[Imported, dict[str, int], int] | None:
        """The sum, records done by file, and the report's size; None if there is nothing to resume."""

    def save(self, done: Imported, files: dict[str, int], report_bytes: int) -> None:
        """The old progress or the new one is there after a kill, never half of one."""

    def remove(self) -> None: ...


# Runs a program of another service with arguments, on our own streams; its exit code.
RunProgram = Callable[[str, Sequence[str]], int]
