"""What was freed goes back to the system."""

import subprocess
import sys

PROGRAM = """
import psutil
from shared.serving.heap import return_memory

def resident_mb():
    return psutil.Process().memory_info().rss / 2**20

blocks = [bytearray(60_000) for _ in range(2000)]  # below malloc's threshold for memory of its own
del blocks[:-1]  # the last one lies above all others and stays
before = resident_mb()
return_memory()
print(before - resident_mb())
"""


def test_freed_memory_is_returned_though_something_above_it_is_in_use() -> None:
    command = [sys.executable, "-c", PROGRAM]
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    assert float(said.stdout) > 90
