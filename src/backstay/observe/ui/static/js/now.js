// Now: how the process is doing at this moment.

import { get } from "./api.js";
import { bytes, empty, fill, h, number, place, seconds, sparkline } from "./dom.js";

const KEPT = 120;

export default function now(root, { link }) {
  const history = {};
  const blocked = h("div", { id: "blocked" });
  const tiles = h("div", { class: "grid" });
  const states = h("section", { class: "panel" });
  const owners = h("section", { class: "panel" });
  const lines = h("section", { class: "panel" });
  const note = h("span", { class: "note" });
  root.append(h("div", { class: "head" }, h("h1", {}, "Now"), note), blocked, tiles, h("div", { class: "cols" }, states, owners, lines));
  let drawn = [];

  function tile(name, value, more, series, kind = "") {
    const canvas = series === undefined ? null : h("canvas", { "aria-hidden": "true" });
    if (canvas) {
      const kept = (history[name] ??= []);
      if (series !== null) kept.push(series);
      if (kept.length > KEPT) kept.shift();
      drawn.push([canvas, kept]);
    }
    return h("div", { class: "tile" }, h("div", { class: "name" }, name), h("div", { class: `value ${kind}` }, value), h("div", { class: "more", title: more }, more), canvas);
  }

  async function update(signal, asked) {
    const [told, said] = await Promise.all([get("/v1/now", { fresh: asked ? 1 : null }, { signal }), get("/v1/statistics", {}, { signal })]);
    const sysmon = said.blocked;
    const present = told.blocked ?? sysmon?.now;
    fill(blocked, present && h("div", { class: "box" }, h("h2", {}, `The loop is blocked: ${seconds(Math.max(present.duration_s, told.loop_lag_s, sysmon?.now?.duration_s ?? 0))} so far`),
      h("p", {}, h("strong", { class: "mono" }, present.function), " at ", h("span", { class: "mono" }, present.site),
        present.task && [" in task ", h("span", { class: "mono" }, present.task)], present.owner_path?.length ? ` of ${present.owner_path.join("/")}` : ""),
      h("details", {}, h("summary", {}, "Stack"), h("pre", {}, present.stack.join("\n")))));
    drawn = [];
    const requests = said.requests ?? {};
    const turned = (requests.rejected ?? 0) + (requests.shed ?? 0) + (requests.limited ?? 0);
    const served = [`of ${number(requests.requests ?? 0)}`, turned && `${number(turned)} refused`, requests.failed && `${number(requests.failed)} failed`].filter(Boolean).join(", ");
    const gc = told.gc;
    fill(tiles,
      tile("Tasks", number(told.tasks), Object.entries(told.states).map(([name, count]) => `${number(count)} ${name}`).join(", "), told.tasks),
      tile("Loop lag", seconds(told.loop_lag_s), said.loop ? `${said.loop}, Python ${said.python}` : "no loop yet", told.loop_lag_s, told.loop_lag_s >= 0.1 ? "bad" : told.loop_lag_s >= 0.02 ? "warn" : ""),
      tile("Memory", bytes(told.rss_bytes), "resident", told.rss_bytes),
      tile("File descriptors", number(told.fds), told.max_fds ? `of ${number(told.max_fds)}` : "", told.fds, told.max_fds && told.fds > 0.8 * told.max_fds ? "bad" : ""),
      tile("Collections", number(gc.reduce((sum, one) => sum + one.collections, 0)), `${gc.map((one) => number(one.collections)).join(" / ")} by generation`, gc[2]?.collections ?? 0),
      tile("Requests in flight", said.requests ? number(requests.in_flight ?? 0) : "–", said.requests ? served : "no guard is installed", said.requests ? null : undefined),
      tile("Threads", number(said.threads), said.ready ? "ready for traffic" : "not ready for traffic"),
      tile("Up", seconds(said.uptime_s), `Backstay ${said.version}`));
    drawn.forEach(([canvas, kept]) => sparkline(canvas, kept));
    const most = Math.max(1, ...Object.values(told.states));
    fill(states, h("h2", {}, "Tasks by state"), rows(Object.entries(told.states).sort((a, b) => b[1] - a[1]), most, (name) => h("a", { href: link("tasks", [], { q: name }) }, name)));
    fill(owners, h("h2", {}, "Tasks by owner"), rows(told.owners.slice(0, 15), told.owners[0]?.[1] ?? 1, (name) => h("a", { href: link("tasks", [], { q: name }) }, name || "(no owner)")),
      told.owners.length > 15 && h("p", { class: "note" }, h("a", { href: link("graph") }, `${number(told.owners.length - 15 + told.owners_left_out)} more owners`)));
    fill(lines, h("h2", {}, "What has blocked the loop"), blocks(sysmon));
    fill(note, `pid ${told.pid} · tasks counted ${seconds(told.tasks_age_s)} ago in ${seconds(told.tasks_cost_s)}`);
  }

  function rows(pairs, most, name) {
    if (!pairs.length) return empty("No tasks are alive.");
    return h("table", {}, h("tbody", {}, pairs.map(([key, count]) => {
      const bar = h("i");
      bar.style.width = `${(100 * count) / most}%`;
      return h("tr", {}, h("td", {}, name(key)), h("td", { class: "num" }, number(count)), h("td", { class: "wide" }, h("div", { class: "bar" }, bar)));
    })));
  }

  function blocks(sysmon) {
    if (!sysmon) return empty("Nobody watches the loop here. 'backstay run' does; a program opens a Sysmon.");
    const sites = new Map();
    for (const one of sysmon.recent) {
      const known = sites.get(one.site) ?? { site: one.site, function: one.function, count: 0, total: 0, longest: 0 };
      known.count += 1;
      known.total += one.duration_s;
      known.longest = Math.max(known.longest, one.duration_s);
      sites.set(one.site, known);
    }
    if (!sites.size) return empty(`Nothing has kept it for ${seconds(sysmon.limit_s)} or longer.`);
    const ranked = [...sites.values()].sort((a, b) => b.total - a.total).slice(0, 12);
    return h("table", {}, h("thead", {}, h("tr", {}, ["line", "times", "longest", "together"].map((name, at) => h("th", { class: at ? "num" : null }, name)))),
      h("tbody", {}, ranked.map((one) => h("tr", {}, h("td", { class: "mono", title: one.site }, one.function, " ", h("span", { class: "dim" }, place(one.site))),
        h("td", { class: "num" }, number(one.count)), h("td", { class: "num" }, seconds(one.longest)), h("td", { class: "num" }, seconds(one.total))))));
  }

  return { update, every: 2000, redraw: () => drawn.forEach(([canvas, kept]) => sparkline(canvas, kept)) };
}
