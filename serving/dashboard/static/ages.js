// Ages that grow by themselves, so that what holds them need not be made anew.

import { h } from "./dom.js";
import { ago, moment } from "./words.js";

/** at: Unix seconds of the server's clock. */
export const age = (at) => h("time", { class: "age", "data-at": at, title: moment(at) }, "");

/** To be called once a second, and after something was drawn. */
export function tick(now) {
  for (const element of document.querySelectorAll("time.age")) {
    const words = ago(Number(element.dataset.at), now);
    if (element.textContent !== words) element.textContent = words;
  }
}
