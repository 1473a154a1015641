"""Looks of the report: one palette for light and dark, drawn from system fonts, nothing fetched."""

from __future__ import annotations

__all__ = ["CHART_CSS", "PAGE_CSS", "PALETTE_CSS", "SCRIPT"]

PALETTE_CSS = """
:root{--ground:#f6f7f9;--card:#ffffff;--ink:#1a2230;--soft:#5b6675;--faint:#8a94a3;--rule:#e3e7ec;
--a:#c8500a;--b:#0067a8;--fault:#f4b400;--fault-ink:#8a5a00;--warm:#64748b;
--good:#0a7a4b;--good-bg:#e3f5ec;--bad:#b3261e;--bad-bg:#fbe9e7;--open:#8a5a00;--open-bg:#fdf3dc;--guilty:#fff1d6}
@media(prefers-color-scheme:dark){:root{--ground:#0f141b;--card:#171e28;--ink:#e8ecf2;--soft:#a3afbf;--faint:#7c8899;
--rule:#2a3442;--a:#ff9a52;--b:#5cb8f5;--fault:#f4b400;--fault-ink:#f0c35a;--warm:#94a3b8;
--good:#5bd69b;--good-bg:#12352a;--bad:#ff8a80;--bad-bg:#3d1b1b;--open:#f0c35a;--open-bg:#3a2e12;--guilty:#43340f}}
"""

CHART_CSS = """
.chart text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;fill:var(--soft)}
.chart .title{font-size:14.5px;font-weight:600;fill:var(--ink)}
.chart .unit{font-size:12px;font-weight:400;fill:var(--faint)}
.chart .tick{font-size:11.5px;font-variant-numeric:tabular-nums}
.chart .grid{stroke:var(--rule);stroke-width:1;fill:none}
.chart .axis{stroke:var(--faint);stroke-width:1;fill:none}
.chart .fault{fill:var(--fault);opacity:.13}
.chart .fault-edge{stroke:var(--fault-ink);stroke-width:1;stroke-dasharray:2 3;fill:none}
.chart .warmup{fill:var(--warm);opacity:.10}
.chart .span{font-size:11.5px}
.chart .fault-label{fill:var(--fault-ink);font-weight:500}
.chart .warmup-label{fill:var(--faint)}
.chart .line{fill:none;stroke-width:2.2;stroke-linejoin:round;stroke-linecap:round}
.chart .line.a{stroke:var(--a);stroke-dasharray:7 4}
.chart .line.b{stroke:var(--b)}
.chart .name{font-size:13px;font-weight:650}
.chart .a-text{fill:var(--a)}
.chart .b-text{fill:var(--b)}
.chart .figure{font-size:12px;font-weight:400;font-variant-numeric:tabular-nums}
.chart .cross{stroke:var(--soft);stroke-width:1;fill:none;visibility:hidden}
"""

PAGE_CSS = """
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif;-webkit-font-smoothing:antialiased}
main{max-width:1180px;margin:0 auto;padding:40px 28px 64px}
h1{font-size:30px;line-height:1.2;margin:10px 0 6px;letter-spacing:-.015em}
h2{font-size:18px;margin:44px 0 14px;letter-spacing:-.01em}
p{margin:0 0 10px}
code,pre,.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;font-size:.92em}
.lead{color:var(--soft);font-size:16.5px;max-width:52em}
.badge{display:inline-flex;gap:8px;align-items:center;font-weight:700;font-size:14px;letter-spacing:.04em;
padding:5px 14px;border-radius:999px}
.PASS{color:var(--good);background:var(--good-bg)}
.FAIL{color:var(--bad);background:var(--bad-bg)}
.INCONCLUSIVE{color:var(--open);background:var(--open-bg)}
.cards{display:grid;grid-template-columns:repeat(4,1fr);gap:14px;margin:26px 0 0}
.card,.panel{background:var(--card);border:1px solid var(--rule);border-radius:12px}
.card{padding:16px 18px 14px}
.card .what{color:var(--soft);font-size:13px}
.card .big{font-size:29px;font-weight:680;letter-spacing:-.02em;line-height:1.25;font-variant-numeric:tabular-nums}
.card .how{color:var(--soft);font-size:13.5px;font-variant-numeric:tabular-nums}
.a-ink{color:var(--a)}.b-ink{color:var(--b)}
.panel{padding:18px 20px}
.charts{display:grid;grid-template-columns:1fr 1fr;gap:14px}
.charts .panel{padding:14px 14px 8px}
.chart{display:block;width:100%;height:auto;overflow:visible}
.readout{color:var(--soft);font-size:13px;min-height:20px;margin:8px 2px 0;font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:9px 14px;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap}
th:first-child,td:first-child{text-align:left}
thead th{font-size:13px;color:var(--soft);font-weight:600}
tbody tr:last-child td{border-bottom:0}
tr.headline td{font-weight:640}
.panel.flush{padding:4px 6px}
.checks{list-style:none;margin:0;padding:0}
.checks li{display:grid;grid-template-columns:26px 1fr;padding:5px 0}
.checks .mark{font-weight:700}
.checks pre{margin:4px 0 0;white-space:pre-wrap;color:var(--soft)}
.met .mark{color:var(--good)}.missed .mark{color:var(--bad)}.unknown .mark{color:var(--open)}.goal .mark{color:var(--faint)}
.source{margin:12px 0 14px;border:1px solid var(--rule);border-radius:8px;overflow-x:auto;padding:8px 0}
.source div{padding:1px 16px 1px 0;white-space:pre;min-width:max-content}
.source .number{display:inline-block;width:58px;padding-right:16px;text-align:right;color:var(--faint)}
.source .guilty{background:var(--guilty);box-shadow:inset 3px 0 0 var(--fault);font-weight:600}
dl{display:grid;grid-template-columns:max-content 1fr;gap:6px 22px;margin:0}
.also{margin:14px 0 4px;color:var(--soft)}ul{margin:0;padding-left:20px}
dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere}
.foot{color:var(--faint);font-size:13px;margin-top:40px}
a{color:var(--b)}
button{font:inherit;color:var(--b);background:none;border:1px solid var(--rule);border-radius:8px;
padding:6px 14px;cursor:pointer}
button:hover{border-color:var(--b)}
@media(max-width:860px){.charts{grid-template-columns:1fr}.cards{grid-template-columns:1fr 1fr}main{padding:24px 16px 48px}
dl{grid-template-columns:1fr}dt{margin-top:6px}}
@media(max-width:480px){.cards{grid-template-columns:1fr}}
@media print{body{background:#fff}.panel,.card{break-inside:avoid}button,.readout{display:none}}
"""

# A crosshair through all four charts, and the download. Without scripts the page is complete, only still.
SCRIPT = """
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
document.getElementById("save").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(data, null, 1)], {type: "application/json"}));
  link.download = "comparison-" + data.result.scenario + ".json";
  link.click();
  URL.revokeObjectURL(link.href);
});
const charts = [...document.querySelectorAll("svg.chart[data-chart]")];
const left = 58, right = 118, width = 640, top = 58, bottom = 230, duration = data.result.duration_s;
const form = {tasks: v => Math.round(v).toLocaleString("en") + " tasks",
  p99_ms: v => v < 1000 ? v.toFixed(0) + " ms" : (v / 1000).toFixed(1) + " s",
  success_pct: v => v.toFixed(1) + " %", rss_mb: v => v.toFixed(0) + " MB"};
const readout = document.getElementById("readout"), still = readout.textContent;
for (const chart of charts) {
  const cross = document.createElementNS("http://www.w3.org/2000/svg", "path");
  cross.setAttribute("class", "cross");
  chart.append(cross);
}
const nearest = (curve, t) => curve.reduce((best, point) =>
  point[1] !== null && (!best || Math.abs(point[0] - t) < Math.abs(best[0] - t)) ? point : best, null);
const show = t => {
  for (const chart of charts) {
    const x = left + t / duration * (width - left - right), cross = chart.lastChild;
    cross.setAttribute("d", `M${x} ${top}V${bottom}`);
    cross.style.visibility = "visible";
  }
  const words = Object.entries(data.series).map(([name, series]) => name + ": " + charts.map(chart => {
    const key = chart.dataset.chart, point = nearest(series[key], t);
    return point ? form[key](point[1]) : "–";
  }).join(", "));
  readout.textContent = "at " + t.toFixed(0) + " s — " + words.join("  ·  ");
};
const hide = () => {
  readout.textContent = still;
  for (const chart of charts) chart.lastChild.style.visibility = "hidden";
};
for (const chart of charts) {
  chart.addEventListener("pointermove", event => {
    const box = chart.getBoundingClientRect(), x = (event.clientX - box.left) / box.width * width;
    const t = (x - left) / (width - left - right) * duration;
    if (t >= 0 && t <= duration) show(t); else hide();
  });
  chart.addEventListener("pointerleave", hide);
}
})();
"""
