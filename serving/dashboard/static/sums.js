// Samples are differences of counters: whatever is shown is a ratio of their sums over a stretch of time.

/** What is counted of a draft worker, in the order in which samples have it. */
const SSD = ["hits", "hit_tokens", "misses", "miss_tokens", "waited", "built", "idle", "late", "failures"];

/** What samples come to, added up. */
export function total(samples) {
  const sum = {
    seconds: 0, tokens: 0, drafts: 0, draft_tokens: 0, accepted: 0, steps: 0, step_tokens: 0,
    positions: [], sources: new Map(), shadow: new Map(), served: new Map(), running: 0, waiting: 0, number: 0,
    ssd: Object.fromEntries(SSD.map((name) => [name, 0])),
  };
  for (const sample of samples) add(sum, sample);
  return sum;
}

function add(sum, sample) {
  for (const name of ["seconds", "tokens", "drafts", "draft_tokens", "accepted", "steps", "step_tokens"]) sum[name] += sample[name] ?? 0;
  (sample.positions ?? []).forEach((number, place) => { sum.positions[place] = (sum.positions[place] ?? 0) + number; });
  for (const [source, version, drafted, accepted] of sample.sources ?? []) {
    const key = JSON.stringify([source, version]);
    const known = sum.sources.get(key) ?? { source, version, drafted: 0, accepted: 0 };
    known.drafted += drafted;
    known.accepted += accepted;
    sum.sources.set(key, known);
  }
  for (const [source, steps, tokens] of sample.shadow ?? []) {
    const known = sum.shadow.get(source) ?? { steps: 0, tokens: 0 };
    known.steps += steps;
    known.tokens += tokens;
    sum.shadow.set(source, known);
  }
  for (const [how, tokens, seconds] of sample.served ?? []) {
    const known = sum.served.get(how) ?? { tokens: 0, seconds: 0 };
    known.tokens += tokens;
    known.seconds += seconds;
    sum.served.set(how, known);
  }
  (sample.ssd ?? []).forEach((value, place) => { sum.ssd[SSD[place]] += value; });
  sum.running += sample.running ?? 0;
  sum.waiting += sample.waiting ?? 0;
  sum.number += 1;
}

const ratio = (part, whole) => (whole > 0 ? part / whole : null);

/** Tokens per verification step, the bonus token included; an engine that counts no steps has those with a draft only. */
export const acceptanceLength = (sum) => (sum.steps ? ratio(sum.step_tokens, sum.steps) : sum.drafts ? 1 + sum.accepted / sum.drafts : null);

export const acceptanceRate = (sum) => ratio(sum.accepted, sum.draft_tokens);

export const speed = (sum) => ratio(sum.tokens, sum.seconds);

/** Tokens a second with drafts over those of the requests that were served without, to compare; null without such. */
export function measuredGain(sum) {
  const [drafted, plain] = ["speculated", "probe"].map((how) => sum.served.get(how));
  return drafted?.seconds && plain?.seconds && plain.tokens ? drafted.tokens / drafted.seconds / (plain.tokens / plain.seconds) : null;
}

/** Share of a draft worker's rounds whose outcome it had prepared for. */
export const hitShare = ({ ssd }) => ratio(ssd.hits, ssd.hits + ssd.misses);

/** Requests at a time, looked at once a sample. */
export const running = (sum) => ratio(sum.running, sum.number);
export const waiting = (sum) => ratio(sum.waiting, sum.number);

/** What one source would have had on the same text. */
export const shadowLength = (sum, source) => {
  const found = sum.shadow.get(source);
  return found ? ratio(found.tokens, found.steps) : null;
};

/** Sources that were scored on the same text, the learning heads first and their static copies last. */
export function shadowSources(samples) {
  const names = new Set();
  for (const sample of samples) for (const [source] of sample.shadow ?? []) names.add(source);
  const rank = (name) => (isStatic(name) ? 2 : names.has(`${name}-static`) ? 0 : 1);
  return [...names].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
}

export const isStatic = (source) => source.endsWith("-static");

/** Buckets of `width` seconds between `from` and `to`, each with the sums of the `smooth` buckets that end in it. */
export function buckets(samples, from, to, width, smooth) {
  // a bucket that has hardly begun would only be noise at the end of the line
  const first = Math.floor(from / width), last = Math.floor(to / width - 0.5);
  const held = new Map();
  for (const sample of samples) {
    const place = Math.floor(sample.at / width);
    if (!held.has(place)) held.set(place, []);
    held.get(place).push(sample);
  }
  const found = [];
  for (let place = first; place <= last; place++) {
    const inside = [];
    for (let back = smooth - 1; back >= 0; back--) inside.push(...(held.get(place - back) ?? []));
    const end = Math.min((place + 1) * width, to);
    found.push({ at: end, own: total(held.get(place) ?? []), sum: total(inside), known: held.has(place) });
  }
  return found;
}
