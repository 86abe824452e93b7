// What is being learnt: the trainer's own words and figures, and the runs that were asked for.

import { byId, h, Part } from "./dom.js";
import { count, fixed, percent, short, signed, span } from "./words.js";
import { age } from "./ages.js";

const OPEN = new Set(["queued", "collecting", "training", "judging"]);
const TONES = { champion: "good", canary: "warm", candidate: "warm", rejected: "dim", rolled_back: "bad", failed: "bad", cancelled: "dim" };

export class Learning {
  constructor(controls) {
    this.controls = controls;
    this.actions = new Part(byId("trainer").querySelector(".actions"));
    this.trainer = new Part(byId("trainer").querySelector(".body"));
    this.runs = new Part(byId("runs").querySelector(".body"));
  }

  show(memory) {
    const slot = memory.slot;
    byId("trainer").hidden = byId("runs").hidden = !memory.feed.registry.configured;
    if (!slot) return;
    const state = this.controls.state();
    this.actions.show([slot.training, state], () => ["retrain", slot.training ? "pause" : "resume"].map((kind) => this.controls.button(kind, memory)));
    const trainers = slot.trainers;
    this.trainer.show([trainers, slot.training, state], () => [
      slot.training ? null : h("p", { class: "pill-row" }, h("span", { class: "pill warm" }, "paused"), "until somebody resumes it"),
      trainers.length ? trainers.map(trainer) : h("p", { class: "empty" }, "No trainer has reported lately."),
      this.controls.hint(),
    ]);
    this.runs.show([slot.runs, state], () => (slot.runs.length
      ? h("ul", { class: "rows" }, slot.runs.map((run) => this.run(run, memory)))
      : h("p", { class: "empty" }, "None yet.")));
  }

  run(run, memory) {
    return h(
      "li", { class: "row" },
      h("div", { class: "first" },
        h("span", { class: `pill ${OPEN.has(run.state) ? "busy" : (TONES[run.state] ?? "")}` }, run.state.replace("_", " ")),
        h("span", null, run.reason || "no reason given"),
        h("span", { class: "end" }, age(run.created_at), OPEN.has(run.state) ? this.controls.button("cancel", memory, run.run_id) : null)),
      h("div", { class: "second" }, [run.mode === "full" ? "from the static heads" : null, run.version ? `version ${short(run.version)}` : null, run.detail || null].filter(Boolean).join(" · ")),
    );
  }
}

function trainer(each) {
  const f = each.figures;
  const [state, judgement] = each.state.split("; last judgement: ");
  const judged = f.judgements > 0; // before, its figures are zeros
  const bound = judged && Number.isFinite(f.last_gain_lower) ? f.last_gain_lower : null;
  const used = (f.idle_seconds ?? 0) + (f.guaranteed_seconds ?? 0) + (f.alone_seconds ?? 0);
  const figures = [
    ["step", count(f.step)],
    ["loss", f.step ? fixed(f.loss, 3) : "–"],
    ["traces not read yet", count(f.lag)],
    ["conversations held out", count(f.held_out_now)],
    ["age of what it learnt", f.freshness_seconds ? span(f.freshness_seconds) : "–"],
    ["judged and published", `${count(f.published)} of ${count(f.judgements)}`],
    [`latest gain${bound === null ? "" : `, at least ${signed(bound, 2)}`}`, judged ? signed(f.last_gain, 3) : "–"],
    ["of it in idle time", used ? percent((f.idle_seconds ?? 0) / used) : "–"],
  ];
  return h(
    "div", { class: "trainer" },
    h("p", { class: "pill-row" }, h("span", { class: `pill ${state === "training" || state === "judging" ? "busy" : ""}` }, state), h("span", { class: "dim" }, each.name.replace("trainer:", ""), " · ", age(each.at))),
    h("dl", { class: "figures" }, figures.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value)))),
    h("p", { class: "note" }, "Last judgement: ", judgement || "none"),
  );
}
