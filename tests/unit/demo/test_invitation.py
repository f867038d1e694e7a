"""The demo says where to look as soon as there is something to see."""

import io

from infra.demo.__main__ import Invitation
from infra.demo.progress import Progress
from shared.commandline.terminal import Terminal


def test_the_address_is_said_once_the_dashboard_is_ready() -> None:
    shown = io.StringIO()
    invite = Invitation("http://127.0.0.1:8090", Progress(Terminal(file=shown, width=120)))
    for part in ("kafka", "gateway"):
        invite(part)
    assert shown.getvalue() == ""
    invite("dashboard")
    assert "http://127.0.0.1:8090" in shown.getvalue()
    assert "Who serves now" in shown.getvalue()
