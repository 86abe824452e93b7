// The admin API: a key that stays in this tab, and calls that say in plain words what came of them.

const NAME = "everdraft-admin-key";

export const key = {
  get: () => sessionStorage.getItem(NAME) ?? "",
  set: (value) => sessionStorage.setItem(NAME, value),
  forget: () => sessionStorage.removeItem(NAME),
};

/** -> {ok, status, message}. body undefined: a question, not a deed. */
export async function call(path, body) {
  const request = { headers: { authorization: `Bearer ${key.get()}` } };
  if (body !== undefined) {
    request.method = "POST";
    request.headers["content-type"] = "application/json";
    request.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(`admin/v1/${path}`, request);
  } catch {
    return { ok: false, status: 0, message: "The server does not answer." };
  }
  const answer = await response.json().catch(() => null);
  if (response.status === 401) key.forget();
  return { ok: response.ok, status: response.status, message: response.ok ? "" : (answer?.error?.message ?? `The server answered ${response.status}.`) };
}
