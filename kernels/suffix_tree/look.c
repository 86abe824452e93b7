/* Questions to a suffix tree from outside, one by one. Drafts need none of them: the tests ask them that hold this tree to the one in
   Python, and are answered by the functions of tree.h, which drafts do need. */

#include "tree.h"

/* numbers: suffixes, nodes, and the locus of what is pending. */
void everdraft_suffix_look(const struct tree *tree, int32_t numbers[4]) {
    numbers[0] = tree->nodes[ROOT].count, numbers[1] = tree->num_rows - tree->num_free;
    numbers[2] = tree->node, numbers[3] = tree->length;
}

/* Returns whether there is one. */
int everdraft_suffix_walk(const struct tree *tree, const int32_t *tokens, int64_t num_tokens, struct locus *locus) {
    *locus = walk(tree, tokens, num_tokens);
    return locus->length >= 0;
}

void everdraft_suffix_longest(const struct tree *tree, const int32_t *tokens, int64_t num_tokens, struct locus *locus) {
    *locus = longest_suffix(tree, tokens + num_tokens, num_tokens);
}

int everdraft_suffix_holds(const struct tree *tree, int64_t node, const int32_t *tokens, int64_t num_tokens) {
    return holds(tree, node, tokens, num_tokens);
}

int everdraft_suffix_step(const struct tree *tree, int32_t node, int64_t length, int32_t token) {
    return step(tree, node, length, token);
}

int everdraft_suffix_count(const struct tree *tree, int32_t node) { return tree->nodes[node].count; }

void everdraft_suffix_use(struct tree *tree, int32_t node) { use(tree, node); }

/* tokens: [limit]. Returns how many there are. */
int64_t everdraft_suffix_run(const struct tree *tree, int32_t node, int64_t length, int64_t limit, int32_t *tokens) {
    const int32_t *run;
    const int64_t found = run_from(tree, node, length, limit, &run);
    if (found) memcpy(tokens, run, found * sizeof *tokens);
    return found;
}

/* children: [limit, 3], count, token and child. Returns how many there are. */
int64_t everdraft_suffix_children(const struct tree *tree, int32_t node, int64_t limit, int32_t *children) {
    int64_t found = 0;
    for (int32_t child = tree->nodes[node].child; child && found < limit; child = tree->nodes[child].next, found++) {
        *children++ = tree->nodes[child].count;
        *children++ = token_at(tree, &tree->nodes[child], tree->nodes[node].depth);
        *children++ = child;
    }
    return found;
}
