/* The choice by Gumbel noise, without the noise of all tokens.

   A token wins if its noise beats what it is behind by: -ln(-ln u) > x, that is 1 - u < 1 - exp(-exp(-x)) <= exp(-x). Hash and
   comparison take a few instructions for a whole vector of tokens, and one or two tokens in all are left to be looked at closely. */

#include <math.h>

#include "native.h"

#define SLACK 1.0001f /* more than single precision is off by, so that no winner is passed over */

static float noise_of(uint32_t bits) { return (float)-log(-log((bits + 0.5) * 0x1p-32)); }

/* The token [0, vocab) with the highest score logit / temperature + noise, the first of them where there are several; `stream`,
   `here`: the two words of kernels/gumbel/key.py. */
long everdraft_chosen(const float *logits, long vocab, float temperature, uint32_t stream, uint32_t here) {
    words lane;
    for (int at = 0; at < LANES; at++) lane[at] = at;
    long chosen = 0;
    float best = -INFINITY;
    for (int pass = 0; pass < 2; pass++) { /* first the highest without noise, which is hard to beat */
        for (long start = 0; start < vocab; start += LANES) {
            const long count = start + LANES <= vocab ? LANES : vocab - start;
            floats scores = all(-INFINITY);
            memcpy(&scores, logits + start, count * sizeof *logits);
            scores /= temperature;
            words bits = {0};
            integers hopeful = scores > all(best);
            if (pass) {
                bits = hashed(hashed((lane + (uint32_t)start) ^ stream) ^ here);
                const floats left = (__builtin_convertvector(~bits, floats) + 0.5f) * 0x1p-32f;
                hopeful = left < exponential(scores - best) * SLACK;
            }
            if (!any(hopeful)) continue;
            for (int at = 0; at < count; at++) {
                if (!hopeful[at]) continue;
                const float score = pass ? scores[at] + noise_of(bits[at]) : scores[at];
                if (score > best || (pass && score == best && start + at < chosen)) best = score, chosen = start + at;
            }
        }
        if (!pass && vocab > 0) {
            words token = {0};
            token[0] = (uint32_t)chosen;
            best += noise_of(hashed(hashed(token ^ stream) ^ here)[0]);
        }
    }
    return chosen;
}
