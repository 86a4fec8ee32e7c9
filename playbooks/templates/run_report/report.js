// Copyright (c) 2026 The choria.streams developers
// SPDX-License-Identifier: GPL-3.0-or-later

// Tables can be sorted, results searched, and timelines unfolded. Without this the page has its sums, failures and changes.
"use strict";
const PAGE = 200, FOLDED = 20;
const made = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const length = (seconds) => {
  if (seconds === null || seconds === undefined) return "\u2013";
  if (seconds < 1) return seconds.toFixed(2) + " s";
  if (seconds < 60) return seconds.toFixed(1) + " s";
  const whole = Math.floor(seconds), two = (number) => String(number).padStart(2, "0");
  return whole < 3600 ? `${Math.floor(whole / 60)} min ${two(whole % 60)} s` : `${Math.floor(whole / 3600)} h ${two(Math.floor(whole / 60) % 60)} min`;
};
const written = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));

// Times of this browser beside UTC
for (const time of document.querySelectorAll("time")) {
  const moment = new Date(time.dateTime);
  if (moment.getTimezoneOffset() && !Number.isNaN(moment.getTime())) {
    const local = moment.toLocaleString(undefined, { dateStyle: "short", timeStyle: "medium" });
    time.append(made("span", { className: "local soft", textContent: ` (${local} here)` }));
  }
}

// Tables by their columns
const keyOf = (cell) => (cell.dataset.value !== undefined ? Number(cell.dataset.value) : cell.textContent.trim());
const compared = (one, other) =>
  typeof one === "number" && typeof other === "number" ? one - other : String(one).localeCompare(String(other), "en", { numeric: true });

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = made("button", { type: "button" }, ...head.childNodes);
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

class Run {
  constructor(article) {
    this.data = JSON.parse(article.querySelector("script.data").textContent);
    this.data.status = this.data.status.map((status, index) => (this.data.rescued[index] ? "rescued" : status));
    this.table = article.querySelector("table.results");
    this.byHost = new Map();
    this.data.host.forEach((host, index) => this.byHost.has(host) ? this.byHost.get(host).push(index) : this.byHost.set(host, [index]));
    this.makeFilters();
    const timeline = article.querySelector("table.timeline");
    if (timeline) this.unfold(timeline);
    for (const link of article.querySelectorAll("a[data-host]")) {
      link.addEventListener("click", () => {
        for (const field of [this.search, this.task, this.status]) field.value = "";
        this.host.value = link.dataset.host;
        this.show();
      });
    }
    this.show();
  }

  // All results

  choice(label, values) {
    const select = made("select", {}, made("option", { value: "", textContent: "all" }));
    for (const value of values) select.append(made("option", { value, textContent: value || "unknown" }));
    return this.field(label, select);
  }

  field(label, input) {
    this.form.append(made("label", { textContent: label + " " }, input));
    input.setAttribute("aria-label", label); // or its options are taken for a part of its name
    input.addEventListener("input", () => this.show());
    return input;
  }

  makeFilters() {
    this.form = made("form", { className: "filters" });
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.search = this.field("Search", made("input", { type: "search" }));
    this.host = this.choice("Host", [...this.byHost.keys()].sort((one, other) => one.localeCompare(other, "en", { numeric: true })));
    this.task = this.choice("Task", [...new Set(this.data.task)]);
    this.status = this.choice("Status", [...new Set(this.data.status)]);
    this.count = made("output", { className: "soft small" });
    this.form.append(this.count);
    this.more = made("button", { type: "button", className: "more" });
    this.more.addEventListener("click", () => this.add());
    this.table.parentElement.before(this.form);
    this.table.parentElement.after(this.more);
  }

  fits(index) {
    const { host, task, status, msg, output, sequence } = this.data;
    if (this.host.value && host[index] !== this.host.value) return false;
    if (this.task.value && task[index] !== this.task.value) return false;
    if (this.status.value && status[index] !== this.status.value) return false;
    const words = this.search.value.trim().toLowerCase();
    if (!words) return true;
    const told = [host[index], task[index], status[index], msg[sequence[index]], output[sequence[index]]];
    return told.some((value) => value && written(value).toLowerCase().includes(words));
  }

  show() {
    this.found = this.data.host.map((_host, index) => index).filter((index) => this.fits(index));
    this.shown = 0;
    this.table.tBodies[0].replaceChildren();
    this.count.textContent = `${this.found.length} of ${this.data.host.length} results`;
    this.add();
  }

  add() {
    const next = this.found.slice(this.shown, this.shown + PAGE);
    this.table.tBodies[0].append(...next.map((index) => this.row(index)));
    this.shown += next.length;
    const left = this.found.length - this.shown;
    this.more.hidden = !left;
    this.more.textContent = `Show ${Math.min(left, PAGE)} more of ${left}`;
  }

  sign(status) {
    const sign = made("b", { textContent: this.data.signs[status] || "\u00b7" });
    sign.setAttribute("aria-hidden", "true");
    return made("span", { className: `st s-${/^\w+$/.test(status) ? status : "unknown"}` }, sign, status || "unknown");
  }

  row(index) {
    const { sequence, host, task, status, began, duration, msg, output } = this.data;
    const number = sequence[index], texts = [["Message", msg[number]]];
    if (output[number] && typeof output[number] === "object") {
      texts.push(["Standard output", output[number].stdout], ["Standard error output", output[number].stderr], ["Traceback", output[number].traceback]);
    }
    const there = texts.filter(([, text]) => text);
    const cell = made("td", { className: "text" }, task[index]);
    if (there.length) {
      const details = made("details", {}, made("summary", { textContent: "What it wrote" }));
      for (const [label, text] of there) details.append(made("p", { className: "label", textContent: label }), made("pre", { textContent: written(text) }));
      cell.append(details);
    }
    const name = made("th", { scope: "row", textContent: host[index] });
    const cells = [
      made("td", { className: "num", textContent: number }), name, cell, made("td", {}, this.sign(status[index])),
      made("td", { className: "num", textContent: length(began[index]) }), made("td", { className: "num", textContent: length(duration[index]) }),
    ];
    const heads = this.table.tHead.rows[0].cells;
    cells.forEach((one, column) => { one.dataset.label = heads[column].textContent; });
    return made("tr", {}, ...cells);
  }

  // The timeline

  unfold(table) {
    const rows = [...table.tBodies[0].rows], total = Number(table.dataset.total);
    const drawn = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting) {
          drawn.unobserve(entry.target);
          this.draw(entry.target, total);
        }
      }
    }, { rootMargin: "500px" });
    rows.forEach((row, index) => {
      row.hidden = index >= FOLDED;
      row.dataset.place = index;
      if (row.hidden) drawn.observe(row);
      else this.draw(row, total);
    });
    addEventListener("beforeprint", () => rows.filter((row) => !row.hidden).forEach((row) => this.draw(row, total)));
    const tools = made("p", { className: "filters" });
    const order = made("select");
    for (const [value, textContent] of [["place", "failures first"], ["began", "start"], ["busy", "time busy"]]) order.append(made("option", { value, textContent }));
    order.addEventListener("input", () => {
      const sense = order.value === "busy" ? -1 : 1;
      const sorted = [...rows].sort((one, other) => sense * (one.dataset[order.value] - other.dataset[order.value]));
      const folded = rows.some((row) => row.hidden);
      for (const old of table.querySelectorAll("tr.tasks")) old.remove();
      sorted.forEach((row, index) => { row.hidden = folded && index >= FOLDED; });
      for (const button of table.querySelectorAll("button.track")) button.setAttribute("aria-expanded", "false");
      table.tBodies[0].append(...sorted);
    });
    tools.append(made("label", { textContent: "Order by " }, order));
    table.parentElement.before(tools);
    if (rows.length > FOLDED) {
      const all = made("button", { type: "button", className: "more", textContent: `Show all ${rows.length} hosts` });
      all.addEventListener("click", () => {
        for (const row of rows) row.hidden = false;
        all.remove();
      });
      table.parentElement.after(all);
    }
  }

  draw(row, total) {
    const old = row.querySelector("span.track");
    if (!old) return;
    const { sequence, task, status, began, duration, waited } = this.data;
    const host = row.dataset.host, indexes = [...(this.byHost.get(host) || [])].sort((one, other) => began[one] - began[other]);
    const button = made("button", { type: "button", className: "track" });
    button.setAttribute("aria-label", `${host}: ${old.getAttribute("aria-label")}. Show its tasks`);
    button.setAttribute("aria-expanded", "false");
    const bar = (className, from, long, title = "") => {
      const one = made("i", { className, title });
      one.style.setProperty("--a", (100 * from) / total);
      one.style.setProperty("--w", (100 * long) / total);
      button.append(one);
    };
    for (const index of indexes) {
      const wait = waited[sequence[index]] || 0, took = duration[index] || 0;
      if (wait) bar("wait", began[index], wait);
      const kind = /^\w+$/.test(status[index]) ? status[index] : "unknown";
      bar(`s-${kind}`, began[index] + wait, Math.max(took - wait, 0), `${task[index]}: ${status[index]}, ${length(took)}`);
    }
    button.addEventListener("click", () => {
      const open = button.getAttribute("aria-expanded") === "true";
      button.setAttribute("aria-expanded", String(!open));
      if (open) return row.nextElementSibling.remove();
      const list = made("ol");
      for (const index of indexes) list.append(made("li", {}, `${length(began[index])}: ${task[index]} `, this.sign(status[index]), ` took ${length(duration[index])}`));
      return row.after(made("tr", { className: "tasks" }, made("td", { colSpan: row.cells.length }, list)));
    });
    old.replaceWith(button);
  }
}

for (const article of document.querySelectorAll("article.run")) if (article.querySelector("script.data")) new Run(article);

// In a narrow window each cell has the name of its column before it
for (const table of document.querySelectorAll("table:not(.timeline):not(.results)")) {
  const heads = [...table.tHead.rows[0].cells].map((head) => head.textContent.trim());
  for (const row of table.tBodies[0].rows) [...row.cells].forEach((cell, column) => { cell.dataset.label = heads[column]; });
}
document.documentElement.classList.add("scripts");
