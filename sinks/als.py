"""Stands in for a collector that Envoy's gRPC access log service (envoy.service.accesslog.v3) speaks to, which no package
registry has as a program. Protocol and messages are those of the official packages grpcio and xds-protos.

    python als.py PORT
"""

import json
import sys
from datetime import datetime, timezone

from envoy.service.accesslog.v3 import als_pb2, als_pb2_grpc
from google.protobuf.wrappers_pb2 import BytesValue
from line import serve, show

# Envoy's names of its response flags in a text, by those of its messages.
FLAGS = {
    "failed_local_healthcheck": "LH",
    "no_healthy_upstream": "UH",
    "upstream_request_timeout": "UT",
    "local_reset": "LR",
    "upstream_remote_reset": "UR",
    "upstream_connection_failure": "UF",
    "upstream_connection_termination": "UC",
    "upstream_overflow": "UO",
    "no_route_found": "NR",
    "unauthorized_details": "UAEX",
    "downstream_connection_termination": "DC",
    "upstream_retry_limit_exceeded": "URX",
    "stream_idle_timeout": "SI",
    "invalid_envoy_request_headers": "IH",
    "downstream_protocol_error": "DPE",
    "upstream_max_stream_duration_reached": "UMSDR",
    "no_filter_config_found": "NFCF",
    "duration_timeout": "DT",
    "upstream_protocol_error": "UPE",
    "no_cluster_found": "NC",
    "overload_manager": "OM",
    "dns_resolution_failure": "DF",
    "downstream_remote_reset": "DR",
}


def record(common):
    """The filter's record, a list of none where there is none."""
    state = common.filter_state_objects.get("wasm.mcp_iap")
    if state is None:
        return []
    value = BytesValue()
    if not state.Unpack(value):
        raise ValueError(f"the record is a {state.type_url}")
    return [json.loads(value.value)]


def entry(log):
    common, answer = log.common_properties, log.response
    began = datetime.fromtimestamp(common.start_time.seconds, timezone.utc)
    return {
        "time": f"{began:%Y-%m-%dT%H:%M:%S}.{common.start_time.nanos // 1_000_000:03}Z",
        "status": answer.response_code.value,
        "duration_ms": common.duration.seconds * 1000 + common.duration.nanos // 1_000_000,
        "bytes_received": log.request.request_body_bytes,
        "bytes_sent": answer.response_body_bytes,
        "source": common.downstream_remote_address.socket_address.address,
        "flags": ",".join(FLAGS[field.name] for field, _ in common.response_flags.ListFields()) or "-",
        "details": answer.response_code_details,
        "mcp_iap": record(common),
        # What this logger has beside that.
        "path": log.request.path,
        "interim": common.intermediate_log_entry,
    }


class Collector(als_pb2_grpc.AccessLogServiceServicer):
    def StreamAccessLogs(self, messages, _context):
        for message in messages:
            for log in message.http_logs.log_entry:
                show(**entry(log))
        return als_pb2.StreamAccessLogsResponse()


if __name__ == "__main__":
    serve(lambda server: als_pb2_grpc.add_AccessLogServiceServicer_to_server(Collector(), server), int(sys.argv[1]))
