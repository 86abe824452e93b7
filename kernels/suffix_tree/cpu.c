/* Growing a suffix tree: speculator/suffix_tree.py, function by function, with the memory asked for beforehand.

   Every function that grows something first makes sure that there is room for all that it may add; where there is none it says
   so and the tree is as it was; `extend` does so token by token, and those before the one without room are in. A token adds two nodes
   at most for each pending suffix, of which there are fewer than `max_depth`. */

#include "tree.h"

#define FEWEST_BITS 7 /* slots of an empty tree: a request's tree should cost next to nothing */

/* Makes room for `wanted` entries of `size` bytes, twice as many as before at least. Returns -1 for want of memory, else 0. */
static int make_room_for(void **entries, int64_t *capacity, int64_t wanted, size_t size) {
    if (wanted <= *capacity) return 0;
    const int64_t most = wanted > 2 * *capacity ? wanted : 2 * *capacity;
    void *grown = realloc(*entries, most * size);
    if (!grown) return -1;
    *entries = grown;
    *capacity = most;
    return 0;
}

static int reserve_nodes(struct tree *tree, int32_t more) {
    const int64_t wanted = (int64_t)tree->num_rows - tree->num_free + more;
    if (wanted <= tree->rows_capacity) return 0;
    int64_t capacity = tree->rows_capacity, same = capacity;
    if (make_room_for((void **)&tree->nodes, &capacity, wanted, sizeof *tree->nodes)) return -1;
    /* the rows are there, but do not count until those that are free find room too */
    if (make_room_for((void **)&tree->free, &same, capacity, sizeof *tree->free)) return -1;
    tree->rows_capacity = (int32_t)capacity;
    return 0;
}

static int reserve_edges(struct tree *tree, int64_t more) {
    const int64_t slots = (int64_t)1 << tree->bits;
    if (tree->num_edges + more <= slots / 4 * 3) return 0;
    struct edge *old = tree->edges;
    int bits = tree->bits;
    while (tree->num_edges + more > ((int64_t)1 << bits) / 4 * 3) bits++;
    struct edge *edges = calloc((size_t)1 << bits, sizeof *edges);
    if (!edges) return -1;
    tree->edges = edges;
    tree->bits = bits;
    for (int64_t slot = 0; slot < slots; slot++)
        if (old[slot].node != ROOT) *find_edge(tree, old[slot].key) = old[slot];
    free(old);
    return 0;
}

static int reserve_suffixes(struct tree *tree) {
    return reserve_nodes(tree, 2 * tree->max_depth) || reserve_edges(tree, 2 * tree->max_depth) ? -1 : 0;
}

/* Opens an empty text behind the others. */
static int add_text(struct tree *tree) {
    if (tree->first + tree->num_texts == tree->texts_capacity) {
        if (tree->first > tree->texts_capacity / 2) {
            memmove(tree->texts, tree->texts + tree->first, tree->num_texts * sizeof *tree->texts);
            tree->first = 0;
        } else if (make_room_for((void **)&tree->texts, &tree->texts_capacity, tree->texts_capacity + 4, sizeof *tree->texts)) {
            return -1;
        }
    }
    tree->texts[tree->first + tree->num_texts++] = (struct text){0};
    return 0;
}

static void set_edge(struct tree *tree, uint64_t key, int32_t node) {
    struct edge *edge = find_edge(tree, key);
    tree->num_edges += edge->node == ROOT;
    *edge = (struct edge){key, node};
}

/* Those behind it that were pushed on by it, or by one another, move up. */
static void drop_edge(struct tree *tree, uint64_t key) {
    const uint64_t mask = ((uint64_t)1 << tree->bits) - 1;
    struct edge *edges = tree->edges;
    uint64_t hole = find_edge(tree, key) - edges;
    if (edges[hole].node == ROOT) return;
    for (uint64_t slot = (hole + 1) & mask; edges[slot].node != ROOT; slot = (slot + 1) & mask) {
        const uint64_t home = slot_of(tree, edges[slot].key);
        if (((slot - home) & mask) >= ((slot - hole) & mask)) edges[hole] = edges[slot], hole = slot;
    }
    edges[hole].node = ROOT;
    tree->num_edges--;
}

static int32_t new_node(struct tree *tree, int32_t above, int32_t depth) {
    const int32_t node = tree->num_free ? tree->free[--tree->num_free] : tree->num_rows++;
    tree->nodes[node] = (struct node){.parent = above, .depth = depth};
    return node;
}

static void release(struct tree *tree, int32_t node) {
    tree->nodes[node].depth = tree->nodes[node].count = tree->nodes[node].child = 0;
    tree->free[tree->num_free++] = node;
}

static void link_first(struct tree *tree, int32_t node, int32_t above) {
    struct node *nodes = tree->nodes;
    const int32_t head = nodes[above].child;
    nodes[node].previous = 0, nodes[node].next = head;
    if (head) nodes[head].previous = node;
    nodes[above].child = node;
}

static void take_off(struct tree *tree, int32_t node) {
    struct node *nodes = tree->nodes;
    const int32_t before = nodes[node].previous, after = nodes[node].next;
    *(before ? &nodes[before].next : &nodes[nodes[node].parent].child) = after;
    if (after) nodes[after].previous = before;
}

/* The key of the edge from `above` to `node`. */
static uint64_t key_to(const struct tree *tree, int32_t above, int32_t node) {
    return edge_key(above, token_at(tree, &tree->nodes[node], tree->nodes[above].depth));
}

/* Puts `other` where `node` was among the children of its parent, edge included. */
static void replace(struct tree *tree, int32_t node, int32_t other) {
    struct node *nodes = tree->nodes;
    const int32_t above = nodes[node].parent, before = nodes[node].previous, after = nodes[node].next;
    set_edge(tree, key_to(tree, above, node), other);
    nodes[other].previous = before, nodes[other].next = after;
    *(before ? &nodes[before].next : &nodes[above].child) = other;
    if (after) nodes[after].previous = other;
}

/* Puts a node at (node, length), inside the edge that leads to `node`; returns it. */
static int32_t split(struct tree *tree, int32_t node, int32_t length) {
    const int32_t middle = new_node(tree, tree->nodes[node].parent, length);
    struct node *here = &tree->nodes[node], *there = &tree->nodes[middle];
    there->count = here->count, there->owner = here->owner, there->start = here->start;
    replace(tree, node, middle);
    set_edge(tree, key_to(tree, middle, node), node);
    here->parent = middle;
    link_first(tree, node, middle);
    return middle;
}

/* Takes out a node that neither branches nor is the end of a suffix. */
static void join_child(struct tree *tree, int32_t node) {
    struct node *nodes = tree->nodes;
    const int32_t child = nodes[node].child;
    if (node == ROOT || child == 0 || nodes[child].next || nodes[child].count < nodes[node].count) return;
    drop_edge(tree, key_to(tree, node, child));
    nodes[child].parent = nodes[node].parent;
    replace(tree, node, child);
    if (tree->node == node) tree->node = child;
    release(tree, node);
}

/* Takes out a leaf that no suffix ends in any more. */
static void remove_leaf(struct tree *tree, int32_t leaf) {
    const int32_t above = tree->nodes[leaf].parent;
    drop_edge(tree, key_to(tree, above, leaf));
    take_off(tree, leaf);
    release(tree, leaf);
    join_child(tree, above);
}

/* Counts the longest pending suffix in `node` and all above, which take its name and become the children used last. */
static void count_path(struct tree *tree, int32_t node) {
    const uint32_t serial = (uint32_t)(tree->serial + tree->num_texts - 1);
    while (node) {
        struct node *here = &tree->nodes[node];
        here->count++;
        here->owner = serial;
        here->start = tree->pending;
        if (tree->nodes[here->parent].child != node) {
            take_off(tree, node);
            link_first(tree, node, here->parent);
        }
        node = here->parent;
    }
    tree->nodes[ROOT].count++;
}

/* The longest pending suffix is in; the next is shorter by one (none is shorter than empty). */
static void shorten(struct tree *tree) {
    tree->pending++;
    if (tree->length) tree->length--;
    const int32_t *tokens = open_text(tree)->tokens + tree->pending;
    tree->node = ROOT;
    for (int32_t depth = 0; depth < tree->length; depth = tree->nodes[tree->node].depth)
        if ((tree->node = child_by(tree, tree->node, tokens[depth])) == ROOT) return;
}

/* Hands out a text that was of use. Without memory for that it goes for good: nobody's draft depends on it. */
static void hand_out(struct tree *tree, const struct text *text) {
    struct leaving *leaving = malloc(sizeof *leaving + text->length * sizeof *text->tokens);
    if (!leaving) return;
    *leaving = (struct leaving){tree->leaving, text->length};
    memcpy(leaving->tokens, text->tokens, text->length * sizeof *text->tokens);
    tree->leaving = leaving;
    tree->num_leaving++;
}

/* Takes the oldest suffix out if there are too many. */
static void make_room(struct tree *tree) {
    if (tree->nodes[ROOT].count <= tree->max_suffixes) return;
    struct text *text = &tree->texts[tree->first];
    const int64_t start = tree->oldest++, left = text->length - start;
    const int32_t full = tree->num_texts == 1 || left > tree->max_depth ? tree->max_depth : (int32_t)left;
    if (start == 0 && text->used && tree->num_texts > 1) hand_out(tree, text);
    tree->nodes[ROOT].count--;
    int32_t node = ROOT;
    while (tree->nodes[node].depth < full && (node == ROOT || tree->nodes[node].count)) {
        const int64_t at = start + tree->nodes[node].depth;
        if (at >= text->length || (node = child_by(tree, node, text->tokens[at])) == ROOT) break;
        tree->nodes[node].count--;
    }
    if (tree->nodes[node].count)
        join_child(tree, node);
    else if (node != ROOT)
        remove_leaf(tree, node);
    if (start + 1 == text->length && tree->num_texts > 1) {
        free(text->tokens);
        tree->first++, tree->num_texts--, tree->serial++;
        tree->oldest = 0;
    }
}

static void take_in(struct tree *tree) {
    shorten(tree);
    make_room(tree);
}

/* Makes the longest pending suffix a leaf under `above`, reached by `token`. */
static void grow_leaf(struct tree *tree, int32_t above, int32_t token) {
    const int32_t leaf = new_node(tree, above, tree->max_depth);
    set_edge(tree, edge_key(above, token), leaf);
    link_first(tree, leaf, above);
    tree->leaves[tree->num_leaves++ % tree->max_depth] = (struct leaf){tree->pending, leaf};
    count_path(tree, leaf);
}

/* There must be room for the token and its suffixes. */
static void append(struct tree *tree, int32_t token) {
    struct text *text = open_text(tree);
    text->tokens[text->length++] = token;
    int32_t below;
    while (!(below = step(tree, tree->node, tree->length, token))) {
        const int32_t length = tree->length;
        const int32_t node = length < tree->nodes[tree->node].depth ? split(tree, tree->node, length) : tree->node;
        grow_leaf(tree, node, token);
        take_in(tree);
        if (length == 0) return;
    }
    tree->node = below;
    if (++tree->length == tree->max_depth) { /* complete: it can never differ from the one that is there */
        count_path(tree, below);
        take_in(tree);
    }
}

void everdraft_suffix_free(struct tree *tree) {
    if (!tree) return;
    for (int64_t at = 0; at < tree->num_texts; at++) free(tree->texts[tree->first + at].tokens);
    for (struct leaving *next, *each = tree->leaving; each; each = next) next = each->next, free(each);
    free(tree->texts), free(tree->nodes), free(tree->free), free(tree->edges), free(tree->leaves);
    free(tree);
}

/* An empty tree; none for want of memory. */
struct tree *everdraft_suffix_new(int32_t max_depth, int64_t max_suffixes) {
    struct tree *tree = calloc(1, sizeof *tree);
    if (!tree) return NULL;
    tree->max_depth = max_depth, tree->max_suffixes = max_suffixes;
    tree->bits = FEWEST_BITS;
    tree->edges = calloc((size_t)1 << FEWEST_BITS, sizeof *tree->edges);
    tree->leaves = calloc(max_depth, sizeof *tree->leaves);
    if (!tree->edges || !tree->leaves || add_text(tree) || reserve_nodes(tree, 1)) {
        everdraft_suffix_free(tree);
        return NULL;
    }
    new_node(tree, ROOT, 0);
    return tree;
}

/* Appends to the open text. Returns how many texts wait to be handed out; -1: there was no room for all tokens. */
int64_t everdraft_suffix_extend(struct tree *tree, const int32_t *tokens, int64_t num_tokens) {
    struct text *text = open_text(tree);
    if (num_tokens > INT32_MAX - tree->max_depth - text->length) return -1;
    if (make_room_for((void **)&text->tokens, &text->capacity, text->length + num_tokens, sizeof *text->tokens)) return -1;
    for (int64_t at = 0; at < num_tokens; at++) {
        if (reserve_suffixes(tree)) return -1;
        append(tree, tokens[at]);
    }
    return tree->num_leaving;
}

/* Ends the open text. Returns as `everdraft_suffix_extend`. */
int64_t everdraft_suffix_close(struct tree *tree) {
    if (reserve_suffixes(tree) || add_text(tree)) return -1;
    tree->num_texts--; /* the empty one waits behind it */
    while (tree->length) {
        const int32_t node = tree->node;
        count_path(tree, tree->length < tree->nodes[node].depth ? split(tree, node, tree->length) : node);
        take_in(tree);
    }
    struct text *text = open_text(tree);
    const int64_t kept = tree->num_leaves < tree->max_depth ? tree->num_leaves : tree->max_depth;
    for (int64_t at = tree->num_leaves - kept; at < tree->num_leaves; at++) {
        const struct leaf *leaf = &tree->leaves[at % tree->max_depth];
        if (leaf->start + tree->max_depth > text->length) /* the others are complete, or even gone */
            tree->nodes[leaf->node].depth = (int32_t)(text->length - leaf->start);
    }
    tree->num_leaves = tree->pending = 0;
    if (text->length) {
        int32_t *shrunk = realloc(text->tokens, text->length * sizeof *text->tokens);
        if (shrunk) text->tokens = shrunk, text->capacity = text->length;
        tree->num_texts++;
    }
    return tree->num_leaving;
}

/* Tokens of the newest text that waits to be handed out; -1: none. */
int64_t everdraft_suffix_leaving(const struct tree *tree) { return tree->leaving ? tree->leaving->length : -1; }

/* Hands that text out. */
void everdraft_suffix_take_leaving(struct tree *tree, int32_t *tokens) {
    struct leaving *leaving = tree->leaving;
    memcpy(tokens, leaving->tokens, leaving->length * sizeof *tokens);
    tree->leaving = leaving->next;
    tree->num_leaving--;
    free(leaving);
}
