// Memory: what the page keeps of the feed, so that it asks only for what is new.

const KEPT_EVENTS = 300;

export class Memory {
  constructor() {
    this.samples = [];
    this.swaps = [];
    this.events = [];
    this.versions = [];
    this.feed = null;
  }

  /** `at` of the newest sample. */
  get after() {
    return this.samples.length ? this.samples[this.samples.length - 1].at : 0;
  }

  /** The server's clock at the latest answer, Unix seconds. */
  get now() {
    return this.feed?.at ?? Date.now() / 1000;
  }

  get slot() {
    return this.feed?.registry.slot ?? null;
  }

  take(feed) {
    if (this.feed && feed.server.started_at !== this.feed.server.started_at) this.restarted();
    this.feed = feed;
    const oldest = feed.at - feed.server.kept_seconds;
    const after = this.after;
    this.samples.push(...feed.samples.filter((sample) => sample.at > after));
    this.samples = this.samples.filter((sample) => sample.at >= oldest);
    this.swaps.push(...feed.swaps.filter((swap) => !this.swaps.some((known) => known.at === swap.at)));
    const known = new Map(this.events.map((event) => [event.id, event]));
    for (const event of feed.registry.events) known.set(event.id, event);
    this.events = [...known.values()].sort((a, b) => a.id - b.id).slice(-KEPT_EVENTS);
    if (feed.registry.versions) this.versions = feed.registry.versions;
  }

  /** Its counters began anew; what the one before counted stays in the charts. */
  restarted() {
    this.events = [];
    this.versions = [];
  }

  since(at) {
    return this.samples.filter((sample) => sample.at > at);
  }
}
