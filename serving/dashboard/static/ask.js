// The one dialog: says what is going to happen, asks for a reason and, the first time, for the admin key.

import { call, key } from "./admin.js";
import { byId, h } from "./dom.js";

const KEY_HINT = "In the file admin.key of the server's data folder, unless EVERDRAFT_ADMIN_KEY_FILE names another. Kept in this tab only.";

/**
 * Resolves with whether it was done.
 * deed: {title, text: [paragraphs], label, go: another label for the dialog, danger, modes: [[value, words]], path, body(reason, mode) -> what is sent}
 */
export function ask(deed) {
  const reason = h("input", { name: "reason", type: "text", required: true, maxlength: 300, autocomplete: "off", placeholder: "for the audit log" });
  const modes = (deed.modes ?? []).map(([value, words], place) => h("label", { class: "choice" }, h("input", { type: "radio", name: "mode", value, checked: place === 0 }), words));
  return shown(
    deed,
    [modes.length ? h("div", { class: "choices" }, modes) : null, h("label", { class: "field" }, h("span", null, "Reason"), reason)],
    (form) => call(deed.path, deed.body(form.get("reason").trim(), form.get("mode"))),
  );
}

/** Asks for the key alone, and tries it. */
export const askKey = () =>
  shown({ title: "Admin key", text: ["It opens the buttons of this page."], label: "Unlock" }, [], () => call("status"));

function shown(deed, fields, act) {
  const dialog = byId("ask");
  const secret = key.get() ? null : h("input", { name: "key", type: "password", required: true, autocomplete: "off", spellcheck: "false" });
  const problem = h("p", { class: "problem", role: "alert" });
  const go = h("button", { type: "submit", class: deed.danger ? "danger" : "primary" }, deed.go ?? deed.label);
  const form = h(
    "form", { method: "dialog" },
    h("h2", null, deed.title),
    deed.text.map((paragraph) => h("p", null, paragraph)),
    fields,
    secret ? h("label", { class: "field" }, h("span", null, "Admin key"), secret, h("small", null, KEY_HINT)) : null,
    problem,
    h("div", { class: "buttons" }, h("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Cancel"), go),
  );
  return new Promise((resolve) => {
    let done = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (secret) key.set(secret.value.trim());
      go.disabled = true;
      problem.textContent = "";
      const answer = await act(new FormData(form));
      go.disabled = false;
      if (answer.ok) {
        done = true;
        dialog.close();
        return;
      }
      if (secret && answer.status === 401) key.forget();
      problem.textContent = answer.message;
      if (answer.status === 401 && !secret) {
        // the key of this tab is no good any more: asked for again, what was typed stays
        dialog.close();
        resolve(ask(deed));
      }
    });
    dialog.addEventListener("close", () => resolve(done), { once: true });
    dialog.replaceChildren(form);
    dialog.showModal();
    dialog.querySelector("input[type=text], input[type=password]")?.focus();
  });
}
