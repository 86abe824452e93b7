// Two versions in service at once: a canary, or a new champion that is watched against the one before.

import { byId, h, Part } from "./dom.js";
import { count, fixed, percent, short } from "./words.js";

export class Trial {
  constructor() {
    this.root = byId("trial");
    this.body = new Part(this.root.querySelector(".body"));
  }

  show(memory) {
    const slot = memory.slot;
    const trial = slot?.trial ?? null;
    this.root.hidden = trial === null;
    if (trial === null) return;
    const canary = trial.kind === "canary";
    this.root.querySelector("h2").textContent = canary ? "Canary" : "New champion, watched";
    this.root.querySelector(".aside").textContent = canary ? `${percent(slot.share)} of ${slot.share_of}` : "a small share stays with the version before";
    const rows = [["champion", "good", trial.champion], canary ? ["canary", "warm", trial.rival] : ["before", "cool", trial.rival]];
    this.body.show(rows, () => [
      h("table", null,
        h("thead", null, h("tr", null, h("th", null, "version"), h("th", { class: "number" }, "answers"), h("th", { class: "number" }, "tokens a step"), h("th", { class: "number" }, "a second"))),
        h("tbody", null, rows.map(row))),
      h("p", { class: "note" }, canary
        ? "As served, at the same time. It is promoted once it is surely not worse, and rolled back once it surely is."
        : "As served, at the same time. The champion is rolled back by itself if it is surely worse."),
    ]);
  }
}

const row = ([name, tone, side]) => h(
  "tr", null,
  h("td", null, h("span", { class: `pill ${tone}` }, name), " ", h("span", { class: "mono", title: side.version }, short(side.version))),
  h("td", { class: "number" }, count(side.num_requests)), h("td", { class: "number" }, fixed(side.tokens_per_step, 2)), h("td", { class: "number" }, fixed(side.tokens_per_second, 0)),
);
