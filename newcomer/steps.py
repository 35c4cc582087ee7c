"""The newcomer's way, step by step, and what must be seen at each."""

import re

import httpx2
from agent import TIMEOUT, ask_bare
from calls import CALLS, calls, shown_by_run
from paste import paste
from stack import EDGE, ISSUER, LEDGER, LOCAL, OUT, PASTED, ROOT, SEEN, UPSTREAM

from testbed.processes import accepts, check_ports
from testbed.terminal import Shell, Terminal, is_running

CLI = "target/release/mcp-iap"
FILE = "mcp-iap.yaml"

# What the newcomer writes where `init` left a place, with four mistakes.
FIRST_EDIT = {
    "    # audiences: [name]           # `aud`, where that is not `resource`": "    audience: [ledger-api]",
    "    # groups_claim: roles         # where the caller's groups stand; dots lead into objects": (
        "    groups_claim: realm_access.roles"
    ),
    """\
    # Every authenticated caller may do this; say who, for example:
    # to: { groups: [dev] }
""": """\
    to: { groups: [clerk] }
  - id: clerks-book
    allow: { tools: [book_transfers] }
    to: { group: [clerk] }
    arguments:
      cents: { integer: { min: 1, max: 50000 } }
      currency: { in: [EUR, CHF] }
  - id: audit-of-rent
    allow: { tools: [statement] }
    to: { groups: [auditor] }
    arguments: { acount: { in: [rent] } }
  - id: nobody-closes
    deny: { tools: [close_account] }
    message: accounts are closed at the desk
""",
}


async def run(report, stack):
    shell = Shell(stack.folder, {"PATH": f"{stack.envoy.parent}:/usr/bin:/bin", "TMPDIR": str(stack.folder / "tmp")})
    first_document(report, shell)
    await first_refusal(report, shell)
    edit(report, shell)
    await guarded_by_run(report, shell, stack)
    await pasted(report, shell, stack)
    only_allowed_tools_ran(report)


def typed(row, shell, *arguments):
    """Types the command; what it said is kept beside the run's logs."""
    status, said = shell.run(CLI, *arguments)
    with open(OUT / "typed.log", "a", encoding="utf-8") as log:
        log.write(f"$ {CLI} {' '.join(arguments)}\n{said}({status})\n\n")
    row.said = said
    return status, said


def first_document(report, shell):
    with report.step("init", "0, 5 tools, 2 of them read") as row:
        status, said = typed(row, shell, "init", "--upstream", UPSTREAM, "--issuer", ISSUER)
        text = (shell.folder / FILE).read_text()
        tools, reading = text.count("input_schema:"), text.count("read_only: true\n")
        row.saw(f"{status}, {tools} tools, {reading} of them read")
        for line in (f"{CLI} check {FILE}", f"{CLI} run {FILE} --upstream {UPSTREAM}"):
            if line not in said:
                raise RuntimeError(f"does not name the next step, {line}: {said}")

    with report.step("check what init wrote", "0, ok") as row:
        status, said = typed(row, shell, "check", FILE)
        row.saw(f"{status}, {'ok' if said == f'{FILE}: ok, guards {LOCAL}{chr(10)}' else said}")


def started(shell):
    return Terminal(shell, CLI, "run", FILE, "--upstream", UPSTREAM)


async def first_refusal(report, shell):
    """The realm's `aud` is a name: the first token is refused, and both sides are told why."""
    with report.step("a first token", "401 wrong_audience, told", "wrong_audience") as row:
        with started(shell) as terminal:
            terminal.shows("ready; Ctrl-C ends it")
            answer = await ask_bare(LOCAL, await token("clara"))
            reason = answer.json()["error"]["data"]["reason"]
            terminal.shows("wrong_audience  the token is for another audience")
            row.saw(f"{answer.status_code} {reason}, told", reason)
            terminal.ctrl_c()


async def token(name):
    form = {"grant_type": "client_credentials"}
    async with httpx2.AsyncClient(timeout=TIMEOUT, trust_env=False) as http:
        endpoint = f"{ISSUER}/protocol/openid-connect/token"
        answer = await http.post(endpoint, data=form, auth=(name, f"{name}-secret"))
    return answer.raise_for_status().json()["access_token"]


def edit(report, shell):
    path = shell.folder / FILE
    replace(path, FIRST_EDIT)
    with report.step("check: two misspelt fields", "1, audiences? groups?") as row:
        row.saw(suggestions(*typed(row, shell, "check", FILE)))
    replace(path, {"audience:": "audiences:", "{ group:": "{ groups:"})
    with report.step("check: misspelt tool, argument", "1, book_transfer? account?") as row:
        row.saw(suggestions(*typed(row, shell, "check", FILE)))
    replace(path, {"[book_transfers]": "[book_transfer]", "acount:": "account:"})
    with report.step("check: mended, as the server is", "0, no warning") as row:
        status, said = typed(row, shell, "check", "--strict", FILE, "--upstream", UPSTREAM)
        row.saw(f"{status}, {said if 'warning' in said else 'no warning'}")


def suggestions(status, said):
    return f"{status}, " + " ".join(f"{name}?" for name in re.findall(r"did you mean `([^`]*)`\?", said))


def replace(path, changes):
    text = path.read_text()
    for before, after in changes.items():
        if text.count(before) != 1:
            raise RuntimeError(f"{path.name} has not once: {before}")
        text = text.replace(before, after)
    path.write_text(text)


async def guarded_by_run(report, shell, stack):
    with started(shell) as terminal:
        with report.step("run", "ready, keys are there") as row:
            shown = terminal.shows("ready; Ctrl-C ends it")
            keys = f"keys of {ISSUER} through cluster 127.0.0.1: 1 usable"
            row.saw("ready, keys are there" if keys in shown else shown)
        await calls(report, LOCAL, "run")
        await shown_by_run(report, terminal)
        with report.step("the server is down", "503, the upstream can't be reached") as row:
            stack.stop("ledger")
            answer = await ask_bare(LOCAL, await token("clara"))
            terminal.shows("the upstream can't be reached (Envoy's flags UF)")
            row.saw(f"{answer.status_code}, the upstream can't be reached")
            stack.start_ledger()
            stack.wait_until_ready({"ledger": lambda: accepts(LEDGER)})
        envoys = terminal.children()
        with report.step("Ctrl-C", "0, nothing is left") as row:
            status = terminal.ctrl_c()
            left = [f"process {pid}" for pid in envoys if is_running(pid)]
            left += [path.name for path in (shell.folder / "tmp").iterdir()]
            check_ports({"mcp-iap": 10000, "Envoy's admin interface": 9901})
            if not envoys:
                raise RuntimeError("there was no Envoy")
            row.saw(f"{status}, {', '.join(left) or 'nothing is left'}")


# How the pasting goes wrong, and what `check` says of it.
MISTAKES = {
    "the flag got lost": (
        lambda before, parts: paste(before, parts.replace("allow_on_headers_stop_iteration: true", "")),
        "is false in Envoy and true in the document",
    ),
    "routes pasted last": (
        lambda before, parts: paste(before, parts, routes_first=False),
        "takes /books/v1, with the filter off",
    ),
    "no cluster for the issuer": (
        lambda before, parts: paste(before, parts.replace("- name: \"127.0.0.1\"", "- name: issuer")),
        "is no cluster of this Envoy",
    ),
    "no records": (
        lambda before, parts: paste(before, parts.replace("wasm.mcp_iap:PLAIN", "wasm.other:PLAIN")),
        "writes no records",
    ),
}


async def pasted(report, shell, stack):
    before = (ROOT / "newcomer/edge.yaml").read_text()
    edge = OUT / "edge.yaml"
    edge.write_text(before)
    with report.step("their Envoy before", "pages, by edge") as row:
        stack.start_edge(edge, "edge")
        row.saw(await pages())
        stack.stop("edge")
    wasm = str(ROOT / "dist/mcp_iap.wasm")
    replace(shell.folder / FILE, {f"resource: {LOCAL}": f"resource: {PASTED}"})
    for mistake, (careless, wanted) in MISTAKES.items():
        with report.step(f"check: {mistake}", f"1, {wanted}") as row:
            _, parts = typed(row, shell, "render", "envoy", FILE, "--filter", "--upstream", UPSTREAM, "--wasm", wasm)
            (shell.folder / "edge.yaml").write_text(careless(before, parts))
            checked, said = typed(row, shell, "check", "--strict", "edge.yaml")
            found = re.search(r"^1 (error|warning)$", said, re.MULTILINE) and wanted in said
            row.saw(f"{checked}, {wanted if found else ' '.join(said.split())}")
    with report.step("render, paste, check", "0, 0, ok") as row:
        status, parts = typed(row, shell, "render", "envoy", FILE, "--filter", "--upstream", UPSTREAM, "--wasm", wasm)
        (shell.folder / "edge.yaml").write_text(paste(before, parts))
        checked, said = typed(row, shell, "check", "--strict", "edge.yaml")
        row.saw(f"{status}, {checked}, {'ok' if said == f'edge.yaml: ok, guards {PASTED}{chr(10)}' else said}")
    with report.step("their Envoy takes it", "pages, by edge") as row:
        stack.start_edge(shell.folder / "edge.yaml", "pasted")
        row.saw(await pages())
    await calls(report, PASTED, "pasted")
    with report.step("pasted: other spellings", "none reach the server") as row:
        row.saw(await other_spellings())


async def pages():
    """The bank's pages need no token, and pass through the filters that were there."""
    async with httpx2.AsyncClient(timeout=TIMEOUT, trust_env=False) as http:
        page = await http.get(f"http://127.0.0.1:{EDGE}/audit.md", headers={"origin": "https://bank.example.com"})
        health = await http.get(f"http://127.0.0.1:{EDGE}/healthz")
    wanted = (200, 200, "edge", "https://bank.example.com")
    headers = [page.headers.get(name) for name in ("x-served-by", "access-control-allow-origin")]
    seen = (page.status_code, health.status_code, *headers)
    return "pages, by edge" if seen == wanted else str(seen)


async def other_spellings():
    """Paths that only look like the resource's go where they went before: to the pages."""
    wrong = []
    async with httpx2.AsyncClient(timeout=TIMEOUT, trust_env=False) as http:
        for path in ("/books/v1/", "//books/v1", "/books/./v1", "/Books/v1", "/books/v1%2f", "/x/../books/v1"):
            request = http.build_request("POST", f"http://127.0.0.1:{EDGE}/", json={})
            request.url = request.url.copy_with(raw_path=path.encode())
            answer = await http.send(request)
            if answer.headers.get("server") is None or answer.status_code not in (400, 401, 404, 501):
                wrong.append(f"{path}: {answer.status_code}")
    return ", ".join(wrong) or "none reach the server"


def only_allowed_tools_ran(report):
    """Both times, what was allowed ran once, and nothing else did."""
    allowed = [tool for _, tool, _, _, reason, _ in CALLS if reason == "-"]
    wanted = " ".join(sorted(2 * allowed))
    with report.step("the server ran", "what was allowed, twice") as row:
        ran = " ".join(sorted(re.findall(r'"tool": "(\w+)"', SEEN.read_text())))
        row.saw("what was allowed, twice" if ran == wanted else ran)
