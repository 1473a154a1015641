// All processes of this user on this host that have an admin socket.

import { get } from "./api.js";
import { bytes, empty, fill, h, number, seconds, table } from "./dom.js";

export default function host(root) {
  const note = h("span", { class: "note", role: "status" });
  const body = h("div", {});
  root.append(h("div", { class: "head" }, h("h1", {}, "Processes of this host"), note), body);
  async function update(signal) {
    const told = await get("/v1/processes", {}, { signal, here: true });
    const living = told.processes.filter((one) => !one.error);
    fill(note, `${number(living.length)} processes, ${number(living.reduce((sum, one) => sum + one.tasks, 0))} tasks, ${bytes(living.reduce((sum, one) => sum + (one.rss_bytes ?? 0), 0))}${told.left_out ? ` · ${number(told.left_out)} more not asked` : ""}`);
    if (!told.processes.length) { fill(body, h("div", { class: "panel" }, empty("No process has a socket in the runtime directory of this user; this one listens elsewhere."))); return; }
    const open = (one) => { location.hash = one.pid === told.me ? "#/now" : `#/now?pid=${one.pid}`; };
    fill(body, h("div", { class: "panel" }, table([
      { name: "Pid", num: true, cell: (one) => h("a", { href: one.pid === told.me ? "#/now" : `#/now?pid=${one.pid}` }, String(one.pid)) },
      { name: "Program", mono: true, cell: (one) => [one.name, one.pid === told.me ? h("span", { class: "dim" }, " (serves this page)") : ""] },
      { name: "Tasks", num: true, cell: (one) => number(one.tasks) },
      { name: "Loop lag", num: true, cell: (one) => h("span", { class: one.loop_lag_s >= 0.1 ? "bad" : null }, seconds(one.loop_lag_s)) },
      { name: "Memory", num: true, cell: (one) => bytes(one.rss_bytes) },
      { name: "Up", num: true, cell: (one) => seconds(one.uptime_s) },
      { name: "Python", cell: (one) => (one.error ? "" : `${one.python}, ${one.loop ?? "no loop"}`) },
      { name: "Condition", cell: (one) => one.error ? h("span", { class: "bad" }, one.error) : one.blocked ? h("span", { class: "bad" }, `blocked: ${one.blocked}`) : one.loop_lag_s >= 0.1 ? h("span", { class: "bad" }, "the loop is blocked") : one.ready ? h("span", { class: "good" }, "ready") : h("span", { class: "warn" }, "not ready") },
    ], told.processes, { onpick: open, label: "Processes" })));
  }
  return { update, every: 3000, back: () => history.back() };
}
