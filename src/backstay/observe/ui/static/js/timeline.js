// Timeline: the last seconds of the flight recorder, one line for each task.

import { address, get, query } from "./api.js";
import { color, empty, fill, h, moment, number, place, seconds, sharpen, table } from "./dom.js";

const ROW = 20, LEFT = 230, TOP = 22;

export default function timeline(root, context) {
  const span = h("select", { "aria-label": "Seconds", onchange: () => context.refresh() }, [1, 2, 5, 10, 30].map((value) => h("option", { value, selected: value === 5 }, `last ${value} s`)));
  const note = h("span", { class: "note", role: "status" });
  const canvas = h("canvas", { class: "time", tabindex: 0, role: "img", "aria-label": "Steps of the tasks over time; + and - zoom, arrows move" });
  const tip = h("div", { class: "tip", hidden: true });
  const body = h("div", {}, canvas);
  const below = h("div", {});
  const download = h("a", { class: "chip", title: "Open it in ui.perfetto.dev or an installed Perfetto" }, "Download for Perfetto");
  root.append(h("div", { class: "head" }, h("h1", {}, "Timeline"), span, download,
    h("span", { class: "legend" }, h("span", {}, h("i", { class: "k-run" }), "runs"), h("span", {}, h("i", { class: "k-ready" }), "ready, waits for its turn"), h("span", {}, h("i", { class: "k-wait" }), "waits")), note), body, below, tip);
  let told = null, from = 0, to = 1, drag = null;

  async function update(signal) {
    fill(note, "");
    download.href = query(address("/debug/pprof/trace"), { last: span.value });
    try {
      told = await get("/v1/timeline", { last: span.value, top: 50 }, { signal });
    } catch (error) {
      if (error.status !== 404) throw error;
      told = { recording: false, why: "this process has no flight recorder", tracks: [], longest: [] };
    }
    download.hidden = !told.tracks.length;
    canvas.hidden = !told.tracks.length;
    if (!told.tracks.length) { fill(below, h("div", { class: "panel" }, empty(told.recording ? "Nothing has run in this time." : `Nothing is recorded: ${told.why || "the flight recorder is off"}.`))); return; }
    [from, to] = [told.from, told.to];
    fill(note, `${number(told.tracks.length)} task${told.tracks.length === 1 ? "" : "s"} over ${seconds(to - from)}${told.lost ? ` · ${number(told.lost)} older events are overwritten` : ""}${told.recording ? "" : " · recording has stopped"}`);
    fill(below, h("p", {}), h("section", { class: "panel" }, h("h2", {}, "Longest steps: how long one task has held the loop"), told.longest.length ? table([
      { name: "Task", cell: (one) => one.task }, { name: "Started at", mono: true, cell: (one) => place(one.site) }, { name: "Held the loop", num: true, cell: (one) => seconds(one.s) }, { name: "Before the end", num: true, cell: (one) => seconds(told.to - one.at) }],
      told.longest, { onpick: (one) => { from = one.at - one.s; to = one.at + 2 * one.s; draw(); } }) : empty("No step is known.")));
    draw();
  }

  const x = (time, width) => LEFT + ((time - from) / (to - from)) * (width - LEFT);

  function draw() {
    if (!told?.tracks.length) return;
    const { pen, width, height } = sharpen(canvas, TOP + told.tracks.length * ROW + 6);
    const [run, ready, wait, text, dim, line] = ["run", "ready", "wait", "text", "dim", "line"].map(color);
    pen.font = '12px "DejaVu Sans", system-ui, sans-serif';
    pen.textBaseline = "middle";
    pen.strokeStyle = line;
    pen.fillStyle = dim;
    const step = 10 ** Math.floor(Math.log10((to - from) / 4)), tick = (to - from) / step > 20 ? 5 * step : (to - from) / step > 8 ? 2 * step : step;
    for (let time = Math.ceil((from - told.from) / tick) * tick; told.from + time < to; time += tick) {
      const at = x(told.from + time, width);
      pen.beginPath(); pen.moveTo(at, TOP - 4); pen.lineTo(at, height); pen.stroke();
      pen.fillText(moment(time, tick), at + 3, 10);
    }
    told.tracks.forEach((track, row) => {
      const y = TOP + row * ROW;
      pen.fillStyle = text;
      pen.fillText(cut(pen, `${track.task} ${place(track.site)}`, LEFT - 16), 8, y + ROW / 2);
      let last = null;
      for (const [woken, begin, end] of track.steps) {
        bar(last ?? told.from, woken, y + 8, 3, wait, width);
        bar(woken, begin, y + 5, 9, ready, width);
        bar(begin, end, y + 3, 13, run, width);
        last = end;
      }
      if (!track.done && last !== null) bar(last, told.to, y + 8, 3, wait, width);
    });
    function bar(start, end, y, tall, shade, width) {
      if (end < from || start > to || end < start) return;
      const a = Math.max(LEFT, x(start, width)), b = Math.min(width, x(end, width));
      pen.fillStyle = shade;
      pen.fillRect(a, y, Math.max(0.8, b - a), tall);
    }
    window.__backstay.timeline = { from, to, tracks: told.tracks.length };
  }

  function cut(pen, words, width) {
    while (words.length > 4 && pen.measureText(words).width > width) words = `${words.slice(0, -4)}…`;
    return words;
  }

  function zoom(factor, at = (from + to) / 2) {
    const least = 1e-6, next = Math.max(least, Math.min(told.to - told.from, (to - from) * factor));
    const share = (at - from) / (to - from);
    from = Math.max(told.from, Math.min(told.to - next, at - share * next));
    to = from + next;
    draw();
  }

  function move(by) {
    const wide = to - from;
    from = Math.max(told.from, Math.min(told.to - wide, from + by * wide));
    to = from + wide;
    draw();
  }

  const time = (event) => { const box = canvas.getBoundingClientRect(); return from + ((event.clientX - box.left - LEFT) / (box.width - LEFT)) * (to - from); };
  canvas.addEventListener("wheel", (event) => { if (!event.ctrlKey && !event.shiftKey) return; event.preventDefault(); zoom(event.deltaY > 0 ? 1.3 : 1 / 1.3, time(event)); }, { passive: false });
  canvas.addEventListener("mousedown", (event) => { drag = { x: event.clientX, from, to }; });
  const up = () => { drag = null; };
  window.addEventListener("mouseup", up);
  canvas.addEventListener("mousemove", (event) => {
    const box = canvas.getBoundingClientRect();
    if (drag) {
      const by = ((drag.x - event.clientX) / (box.width - LEFT)) * (drag.to - drag.from);
      const wide = drag.to - drag.from;
      from = Math.max(told.from, Math.min(told.to - wide, drag.from + by)); to = from + wide;
      draw();
      return;
    }
    const track = told?.tracks[Math.floor((event.clientY - box.top - TOP) / ROW)];
    tip.hidden = !track;
    if (!track) return;
    const at = time(event);
    const step = track.steps.find(([woken, , end]) => woken <= at && at <= end);
    fill(tip, h("strong", {}, track.task), h("div", { class: "dim" }, `started at ${track.site}${track.owner ? `, owner ${track.owner}` : ""}`), h("div", {}, `ran ${seconds(track.run_s)}, was ready for ${seconds(track.ready_s)} in all`),
      step ? h("div", {}, `this step: ready ${seconds(step[1] - step[0])}, ran ${seconds(step[2] - step[1])}${step[3] >= 0 ? `, woken by ${told.tracks[step[3]]?.task ?? "?"}` : ""}`) : "", track.done ? h("div", {}, "done") : track.wait ? h("div", {}, `waits now: ${track.wait}`) : "");
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - 420)}px`;
    tip.style.top = `${event.clientY + 14}px`;
  });
  canvas.addEventListener("mouseleave", () => { tip.hidden = true; });
  return { update, redraw: draw, close: () => window.removeEventListener("mouseup", up),
    key: (event) => {
      if (!told?.tracks.length) return false;
      const known = { "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), ArrowLeft: () => move(-0.2), ArrowRight: () => move(0.2) }[event.key];
      known?.();
      return Boolean(known);
    } };
}
