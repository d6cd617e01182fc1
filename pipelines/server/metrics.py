"""What Prometheus reads at `/metrics`. A registry of its own, so that two apps never collide."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from pipelines.server.answers.answer_stream import AnswerStream
from pipelines.server.batching.batcher import BatcherStats

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES = (0, 1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The counters of one server.

    Args:
        stats: of the batcher, asked when somebody reads; `None` before there is one.
    """

    def __init__(self, stats: Callable[[], BatcherStats | None]) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self.requests = Counter(
            "dvse_requests", "Requests by path and status", ["path", "status"], registry=registry
        )
        self.errors = Counter(
            "dvse_errors",
            "Refused and failed requests by path: 4xx, 429 (come back later), 5xx (our fault)",
            ["path", "kind"],
            registry=registry,
        )
        self.prompt_tokens = Counter("dvse_prompt_tokens", "Tokens of prompts", registry=registry)
        self.completion_tokens = Counter(
            "dvse_completion_tokens", "Tokens of answers", registry=registry
        )
        self.cancelled = Counter(
            "dvse_cancelled_answers", "Given up by the client", registry=registry
        )
        self.first_token = Histogram(
            "dvse_time_to_first_token_seconds",
            "From the request's arrival",
            buckets=_SECONDS,
            registry=registry,
        )
        self.per_token = Histogram(
            "dvse_time_per_token_seconds", "After the first", buckets=_SECONDS, registry=registry
        )
        self.batch_size = Histogram(
            "dvse_batch_size",
            "Answers under way when one begins",
            buckets=_SIZES,
            registry=registry,
        )
        for name, text, field in (
            ("dvse_running_answers", "Answers in the batch now", "running"),
            ("dvse_queued_answers", "Answers that wait now", "waiting"),
            ("dvse_cached_tokens", "Tokens that hold a place in the cache", "cached_tokens"),
            ("dvse_cache_tokens", "Tokens that the cache holds", "cache_tokens"),
            ("dvse_reused_tokens", "Prompt tokens that an earlier prompt had", "reused_tokens"),
            ("dvse_steps", "Forward passes", "steps"),
            ("dvse_drafted_tokens", "Tokens that a smaller model guessed", "drafted_tokens"),
            ("dvse_accepted_tokens", "Guessed tokens that were right", "accepted_tokens"),
        ):
            Gauge(name, text, registry=registry).set_function(_reader(stats, field))

    def count(self, path: str, status: int) -> None:
        """Note that a request is over."""
        self.requests.labels(path=path, status=str(status)).inc()
        if status >= 400:
            kind = "429" if status == 429 else "5xx" if status >= 500 else "4xx"
            self.errors.labels(path=path, kind=kind).inc()

    def observe(self, answer: AnswerStream, *, started: float) -> None:
        """Note an answer that is over, or was given up."""
        self.completion_tokens.inc(answer.num_tokens)
        if not answer.is_over:
            self.cancelled.inc()
        if answer.num_tokens:
            self.first_token.observe(answer.first_at - started)
        if answer.num_tokens > 1:
            self.per_token.observe((answer.last_at - answer.first_at) / (answer.num_tokens - 1))

    def text(self) -> bytes:
        """Return the exposition format."""
        return generate_latest(self.registry)


def _reader(stats: Callable[[], BatcherStats | None], field: str) -> Callable[[], float]:
    return lambda: float(getattr(stats(), field, 0))
