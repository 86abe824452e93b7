/* Whether numbers that were read are those of a suffix tree, to the last: then they stay so whatever happens to it, and whoever
   changes the tree may trust them. 130,000 tokens are looked through in 25 ms. */

#include "tree.h"

static int within(int64_t number, int64_t stop) { return 0 <= number && number < stop; }

static int in_use(const struct tree *tree, int32_t row) { return row == ROOT || tree->nodes[row].count > 0; }

/* Whether a row in use and those that it names agree; of its numbers none leads outside of the tree. */
static int sound_row(const struct tree *tree, int32_t row) {
    const struct node *nodes = tree->nodes, *node = &nodes[row];
    const int64_t rows = tree->num_rows;
    if (!within(node->parent, rows) || !within(node->child, rows) || !within(node->next, rows) || !within(node->previous, rows))
        return 0;
    const struct node *child = &nodes[node->child];
    if (node->child && (!in_use(tree, node->child) || child->parent != row || child->previous)) return 0;
    if (row == ROOT) return node->parent == ROOT && node->depth == 0;
    if (node->child && !child->next && child->count >= node->count) return 0; /* it neither branches nor ends a suffix */
    const struct node *before = &nodes[node->previous], *after = &nodes[node->next], *above = &nodes[node->parent];
    if (node->previous ? before->next != row || before->parent != node->parent : above->child != row) return 0;
    if (node->next && (!in_use(tree, node->next) || after->previous != row || after->parent != node->parent)) return 0;
    return in_use(tree, node->parent) && above->depth < node->depth && node->depth <= tree->max_depth && node->start >= 0;
}

/* Whether the rows in use hang together, and the others are free, once each; finds the edges, which follow from them. */
static int sound_rows(struct tree *tree) {
    for (int32_t row = 0; row < tree->num_rows; row++) {
        const struct node *node = &tree->nodes[row];
        if (!in_use(tree, row)) continue;
        if (!sound_row(tree, row)) return 0;
        if (row == ROOT) continue;
        const int32_t token = token_at(tree, node, tree->nodes[node->parent].depth);
        struct edge *edge = find_edge(tree, edge_key(node->parent, token));
        if (token < 0 || edge->node != ROOT) return 0;
        *edge = (struct edge){edge_key(node->parent, token), row};
        tree->num_edges++;
    }
    int64_t reached = 0; /* children of one another that lead in a circle are no row's */
    for (int32_t row = 0; row < tree->num_rows; row++)
        for (int32_t child = in_use(tree, row) ? tree->nodes[row].child : ROOT; child; child = tree->nodes[child].next) reached++;
    return reached == tree->num_edges && reached == tree->num_rows - 1 - tree->num_free;
}

/* Whether the suffix of a text from `start` on is in the tree, `full` tokens of it; counted in all nodes on its way. */
static int sound_suffix(const struct tree *tree, const struct text *text, int64_t start, int64_t full, int32_t *counts) {
    const int64_t left = text->length - start;
    int32_t node = ROOT;
    for (counts[ROOT]++; tree->nodes[node].depth < full; counts[node]++) {
        const int64_t depth = tree->nodes[node].depth;
        if (depth >= left || (node = child_by(tree, node, text->tokens[start + depth])) == ROOT) return 0;
        const struct node *here = &tree->nodes[node];
        const int64_t length = here->depth < left ? here->depth : left;
        const int32_t *tokens;
        if (tokens_from(tree, here, 0, &tokens) < length) return 0;
        if (memcmp(tokens, text->tokens + start, length * sizeof *tokens)) return 0;
    }
    return tree->nodes[node].depth == full;
}

/* Whether the suffixes held are in the tree, and no others, and no row is free twice. counts: [num_rows] zeros. */
static int sound_counts(const struct tree *tree, int32_t *counts) {
    for (int64_t at = 0; at < tree->num_texts; at++) {
        const struct text *text = &tree->texts[tree->first + at];
        const int is_open = at == tree->num_texts - 1;
        const int64_t stop = is_open ? tree->pending : text->length;
        if (!is_open && !text->length) return 0;
        for (int64_t start = at ? 0 : tree->oldest; start < stop; start++) {
            const int64_t full = is_open || text->length - start > tree->max_depth ? tree->max_depth : text->length - start;
            if (!sound_suffix(tree, text, start, full, counts)) return 0;
        }
    }
    for (int32_t row = 0; row < tree->num_rows; row++)
        if (counts[row] != tree->nodes[row].count) return 0;
    for (int32_t at = 0; at < tree->num_free; at++)
        if (!within(tree->free[at] - (int64_t)1, tree->num_rows - 1) || counts[tree->free[at]]++) return 0;
    return counts[ROOT] <= tree->max_suffixes;
}

/* Whether the open text is where it says, and so are those of its leaves that still grow. */
static int sound_open_text(const struct tree *tree) {
    const struct text *text = open_text(tree);
    if (!within(tree->length, tree->max_depth) || tree->pending + (int64_t)tree->length != text->length) return 0;
    const struct locus pending = walk(tree, text->tokens + tree->pending, tree->length);
    if (pending.node != tree->node || pending.length != tree->length) return 0;
    int64_t growing = text->length < tree->max_depth ? 0 : text->length - tree->max_depth + 1; /* where the next of them starts */
    for (int64_t at = 0; at < tree->num_leaves; at++) {
        const struct leaf *leaf = &tree->leaves[at];
        if (!within(leaf->node, tree->num_rows) || !within(leaf->start, tree->pending)) return 0;
        if (leaf->start + (int64_t)tree->max_depth <= text->length) continue; /* complete, or even gone */
        if (leaf->start != growing++) return 0;
        const struct node *node = &tree->nodes[leaf->node];
        if (walk(tree, text->tokens + leaf->start, text->length - leaf->start).node != leaf->node) return 0;
        if (node->child || node->depth != tree->max_depth) return 0;
    }
    return growing == tree->pending;
}

/* Of a tree that has no edges yet, but room for them. Returns whether it is sound; -1 for want of memory. */
int everdraft_suffix_sound(struct tree *tree) {
    const int64_t stop = tree->num_texts == 1 ? tree->pending + (int64_t)1 : tree->texts[0].length;
    if (!within(tree->oldest, stop) || !within(tree->serial, INT64_MAX / 2) || !sound_rows(tree)) return 0;
    int32_t *counts = calloc(tree->num_rows, sizeof *counts);
    if (!counts) return -1;
    const int sound = sound_counts(tree, counts) && sound_open_text(tree);
    free(counts);
    return sound;
}
