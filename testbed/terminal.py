"""What a person types, and what the terminal shows: commands that end, and one that goes on until Ctrl-C."""

import os
import pty
import re
import select
import signal
import subprocess
import time

ENDS_WITHIN = 60  # seconds; a build machine may be busy
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Shell:
    """A folder in which commands are typed; `environment` comes on top of this process's own."""

    def __init__(self, folder, environment):
        self.folder = folder
        self.environment = {**os.environ, **environment}

    def run(self, *command):
        """The command's exit code and what it wrote, both outputs together."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=ENDS_WITHIN,
        )
        return done.returncode, done.stdout


class Terminal:
    """A terminal of its own, with one command in the foreground: Ctrl-C reaches it as it would by hand."""

    def __init__(self, shell, *command):
        self.text = ""
        self.status = None
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(shell.folder)
            os.execvpe(command[0], command, shell.environment)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Whatever happened, the command does not go on."""
        if self.status is None:
            os.kill(self.pid, signal.SIGTERM)
            self.wait(lambda: False, "", ENDS_WITHIN)
        os.close(self.terminal)

    def children(self):
        """Process ids of what the command started."""
        with open(f"/proc/{self.pid}/task/{self.pid}/children") as file:
            return [int(pid) for pid in file.read().split()]

    def shows(self, text, seconds=ENDS_WITHIN):
        """Waits until the text is there; the whole of what was shown so far."""
        return self.wait(lambda: text in self.text, text, seconds)

    def ctrl_c(self):
        """The exit code with which the command ends then."""
        if self.status is None:
            os.write(self.terminal, b"\x03")
        self.wait(lambda: False, "", ENDS_WITHIN)
        return self.status

    def wait(self, is_there, text, seconds):
        deadline = time.monotonic() + seconds
        while not is_there():
            if self.status is not None:
                if not text:
                    return self.text
                raise RuntimeError(f"ended with {self.status} before it showed {text!r}: {self.text}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"did not show {text!r} within {seconds} s: {self.text}")
            self.read()
        return self.text

    def read(self):
        readable, _, _ = select.select([self.terminal], [], [], 0.1)
        try:
            piece = os.read(self.terminal, 65536) if readable else None
        except OSError:  # nobody holds the other end any more
            piece = b""
        if piece == b"":
            _, status = os.waitpid(self.pid, 0)
            self.status = os.waitstatus_to_exitcode(status)
        elif piece:
            self.text += COLOUR.sub("", piece.decode(errors="replace").replace("\r\n", "\n"))


def is_running(pid):
    """A process that has ended and was not waited for yet does not run."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
