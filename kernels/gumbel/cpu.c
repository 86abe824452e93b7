/* The choice by Gumbel noise, without the noise of all tokens.

   A token wins if its noise beats what it is behind by: -ln(-ln u) > x, that is 1 - u < 1 - exp(-exp(-x)) <= exp(-x). Hash and
   comparison take a few instructions for a whole vector of tokens, and one or two tokens in all are left to be looked at closely. */

#include <math.h>

#include "native.h"

#define SLACK 1.002f /* more than the bound is off by, so that no winner is passed over */
#define ROUNDING 1e-6f /* the same of a sum, for each of its size: at low temperatures scores are large, and what rounds to a tie wins too */

static float noise_of(uint32_t bits) { return (float)-log(-log((bits + 0.5) * 0x1p-32)); }

static inline words bits_of(words token, uint32_t stream, uint32_t here) { return hashed(hashed(token ^ stream) ^ here); }

/* The token with the highest score. */
static long highest(const float *logits, long vocab) {
    const long whole = vocab - vocab % LANES;
    floats found = all(-INFINITY);
    for (long at = 0; at < whole; at += LANES) found = either(load(logits + at) > found, load(logits + at), found);
    float best = -INFINITY;
    for (int lane = 0; lane < LANES; lane++) best = found[lane] > best ? found[lane] : best;
    for (long at = whole; at < vocab; at++) best = logits[at] > best ? logits[at] : best;
    long token = 0;
    for (; token + LANES <= whole && !any(load(logits + token) == best); token += LANES) {}
    while (token + 1 < vocab && logits[token] != best) token++;
    return token;
}

/* The token [0, vocab) with the highest score logit / temperature + noise, the first of them where there are several; `stream`,
   `here`: the two words of kernels/gumbel/key.py. */
long everdraft_chosen(const float *logits, long vocab, float temperature, uint32_t stream, uint32_t here) {
    if (!vocab) return 0;
    long chosen = highest(logits, vocab); /* without noise: hard to beat */
    float best = logits[chosen] / temperature + noise_of(bits_of((words){0} + (uint32_t)chosen, stream, here)[0]);
    const float colder = 1.0f / temperature, margin = ROUNDING * (fabsf(best) + 32.0f);
    words token = {0};
    for (int lane = 0; lane < LANES; lane++) token[lane] = lane;
    for (long start = 0; start < vocab; start += LANES, token += LANES) {
        floats scores = all(-INFINITY);
        if (start + LANES <= vocab) /* of a length that is known: no call */
            memcpy(&scores, logits + start, sizeof scores);
        else
            memcpy(&scores, logits + start, (vocab - start) * sizeof *logits);
        const words bits = bits_of(token, stream, here);
        const floats left = (__builtin_convertvector(~bits, floats) + 0.5f) * 0x1p-32f;
        const integers hopeful = left < roughly_exponential(scores * colder - best + margin) * SLACK;
        if (!any(hopeful)) continue;
        for (int lane = 0; lane < LANES; lane++) {
            if (!hopeful[lane]) continue;
            const float score = scores[lane] / temperature + noise_of(bits[lane]);
            if (score > best || (score == best && start + lane < chosen)) best = score, chosen = start + lane;
        }
    }
    return chosen;
}
