/* A suffix tree copied, and taken apart and put together again for `speculator/suffix_state.py`, whose format it keeps. */

#include "tree.h"

#define COLUMNS 8

/* All of a tree. Filled by `everdraft_suffix_measure`, but for the arrays, then these by `everdraft_suffix_freeze`. */
struct frozen {
    int64_t max_depth, max_suffixes, num_texts, num_tokens, serial, oldest, num_rows, num_free, num_edges, num_leaves;
    int64_t node, length, pending;
    int64_t *lengths, *used; /* [num_texts] */
    int32_t *tokens; /* [num_tokens] of all texts */
    int32_t *columns; /* [COLUMNS, num_rows] */
    int32_t *free; /* [num_free] */
    int32_t *leaves; /* [num_leaves, 2] */
    int64_t *edge_keys; /* [num_edges] */
    int32_t *edge_nodes; /* [num_edges] */
};

struct tree *everdraft_suffix_new(int32_t max_depth, int64_t max_suffixes);
void everdraft_suffix_free(struct tree *tree);
int everdraft_suffix_sound(struct tree *tree);

static int64_t leaves_kept(const struct tree *tree) {
    return tree->num_leaves < tree->max_depth ? tree->num_leaves : tree->max_depth;
}

void everdraft_suffix_measure(const struct tree *tree, struct frozen *frozen) {
    *frozen = (struct frozen){
        .max_depth = tree->max_depth, .max_suffixes = tree->max_suffixes, .num_texts = tree->num_texts,
        .serial = tree->serial, .oldest = tree->oldest, .num_rows = tree->num_rows, .num_free = tree->num_free,
        .num_edges = tree->num_edges, .num_leaves = leaves_kept(tree), .node = tree->node, .length = tree->length,
        .pending = tree->pending,
    };
    for (int64_t at = 0; at < tree->num_texts; at++) frozen->num_tokens += tree->texts[tree->first + at].length;
}

void everdraft_suffix_freeze(const struct tree *tree, const struct frozen *frozen) {
    int32_t *tokens = frozen->tokens;
    for (int64_t at = 0; at < tree->num_texts; at++) {
        const struct text *text = &tree->texts[tree->first + at];
        frozen->lengths[at] = text->length, frozen->used[at] = text->used;
        if (text->length) memcpy(tokens, text->tokens, text->length * sizeof *tokens);
        tokens += text->length;
    }
    for (int32_t row = 0; row < tree->num_rows; row++) {
        int32_t fields[COLUMNS];
        memcpy(fields, &tree->nodes[row], sizeof fields);
        for (int64_t column = 0; column < COLUMNS; column++) frozen->columns[column * tree->num_rows + row] = fields[column];
    }
    if (tree->num_free) memcpy(frozen->free, tree->free, tree->num_free * sizeof *tree->free);
    const int64_t kept = leaves_kept(tree);
    for (int64_t at = 0; at < kept; at++) {
        const struct leaf *leaf = &tree->leaves[(tree->num_leaves - kept + at) % tree->max_depth];
        frozen->leaves[2 * at] = leaf->start, frozen->leaves[2 * at + 1] = leaf->node;
    }
    int64_t found = 0;
    for (int64_t slot = 0; slot < (int64_t)1 << tree->bits; slot++)
        if (tree->edges[slot].node != ROOT) {
            frozen->edge_keys[found] = (int64_t)tree->edges[slot].key;
            frozen->edge_nodes[found++] = tree->edges[slot].node;
        }
}

/* A copy of `count` entries, with room for one; none for want of memory. */
static void *copied(const void *entries, int64_t count, size_t size) {
    void *copy = malloc((count ? count : 1) * size);
    if (copy && count) memcpy(copy, entries, count * size);
    return copy;
}

/* A tree that does not change with this one, but for what waits to be handed out; none for want of memory. */
struct tree *everdraft_suffix_copy(const struct tree *tree) {
    struct tree *copy = malloc(sizeof *copy);
    if (!copy) return NULL;
    *copy = *tree;
    copy->leaving = NULL;
    copy->first = copy->num_texts = copy->num_leaving = 0;
    copy->texts_capacity = tree->num_texts;
    copy->texts = copied(NULL, 0, tree->num_texts * sizeof *tree->texts);
    copy->nodes = copied(tree->nodes, tree->num_rows, sizeof *tree->nodes);
    copy->rows_capacity = tree->num_rows;
    copy->free = malloc(tree->num_rows * sizeof *tree->free);
    copy->edges = copied(tree->edges, (int64_t)1 << tree->bits, sizeof *tree->edges);
    copy->leaves = copied(tree->leaves, tree->max_depth, sizeof *tree->leaves);
    int whole = copy->texts && copy->nodes && copy->free && copy->edges && copy->leaves;
    if (whole) memcpy(copy->free, tree->free, tree->num_free * sizeof *tree->free);
    for (; whole && copy->num_texts < tree->num_texts; copy->num_texts += whole) {
        const struct text *text = &tree->texts[tree->first + copy->num_texts];
        int32_t *tokens = copied(text->tokens, text->length, sizeof *tokens);
        copy->texts[copy->num_texts] = (struct text){tokens, text->length, text->length, text->used};
        whole = tokens != NULL;
    }
    if (whole) return copy;
    everdraft_suffix_free(copy);
    return NULL;
}

static int within(int64_t number, int64_t stop) { return 0 <= number && number < stop; }

/* Takes over the numbers of a tree that has none yet. Returns -1 for want of memory, else 0. */
static int fill(struct tree *tree, const struct frozen *from) {
    free(tree->texts), free(tree->nodes), free(tree->free), free(tree->edges);
    tree->num_texts = 0;
    tree->serial = from->serial, tree->oldest = from->oldest;
    tree->num_rows = tree->rows_capacity = (int32_t)from->num_rows, tree->num_free = (int32_t)from->num_free;
    tree->num_leaves = from->num_leaves;
    tree->node = (int32_t)from->node, tree->length = (int32_t)from->length, tree->pending = (int32_t)from->pending;
    while (((int64_t)1 << tree->bits) / 4 * 3 < from->num_rows) tree->bits++;
    tree->texts_capacity = from->num_texts;
    tree->texts = malloc(from->num_texts * sizeof *tree->texts);
    tree->nodes = malloc(from->num_rows * sizeof *tree->nodes);
    tree->free = malloc(from->num_rows * sizeof *tree->free);
    tree->edges = calloc((size_t)1 << tree->bits, sizeof *tree->edges);
    if (!tree->texts || !tree->nodes || !tree->free || !tree->edges) return -1;
    if (from->num_free) memcpy(tree->free, from->free, from->num_free * sizeof *tree->free);
    for (int64_t at = 0; at < from->num_leaves; at++) tree->leaves[at] = (struct leaf){from->leaves[2 * at], from->leaves[2 * at + 1]};
    for (int32_t row = 0; row < tree->num_rows; row++) {
        int32_t fields[COLUMNS];
        for (int64_t column = 0; column < COLUMNS; column++) fields[column] = from->columns[column * from->num_rows + row];
        memcpy(&tree->nodes[row], fields, sizeof fields);
    }
    const int32_t *tokens = from->tokens;
    for (int64_t at = 0; at < from->num_texts; tokens += from->lengths[at++]) {
        int32_t *text = copied(tokens, from->lengths[at], sizeof *tokens);
        if (!text) return -1;
        tree->texts[tree->num_texts++] = (struct text){text, from->lengths[at], from->lengths[at], from->used[at] != 0};
    }
    return 0;
}

/* The inverse of `everdraft_suffix_freeze`; the edges are found anew. wrong: set where the numbers are not those of a tree, and
   there is none; else none means that there is no memory. */
struct tree *everdraft_suffix_thaw(const struct frozen *frozen, int32_t *wrong) {
    *wrong = !within(frozen->num_rows - 1, INT32_MAX / 2) || !within(frozen->num_free, frozen->num_rows) || frozen->num_texts < 1
             || !within(frozen->num_leaves, frozen->max_depth + 1) || !within(frozen->node, INT32_MAX)
             || !within(frozen->length, INT32_MAX) || !within(frozen->pending, INT32_MAX);
    struct tree *tree = *wrong ? NULL : everdraft_suffix_new((int32_t)frozen->max_depth, frozen->max_suffixes);
    if (!tree) return NULL;
    free(tree->texts[0].tokens);
    const int sound = fill(tree, frozen) ? -1 : everdraft_suffix_sound(tree);
    if (sound == 1) return tree;
    *wrong = sound == 0;
    everdraft_suffix_free(tree);
    return NULL;
}
