"""A shell that stays from block to block, as a reader's does: variables and functions are kept."""

import secrets
import select
import os
import subprocess
import time

ENDS_WITHIN = 120  # seconds


class Bash:
    """A context manager."""

    def __init__(self, folder, environment):
        self.process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def run(self, command):
        """The exit code and what was printed, both outputs together."""
        mark = f"ended-{secrets.token_hex(8)}"
        # The braces make one command of it, which may not read what is typed next.
        self.process.stdin.write(f"{{ {command}\n}} </dev/null\necho {mark} $?\n".encode())
        self.process.stdin.flush()
        said, deadline = "", time.monotonic() + ENDS_WITHIN
        while not (said.endswith("\n") and mark in said):
            readable, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
            piece = os.read(self.process.stdout.fileno(), 65536) if readable else b""
            if not piece:
                raise RuntimeError(f"does not end: {command}{said}")
            said += piece.decode(errors="replace")
        text, _, status = said.rpartition(mark)
        return int(status), text
