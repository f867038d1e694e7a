"""A disk that fails."""

import errno
import os
from pathlib import Path
from typing import IO

from services.gateway.adapters.segments import Disk


class FullDisk(Disk):
    """No room for what is named in `fails`, until it is taken out."""

    def __init__(self) -> None:
        self.fails: set[str] = set()

    def open(self, path: Path) -> IO[bytes]:
        self._check("open")
        return super().open(path)

    def write(self, file: IO[bytes], content: bytes) -> None:
        if "write" in self.fails:
            file.write(content[: len(content) // 2])
        self._check("write")
        super().write(file, content)

    def replace(self, path: Path, text: str) -> None:
        self._check("replace")
        super().replace(path, text)

    def remove(self, path: Path) -> None:
        self._check("remove")
        super().remove(path)

    def _check(self, name: str) -> None:
        if name in self.fails:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
