/* SiLU of one half of a row times the other half. */

#include "native.h"

/* gate_up [rows, 2 size], result [rows, size]. */
void everdraft_swiglu(const float *gate_up, long num_rows, long size, float *result) {
    for (long row = 0; row < num_rows; row++, gate_up += 2 * size, result += size) {
        long at = 0;
        for (; at + LANES <= size; at += LANES) {
            const floats gate = load(gate_up + at);
            store(result + at, gate / (exponential(-gate) + 1.0f) * load(gate_up + size + at));
        }
        if (at < size) { /* the rest in a vector of its own, so that all numbers go one way */
            floats gate = all(0.0f);
            memcpy(&gate, gate_up + at, (size - at) * sizeof *gate_up);
            const floats turned = gate / (exponential(-gate) + 1.0f);
            for (long lane = 0; at + lane < size; lane++) result[at + lane] = turned[lane] * gate_up[size + at + lane];
        }
    }
}
