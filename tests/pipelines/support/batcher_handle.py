"""A sink that remembers, and short words for a batcher under test."""

import threading

from pipelines.server.batching.batcher import GenerationRequest, Sampling, Sink


class Remembered(Sink):
    """What came of one request."""

    def __init__(self, stop_after=None):
        self.tokens, self.reason, self.error = [], None, None
        self.over, self.stop_after = threading.Event(), stop_after

    @property
    def ids(self):
        return [token.id for token in self.tokens]

    def push(self, token):
        self.tokens.append(token)
        return len(self.tokens) == self.stop_after

    def finish(self, reason):
        self.reason = reason
        self.over.set()

    def fail(self, error):
        self.error = error
        self.over.set()

    def wait(self):
        assert self.over.wait(60), "the batcher did not answer"
        return self


class Handle:
    """A batcher under test."""

    def __init__(self, batcher, model, legal):
        self.batcher, self.model, self.legal = batcher, model, legal

    def submit(self, ids, max_new_tokens=12, *, sink=None, **fields):
        sink = sink or Remembered()
        sampling = {k: fields.pop(k) for k in ("temperature", "top_p", "seed") if k in fields}
        request = GenerationRequest(
            prompt_ids=ids, max_new_tokens=max_new_tokens, sampling=Sampling(**sampling), **fields
        )
        sink.number = self.batcher.submit(request, sink)
        return sink

    def answer(self, ids, max_new_tokens=12, **fields):
        return self.submit(ids, max_new_tokens, **fields).wait()
