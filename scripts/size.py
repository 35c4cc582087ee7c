#!/usr/bin/env python3
"""What takes how much room in the module: code by crate and, of the project's own, by module.

usage: scripts/size.py SHIPPED NAMED [-o json]

SHIPPED is the module as it is shipped, NAMED the same from the compiler with its functions' names. A function
counts for the crate that it was written in, as its name says; one that was inlined counts for where it went.
"""

import collections
import gzip
import json
import re
import sys

OWN = "mcp_iap"


def number(data, at):
    """An unsigned LEB128 number and the place behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if byte < 0x80:
            return value, at


def sections(module):
    """Id and content of each section."""
    at = 8
    while at < len(module):
        kind = module[at]
        size, at = number(module, at + 1)
        yield kind, module[at : at + size]
        at += size


def imported_functions(content):
    """How many functions are imported: they come first in numbering."""
    count, at = number(content, 0)
    functions = 0
    for _ in range(count):
        for _ in range(2):
            size, at = number(content, at)
            at += size
        kind, at = content[at], at + 1
        if kind == 0:
            functions += 1
            _, at = number(content, at)
        elif kind == 1:
            raise SystemExit("size: a table is imported, which this does not read")
        elif kind == 2:
            limits, at = content[at], at + 1
            for _ in range(2 if limits & 1 else 1):
                _, at = number(content, at)
        else:
            at += 2
    return functions


def names(content):
    """The functions' names by number, of the section `name`."""
    size, at = number(content, 0)
    if content[at : at + size] != b"name":
        return {}
    at += size
    found = {}
    while at < len(content):
        kind, (size, at) = content[at], number(content, at + 1)
        if kind == 1:
            count, here = number(content, at)
            for _ in range(count):
                index, here = number(content, here)
                length, here = number(content, here)
                found[index] = content[here : here + length].decode()
                here += length
        at += size
    return found


def part(name):
    """The crate of a mangled name; for the project's own, the module too."""
    legacy = re.findall(r"([a-z][a-z0-9_]*)\.\.([a-z][a-z0-9_]*)?", name) if name.startswith("_ZN") else []
    plain = re.match(r"_ZN(\d+)", name)
    if plain:
        start = plain.end()
        first = name[start : start + int(plain[1])]
        if not first.startswith("_$"):
            rest = re.match(r"(\d+)", name[start + int(plain[1]) :])
            second = ""
            if rest:
                begin = start + int(plain[1]) + rest.end()
                second = name[begin : begin + int(rest[1])]
            return f"{OWN}::{second}" if first == OWN else first
        own = [second for crate, second in legacy if crate == OWN]
        if own:
            return f"{OWN}::{own[0]}"
        return next((crate for crate, _ in legacy if crate not in ("core", "alloc", "std")), "core, alloc, std")
    crates = re.findall(r"C(?:s[0-9A-Za-z]*_)?(\d+)([a-zA-Z_][a-zA-Z0-9_]*)", name)
    crates = [text[: int(length)] for length, text in crates]
    found = next((crate for crate in crates if crate not in ("core", "alloc", "std")), crates[0] if crates else "")
    return found or "core, alloc, std"


def main():
    arguments = [argument for argument in sys.argv[1:] if argument not in ("-o", "json")]
    if len(arguments) != 2:
        sys.exit(__doc__)
    shipped, named = (open(path, "rb").read() for path in arguments)
    imported, bodies, known, data = 0, [], {}, 0
    for kind, content in sections(named):
        if kind == 2:
            imported = imported_functions(content)
        elif kind == 10:
            count, at = number(content, 0)
            for _ in range(count):
                size, at = number(content, at)
                bodies.append(size)
                at += size
        elif kind == 11:
            data = len(content)
        elif kind == 0:
            known.update(names(content))
    if not known:
        sys.exit("size: the second module has no names")
    parts = collections.Counter()
    for index, size in enumerate(bodies):
        name = part(known.get(imported + index, ""))
        parts["core, alloc, std" if name in ("core", "alloc", "std") else name] += size
    parts["(constants)"] = data
    rows = [{"part": name, "bytes": size} for name, size in parts.most_common()]
    total = {"shipped_bytes": len(shipped), "gzip_bytes": len(gzip.compress(shipped, 9)), "parts": rows}
    if "json" in sys.argv:
        print(json.dumps(total))
        return
    print(f"shipped: {len(shipped):,} bytes, {total['gzip_bytes']:,} by gzip -9\n")
    print("before wasm-opt, by part:")
    for row in rows[:30]:
        print(f"{row['bytes']:>10,}  {row['part']}")
    rest = sum(row["bytes"] for row in rows[30:])
    print(f"{rest:>10,}  the other {max(len(rows) - 30, 0)}")


if __name__ == "__main__":
    main()
