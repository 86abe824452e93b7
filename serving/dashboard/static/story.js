// The story: acceptance over time as it was served, and what adaptive and static heads alone would have had on the same text.

import { drawLines, MARGIN } from "./charts.js";
import { byId, h, Part } from "./dom.js";
import { acceptanceLength, buckets, isStatic, shadowLength, shadowSources, total } from "./sums.js";
import { clock, fixed, short, span } from "./words.js";

/** What is marked, in the order of the key. `row`: of the lane above the chart. */
const KINDS = {
  published: { glyph: "up", name: "published", row: 0 },
  promoted: { glyph: "up", name: "promoted by hand", row: 0 },
  staged: { glyph: "ring", name: "candidate", row: 0 },
  canary: { glyph: "dot", name: "canary", row: 0 },
  rolled_back: { glyph: "down", name: "rolled back", to: " to", row: 0 },
  withdrawn: { glyph: "down", name: "candidate withdrawn", row: 0 },
  speculation_off: { glyph: "off", name: "speculation off", row: 0 },
  speculation_on: { glyph: "on", name: "speculation on", row: 0 },
  swap: { glyph: "swap", name: "swap", row: 1 },
};
const KEY = ["published", "canary", "rolled_back", "swap"];

const glyph = (name) => h("i", { class: `glyph ${name}` });

export class Story {
  constructor() {
    this.legend = new Part(byId("story-legend"));
    this.lane = new Part(byId("lane"));
    this.note = new Part(byId("story-note"));
    this.chart = byId("story-plot").querySelector(".chart");
    byId("marks-key").append(...KEY.map((kind) => h("li", null, glyph(KINDS[kind].glyph), KINDS[kind].name)));
  }

  /** -> where the lines of time stand that other charts show too. */
  show(memory, range) {
    const to = memory.now, from = to - range.seconds;
    const smooth = range.smooth;
    const shown = buckets(memory.samples, from, to, range.bucket, smooth);
    const sum = total(memory.since(to - range.bucket * smooth));
    const lines = [line("as served", "served", shown, acceptanceLength, acceptanceLength(sum), { width: 2.4 })];
    for (const source of shadowSources(memory.samples)) {
      const of = (each) => shadowLength(each, source);
      lines.push(line(...named(source, memory), shown, of, of(sum), isStatic(source) ? { dash: "dash" } : {}));
    }
    const marks = marksOf(memory, from);
    // a swap follows its event within a second or two: one line is enough
    const upright = marks.filter((mark) => (mark.kind === "swap") !== memory.feed.registry.configured).map((mark) => mark.at);
    this.lane.show([marks, from, this.chart.clientWidth], () => this.place(marks, from, to));
    this.legend.show(lines.map(({ name, latest, colour }) => [name, fixed(latest, 2), colour]), () => lines.map(entry));
    this.note.show(range, () => [
      `Each point covers ${span(range.bucket * smooth)}. 1 means that drafting brings nothing. Adaptive and static heads are scored on the same emitted text, whoever drafted it.`,
    ]);
    drawLines(this.chart, lines, { from, to, marks: upright, y: { least: 1, most: 1.5, format: ".2f" } });
    return upright;
  }

  /** The lane's glyphs, in line with the chart below it. */
  place(marks, from, to) {
    const width = this.chart.clientWidth - MARGIN.l - MARGIN.r;
    return marks.map((mark) => {
      const words = `${KINDS[mark.kind].name}${KINDS[mark.kind].to ?? ""} ${short(mark.version)}, generation ${mark.generation}, ${clock(mark.at)}${mark.detail ? `\n${mark.detail}` : ""}`;
      const element = h("i", { class: `glyph ${KINDS[mark.kind].glyph} row${KINDS[mark.kind].row}`, title: words, role: "img", "aria-label": words });
      element.style.left = `${MARGIN.l + (width * (mark.at - from)) / (to - from)}px`;
      return element;
    });
  }
}

function line(name, colour, shown, of, latest, extra) {
  return { name, colour, latest, points: shown.map((bucket) => [bucket.at, of(bucket.sum)]), ...extra };
}

/** What a source's line is called, and its colour. */
function named(source, memory) {
  const engine = memory.feed.engine;
  if (isStatic(source)) return ["static heads, same text", "static"];
  if (engine && `${source}-static` in engine.versions) return ["adaptive heads, same text", "adaptive"];
  return [`${source}, same text`, "other"];
}

export function entry({ name, latest, colour, dash, digits = 2, text }) {
  return h("li", null, h("i", { class: `line ${dash ?? ""}`, style: `--of: var(--${colour})` }), name, h("b", null, text ?? fixed(latest, digits)));
}

function marksOf(memory, from) {
  const events = memory.events
    .filter((event) => event.action in KINDS && event.at > from)
    .map(({ at, action, version, generation, detail }) => ({ at, kind: action, version, generation, detail }));
  const swaps = memory.swaps.filter((swap) => swap.at > from).map(({ at, version, generation }) => ({ at, kind: "swap", version, generation, detail: "" }));
  return [...events, ...swaps].sort((a, b) => a.at - b.at);
}
