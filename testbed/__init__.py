"""What the demo, the conformance run and the client run share: processes, and the gate before a server."""
