// Profiles: made here or compared, as a flame graph and a table; all adding up is done by the process.

import { address, get, query } from "./api.js";
import { amount, empty, fill, h, number, place, seconds, sharpen, table, bytes } from "./dom.js";

const KINDS = [["profile", "CPU", 5], ["wall", "Wall time", 5], ["block", "Blocked loops and waits", 5], ["mutex", "Lock holders", 5], ["held", "Held by tasks", 0], ["heap", "Memory", 0], ["task", "Tasks", 0], ["taskleak", "Leaked tasks", 0]];
const ROW = 19;

export default function profiles(root, context) {
  const kind = h("select", { "aria-label": "Kind", onchange: () => standard() }, KINDS.map(([id, title]) => h("option", { value: id }, title)));
  const length = h("select", { "aria-label": "Seconds" }, [0, 1, 2, 5, 10, 30, 60].map((value) => h("option", { value }, value ? `${value} s` : "this moment")));
  const button = h("button", { type: "button", class: "primary", onclick: () => make() }, "Make");
  const progress = h("span", { class: "note", role: "status" });
  const shelf = h("section", { class: "panel" });
  const shown = h("div", {});
  root.append(h("div", { class: "head" }, h("h1", {}, "Profiles"), kind, length, button, progress), shelf, h("p", {}), shown);
  let id = context.args[0] ?? "", before = context.fields.get("before") ?? "", value = "", label = null, words = "", told = null, alive = true, kept = [];
  let boxes = [], zoomed = 0, canvas = null;
  const tip = h("div", { class: "tip", hidden: true });
  root.append(tip);
  standard();

  function standard() { length.value = KINDS.find(([name]) => name === kind.value)[2]; }

  async function make() {
    button.disabled = true;
    const until = Date.now() + 1000 * length.value;
    const clock = setInterval(() => fill(progress, `looking, ${Math.max(0, Math.ceil((until - Date.now()) / 1000))} s to go`), 200);
    try {
      const made = await get("/v1/saved/make", { kind: kind.value, seconds: length.value === "0" ? null : length.value });
      clearInterval(clock);
      fill(progress, "");
      if (alive) { id = made.id; before = ""; label = null; value = ""; await context.refresh(); }
    } catch (error) { fill(progress, h("span", { class: "bad" }, error.message)); } finally { clearInterval(clock); button.disabled = false; }
  }

  async function update(signal) {
    kept = (await get("/v1/saved", {}, { signal })).profiles;
    if (!kept.some((one) => one.id === id)) id = kept[0]?.id ?? "";
    list();
    if (!id) { fill(shown, h("div", { class: "panel" }, empty("Choose a kind and press Make. The last twenty are kept in the process, to be compared."))); return; }
    told = await get("/v1/saved/flame", { id, before, value, label: label?.[0], is: label?.[1] }, { signal });
    zoomed = 0;
    draw();
  }

  function list() {
    if (!kept.length) { shelf.hidden = true; return; }
    shelf.hidden = false;
    const mine = kept.find((one) => one.id === id);
    fill(shelf, h("div", { class: "scrollx" }, h("table", { "aria-label": "Saved profiles" }, h("thead", {}, h("tr", {}, ["", "Kind", "Made", "Looked for", "Size", "", ""].map((name) => h("th", {}, name)))), h("tbody", {}, kept.map((one) => h("tr", { "aria-selected": one.id === id },
      h("td", {}, h("button", { type: "button", "aria-pressed": one.id === id ? "true" : null, onclick: () => pick(one.id) }, one.id === id ? "shown" : "show")), h("td", {}, title(one.kind)), h("td", {}, new Date(one.made_at * 1000).toLocaleTimeString()),
      h("td", {}, new URLSearchParams(one.asked).get("seconds") ? `${new URLSearchParams(one.asked).get("seconds")} s` : "this moment"), h("td", {}, bytes(one.bytes)),
      h("td", {}, mine && one.id !== id && one.kind === mine.kind ? h("button", { type: "button", "aria-pressed": before === one.id ? "true" : null, onclick: () => { before = before === one.id ? "" : one.id; context.refresh(); } }, before === one.id ? "compared" : "compare with this") : ""),
      h("td", {}, h("a", { href: query(address("/v1/saved/file"), { id: one.id }), download: "" }, "pprof file"))))))));
  }

  function title(name) { return KINDS.find(([known]) => known === name)?.[1] ?? name; }
  function pick(other) { id = other; before = ""; label = null; value = ""; context.refresh(); }
  const unit = () => told.kinds[told.kind][1];
  const say = (count) => amount(count, unit());

  function draw() {
    const values = h("select", { "aria-label": "Value", onchange: (event) => { value = event.target.value; context.refresh(); } }, told.kinds.map(([name, what], at) => h("option", { value: at, selected: at === told.kind }, `${name} (${what})`)));
    const labels = Object.entries(told.labels);
    const choice = h("select", { "aria-label": "Only", onchange: (event) => { label = event.target.value ? JSON.parse(event.target.value) : null; context.refresh(); } }, h("option", { value: "" }, "all samples"),
      labels.map(([name, found]) => h("optgroup", { label: name }, found.map(([one, count]) => h("option", { value: JSON.stringify([name, one]), selected: label?.[0] === name && label?.[1] === one }, `${name} ${one} (${say(count)})`)))));
    const search = h("input", { type: "search", placeholder: "Highlight a function or file  (/)", "aria-label": "Highlight", size: 28, value: words, oninput: (event) => { words = event.target.value.toLowerCase(); paint(); } });
    canvas = h("canvas", { class: "flame", role: "img", tabindex: 0, "aria-label": "Flame graph; click to enlarge, Escape to see all" });
    const compared = told.before !== null;
    const total = compared ? `${say(told.total)} against ${say(told.before)} before` : say(told.total);
    const columns = compared
      ? [["Change", (one) => say(one[1] - one[3])], ["Now", (one) => say(one[1])], ["Before", (one) => say(one[3])]]
      : [["Own", (one) => say(one[1])], ["%", (one) => share(one[1])], ["Total", (one) => say(one[2])], ["%", (one) => share(one[2])]];
    fill(shown, h("div", { class: "head" }, values, choice, search, h("span", { class: "note" }, `${total} in ${number(told.samples)} stacks${told.duration_s ? ` over ${seconds(told.duration_s)}` : ""}${told.nodes_left_out ? ` · ${number(told.nodes_left_out)} too narrow to draw` : ""}`)),
      told.comments.length ? h("p", { class: "note" }, told.comments.join("; ")) : "",
      told.nodes.length > 1 ? [canvas, compared ? h("p", { class: "legend" }, "Width: now and before together. ", h("span", { class: "bad" }, "Red: more than before."), h("span", {}, "Blue: less.")) : ""] : h("div", { class: "panel" }, empty("No samples.")), h("p", {}),
      h("section", { class: "panel" }, table([...columns.map(([name, cell]) => ({ name, cell, num: true })), { name: "Function", mono: true, cell: (one) => [told.frames[one[0]][0], " ", h("span", { class: "dim", title: `${told.frames[one[0]][1]}:${told.frames[one[0]][2]}` }, where(told.frames[one[0]]))] }], told.rows.slice(0, 60), { label: "Functions" })));
    canvas.addEventListener("mousemove", hover);
    canvas.addEventListener("mouseleave", () => { tip.hidden = true; });
    canvas.addEventListener("click", (event) => { const found = under(event); if (found) { zoomed = found.at === zoomed ? 0 : found.at; paint(); } });
    paint();
  }

  function where([, file, line]) { return file ? `${place(file)}:${line}` : ""; }
  function share(count) { return told.total ? `${((100 * count) / told.total).toFixed(1)}` : "–"; }

  function paint() {
    if (!canvas?.isConnected || !told) return;
    const nodes = told.nodes, below = nodes.map(() => []), depth = nodes.map(() => 0);
    nodes.forEach(([parent], at) => { if (parent >= 0) { below[parent].push(at); depth[at] = depth[parent] + 1; } });
    const compared = told.before !== null;
    const size = (at) => Math.abs(nodes[at][2]) + (compared ? Math.abs(nodes[at][4]) : 0);
    const way = [];
    for (let at = zoomed; at >= 0; at = nodes[at][0]) way.unshift(at);
    const left = new Map(), wide = new Map();
    const full = canvas.clientWidth || 800;
    for (const at of way) { left.set(at, 0); wide.set(at, full); }
    const order = [zoomed];
    boxes = [];
    for (const at of order) {
      let x = left.get(at);
      const inside = below[at].reduce((sum, one) => sum + size(one), 0), whole = Math.max(size(at), inside, 1);
      for (const one of below[at]) {
        const w = (wide.get(at) * size(one)) / whole;
        if (w >= 0.4) { left.set(one, x); wide.set(one, w); order.push(one); }
        x += w;
      }
    }
    const all = [...way.slice(0, -1), ...order];
    const deepest = all.reduce((most, at) => Math.max(most, depth[at]), 0);
    const { pen } = sharpen(canvas, (deepest + 1) * ROW + 2);
    pen.font = '12px "DejaVu Sans", system-ui, sans-serif';
    pen.textBaseline = "middle";
    const dark = document.documentElement.dataset.theme === "dark";
    for (const at of all) {
      const [, frame, , , past] = nodes[at];
      const name = frame < 0 ? "all" : told.frames[frame][0];
      const box = { at, x: left.get(at), y: depth[at] * ROW + 1, w: wide.get(at) };
      boxes.push(box);
      const hit = words && frame >= 0 && `${name} ${told.frames[frame][1]}`.toLowerCase().includes(words);
      pen.fillStyle = hit ? (dark ? "#b08cff" : "#c9a6ff") : compared ? change(nodes[at][2], past, dark) : shade(frame < 0 ? "" : told.frames[frame][1], name, dark);
      pen.globalAlpha = way.includes(at) && at !== zoomed ? 0.55 : 1;
      pen.fillRect(box.x, box.y, Math.max(0.5, box.w - 1), ROW - 1);
      pen.globalAlpha = 1;
      if (box.w > 34) {
        pen.fillStyle = dark ? "#f0f2f4" : "#1d1f21";
        let said = name;
        const room = box.w - 8;
        if (pen.measureText(said).width > room) said = `${said.slice(0, Math.max(1, Math.floor((said.length * room) / pen.measureText(said).width) - 1))}…`;
        pen.fillText(said, box.x + 4, box.y + ROW / 2, room);
      }
    }
    window.__backstay.flame = { zoomed, boxes: boxes.length, names: boxes.map((one) => (nodes[one.at][1] < 0 ? "all" : told.frames[nodes[one.at][1]][0])), places: boxes.map((one) => [one.x, one.y, one.w]) };
  }

  /** A colour of its own for each file: libraries cool, the user's own code warm. */
  function shade(file, name, dark) {
    let sum = 0;
    for (const one of file + name) sum = (sum * 31 + one.charCodeAt(0)) % 997;
    const library = /site-packages|\/lib\/python|\/backstay\//.test(file) || !file;
    return `hsl(${library ? 205 + (sum % 25) : 22 + (sum % 28)} ${library ? 28 : 75}% ${dark ? 30 + (sum % 7) : 72 + (sum % 10)}%)`;
  }

  function change(now, past, dark) {
    const by = (now - past) / Math.max(1, Math.abs(now) + Math.abs(past));
    return `hsl(${by > 0 ? 5 : 215} ${Math.round(Math.abs(by) * 80)}% ${dark ? 34 : 90 - Math.round(Math.abs(by) * 22)}%)`;
  }

  function under(event) {
    const area = canvas.getBoundingClientRect(), x = event.clientX - area.left, y = event.clientY - area.top;
    return boxes.find((one) => x >= one.x && x < one.x + one.w && y >= one.y && y < one.y + ROW);
  }

  function hover(event) {
    const found = under(event);
    tip.hidden = !found;
    if (!found) return;
    const [, frame, count, own, past] = told.nodes[found.at];
    const [name, file, line] = frame < 0 ? ["all", "", 0] : told.frames[frame];
    fill(tip, h("strong", {}, name), file ? h("div", { class: "dim" }, `${file}:${line}`) : "", h("div", {}, told.before === null ? `${say(count)} (${share(count)} %), of which ${say(own)} its own` : `${say(count)}, before ${say(past)}`));
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - 460)}px`;
    tip.style.top = `${event.clientY + 14}px`;
  }

  return { update, redraw: () => { if (told) paint(); }, back: () => { if (zoomed) { zoomed = 0; paint(); } }, close: () => { alive = false; } };
}
