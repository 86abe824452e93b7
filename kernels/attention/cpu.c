/* Ragged attention over paged keys and values, a few rows of a sequence and one key-value head at a time.

   A row's visible keys are taken in the order of the text: all of its prefix, then its ancestors in the tree. Those are
   the keys of the same row in plain decoding, in the same order, and each sum runs over them one by one, so its result is the same
   to the last bit. What the rows share, the prefix, is read once for all of them. */

#include <math.h>
#include <stdlib.h>

#include "native.h"

enum { START, NUM_ROWS, NUM_KEYS, FIRST_SLOT, SLOTS, ANCESTORS, NUM_WORDS, FIELDS };

#define MOST_ROWS 8
#define MOST_DIM 512
#define AHEAD 64 /* keys by which reading is ahead: for 8 texts of 8,192 keys four rows each take 8 ms instead of 10 */
#if defined(__AVX512F__)
#define MOST_QUERIES 6 /* 24 sums and 4 values in 32 registers */
#else
#define MOST_QUERIES 2
#endif

/* Rows of a span with what they see. A query is one head of one row. */
typedef struct {
    const float *keys, *values; /* [slots, dim] of the key-value head */
    const int64_t *prefix;      /* slots that every row sees */
    long num_prefix;
    const int64_t *tail[MOST_ROWS]; /* and those behind it that each sees */
    long num_tail[MOST_ROWS];
    long num_rows, group, room;
    float *scores; /* [num_rows * group, room] */
} block;

/* Has `count` numbers brought near, by lines of 64 bytes. */
static inline __attribute__((always_inline)) void fetch(const float *from, const long count) {
    for (long at = 0; at < count; at += 16) __builtin_prefetch(from + at);
}

/* scores[i] = scale * query . key i for LANES keys. */
static inline __attribute__((always_inline)) void score(const float *query, const float *const *keys, const long dim,
                                                        const float scale, float *scores) {
    floats totals[LANES];
#pragma GCC unroll 16
    for (int key = 0; key < LANES; key++) {
        floats total = all(0.0f);
        for (long at = 0; at + LANES <= dim; at += LANES) total += load(query + at) * load(keys[key] + at);
        totals[key] = total;
    }
    floats result = sums(totals);
    for (long at = dim / LANES * LANES; at < dim; at++)
        for (int key = 0; key < LANES; key++) result[key] = fused(query[at], keys[key][at], result[key]);
    store(scores, result * scale);
}

/* LANES keys from slot `first` on; behind the last the last again: nobody reads those scores. */
static inline void gather(const float *from, const int64_t *slots, long first, long count, const long dim, const float **keys) {
    for (long key = 0; key < LANES; key++) keys[key] = from + slots[first + key < count ? first + key : count - 1] * dim;
}

/* scores become exp(score - largest); returns their sum. */
static float soften(float *scores, long count) {
    for (long at = count; at % LANES; at++) scores[at] = scores[0];
    const float largest = most(scores, count);
    floats total = all(0.0f);
    for (long at = 0; at < count; at += LANES) {
        floats chance = exponential(load(scores + at) - largest);
        if (at + LANES > count)
            for (long lane = count - at; lane < LANES; lane++) chance[lane] = 0.0f;
        store(scores + at, chance);
        total += chance;
    }
    return sum(total);
}

/* Sums of the prefix's values, `parts` vectors of each, weighted by the scores of `count` queries. */
static inline __attribute__((always_inline)) void mix_prefix(const int count, const int parts, const block *here, long query,
                                                             const long dim, const float *values, float *out) {
    floats total[MOST_QUERIES][4];
    const float *scores = here->scores + query * here->room;
    for (int each = 0; each < count; each++)
        for (int part = 0; part < parts; part++) total[each][part] = all(0.0f);
    for (long key = 0; key < here->num_prefix; key++) {
        const float *value = values + here->prefix[key] * dim;
        if (key + AHEAD < here->num_prefix) fetch(values + here->prefix[key + AHEAD] * dim, parts * LANES);
        for (int each = 0; each < count; each++)
            for (int part = 0; part < parts; part++) total[each][part] += scores[each * here->room + key] * load(value + part * LANES);
    }
    for (int each = 0; each < count; each++)
        for (int part = 0; part < parts; part++) store(out + each * dim + part * LANES, total[each][part]);
}

/* The same for what one query alone sees, on top of it. */
static inline __attribute__((always_inline)) void mix_tail(const int parts, const block *here, long query, const long dim,
                                                           const float *values, float *out) {
    const long row = query / here->group;
    const float *scores = here->scores + query * here->room + here->num_prefix;
    floats total[4];
    for (int part = 0; part < parts; part++) total[part] = load(out + part * LANES);
    for (long key = 0; key < here->num_tail[row]; key++)
        for (int part = 0; part < parts; part++)
            total[part] += scores[key] * load(values + here->tail[row][key] * dim + part * LANES);
    for (int part = 0; part < parts; part++) store(out + part * LANES, total[part]);
}

static inline __attribute__((always_inline)) void mix_parts(const int parts, const block *here, long query, long count,
                                                            const long dim, const float *values, float *out) {
    switch (count < MOST_QUERIES ? count : MOST_QUERIES) {
    case 1: mix_prefix(1, parts, here, query, dim, values, out); break;
    case 2: mix_prefix(2, parts, here, query, dim, values, out); break;
    case 3: mix_prefix(3 < MOST_QUERIES ? 3 : MOST_QUERIES, parts, here, query, dim, values, out); break;
    case 4: mix_prefix(4 < MOST_QUERIES ? 4 : MOST_QUERIES, parts, here, query, dim, values, out); break;
    case 5: mix_prefix(5 < MOST_QUERIES ? 5 : MOST_QUERIES, parts, here, query, dim, values, out); break;
    default: mix_prefix(MOST_QUERIES, parts, here, query, dim, values, out);
    }
    for (long each = 0; each < count; each++) mix_tail(parts, here, query + each, dim, values, out + each * dim);
}

/* out [count, dim] = the values, weighted, for queries `query` to `query + count`. */
static inline __attribute__((always_inline)) void mix(const block *here, long query, long count, const long dim, float *out) {
    long at = 0;
    for (; at + 4 * LANES <= dim; at += 4 * LANES) mix_parts(4, here, query, count, dim, here->values + at, out + at);
    for (; at + LANES <= dim; at += LANES) mix_parts(1, here, query, count, dim, here->values + at, out + at);
    for (; at < dim; at++)
        for (long each = query; each < query + count; each++) {
            const float *scores = here->scores + each * here->room;
            const long row = each / here->group;
            float total = 0.0f;
            for (long key = 0; key < here->num_prefix; key++)
                total = fused(scores[key], here->values[here->prefix[key] * dim + at], total);
            scores += here->num_prefix;
            for (long key = 0; key < here->num_tail[row]; key++)
                total = fused(scores[key], here->values[here->tail[row][key] * dim + at], total);
            out[(each - query) * dim + at] = total;
        }
}

/* query: that of the first row, rows `stride` apart; result: of the first row, rows `wide` apart. */
static inline __attribute__((always_inline)) void attend(const block *here, const float *query, long stride, const long dim,
                                                         float scale, float *result, long wide) {
    const float *keys[LANES];
    const long num_queries = here->num_rows * here->group;
    for (long first = 0; first < here->num_prefix; first += LANES) {
        gather(here->keys, here->prefix, first, here->num_prefix, dim, keys);
        for (long key = first + AHEAD; key < first + AHEAD + LANES && key < here->num_prefix; key++)
            fetch(here->keys + here->prefix[key] * dim, dim);
        for (long each = 0; each < num_queries; each++)
            score(query + each / here->group * stride + each % here->group * dim, keys, dim, scale,
                  here->scores + each * here->room + first);
    }
    for (long row = 0; row < here->num_rows; row++) /* after the prefix, whose last scores may reach too far */
        for (long first = 0; first < here->num_tail[row]; first += LANES) {
            gather(here->keys, here->tail[row], first, here->num_tail[row], dim, keys);
            for (long head = 0; head < here->group; head++)
                score(query + row * stride + head * dim, keys, dim, scale,
                      here->scores + (row * here->group + head) * here->room + here->num_prefix + first);
        }
    float out[MOST_QUERIES * MOST_DIM];
    for (long first = 0; first < num_queries; first += MOST_QUERIES) {
        const long count = num_queries - first < MOST_QUERIES ? num_queries - first : MOST_QUERIES;
        float total[MOST_QUERIES];
        for (long each = 0; each < count; each++)
            total[each] = soften(here->scores + (first + each) * here->room,
                                 here->num_prefix + here->num_tail[(first + each) / here->group]);
        mix(here, first, count, dim, out);
        for (long each = 0; each < count; each++) {
            const float share = 1.0f / total[each];
            float *to = result + (first + each) / here->group * wide + (first + each) % here->group * dim;
            for (long at = 0; at < dim; at++) to[at] = out[each * dim + at] * share;
        }
    }
}

static int64_t slot_of(const int64_t *span, long position) {
    const int64_t *given = (const int64_t *)(intptr_t)span[SLOTS];
    return given ? given[position] : span[FIRST_SLOT] + position;
}

/* What the rows from `first` on of a span see: the slots all of them see, and for each those behind. slots: room for all. */
static void look(block *here, const int64_t *span, long first, int64_t *slots) {
    const uint64_t *ancestors = (const uint64_t *)(intptr_t)span[ANCESTORS];
    const long before = span[NUM_KEYS] - span[NUM_ROWS];
    here->prefix = slots;
    here->num_prefix = ancestors ? before : before + first;
    for (long position = 0; position < here->num_prefix; position++) *slots++ = slot_of(span, position);
    for (long row = 0; row < here->num_rows; row++) {
        const uint64_t *seen = ancestors ? ancestors + (first + row) * span[NUM_WORDS] : 0;
        here->tail[row] = slots;
        for (long node = here->num_prefix - before; node <= first + row; node++)
            if (!seen || seen[node / 64] >> (node % 64) & 1) *slots++ = slot_of(span, before + node);
        here->num_tail[row] = slots - here->tail[row];
    }
}

/* query [rows, heads * dim], rows `stride` floats apart; keys, values [kv_heads, slots, dim]; spans [num_spans, FIELDS] as
   kernels/attention/spans.py lays them out; result [rows, heads, dim]. At most MOST_DIM numbers a head. Returns -1 for want of memory, else 0. */
int everdraft_attention(const float *query, long stride, long heads, long kv_heads, long dim, const float *keys,
                        const float *values, long num_slots, const int64_t *spans, long num_spans, long most_keys, float scale,
                        float *result, int threads) {
    const long group = heads / kv_heads, room = (most_keys + 2 * LANES) / LANES * LANES;
    long num_blocks = 0;
    int failed = 0;
    for (long each = 0; each < num_spans; each++) num_blocks += (spans[each * FIELDS + NUM_ROWS] + MOST_ROWS - 1) / MOST_ROWS;
    long *of = malloc(2 * num_blocks * sizeof *of), at = 0; /* span and first row of each block */
    if (!of) return -1;
    for (long each = 0; each < num_spans; each++)
        for (long row = 0; row < spans[each * FIELDS + NUM_ROWS]; row += MOST_ROWS) of[at++] = each, of[at++] = row;
    (void)threads;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        float *scores = malloc(MOST_ROWS * group * room * sizeof *scores);
        int64_t *slots = malloc((room + MOST_ROWS * room) * sizeof *slots);
        if (!scores || !slots) {
#pragma omp atomic write
            failed = 1;
        } else {
#pragma omp for schedule(static, 1)
            for (long task = 0; task < num_blocks * kv_heads; task++) {
                const long head = task % kv_heads, first = of[task / kv_heads * 2 + 1];
                const int64_t *span = spans + of[task / kv_heads * 2] * FIELDS;
                const long left = span[NUM_ROWS] - first, row = span[START] + first;
                block here = {.keys = keys + head * num_slots * dim,
                              .values = values + head * num_slots * dim,
                              .num_rows = left < MOST_ROWS ? left : MOST_ROWS,
                              .group = group,
                              .room = room,
                              .scores = scores};
                look(&here, span, first, slots);
                const float *from = query + row * stride + head * group * dim;
                float *to = result + (row * heads + head * group) * dim;
                if (dim == 64)
                    attend(&here, from, stride, 64, scale, to, heads * 64);
                else if (dim == 128)
                    attend(&here, from, stride, 128, scale, to, heads * 128);
                else
                    attend(&here, from, stride, dim, scale, to, heads * dim);
            }
        }
        free(scores);
        free(slots);
    }
    free(of);
    return failed ? -1 : 0;
}

/* Copies the new rows' keys and values [rows, kv_heads, dim], rows `stride` floats apart, to their slots. Returns -1, and copies
   nothing, where a slot is none of `num_slots`, else 0. */
int everdraft_write(const float *key, long key_stride, const float *value, long value_stride, long num_rows, long kv_heads,
                    long dim, const int64_t *slots, long num_slots, float *keys, float *values) {
    if (!all_within(slots, num_rows, num_slots)) return -1;
    for (long row = 0; row < num_rows; row++)
        for (long head = 0; head < kv_heads; head++) {
            const long to = (head * num_slots + slots[row]) * dim;
            memcpy(keys + to, key + row * key_stride + head * dim, dim * sizeof *keys);
            memcpy(values + to, value + row * value_stride + head * dim, dim * sizeof *values);
        }
    return 0;
}
