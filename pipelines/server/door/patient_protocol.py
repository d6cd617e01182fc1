"""uvicorn's protocol, with an end to its patience: headers have to arrive in time.

uvicorn waits for ever for a client that opens a connection and sends its request one byte at a
time (slow loris). Here such a connection is closed; bodies are bounded by `admission`.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


def patient_protocol(header_timeout_s: float) -> type[HttpToolsProtocol]:
    """Return a protocol class that waits so long for the headers of each request."""

    class PatientProtocol(HttpToolsProtocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._wait()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            if self._timer is None:
                self._wait()

        def on_headers_complete(self) -> None:
            self._stop_waiting()
            super().on_headers_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)

        def _wait(self) -> None:
            self._timer = self.loop.call_later(header_timeout_s, self._give_up)

        def _stop_waiting(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _give_up(self) -> None:
            if not self.transport.is_closing():
                self.transport.abort()

    return PatientProtocol
