/* All layers of a decoder in one call: the other kernels, one after the other, with nothing in between.

   Every number comes from the kernel that it comes from when the layers are run one by one, so all of them are the same. */

#include "linear/weight.h"
#include "native.h"

/* Of the other kernels' files. */
int everdraft_attention(const float *query, long stride, long heads, long kv_heads, long dim, const float *keys,
                        const float *values, long num_slots, const int64_t *spans, long num_spans, long most_keys, float scale,
                        float *result, int threads);
int everdraft_write(const float *key, long key_stride, const float *value, long value_stride, long num_rows, long kv_heads,
                    long dim, const int64_t *slots, long num_slots, float *keys, float *values);
void everdraft_rms_norm(const float *x, long stride, long num_rows, long size, const float *weight, float eps, float *result);
void everdraft_rope(const float *heads, long stride, long num_rows, long num_heads, long dim, const float *cos, const float *sin,
                    float *result);
void everdraft_swiglu(const float *gate_up, long num_rows, long size, float *result);

/* As `_row` in cpu.py lays it down: numbers and addresses, eight bytes each. */
typedef struct {
    const float *input_norm;
    weight qkv;
    const float *query_norm, *key_norm;
    weight out;
    const float *mlp_norm;
    weight gate_up, down;
} layer;

/* x [rows, hidden]: the embeddings, and in the end what the last layer makes of them.

   cos, sin [positions, dim] and positions [rows]; slots [rows]: where keys and values [layers, kv_heads, num_slots, dim] go;
   spans: as everdraft_attention reads them; captured [layers + 1]: where x is to be copied before each layer and after the last,
   or none. Returns -1 for want of memory; where nothing was written, -2 for a position that is none, -3 for a slot; else 0. */
int everdraft_layers(const layer *layers, long num_layers, long heads, long kv_heads, long dim, float eps, float *x, long rows,
                     const float *cos, const float *sin, long num_positions, const int64_t *positions, const int64_t *slots,
                     float *keys, float *values, long num_slots, const int64_t *spans, long num_spans, long most_keys,
                     float scale, float *const *captured, int threads) {
    if (!rows) return 0;
    if (!all_within(positions, rows, num_positions)) return -2;
    if (!all_within(slots, rows, num_slots)) return -3;
    const long hidden = layers[0].qkv.in, joined = (heads + 2 * kv_heads) * dim, turned = (heads + kv_heads) * dim;
    const long inner = layers[0].down.in, bytes = rows * hidden * sizeof *x;
    float *scratch = scratch_of(rows * (hidden + joined + turned + heads * dim + 3 * inner + 2 * dim) * sizeof *x);
    if (!scratch) return -1;
    float *normed = scratch, *qkv = normed + rows * hidden, *rotated = qkv + rows * joined, *mixed = rotated + rows * turned;
    float *gate_up = mixed + rows * heads * dim, *gated = gate_up + rows * 2 * inner;
    float *c = gated + rows * inner, *s = c + rows * dim;
    for (long row = 0; row < rows; row++) {
        memcpy(c + row * dim, cos + positions[row] * dim, dim * sizeof *c);
        memcpy(s + row * dim, sin + positions[row] * dim, dim * sizeof *s);
    }
    const long pages = kv_heads * num_slots * dim;
    for (const layer *each = layers; each < layers + num_layers; each++, keys += pages, values += pages, captured++) {
        if (*captured) memcpy(*captured, x, bytes);
        everdraft_rms_norm(x, hidden, rows, hidden, each->input_norm, eps, normed);
        if (multiply(&each->qkv, normed, rows, NULL, qkv, threads)) return -1;
        for (long row = 0; each->query_norm && each->key_norm && row < rows; row++) {
            float *query = qkv + row * joined, *key = query + heads * dim;
            everdraft_rms_norm(query, dim, heads, dim, each->query_norm, eps, query);
            everdraft_rms_norm(key, dim, kv_heads, dim, each->key_norm, eps, key);
        }
        everdraft_rope(qkv, joined, rows, heads + kv_heads, dim, c, s, rotated);
        everdraft_write(rotated + heads * dim, turned, qkv + turned, joined, rows, kv_heads, dim, slots, num_slots, keys, values);
        if (everdraft_attention(rotated, turned, heads, kv_heads, dim, keys, values, num_slots, spans, num_spans, most_keys,
                                scale, mixed, threads))
            return -1;
        if (multiply(&each->out, mixed, rows, x, x, threads)) return -1;
        everdraft_rms_norm(x, hidden, rows, hidden, each->mlp_norm, eps, normed);
        if (multiply(&each->gate_up, normed, rows, NULL, gate_up, threads)) return -1;
        everdraft_swiglu(gate_up, rows, inner, gated);
        if (multiply(&each->down, gated, rows, x, x, threads)) return -1;
    }
    if (*captured) memcpy(*captured, x, bytes);
    return 0;
}
