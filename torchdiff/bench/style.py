"""How the report looks: by light and by dark, on a screen and on paper."""

STYLE = """
:root { color-scheme: light dark; --ink: #20303c; --soft: #5d6972; --rule: #d3d9dd; --paper: #fefefe; --best: #eaf4ee;
  --tie: #f1f4f6; --mark: #1f7a4d; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ec; --soft: #9aa7b0; --rule: #39444c; --paper: #14191d;
  --best: #1b3427; --tie: #20282e; --mark: #6fd3a0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", Roboto,
  sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .2rem; font-weight: 650; letter-spacing: -.01em; }
h2 { font-size: 1.1rem; margin: 2.8rem 0 .6rem; font-weight: 650; }
p { max-width: 46rem; margin: .5rem 0; } .lead { color: var(--soft); margin-top: 0; }
.answer { border-left: 3px solid var(--mark); padding: .1rem 0 .1rem 1.1rem; margin: 1.8rem 0; }
.answer p { font-size: 1.2rem; line-height: 1.45; }
figure { margin: 1rem 0 0; overflow-x: auto; } figure svg { width: 100%; height: auto; min-width: 46rem;
  display: block; }
figure svg image { image-rendering: pixelated; }
figcaption, .note { color: var(--soft); font-size: .87rem; max-width: 46rem; margin-top: .4rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size:
  .92rem; }
th, td { padding: .32rem .9rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--rule); }
th { font-weight: 600; color: var(--soft); } th:first-child, td:first-child { text-align: left; padding-left: 0; }
tr.floor td { color: var(--soft); } td.best { background: var(--best); font-weight: 650; } td.tie { background:
  var(--tie); }
.brief td:nth-child(2), .brief th:nth-child(2) { text-align: left; }
td small { color: var(--soft); font-weight: 400; }
code, pre { font: .85rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
pre { background: var(--tie); padding: .8rem 1rem; overflow-x: auto; white-space: pre-wrap; border-radius: 4px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.4rem; font-size: .92rem; margin: .4rem 0; }
dt { color: var(--soft); } dd { margin: 0; }
td.score::after { content: ""; display: inline-block; width: 1em; text-align: center; }
td.best::after { content: "*"; } td.tie::after { content: "="; }
@page { size: A4; margin: 14mm; }
@media print { :root { color-scheme: light; --ink: #000; --soft: #333; --rule: #bbb; --paper: #fff; --best: #eee;
  --tie: #fff; --mark: #000; }
  body { font-size: 10pt; } main { max-width: none; padding: 0; } p, figcaption, .note { max-width: none; }
  h1, h2, h2 + p { break-after: avoid; } h2 { margin-top: 1.6rem; } figure, tr, .answer { break-inside: avoid; }
  figure, .wide, pre { overflow: visible; } figure svg { min-width: 0; max-height: 240mm; }
  table { width: 100%; font-size: 8pt; } thead { display: table-header-group; }
  th, td { padding: .15rem .3rem; white-space: normal; } td:first-child, pre, dt, dd, .brief td { overflow-wrap:
  anywhere; }
  .scores { table-layout: fixed; } .scores th:first-child { width: 26%; } td small { display: inline-block; }
  .many table { font-size: 6.5pt; } .brief td:first-child { white-space: nowrap; }
  dl { grid-template-columns: minmax(0, 2fr) minmax(0, 5fr); }
  pre { border: 1px solid var(--rule); padding: .3rem .5rem; } }
"""
