// How it serves: acceptance rate, speed and load over time, acceptance by position and by source.

import { drawBars, drawLines } from "./charts.js";
import { byId, h, Part } from "./dom.js";
import { entry } from "./story.js";
import { acceptanceRate, buckets, measuredGain, running, speed, total, waiting } from "./sums.js";
import { count, fixed, percent, short } from "./words.js";

export class Serving {
  constructor() {
    const legend = (id) => new Part(byId(`${id}-legend`));
    this.legends = { rate: legend("rate"), speed: legend("speed"), load: legend("load") };
    this.sources = new Part(byId("sources").querySelector(".body"));
    this.controller = new Part(byId("controller").querySelector(".body"));
  }

  show(memory, range, marks) {
    const to = memory.now, from = to - range.seconds;
    const shown = buckets(memory.samples, from, to, range.bucket, range.smooth);
    const recent = total(memory.since(to - range.bucket * range.smooth));
    const points = (of) => shown.map((bucket) => [bucket.at, of(bucket)]);
    const chart = (id, lines, y) => {
      this.legends[id].show(lines.map((line) => line.text), () => lines.map(entry));
      drawLines(byId(`${id}-chart`), lines, { from, to, marks, y });
    };
    chart("rate", [
      { name: "of all drafted", colour: "served", text: percent(acceptanceRate(recent), 1), points: points(({ sum }) => acceptanceRate(sum)) },
    ], { least: 0, most: 0.5, format: ".0%" });
    chart("speed", [
      { name: "generated", colour: "speed", fill: true, text: fixed(speed(recent), 0), points: points(({ sum, known }) => (known ? speed(sum) : null)) },
    ], { least: 0, most: 20, format: ",.0f" });
    const engine = memory.feed.engine;
    chart("load", [
      { name: "running", colour: "adaptive", fill: true, text: String(engine?.running ?? 0), points: points(({ own }) => running(own)) },
      { name: "waiting", colour: "waiting", text: String(engine?.waiting ?? 0), points: points(({ own }) => waiting(own)) },
    ], { least: 0, most: 4, format: ".1~f" });
    const all = total(memory.since(from));
    const shares = all.drafts ? all.positions.map((accepted) => accepted / all.drafts) : [];
    drawBars(byId("positions-chart"), shares.slice(0, 1 + shares.findLastIndex((share) => share >= 0.005)));
    this.showSources(all, memory);
    this.showController(engine, measuredGain(all));
  }

  showSources(all, memory) {
    const newest = memory.feed.engine?.versions ?? {};
    const rows = [...all.sources.values()]
      .map((row) => ({ ...row, share: row.accepted / row.drafted, now: row.version === newest[row.source] || row.version === memory.slot?.candidate }))
      .sort((a, b) => (a.source < b.source ? -1 : a.source > b.source ? 1 : b.now - a.now || b.drafted - a.drafted))
      .slice(0, 8);
    this.sources.show(rows, () => (rows.length === 0 ? h("p", { class: "empty" }, "No drafts in the time shown.") : h(
      "table", { class: "sources" },
      h("thead", null, h("tr", null, h("th", null, "source"), h("th", null, "version"), h("th", { class: "number" }, "drafted"), h("th", null, "accepted"))),
      h("tbody", null, rows.map((row) => h(
        "tr", { class: row.now ? "" : "past" },
        h("td", null, row.source), h("td", { class: "mono", title: row.version }, short(row.version)),
        h("td", { class: "number" }, count(row.drafted)),
        h("td", { class: "meter-cell" }, h("span", { class: "meter" }, h("i", { style: `width: ${(100 * row.share).toFixed(1)}%` })), h("span", { class: "number" }, percent(row.share))),
      ))),
    )));
  }

  showController(engine, measured) {
    const gauges = engine?.gauges ?? {};
    // "gain:4:sampled": what is drafted for about four answers at once whose choices are sampled gains over plain decoding
    const contexts = Object.keys(gauges).filter((name) => name.startsWith("gain:")).map((name) => name.slice(5))
      .sort((a, b) => parseInt(a, 10) - parseInt(b, 10) || a.localeCompare(b));
    byId("controller").hidden = contexts.length === 0 && measured === null;
    const arm = (context) => Object.keys(gauges).find((name) => name.startsWith(`arm:${context}:`) && gauges[name] === 1)?.split(":")[3] ?? "–";
    const rows = contexts.map((context) => [...context.split(":"), arm(context), gauges[`gain:${context}`]]);
    this.controller.show([rows, fixed(measured, 2)], () => [h(
      "table", null,
      h("thead", null, h("tr", null, h("th", null, "requests at once"), h("th", null, "choices"), h("th", null, "drafted by"), h("th", { class: "number" }, "times plain"))),
      h("tbody", null, rows.map(([size, choices, name, gain]) => h(
        "tr", null, h("td", null, size === "1" ? "1" : `about ${size}`), h("td", null, choices), h("td", null, name === "none" ? "nobody: plain decoding" : name.replaceAll("+", " + ")), h("td", { class: "number" }, fixed(gain, 2)),
      ))),
    ), h("p", { class: "note" }, measured === null ? "As the controller reckons from the measured costs of steps." : `As the controller reckons. Measured against requests served without drafts: ${fixed(measured, 2)} times as fast.`)]);
  }
}
