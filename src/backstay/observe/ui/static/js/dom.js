// The few helpers that all screens share: elements, numbers in words, lists that draw what is seen.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element; `on…` attributes are listeners, null and false are left out. */
export function h(tag, attributes = {}, ...children) {
  const svg = tag.startsWith("svg:");
  const element = svg ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  put(element, children);
  return element;
}

function put(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
}

/** Replace what an element holds. */
export function fill(element, ...children) {
  element.replaceChildren();
  put(element, children);
  return element;
}

export function number(value) {
  return value === null || value === undefined ? "–" : Math.round(value).toLocaleString("en");
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size < 5e-7) return "0 ms";
  if (size < 0.001) return `${(value * 1e6).toFixed(0)} µs`;
  if (size < 1) return `${(value * 1000).toFixed(size < 0.01 ? 1 : 0)} ms`;
  if (size < 60) return `${value.toFixed(size < 10 ? 1 : 0)} s`;
  if (size < 3600) return `${Math.floor(value / 60)} m ${Math.floor(value % 60)} s`;
  if (size < 86400) return `${Math.floor(value / 3600)} h ${Math.floor((value % 3600) / 60)} m`;
  return `${Math.floor(value / 86400)} d ${Math.floor((value % 86400) / 3600)} h`;
}

// A place on an axis, as exactly as its ticks are apart.
export function moment(value, tick) {
  return `${value.toFixed(Math.min(6, Math.max(0, -Math.floor(Math.log10(tick)))))} s`;
}

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  let size = Math.abs(value);
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (size < 1024 || unit === "GiB") return `${value < 0 ? "-" : ""}${size.toFixed(unit === "B" || size >= 100 ? 0 : 1)} ${unit}`;
    size /= 1024;
  }
  return "";
}

/** Say a value in the unit of a profile. */
export function amount(value, unit) {
  if (unit === "nanoseconds") return seconds(value / 1e9);
  if (unit === "microseconds") return seconds(value / 1e6);
  if (unit === "bytes") return bytes(value);
  return number(value);
}

/** Shorten a path to its last parts; the whole one is in the title. */
export function place(text) {
  if (!text) return "";
  const parts = text.split("/");
  return parts.length > 3 ? `…/${parts.slice(-2).join("/")}` : text;
}

export function stack(steps) {
  if (!steps.length) return h("p", { class: "note" }, "No frame can be seen: it runs, or has not begun.");
  return h("ol", { class: "stack" }, steps.map((one) => h("li", {}, one.function, " ",
    h("span", { class: "place", title: `${one.file}:${one.line}` }, `${place(one.file)}:${one.line}`))));
}

export function empty(...said) {
  return h("div", { class: "empty" }, ...said);
}

/** A table of plain rows: columns are {name, cell, num, mono}. */
export function table(columns, rows, { onpick, label } = {}) {
  const line = (row, at) => h("tr", onpick ? {
    tabindex: 0, onclick: () => onpick(row, at),
    onkeydown: (event) => { if (event.key === "Enter") onpick(row, at); },
  } : {}, columns.map((one) => h("td", { class: [one.num && "num", one.mono && "mono"].filter(Boolean).join(" ") || null }, one.cell(row, at))));
  return h("div", { class: "scrollx" }, h("table", { "aria-label": label },
    h("thead", {}, h("tr", {}, columns.map((one) => h("th", { scope: "col", class: one.num ? "num" : null }, one.name)))),
    h("tbody", {}, rows.map(line))));
}

/** Give a canvas as many points as the screen has, and return how large it is in CSS pixels. */
export function sharpen(canvas, height) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth || 600;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height };
}

export function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Draw the last values as a line. */
export function sparkline(canvas, values) {
  const { pen, width, height } = sharpen(canvas, 26);
  if (values.length < 2) return;
  const most = Math.max(...values), least = Math.min(...values), span = most - least || 1;
  pen.strokeStyle = color("link");
  pen.lineWidth = 1.5;
  pen.beginPath();
  values.forEach((value, at) => pen.lineTo((at / (values.length - 1)) * width, height - 3 - ((value - least) / span) * (height - 6)));
  pen.stroke();
}

/** A list of any length that keeps only the rows in sight: `load(offset, limit)` brings them. */
export class LongList {
  constructor({ columns, load, onpick, kind, label }) {
    this.columns = columns;
    this.load = load;
    this.onpick = onpick;
    this.rowHeight = 30;
    this.page = 100;
    this.rows = new Map();
    this.pending = new Set();
    this.count = 0;
    this.at = -1;
    this.version = 0;
    this.top = h("div", { class: "row top", role: "row" });
    this.space = h("div", {});
    this.view = h("div", { class: "view", tabindex: 0, role: "listbox", "aria-label": label,
      onscroll: () => this.draw(), onkeydown: (event) => this.key(event) }, this.space);
    this.element = h("div", { class: `list ${kind}` }, this.top, this.view);
  }
  heads(cells) { fill(this.top, cells); }
  /** Begin anew, but keep what is on the screen until the new rows are there. */
  async reload() {
    const version = ++this.version;
    const first = Math.max(0, Math.floor(this.view.scrollTop / this.rowHeight / this.page) * this.page);
    const page = await this.load(first, this.page);
    if (version !== this.version || !page) return;
    this.rows.clear();
    this.pending.clear();
    this.keep(first, page);
  }
  keep(offset, { rows, count }) {
    this.count = count;
    rows.forEach((row, at) => this.rows.set(offset + at, row));
    if (this.rows.size > 3000) for (const key of this.rows.keys()) { if (Math.abs(key - offset) > 1000) this.rows.delete(key); }
    // Browsers stop at about 33 million pixels; beyond a million rows the rest is for the filter.
    this.space.style.height = `${Math.min(count, 1000000) * this.rowHeight}px`;
    this.draw();
  }
  draw() {
    const first = Math.max(0, Math.floor(this.view.scrollTop / this.rowHeight) - 3);
    const last = Math.min(this.count, first + Math.ceil(this.view.clientHeight / this.rowHeight) + 8);
    const drawn = [];
    for (let at = first; at < last; at++) {
      const row = this.rows.get(at);
      if (!row) this.want(Math.floor(at / this.page) * this.page);
      const line = h("div", { class: at === this.at ? "row on" : "row", role: "option", "aria-selected": at === this.at ? "true" : "false",
        onclick: () => { this.at = at; if (row) this.onpick(row); } }, row ? this.columns(row) : h("span", { class: "dim" }, "…"));
      line.style.top = `${at * this.rowHeight}px`;
      drawn.push(line);
    }
    fill(this.space, drawn);
  }
  async want(offset) {
    if (this.pending.has(offset)) return;
    this.pending.add(offset);
    const version = this.version;
    const page = await this.load(offset, this.page);
    if (page && version === this.version) this.keep(offset, page);
  }
  /** Take the keys of a list although something else on the page has the focus. */
  take(event) {
    if (!["j", "k", "ArrowDown", "ArrowUp", "Home", "End", "PageDown", "PageUp"].includes(event.key)) return false;
    this.view.focus();
    this.key(event);
    return true;
  }
  key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1, PageDown: 15, PageUp: -15, Home: -Infinity, End: Infinity }[event.key];
    if (event.key === "Enter" && this.rows.has(this.at)) { this.onpick(this.rows.get(this.at)); return; }
    if (step === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.at = Math.max(0, Math.min(this.count - 1, this.at + step));
    const y = this.at * this.rowHeight;
    if (y < this.view.scrollTop) this.view.scrollTop = y;
    if (y + this.rowHeight > this.view.scrollTop + this.view.clientHeight) this.view.scrollTop = y + this.rowHeight - this.view.clientHeight;
    this.draw();
  }
}
