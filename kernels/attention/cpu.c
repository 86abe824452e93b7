/* Ragged attention over paged keys and values, one row and one key-value head at a time.

   A row's visible keys are taken in the order of the text: all of its prefix, then its ancestors in the tree. Those are
   the keys of the same row in plain decoding, in the same order, so its result is the same to the last bit. */

#include <math.h>
#include <stdlib.h>

#include "native.h"

enum { START, NUM_ROWS, NUM_KEYS, FIRST_SLOT, SLOTS, ANCESTORS, NUM_WORDS, FIELDS };

typedef struct {
    const float *query;  /* [group, dim] */
    const float *keys;   /* [slots, dim] of the head */
    const float *values; /* [slots, dim] */
    const int64_t *slots;
    long num_slots; /* visible to the row */
    long group;
    float scale;
    float *scores; /* [group, room] */
    long room;
    float *out; /* [group, dim] */
} row_of_head;

static inline __attribute__((always_inline)) float dot(const float *a, const float *b, const long dim) {
    floats total = all(0.0f);
    long at = 0;
    for (; at + LANES <= dim; at += LANES) total += load(a + at) * load(b + at);
    float result = sum(total);
    for (; at < dim; at++) result += a[at] * b[at];
    return result;
}

/* scores become exp(score - largest); returns their sum. The room behind them, up to a whole vector, must be there. */
static float soften(float *scores, long count) {
    float largest = scores[0];
    for (long at = 1; at < count; at++) largest = scores[at] > largest ? scores[at] : largest;
    floats total = all(0.0f);
    for (long at = count; at % LANES; at++) scores[at] = -INFINITY;
    for (long at = 0; at < count; at += LANES) {
        floats chance = exponential(load(scores + at) - largest);
        if (at + LANES > count)
            for (long lane = count - at; lane < LANES; lane++) chance[lane] = 0.0f;
        store(scores + at, chance);
        total += chance;
    }
    return sum(total);
}

/* Four vectors of the weighted sum of values at once, even and odd keys apart: enough sums in flight to keep the core busy. */
static inline __attribute__((always_inline)) void mix(const row_of_head *row, const float *scores, float *out, const long dim,
                                                      const float scale) {
    long at = 0;
    for (; at + 4 * LANES <= dim; at += 4 * LANES) {
        floats even[4] = {{0}}, odd[4] = {{0}};
        long key = 0;
        for (; key + 1 < row->num_slots; key += 2) {
            const float *first = row->values + row->slots[key] * dim + at, *second = row->values + row->slots[key + 1] * dim + at;
            for (int part = 0; part < 4; part++) {
                even[part] += scores[key] * load(first + part * LANES);
                odd[part] += scores[key + 1] * load(second + part * LANES);
            }
        }
        if (key < row->num_slots)
            for (int part = 0; part < 4; part++)
                even[part] += scores[key] * load(row->values + row->slots[key] * dim + at + part * LANES);
        for (int part = 0; part < 4; part++) store(out + at + part * LANES, (even[part] + odd[part]) * scale);
    }
    for (; at < dim; at++) {
        float total = 0.0f;
        for (long key = 0; key < row->num_slots; key++) total += scores[key] * row->values[row->slots[key] * dim + at];
        out[at] = total * scale;
    }
}

static inline __attribute__((always_inline)) void attend_row(const row_of_head *row, const long dim) {
    for (long key = 0; key < row->num_slots; key++) {
        const float *here = row->keys + row->slots[key] * dim;
        for (long head = 0; head < row->group; head++)
            row->scores[head * row->room + key] = dot(row->query + head * dim, here, dim) * row->scale;
    }
    for (long head = 0; head < row->group; head++) {
        float *scores = row->scores + head * row->room;
        const float total = soften(scores, row->num_slots);
        mix(row, scores, row->out + head * dim, dim, 1.0f / total);
    }
}

/* The slots that row `index` of a span sees, in the order of the text; returns how many. */
static long visible(const int64_t *span, long index, int64_t *slots) {
    const int64_t *given = (const int64_t *)(intptr_t)span[SLOTS];
    const uint64_t *ancestors = (const uint64_t *)(intptr_t)span[ANCESTORS];
    const long prefix = span[NUM_KEYS] - span[NUM_ROWS];
    long count = 0;
#define SLOT(position) (given ? given[position] : span[FIRST_SLOT] + (position))
    for (long position = 0; position < (ancestors ? prefix : prefix + index + 1); position++) slots[count++] = SLOT(position);
    if (ancestors)
        for (long node = 0; node <= index; node++)
            if (ancestors[index * span[NUM_WORDS] + node / 64] >> (node % 64) & 1) slots[count++] = SLOT(prefix + node);
    return count;
}

/* query [rows, heads * dim], rows `stride` floats apart; keys, values [kv_heads, slots, dim]; spans [num_spans, FIELDS] as
   kernels/attention/cpu.py lays them out; result [rows, heads, dim]. Returns -1 for want of memory, else 0. */
int everdraft_attention(const float *query, long stride, long num_rows, long heads, long kv_heads, long dim, const float *keys,
                        const float *values, long num_slots, const int64_t *spans, long num_spans, long most_keys, float scale,
                        float *result, int threads) {
    const long group = heads / kv_heads, room = (most_keys + LANES - 1) / LANES * LANES;
    int failed = 0;
    const int64_t **span_of = malloc(num_rows * sizeof *span_of);
    if (!span_of) return -1;
    for (long each = 0; each < num_spans; each++)
        for (long row = 0; row < spans[each * FIELDS + NUM_ROWS]; row++)
            span_of[spans[each * FIELDS + START] + row] = spans + each * FIELDS;
    (void)threads;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        float *scores = malloc(group * room * sizeof *scores);
        int64_t *slots = malloc(room * sizeof *slots);
        if (!scores || !slots) {
#pragma omp atomic write
            failed = 1;
        } else {
#pragma omp for schedule(static, 1)
            for (long row = 0; row < num_rows; row++) {
                const long count = visible(span_of[row], row - span_of[row][START], slots);
                for (long head = 0; head < kv_heads; head++) {
                    const row_of_head here = {query + row * stride + head * group * dim,
                                              keys + head * num_slots * dim,
                                              values + head * num_slots * dim,
                                              slots,
                                              count,
                                              group,
                                              scale,
                                              scores,
                                              room,
                                              result + (row * heads + head * group) * dim};
                    if (dim == 64)
                        attend_row(&here, 64);
                    else if (dim == 128)
                        attend_row(&here, 128);
                    else
                        attend_row(&here, dim);
                }
            }
        }
        free(scores);
        free(slots);
    }
    free(span_of);
    return failed ? -1 : 0;
}

/* Copies the new rows' keys and values [rows, kv_heads, dim], rows `stride` floats apart, to their slots. */
void everdraft_write(const float *key, long key_stride, const float *value, long value_stride, long num_rows, long kv_heads,
                     long dim, const int64_t *slots, long num_slots, float *keys, float *values) {
    for (long row = 0; row < num_rows; row++)
        for (long head = 0; head < kv_heads; head++) {
            const long to = (head * num_slots + slots[row]) * dim;
            memcpy(keys + to, key + row * key_stride + head * dim, dim * sizeof *keys);
            memcpy(values + to, value + row * value_stride + head * dim, dim * sizeof *values);
        }
}
