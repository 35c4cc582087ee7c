"""Reads what a Markdown document has its reader do: blocks of commands, of output, and of text for a file.

An HTML comment right above a block says what the block can't say itself:

    <!-- stays up: TEXT -->               runs until the end of its section; ready when it shows TEXT
    <!-- stays up until the end: TEXT --> the same until the end of the document
    <!-- until: TEXT -->                  runs until it shows TEXT, then Ctrl-C
    <!-- prints -->                       a text block: what the block before printed
    <!-- shows -->                        a text block: what one that stays up shows by then
    <!-- replaces the section `NAME:` of FILE -->   a block that is written into a file
    <!-- run by make test-kube: WITHOUT -->  what a real API server is asked there, and what is not there
    <!-- not run: REASON -->              why this one can't be run
    <!-- needs: NAME -->                  what is started before the document's first block
"""

import re
from dataclasses import dataclass

COMMANDS = ("sh", "console", "bash", "shell")
WORDS = "stays up until the end|stays up|until|prints|shows|replaces|run by make test-kube|not run|needs"
MARK = re.compile(rf"<!--\s*({WORDS})\b:?\s*(.*?)\s*-->")


@dataclass
class Block:
    line: int
    language: str
    text: str
    mark: str  # the comment's word, or ""
    rest: str  # what follows it
    section: str


@dataclass
class Typed:
    """A command, and what it prints as far as the document says; `None` where it does not say."""

    command: str
    output: str | None = None


def read(text):
    """The document's blocks in their order, and the names that it needs."""
    blocks, needs = [], []
    mark, section, inside = ("", ""), "", None
    for number, line in enumerate(text.splitlines(), 1):
        if inside is not None:
            block, indent = inside
            if line.strip() == "```":
                blocks.append(block)
                inside = None
            else:
                block.text += line.removeprefix(indent) + "\n"
            continue
        stripped = line.strip()
        if stripped.startswith("```"):
            block = Block(number, stripped[3:].strip(), "", *mark, section)
            inside, mark = (block, line[: len(line) - len(line.lstrip())]), ("", "")
        elif found := MARK.fullmatch(stripped):
            if found[1] == "needs":
                needs.append(found[2])
            else:
                mark = (found[1], found[2])
        elif stripped.startswith("<!--"):
            raise ValueError(f"line {number}: {stripped} is none of the comments that are known")
        elif stripped:
            mark = ("", "")
            if re.match(r"#{1,2} ", line):
                section = line
    return blocks, needs


def typed(block):
    """The commands of a block, in order."""
    if block.language != "console":
        return [Typed(block.text)]
    commands = []
    for line in block.text.splitlines(keepends=True):
        if line.startswith("$ "):
            commands.append(Typed(line[2:], ""))
        elif not commands:
            raise ValueError(f"line {block.line}: a console block begins with `$ `")
        else:
            commands[-1].output += line
    return commands


def fits(wanted, seen):
    """Whether the text is what the document shows: `<...>` stands for anything in a line, a line `...` for lines."""
    lines = [
        r"(?:.*\n)*?" if line.strip() == "..." else re.sub(r"<[^<>\n]*>", ".*?", quoted(line)) + r"[ \t]*\n"
        for line in wanted.splitlines()
    ]
    return re.fullmatch("".join(lines), ended(seen)) is not None


def quoted(line):
    """The line for a regular expression, but for the angle brackets of what varies."""
    return "".join(char if char in "<>" else re.escape(char) for char in line.rstrip())


def ended(text):
    return text if text.endswith("\n") or not text else text + "\n"
