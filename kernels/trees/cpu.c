/* What several sources drafted for the sequences of a batch, made into the trees that are verified: calibrated, merged and pruned, as
   speculator/combine.py does it, in the same order and with the same roundings, so that the same trees come out.

   Legend: R sequences (rows), T trees of sources, N nodes of all of these. */

/* Every operation on doubles is rounded by itself, as in Python. */
#if defined(__clang__)
#pragma clang fp contract(off)
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

#include <math.h>

#include "native.h"

/* What one source drafted for one sequence. */
struct draft {
    int64_t row, size, factors, bit; /* nodes, the root included; where its cells of the calibration begin; of `sources` */
};

/* What decides how much is kept. */
struct limits {
    int64_t num_nodes, max_tree, depths, levels; /* of the calibration: depths, and levels of confidence */
    double most_chance, draft_seconds;
    const double *step_seconds; /* of a step with 0, 1, … nodes; may be missing */
    int64_t num_step_seconds;
};

/* A node of the merged trees of all sequences, roots included. */
struct node {
    int32_t token, parent, depth, sources, row; /* parent: among these */
    int32_t first, last, next; /* children in the order in which they came, and later in which they are kept; 0: none */
    double confidence, survival;
};

static double chance(const struct limits *limits, const double *factors, double raw, int32_t depth) {
    if (!(raw >= 0.0 && raw < INFINITY)) return 0.0; /* no number */
    int64_t level = raw < 1.0 ? (int64_t)(raw * (double)limits->levels) : limits->levels, place = depth - 1;
    if (level > limits->levels - 1) level = limits->levels - 1;
    if (place > limits->depths - 1) place = limits->depths - 1;
    const double worth = raw * factors[place * limits->levels + level];
    return worth < limits->most_chance ? worth : limits->most_chance;
}

static void append(struct node *nodes, int32_t parent, int32_t child) {
    nodes[child].next = 0;
    if (nodes[parent].last) nodes[nodes[parent].last].next = child;
    else nodes[parent].first = child;
    nodes[parent].last = child;
}

/* Puts the trees of `drafts` together under the roots of `nodes`, which are there; returns how many nodes there are now. */
static int32_t merge(const struct draft *drafts, long num_drafts, const int32_t *tokens, const int32_t *parents,
                     const double *confidences, const double *factors, const struct limits *limits, struct node *nodes,
                     int32_t num_nodes, int32_t *places) {
    for (long each = 0; each < num_drafts; each++) {
        const struct draft *draft = &drafts[each];
        places[0] = (int32_t)draft->row;
        for (int64_t at = 1; at < draft->size; at++) {
            const int32_t parent = places[parents[at]];
            const double worth = chance(limits, factors + draft->factors, confidences[at], nodes[parent].depth + 1);
            int32_t node = nodes[parent].first;
            while (node && nodes[node].token != tokens[at]) node = nodes[node].next;
            if (node) {
                nodes[node].sources |= (int32_t)draft->bit;
                if (worth > nodes[node].confidence) nodes[node].confidence = worth;
            } else {
                node = num_nodes++;
                nodes[node] = (struct node){.token = tokens[at], .parent = parent, .depth = nodes[parent].depth + 1,
                                            .sources = (int32_t)draft->bit, .row = (int32_t)draft->row, .confidence = worth};
                append(nodes, parent, node);
            }
            places[at] = node;
        }
        tokens += draft->size, parents += draft->size, confidences += draft->size;
    }
    return num_nodes;
}

static _Thread_local const struct node *ranking; /* for `likelier` */

/* Of equals: the earlier row, then the earlier node, whose parents come before it. */
static int likelier(const void *left, const void *right) {
    const int32_t a = *(const int32_t *)left, b = *(const int32_t *)right;
    if (ranking[a].survival != ranking[b].survival) return ranking[a].survival > ranking[b].survival ? -1 : 1;
    if (ranking[a].row != ranking[b].row) return ranking[a].row < ranking[b].row ? -1 : 1;
    return a < b ? -1 : a > b;
}

/* Of the nodes `ranked`, likeliest first, how many are to be kept beside `certain` tokens. */
static long paying(const struct node *nodes, const int32_t *ranked, long num, double certain, const struct limits *limits) {
    double expected = certain, best_rate = 0.0;
    long best = 0;
    for (long size = 0; size <= num && size < limits->num_step_seconds; size++) {
        if (size) expected += nodes[ranked[size - 1]].survival;
        const double seconds = limits->draft_seconds + limits->step_seconds[size];
        if (expected > best_rate * seconds) best = size, best_rate = expected / seconds;
    }
    return best;
}

/* Of the nodes `ranked`, likeliest first, those that are kept come to the front; returns how many, at most `max_tree` of a tree.
   sizes: [R] zeros, nodes kept of each. */
static long keep(const struct node *nodes, int32_t *ranked, long num_ranked, const struct limits *limits, int64_t *sizes) {
    long num = 0;
    for (long rank = 0; rank < num_ranked && num < limits->num_nodes; rank++) {
        int64_t *size = &sizes[nodes[ranked[rank]].row];
        if (*size < limits->max_tree) (*size)++, ranked[num++] = ranked[rank];
    }
    return num;
}

/* Writes what is linked to `root` as a tree, depth first; returns how many nodes. names, places: room for them. */
static int32_t lay_out(const struct node *nodes, int32_t root, int32_t *names, int32_t *places, int32_t *numbers,
                       double *confidences) {
    int32_t size = 0, node = root;
    for (;;) { /* down to the first child, else on to the next of the nearest that has one */
        places[node] = size, names[size++] = node;
        if (nodes[node].first) {
            node = nodes[node].first;
            continue;
        }
        while (node != root && !nodes[node].next) node = nodes[node].parent;
        if (node == root) break;
        node = nodes[node].next;
    }
    for (int32_t at = 0; at < size; at++) {
        const struct node *each = &nodes[names[at]];
        numbers[at] = each->token, numbers[size + at] = at ? places[each->parent] : -1;
        numbers[2 * size + at] = each->depth, numbers[3 * size + at] = each->sources;
        confidences[at] = each->confidence;
    }
    return size;
}

/* roots [R]; drafts [T], by row; tokens, parents, confidences [N], draft after draft; factors: the cells of the calibration.

   sizes [R]; numbers [4 (R + N)]: of each tree the tokens, the parents, the depths and the sources, from its root on, depth first,
   the likeliest child first; results [R + N]: confidences. Returns the number of nodes of all, or -1 for want of memory. */
long everdraft_combine(const int32_t *roots, long num_rows, const struct draft *drafts, long num_drafts, const int32_t *tokens,
                       const int32_t *parents, const double *confidences, const double *factors, const struct limits *limits,
                       int32_t *sizes, int32_t *numbers, double *results) {
    long room = num_rows;
    for (long each = 0; each < num_drafts; each++) room += drafts[each].size;
    struct node *nodes = scratch_of(room * (sizeof *nodes + 3 * sizeof(int32_t)) + num_rows * sizeof(int64_t));
    if (!nodes) return -1;
    int64_t *kept = (int64_t *)(nodes + room); /* of each row */
    int32_t *places = (int32_t *)(kept + num_rows), *ranked = places + room, *names = ranked + room;
    for (int32_t row = 0; row < num_rows; row++) {
        nodes[row] = (struct node){.token = roots[row], .parent = -1, .row = row, .confidence = 1.0, .survival = 1.0};
        kept[row] = 0;
    }
    const int32_t num_nodes =
        merge(drafts, num_drafts, tokens, parents, confidences, factors, limits, nodes, (int32_t)num_rows, places);
    long num_ranked = 0;
    for (int32_t node = (int32_t)num_rows; node < num_nodes; node++) {
        nodes[node].survival = nodes[nodes[node].parent].survival * nodes[node].confidence;
        ranked[num_ranked++] = node;
    }
    ranking = nodes;
    qsort(ranked, num_ranked, sizeof *ranked, likelier);
    long num = keep(nodes, ranked, num_ranked, limits, kept);
    if (limits->num_step_seconds) num = paying(nodes, ranked, num, (double)num_rows, limits);
    /* only what is kept stays linked, likeliest first */
    for (int32_t node = 0; node < num_nodes; node++) nodes[node].first = nodes[node].last = 0;
    for (long rank = 0; rank < num; rank++) append(nodes, nodes[ranked[rank]].parent, ranked[rank]);
    long total = 0;
    for (int32_t row = 0; row < num_rows; row++)
        total += sizes[row] = lay_out(nodes, row, names, places, numbers + 4 * total, results + total);
    return total;
}
