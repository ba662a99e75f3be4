"""Ctrl-C and SIGTERM: the first ends the work in order, the second at once, in the midst of a network call too."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}  # as a shell has them
PATIENCE = 1.0  # seconds after which a stop that waits for the network is spoken of


@contextmanager
def told(kept: str) -> Iterator[None]:
    """Inside, the first signal raises KeyboardInterrupt or SystemExit, with one line that ends with `kept`.

    The second ends the process, whatever it does: a signal's Python handler waits for the end of a network call, so a
    thread listens to what the system writes at once (signal.set_wakeup_fd). What is on the disk is whole at any moment.
    Outside of the main thread signals are somebody else's business.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ear, mouth = socket.socketpair()
    mouth.setblocking(False)
    before = signal.signal(signal.SIGTERM, _leave), signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
    listener = threading.Thread(target=_listen, args=(ear, kept), daemon=True)
    listener.start()
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        print(f"torchdiff: stopped; {kept}", file=sys.stderr)
        raise
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.set_wakeup_fd(before[1])
        mouth.close()  # the listener reads the end
        listener.join()
        ear.close()


def _leave(number: int, frame: Any) -> None:
    raise SystemExit(CODES[signal.Signals(number)])


def _listen(ear: socket.socket, kept: str) -> None:
    """Counts signals; returns when there are no more to come."""
    stops, patience = 0, None
    while True:
        ear.settimeout(patience)
        try:
            came = ear.recv(1)
        except TimeoutError:
            print("torchdiff: stopping when the network returns; once more stops at once", file=sys.stderr, flush=True)
            patience = None
            continue
        if not came:
            return
        if came[0] not in CODES:
            continue
        stops += 1
        patience = PATIENCE
        if stops == 2:
            # no exception and no clearing up: those are what the first signal waits for
            os.write(2, f"torchdiff: stopped at once; {kept}\n".encode())
            os._exit(CODES[signal.Signals(came[0])])
