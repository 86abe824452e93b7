/* Rows times a weight of 8-bit numbers, on one core or several: `reference.py`, to the last bit.

   A row's 16-bit numbers, made positive by adding 2^15, are two bytes: two products with the same weight, of which the upper is
   worth 256 times the lower. What the 2^15 adds to the upper is 128 times the sum of an output's weights, known beforehand.
   Sums of integers come out the same in any order, so matrix tiles (AMX), vectors of byte products (VNNI) and plain vectors agree
   in all bits, and a row cannot depend on its neighbours. */

/* The few operations on floats are each rounded by themselves, as in plain torch. */
#if defined(__clang__)
#pragma clang fp contract(off)
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

#include "native.h"

/* A group of rows: [steps of DEPTH inputs, PARTS, GROUP, DEPTH] bytes. A panel: [steps, TILES, DEPTH / 4, TILE_COLUMNS, 4]. */
enum { DEPTH = 64, GROUP = 8, PARTS = 2, TILE_COLUMNS = 16, TILES = 2, COLUMNS = TILES * TILE_COLUMNS };
enum { TILE = PARTS * GROUP * DEPTH, SUMS = TILES * PARTS * GROUP * TILE_COLUMNS };
#define AHEAD 4096 /* bytes */

/* Sums of a group and a panel: [TILES, PARTS, GROUP, TILE_COLUMNS]. */
typedef int32_t sums_of_group[SUMS];

typedef struct {
    long in, out, steps;
    const int8_t *panels;
    const float *scales;    /* of the outputs, as many as the panels have columns */
    const int32_t *offsets; /* 128 times the sums of their weights, as many */
    const float *bias, *added;
    float *result;
} product;

typedef uint8_t bytes __attribute__((vector_size(LANES)));

static inline words magnitude(floats x) { return (words)x & 0x7fffffffu; }

/* The largest magnitude of a row; compared as integers, which agree for floats without sign and put what is no number on top. */
static float largest(const float *x, long in) {
    words most = {0};
    long k = 0;
    for (; k + LANES <= in; k += LANES) {
        const words next = magnitude(load(x + k));
        most = either_word((integers)(next > most), next, most);
    }
    uint32_t found = 0;
    for (int lane = 0; lane < LANES; lane++) found = most[lane] > found ? most[lane] : found;
    for (; k < in; k++) {
        uint32_t bits;
        memcpy(&bits, x + k, sizeof bits);
        found = (bits & 0x7fffffffu) > found ? bits & 0x7fffffffu : found;
    }
    float result;
    memcpy(&result, &found, sizeof result);
    return result;
}

/* A row into its places in a group, which begin at `to`. Returns its scale. */
static float quantise(const float *x, long in, uint8_t *to) {
    const float most_row = 32767.0f, smallest = 1e-30f, found = largest(x, in);
    const float most = found < smallest ? smallest : found, inverse = most_row / most;
    const floats magic = all(12582912.0f); /* 1.5 * 2^23: rounds to an integer, which the lower bits then are */
    for (long k = 0; k < (in + DEPTH - 1) / DEPTH * DEPTH; k += LANES) {
        floats numbers = all(0.0f);
        if (k + LANES <= in)
            numbers = load(x + k);
        else if (k < in)
            memcpy(&numbers, x + k, (in - k) * sizeof *x);
        const words positive = (words)(numbers * inverse + magic) + 32768u;
        const bytes high = __builtin_convertvector(positive >> 8 & 255u, bytes);
        const bytes low = __builtin_convertvector(positive & 255u, bytes);
        uint8_t *place = to + k / DEPTH * TILE + k % DEPTH;
        memcpy(place, &high, sizeof high);
        memcpy(place + GROUP * DEPTH, &low, sizeof low);
    }
    return most / most_row;
}

static inline integers load_integers(const int32_t *from) {
    integers value;
    memcpy(&value, from, sizeof value);
    return value;
}

/* LANES outputs of a row from `column` on, whose upper and lower sums are at `sums`. */
static inline void finish(const product *to, const int32_t *sums, long row, float scale, long column) {
    const floats high = __builtin_convertvector(load_integers(sums) - load_integers(to->offsets + column), floats);
    const floats low = __builtin_convertvector(load_integers(sums + GROUP * TILE_COLUMNS), floats);
    floats value = (high * 256.0f + low) * (load(to->scales + column) * scale);
    float *result = to->result + row * to->out + column;
    const float *added = to->added ? to->added + row * to->out + column : 0;
    if (column + LANES <= to->out) {
        if (to->bias) value = value + load(to->bias + column);
        store(result, added ? load(added) + value : value);
    } else
        for (long at = 0; at < to->out - column; at++) {
            const float biased = to->bias ? value[at] + to->bias[column + at] : value[at];
            result[at] = added ? added[at] + biased : biased;
        }
}

/* The rows of a group, from `first` on, times a panel, which begins at `column`. */
static void finish_group(const product *to, const int32_t *sums, long first, long count, const float *scales, long column) {
    for (long row = 0; row < count; row++)
        for (long at = 0; at < COLUMNS && column + at < to->out; at += LANES) {
            const long tile = at / TILE_COLUMNS * PARTS * GROUP + row;
            finish(to, sums + tile * TILE_COLUMNS + at % TILE_COLUMNS, first + row, scales[first + row], column + at);
        }
}

static inline void prefetch(const int8_t *w) {
    for (int byte = 0; byte < TILES * TILE; byte += 64) __builtin_prefetch(w + AHEAD + byte);
}

#if defined(__AVX512VNNI__) && LANES == 16
static inline integers dot(integers sum, integers x, integers w) {
    return (integers)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)x, (__m512i)w);
}
#elif defined(__AVXVNNI__) && LANES == 8
static inline integers dot(integers sum, integers x, integers w) {
    return (integers)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)x, (__m256i)w);
}
#else
/* Adds to each lane the products of its four bytes, those of x without sign. */
static inline integers dot(integers sum, integers x, integers w) {
    for (int shift = 0; shift < 32; shift += 8) sum += ((x >> shift) & 255) * ((integers)((words)w << (24 - shift)) >> 24);
    return sum;
}
#endif

/* Vectors that make a panel, and rows whose sums there are registers for. */
#define VECTORS (COLUMNS / LANES)
#define AT_ONCE (LANES == 16 ? 4 : 1)

/* `count` rows of a group from x on times a panel. Inlined for each count. */
static inline __attribute__((always_inline)) void vectors(const int count, const uint8_t *x, const product *to, const int8_t *w,
                                                          int32_t *sums) {
    integers total[AT_ONCE][PARTS][VECTORS];
    memset(total, 0, sizeof total);
    for (long step = 0; step < to->steps; step++, x += TILE, w += TILES * TILE) {
        prefetch(w);
        for (int four = 0; four < DEPTH; four += 4) {
            integers weights[VECTORS];
            for (int at = 0; at < VECTORS; at++) {
                const int tile = at * LANES / TILE_COLUMNS, column = at * LANES % TILE_COLUMNS;
                memcpy(weights + at, w + tile * TILE + four * TILE_COLUMNS + column * 4, sizeof *weights);
            }
            for (int row = 0; row < count; row++)
                for (int part = 0; part < PARTS; part++) {
                    int32_t next;
                    memcpy(&next, x + (part * GROUP + row) * DEPTH + four, sizeof next);
                    const integers inputs = (integers){0} + next;
                    for (int at = 0; at < VECTORS; at++) total[row][part][at] = dot(total[row][part][at], inputs, weights[at]);
                }
        }
    }
    for (int row = 0; row < count; row++)
        for (int part = 0; part < PARTS; part++)
            for (int at = 0; at < VECTORS; at++) {
                const int tile = at * LANES / TILE_COLUMNS * PARTS * GROUP + part * GROUP + row;
                memcpy(sums + tile * TILE_COLUMNS + at * LANES % TILE_COLUMNS, &total[row][part][at], sizeof(integers));
            }
}

static void group_by_vectors(const uint8_t *x, long count, const product *to, const int8_t *w, int32_t *sums) {
    while (count > 0) {
        switch (count < AT_ONCE ? count : AT_ONCE) {
        case 1: vectors(1, x, to, w, sums); break;
        case 2: vectors(AT_ONCE < 2 ? AT_ONCE : 2, x, to, w, sums); break;
        case 3: vectors(AT_ONCE < 3 ? AT_ONCE : 3, x, to, w, sums); break;
        default: vectors(AT_ONCE, x, to, w, sums);
        }
        count -= AT_ONCE, x += AT_ONCE * DEPTH, sums += AT_ONCE * TILE_COLUMNS;
    }
}

#if defined(__AMX_TILE__) && defined(__AMX_INT8__) && defined(__AVX2__) && defined(__linux__)
#define TILES_HERE 1

/* Every tile is whole: rows that a group does not have cost no time, which goes into reading the weight, and nobody asks for
   their sums. */
static void configure(void) {
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } shape = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) shape.bytes[tile] = 64, shape.rows[tile] = 16;
    _tile_loadconfig(&shape);
}

/* Two groups, or one, times a panel; fresh: which no group was multiplied with before. */
static inline __attribute__((always_inline)) void tiles(const int two, const int fresh, const uint8_t *x, const uint8_t *y,
                                                        const product *to, const int8_t *w, sums_of_group *sums) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (long step = 0; step < to->steps; step++, x += TILE, y += TILE, w += TILES * TILE) {
        if (fresh) prefetch(w);
        _tile_loadd(4, x, DEPTH);
        _tile_loadd(6, w, DEPTH);
        _tile_dpbusd(0, 4, 6);
        _tile_loadd(7, w + TILE, DEPTH);
        _tile_dpbusd(1, 4, 7);
        if (two) {
            _tile_loadd(5, y, DEPTH);
            _tile_dpbusd(2, 5, 6);
            _tile_dpbusd(3, 5, 7);
        }
    }
    _tile_stored(0, sums[0], DEPTH);
    _tile_stored(1, sums[0] + SUMS / TILES, DEPTH);
    if (two) {
        _tile_stored(2, sums[1], DEPTH);
        _tile_stored(3, sums[1] + SUMS / TILES, DEPTH);
    }
}

#else
#define TILES_HERE 0
#endif

int everdraft_int8_tiles(void) {
#if TILES_HERE
    return tiles_permitted();
#else
    return 0;
#endif
}

/* result [rows, out] = added + (x W + bias); x [rows, in]; scales and offsets [out], up to a whole panel; bias [out] and added
   [rows, out] may be missing. by_tiles: on matrix tiles. Returns -1 for want of memory, else 0. */
int everdraft_linear_int8(const float *x, long num_rows, long in, const int8_t *panels, const float *scales,
                          const int32_t *offsets, long out, const float *bias, const float *added, float *result, int by_tiles,
                          int threads) {
    const product to = {in, out, (in + DEPTH - 1) / DEPTH, panels, scales, offsets, bias, added, result};
    const long num_groups = (num_rows + GROUP - 1) / GROUP, num_panels = (out + COLUMNS - 1) / COLUMNS, size = to.steps * TILE;
    uint8_t *groups = scratch_of(num_groups * (size + GROUP * sizeof(float)));
    if (!groups) return -1;
    float *row_scales = (float *)(groups + num_groups * size);
    for (long row = 0; row < num_rows; row++)
        row_scales[row] = quantise(x + row * in, in, groups + row / GROUP * size + row % GROUP * DEPTH);
    (void)threads, (void)by_tiles;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        sums_of_group sums[2] __attribute__((aligned(64)));
#if TILES_HERE
        if (by_tiles) configure();
#endif
#pragma omp for schedule(static)
        for (long panel = 0; panel < num_panels; panel++) {
            const int8_t *w = panels + panel * to.steps * TILES * TILE;
            for (long group = 0; group < num_groups; group++) {
                const long first = group * GROUP, count = num_rows - first < GROUP ? num_rows - first : GROUP;
                const uint8_t *rows = groups + group * size;
#if TILES_HERE
                if (by_tiles && group + 1 < num_groups) {
                    const long second = first + GROUP, left = num_rows - second < GROUP ? num_rows - second : GROUP;
                    tiles(1, group == 0, rows, rows + size, &to, w, sums);
                    finish_group(&to, sums[0], first, GROUP, row_scales, panel * COLUMNS);
                    finish_group(&to, sums[1], second, left, row_scales, panel * COLUMNS);
                    group++;
                    continue;
                }
                if (by_tiles)
                    tiles(0, group == 0, rows, rows, &to, w, sums);
                else
#endif
                    group_by_vectors(rows, count, &to, w, sums[0]);
                finish_group(&to, sums[0], first, count, row_scales, panel * COLUMNS);
            }
        }
#if TILES_HERE
        if (by_tiles) _tile_release();
#endif
    }
    return 0;
}

/* Column `column` of the panels becomes `row` [in], rounded. */
static void replace(int8_t *panels, long in, long column, const float *row, float *scales, int32_t *offsets) {
    const float most_weight = 127.0f, smallest = 1e-30f, found = largest(row, in);
    const float scale = (found < smallest ? smallest : found) / most_weight;
    const long tile = column / TILE_COLUMNS, steps = (in + DEPTH - 1) / DEPTH, size = DEPTH * TILE_COLUMNS;
    int8_t *to = panels + (tile / TILES * steps * TILES + tile % TILES) * size + column % TILE_COLUMNS * 4;
    int32_t sum = 0;
    for (long k = 0; k < in; k += DEPTH, to += TILES * size) {
        int8_t numbers[DEPTH] = {0};
        const long count = in - k < DEPTH ? in - k : DEPTH;
        for (long at = 0; at < count; at++) numbers[at] = (int8_t)__builtin_rintf(row[k + at] / scale);
        for (long at = 0; at < DEPTH; at++) sum += numbers[at];
        for (long four = 0; four < DEPTH / 4; four++) memcpy(to + four * 4 * TILE_COLUMNS, numbers + 4 * four, 4);
    }
    scales[column] = scale;
    offsets[column] = 128 * sum;
}

/* Columns `columns` [count] of the panels become `rows` [count, in], rounded. */
void everdraft_replace_int8(int8_t *panels, long in, const int64_t *columns, long count, const float *rows, float *scales,
                            int32_t *offsets) {
    for (long row = 0; row < count; row++) replace(panels, in, columns[row], rows + row * in, scales, offsets);
}

/* `weight` [out, in] into panels that hold zeros. */
void everdraft_pack_int8(const float *weight, long out, long in, int8_t *panels, float *scales, int32_t *offsets) {
    for (long column = 0; column < out; column++) replace(panels, in, column, weight + column * in, scales, offsets);
}
