/* Few rows times a large weight, on one core or several.

   A weight lies in panels of four vectors' width, each panel one run of memory in the order in which it is read: with
   few rows the product is bound by reading the weight, and reads go fastest straight on. A weight whose numbers all are
   bfloat16 numbers is stored as such, half the bytes, and widened in registers: the product is float32's all the same. */

#include "native.h"

#define WIDTH (4 * LANES)
#if defined(__AVX512F__)
#define MOST_ROWS 6 /* 24 sums and 4 weights in 32 registers */
#elif defined(__AVX2__)
#define MOST_ROWS 2
#else
#define MOST_ROWS 6
#endif
#define AHEAD 2048 /* bytes; beyond a page's end too, where the hardware does not look by itself */

int everdraft_panel_width(void) { return WIDTH; }

/* [in, out] floats, `weight` [out, in], into panels [out / WIDTH, in, WIDTH]; columns that are too many are zero. */
void everdraft_pack_float(const float *weight, long out, long in, float *panels) {
    for (long column = 0; column < (out + WIDTH - 1) / WIDTH * WIDTH; column++)
        for (long k = 0; k < in; k++)
            panels[(column / WIDTH * in + k) * WIDTH + column % WIDTH] = column < out ? weight[column * in + k] : 0.0f;
}

static uint32_t upper(const float *weight, long out, long in, long column, long k) {
    uint32_t bits = 0;
    if (column < out) memcpy(&bits, weight + column * in + k, 4);
    return bits >> 16;
}

/* The same as bfloat16: a word holds the numbers of two columns LANES apart, so that a shift and a mask make floats of them. */
void everdraft_pack_bfloat16(const float *weight, long out, long in, uint32_t *panels) {
    for (long first = 0; first < out; first += WIDTH)
        for (long k = 0; k < in; k++)
            for (long word = 0; word < WIDTH / 2; word++) {
                long column = first + word / LANES * 2 * LANES + word % LANES;
                uint32_t low = upper(weight, out, in, column, k), high = upper(weight, out, in, column + LANES, k);
                panels[(first / WIDTH * in + k) * (WIDTH / 2) + word] = high << 16 | low;
            }
}

/* Column `column` of the panels becomes `row` [in]. */
void everdraft_replace_float(float *panels, long in, long column, const float *row) {
    for (long k = 0; k < in; k++) panels[(column / WIDTH * in + k) * WIDTH + column % WIDTH] = row[k];
}

void everdraft_replace_bfloat16(uint32_t *panels, long in, long column, const float *row) {
    const long at = column % WIDTH, word = at / (2 * LANES) * LANES + at % LANES;
    uint16_t *half = (uint16_t *)(panels + column / WIDTH * in * (WIDTH / 2) + word);
    if (at / LANES % 2 == (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)) half++;
    for (long k = 0; k < in; k++) half[k * WIDTH] = (uint16_t)upper(row, 1, in, 0, k);
}

#define WEIGHTS_float(at)                                                                               \
    const floats w0 = load((at)), w1 = load((at) + LANES), w2 = load((at) + 2 * LANES), w3 = load((at) + 3 * LANES);

#define WEIGHTS_bfloat16(at)                                                            \
    words first, second;                                                                \
    memcpy(&first, (at), sizeof first);                                                 \
    memcpy(&second, (at) + LANES, sizeof second);                                       \
    const floats w0 = (floats)(first << 16), w1 = (floats)(first & 0xffff0000u);        \
    const floats w2 = (floats)(second << 16), w3 = (floats)(second & 0xffff0000u);

/* `count` rows times a panel into sums [count, WIDTH]; one sum over k, in order, for each. Inlined for each count. */
#define PANEL(KIND, TYPE, STEP)                                                                                                \
    static inline __attribute__((always_inline)) void panel_##KIND(const int count, const float *rows, long in, const TYPE *w, \
                                                                   float *sums) {                                              \
        floats total[MOST_ROWS][4];                                                                                            \
        for (int row = 0; row < count; row++) total[row][0] = total[row][1] = total[row][2] = total[row][3] = all(0.0f);       \
        for (long k = 0; k < in; k++, w += STEP) {                                                                             \
            WEIGHTS_##KIND(w)                                                                                                  \
            for (unsigned byte = 0; byte < STEP * sizeof *w; byte += 64) __builtin_prefetch((const char *)w + AHEAD + byte);   \
            for (int row = 0; row < count; row++) {                                                                            \
                const float x = rows[row * in + k];                                                                            \
                total[row][0] += x * w0, total[row][1] += x * w1, total[row][2] += x * w2, total[row][3] += x * w3;            \
            }                                                                                                                  \
        }                                                                                                                      \
        for (int row = 0; row < count; row++)                                                                                  \
            for (int part = 0; part < 4; part++) store(sums + row * WIDTH + part * LANES, total[row][part]);                   \
    }                                                                                                                          \
    static void rows_##KIND(int count, const float *rows, long in, const TYPE *w, float *sums) {                               \
        switch (count) {                                                                                                       \
        case 1: panel_##KIND(1, rows, in, w, sums); break;                                                                     \
        case 2: panel_##KIND(2, rows, in, w, sums); break;                                                                     \
        case 3: panel_##KIND(3 < MOST_ROWS ? 3 : MOST_ROWS, rows, in, w, sums); break;                                         \
        case 4: panel_##KIND(4 < MOST_ROWS ? 4 : MOST_ROWS, rows, in, w, sums); break;                                         \
        case 5: panel_##KIND(5 < MOST_ROWS ? 5 : MOST_ROWS, rows, in, w, sums); break;                                         \
        default: panel_##KIND(MOST_ROWS, rows, in, w, sums);                                                                   \
        }                                                                                                                      \
    }                                                                                                                          \
    /* result [rows, out] = added + (x W + bias); x [rows, in]; bias [out] and added [rows, out] may be missing */             \
    void everdraft_linear_##KIND(const float *x, long num_rows, long in, const TYPE *panels, long out, const float *bias,      \
                                 const float *added, float *result, int threads) {                                             \
        const long num_panels = (out + WIDTH - 1) / WIDTH, most = MOST_ROWS;                                                   \
        const long num_groups = (num_rows + most - 1) / most;                                                                  \
        (void)threads;                                                                                                         \
        _Pragma("omp parallel for schedule(static) num_threads(threads) if (threads > 1)")                                     \
        for (long panel = 0; panel < num_panels; panel++) {                                                                    \
            const long column = panel * WIDTH, width = out - column < WIDTH ? out - column : WIDTH;                            \
            float sums[MOST_ROWS * WIDTH];                                                                                     \
            for (long group = 0; group < num_groups; group++) { /* groups of even size: none is left with a row or two */      \
                const long first = num_rows * group / num_groups, count = num_rows * (group + 1) / num_groups - first;         \
                rows_##KIND((int)count, x + first * in, in, panels + panel * in * (STEP), sums);                               \
                for (long row = 0; row < count; row++) {                                                                       \
                    float *to = result + (first + row) * out + column;                                                         \
                    const float *from = sums + row * WIDTH, *also = added ? added + (first + row) * out + column : 0;          \
                    for (long at = 0; at < width; at++)                                                                        \
                        to[at] = (also ? also[at] : 0.0f) + (from[at] + (bias ? bias[column + at] : 0.0f));                    \
                }                                                                                                              \
            }                                                                                                                  \
        }                                                                                                                      \
    }

PANEL(float, float, WIDTH)
PANEL(bfloat16, uint32_t, (WIDTH / 2))

/* The same product on matrix tiles (AMX), where the processor has them and the weight's numbers are bfloat16's.

   A tile multiplies bfloat16 by bfloat16 and adds up in float32. A float32 row is the sum of three bfloat16 rows, exact but for
   what lies below its 24 bits, so three products, added up in one sum, give float32's. Sixteen rows take little longer than
   the weight takes to arrive from memory. */

#if TILES_OF_BFLOAT16

enum { TILE_ROWS = 16, TILE_K = 32, TILE_COLUMNS = 16, TILES = 4, PARTS = 3, TILE = TILE_ROWS * TILE_K };
enum { COLUMNS = TILES * TILE_COLUMNS };

int everdraft_tiles(void) { return tiles_permitted(); }

/* Columns of a panel: sixteen rows of it are four sums, which with three parts of the rows and a weight fill the eight tiles. */
int everdraft_tile_columns(void) { return COLUMNS; }

/* Panels of COLUMNS; of each, one after the other, four columns of tiles: [steps of 32 k, 16 pairs of k, 16 columns, 2]. Four runs
   of memory that are read side by side come faster than one, and without prefetching. What is too much is zero. */
void everdraft_pack_tiles(const float *weight, long out, long in, uint16_t *panels) {
    const long num_steps = (in + TILE_K - 1) / TILE_K, num_tiles = (out + COLUMNS - 1) / COLUMNS * TILES;
    for (long tile = 0; tile < num_tiles; tile++)
        for (long step = 0; step < num_steps; step++)
            for (long at = 0; at < TILE; at++) {
                const long column = tile * TILE_COLUMNS + at / 2 % TILE_COLUMNS;
                const long k = step * TILE_K + at / (2 * TILE_COLUMNS) * 2 + at % 2;
                *panels++ = k < in ? (uint16_t)upper(weight, out, in, column, k) : 0;
            }
}

void everdraft_replace_tiles(uint16_t *panels, long in, long column, const float *row) {
    const long num_steps = (in + TILE_K - 1) / TILE_K;
    uint16_t *to = panels + column / TILE_COLUMNS * num_steps * TILE + column % TILE_COLUMNS * 2;
    for (long k = 0; k < in; k++)
        to[k / TILE_K * TILE + k % TILE_K / 2 * 2 * TILE_COLUMNS + k % 2] = (uint16_t)upper(row, 1, in, 0, k);
}

/* The nearest bfloat16 of 32 numbers, to `to`; what is left of them stays. */
static inline void take(floats *first, floats *second, uint16_t *to) {
    const __m512i nearest = (__m512i)_mm512_cvtne2ps_pbh((__m512)*second, (__m512)*first);
    _mm512_storeu_si512(to, nearest);
    *first -= (floats)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(nearest)), 16);
    *second -= (floats)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(nearest, 1)), 16);
}

/* `count` rows x [count, in] as tiles [steps, PARTS, TILE_ROWS, TILE_K]; what is too much of a step is zero. */
static void split(const float *x, long count, long in, uint16_t *tiles) {
    for (long row = 0; row < count; row++, x += in, tiles += TILE_K)
        for (long k = 0; k < in; k += TILE_K) {
            floats left[2] = {all(0.0f), all(0.0f)};
            if (k + TILE_K <= in) /* of a length that is known: no call */
                memcpy(left, x + k, sizeof left);
            else
                memcpy(left, x + k, (in - k) * sizeof *x);
            for (int part = 0; part < PARTS; part++) take(left, left + 1, tiles + (k / TILE_K * PARTS + part) * TILE);
        }
}

/* Sums of `count` rows in tiles 0 to 3, parts of the rows in 4 to 6, a weight in 7. */
static void configure(long count) {
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } shape = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) shape.bytes[tile] = 64, shape.rows[tile] = (uint8_t)(tile < 7 ? count : TILE_K / 2);
    _tile_loadconfig(&shape);
}

/* Tile numbers must be written out. */
#define COLUMN(sum)                                   \
    _tile_loadd(7, w + (sum) * num_steps * TILE, 64); \
    _tile_dpbf16ps(sum, 4, 7);                        \
    _tile_dpbf16ps(sum, 5, 7);                        \
    _tile_dpbf16ps(sum, 6, 7);

/* Rows times a panel; `to` [rows, stride] takes the sums. */
static void panel_tiles(const uint16_t *x, long num_steps, const uint16_t *w, float *to, long stride) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (long step = 0; step < num_steps; step++, x += PARTS * TILE, w += TILE) {
        _tile_loadd(4, x, 64);
        _tile_loadd(5, x + TILE, 64);
        _tile_loadd(6, x + 2 * TILE, 64);
        COLUMN(0)
        COLUMN(1)
        COLUMN(2)
        COLUMN(3)
    }
    _tile_stored(0, to, stride * 4);
    _tile_stored(1, to + TILE_COLUMNS, stride * 4);
    _tile_stored(2, to + 2 * TILE_COLUMNS, stride * 4);
    _tile_stored(3, to + 3 * TILE_COLUMNS, stride * 4);
}

/* A row of sums [COLUMNS] goes to `result`, the row of the product, from `column` on. */
static inline void finish(const float *sums, long column, long out, const float *bias, const float *added, float *result) {
    for (long at = column; at < column + COLUMNS && at < out; at += LANES, sums += LANES) {
        if (at + LANES <= out) {
            const floats sum = bias ? load(sums) + load(bias + at) : load(sums);
            store(result + at, added ? load(added + at) + sum : sum);
        } else
            for (long lane = 0; at + lane < out; lane++)
                result[at + lane] = (added ? added[at + lane] : 0.0f) + (sums[lane] + (bias ? bias[at + lane] : 0.0f));
    }
}

/* As everdraft_linear_bfloat16. Returns -1 for want of memory, else 0. */
int everdraft_linear_tiles(const float *x, long num_rows, long in, const uint16_t *panels, long out, const float *bias,
                           const float *added, float *result, int threads) {
    const long num_panels = (out + COLUMNS - 1) / COLUMNS, num_steps = (in + TILE_K - 1) / TILE_K;
    const long num_groups = (num_rows + TILE_ROWS - 1) / TILE_ROWS, size = num_steps * PARTS * TILE; /* of a group in scratch */
    uint16_t *scratch = scratch_of(num_groups * size * sizeof *scratch);
    if (!scratch) return -1;
#define FIRST(group) (num_rows * (group) / num_groups)
    for (long group = 0; group < num_groups; group++)
        split(x + FIRST(group) * in, FIRST(group + 1) - FIRST(group), in, scratch + group * size);
    (void)threads;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        float sums[TILE_ROWS * COLUMNS] __attribute__((aligned(64)));
        long configured = 0;
#pragma omp for schedule(static)
        for (long panel = 0; panel < num_panels; panel++) {
            const uint16_t *w = panels + panel * num_steps * TILES * TILE;
            const long column = panel * COLUMNS, as_is = !bias && !added && column + COLUMNS <= out;
            for (long group = 0; group < num_groups; group++) { /* groups of even size */
                const long first = FIRST(group), count = FIRST(group + 1) - first;
                if (count != configured) configure(configured = count);
                panel_tiles(scratch + group * size, num_steps, w, as_is ? result + first * out + column : sums,
                            as_is ? out : COLUMNS);
                for (long row = first; !as_is && row < first + count; row++)
                    finish(sums + (row - first) * COLUMNS, column, out, bias, added ? added + row * out : 0, result + row * out);
            }
        }
        if (configured) _tile_release();
    }
    return 0;
#undef FIRST
}

#else

int everdraft_tiles(void) { return 0; }

#endif
