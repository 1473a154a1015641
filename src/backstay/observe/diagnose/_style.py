"""How the page looks: large enough to be read by somebody who was asleep, in light and in dark."""

from __future__ import annotations

from typing import Final

__all__ = ["CSS"]

CSS: Final = """
:root{--ground:#f6f7f9;--panel:#fff;--ink:#16191d;--soft:#565f6b;--line:#d9dee5;--bad:#b3261e;--good:#1a6b3c;
--do:#eaf2fd}
@media(prefers-color-scheme:dark){:root{--ground:#111418;--panel:#1b2026;--ink:#e8ebef;--soft:#a4aeba;
--line:#333b45;--bad:#ff8a80;--good:#7bd89c;--do:#1d2c40}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:17px/1.55 system-ui,sans-serif}
main{max-width:60rem;margin:0 auto;padding:1.5rem 1rem 4rem}
h1{font-size:1.6rem;line-height:1.25;margin:.4rem 0;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:1.6rem 0 .5rem}
code{font:.92em ui-monospace,monospace;overflow-wrap:anywhere}
.badge{display:inline-block;margin:0;padding:.15rem .7rem;border:2px solid;border-radius:.4rem;font-weight:700}
.found{color:var(--bad)}.fine{color:var(--good)}
.lead,small,.read,footer,.waits{color:var(--soft)}
.panel{background:var(--panel);border:1px solid var(--line);border-radius:.6rem;padding:.9rem 1.1rem}
ul.panel{padding-left:2.2rem}
.cause{margin:1.2rem 0}.cause h2{margin:0;color:var(--bad)}
.rank{display:inline-block;min-width:1.6em;text-align:center;border:1px solid;border-radius:.3rem}
.place{font-size:1.15rem;font-weight:650;margin:.5rem 0}
.bar{height:.4rem;background:var(--line);border-radius:.2rem;margin:.6rem 0}
.bar i{display:block;height:100%;background:var(--bad);border-radius:.2rem}
dl{display:grid;grid-template-columns:minmax(6rem,max-content) 1fr;gap:.25rem 1rem;margin:.6rem 0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
.do{background:var(--do);padding:.6rem .8rem;border-radius:.4rem}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.92rem}
th,td{text-align:right;padding:.35rem .6rem;border-bottom:1px solid var(--line);font-weight:400;vertical-align:top}
th:first-child,td.waits{text-align:left}thead th{color:var(--soft)}
a{color:inherit}.falls{margin:.8rem 0}.falls p{margin:.2rem 0}.falls th{text-align:left;white-space:nowrap}
.fall{width:55%;text-align:left;padding:.35rem 0}
.fall i{display:block;height:.9rem;border-radius:.2rem;background:var(--line)}.fall i.own{background:var(--soft)}
footer{margin-top:2rem;font-size:.9rem}
@media print{body{background:#fff}.panel{break-inside:avoid}}
"""
