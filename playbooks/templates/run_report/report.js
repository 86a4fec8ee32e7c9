// Copyright (c) 2026 The choria.streams developers
// SPDX-License-Identifier: GPL-3.0-or-later

// Tables can be sorted by their columns. Without this the page has all it has, in the order of the run.
"use strict";
const numbered = (cell) => cell.dataset.value !== undefined;
const keyOf = (cell) => (numbered(cell) ? Number(cell.dataset.value) : cell.textContent.trim());
const compared = (one, other) =>
  typeof one === "number" && typeof other === "number" ? one - other : String(one).localeCompare(String(other), "en", { numeric: true });

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const direction = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", direction);
      const rows = [...table.tBodies[0].rows].map((row) => [keyOf(row.cells[column]), row]);
      rows.sort((one, other) => (direction === "ascending" ? 1 : -1) * compared(one[0], other[0]));
      table.tBodies[0].append(...rows.map(([, row]) => row));
    });
  });
}
