// What `mcp-iap audit --html` writes, in a real Chromium: names that attack are shown as they are and do nothing, the
// filters filter, and nothing is fetched. Run by `make test-report`: browser.mjs CLI CHROMIUM PLAYWRIGHT

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [cli, chromium, packages] = process.argv.slice(2);
const { chromium: browserType } = createRequire(join(packages, "package.json"))("playwright-core");

const ATTACKS = [
  "</script><script>alert(1)</script>",
  "<!--<script>",
  "<img src=x onerror=alert(1)>",
  "<img src=https://attacker.example/x>",
  "\" onmouseover=\"alert(1)",
  "javascript:alert(1)",
  "&lt;b&gt;",
  "__proto__",
];

function line(second, caller, tool, outcome, reason, rule) {
  const record = { schema: 1, decision: `d-${tool}`, outcome, reason, rule, caller: { subject: caller, groups: [] },
    http_method: "POST", method: "tools/call", tool, arguments: { [tool]: tool } };
  const time = `2026-11-21T10:00:${String(second).padStart(2, "0")}.000Z`;
  return JSON.stringify({ time, status: outcome === "allowed" ? 200 : 403, flags: "-", mcp_iap: [record] });
}

const lines = ATTACKS.map((attack, second) => line(second, attack, attack, "refused", "no_rule_allows", attack));
for (let second = 20; second < 50; second++) lines.push(line(second, "dana", "get_pods", "allowed", "allowed", "dev-reads"));
lines.push(line(55, "sam", "drop", "refused", "denied_by_rule", "freeze"));

const folder = mkdtempSync(join(tmpdir(), "mcp-iap-report-"));
const browser = await browserType.launch({ executablePath: chromium, args: ["--no-sandbox"] });
try {
  writeFileSync(join(folder, "log"), lines.join("\n"));
  execFileSync(cli, ["audit", join(folder, "log"), "--html", join(folder, "report.html")]);
  const page = await browser.newPage();
  const seen = { dialogs: [], requests: [], errors: [] };
  page.on("dialog", (dialog) => { seen.dialogs.push(dialog.message()); dialog.dismiss(); });
  page.on("request", (request) => seen.requests.push(request.url()));
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("console", (message) => { if (message.type() === "error") seen.errors.push(message.text()); });
  const url = pathToFileURL(join(folder, "report.html")).href;
  await page.goto(url);

  const column = (table, number) => page.locator(`#${table} tbody tr td:nth-child(${number})`).allTextContents();
  assert.match(await page.locator("#told").textContent(), /^39 requests, from 2026-11-21T10:00:00/);
  assert.equal((await column("records", 1)).length, 39, "every request has a row");
  const calls = await column("calls", 3);
  for (const attack of ATTACKS) assert.ok(calls.includes(`tools/call ${attack}`), `${attack} is shown as it is`);
  assert.deepEqual((await column("calls", 1))[0], "30", "what was called most comes first");
  assert.equal(await page.locator("#calls img, #records img, #calls script, #records script").count(), 0);
  console.log("pass names that attack are shown as they are");

  const filter = async (name, text) => page.locator(`#filters [name=${name}]`).fill(text);
  await filter("caller", "DAN");
  assert.deepEqual(await column("calls", 2), ["dana"]);
  assert.equal(await page.locator("#records-count").textContent(), "30");
  await page.getByRole("button", { name: "Clear" }).click();
  await page.locator("#filters [name=reason]").selectOption("denied_by_rule");
  assert.deepEqual(await column("records", 2), ["sam"]);
  await page.getByRole("button", { name: "Clear" }).click();
  await filter("rule", "<script>alert");
  assert.equal((await column("records", 2)).length, 1);
  await filter("rule", "nothing of this name");
  assert.equal((await column("records", 2)).length, 0);
  console.log("pass the filters filter");

  assert.deepEqual(seen, { dialogs: [], requests: [url], errors: [] });

  // Even had something got into the page: its policy runs no other script and fetches nothing.
  const blocked = await page.evaluate(async () => {
    const violated = [];
    document.addEventListener("securitypolicyviolation", (event) => violated.push(event.effectiveDirective));
    const script = document.createElement("script");
    script.textContent = "window.owned = true";
    document.body.append(script);
    const image = document.createElement("img");
    image.src = "https://attacker.example/x";
    image.setAttribute("onerror", "window.owned = true");
    document.body.append(image);
    await fetch("https://attacker.example/").catch(() => {});
    await new Promise((done) => setTimeout(done, 200));
    return { owned: window.owned, violated: violated.sort() };
  });
  assert.equal(blocked.owned, undefined);
  for (const directive of ["connect-src", "img-src", "script-src-elem", "script-src-attr"]) {
    assert.ok(blocked.violated.includes(directive), `${directive}: ${blocked.violated}`);
  }
  assert.deepEqual(seen.dialogs, []);
  console.log("pass nothing is fetched, and no other script runs");
} finally {
  await browser.close();
  rmSync(folder, { recursive: true });
}
