// Tasks: groups of tasks, the members of one, and one task alone.

import { get } from "./api.js";
import { LongList, empty, fill, h, number, place, seconds, stack } from "./dom.js";

export default function tasks(root, context) {
  const [what, key] = context.args;
  if (what === "group") return group(root, context, key);
  if (what === "task") return single(root, context, key);
  return groups(root, context);
}

const COLUMNS = [["count", "Tasks", "num"], ["state", "State"], ["site", "Started at"], ["owner", "Owner"], ["age", "Oldest", "num"], ["blocked_on", "Waits for"]];
const ORDER = ["count", "state", "site", "owner", "age", "blocked_on"];

function groups(root, { fields, go }) {
  let sort = fields.get("sort") ?? "count", reverse = false, delay = 0, signal;
  const filter = h("input", { type: "search", placeholder: "Filter: words of site, owner, state, what it waits for  (/)", size: 60, "aria-label": "Filter", value: fields.get("q") ?? "", maxlength: 200,
    oninput: () => { clearTimeout(delay); delay = setTimeout(again, 200); },
    onkeydown: (event) => { if (event.key === "Enter" || event.key === "ArrowDown") { list.view.focus(); again(); event.preventDefault(); } } });
  const said = h("span", { class: "note", role: "status" });
  const list = new LongList({ kind: "groups", label: "Groups of tasks",
    onpick: (row) => go("tasks", ["group", row.key], filter.value ? { q: filter.value } : {}),
    columns: (row) => [
      h("span", { class: "num" }, number(row.count)), h("span", {}, h("span", { class: `tag ${row.state}` }, row.state)),
      h("span", { class: "mono", title: `${row.function} at ${row.site}` }, row.function.split(".").pop(), " ", h("span", { class: "dim" }, place(row.site))),
      h("span", { title: row.owner }, row.owner || h("span", { class: "dim" }, "(no owner)")), h("span", { class: "num" }, seconds(row.age_max_s)), h("span", { class: "mono", title: row.blocked_on }, row.blocked_on ? short(row.blocked_on) : h("span", { class: "dim" }, "–"))],
    load: async (offset, limit) => {
      const told = await get("/v1/tasks", { q: filter.value, sort, reverse: reverse ? 1 : null, offset, limit }, { signal });
      fill(said, `${number(told.found_tasks)} of ${number(told.tasks)} tasks in ${number(told.found_groups)} groups · counted ${seconds(told.age_s)} ago in ${seconds(told.cost_s)}${told.groups_left_out ? ` · ${number(told.groups_left_out)} small groups left out` : ""}`);
      nothing.hidden = told.found_groups > 0;
      fill(nothing, filter.value ? `No task matches “${filter.value}”.` : "No tasks are alive.");
      return { rows: told.groups, count: told.found_groups };
    } });
  const nothing = empty();
  nothing.hidden = true;
  const again = () => { list.view.scrollTop = 0; list.at = -1; return list.reload().catch(() => {}); };
  const heads = () => list.heads(ORDER.map((id) => {
    const [, title, kind] = COLUMNS.find(([name]) => name === id);
    return h("button", { type: "button", class: kind ?? null, "aria-sort": sort === id ? (reverse ? "ascending" : "descending") : null,
      onclick: () => { reverse = sort === id ? !reverse : false; sort = id; heads(); again(); } }, title, sort === id ? (reverse ? " ▴" : " ▾") : "");
  }));
  heads();
  root.append(h("div", { class: "head" }, h("h1", {}, "Tasks"), filter, said), list.element, nothing);
  return {
    every: 5000, redraw: () => list.draw(),
    update: async (given) => { signal = given; await list.reload(); },
    key: (event) => list.take(event),
    back: () => { if (filter.value) { filter.value = ""; again(); } },
  };
}

/** Shorten the path in "label at path:line". */
function short(text) {
  const at = text.lastIndexOf(" at ");
  return at < 0 ? text : `${text.slice(0, at)} at ${place(text.slice(at + 4))}`;
}

function group(root, { go, fields }, key) {
  const title = h("h1", {}, "Group");
  const about = h("div", { class: "cols" });
  let signal;
  const list = new LongList({ kind: "members", label: "Tasks of the group", onpick: (row) => { if (row.name) go("tasks", ["task", row.id], { from: key }); },
    columns: (row) => [h("span", {}, row.name ?? h("span", { class: "dim" }, "ended")), h("span", {}, row.state ?? ""), h("span", { class: "num" }, seconds(row.age_s)), h("span", { class: "mono", title: row.blocked_on }, row.blocked_on ? short(row.blocked_on) : ""), h("span", { class: "mono" }, row.trace_id ?? "")],
    load: async (offset, limit) => {
      const told = await get("/v1/tasks/members", { key, offset, limit }, { signal });
      if (offset === 0) describe(told);
      return { rows: told.members, count: told.group.count };
    } });
  list.heads(["Name", "State", "Age", "Waits for", "Trace"].map((name, at) => h("span", { class: at === 2 ? "num" : null }, name)));
  function describe({ group: one, stack: steps }) {
    fill(title, `${number(one.count)} × ${one.coroutine}`);
    fill(about, h("section", { class: "panel" }, h("dl", {}, pairs([["Started at", `${one.function} at ${one.site}`], ["Owner", one.owner || "(no owner)"], ["State", one.state], ["Waits for", one.blocked_on || "–"], ["Age", `${seconds(one.age_min_s)} to ${seconds(one.age_max_s)}`]]))),
      h("section", { class: "panel" }, h("h2", {}, "Where the first one is"), stack(steps)));
  }
  const back = () => go("tasks", [], fields.get("q") ? { q: fields.get("q") } : {});
  root.append(h("div", { class: "head" }, h("button", { type: "button", onclick: back }, "← All groups"), title), about, h("p", {}), list.element);
  return { update: async (given) => { signal = given; await list.reload(); }, redraw: () => list.draw(), back,
    key: (event) => list.take(event) };
}

function pairs(given) {
  return given.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]);
}

function single(root, { go, fields }, id) {
  const body = h("div", {});
  const title = h("h1", {}, "Task");
  const back = () => (fields.get("from") ? go("tasks", ["group", fields.get("from")]) : go("tasks"));
  root.append(h("div", { class: "head" }, h("button", { type: "button", onclick: back }, "← Back"), title), body);
  async function update(signal) {
    const one = await get("/v1/tasks/one", { id }, { signal });
    fill(title, one.name);
    fill(body, h("div", { class: "cols" },
      h("section", { class: "panel" }, h("dl", {}, pairs([["Coroutine", one.coroutine], ["Defined at", one.definition], ["Started at", one.site ? `${one.function} at ${one.site}` : "before tracking began, or by a bare callback"],
        ["State", one.state], ["Waits for", one.blocked_on ?? "–"], ["Age", seconds(one.age_s)], ["Trace", one.trace_id ?? "–"], ["Asked to end by", one.cancel_by ?? "–"]]))),
      h("section", { class: "panel" }, h("h2", {}, "Owners"), one.scopes.length ? h("ol", { class: "stack" }, one.scopes.map((scope) => h("li", {}, `${scope.kind} ${scope.name}, ${scope.state}`,
        scope.remaining_s === null ? "" : h("span", { class: scope.remaining_s < 0 ? "bad" : "place" }, scope.remaining_s < 0 ? ` deadline passed ${seconds(-scope.remaining_s)} ago` : ` ${seconds(scope.remaining_s)} left`)))) : h("p", { class: "note" }, "Nobody owns it."))),
      h("section", { class: "panel" }, h("h2", {}, "Await chain, outermost first"), stack(one.stack)));
  }
  return { update, every: 3000, back };
}
