"""What a run of steps prints: a row as each step ends, the audit records, the closing line.

Beside what is printed it keeps the same text with all that varies from run to run blanked,
which is compared with a golden file. It judges nothing but a row's own seen and expected.
"""

import difflib
import json
import os
import re
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

HEAD = ("", "STEP", "EXPECTED", "SEEN", "REASON", "MS")
WIDTHS = (4, 34, 28, 28, 21, 5)  # of the columns, where a run has no others
VARYING_KEY = re.compile(r"decision|session|(^|_)source|trace|time|digest|cache|callout|worker|(_|^)(ms|us|age|port)(_|$)")
VARYING_TEXT = re.compile(r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b|\b[0-9a-f]{16,}\b")


@dataclass
class Row:
    step: str
    expected: str
    expected_reason: str
    seen: str = "nothing"
    reason: str = "-"
    ms: int = 0
    passed: bool = False
    audit: dict = field(default_factory=dict)  # what the step's audit record must hold

    def saw(self, text, reason="-", enough=None):
        """Notes what was seen; it must equal what was expected, unless `enough` decides."""
        self.seen, self.reason = text, reason
        as_expected = text == self.expected if enough is None else enough
        self.passed = as_expected and reason == self.expected_reason


class Report:
    def __init__(self, as_json=False, golden_head="", widths=WIDTHS):
        self.as_json = as_json
        self.golden_head = golden_head
        self.widths = widths
        self.colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self.rows = []
        self.records = []
        self.blanked = []  # the text for the golden file

    @contextmanager
    def step(self, name, expected, reason="-"):
        """Times the step, and prints its row; whatever it raises makes the row fail."""
        if not self.rows:
            self.write(self.line(HEAD))
        row = Row(name, expected, reason)
        started = time.monotonic()
        try:
            yield row
        except Exception as error:
            row.passed, row.seen = False, innermost(error)
        row.ms = round((time.monotonic() - started) * 1000)
        self.rows.append(row)
        mark = "pass" if row.passed else "FAIL"
        cells = (mark, row.step, row.expected, row.seen, row.reason, row.ms)
        steady = (*cells[:3], re.sub(r"\d+ %", "<n> %", row.seen), row.reason, "<ms>")
        self.write(self.line(cells), self.line(steady))
        if not row.passed:
            self.write(f"     wanted: {expected}, reason {reason}\n     got:    {row.seen}, reason {row.reason}")

    def audit(self, records, origin):
        """Prints the records as they were written, one a line."""
        self.records += records
        self.write(f"\nAUDIT RECORDS of these steps, as Envoy wrote them to {origin}")
        for record in records:
            self.write(compact(record), compact(blank(record)))

    def close(self):
        """Prints the closing line; true if every row passed."""
        passed = sum(row.passed for row in self.rows)
        failed = len(self.rows) - passed
        self.write(f"\n{passed} passed, {failed} failed")
        if self.as_json:
            rows = [asdict(row) for row in self.rows]
            print(json.dumps({"rows": rows, "audit": self.records, "passed": passed, "failed": failed}, indent=2))
        return failed == 0

    def write(self, text, steady=None):
        self.blanked.append(steady or text)
        if self.as_json:
            return
        if self.colour:
            text = re.sub(r"^pass", "\033[32mpass\033[0m", text)
            text = re.sub(r"^FAIL", "\033[1;31mFAIL\033[0m", text)
        print(text, flush=True)

    def line(self, cells):
        *texts, last = [str(cell) for cell in cells]
        line = [shortened(text, width).ljust(width) for text, width in zip(texts, self.widths)]
        return " ".join(line) + last.rjust(self.widths[-1])

    def golden(self):
        return self.golden_head + "\n".join(self.blanked) + "\n"

    def differs_from(self, path):
        """Compares with the golden file; prints the difference and is true if there is one."""
        wanted = path.read_text() if path.exists() else ""
        if wanted == self.golden():
            return False
        lines = (wanted.splitlines(True), self.golden().splitlines(True))
        sys.stderr.writelines(difflib.unified_diff(*lines, str(path), "this run"))
        return True


def shortened(text, width):
    return text if len(text) <= width else text[: width - 1] + "…"


def compact(record):
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False)


def blank(value, key=""):
    """The value with all that varies from run to run replaced by its name."""
    if VARYING_KEY.search(key) and value is not None:
        return f"<{key}>"
    if isinstance(value, dict):
        return {name: blank(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [blank(item) for item in value]
    if isinstance(value, str):
        return VARYING_TEXT.sub("<id>", value)
    return value


def innermost(error):
    """The first real error in a group of errors, as one line."""
    while hasattr(error, "exceptions"):
        error = error.exceptions[0]
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
