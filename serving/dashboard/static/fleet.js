// The servers that share the registry, and what happened lately.

import { age } from "./ages.js";
import { byId, h, Part } from "./dom.js";
import { fixed, short } from "./words.js";

const FEW = 6;
const TONES = {
  published: "good", promoted: "good", canary: "warm", staged: "warm", rejected: "dim", quarantined: "bad",
  withdrawn: "bad", rolled_back: "bad", training_off: "warm", speculation_off: "bad", training_on: "", speculation_on: "good",
};

export class Fleet {
  constructor() {
    this.all = false;
    this.servers = new Part(byId("servers").querySelector(".body"));
    this.events = new Part(byId("events").querySelector(".body"));
  }

  show(memory) {
    byId("servers").hidden = byId("events").hidden = !memory.feed.registry.configured;
    const slot = memory.slot;
    if (!slot) return;
    const servers = slot.servers.map(({ name, version, generation, figures }) => ({
      name: name.replace("serving:", ""), version, generation, length: figures.acceptance_length, running: figures.num_running, waiting: figures.num_waiting,
    }));
    const seen = slot.servers.map((each) => each.at);
    this.servers.show([servers, slot.generation], () => (servers.length ? table(servers, seen, slot) : h("p", { class: "empty" }, "No server has reported lately.")));
    [...byId("servers").querySelectorAll("time.age")].forEach((element, place) => { element.dataset.at = seen[place]; });
    const shown = memory.events.slice(this.all ? -100 : -FEW).reverse();
    this.events.show([shown, memory.events.length], () => [
      shown.length ? h("ul", { class: "rows events" }, shown.map(event)) : h("p", { class: "empty" }, "Nothing yet."),
      memory.events.length > FEW ? h("button", { type: "button", class: "more", onclick: () => { this.all = !this.all; this.show(memory); } }, this.all ? "Show fewer" : "Show more") : null,
    ]);
  }
}

function table(servers, seen, slot) {
  return h(
    "table", null,
    h("thead", null, h("tr", null, h("th", null, "server"), h("th", null, "version"), h("th", { class: "number" }, "gen."), h("th", { class: "number" }, "acceptance"), h("th", { class: "number wide" }, "running"), h("th", { class: "wide" }, "seen"))),
    h("tbody", null, servers.map((each, place) => h(
      "tr", null,
      h("td", { class: "name" }, each.name), h("td", { class: "mono", title: each.version }, short(each.version)),
      h("td", { class: `number${each.generation < slot.generation ? " behind" : ""}`, title: each.generation < slot.generation ? `the registry has ${slot.generation}` : null }, each.generation),
      h("td", { class: "number" }, fixed(each.length, 2)), h("td", { class: "number wide" }, fixed(each.running, 0)), h("td", { class: "wide" }, age(seen[place])),
    ))),
  );
}

/** A rollback names the version that it went back to. */
const name = (action) => (action === "rolled_back" ? "rolled back to" : action.replace("_", " "));

function event(each) {
  return h(
    "li", { class: "row" },
    h("div", { class: "first" }, h("span", { class: `pill ${TONES[each.action] ?? ""}` }, name(each.action)),
      each.version ? h("span", { class: "mono", title: each.version }, short(each.version)) : null,
      h("span", { class: "dim" }, `generation ${each.generation}`), h("span", { class: "end" }, age(each.at))),
    each.detail ? h("div", { class: "second" }, each.detail) : null,
  );
}
