/* Root mean square norm of rows. */

#include <math.h>

#include "native.h"

/* x and result [rows, size], rows of x `stride` floats apart. */
void everdraft_rms_norm(const float *x, long stride, long num_rows, long size, const float *weight, float eps, float *result) {
    for (long row = 0; row < num_rows; row++, x += stride, result += size) {
        floats total = all(0.0f);
        long at = 0;
        for (; at + LANES <= size; at += LANES) total += load(x + at) * load(x + at);
        float squares = sum(total);
        for (; at < size; at++) squares = fused(x[at], x[at], squares);
        const float scale = 1.0f / sqrtf(squares / size + eps);
        for (at = 0; at < size; at++) result[at] = x[at] * scale * weight[at];
    }
}
