"use strict";
// Texts go into the page as texts (`textContent`) and in no other way: callers chose them.
const data = JSON.parse(document.getElementById("data").textContent);
const filters = document.getElementById("filters");
const SHOWN = 500;

function cell(row, text, name) {
  const cell = row.insertCell();
  cell.textContent = text === null || text === undefined ? "" : String(text);
  cell.title = cell.textContent;
  if (name) cell.className = name;
}

// Each filter that is set must hold; a text is looked for anywhere in its field, in any case of letters.
function wanted(record) {
  return [...filters.elements].every((field) => {
    if (!field.name || field.value === "") return true;
    const value = record[field.name] === null ? "" : String(record[field.name]);
    return field.tagName === "SELECT" ? value === field.value : value.toLowerCase().includes(field.value.toLowerCase());
  });
}

function fill(id, records, columns) {
  const body = document.getElementById(id).tBodies[0];
  body.replaceChildren();
  for (const record of records.slice(0, SHOWN)) {
    const row = body.insertRow();
    for (const [name, style] of columns) cell(row, record[name], style === "own" ? record[name] : style);
  }
  const rest = records.length - SHOWN;
  document.getElementById(id + "-count").textContent =
    records.length + (rest > 0 ? " (the first " + SHOWN + " are shown: narrow the filters)" : "");
}

function show() {
  fill("calls", data.calls.filter(wanted), [["count", "number"], ["caller"], ["call"], ["outcome", "own"], ["reason"], ["rule"]]);
  fill("records", data.records.filter(wanted), [["time"], ["caller"], ["client"], ["call"], ["outcome", "own"],
    ["status", "number"], ["reason"], ["rule"], ["arguments"], ["shadow"], ["decision", "id"]]);
}

document.getElementById("told").textContent = data.told;
for (const name of ["outcome", "reason"]) {
  const values = [...new Set(data.calls.map((call) => call[name]))].sort();
  for (const value of values) {
    const option = document.createElement("option");
    option.textContent = value;
    filters.elements[name].append(option);
  }
}
filters.addEventListener("input", show);
filters.addEventListener("reset", () => setTimeout(show));
filters.addEventListener("submit", (event) => event.preventDefault());
show();
