// The headline: five figures of the last half minute.

import { byId, h, Part } from "./dom.js";
import { acceptanceLength, acceptanceRate, isStatic, shadowLength, shadowSources, speed, total } from "./sums.js";
import { fixed, percent, plural, short, signedPercent, span } from "./words.js";

const SECONDS = 30;

export class Headline {
  constructor(controls) {
    this.part = new Part(byId("headline"));
    this.controls = controls;
  }

  show(memory, range) {
    const engine = memory.feed.engine;
    const recent = latest(memory);
    const cells = [
      this.length(recent, memory.since(memory.now - range.seconds), range),
      this.rate(recent),
      this.speed(recent, engine),
      version(memory, engine),
      speculation(memory, engine),
    ];
    const may = this.controls.state();
    this.part.show([cells, may], () => cells.map((cell) => tile(cell, this.controls, memory)));
  }

  length(recent, shown, range) {
    const sum = total(shown);
    const fixedHeads = shadowSources(shown).find(isStatic);
    const adaptive = fixedHeads?.replace(/-static$/, "");
    const [was, is] = [fixedHeads, adaptive].map((source) => (source ? shadowLength(sum, source) : null));
    const note = was && is ? `adaptive heads ${signedPercent(is / was - 1)} over static` : "tokens per verification step";
    return { name: "Acceptance length", value: fixed(acceptanceLength(recent.sum), 2), note, tone: "served", stale: recent.stale };
  }

  rate({ sum, stale }) {
    const perDraft = sum.drafts ? `${(sum.draft_tokens / sum.drafts).toFixed(1)} tokens a draft` : "of the drafted tokens";
    return { name: "Acceptance rate", value: percent(acceptanceRate(sum), 1), note: perDraft, stale };
  }

  speed({ sum, stale }, engine) {
    const load = engine ? `${engine.running} running, ${engine.waiting} waiting` : "";
    return { name: "Tokens a second", value: stale ? "0" : fixed(speed(sum), speed(sum) < 10 ? 1 : 0), note: stale || load };
  }
}

/** The last half minute; where nothing was served in it, the last half minute in which something was. */
function latest(memory) {
  const recent = memory.since(memory.now - SECONDS);
  if (recent.some((sample) => sample.tokens) || !memory.samples.some((sample) => sample.tokens)) {
    return { sum: total(recent), stale: recent.some((sample) => sample.tokens) ? "" : "no traffic yet" };
  }
  const at = memory.samples.findLast((sample) => sample.tokens).at;
  const last = memory.samples.filter((sample) => sample.at <= at && sample.at > at - SECONDS);
  return { sum: total(last), stale: `idle for ${span(memory.now - at)}` };
}

function version(memory, engine) {
  const slot = memory.slot;
  const name = "Version in service";
  if (!engine) return { name, value: "–", note: "the engine is starting" };
  const learning = Object.keys(engine.versions).find((source) => `${source}-static` in engine.versions) ?? Object.keys(engine.versions)[0];
  const served = engine.versions[learning] ?? "";
  const notes = [`generation ${engine.generation}`];
  if (slot && slot.generation > engine.generation) notes.push(`the registry has ${slot.generation}`);
  if (slot?.candidate) notes.push(slot.share ? `canary ${short(slot.candidate)} on ${percent(slot.share)} of ${slot.share_of}` : "a candidate waits");
  if (engine.last_swap_error) notes.push(`refused: ${engine.last_swap_error}`);
  return { name, value: short(served), title: served, note: notes.join(" · "), mono: true, tone: engine.last_swap_error ? "bad" : "" };
}

function speculation(memory, engine) {
  const name = "Speculation";
  if (!engine) return { name, value: "–", note: "" };
  const notes = [];
  const zero = engine.gauges.zero_share;
  if (memory.slot && memory.slot.speculation !== engine.speculation) notes.push(`switching ${memory.slot.speculation ? "on" : "off"}`);
  if (!engine.speculation) notes.push("every step decodes plainly");
  else if (Number.isFinite(zero)) notes.push(`${percent(zero)} of steps without a draft`);
  else notes.push(plural(engine.num_swaps, "swap"));
  return { name, value: engine.speculation ? "on" : "off", note: notes.join(" · "), tone: engine.speculation ? "good" : "bad", action: "speculation" };
}

function tile(cell, controls, memory) {
  return h(
    "div", { class: `tile ${cell.tone ?? ""}${cell.stale ? " stale" : ""}` },
    h("span", { class: "name" }, cell.name),
    h("div", { class: "value-row" }, h("b", { class: cell.mono ? "mono" : "", title: cell.title }, cell.value),
      cell.action ? controls.button("speculation", memory) : null),
    h("span", { class: "sub" }, cell.note),
  );
}
