// Elements, made of data by textContent alone: nothing that a server says is ever read as HTML.

/** h("p", {class: "note", title: "…", onclick: f}, "text", child, …): null and false children are left out. */
export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** A part of the page that is made anew only when what it shows is other than before: a click is never lost to an update. */
export class Part {
  constructor(root) {
    this.root = root;
    this.shown = null;
  }

  /** data: everything that `make` looks at; make() -> elements. */
  show(data, make) {
    const text = JSON.stringify(data);
    if (text === this.shown) return;
    this.shown = text;
    const focused = this.root.contains(document.activeElement) ? document.activeElement.getAttribute("data-act") : null;
    this.root.replaceChildren(...[make()].flat(Infinity).filter(Boolean));
    if (focused !== null) this.root.querySelector(`[data-act="${CSS.escape(focused)}"]`)?.focus();
  }
}
