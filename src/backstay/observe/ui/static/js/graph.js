// Owners & waits: the tree of scopes with their deadlines, and who waits for whom, deadlocks in red.

import { get } from "./api.js";
import { empty, fill, h, number, place, seconds } from "./dom.js";

const WIDE = 250, TALL = 42, GAP = 14, BETWEEN = 90;

export default function graph(root, { link }) {
  const rings = h("div", { id: "rings" });
  const waits = h("section", {});
  const tree = h("section", { class: "panel tree" });
  const note = h("span", { class: "note" });
  const folded = new Set();
  let last = null;
  root.append(h("div", { class: "head" }, h("h1", {}, "Owners & waits"), note), rings,
    h("h2", {}, "Who waits for whom"), waits, h("p", {}), h("h2", {}, "Owners"), tree);

  async function update(signal) {
    const [scopes, found] = await Promise.all([get("/v1/scopes", {}, { signal }), get("/v1/waits", {}, { signal })]);
    last = { scopes, found };
    draw();
  }

  function draw() {
    const { scopes, found } = last;
    const count = found.tasks.reduce((most, one) => Math.max(most, one.ring + 1), 0);
    fill(rings, ringBoxes(found, count));
    fill(waits, found.tasks.length ? picture(found, link) : h("div", { class: "panel" }, empty("No task waits for another one, as far as it is evident. Waits for timers, sockets and queues have no holder.")));
    fill(tree, branches(scopes));
    fill(note, `${number(scopes.scopes.length)} owners${scopes.left_out ? `, ${number(scopes.left_out)} left out` : ""} · ${number(scopes.unowned)} tasks without one${found.left_out ? ` · ${number(found.left_out)} waits not drawn` : ""}`);
  }

  function ringBoxes(found, count) {
    const boxes = [];
    for (let ring = 0; ring < count; ring++) {
      const members = found.tasks.filter((one) => one.ring === ring);
      const told = found.deadlocks.find((one) => members.some((member) => [member.name, member.coroutine].includes(one.task_name)));
      boxes.push(h("div", { class: "box ring" }, h("h2", {}, members.length === 1 ? "Deadlock: a task waits for what it holds itself" : `Deadlock: ${number(members.length)} tasks wait for each other`),
        told ? h("ul", {}, told.detail.map((line) => h("li", {}, line))) : h("ul", {}, members.slice(0, 12).map((one) => h("li", {}, h("a", { href: link("tasks", ["task", one.id]) }, one.name), `, started at ${one.site}, waits: ${one.blocked_on}`))),
        told ? h("p", {}, told.advice) : h("p", { class: "note" }, "Not proved: it was seen once, or a timer or a deadline of one of them ends it.")));
    }
    return boxes;
  }

  function branches(told) {
    if (!told.scopes.length) return empty("No owner has living tasks. Tasks started through a Scope have one.");
    const below = new Map();
    for (const one of told.scopes) below.set(one.parent, [...(below.get(one.parent) ?? []), one]);
    const most = Math.max(...told.scopes.map((one) => one.tasks), 1);
    const lines = [];
    const walk = (parent, depth) => {
      for (const one of (below.get(parent) ?? []).sort((a, b) => b.tasks - a.tasks)) {
        const children = below.has(one.id);
        const open = !folded.has(one.id);
        const bar = h("i");
        bar.style.width = `${(100 * one.tasks) / most}%`;
        const line = h("tr", {}, h("td", {},
          children ? h("button", { type: "button", "aria-expanded": open, "aria-label": `${open ? "fold" : "unfold"} ${one.name}`, onclick: () => { if (open) folded.add(one.id); else folded.delete(one.id); draw(); } }, open ? "▾" : "▸") : h("span", { class: "dim" }, " · "),
          h("a", { href: link("tasks", [], { q: one.path }) }, one.name), " ", h("span", { class: "tag" }, one.kind), one.state === "open" ? "" : h("span", { class: "tag ready" }, one.state)),
        h("td", { class: "num" }, number(one.tasks)), h("td", { class: "num" }, number(one.own)), h("td", {}, h("div", { class: "bar" }, bar)), h("td", { class: "num" }, number(one.spawned)), h("td", { class: one.failed ? "num warn" : "num" }, number(one.failed)), h("td", { class: "num" }, one.max_tasks === null ? "–" : number(one.max_tasks)), h("td", { class: "num" }, seconds(one.age_s)),
        h("td", { class: one.remaining_s !== null && one.remaining_s < 0 ? "num bad" : "num" }, one.remaining_s === null ? "none" : one.remaining_s < 0 ? `passed ${seconds(-one.remaining_s)} ago` : `in ${seconds(one.remaining_s)}`));
        line.firstChild.style.paddingLeft = `${8 + depth * 20}px`;
        lines.push(line);
        if (open) walk(one.id, depth + 1);
      }
    };
    walk(null, 0);
    return h("div", { class: "scrollx" }, h("table", {}, h("thead", {}, h("tr", {}, ["Owner", "Tasks", "its own", "", "started", "failed", "limit", "age", "deadline"].map((name, at) => h("th", { class: at === 0 || at === 3 ? null : "num" }, name)))), h("tbody", {}, lines)));
  }

  return { update, every: 4000, redraw: () => last && draw() };
}

/** Draw tasks that are alike as one: same code, same line, not in a ring, with the same neighbours. */
function merged(found) {
  const out = found.tasks.map(() => []), into = found.tasks.map(() => []);
  for (const [one, other] of found.edges) { out[one].push(other); into[other].push(one); }
  const groups = new Map(), home = [];
  found.tasks.forEach((task, at) => {
    const key = task.ring >= 0 ? `ring ${at}` : JSON.stringify([task.coroutine, task.site, task.blocked_on.replace(/\d+/g, "#"), out[at], into[at]]);
    if (!groups.has(key)) groups.set(key, { tasks: [], ring: task.ring, number: groups.size });
    groups.get(key).tasks.push(task);
    home[at] = groups.get(key).number;
  });
  const edges = new Map();
  for (const [one, other] of found.edges) edges.set(`${home[one]} ${home[other]}`, [home[one], home[other]]);
  return { nodes: [...groups.values()], edges: [...edges.values()] };
}

function picture(found, link) {
  const { nodes, edges } = merged(found);
  const level = nodes.map((one) => (one.ring >= 0 ? 0 : -1));
  nodes.forEach((one, at) => { if (!edges.some(([from]) => from === at)) level[at] = 0; });
  for (let round = 0, more = true; more && round < nodes.length; round++) {
    more = false;
    for (const [from, to] of edges) {
      if (nodes[from].ring < 0 && level[to] >= 0 && level[from] < level[to] + 1) { level[from] = level[to] + 1; more = true; }
    }
  }
  const deepest = Math.max(0, ...level), filled = Array(deepest + 1).fill(0);
  const order = nodes.map((_, at) => at).sort((a, b) => (nodes[b].ring >= 0) - (nodes[a].ring >= 0) || nodes[a].ring - nodes[b].ring);
  const spot = [];
  for (const at of order) {
    const column = Math.max(0, level[at]);
    spot[at] = { x: 14 + (deepest - column) * (WIDE + BETWEEN), y: 14 + filled[column]++ * (TALL + GAP) };
  }
  const width = 14 + (deepest + 1) * (WIDE + BETWEEN) + 20, height = 14 + Math.max(...filled) * (TALL + GAP);
  const arrow = (ring) => h("svg:marker", { id: ring ? "tip-ring" : "tip-wait", class: ring ? "ring" : null, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" }, h("svg:path", { d: "M0 0L8 4L0 8z" }));
  const drawn = edges.map(([from, to]) => {
    const a = spot[from], b = spot[to], ring = nodes[from].ring >= 0 && nodes[from].ring === nodes[to].ring;
    const same = a.x === b.x, down = b.y > a.y;
    const bend = 30 + Math.min(60, Math.abs(b.y - a.y) / 4) + (down ? 0 : 16), off = down ? -6 : 6;
    const d = same ? `M${a.x + WIDE} ${a.y + TALL / 2 - off}C${a.x + WIDE + bend} ${a.y + TALL / 2 - off} ${b.x + WIDE + bend} ${b.y + TALL / 2 + off} ${b.x + WIDE + 2} ${b.y + TALL / 2 + off}`
      : `M${a.x + WIDE} ${a.y + TALL / 2}C${a.x + WIDE + 45} ${a.y + TALL / 2} ${b.x - 45} ${b.y + TALL / 2} ${b.x - 2} ${b.y + TALL / 2}`;
    return h("svg:path", { d, class: ring ? "ring" : null, "marker-end": `url(#tip-${ring ? "ring" : "wait"})` });
  });
  const boxes = nodes.map((node, at) => {
    const one = node.tasks[0];
    const name = node.tasks.length > 1 ? `${number(node.tasks.length)} × ${one.coroutine}` : one.name.startsWith("Task-") ? `${one.coroutine} (${one.name})` : one.name;
    return h("svg:a", { href: link("tasks", ["task", one.id]) }, h("svg:g", { class: node.ring >= 0 ? "ring" : null, transform: `translate(${spot[at].x} ${spot[at].y})` },
      h("svg:rect", { width: WIDE, height: TALL, rx: 5 }), h("svg:title", {}, `${name}\nstarted at ${one.site}\n${one.blocked_on || "waits for nobody"}`),
      h("svg:text", { x: 9, y: 17 }, cut(name, 32)), h("svg:text", { x: 9, y: 33, class: "sub" }, cut(one.blocked_on ? one.blocked_on.replace(/ at .*\//, " at ") : place(one.site), 36))));
  });
  const image = h("svg:svg", { class: "graph", viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "Who waits for whom" }, h("svg:defs", {}, arrow(false), arrow(true)), drawn, boxes);
  image.style.maxWidth = `${width}px`;
  return h("div", {}, image, h("p", { class: "legend" }, "An arrow goes from who waits to whom it waits for.", h("span", { class: "bad" }, "Red: a ring, which nobody in it can leave.")));
}

function cut(text, most) {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}
