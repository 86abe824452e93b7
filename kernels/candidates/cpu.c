/* The likeliest tokens of each row, given the noise that the target will add to its own scores.

   The noise is that of kernels/gumbel to some five digits, not to the last bit: it orders guesses, and decides nothing. */

#include <math.h>
#include <stdlib.h>

#include "native.h"

#define MOST 64 /* candidates */
#define HOPELESS 10.0f /* tokens e^10 times less likely than the likeliest are passed over: noise seldom makes up for that */

/* ln(1 + f) for f in [-1/2, 1/2], by the series of its area tangent. */
static inline floats log_near_one(floats f) {
    const floats s = f / (f + 2.0f), square = s * s;
    floats series = all(1.0f / 9);
    series = series * square + 1.0f / 7;
    series = series * square + 1.0f / 5;
    series = series * square + 1.0f / 3;
    series = series * square + 1.0f;
    return 2.0f * s * series;
}

/* ln x for normal x > 0. */
static inline floats logarithm(floats x) {
    const words bits = (words)x;
    /* the mantissa in [3/4, 3/2), and the exponent that goes with it */
    const words exponent = (bits - 0x3f400000u) & 0xff800000u;
    const floats mantissa = (floats)(bits - exponent);
    return __builtin_convertvector((integers)exponent >> 23, floats) * 0.69314718f + log_near_one(mantissa - 1.0f);
}

/* -ln(-ln u), u = (bits + 1/2) / 2^32. Above 1/2 it is 1 - u that float has digits for. */
static inline floats gumbel(words bits) {
    const integers upper = (integers)bits < 0;
    const words small = either_word(upper, ~bits, bits);
    const floats part = (__builtin_convertvector(small, floats) + 0.5f) * 2.3283064e-10f;
    const floats lost = either(upper, log_near_one(-part), logarithm(part));
    return -logarithm(-lost);
}

/* logits [rows, vocab]; for each row: scale, by which its logits are multiplied, whether there is noise, and its two words;
   ids [vocab]: the tokens that the columns stand for, or none: they are the tokens; tokens, chances [rows, count], likeliest first.
   Returns -1 for want of memory, else 0. */
int everdraft_candidates(const float *logits, long rows, long vocab, const float *scale, const uint32_t *keys,
                         const int32_t *ids, long count, int64_t *tokens, float *chances) {
    float *scores = malloc((vocab + LANES) * sizeof *scores);
    if (!scores || count > MOST || count > vocab) {
        free(scores);
        return -1;
    }
    words lane;
    for (int at = 0; at < LANES; at++) lane[at] = at;
    for (long row = 0; row < rows; row++, logits += vocab, keys += 3, tokens += count, chances += count) {
        memcpy(scores, logits, vocab * sizeof *scores);
        for (long at = vocab; at % LANES; at++) scores[at] = -INFINITY;
        for (long at = 0; at < vocab; at += LANES) store(scores + at, load(scores + at) * scale[row]);
        float largest = most(scores, vocab);
        if (keys[0]) {
            const floats hopeless = all(largest - HOPELESS), nothing = all(-INFINITY);
            for (long at = 0; at < vocab; at += LANES) {
                const floats here = load(scores + at);
                const integers hopeful = here > hopeless;
                if (!any(hopeful)) {
                    store(scores + at, nothing);
                    continue;
                }
                words token = lane + (uint32_t)at;
                if (ids) memcpy(&token, ids + at, (at + LANES <= vocab ? LANES : vocab - at) * sizeof *ids);
                const floats noise = gumbel(hashed(hashed(token ^ keys[1]) ^ keys[2]));
                store(scores + at, either(hopeful, here + noise, nothing));
            }
            largest = most(scores, vocab);
        }
        long found = 0;
        float least = -INFINITY, best[MOST];
        floats total = all(0.0f);
        for (long at = 0; at < vocab; at += LANES) {
            const floats here = load(scores + at);
            if (!any(here > all(largest - 80.0f))) continue;
            total += exponential(here - largest);
            if (found == count && !any(here > all(least))) continue;
            for (int each = 0; each < LANES; each++) {
                const float score = here[each];
                if (at + each >= vocab || (found == count && !(score > least))) continue;
                long place = found < count ? found++ : count - 1;
                for (; place > 0 && best[place - 1] < score; place--)
                    best[place] = best[place - 1], tokens[place] = tokens[place - 1];
                best[place] = score, tokens[place] = at + each;
                least = found == count ? best[count - 1] : -INFINITY;
            }
        }
        if (!found) best[0] = -INFINITY, tokens[0] = 0, found = 1; /* scores that are no numbers */
        for (long each = 0; each < count; each++) {
            if (each >= found) best[each] = -INFINITY, tokens[each] = tokens[0];
            const float chance = expf(best[each] - largest) / sum(total);
            chances[each] = chance > 0.0f ? chance : 0.0f; /* 0 where it is no number */
        }
        for (long each = 0; ids && each < count; each++) tokens[each] = ids[tokens[each]];
    }
    free(scores);
    return 0;
}
