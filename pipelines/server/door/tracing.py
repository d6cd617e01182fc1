"""A span a request for an OpenTelemetry collector, under the caller's own trace where it has one.

Names of attributes are OpenTelemetry's semantic conventions (http, gen_ai). The libraries are an
extra and are imported where a collector is named.
"""

from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dvse.errors import MissingExtraError
from dvse.version import __version__
from pipelines.server.caller import record_of
from pipelines.server.door.root_path import path_of


def otlp_tracer(endpoint: str) -> Any:
    """Return a tracer whose spans go to a collector (OTLP over HTTP), in a thread of its own.

    Raises:
        MissingExtraError: the libraries are not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise MissingExtraError.for_extra("opentelemetry", "otel") from None
    resource = Resource.create({"service.name": "dvse", "service.version": __version__})
    provider = TracerProvider(resource=resource)
    url = endpoint if endpoint.endswith("/v1/traces") else endpoint.rstrip("/") + "/v1/traces"
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)))
    return provider.get_tracer("dvse.serve", __version__)


class Tracing:
    """ASGI middleware around the whole app.

    Args:
        app: what lies behind it.
        tracer: makes spans.
    """

    def __init__(self, app: ASGIApp, tracer: Any) -> None:
        self._app, self._tracer = app, tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, inside a span."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind, Status, StatusCode

        path = path_of(scope)
        name = f"{scope['method']} {path}"
        parent = extract(dict(Headers(scope=scope)))
        with self._tracer.start_as_current_span(name, parent, SpanKind.SERVER) as span:

            async def seen_send(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.set_status(Status(StatusCode.ERROR))
                await send(message)

            await self._app(scope, receive, seen_send)
            record = record_of(scope)
            for key, value in {
                "http.request.method": scope["method"],
                "url.path": path,
                "gen_ai.request.model": record.model,
                "gen_ai.usage.input_tokens": record.prompt_tokens or None,
                "gen_ai.usage.output_tokens": record.completion_tokens or None,
                "dvse.request_id": record.request_id,
            }.items():
                if value is not None:
                    span.set_attribute(key, value)
