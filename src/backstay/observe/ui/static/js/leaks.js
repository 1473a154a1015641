// Leaks & incidents: what the detector says, and whole diagnoses made from here.

import { get } from "./api.js";
import { empty, fill, h, number, place, seconds, bytes } from "./dom.js";

export default function leaks(root, { refresh }) {
  const note = h("span", { class: "note", role: "status" });
  const verdicts = h("div", {});
  const incidents = h("section", {});
  let prove = false, alive = true, shown = null;
  const proof = h("button", { type: "button", title: "Stops the application twice for some milliseconds", onclick: () => twice() }, "Prove");
  const length = h("select", { "aria-label": "Seconds to look" }, [10, 30, 60, 120].map((value) => h("option", { value, selected: value === 30 }, `${value} s`)));
  const diagnose = h("button", { type: "button", class: "primary", onclick: () => make() }, "Diagnose");
  const progress = h("span", { class: "note", role: "status" });
  root.append(h("div", { class: "head" }, h("h1", {}, "Leaks"), proof, note), verdicts, h("p", {}),
    h("div", { class: "head" }, h("h1", {}, "Incidents"), diagnose, length, progress), incidents);

  /** A proof accuses whom it has seen twice, a second apart. */
  async function twice() {
    proof.disabled = true;
    prove = true;
    try {
      await get("/v1/leaks", { prove: 1 });
      await new Promise((done) => setTimeout(done, 1200));
      if (alive) await refresh();
    } finally { proof.disabled = false; }
  }

  async function make() {
    diagnose.disabled = true;
    const until = Date.now() + 1000 * length.value;
    const clock = setInterval(() => fill(progress, `looking, ${Math.max(0, Math.ceil((until - Date.now()) / 1000))} s to go`), 250);
    try {
      const made = await get("/v1/incidents/make", { seconds: length.value });
      shown = made.id;
      clearInterval(clock);
      fill(progress, "");
      if (alive) await refresh();
    } catch (error) { fill(progress, h("span", { class: "bad" }, error.message)); } finally { clearInterval(clock); diagnose.disabled = false; }
  }

  function finding(one) {
    return h("section", { class: "panel" }, h("h2", {}, h("span", { class: "tag cancelling" }, one.verdict), ` ${number(one.count)} tasks started at `, h("span", { class: "mono", title: one.site }, place(one.site)), ` in ${one.function}`),
      h("dl", {}, [["Owner", one.owner || "none"], ["Waits for", one.blocked_on || "–"], ["Held by", one.held_by], ["Oldest", one.age === null ? null : seconds(one.age)], ["Grows", one.slope_per_s ? `${(60 * one.slope_per_s).toFixed(1)} a minute` : null],
        ["Memory", one.bytes_held ? `${bytes(one.bytes_held)} at least` : null], ["Requests", one.trace_ids.length ? one.trace_ids.slice(0, 5).join(", ") : null], ["Advice", one.advice]].filter(([, value]) => value).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
      one.detail.length ? h("details", {}, h("summary", {}, "Evidence"), h("ul", {}, one.detail.map((line) => h("li", {}, line)))) : "");
  }

  function cause(one) {
    return h("section", { class: "panel" }, h("h2", {}, h("span", { class: "tag cancelling" }, one.verdict ?? one.kind ?? "finding"), " ", one.headline ?? one.title ?? one.site ?? ""),
      h("dl", {}, Object.entries(one).filter(([name, value]) => !["verdict", "headline", "kind", "score", "certainty", "harm"].includes(name) && value !== null && value !== 0 && value !== "" && (typeof value !== "object" || Array.isArray(value) && value.length && typeof value[0] !== "object")).slice(0, 16).map(([name, value]) => [h("dt", {}, name.replaceAll("_", " ")), h("dd", {}, Array.isArray(value) ? value.map((line) => h("div", {}, String(line))) : name === "bytes_held" ? `${bytes(value)} at least` : typeof value === "number" ? Number(value.toFixed(3)).toLocaleString("en") : String(value))])));
  }

  async function update(signal) {
    const asked = [get("/v1/leaks", prove ? { prove: 1 } : {}, { signal }), get("/v1/incidents", shown ? { id: shown } : {}, { signal })];
    const [told, known] = await Promise.all(asked);
    fill(note, `${number(told.tasks)} tasks · ${told.growth === "judged" ? `${number(told.samples)} samples over ${seconds(told.span_s)}` : `growth is not judged yet: ${told.growth}`}`);
    fill(verdicts, told.findings.length ? told.findings.map(finding) : h("div", { class: "panel" }, empty("Nothing is accused.", told.growth === "judged" ? "" : " Growth is judged once there are enough samples.")));
    fill(incidents, known.incidents.length ? [h("div", { class: "panel scrollx" }, h("table", {}, h("thead", {}, h("tr", {}, ["Made", "Looked for", "Findings", "Verdict"].map((name) => h("th", {}, name)))), h("tbody", {}, known.incidents.map((one) => h("tr", { tabindex: 0, "aria-selected": one.id === shown, onclick: () => pick(one.id), onkeydown: (event) => { if (event.key === "Enter") pick(one.id); } }, h("td", {}, new Date(one.made_at * 1000).toLocaleTimeString()), h("td", {}, seconds(one.seconds)), h("td", {}, number(one.findings)), h("td", {}, one.verdict)))))),
      known.document ? known.document.findings.length ? known.document.findings.map(cause) : h("div", { class: "panel" }, empty("Nothing was found.")) : ""]
      : h("div", { class: "panel" }, empty("No diagnosis was made from here yet. Diagnose looks at the process for a while, without holding it up, and says what is wrong, worst first.")));
  }
  function pick(id) { shown = id; refresh(); }
  return { update, every: 5000, close: () => { alive = false; } };
}
