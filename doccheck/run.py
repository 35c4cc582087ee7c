"""Runs what README and docs have their reader type, in a copy of the tree, on a real Envoy, and compares what is
printed where the document shows it.

Not run are blocks that say why they can't be, in a comment, and what .ci/run runs itself: `make TARGET`, and what a
comment says `make test-kube` runs. Both are counted. Exit code 0: all as it is written; 1: a difference; 2: something is missing.
`make test-docs` runs this.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))

from blocks import COMMANDS, fits, read, typed
from shell import Bash

from testbed.processes import ROOT, NotStarted, check_ports, need
from testbed.report import Report
from testbed.terminal import Shell, Terminal

OUT = ROOT / "target" / "docs"
MAX_NOT_RUN = 3
PORTS = {"the documents": 10000, "Envoy's admin interface": 9901, "the demo's provider": 9400, "its MCP server": 8000}
NEEDS = {"the demo's servers": ("make demo-servers", "ready; Ctrl-C ends both")}
SHOWN_WITHIN = 15  # seconds; Envoy writes its log in batches


def main():
    options = arguments()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        need(options.cli, "run make build")
        need(ROOT / "dist/mcp_iap.wasm", "run make build")
        check_ports(PORTS)
    except NotStarted as missing:
        print(f"docs: {missing}", file=sys.stderr)
        return 2
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    report = Report(widths=(4, 26, 74, 24, 1, 5))
    run = Run(report, options.cli)
    for path in options.documents or documents():
        run.document(path.resolve())
    with report.step("all documents", f"at most {MAX_NOT_RUN} blocks not run") as row:
        seen = f"{run.excused} not run, {run.by_ci} by .ci/run"
        row.saw(seen, enough=run.excused <= MAX_NOT_RUN and run.ran > 0)
    return 0 if report.close() else 1


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "release/mcp-iap"
    parser.add_argument("--cli", type=Path, default=cli, metavar="PATH", help="the command line")
    parser.add_argument("documents", nargs="*", type=Path, help="default: all")
    return parser.parse_args()


def documents():
    named = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "clients/README.md", "conformance/README.md")]
    return [*named, *sorted((ROOT / "docs").glob("*.md"))]


def copy_of_the_tree(name, cli):
    """What `git clone` and `make build` leave, with the changes that are not committed yet."""
    folder = OUT / name
    files = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for file in subprocess.run(files, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0"):
        if file and (ROOT / file).is_file():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, folder / file)
    for name, built in (("target/release/mcp-iap", cli), ("dist/mcp_iap.wasm", ROOT / "dist/mcp_iap.wasm")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(built, folder / name)
    (folder / "tmp").mkdir()
    return folder


class Run:
    """Counts over all documents."""

    def __init__(self, report, cli):
        self.report = report
        self.cli = cli
        self.ran = self.by_ci = self.excused = 0
        self.targets = set(re.findall(r"^make ([\w-]+)", (ROOT / ".ci/run").read_text(), re.MULTILINE)) | {"build"}

    def document(self, path):
        blocks, needs = read(path.read_text(encoding="utf-8"))
        blocks = [block for block in blocks if block.language in COMMANDS or block.mark]
        if not blocks:
            return
        name = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name
        folder = copy_of_the_tree(name.replace("/", "-"), self.cli)
        environment = {
            **os.environ,
            "PATH": f"{folder / 'target/release'}:{os.environ['PATH']}",
            "MCP_IAP_DEPS": os.environ.get("MCP_IAP_DEPS") or str(ROOT / ".deps"),
            "TMPDIR": str(folder / "tmp"),
            "TERM": "dumb",
        }
        with ExitStack() as whole:
            page = Page(self, name, folder, environment, whole)
            for need in needs:
                page.start(whole, *NEEDS[need])
            for block in blocks:
                with self.report.step(f"{name}:{block.line}", (block.text.splitlines() or [""])[0]) as row:
                    page.block(row, block)
            page.leave_section()


class Page:
    """A document on its way from block to block."""

    def __init__(self, run, name, folder, environment, whole):
        self.run = run
        self.name = name
        self.folder = folder
        self.whole = whole
        self.shell = Shell(folder, environment)
        self.bash = whole.enter_context(Bash(folder, environment))
        self.section = None
        self.here = ExitStack()
        self.printed = ""
        self.terminal = None

    def block(self, row, block):
        if block.section != self.section:
            self.leave_section()
            self.section = block.section
        self.note(f"\n--- {self.name}:{block.line} {block.mark}\n{block.text}")
        if block.language not in COMMANDS:
            row.saw(self.text(block), enough=True)
        elif block.mark == "not run":
            self.run.excused += 1
            row.saw(f"not run: {block.rest}", enough=bool(block.rest))
        elif block.mark == "run by make test-kube":
            self.run.by_ci += 1
            row.saw("run by make test-kube", enough=bool(block.rest))
        elif self.is_run_by_ci(block.text):
            self.run.by_ci += 1
            row.saw("run by .ci/run", enough=True)
        else:
            self.run.ran += 1
            row.saw(self.commands(block), enough=True)

    def is_run_by_ci(self, text):
        """`make build` as well: it has been run, or there would be nothing to copy."""
        lines = [line.split("#")[0].strip() for line in text.splitlines()]
        lines = [line for line in lines if line and not line.startswith("export PATH=")]
        return bool(lines) and all(
            line.startswith("make ") and set(line.split()[1:]) <= self.run.targets for line in lines
        )

    def commands(self, block):
        if block.mark == "stays up":
            self.start(self.here, block.text, block.rest)
            return "up"
        if block.mark == "stays up until the end":
            self.start(self.whole, block.text, block.rest)
            return "up"
        if block.mark == "until":
            with ExitStack() as once:
                self.start(once, block.text, block.rest)
            return "ran until Ctrl-C"
        self.printed = ""
        for command in typed(block):
            status, said = self.bash.run(command.command)
            self.printed += said
            self.note(f"{said}({status})\n")
            # A command that is shown to find a fault prints it; one without output must succeed.
            if status != 0 and not command.output:
                raise Difference(f"`{command.command.strip()}` ends with {status}: {said}")
            if command.output is not None and not fits(command.output, said):
                raise Difference(f"`{command.command.strip()}` prints:\n{said}")
        return "ran"

    def start(self, stack, command, text):
        """Starts what goes on by itself; Ctrl-C ends it with its stack."""
        terminal = Terminal(self.shell, "bash", "-c", command)
        stack.enter_context(terminal)
        stack.callback(self.end, terminal)
        shown = terminal.shows(text)
        self.terminal = terminal
        end = shown.index("\n", shown.index(text)) + 1 if "\n" in shown[shown.index(text) :] else len(shown)
        self.printed = shown[:end]

    def end(self, terminal):
        status = terminal.ctrl_c()
        self.note(f"{terminal.text}(Ctrl-C: {status})\n")

    def text(self, block):
        if block.mark == "prints":
            if not fits(block.text, self.printed):
                raise Difference(f"printed was:\n{self.printed}")
            return "as printed"
        if block.mark == "shows":
            wanted, deadline = "...\n" + block.text + "...\n", time.monotonic() + SHOWN_WITHIN
            while not fits(wanted, self.terminal.text):
                if time.monotonic() > deadline:
                    raise Difference(f"shown was:\n{self.terminal.text}")
                self.terminal.read()
            return "as shown"
        section, file = re.fullmatch(r"the section `(.+)` of (\S+)", block.rest).groups()
        path = self.folder / file
        path.write_text(replaced(path.read_text(), section, block.text))
        return f"written into {file}"

    def leave_section(self):
        self.here.close()
        self.here = ExitStack()

    def note(self, text):
        with open(OUT / "typed.log", "a", encoding="utf-8") as log:
            log.write(text)


class Difference(Exception):
    """What was printed is not what the document shows."""


def replaced(text, section, by):
    """The lines from `section` up to the next that begins something else at the margin."""
    lines = text.splitlines(keepends=True)
    start = next(number for number, line in enumerate(lines) if line.startswith(section))
    end = next((n for n, line in enumerate(lines) if n > start and line[0] not in " \n-"), len(lines))
    return "".join(lines[:start]) + by + "".join(lines[end:])


if __name__ == "__main__":
    sys.exit(main())
