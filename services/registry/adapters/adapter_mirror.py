"""Keeps a folder, in which a vLLM replica finds adapters by name, as the adapters' storage says."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from services.registry.adapters.adapter_bucket import COMING, AdapterBucket
from services.registry.adapters.adapter_folder import remove, writing
from shared.language.errors import Internal

_log = logging.getLogger(__name__)
# There once everything was brought for the first time.
READY = ".mirrored"


class AdapterMirror:
    """Owns the folder `root`. What is served from there meanwhile is never seen half."""

    def __init__(self, bucket: AdapterBucket, root: Path) -> None:
        self._bucket, self._root = bucket, root
        # By name, the signature of what is here.
        self._here: dict[str, str] = {}
        # What was said of those that cannot be read, so that it is said once.
        self._said: dict[str, str] = {}

    def once(self) -> bool:
        """Brings what is new or has changed, removes what was withdrawn. Whether anything was. An adapter that
        cannot be read is said and tried again; the others come. Raises Unavailable while the storage does
        not answer, or the folder cannot be written: what is here stays.

        Storage without a single adapter, where some are here, is taken for one that was emptied by mistake:
        nothing is removed then."""
        for left in self._root.glob(f"{COMING}*"):  # by a process that was killed
            shutil.rmtree(left)
        wanted = self._bucket.signatures()
        came = [name for name, sign in wanted.items() if self._brought(name, sign)]
        gone = [path for path in self._folders() if path.name not in wanted] if wanted else []
        for path in gone:
            remove(self._root, path.name)
            self._here.pop(path.name, None)
            _log.info("%s was withdrawn", path.name)
        with writing(self._root):
            self._root.mkdir(parents=True, exist_ok=True)
            (self._root / READY).touch()
        return bool(came or gone)

    def _brought(self, name: str, signature: str) -> bool:
        if self._here.get(name) == signature:
            return False
        try:
            return self._compared(name, signature)
        except Internal as error:
            if self._said.get(name) != signature:
                _log.error("%s", error.message)
            self._said[name] = signature
            return False

    def _compared(self, name: str, signature: str) -> bool:
        manifest = self._bucket.manifest(name)
        if manifest is None:  # withdrawn at this moment
            return False
        is_new = not manifest.is_of(self._root / name)
        if is_new:
            self._bucket.bring(name, manifest, self._root / name)
            _log.info("%s came", name)
        self._here[name] = signature
        return is_new

    def _folders(self) -> list[Path]:
        found = self._root.iterdir() if self._root.is_dir() else ()
        return [path for path in found if path.is_dir() and not path.name.startswith(".")]
