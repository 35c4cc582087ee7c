"""Prints what a receiver of records got as one JSON object a line, as Envoy's file has it; and serves until it is ended."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc

MAX_MESSAGE = 16 * 1024 * 1024


def show(**line):
    """One line; what came of a request."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def serve(add, port):
    """`add` puts the service into the server."""
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", MAX_MESSAGE)])
    add(server)
    if server.add_insecure_port(f"127.0.0.1:{port}") != port:
        sys.exit(f"port {port} is not to be had")
    server.start()
    server.wait_for_termination()
