"""A proxy on loopback that delays what passes, counts it, and can be cut: a link far away."""

import queue
import socket
import threading
import time
from contextlib import contextmanager, suppress


class DelayingProxy:
    """Passes bytes on `delay_s` later, each way; a connection is open a round trip later.

    Attributes:
        address: `http://HOST:PORT`.
        sent: the bytes from clients.
        num_received: bytes to clients.
        cut_after: so many bytes to clients, then the line is dead; `None` for never.
    """

    def __init__(self, target, *, delay_s):
        self._target, self._delay_s = target, delay_s
        self.sent, self.num_received, self.cut_after = bytearray(), 0, None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets = [self._listener]
        self._threads = []
        self._run(self._listen)

    def cut(self):
        """End all connections and take no more."""
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def stop(self):
        """Cut, and wait for the threads."""
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def _run(self, work, *args):
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen(self):
        with suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                self._sockets.append(here)
                self._run(self._join, here)

    def _join(self, here):
        time.sleep(2 * self._delay_s)
        with suppress(OSError):
            there = socket.create_connection(self._target)
            self._sockets.append(there)
            self._run(self._pass, here, there, self._count_sent)
            self._run(self._pass, there, here, self._count_received)

    def _pass(self, source, target, count):
        waiting = queue.SimpleQueue()
        self._run(self._write, waiting, target, count)
        data = b"?"
        while data:
            try:
                data = source.recv(65536)
            except OSError:
                data = b""
            waiting.put((time.monotonic() + self._delay_s, data))

    def _write(self, waiting, target, count):
        with suppress(OSError):
            while True:
                due, data = waiting.get()
                time.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    target.shutdown(socket.SHUT_WR)
                    return
                count(data)
                target.sendall(data)

    def _count_sent(self, data):
        self.sent += data

    def _count_received(self, data):
        self.num_received += len(data)
        if self.cut_after is not None and self.num_received > self.cut_after:
            self.cut()


@contextmanager
def delayed(address, *, delay_s=0.0):
    """Yield a proxy in front of `http://HOST:PORT`."""
    host, port = address.removeprefix("http://").split(":")
    proxy = DelayingProxy((host, int(port)), delay_s=delay_s)
    try:
        yield proxy
    finally:
        proxy.stop()
