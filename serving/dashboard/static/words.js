// How numbers, times and versions are written.

const DASH = "–";

export const fixed = (value, digits) => (Number.isFinite(value) ? value.toFixed(digits) : DASH);

export const percent = (share, digits = 0) => (Number.isFinite(share) ? `${(100 * share).toFixed(digits)} %` : DASH);

export const signed = (value, digits) => (Number.isFinite(value) ? (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits) : DASH);

export const signedPercent = (share, digits = 0) =>
  Number.isFinite(share) ? `${share < 0 ? "−" : "+"}${Math.abs(100 * share).toFixed(digits)} %` : DASH;

/** 1234567 -> 1.23 M */
export function count(value) {
  if (!Number.isFinite(value)) return DASH;
  for (const [size, name] of [[1e9, " G"], [1e6, " M"], [1e4, " k"]]) {
    const unit = name === " k" ? 1e3 : size;
    if (Math.abs(value) >= size) return (value / unit).toPrecision(3) + name;
  }
  return value.toLocaleString("en", { maximumFractionDigits: 0 });
}

/** Seconds as people say them. */
export function span(seconds) {
  if (!Number.isFinite(seconds)) return DASH;
  if (seconds < 60) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${(seconds / 3600).toFixed(seconds < 36000 ? 1 : 0)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

export const ago = (at, now) => (at ? (now - at < 2 ? "just now" : `${span(now - at)} ago`) : DASH);

export const clock = (at) => new Date(at * 1000).toLocaleTimeString("en-GB");

export const moment = (at) => new Date(at * 1000).toLocaleString("en-GB");

export const short = (version) => (version && version.length > 12 ? version.slice(0, 12) : version || DASH);

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;
