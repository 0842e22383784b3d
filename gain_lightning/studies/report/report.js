"use strict";

// Theme: what is marked data-dark applies by the system's wish, always, or never.
const media = { system: "screen and (prefers-color-scheme: dark)", light: "not all", dark: "screen" };
document.getElementById("theme").addEventListener("change", (event) => {
  for (const element of document.querySelectorAll("[data-dark]")) element.media = media[event.target.value];
});

// Image picker: one row of pictures, larger, or all.
document.getElementById("image")?.addEventListener("change", (event) => {
  for (const row of document.querySelectorAll(".example")) {
    row.hidden = event.target.value !== "" && row.id !== event.target.value;
    row.classList.toggle("picked", row.id === event.target.value);
  }
});

// Tables: a button in every column's head sorts each body; what is no value comes last.
const text = (row, column) => row.cells[column].textContent.trim().replace("\u2212", "-");
const number = (cell) => (/^[+-]?[\d.]+( |$)/.test(cell) ? parseFloat(cell) : NaN);
const missing = (cell) => cell === "" || cell === "-" || cell === "\u2013";

function compare(a, b, sign) {
  if (missing(a) || missing(b)) return missing(a) - missing(b);
  const difference = number(a) - number(b);
  return sign * (Number.isNaN(difference) ? a.localeCompare(b, undefined, { numeric: true }) : difference);
}

function sort(table, head) {
  const column = head.cellIndex;
  const isData = (row) => row.cells.length === head.parentElement.cells.length; // a pair's heading spans all
  const rows = [...table.tBodies].flatMap((body) => [...body.rows]).filter(isData);
  const first = rows.map((row) => text(row, column)).find((cell) => !missing(cell)) ?? "";
  const order = head.getAttribute("aria-sort");
  const ascending = order ? order === "descending" : Number.isNaN(number(first));
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  for (const body of table.tBodies) {
    const sorted = [...body.rows].filter(isData);
    sorted.sort((a, b) => compare(text(a, column), text(b, column), ascending ? 1 : -1));
    body.append(...sorted);
  }
}

for (const table of document.querySelectorAll("table")) {
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(table, head));
    head.append(button);
  }
}

// Paper has no way to open what is folded.
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
});

for (const choice of document.querySelectorAll(".choice")) choice.hidden = false;
