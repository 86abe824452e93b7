// Controls: the buttons of an operator. Each opens the dialog; the gate, the registry and its audit log do the rest.

import { key } from "./admin.js";
import { ask, askKey } from "./ask.js";
import { byId, h } from "./dom.js";
import { short } from "./words.js";

const CANARY_SHARE = 0.25;
const NO_KEY = "The server has no admin key: start it with EVERDRAFT_ADMIN_KEY_FILE naming a file that holds one.";

/** What each button is called, and what it asks before it acts. */
const DEEDS = {
  retrain: () => ({
    label: "Retrain", title: "Retrain now", text: ["The trainer starts a run at once. The gate still decides what comes of it."],
    modes: [["incremental", "Go on from the weights in training"], ["full", "Start again from the static heads"]],
    path: "training/runs", body: (reason, mode) => ({ reason, mode, promote: null }), done: "A run is queued.",
  }),
  pause: () => ({
    label: "Pause", title: "Pause training", text: ["The trainer rests until it is told to go on. Serving is not touched."],
    path: "training/pause", body: (reason) => ({ reason }), done: "Training is paused.",
  }),
  resume: () => ({
    label: "Resume", title: "Resume training", text: ["The trainer goes on where it stopped."],
    path: "training/resume", body: (reason) => ({ reason }), done: "Training goes on.",
  }),
  speculation_off: () => ({
    label: "Turn off", title: "Turn speculation off", text: ["Every server decodes plainly until it is turned on again: the same text, slower."], danger: true,
    path: "speculation", body: (reason) => ({ on: false, reason }), done: "Speculation is being turned off.",
  }),
  speculation_on: () => ({
    label: "Turn on", title: "Turn speculation on", text: ["Every server drafts again wherever that pays."],
    path: "speculation", body: (reason) => ({ on: true, reason }), done: "Speculation is being turned on.",
  }),
  promote: (version, slot) => ({
    label: "Promote", title: `Promote ${short(version)}`, danger: true,
    text: [`It becomes champion on every server in place of ${short(slot.champion)}, without another judgement.`],
    path: `speculators/${encodeURIComponent(version)}/promote`, body: moved(slot), done: `${short(version)} is champion.`,
  }),
  canary: (version, slot) => ({
    label: "Canary 25 %", title: `Start a canary with ${short(version)}`, danger: true,
    text: [`A quarter of the conversations is drafted by it${slot.candidate && slot.candidate !== version ? `, in place of the candidate ${short(slot.candidate)}` : ""}. The text is the same whoever drafts.`],
    path: `speculators/${encodeURIComponent(version)}/canary`,
    body: (reason) => ({ share: CANARY_SHARE, share_of: "requests", ...moved(slot)(reason) }), done: `${short(version)} serves a quarter of the requests.`,
  }),
  rollback: (version, slot) => ({
    label: "Roll back", title: `Roll back ${short(version)}`, danger: true,
    text: [version === slot.champion
      ? "It and everything trained from it are taken out of service for good; the sound version before it is champion again."
      : "The candidate and everything trained from it are taken out of service for good; the champion stays."],
    path: `speculators/${encodeURIComponent(version)}/rollback`, body: moved(slot), done: `${short(version)} is rolled back.`,
  }),
  cancel: (run) => ({
    label: "Cancel run", go: "End the run", title: "Cancel the run", text: [`${run} ends; what was learnt so far is kept.`], danger: true,
    path: `training/runs/${encodeURIComponent(run)}/cancel`, body: (reason) => ({ reason }), done: "The run is cancelled.",
  }),
};

/** Nothing happens if the slot has moved on since the question was put. */
const moved = (slot) => (reason) => ({ reason, expected_generation: slot.generation });

export class Controls {
  /** done: called after each deed. */
  constructor(done) {
    this.done = done;
    this.memory = null;
    byId("key").addEventListener("click", async () => {
      if (key.get()) key.forget();
      else await askKey();
      this.done();
    });
  }

  show(memory) {
    this.memory = memory;
    const { configured, admin } = this.state();
    const button = byId("key");
    button.hidden = !configured;
    button.disabled = !admin;
    button.title = admin ? (key.get() ? "Forget the admin key" : "Enter the admin key") : NO_KEY;
    button.textContent = admin ? (key.get() ? "Lock" : "Unlock") : "No admin key";
  }

  /** What the buttons depend on. */
  state() {
    const feed = this.memory?.feed;
    return { configured: feed?.registry.configured ?? false, admin: feed?.server.admin_key ?? false, away: Boolean(feed?.registry.away_since), moves: feed?.registry.slot?.generation ?? 0 };
  }

  /** The words where there is no key to open the buttons; null otherwise. */
  hint() {
    const { configured, admin } = this.state();
    return configured && !admin ? h("p", { class: "note" }, "The buttons are off. ", NO_KEY) : null;
  }

  /** A button; null where there is nothing to administer. of: a version or a run. */
  button(kind, memory, of) {
    const slot = memory.slot;
    if (!slot) return null;
    const name = kind === "speculation" ? `speculation_${slot.speculation ? "off" : "on"}` : kind;
    const { admin, away } = this.state();
    const label = DEEDS[name](of ?? "", slot).label;
    return h(
      "button",
      {
        type: "button", class: "small", "data-act": of ? `${name}:${of}` : name, disabled: !admin || away,
        title: !admin ? NO_KEY : away ? "The registry is away." : null, "aria-label": of ? `${label} ${of}` : null,
        onclick: () => this.ask(name, of),
      },
      label,
    );
  }

  async ask(name, of) {
    const deed = DEEDS[name](of ?? "", this.memory.slot); // as things stand now, not when the button was made
    if (await ask(deed)) {
      const said = byId("said");
      said.textContent = deed.done;
      clearTimeout(this.silence);
      this.silence = setTimeout(() => { said.textContent = ""; }, 6000);
    }
    this.done();
  }
}
