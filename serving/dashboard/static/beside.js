// A draft worker beside the target: how often it foresaw what came, what that brought, and who waited for whom.

import { drawLines } from "./charts.js";
import { byId, h, Part } from "./dom.js";
import { entry } from "./story.js";
import { buckets, hitShare, total } from "./sums.js";
import { count, fixed, percent, short } from "./words.js";

const SOURCE = "ssd";

export class Beside {
  constructor() {
    this.root = byId("beside");
    this.legend = new Part(byId("beside-legend"));
    this.body = new Part(this.root.querySelector(".body"));
  }

  /** Nothing where the server has no such source. */
  show(memory, range, marks) {
    const engine = memory.feed.engine;
    const version = engine?.versions[SOURCE];
    this.root.hidden = version === undefined;
    if (version === undefined) return;
    const to = memory.now, from = to - range.seconds;
    const shown = buckets(memory.samples, from, to, range.bucket, range.smooth);
    const recent = hitShare(total(memory.since(to - range.bucket * range.smooth)));
    const line = { name: "outcomes foreseen", colour: "served", text: percent(recent), points: shown.map(({ at, sum }) => [at, hitShare(sum)]) };
    this.legend.show(line.text, () => entry(line));
    drawLines(byId("beside-chart"), [line], { from, to, marks, y: { least: 0, most: 1, format: ".0%" } });
    const figures = figuresOf(total(memory.since(from)).ssd, engine.gauges);
    this.body.show([figures, version], () => [
      h("dl", { class: "figures" }, figures.map(([name, value, title]) => h("div", null, h("dt", null, name), h("dd", { title }, value)))),
      h("p", { class: "note" }, "Draft in service: ", h("span", { class: "mono", title: version }, short(version))),
    ]);
  }
}

function figuresOf(ssd, gauges) {
  const lasted = ssd.built + ssd.idle;
  return [
    ["tokens a round foreseen", fixed(ssd.hit_tokens / ssd.hits, 2)],
    ["tokens a round not foreseen", fixed(ssd.miss_tokens / ssd.misses, 2)],
    ["waited for by the target", percent(ssd.waited / lasted, 1), "of the time that rounds took"],
    ["busy drafting ahead", percent(ssd.built / lasted), "of the time that rounds took"],
    ["outcomes prepared", fixed(gauges.ssd_fan_out, 0), "for each request, lately"],
    ["passes that prepare them", fixed(gauges.ssd_passes, 1), "a round, as many as the verification has time for"],
    ["foreseen, as the worker believes", percent(gauges.ssd_expected_hits)],
    ["given up", count(ssd.failures), "workers that died, hung or talked nonsense; another is started"],
    ["too late", count(ssd.late), "replies that nobody waited for any more"],
  ];
}
