// Which screen is shown, what the keys do, and what all screens have in common.

import { Refused, choose, chosen, get } from "./api.js";
import { fill, h } from "./dom.js";
import now from "./now.js";
import tasks from "./tasks.js";
import graph from "./graph.js";
import timeline from "./timeline.js";
import profiles from "./profiles.js";
import guards from "./guards.js";
import leaks from "./leaks.js";
import host from "./host.js";

const SCREENS = [
  ["now", "Now", now], ["tasks", "Tasks", tasks], ["graph", "Owners & waits", graph], ["timeline", "Timeline", timeline],
  ["profiles", "Profiles", profiles], ["guards", "Guards", guards], ["leaks", "Leaks & incidents", leaks],
];
const KEYS = [
  ["1 … 7", "the screens"], ["0", "all processes of this host"], ["/", "the filter"], ["j k, arrows", "next and previous row"],
  ["Enter", "open the row"], ["Esc, Backspace", "back"], ["r", "look again now"], ["p", "stop or go on refreshing"], ["d", "light or dark"], ["?", "this list"],
];

const one = (id) => document.getElementById(id);
const state = { screen: "", args: [], paused: false, timer: 0, busy: null, view: null, rounds: 0, errors: [], pid: null };
window.__backstay = state;

function show(error) {
  const box = one("alert");
  box.hidden = !error;
  if (error?.status === 401) {
    if (!box.querySelector("form")) fill(box, h("form", { action: "/ui/enter", method: "get" }, h("label", {}, "This plane wants its token: ", h("input", { type: "password", name: "token", autocomplete: "off", required: true })), " ", h("button", {}, "Enter")));
    return;
  }
  if (error) fill(box, error instanceof Refused ? error.message : `${error.name}: ${error.message}`);
}

/** Read the address: #/screen/argument…?pid= of another process. */
function route() {
  const [path, search] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...args] = path.split("/").map(decodeURIComponent);
  const fields = new URLSearchParams(search ?? "");
  choose(fields.get("pid"));
  const known = name === "host" ? ["host", "Host", host] : SCREENS.find(([id]) => id === name) ?? SCREENS[0];
  leave();
  state.screen = known[0];
  state.args = args;
  document.title = `${known[1]} – Backstay`;
  navigation();
  const root = one("screen");
  root.replaceChildren();
  show(null);
  state.view = known[2](root, { args, fields, link, go, show, refresh: () => tick(true) });
  window.scrollTo(0, 0);
  tick(true);
}

function leave() {
  clearTimeout(state.timer);
  state.busy?.abort();
  state.busy = null;
  state.view?.close?.();
  state.view = null;
}

/** Return the address of a screen that stays with the chosen process. */
export function link(screen, args = [], fields = {}) {
  const kept = { ...(chosen() === null ? {} : { pid: chosen() }), ...fields };
  const search = new URLSearchParams(kept).toString();
  return `#/${[screen, ...args].map(encodeURIComponent).join("/")}${search ? `?${search}` : ""}`;
}

function go(screen, args = [], fields = {}) { location.hash = link(screen, args, fields); }

function navigation() {
  fill(one("nav"), SCREENS.map(([id, title], at) => h("a", { href: link(id), "aria-current": id === state.screen ? "page" : null, "aria-keyshortcuts": String(at + 1) }, title, h("kbd", {}, String(at + 1)))));
  fill(one("process"), `pid ${chosen() ?? state.pid ?? "…"}`);
}

/** Ask once, and again later unless paused: one question at a time. */
async function tick(asked) {
  clearTimeout(state.timer);
  const view = state.view;
  if (!view?.update || state.busy && !asked) return;
  state.busy?.abort();
  const busy = (state.busy = new AbortController());
  try {
    await view.update(busy.signal, asked);
    if (view === state.view) show(null);
  } catch (error) {
    if (error.name !== "AbortError" && view === state.view) {
      show(error);
      if (!(error instanceof Refused)) { state.errors.push(String(error)); console.error(error); }
    }
  }
  if (busy !== state.busy) return;
  state.busy = null;
  state.rounds += 1;
  if (!state.paused && view === state.view && view.every && !document.hidden) state.timer = setTimeout(() => tick(false), view.every);
}

function pause() {
  state.paused = !state.paused;
  one("pause").setAttribute("aria-pressed", state.paused);
  fill(one("pause"), state.paused ? "Paused" : "Pause");
  if (!state.paused) tick(true);
}

function theme(next) {
  document.documentElement.dataset.theme = next;
  try { localStorage.setItem("backstay-theme", next); } catch { /* private windows keep nothing */ }
  state.view?.redraw?.();
}

function otherTheme() { theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"); }

function help() {
  const box = one("keys");
  fill(box, h("h1", { id: "keys-title" }, "Keys"), h("p", {}), h("dl", {}, KEYS.map(([key, what]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, what)])),
    h("p", {}), h("button", { type: "button", onclick: () => box.close() }, "Close"));
  box.showModal();
}

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || one("keys").open) return;
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (typing) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const at = "1234567".indexOf(event.key);
  const actions = {
    0: () => go("host"), "/": () => document.querySelector("input[type=search]")?.focus(), r: () => tick(true), p: pause, d: otherTheme, "?": help,
    Escape: () => state.view?.back?.(), Backspace: () => state.view?.back?.(),
  };
  if (at >= 0) go(SCREENS[at][0]);
  else if (state.view?.key?.(event)) { /* the screen has its own use for it */ }
  else if (actions[event.key]) actions[event.key]();
  else return;
  event.preventDefault();
}

let saved = null;
try { saved = localStorage.getItem("backstay-theme"); } catch { /* private windows keep nothing */ }
theme(saved ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
window.addEventListener("hashchange", route);
window.addEventListener("resize", () => state.view?.redraw?.());
document.addEventListener("visibilitychange", () => { if (!document.hidden && !state.paused) tick(false); });
document.addEventListener("keydown", key);
one("pause").addEventListener("click", pause);
one("theme").addEventListener("click", otherTheme);
one("help").addEventListener("click", help);
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); one("screen").focus(); });
route();
get("/v1/statistics", {}, { here: true }).then((told) => { state.pid = told.pid; navigation(); }, () => {});
