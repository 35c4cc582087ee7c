"""Stands in for an OpenTelemetry collector that receives logs by OTLP over gRPC, which no package registry has as a program.
Protocol and messages are those of the official packages grpcio and opentelemetry-proto.

    python otlp.py PORT
"""

import json
import sys
from datetime import datetime, timezone

from line import serve, show
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc

NUMBERS = ("status", "duration_ms", "bytes_received", "bytes_sent")
# What Envoy writes for what is not there.
ABSENT = "-"


def entry(log):
    values = {each.key: each.value.string_value for each in log.attributes}
    began = datetime.fromtimestamp(log.time_unix_nano // 1_000_000_000, timezone.utc)
    body = log.body.string_value
    return {
        **{name: int(text) if name in NUMBERS else text for name, text in values.items()},
        "time": f"{began:%Y-%m-%dT%H:%M:%S}.{log.time_unix_nano // 1_000_000 % 1000:03}Z",
        "details": "" if values["details"] == ABSENT else values["details"],
        "mcp_iap": [] if body == ABSENT else [json.loads(body)],
    }


class Collector(logs_service_pb2_grpc.LogsServiceServicer):
    def Export(self, request, _context):
        for resource in request.resource_logs:
            for scope in resource.scope_logs:
                for log in scope.log_records:
                    show(**entry(log))
        return logs_service_pb2.ExportLogsServiceResponse()


if __name__ == "__main__":
    serve(lambda server: logs_service_pb2_grpc.add_LogsServiceServicer_to_server(Collector(), server), int(sys.argv[1]))
