// Versions: what was published, where each stands, what it gained and what the gate said of it.

import { age } from "./ages.js";
import { byId, h, Part } from "./dom.js";
import { fixed, percent, plural, short, signed, signedPercent } from "./words.js";

const FEW = 6;
const STAGES = {
  champion: ["champion", "good"], canary: ["canary", "warm"], candidate: ["candidate", "warm"], previous: ["previous", "cool"],
  rolled_back: ["rolled back", "bad"], quarantined: ["quarantined", "bad"], rejected: ["rejected", "dim"],
  was_champion: ["was champion", "dim"], was_candidate: ["was candidate", "dim"], recorded: ["recorded", "dim"],
};
const IN_SERVICE = new Set(["champion", "canary", "candidate"]);
const GONE = new Set(["rolled_back", "quarantined"]);

/** What the gate said, less the figures that stand beside it. */
function verdict({ gate, note, evaluation }) {
  if (!gate) return note || "never before the gate";
  const [decision, figures] = gate.split(/: (?=[\d.]+ -> )/);
  return figures && evaluation ? `Gate: ${decision}, on ${plural(evaluation.num_conversations, "conversation")}` : `Gate: ${gate}`;
}

export class Versions {
  constructor(controls) {
    this.controls = controls;
    this.all = false;
    this.body = new Part(byId("versions").querySelector(".body"));
    this.aside = byId("versions").querySelector(".aside");
  }

  show(memory) {
    byId("versions").hidden = !memory.feed.registry.configured;
    const slot = memory.slot;
    if (!slot) return;
    const number = memory.feed.registry.num_versions;
    this.aside.textContent = number ? plural(number, "version") : "";
    // those in service first, then by age
    const rank = (each) => ["champion", "canary", "candidate", "previous"].indexOf(each.stage) >>> 0;
    const sorted = [...memory.versions].sort((a, b) => rank(a) - rank(b) || b.created_at - a.created_at);
    const shown = this.all ? sorted : sorted.slice(0, FEW);
    this.body.show([shown, slot.share, slot.share_of, slot.champion, sorted.length, this.controls.state()], () => [
      shown.length ? h("ul", { class: "rows" }, shown.map((each) => this.row(each, slot, memory))) : h("p", { class: "empty" }, "Nothing was published yet."),
      sorted.length > FEW ? h("button", { type: "button", class: "more", onclick: () => { this.all = !this.all; this.show(memory); } }, this.all ? "Show fewer" : `Show ${sorted.length - FEW} more`) : null,
    ]);
  }

  row(each, slot, memory) {
    const [name, tone] = STAGES[each.stage] ?? [each.stage, ""];
    const judged = each.evaluation;
    return h(
      "li", { class: `row${GONE.has(each.stage) ? " gone" : ""}`, "data-version": each.version },
      h("div", { class: "first" },
        h("span", { class: `pill ${tone}` }, each.stage === "canary" ? `${name} ${percent(slot.share)}` : name),
        h("span", { class: "mono", title: each.version }, short(each.version)),
        judged ? h("span", { class: "gain" }, h("b", null, fixed(judged.tokens_per_step, 2)), ` from ${fixed(judged.champion_tokens_per_step, 2)}`,
          h("span", { class: judged.gain_lower > 0 ? "up" : "dim" }, ` ${signed(judged.gain, 2)}`), h("span", { class: "dim" }, ` (at least ${signed(judged.gain_lower, 2)})`)) : null,
        h("span", { class: "end" }, age(each.created_at))),
      h("div", { class: "second" },
        h("span", { class: "facts" },
          h("span", { title: each.gate || null }, verdict(each)),
          Object.entries(judged?.by_domain ?? {}).map(([domain, change]) => h("span", { class: change < 0 ? "down" : "" }, `${domain} ${signedPercent(change)}`)),
          each.num_traces ? h("span", null, plural(each.num_traces, "answer")) : null,
          each.parent ? h("span", null, "after ", h("span", { class: "mono", title: each.parent }, short(each.parent))) : null),
        h("span", { class: "end" }, this.actions(each, memory))),
    );
  }

  actions(each, memory) {
    if (GONE.has(each.stage)) return [];
    const kinds = IN_SERVICE.has(each.stage) ? ["rollback"] : [];
    if (each.stage !== "champion") kinds.unshift("promote");
    if (each.stage !== "champion" && each.stage !== "canary") kinds.unshift("canary");
    return kinds.map((kind) => this.controls.button(kind, memory, each.version));
  }
}
