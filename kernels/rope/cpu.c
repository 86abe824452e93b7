/* Rotary position embedding, half-split layout. */

#include "native.h"

/* heads and result [rows, num_heads, dim], rows of `heads` `stride` floats apart; cos, sin [rows, dim], the sine's first half
   negated. */
void everdraft_rope(const float *heads, long stride, long num_rows, long num_heads, long dim, const float *cos, const float *sin,
                    float *result) {
    const long half = dim / 2;
    for (long row = 0; row < num_rows; row++) {
        const float *c = cos + row * dim, *s = sin + row * dim;
        for (long head = 0; head < num_heads; head++) {
            const float *x = heads + row * stride + head * dim;
            float *to = result + (row * num_heads + head) * dim;
            for (long at = 0; at < half; at++) {
                to[at] = x[at] * c[at] + x[at + half] * s[at];
                to[at + half] = x[at + half] * c[at + half] + x[at] * s[at + half];
            }
        }
    }
}
