"""The report's style: light and dark, wide and narrow, nothing loaded from elsewhere."""

CSS = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --ink: #1a1f29; --soft: #5b6472; --line: #e1e5ea;
  --tint: rgba(47, 111, 237, .06); --static: #8b93a1; --adaptive: #2f6fed; --served: #d0722a;
  --good: #17803d; --bad: #c22f2f; --good-back: #e7f5ec; --bad-back: #fdeaea;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #10141a; --card: #181e26; --ink: #e7ebf0; --soft: #9aa5b4; --line: #2b333e;
    --tint: rgba(122, 167, 255, .07); --static: #8b95a5; --adaptive: #7aa7ff; --served: #f0a35c;
    --good: #5fcf86; --bad: #ff8080; --good-back: #17301f; --bad-back: #3a1c1e;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 1080px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 8px; letter-spacing: -.01em; }
h2 { font-size: 19px; margin: 0 0 4px; }
p { margin: 0 0 12px; max-width: 92ch; }
.lead { color: var(--soft); margin-bottom: 24px; }
section {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 24px;
  margin: 0 0 20px;
}
section > .note { color: var(--soft); font-size: 14.5px; max-width: 104ch; margin-bottom: 16px; }
.verdict {
  display: inline-block; border-radius: 999px; padding: 4px 14px; font-weight: 600; font-size: 14px;
  margin-bottom: 14px;
}
.good { color: var(--good); background: var(--good-back); }
.bad { color: var(--bad); background: var(--bad-back); }
.tiles { display: grid; grid-template-columns: repeat(4, 1fr); gap: 16px; margin: 0 0 20px; }
.tile {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 16px 18px;
}
.tile b {
  display: block; font-size: 28px; line-height: 1.2; font-weight: 650; font-variant-numeric: tabular-nums;
}
.tile span { display: block; color: var(--soft); font-size: 13.5px; line-height: 1.4; margin-top: 4px; }
.claims { list-style: none; margin: 12px 0 0; padding: 0; }
.claims li {
  display: grid; grid-template-columns: 34px 1fr; padding: 12px 0; border-top: 1px solid var(--line);
}
.claims li:first-child { border-top: 0; }
.claims i {
  font-style: normal; width: 22px; height: 22px; line-height: 22px; border-radius: 50%;
  text-align: center; font-size: 13px; margin-top: 2px;
}
.claims span { display: block; color: var(--soft); font-size: 14.5px; line-height: 1.45; margin-top: 2px; }
.claims strong { display: block; font-weight: 600; }
.legend {
  display: flex; flex-wrap: wrap; gap: 4px 22px; margin: 0 0 8px; padding: 0; list-style: none;
  font-size: 14px; color: var(--soft);
}
.legend b { color: var(--ink); font-variant-numeric: tabular-nums; font-weight: 600; }
.legend svg { width: 26px; height: 10px; margin-right: 7px; vertical-align: middle; overflow: visible; }
svg { display: block; width: 100%; height: auto; }
.legend svg { display: inline-block; }
.narrow { display: none; }
svg text { font-size: 12px; fill: var(--soft); font-family: inherit; }
svg .middle { text-anchor: middle; }
svg .end-of-text { text-anchor: end; font-variant-numeric: tabular-nums; }
svg .strong { fill: var(--ink); font-weight: 600; }
.grid { stroke: var(--line); }
.phase { fill: var(--tint); }
line.phase { stroke: var(--soft); stroke-dasharray: 4 3; }
.swap line {
  stroke: var(--adaptive); stroke-opacity: .35; stroke-dasharray: 1 4; stroke-linecap: round;
  stroke-width: 1.5;
}
.swap polygon, polygon.swap { fill: var(--adaptive); stroke: var(--card); stroke-width: 1.5; }
.curve { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.curve.static { stroke: var(--static); stroke-dasharray: 6 4; }
.curve.adaptive { stroke: var(--adaptive); stroke-width: 2.5; }
.curve.served { stroke: var(--served); }
.end { stroke: var(--card); stroke-width: 1.5; }
.end.static { fill: var(--static); }
.end.adaptive { fill: var(--adaptive); }
.end.served { fill: var(--served); }
.scroll { overflow-x: auto; margin: 12px -8px 0; padding: 0 8px; }
table { border-collapse: collapse; width: 100%; font-size: 14.5px; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--soft); font-size: 13px; vertical-align: bottom; }
th, td { padding: 8px 14px 8px 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
tr:last-child td { border-bottom: 0; }
td.number, th.number { text-align: right; }
td:last-child, th:last-child { padding-right: 0; }
code { font: 13.5px/1.4 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
dl { margin: 0; }
dt { font-weight: 600; margin-top: 12px; }
dd { margin: 2px 0 0; color: var(--soft); max-width: 82ch; }
ul.limits { margin: 8px 0 0; padding-left: 20px; color: var(--soft); }
ul.limits li { margin: 6px 0; max-width: 82ch; }
@media (max-width: 720px) {
  main { padding: 24px 14px 40px; }
  section { padding: 18px 16px; }
  h1 { font-size: 25px; }
  .tiles { grid-template-columns: 1fr 1fr; gap: 10px; }
  .tile { padding: 12px 14px; }
  .tile b { font-size: 23px; }
  .wide { display: none; }
  .narrow { display: block; }
}
@media print { body { background: #fff; } section, .tile { break-inside: avoid; } }
"""
