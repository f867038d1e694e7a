"""Text that would drive a terminal."""

from __future__ import annotations

import re

from hypothesis import strategies as st

# Half of the examples hold what may drive a terminal.
TEXTS = (
    st.text(st.sampled_from("\x00\x08\t\n\r\x1b\x7f\x85\x9b\u202e\u2066[]\\:aé不🦆")) | st.text()
)
# All that must not reach one: controls but tab and newline, bidirectional overrides, halves of surrogate pairs.
DRIVES = re.compile(r"[^\t\n\x20-\x7e\xa0-\u2029\u202f-\u2065\u206a-\ud7ff\ue000-\U0010ffff]")
