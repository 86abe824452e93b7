/* The likeliest tokens of each row of scores, and their probabilities. */

#include <math.h>

#include "native.h"

#define MOST 64 /* tokens of a row */

/* The greatest of each lane over the whole vectors of a row. Returns how many numbers these hold. */
static inline long lane_maxima(const float *row, long vocab, floats *maxima) {
    const long whole = vocab - vocab % LANES;
    floats first = all(-INFINITY), second = first; /* two, since each waits for the one before */
    long at = 0;
    for (; at + 2 * LANES <= whole; at += 2 * LANES) {
        const floats here = load(row + at), next = load(row + at + LANES);
        first = either(here > first, here, first);
        second = either(next > second, next, second);
    }
    if (at < whole) first = either(load(row + at) > first, load(row + at), first);
    *maxima = either(second > first, second, first);
    return whole;
}

/* What the last of `count` tokens has at least: the greatest of the lanes are so many tokens themselves. */
static inline float floor_of(floats maxima, long count) {
    if (count > LANES) return -INFINITY;
    float sorted[LANES];
    for (int lane = 0; lane < LANES; lane++) {
        int place = lane;
        for (; place > 0 && sorted[place - 1] < maxima[lane]; place--) sorted[place] = sorted[place - 1];
        sorted[place] = maxima[lane];
    }
    return sorted[count - 1];
}

/* Puts a score among the best found so far, of which there are `found`; of equals the first stays first. Returns their number. */
static inline long take(float score, int32_t token, long found, long count, float *best, int32_t *tokens) {
    if (found == count && !(score > best[count - 1])) return found;
    long place = found < count ? found++ : count - 1;
    for (; place > 0 && best[place - 1] < score; place--)
        best[place] = best[place - 1], tokens[place] = tokens[place - 1];
    best[place] = score, tokens[place] = token;
    return found;
}

/* logits [rows, vocab]; tokens, probs [rows, count], likeliest first; count <= MOST, count <= vocab. */
void everdraft_likeliest(const float *logits, long rows, long vocab, long count, int32_t *tokens, float *probs) {
    for (long row = 0; row < rows; row++, logits += vocab, tokens += count, probs += count) {
        floats maxima;
        const long whole = lane_maxima(logits, vocab, &maxima);
        const float least = floor_of(maxima, count);
        float largest = -INFINITY, best[MOST];
        for (int lane = 0; lane < LANES; lane++) largest = maxima[lane] > largest ? maxima[lane] : largest;
        for (long at = whole; at < vocab; at++) largest = logits[at] > largest ? logits[at] : largest;
        const floats floor = all(least);
        floats total = all(0.0f);
        long found = 0;
        for (long at = 0; at < whole; at += LANES) {
            const floats here = load(logits + at);
            total += roughly_exponential(here - largest); /* of all: to ask which matter costs more */
            if (!any(here >= floor)) continue;
            for (int lane = 0; lane < LANES; lane++)
                if (here[lane] >= least) found = take(here[lane], at + lane, found, count, best, tokens);
        }
        float all_of_it = sum(total);
        for (long at = whole; at < vocab; at++) {
            all_of_it += expf(logits[at] - largest);
            found = take(logits[at], at, found, count, best, tokens);
        }
        for (; found < count; found++) best[found] = -INFINITY, tokens[found] = 0; /* scores that are no numbers */
        for (long each = 0; each < count; each++) {
            const float prob = expf(best[each] - largest) / all_of_it;
            probs[each] = prob > 0.0f ? prob : 0.0f; /* 0 where it is no number */
        }
    }
}
