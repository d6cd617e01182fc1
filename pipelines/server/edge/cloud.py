"""The large model, over a socket: guesses go there, verdicts come back. Only ids travel."""

import json
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from dvse.errors import ConfigError
from pipelines.server.answers.verification import Verdict
from pipelines.server.batching.batcher import GenerationRequest
from pipelines.server.edge.settings import EdgeSettings

_LOG = logging.getLogger("dvse.edge")


class CloudDownError(Exception):
    """The large model cannot be asked, now."""


class CloudRefusedError(CloudDownError):
    """It does not take what it is asked; the message is its own."""


class Cloud:
    """Where the large model is.

    Args:
        settings: its address, and how patient to be.
        fingerprint: of the bundle here, which has to be that of the bundle there.
    """

    def __init__(self, settings: EdgeSettings, fingerprint: str) -> None:
        self._settings, self._fingerprint = settings, fingerprint
        self._down_until = 0.0
        self._lock = threading.Lock()

    def check(self) -> bool:
        """Ask for one token; return whether the large model can be reached.

        Raises:
            ConfigError: it can, and does not take what it is asked.
        """
        try:
            with self.open() as link:
                link.start(GenerationRequest(prompt_ids=[0], max_new_tokens=1), ())
        except CloudRefusedError as error:
            raise ConfigError(f"--cloud {self._settings.cloud}: {error}") from error
        except CloudDownError:
            return False
        return True

    @contextmanager
    def open(self) -> Iterator["Link"]:
        """Connect for one answer.

        Raises:
            CloudDownError: it cannot be reached, or could not a moment ago; inside, too.
        """
        with self._lock:
            if time.monotonic() < self._down_until:
                raise CloudDownError("it could not be reached a moment ago")
        settings = self._settings
        headers = {"Authorization": f"Bearer {settings.cloud_key}"} if settings.cloud_key else {}
        try:
            with connect(
                settings.verify_url,
                additional_headers=headers,
                open_timeout=settings.cloud_timeout_s,
                close_timeout=0.1,
                proxy=None,
            ) as socket:
                yield Link(socket, settings, self._fingerprint)
        except InvalidStatus as error:
            status = error.response.status_code
            message = f"it answers {status}"
            if status == 401:
                message += ", expected a key that it knows (--cloud-key)"
            kind = CloudRefusedError if status in (401, 403, 404) else CloudDownError
            self._note(message)
            raise kind(message) from error
        except (OSError, TimeoutError, WebSocketException) as error:
            self._note(str(error) or type(error).__name__)
            raise CloudDownError(str(error)) from error

    def _note(self, why: str) -> None:
        with self._lock:
            self._down_until = time.monotonic() + self._settings.cloud_pause_s
        _LOG.warning(
            "%s: %s; answering here for %g s",
            self._settings.cloud,
            why,
            self._settings.cloud_pause_s,
        )


class Link:
    """A connection for one answer.

    Attributes:
        num_trips: guesses that were sent.
    """

    def __init__(self, socket: ClientConnection, settings: EdgeSettings, fingerprint: str) -> None:
        self._socket, self._settings, self._fingerprint = socket, settings, fingerprint
        self.num_trips = 0

    def start(self, request: GenerationRequest, draft: Sequence[int]) -> Verdict:
        """Send a prompt and the first guess.

        Raises:
            CloudRefusedError: the large model does not take it.
        """
        rules = request.sampling
        return self._ask(
            {
                "model": self._settings.cloud_model,
                "fingerprint": self._fingerprint,
                "prompt_ids": list(request.prompt_ids),
                "draft_ids": list(draft),
                "begun": request.begun,
                "enable_thinking": request.thinking,
                "max_new_tokens": request.max_new_tokens,
                "temperature": rules.temperature,
                "top_p": rules.top_p,
                "top_k": rules.top_k,
                "min_p": rules.min_p,
                "repetition_penalty": rules.repetition_penalty,
                "frequency_penalty": rules.frequency_penalty,
                "presence_penalty": rules.presence_penalty,
                "logit_bias": {str(token): bias for token, bias in rules.logit_bias},
                "seed": rules.seed,
            }
        )

    def go_on(self, draft: Sequence[int]) -> Verdict:
        """Send the next guess."""
        return self._ask({"draft_ids": list(draft)})

    def _ask(self, message: dict[str, Any]) -> Verdict:
        self.num_trips += 1
        self._socket.send(json.dumps(message, separators=(",", ":")))
        found = json.loads(self._socket.recv(timeout=self._settings.cloud_timeout_s))
        if "error" in found:
            raise CloudRefusedError(str(found["error"].get("message")))
        return Verdict(ids=tuple(found["ids"]), finish_reason=found.get("finish_reason"))
