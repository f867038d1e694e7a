"""In which numbers language models are computed on this machine's processor.

Weights come in bfloat16. A processor with bfloat16 instructions computes in it about as fast as in float32 or
faster, and reads half the memory; without them a model is up to forty times as slow in bfloat16 as in float32.
Seen once, SmolLM2-135M on two cores of a Zen 3: 276 s against 7.5 s forward and backward over eight sequences
of 160 tokens, 20 against 94 tokens/s in vLLM for 25 requests at once.
"""

from __future__ import annotations

from pathlib import Path

_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
_CPUINFO = Path("/proc/cpuinfo")


def has_bfloat16(cpuinfo: Path = _CPUINFO) -> bool:
    """Whether the processor says that it has bfloat16 instructions (x86-64: AVX-512 or AMX; ARM). False where
    nobody says, as outside Linux."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return False
    flags = (line.partition(":") for line in lines)
    return any(
        name.strip() in ("flags", "Features") and not _FLAGS.isdisjoint(value.split())
        for name, _, value in flags
    )


def dtype_name() -> str:
    """As torch and vLLM call it."""
    return "bfloat16" if has_bfloat16() else "float32"
