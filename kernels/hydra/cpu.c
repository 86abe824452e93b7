/* Trees grown from Hydra heads, all levels of all trees in one call, as speculator/hydra.py and speculator/growth.py grow them.

   Legend: R trees, H hidden size, N tokens of the draft vocabulary, S siblings, W nodes read at each level of one tree. */

#include <math.h>

#include "linear/weight.h"
#include "native.h"

int everdraft_candidates(const float *logits, long rows, long vocab, const float *scale, const uint32_t *keys,
                         const int32_t *ids, long count, int64_t *tokens, float *chances);

/* As `cpu.py` lays it down, eight bytes each. */
struct heads {
    weight read, write, unembedding; /* [2 H -> H], [H -> H], [H -> N] */
    const float *embeddings;         /* [vocab, H] of the target */
    int64_t vocab;
    const int32_t *ids; /* [N]: the tokens of the draft vocabulary */
    int64_t levels, width, siblings;
};

struct root {
    int64_t token, most, max_depth, sampled; /* most: drafted nodes */
    uint64_t stream, position;               /* of the noise: see kernels/gumbel/key.py */
};

/* Of a root, what is no integer. */
struct limits {
    double scale, fewest_hopes; /* scale: 1 / temperature */
};

struct node {
    int32_t token, parent, depth, row; /* row: among the nodes of its tree that were read with it; -1: the root's parent's */
    double chance, reach;              /* reach: that all of the way to it is accepted */
};

struct growth {
    struct node *nodes;
    double *best; /* the highest reaches, least first, as many as nodes are kept */
    int32_t *newest;
    int64_t num_nodes, num_best, num_newest, first; /* first: where those that were read last begin among the states */
};

/* x / the root of its mean square, as torch's rms_norm. */
static void normed(const float *x, long size, float *result) {
    floats squares = all(0.0f);
    long at = 0;
    float rest = 0.0f;
    for (; at + LANES <= size; at += LANES) squares += load(x + at) * load(x + at);
    for (; at < size; at++) rest += x[at] * x[at];
    const float factor = 1.0f / sqrtf((sum(squares) + rest) / (float)size + 1.1920929e-7f);
    for (at = 0; at < size; at++) result[at] = x[at] * factor;
}

static void silu(float *x, long count) { /* room for a vector behind them */
    for (long at = 0; at < count; at += LANES) {
        const floats here = load(x + at);
        store(x + at, here / (1.0f + exponential(-here)));
    }
}

/* Whether a node of that reach may yet be among the likeliest; takes note of it. */
static int keeps(struct growth *growth, int64_t most, double reach) {
    int64_t at;
    if (growth->num_best < most) {
        for (at = growth->num_best++; at > 0 && growth->best[at - 1] > reach; at--) growth->best[at] = growth->best[at - 1];
        growth->best[at] = reach;
        return 1;
    }
    if (!(reach > growth->best[0])) return 0;
    for (at = 0; at + 1 < most && growth->best[at + 1] < reach; at++) growth->best[at] = growth->best[at + 1];
    growth->best[at] = reach;
    return 1;
}

/* The likeliest `width` of the nodes from `first` on are read next, if they are likely enough. */
static void go_on(struct growth *growth, int64_t first, int64_t width, int64_t most, double least_reach) {
    if (growth->num_best == most && growth->best[0] > least_reach) least_reach = growth->best[0];
    growth->num_newest = 0;
    for (int64_t node = first; node < growth->num_nodes; node++) {
        const double reach = growth->nodes[node].reach;
        int64_t at = growth->num_newest < width ? growth->num_newest++ : width;
        if (at == width && !(reach > growth->nodes[growth->newest[--at]].reach)) continue;
        for (; at > 0 && growth->nodes[growth->newest[at - 1]].reach < reach; at--) growth->newest[at] = growth->newest[at - 1];
        growth->newest[at] = (int32_t)node;
    }
    while (growth->num_newest && !(growth->nodes[growth->newest[growth->num_newest - 1]].reach >= least_reach))
        growth->num_newest--;
}

/* Gives every node that was read its children. tokens, chances [read, S]. */
static void sprout(struct growth *growth, const struct heads *heads, int64_t most, double least_reach, const int64_t *tokens,
                   const float *chances) {
    const int64_t first = growth->num_nodes;
    for (int64_t read = 0; read < growth->num_newest; read++, tokens += heads->siblings, chances += heads->siblings) {
        const int32_t parent = growth->newest[read];
        for (int64_t each = 0; each < heads->siblings; each++) {
            const double chance = chances[each], reach = growth->nodes[parent].reach * chance;
            if (!keeps(growth, most, reach)) break;
            growth->nodes[growth->num_nodes++] =
                (struct node){(int32_t)tokens[each], parent, growth->nodes[parent].depth + 1, 0, chance, reach};
        }
    }
    go_on(growth, first, heads->width, most, least_reach);
}

/* Whether the newest nodes are worth a pass. */
static int goes_on(const struct growth *growth, const struct root *root, const struct limits *limits, int64_t level) {
    double hopes = 0.0;
    for (int64_t each = 0; each < growth->num_newest; each++) hopes += growth->nodes[growth->newest[each]].reach;
    return root->most && growth->num_newest && level < root->max_depth && !(hopes < limits->fewest_hopes);
}

/* Lays down the likeliest `most` nodes: tokens, then parents, then depths; returns how many, the root included. */
static int64_t lay_down(const struct growth *growth, int64_t most, int32_t *numbers, double *confidences, int32_t *places,
                        int32_t *order) {
    int64_t kept = 0;
    for (int64_t node = 1; node < growth->num_nodes && most; node++) {
        const double reach = growth->nodes[node].reach;
        int64_t at = kept < most ? kept++ : most;
        if (at == most && !(reach > growth->nodes[order[--at]].reach)) continue;
        for (; at > 0 && growth->nodes[order[at - 1]].reach < reach; at--) order[at] = order[at - 1];
        order[at] = (int32_t)node;
    }
    for (int64_t node = 0; node < growth->num_nodes; node++) places[node] = -1;
    for (int64_t each = 0; each < kept; each++) places[order[each]] = 0;
    const int64_t size = kept + 1;
    int64_t at = 0;
    places[0] = 0;
    for (int64_t node = 0; node < growth->num_nodes; node++) {
        const struct node *here = &growth->nodes[node];
        if (places[node] < 0) continue;
        places[node] = (int32_t)at;
        numbers[at] = here->token, numbers[size + at] = node ? places[here->parent] : -1, numbers[2 * size + at] = here->depth;
        confidences[at++] = here->chance;
    }
    return size;
}

/* Trees for `num` roots from the target's states [R, H] that chose them: sizes [R], nodes of each, the root included; in `numbers`
   of each its tokens, then the parents, then the depths; confidences. passes: how many levels were read. threads: for the products.
   Returns the number of nodes of all; -1 for want of memory, -2 where a root is no token. */
int everdraft_hydra(const struct heads *heads, const struct root *roots, const struct limits *limits, long num,
                    double least_reach, const float *states, int32_t *sizes, int32_t *numbers, double *confidences,
                    int64_t *passes, int threads) {
    const int64_t hidden = heads->write.in, width = heads->width, siblings = heads->siblings;
    const int64_t room = 1 + siblings + (heads->levels - 1) * width * siblings; /* nodes of a tree while it grows */
    const int64_t rows_at_most = num * width, named = heads->unembedding.out;
    int64_t most = 0, total = 0;
    *passes = 0;
    for (long each = 0; each < num; each++) {
        if ((uint64_t)roots[each].token >= (uint64_t)heads->vocab) return -2;
        most = roots[each].most > most ? roots[each].most : most;
    }
    /* the largest numbers first, so that all of them are aligned */
    char *scratch = scratch_of(num * (sizeof(struct growth) + room * sizeof(struct node) + most * sizeof(double)) +
                               rows_at_most * siblings * (sizeof(int64_t) + sizeof(float)) +
                               (rows_at_most * (5 * hidden + named + 4) + LANES) * sizeof(float) +
                               (num * width + room + most + 2 * rows_at_most) * sizeof(int32_t));
    if (!scratch) return -1;
    struct growth *growths = (struct growth *)scratch;
    struct node *nodes = (struct node *)(growths + num);
    double *best = (double *)(nodes + num * room);
    int64_t *tokens = (int64_t *)(best + num * most);
    float *chances = (float *)(tokens + rows_at_most * siblings), *read = chances + rows_at_most * siblings;
    float *parents = read + 2 * rows_at_most * hidden, *inner = parents + rows_at_most * hidden;
    float *next = inner + rows_at_most * hidden + LANES, *scores = next + rows_at_most * hidden;
    float *scale = scores + rows_at_most * named;
    uint32_t *keys = (uint32_t *)(scale + rows_at_most);
    int32_t *newest = (int32_t *)(keys + 3 * rows_at_most), *places = newest + num * width, *order = places + room;

    for (long each = 0; each < num; each++) {
        struct growth *growth = &growths[each];
        *growth = (struct growth){nodes + each * room, best + each * most, newest + each * width, 1, 0, 1, each};
        growth->nodes[0] = (struct node){(int32_t)roots[each].token, -1, 0, 0, 1.0, 1.0};
        growth->newest[0] = 0;
    }
    const float *before = states;
    for (int64_t level = 0; level < heads->levels; level++) {
        int64_t rows = 0;
        for (long each = 0; each < num; each++) {
            struct growth *growth = &growths[each];
            const struct root *root = &roots[each];
            if (!goes_on(growth, root, &limits[each], level)) {
                growth->num_newest = 0;
                continue;
            }
            const int64_t start = rows;
            for (int64_t at = 0; at < growth->num_newest; at++, rows++) {
                const struct node *node = &growth->nodes[growth->newest[at]];
                const int64_t row = growth->first + (node->parent < 0 ? 0 : growth->nodes[node->parent].row);
                memcpy(parents + rows * hidden, before + row * hidden, hidden * sizeof *parents);
                normed(before + row * hidden, hidden, read + 2 * rows * hidden);
                normed(heads->embeddings + node->token * hidden, hidden, read + (2 * rows + 1) * hidden);
                scale[rows] = (float)limits[each].scale;
                keys[3 * rows] = (uint32_t)root->sampled, keys[3 * rows + 1] = (uint32_t)root->stream;
                keys[3 * rows + 2] = (uint32_t)(splitmix(root->stream ^ (root->position + (uint64_t)level)) >> 32);
            }
            for (int64_t at = 0; at < growth->num_newest; at++) growth->nodes[growth->newest[at]].row = (int32_t)at;
            growth->first = start;
        }
        if (!rows) break;
        ++*passes;
        if (multiply(&heads->read, read, rows, NULL, inner, threads)) return -1;
        silu(inner, rows * hidden);
        if (multiply(&heads->write, inner, rows, parents, next, threads)) return -1;
        if (multiply(&heads->unembedding, next, rows, NULL, scores, threads)) return -1;
        if (everdraft_candidates(scores, rows, named, scale, keys, heads->ids, siblings, tokens, chances)) return -1;
        for (long each = 0; each < num; each++) {
            struct growth *growth = &growths[each];
            if (growth->num_newest)
                sprout(growth, heads, roots[each].most, least_reach, tokens + growth->first * siblings,
                       chances + growth->first * siblings);
        }
        before = next;
    }
    for (long each = 0; each < num; each++) {
        sizes[each] = (int32_t)lay_down(&growths[each], roots[each].most, numbers + 3 * total, confidences + total, places, order);
        total += sizes[each];
    }
    return (int)total;
}
