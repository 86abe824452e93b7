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
#define AHEAD 2048 /* bytes; further than the next page, which the hardware does not look into by itself */

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
