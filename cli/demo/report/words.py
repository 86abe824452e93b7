"""What the figures mean, and what they do not say."""

from __future__ import annotations

from cli.demo.figures import WINDOW, Figures
from cli.demo.report.html import prose, section, share

_MEANING = {
    "Mean acceptance length": """Tokens that one pass of the target yields on average: the drafted tokens it
        accepted and one of its own. 1 is plain decoding; 2 means half as many passes.""",
    "Static heads": """The heads as shipped. They never change and stay in service as the floor.""",
    "Adaptive heads": """The same heads, trained on the answers served so far, in slices of time between the
        server's steps.""",
    "All sources": """What was really served: both heads and the suffix tree, merged into one draft a
        step.""",
    "Gate": """A candidate goes into service only if it drafts better than the champion on conversations
        that it has not learnt from. A swap takes place between two steps; requests in flight go on.""",
    "Identical output": """The target chooses every token: the best one, or by seeded noise that does not
        depend on the draft. A draft, good or bad, changes how many tokens a pass yields, and never
        which.""",
}

_LIMITS = (
    """One machine: server, trainer and client share its cores, so tokens per second include what learning
    and sending cost. Tokens per step are not speed: drafting takes time too. `make bench` times
    speculation against plain decoding.""",
    """The prompts follow templates or come from a few files, which makes them easier to adapt to than mixed
    traffic. The run shows that the loop works; how much it gains elsewhere, other traffic has to
    show.""",
    """The curves score the heads on a sample of the steps, over windows of {window} requests, and are
    noisy; the table and the claim rest on every step of the answers compared.""",
    """Identity is checked on a sample of all answers, greedy and sampled. A near-tie is a gap below 0.0001
    between the two best scores, where rounding may decide.""",
    """Answers that loop (a stretch of at most 32 tokens three times in a row) are easy to draft: {looping}
    of the traffic's answers did, at temperature {temperature}. The gain is judged without them and
    given with them.""",
)

_AFTER_A_SHIFT = """Right after a shift, adapted heads can be worse than static ones: in the worst {window}
    requests after it they had {worst:.2f} times the static heads' tokens per step. The controller drafts
    with whichever pays."""


def meaning() -> str:
    """The terms of the page in plain words."""
    items = "".join(f"<dt>{prose(term)}</dt><dd>{prose(text)}</dd>" for term, text in _MEANING.items())
    return section("What the figures mean", "In plain words.", f"<dl>{items}</dl>")


def limits(figures: Figures) -> str:
    """What the figures include, leave out and do not prove."""
    looping = sum(row.num_looping for row in figures.traffic)
    sent = sum(row.num_requests for row in figures.traffic)
    texts = _LIMITS if figures.worst_window is None else (*_LIMITS, _AFTER_A_SHIFT)
    filled = (
        text.format(
            window=WINDOW,
            looping=share(looping, sent),
            temperature=f"{figures.settings.temperature:g}",
            worst=figures.worst_window,
        )
        for text in texts
    )
    items = "".join(f"<li>{prose(text)}</li>" for text in filled)
    return section("Limits", "What to keep in mind when quoting a figure.", f'<ul class="limits">{items}</ul>')
