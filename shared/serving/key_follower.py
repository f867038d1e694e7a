"""Keeps a process's KeyBook in step with interaction, and a file for starting without interaction."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from google.protobuf.json_format import MessageToJson, Parse, ParseError

from shared.access.admission import KeyedAccess
from shared.access.key_book import KeyBook
from shared.access.quotas import Quotas
from shared.calls.client import Calling, aio_channel, calling_of, metadata
from shared.configuration.settings import CommonSettings, stop
from shared.contracts.keys import decode_watched, encode_uses
from shared.gen.trimtab.interaction.v1 import keys_pb2 as pb
from shared.gen.trimtab.interaction.v1.keys_pb2_grpc import KeyServiceStub
from shared.language.times import now

if TYPE_CHECKING:
    from shared.gen.trimtab.interaction.v1.keys_pb2_grpc import KeyServiceAsyncStub

_log = logging.getLogger(__name__)
_LONGEST_WAIT_S = 5.0
_REPORT_EVERY_S = 30.0


class KeyFile:
    """Holds digests only: a reader learns which tenants have keys, but no key. Mode 0600."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> pb.WatchKeysResponse | None:
        """None if there is no file, or if it cannot be read (which is logged)."""
        if not self._path.exists():
            return None
        try:
            return Parse(self._path.read_text(), pb.WatchKeysResponse())
        except (OSError, ParseError, UnicodeDecodeError) as error:
            _log.warning("ignoring %s, which cannot be read: %s", self._path, error)
            return None

    def save(self, known: pb.WatchKeysResponse) -> None:
        """Replaces the file atomically. Raises OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(MessageToJson(known))
        draft.replace(self._path)


class KeyFollower:
    """Fills `book` by WatchKeys and reconnects for as long as it takes. While interaction is unavailable the
    last known keys stay valid: a key revoked meanwhile is refused once the change arrives."""

    def __init__(self, address: str, calling: Calling, book: KeyBook, file: KeyFile) -> None:
        self._address, self._calling, self._book, self._file = address, calling, book, file
        # Whether changes would arrive now.
        self.connected = False
        known = file.load()
        if known is not None:
            book.put(*decode_watched(known))

    async def run(self) -> None:
        async with aio_channel(self._address, self._calling) as channel:
            stub = KeyServiceStub(channel)
            await asyncio.gather(self._follow(stub), self._report(stub))

    async def _follow(self, stub: KeyServiceAsyncStub) -> None:
        wait_s = 0.25
        while True:
            watch = stub.WatchKeys(pb.WatchKeysRequest(), metadata=metadata())
            try:
                async for response in watch:
                    self._received(response)
                    wait_s = 0.25
            except grpc.RpcError as error:
                _log.info("changes to keys are not arriving from interaction: %s", error.code())
            except Exception:  # noqa: BLE001 - it would end the process, and again after each start
                _log.exception(
                    "what interaction sent cannot be read; the last known keys stay valid"
                )
            watch.cancel()
            self.connected = False
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, _LONGEST_WAIT_S)

    def _received(self, response: pb.WatchKeysResponse) -> None:
        self.connected = True
        self._book.put(*decode_watched(response))
        try:
            self._file.save(response)
        except OSError as error:
            _log.error("the keys cannot be saved for a restart: %s", error)

    async def _report(self, stub: KeyServiceAsyncStub) -> None:
        while True:
            await asyncio.sleep(_REPORT_EVERY_S)
            request = encode_uses(self._book.take_uses())
            if not request.uses:
                continue
            try:
                await stub.ReportUses(request, metadata=metadata(), timeout=5)
            except grpc.RpcError as error:
                _log.info("uses of keys could not be reported: %s", error.code())


def guarded(
    common: CommonSettings, service: str, tenant: str = ""
) -> tuple[KeyedAccess, KeyFollower]:
    """How a service other than interaction admits its callers, and the follower that keeps its keys fresh."""
    book = KeyBook(now)
    file = KeyFile(common.data / service / "keys.json")
    follower = KeyFollower(common.interaction_address, calling_of(common), book, file)
    return keyed_access(common, book, tenant), follower


def keyed_access(common: CommonSettings, book: KeyBook, tenant: str = "") -> KeyedAccess:
    """Access by the keys in `book`. Ends the process with status 2 if the settings give trusted internal
    callers no way to identify themselves."""
    token = common.internal_token.get_secret_value()
    if len(token) < 16 and (token or common.tls_client_ca is None):
        words = "TRIMTAB_REQUIRE_KEYS needs 16 or more characters here, or TRIMTAB_TLS_CLIENT_CA"
        stop("TRIMTAB_INTERNAL_TOKEN", words)
    return KeyedAccess(book, Quotas(lambda: book.quotas), token, tenant)
