/* A packed weight as the C kernels hand it to each other, and its product with rows, whichever kernel makes that. */

#ifndef EVERDRAFT_WEIGHT_H
#define EVERDRAFT_WEIGHT_H

#include "native.h"

/* Of the files beside this one and of kernels/linear_int8. */
void everdraft_linear_float(const float *x, long num_rows, long in, const float *panels, long out, const float *bias,
                            const float *added, float *result, int threads);
void everdraft_linear_bfloat16(const float *x, long num_rows, long in, const uint32_t *panels, long out, const float *bias,
                               const float *added, float *result, int threads);
#if TILES_OF_BFLOAT16
int everdraft_linear_tiles(const float *x, long num_rows, long in, const uint16_t *panels, long out, const float *bias,
                           const float *added, float *result, int threads);
#endif
int everdraft_linear_int8(const float *x, long num_rows, long in, const int8_t *panels, const float *scales,
                          const int32_t *offsets, long out, const float *bias, const float *added, float *result, int by_tiles,
                          int threads);

/* As `address.py` lays it down: numbers and addresses, eight bytes each. */
typedef struct {
    int64_t layout; /* 0 float, 1 bfloat16, 2 tiles, 3 bytes by vectors, 4 bytes by tiles */
    const void *panels;
    int64_t in, out;
    const float *bias, *scales;
    const int32_t *offsets;
} weight;

/* result = added + (x W + bias). Returns -1 for want of memory, else 0. */
static inline int multiply(const weight *w, const float *x, long rows, const float *added, float *result, int threads) {
    switch (w->layout) {
    case 0: everdraft_linear_float(x, rows, w->in, w->panels, w->out, w->bias, added, result, threads); return 0;
    case 1: everdraft_linear_bfloat16(x, rows, w->in, w->panels, w->out, w->bias, added, result, threads); return 0;
#if TILES_OF_BFLOAT16
    case 2: return everdraft_linear_tiles(x, rows, w->in, w->panels, w->out, w->bias, added, result, threads);
#endif
    default:
        return everdraft_linear_int8(x, rows, w->in, w->panels, w->scales, w->offsets, w->out, w->bias, added, result,
                                     w->layout == 4, threads);
    }
}

#endif
