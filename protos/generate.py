"""Generates `shared/gen` from `protos/`: messages, typed stubs and gRPC services.

    python protos/generate.py            write shared/gen
    python protos/generate.py --check    exit 1 if shared/gen is not what would be written
    python protos/generate.py --image F  write a descriptor set with all imports (for buf)

Generated modules are importable as `shared.gen.trimtab.<package>.v1`: protoc writes absolute
imports of `trimtab...`, which are rewritten here so that no second package root is needed.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import google.rpc.status_pb2
import grpc_tools
from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
GENERATED = PROTOS.parent / "shared" / "gen"
_IMPORT = re.compile(r"^(\s*)(from|import) trimtab\b", re.MULTILINE)
_TYPE_NAME = re.compile(r"(?<![\w./\"'])trimtab\.(?=\w+\.v1\.)")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true", help="fail if shared/gen is out of date")
    parser.add_argument("--image", type=Path, help="write a descriptor set here instead")
    options = parser.parse_args(arguments)
    if options.image:
        return _protoc(
            ["--include_imports", "--include_source_info", f"--descriptor_set_out={options.image}"]
        )
    if options.check:
        return check()
    return generate(GENERATED)


def generate(target: Path) -> int:
    """Writes the modules below `target`; returns protoc's exit status."""
    target.mkdir(parents=True, exist_ok=True)
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    code = _protoc(
        [
            f"--python_out={target}",
            f"--grpc_python_out={target}",
            f"--mypy_out=quiet:{target}",
            f"--mypy_grpc_out=quiet:{target}",
        ]
    )
    if code:
        return code
    for path in _modules(target / "trimtab"):
        path.write_text(_rooted(path.read_text()))
    folders = (p for p in (target / "trimtab").rglob("*") if p.is_dir())
    for folder in [target, *(p for p in folders if p.name != "__pycache__")]:
        (folder / "__init__.py").touch()
    (target / "trimtab" / "__init__.py").touch()
    return 0


def check() -> int:
    """0 if shared/gen is exactly what would be generated; otherwise 1, with the differing files named."""
    with tempfile.TemporaryDirectory() as folder:
        code = generate(Path(folder))
        if code:
            return code
        differing = sorted(_differences(Path(folder), GENERATED))
    for name in differing:
        print(f"shared/gen/{name} is out of date: run `make proto` and commit it", file=sys.stderr)
    return 1 if differing else 0


def _differences(fresh: Path, kept: Path) -> set[str]:
    names = {str(p.relative_to(root)) for root in (fresh, kept) for p in _modules(root)}
    return {
        n
        for n in names
        if not (
            (fresh / n).exists()
            and (kept / n).exists()
            and filecmp.cmp(fresh / n, kept / n, shallow=False)
        )
    }


def _modules(root: Path) -> list[Path]:
    """The .py and .pyi files, without bytecode."""
    return sorted(p for p in root.rglob("*.py*") if p.suffix in (".py", ".pyi"))


def _protoc(outputs: list[str]) -> int:
    wellknown = Path(grpc_tools.__file__).parent / "_proto"
    googleapis = Path(google.rpc.status_pb2.__file__).parents[2]
    files = sorted(str(p) for p in PROTOS.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        # The googleapis wheel ships this file as `operations_proto.proto`, but its descriptor and every
        # import call it `operations.proto`.
        operations = Path(folder) / "google" / "longrunning" / "operations.proto"
        operations.parent.mkdir(parents=True)
        shutil.copy(googleapis / "google/longrunning/operations_proto.proto", operations)
        roots = [f"-I{root}" for root in (PROTOS, wellknown, folder, googleapis)]
        return int(protoc.main(["protoc", *roots, *outputs, *files]))


def _rooted(text: str) -> str:
    text = _IMPORT.sub(r"\1\2 shared.gen.trimtab", text)
    return _TYPE_NAME.sub("shared.gen.trimtab.", text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
