// The page: asks the server once a second what is new, and shows it.

import { tick } from "./ages.js";
import { Beside } from "./beside.js";
import { load } from "./charts.js";
import { Controls } from "./controls.js";
import { byId, h, Part } from "./dom.js";
import { Fleet } from "./fleet.js";
import { Headline } from "./headline.js";
import { Learning } from "./learning.js";
import { Memory } from "./memory.js";
import { Serving } from "./serving.js";
import { Story } from "./story.js";
import { Trial } from "./trial.js";
import { Versions } from "./versions.js";
import { clock } from "./words.js";

const EVERY = 1000; // ms
const PATIENCE = 5000; // ms
/** Seconds shown, seconds of a bucket, and how many of these a point covers. */
const RANGES = [
  { name: "5 min", seconds: 300, bucket: 4, smooth: 3 },
  { name: "15 min", seconds: 900, bucket: 10, smooth: 3 },
  { name: "1 h", seconds: 3600, bucket: 30, smooth: 3 },
];

const memory = new Memory();
const controls = new Controls(() => { redraw(); void look(); });
const headline = new Headline(controls), story = new Story(), serving = new Serving(), beside = new Beside();
const learning = new Learning(controls), versions = new Versions(controls), trial = new Trial(), fleet = new Fleet();
const notices = new Part(byId("notices"));
let range = RANGES[1];
let awaySince = null;
let offset = 0; // seconds that the server's clock is ahead of this one
let drawnTo = "";
let asking = null;
let drawing = false;

function redraw() {
  if (!memory.feed) return;
  drawnTo = "";
  show();
}

function show() {
  const { feed } = memory;
  byId("columns").classList.toggle("alone", !feed.registry.configured);
  byId("model").textContent = feed.server.model;
  document.title = `Everdraft: ${feed.server.model}`;
  controls.show(memory);
  headline.show(memory, range);
  learning.show(memory);
  trial.show(memory);
  versions.show(memory);
  fleet.show(memory);
  notices.show([awaySince, feed.registry.away_since, feed.registry.problem, feed.registry.configured, feed.server.engine], () => notes(feed));
  live();
  tick(memory.now);
  drawCharts();
}

/** Only when there is something to draw, and somebody to look at it. */
function drawCharts() {
  const { feed } = memory;
  const what = JSON.stringify([memory.after, range.name, memory.events.length, memory.swaps.length, feed.engine?.running, feed.engine?.waiting]);
  if (document.hidden || what === drawnTo) return;
  drawnTo = what;
  const marks = story.show(memory, range);
  serving.show(memory, range, marks);
  beside.show(memory, range, marks);
}

function notes(feed) {
  const { registry, server } = feed;
  return [
    awaySince ? h("p", { class: "notice bad" }, `The server does not answer since ${clock(awaySince)}. What it said last is shown.`) : null,
    server.engine === "gone" ? h("p", { class: "notice bad" }, "The engine is not running.") : null,
    server.engine === "starting" ? h("p", { class: "notice" }, "The engine is starting.") : null,
    registry.away_since ? h("p", { class: "notice warm" }, `Registry away since ${clock(registry.away_since)}: versions, trainer and events are shown as they were then. Serving goes on. (${registry.problem})`) : null,
    registry.configured ? null : h("p", { class: "notice" }, "No registry is configured: nothing is learnt or swapped here, and only the engine is shown."),
  ];
}

function live() {
  const element = byId("live");
  element.className = `live ${awaySince ? "bad" : "good"}`;
  element.textContent = awaySince ? "away" : "live";
}

/** One question at a time. */
function look() {
  asking ??= question().finally(() => { asking = null; });
  return asking;
}

async function question() {
  try {
    const response = await fetch(`dashboard/feed?after=${memory.after}`, { signal: AbortSignal.timeout(PATIENCE), cache: "no-store" });
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    memory.take(await response.json());
    offset = memory.now - Date.now() / 1000;
    awaySince = null;
  } catch {
    awaySince ??= Date.now() / 1000 + offset;
  }
  if (memory.feed) {
    show();
    void draws();
  } else byId("live").textContent = "no answer yet";
}

/** From the first answer on. */
async function draws() {
  if (drawing) return;
  drawing = true;
  try {
    await load();
    redraw();
  } catch {
    byId("story-plot").prepend(h("p", { class: "empty" }, "The charts' library could not be loaded."));
  }
}

async function forEver() {
  for (;;) {
    const started = performance.now();
    await look();
    await new Promise((resolve) => { setTimeout(resolve, Math.max(0, EVERY - (performance.now() - started))); });
  }
}

function chooseRange(chosen) {
  range = chosen;
  for (const button of byId("range").children) button.setAttribute("aria-pressed", String(button.textContent === range.name));
  redraw();
}

byId("range").append(...RANGES.map((each) => h("button", { type: "button", onclick: () => chooseRange(each) }, each.name)));
chooseRange(range);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
document.addEventListener("visibilitychange", redraw);
addEventListener("resize", redraw);
void forEver();
