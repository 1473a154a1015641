// Guards and pools: state, rejections and figures of each.

import { get } from "./api.js";
import { empty, fill, h, number, seconds } from "./dom.js";

export default function guards(root) {
  const note = h("span", { class: "note", role: "status" });
  const filter = h("input", { type: "search", placeholder: "Filter by name, kind or state  (/)", size: 36, "aria-label": "Filter", oninput: () => draw() });
  const body = h("div", {});
  const before = new Map();
  let last = null;
  root.append(h("div", { class: "head" }, h("h1", {}, "Guards and pools"), filter, note), body);

  function draw() {
    if (!last) return;
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = last.guards.filter((one) => words.every((word) => `${one.name} ${one.kind} ${one.state} ${one.mode}`.toLowerCase().includes(word)));
    fill(note, `${number(shown.length)} of ${number(last.guards.length)} guards${last.left_out ? `, ${number(last.left_out)} left out` : ""}`);
    if (!shown.length) { fill(body, h("div", { class: "panel" }, empty(last.guards.length ? "No guard matches." : "No guards are made here: breakers, bulkheads, rates and pools would be listed."))); return; }
    fill(body, h("div", { class: "panel scrollx" }, h("table", {}, h("thead", {}, h("tr", {}, ["Guard", "Kind", "State", "Rejected", "per second", "Figures", "Read"].map((name) => h("th", { class: ["Rejected", "per second", "Read"].includes(name) ? "num" : null }, name)))),
      h("tbody", {}, shown.map(line)))));
  }

  function line(one) {
    const rate = one.rate === undefined ? "–" : one.rate.toFixed(1);
    const figures = Object.entries(one.statistics ?? {}).filter(([, value]) => typeof value === "number" || typeof value === "string").slice(0, 10);
    return h("tr", {}, h("td", {}, h("strong", {}, one.name), one.mode === "shadow" ? h("span", { class: "tag" }, "shadow") : ""), h("td", {}, one.kind), h("td", {}, one.state ? h("span", { class: `tag ${one.state.replace(/[ _]/g, "-")}` }, one.state) : ""),
      h("td", { class: one.rejected ? "num warn" : "num" }, number(one.rejected)), h("td", { class: one.rate > 0 ? "num warn" : "num" }, rate),
      h("td", { class: "dim" }, figures.length ? figures.map(([name, value]) => `${name.replaceAll("_", " ")} ${typeof value === "number" ? Number(value.toFixed(3)).toLocaleString("en") : value}`).join(" · ") : "not read yet"), h("td", { class: "num" }, one.age_s === null || one.age_s === undefined ? "–" : `${seconds(one.age_s)} ago`));
  }

  async function update(signal) {
    last = await get("/v1/guards", {}, { signal });
    const at = performance.now();
    for (const one of last.guards) {
      const key = `${one.kind} ${one.name}`, known = before.get(key);
      if (known && at > known.at) one.rate = Math.max(0, ((one.rejected - known.rejected) * 1000) / (at - known.at));
      before.set(key, { at, rejected: one.rejected });
    }
    draw();
  }
  return { update, every: 2000 };
}
