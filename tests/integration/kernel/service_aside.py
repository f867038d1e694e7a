"""A service that test_aside.py kills: it does nothing but have work done aside."""

from __future__ import annotations

import threading

from shared.serving.aside import Aside

if __name__ == "__main__":
    Aside("tests.integration.kernel.worker_aside", 5.0).run(threading.Event())
