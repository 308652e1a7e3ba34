"""Sends the spans of calls to a collector of OpenTelemetry."""

from __future__ import annotations

import os

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

__all__ = ["send_traces"]


def send_traces() -> None:
    """Send spans from now on; OpenTelemetry's environment variables say where and how many."""
    # The variable wins over what is named here.
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: "t2i-serve"}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
