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
   what lies below its 24 bits, so three products give float32's. They are added up apart and joined at the end, whether
   they lie in one tile (few rows) or in three. Sixteen rows take little longer than the weight takes to arrive from memory. */

#if TILES_OF_BFLOAT16

enum { TILE_ROWS = 16, TILE_K = 32, TILE_COLUMNS = 16, TILES = 2, PARTS = 3, TILE = TILE_ROWS * TILE_K };
enum { FEW_ROWS = TILE_ROWS / PARTS };
#define AHEAD_TILES 4096 /* bytes */

int everdraft_tiles(void) { return tiles_permitted(); }

/* Panels of 32 columns; of each, for 32 k after another, two tiles: [16 pairs of k, 16 columns, 2]. What is too much is zero. */
void everdraft_pack_tiles(const float *weight, long out, long in, uint16_t *panels) {
    const long num_steps = (in + TILE_K - 1) / TILE_K, num_panels = (out + TILES * TILE_COLUMNS - 1) / (TILES * TILE_COLUMNS);
    for (long panel = 0; panel < num_panels; panel++)
        for (long step = 0; step < num_steps; step++)
            for (long at = 0; at < TILES * TILE; at++) {
                const long column = (panel * TILES + at / TILE) * TILE_COLUMNS + at / 2 % TILE_COLUMNS;
                const long k = step * TILE_K + at % TILE / (2 * TILE_COLUMNS) * 2 + at % 2;
                *panels++ = k < in ? (uint16_t)upper(weight, out, in, column, k) : 0;
            }
}

void everdraft_replace_tiles(uint16_t *panels, long in, long column, const float *row) {
    const long num_steps = (in + TILE_K - 1) / TILE_K, tile = column / TILE_COLUMNS;
    uint16_t *to = panels + (tile / TILES * num_steps * TILES + tile % TILES) * TILE + column % TILE_COLUMNS * 2;
    for (long k = 0; k < in; k++)
        to[k / TILE_K * TILES * TILE + k % TILE_K / 2 * 2 * TILE_COLUMNS + k % 2] = (uint16_t)upper(row, 1, in, 0, k);
}

typedef uint16_t halves __attribute__((vector_size(2 * LANES)));

/* The nearest bfloat16 of each lane, to `to`; returns what is left of the lanes. */
static inline floats take(floats x, uint16_t *to) {
    const words bits = (words)x, nearest = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    const halves part = __builtin_convertvector(nearest, halves);
    memcpy(to, &part, sizeof part);
    return x - (floats)(nearest << 16);
}

/* `count` rows x [count, in] as tiles [steps, PARTS, TILE_ROWS, TILE_K]; few of them as [steps, PARTS * count, TILE_K]. */
static void split(const float *x, long count, long in, uint16_t *tiles) {
    const long step = count <= FEW_ROWS ? TILE : PARTS * TILE, next = count <= FEW_ROWS ? count * TILE_K : TILE;
    for (long row = 0; row < count; row++)
        for (long k = 0; k < (in + TILE_K - 1) / TILE_K * TILE_K; k += LANES) {
            floats left = all(0.0f);
            if (k + LANES <= in)
                left = load(x + row * in + k);
            else if (k < in)
                memcpy(&left, x + row * in + k, (in - k) * sizeof *x);
            uint16_t *to = tiles + k / TILE_K * step + row * TILE_K + k % TILE_K;
            for (int part = 0; part < PARTS; part++) left = take(left, to + part * next);
        }
}

/* Few rows: sums in tiles 0 and 1, and of `second` more in 2 and 3; rows in 4 and 5; weights in 6 and 7. Many: sums of each part in
   two of tiles 0 to 5, rows in 6, weights in 7. */
static void configure(long count, long second) {
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } shape = {.palette = 1};
    const int few = count <= FEW_ROWS;
    for (int tile = 0; tile < 8; tile++) {
        shape.bytes[tile] = 64;
        const int others = tile == 2 || tile == 3 || tile == 5;
        const long of_few = tile >= 6 ? TILE_K / 2 : PARTS * (others && second ? second : count);
        shape.rows[tile] = (uint8_t)(few ? of_few : tile == 7 ? TILE_K / 2 : count);
    }
    _tile_loadconfig(&shape);
}

static inline void prefetch_tiles(const uint16_t *w) {
    for (long byte = 0; byte < TILES * TILE * 2; byte += 64) __builtin_prefetch((const char *)w + AHEAD_TILES + byte);
}

/* Rows times a panel into sums [TILES, PARTS * count, TILE_COLUMNS]. */
static void panel_few(const uint16_t *x, long count, long num_steps, const uint16_t *w, float *sums) {
    _tile_zero(0);
    _tile_zero(1);
    for (long step = 0; step < num_steps; step++, x += TILE, w += TILES * TILE) {
        prefetch_tiles(w);
        _tile_loadd(4, x, 64);
        _tile_loadd(6, w, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, w + TILE, 64);
        _tile_dpbf16ps(1, 4, 7);
    }
    _tile_stored(0, sums, 64);
    _tile_stored(1, sums + PARTS * count * TILE_COLUMNS, 64);
}

/* The same for `count` rows at x and `second` at y, whose sums go behind the first. */
static void panel_pair(const uint16_t *x, const uint16_t *y, long count, long second, long num_steps, const uint16_t *w, float *sums) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (long step = 0; step < num_steps; step++, x += TILE, y += TILE, w += TILES * TILE) {
        prefetch_tiles(w);
        _tile_loadd(4, x, 64);
        _tile_loadd(6, w, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, w + TILE, 64);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, y, 64);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    float *behind = sums + TILES * PARTS * count * TILE_COLUMNS;
    _tile_stored(0, sums, 64);
    _tile_stored(1, sums + PARTS * count * TILE_COLUMNS, 64);
    _tile_stored(2, behind, 64);
    _tile_stored(3, behind + PARTS * second * TILE_COLUMNS, 64);
}

/* Tile numbers must be written out. */
#define ZERO_SUMS   \
    _tile_zero(0);  \
    _tile_zero(1);  \
    _tile_zero(2);  \
    _tile_zero(3);  \
    _tile_zero(4);  \
    _tile_zero(5);

/* The sums of the three parts, `size` floats each. */
#define STORE_SUMS(first, second, third, to, size)   \
    _tile_stored(first, to, 64);                     \
    _tile_stored(second, (to) + (size), 64);         \
    _tile_stored(third, (to) + 2 * (size), 64);

#define PART(number, left, right)              \
    _tile_loadd(6, x + number * TILE, 64);     \
    _tile_loadd(7, w, 64);                     \
    _tile_dpbf16ps(left, 6, 7);                \
    _tile_loadd(7, w + TILE, 64);              \
    _tile_dpbf16ps(right, 6, 7);

static void panel_many(const uint16_t *x, long count, long num_steps, const uint16_t *w, float *sums) {
    const long size = count * TILE_COLUMNS;
    ZERO_SUMS
    for (long step = 0; step < num_steps; step++, x += PARTS * TILE, w += TILES * TILE) {
        prefetch_tiles(w);
        PART(0, 0, 3)
        PART(1, 1, 4)
        PART(2, 2, 5)
    }
    STORE_SUMS(0, 1, 2, sums, size)
    STORE_SUMS(3, 4, 5, sums + PARTS * size, size)
}

#define PART_OF_TWO(number, first, second)        \
    _tile_loadd(6, x + number * TILE, 64);         \
    _tile_dpbf16ps(first, 6, 7);                   \
    _tile_loadd(6, y + number * TILE, 64);         \
    _tile_dpbf16ps(second, 6, 7);

/* The same for `count` rows at x and as many at y, one column tile after the other, each of whose weights is loaded once. */
static void panel_two(const uint16_t *x, const uint16_t *y, long count, long num_steps, const uint16_t *w, float *sums) {
    const long size = count * TILE_COLUMNS;
    for (long tile = 0; tile < TILES; tile++, x -= num_steps * PARTS * TILE, y -= num_steps * PARTS * TILE) {
        const uint16_t *weights = w + tile * TILE;
        ZERO_SUMS
        for (long step = 0; step < num_steps; step++, x += PARTS * TILE, y += PARTS * TILE, weights += TILES * TILE) {
            if (tile == 0) prefetch_tiles(weights);
            _tile_loadd(7, weights, 64);
            PART_OF_TWO(0, 0, 3)
            PART_OF_TWO(1, 1, 4)
            PART_OF_TWO(2, 2, 5)
        }
        float *first = sums + tile * PARTS * size, *second = first + TILES * PARTS * size;
        STORE_SUMS(0, 1, 2, first, size)
        STORE_SUMS(3, 4, 5, second, size)
    }
}

/* One row of a tile, whose parts are `next` floats apart, goes to `result`, the row of the product, from `column` on. */
static inline void finish(const float *sums, long next, long column, long out, const float *bias, const float *added,
                          float *result) {
    floats sum = (load(sums + 2 * next) + load(sums + next)) + load(sums);
    if (column + TILE_COLUMNS <= out) {
        if (bias) sum = sum + load(bias + column);
        store(result + column, added ? load(added + column) + sum : sum);
    } else
        for (long at = column; at < out; at++)
            result[at] = (added ? added[at] : 0.0f) + (sum[at - column] + (bias ? bias[at] : 0.0f));
}

typedef struct {
    long out;
    const float *bias, *added;
    float *result;
} product;

/* The sums of `count` rows from `first` on, of a panel that begins at `column`. */
static void finish_rows(const product *to, const float *sums, long first, long count, long column) {
    const long next = count * TILE_COLUMNS;
    for (long row = 0; row < count; row++)
        for (long tile = 0; tile < TILES && column + tile * TILE_COLUMNS < to->out; tile++)
            finish(sums + tile * PARTS * next + row * TILE_COLUMNS, next, column + tile * TILE_COLUMNS, to->out, to->bias,
                   to->added ? to->added + (first + row) * to->out : 0, to->result + (first + row) * to->out);
}

/* As everdraft_linear_bfloat16. Returns -1 for want of memory, else 0. */
int everdraft_linear_tiles(const float *x, long num_rows, long in, const uint16_t *panels, long out, const float *bias,
                           const float *added, float *result, int threads) {
    const long columns = TILES * TILE_COLUMNS, num_panels = (out + columns - 1) / columns;
    const long num_steps = (in + TILE_K - 1) / TILE_K, pair = num_rows > FEW_ROWS && num_rows <= 2 * FEW_ROWS;
    const long num_groups = pair ? 2 : (num_rows + TILE_ROWS - 1) / TILE_ROWS;
    const long size = num_steps * (pair ? TILE : PARTS * TILE); /* of a group in scratch */
    const product to = {out, bias, added, result};
    uint16_t *scratch = scratch_of(num_groups * size * sizeof *scratch);
    if (!scratch) return -1;
#define FIRST(group) (num_rows * (group) / num_groups)
#define COUNT(group) (FIRST((group) + 1) - FIRST(group))
    for (long group = 0; group < num_groups; group++) split(x + FIRST(group) * in, COUNT(group), in, scratch + group * size);
    (void)threads;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        float sums[2 * TILES * PARTS * TILE_ROWS * TILE_COLUMNS] __attribute__((aligned(64)));
        long configured = 0;
#pragma omp for schedule(static)
        for (long panel = 0; panel < num_panels; panel++) {
            const uint16_t *w = panels + panel * num_steps * TILES * TILE;
            if (pair) {
                const long count = COUNT(0), second = COUNT(1);
                if (!configured) configure(configured = count, second);
                panel_pair(scratch, scratch + size, count, second, num_steps, w, sums);
                finish_rows(&to, sums, 0, count, panel * columns);
                finish_rows(&to, sums + TILES * PARTS * count * TILE_COLUMNS, count, second, panel * columns);
                continue;
            }
            for (long group = 0; group < num_groups; group++) {
                const long count = COUNT(group);
                if (count != configured) configure(configured = count, 0);
                if (group + 1 < num_groups && COUNT(group + 1) == count) {
                    panel_two(scratch + group * size, scratch + (group + 1) * size, count, num_steps, w, sums);
                    finish_rows(&to, sums, FIRST(group), count, panel * columns);
                    group++;
                    finish_rows(&to, sums + TILES * PARTS * count * TILE_COLUMNS, FIRST(group), count, panel * columns);
                    continue;
                }
                (count <= FEW_ROWS ? panel_few : panel_many)(scratch + group * size, count, num_steps, w, sums);
                finish_rows(&to, sums, FIRST(group), count, panel * columns);
            }
        }
        if (configured) _tile_release();
    }
    return 0;
#undef FIRST
#undef COUNT
}

#else

int everdraft_tiles(void) { return 0; }

#endif
