/* A suffix tree in C, and how it is looked things up in. What it is: speculator/suffix_tree.py, of which this is the twin, node
   number for node number.

   Whatever its numbers are, nothing is read outside of it: tokens are asked for by `token_at`, which knows where a text ends. */

#ifndef EVERDRAFT_SUFFIX_TREE_H
#define EVERDRAFT_SUFFIX_TREE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ROOT 0 /* also stands for none */

_Static_assert(sizeof(void *) == sizeof(int64_t), "addresses travel as 64-bit numbers");

struct node { /* see `SuffixTree.__init__` */
    int32_t parent, child, next, previous, depth, count;
    uint32_t owner; /* the low bits of a serial number, which are enough to tell those held apart */
    int32_t start;
};

struct edge {
    uint64_t key; /* node << 32 | first token */
    int32_t node; /* the child; ROOT: the slot is empty */
};

struct text {
    int32_t *tokens;
    int64_t length, capacity;
    int used; /* since it came */
};

struct leaf {
    int32_t start, node;
};

/* A text that was of use and has begun to go. */
struct leaving {
    struct leaving *next;
    int64_t length;
    int32_t tokens[];
};

struct tree {
    int32_t max_depth;
    int64_t max_suffixes;
    struct text *texts; /* those held are texts[first : first + num_texts], the last of them open */
    int64_t first, num_texts, texts_capacity;
    int64_t serial; /* of the first; it is also the text of the suffix that goes next */
    int64_t oldest; /* where that suffix starts */
    struct node *nodes;
    int32_t num_rows, rows_capacity; /* rows in use, or free again */
    int32_t *free, num_free;
    struct edge *edges; /* open addressing, linear probing */
    int64_t num_edges;
    int bits; /* there are 1 << bits slots */
    struct leaf *leaves; /* a ring of `max_depth` */
    int64_t num_leaves; /* that there ever were in the open text */
    int32_t node, length, pending;
    struct leaving *leaving; /* the newest first */
    int64_t num_leaving;
};

static inline struct text *open_text(const struct tree *tree) { return &tree->texts[tree->first + tree->num_texts - 1]; }

/* The text that a node's string is in; none if it is gone. */
static inline const struct text *text_of(const struct tree *tree, const struct node *node) {
    const uint32_t at = node->owner - (uint32_t)tree->serial;
    return at < (uint64_t)tree->num_texts ? &tree->texts[tree->first + at] : NULL;
}

/* Tokens of a node's string from `offset` on, up to the end of the text it is in; returns how many. */
static inline int64_t tokens_from(const struct tree *tree, const struct node *node, int64_t offset, const int32_t **tokens) {
    const struct text *text = text_of(tree, node);
    const int64_t at = node->start + offset;
    if (!text || at < 0 || at >= text->length) return 0;
    *tokens = text->tokens + at;
    return text->length - at;
}

/* Token `offset` of a node's string; -1: its text ends before. */
static inline int32_t token_at(const struct tree *tree, const struct node *node, int64_t offset) {
    const int32_t *token;
    return tokens_from(tree, node, offset, &token) ? *token : -1;
}

static inline uint64_t edge_key(int32_t node, int32_t token) { return (uint64_t)(uint32_t)node << 32 | (uint32_t)token; }

/* Where the search for a key begins. (Fibonacci hashing.) */
static inline uint64_t slot_of(const struct tree *tree, uint64_t key) {
    return ((key ^ key >> 31) * 0x9E3779B97F4A7C15u) >> (64 - tree->bits);
}

/* The slot of a key, or the empty one where it would go: some are always empty. */
static inline struct edge *find_edge(const struct tree *tree, uint64_t key) {
    const uint64_t mask = ((uint64_t)1 << tree->bits) - 1;
    uint64_t slot = slot_of(tree, key);
    while (tree->edges[slot].node != ROOT && tree->edges[slot].key != key) slot = (slot + 1) & mask;
    return &tree->edges[slot];
}

/* The child of `node` that `token` leads to, or ROOT. */
static inline int32_t child_by(const struct tree *tree, int32_t node, int32_t token) {
    return find_edge(tree, edge_key(node, token))->node;
}

struct locus {
    int32_t node, length; /* length -1: there is none */
};

/* See `SuffixTree.walk`. */
static inline struct locus walk(const struct tree *tree, const int32_t *tokens, int64_t num_tokens) {
    const struct locus none = {ROOT, -1};
    int32_t node = ROOT;
    int64_t length = 0;
    while (length < num_tokens) {
        node = child_by(tree, node, tokens[length]);
        if (node == ROOT) return none;
        const struct node *here = &tree->nodes[node];
        const int64_t stop = here->depth < num_tokens ? here->depth : num_tokens;
        const int32_t *there;
        if (stop <= length || tokens_from(tree, here, length, &there) < stop - length) return none;
        if (memcmp(there, tokens + length, (stop - length) * sizeof *tokens)) return none;
        length = stop;
    }
    return (struct locus){node, (int32_t)length};
}

/* See `SuffixTree.longest_suffix`; of the `num_tokens` that end at `end`. */
static inline struct locus longest_suffix(const struct tree *tree, const int32_t *end, int64_t num_tokens) {
    struct locus found = {ROOT, 0};
    int64_t low = 0, high = num_tokens < tree->max_depth ? num_tokens : tree->max_depth - 1;
    while (low < high) {
        const int64_t middle = (low + high + 1) / 2;
        const struct locus locus = walk(tree, end - middle, middle);
        if (locus.length < 0)
            high = middle - 1;
        else
            low = middle, found = locus;
    }
    return found;
}

/* See `SuffixTree.holds`. */
static inline int holds(const struct tree *tree, int64_t node, const int32_t *tokens, int64_t length) {
    if (node < 0 || node >= tree->num_rows) return 0;
    const struct node *here = &tree->nodes[node];
    if (!(tree->nodes[here->parent].depth < length && length <= here->depth)) return length == 0 && node == ROOT;
    const int32_t *there = NULL;
    return here->count > 0 && tokens_from(tree, here, 0, &there) >= length && !memcmp(there, tokens, length * sizeof *tokens);
}

/* See `SuffixTree.step`. */
static inline int32_t step(const struct tree *tree, int32_t node, int64_t length, int32_t token) {
    const struct node *here = &tree->nodes[node];
    if (length == here->depth) return child_by(tree, node, token);
    const int32_t *there;
    return tokens_from(tree, here, length, &there) && *there == token ? node : ROOT;
}

/* See `SuffixTree.run`; returns how many. */
static inline int64_t run_from(const struct tree *tree, int32_t node, int64_t length, int64_t limit, const int32_t **tokens) {
    const struct node *here = &tree->nodes[node];
    int64_t most = limit;
    if ((here->child || here->depth < tree->max_depth) && here->depth - length < most) most = here->depth - length;
    if (most <= 0) return 0;
    const int64_t there = tokens_from(tree, here, length, tokens);
    return there < most ? there : most;
}

/* See `SuffixTree.use`. */
static inline void use(struct tree *tree, int32_t node) {
    struct text *text = (struct text *)text_of(tree, &tree->nodes[node]);
    if (text) text->used = 1;
}

#endif
