/* Following texts through suffix trees, and growing drafts from where they are: speculator/suffix_match.py and
   speculator/suffix_growth.py, in the same order and with the same roundings, so that the same drafts come out. */

/* Every operation on doubles is rounded by itself, as in Python. */
#if defined(__clang__)
#pragma clang fp contract(off)
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

#include <math.h>

#include "native.h"
#include "tree.h"

#define MAX_KINDS 8 /* room for what `rules.max_kinds` may be */
#define MAX_PLACES 4

/* How drafts grow: the constants of speculator/suffix_growth.py and speculator/suffix_draft.py. */
struct rules {
    double least_survival;
    int64_t max_kinds, max_offers, of_use;
    int64_t short_in_request, short_in_tenant;
    int64_t num_weights; /* by length of the match */
    const double *unseen_in_request, *unseen_in_tenant;
};

/* See speculator/suffix_match.py. */
struct match {
    int64_t node, length, seen;
};

/* One sequence that is drafted for. */
struct question {
    struct tree *own; /* of the request, all of whose text it holds, open; or none */
    struct tree *past;
    struct match *match; /* in `past` */
    int64_t num_tail, text_length; /* the end of the text is given, where `own` does not have it, and how long all of it is */
    int64_t num_nodes, max_depth;
    uint64_t sampled, seed, choice, position;
};

/* The end of a text: tokens `begin` to `end`. */
struct tail {
    const int32_t *tokens;
    int64_t begin, end;
};

static inline const int32_t *at(const struct tail *tail, int64_t place) { return tail->tokens + (place - tail->begin); }

static void take(const struct tree *tree, struct match *match, const struct tail *text, int64_t place) {
    int32_t below;
    while (!(below = step(tree, (int32_t)match->node, match->length, *at(text, place)))) {
        if (match->length == 0) return;
        const struct locus shorter = walk(tree, at(text, place - match->length + 1), match->length - 1);
        *match = (struct match){shorter.node, shorter.length < 0 ? 0 : shorter.length, match->seen};
    }
    match->node = below, match->length++;
    if (match->length < tree->max_depth) return;
    const struct locus shorter = walk(tree, at(text, place + 2 - match->length), match->length - 1);
    *match = (struct match){shorter.node, shorter.length < 0 ? 0 : shorter.length, match->seen};
}

static void match_longest(const struct tree *tree, struct match *match, const struct tail *text, int64_t end) {
    const int64_t most = end < tree->max_depth ? end : tree->max_depth;
    const struct locus found = longest_suffix(tree, at(text, end), most);
    match->node = found.node, match->length = found.length;
}

/* Catches up with a text, of which the last 2 * max_depth tokens are there. */
static void follow(const struct tree *tree, struct match *match, const struct tail *text) {
    const int64_t seen = match->seen;
    if (seen > text->end || text->end - seen > tree->max_depth) {
        match_longest(tree, match, text, text->end);
    } else {
        if (!holds(tree, match->node, at(text, seen - match->length), match->length)) match_longest(tree, match, text, seen);
        for (int64_t place = seen; place < text->end; place++) take(tree, match, text, place);
    }
    match->seen = text->end;
}

void everdraft_suffix_follow(const struct tree *tree, struct match *match, const int32_t *tokens, int64_t num_tokens, int64_t length) {
    const struct tail text = {tokens, length - num_tokens, length};
    follow(tree, match, &text);
}

/* `Occurrences` with weights: see `Place` in speculator/suffix_growth.py. */
struct place {
    const struct tree *tree;
    int32_t node, length;
    const double *weights;
};

/* A node that may be added. */
struct offer {
    double lost; /* -survival */
    int64_t order; /* of equals the earlier goes first */
    double confidence;
    int32_t parent, token;
    struct place place; /* after the token */
};

#define ENTRY struct offer
#include "heap.h"

struct growth {
    const struct rules *rules;
    const struct question *question;
    uint64_t stream;
    int32_t *tokens, *parents, *depths;
    double *confidences;
    int64_t num_nodes; /* the root included */
    double *reach;
    int32_t *first, *sibling; /* of each node: a child, the next child of its parent; 0: none */
    struct offer *heap;
    int64_t num_offers, order;
};

/* That a token, of probability `prob`, is chosen at `depth`: see `Foresight`. */
static double chance(const struct growth *growth, int32_t depth, int32_t token, double prob) {
    if (!growth->question->sampled) return prob;
    const uint32_t here = splitmix(growth->stream ^ (growth->question->position + (uint64_t)depth)) >> 32;
    return pow(uniform((uint32_t)growth->stream, here, (uint32_t)token), (1.0 - prob) / prob);
}

static double weight(const struct growth *growth, const struct place *place) {
    const int64_t most = growth->rules->num_weights - 1;
    return place->weights[place->length < most ? place->length : most];
}

static void push(struct growth *growth, struct offer offer) {
    offer.order = growth->order++;
    heap_push(growth->heap, growth->num_offers++, offer);
}

/* The child of `parent` by `token`, added where it is not there. */
static int32_t put(struct growth *growth, int32_t parent, int32_t token, double confidence, double survival) {
    for (int32_t child = growth->first[parent]; child; child = growth->sibling[child])
        if (growth->tokens[child] == token) return child;
    const int32_t node = (int32_t)growth->num_nodes++;
    growth->tokens[node] = token, growth->parents[node] = parent, growth->depths[node] = growth->depths[parent] + 1;
    growth->confidences[node] = confidence, growth->reach[node] = survival;
    growth->first[node] = 0, growth->sibling[node] = growth->first[parent];
    growth->first[parent] = node;
    return node;
}

/* Puts what followed a branch on the heap, as children of `parent`. */
static void branch(struct growth *growth, struct place place, int32_t parent) {
    const struct tree *tree = place.tree;
    const int64_t max_kinds = growth->rules->max_kinds, max_offers = growth->rules->max_offers;
    struct offer offers[MAX_KINDS];
    int64_t num_kinds = 0, found = 0;
    int32_t children[MAX_KINDS];
    for (int32_t child = tree->nodes[place.node].child; child && num_kinds < max_kinds; child = tree->nodes[child].next)
        children[num_kinds++] = child;
    const double total = tree->nodes[place.node].count + weight(growth, &place) * (double)num_kinds;
    place.length++;
    for (int64_t kind = 0; kind < num_kinds; kind++, found++) {
        const struct node *child = &tree->nodes[children[kind]];
        const int32_t token = token_at(tree, child, tree->nodes[place.node].depth);
        const double confidence = chance(growth, growth->depths[parent], token, child->count / total);
        int64_t slot = found;
        for (; slot > 0 && offers[slot - 1].confidence < confidence; slot--) offers[slot] = offers[slot - 1];
        offers[slot] = (struct offer){-growth->reach[parent] * confidence, 0, confidence, parent, token, place};
        offers[slot].place.node = children[kind];
    }
    for (int64_t each = 0; each < found && each < max_offers; each++) {
        if (offers[each].lost > -growth->rules->least_survival) break;
        push(growth, offers[each]);
    }
}

/* The same of what followed a place that the draft begins at. */
static void begin_at(struct growth *growth, struct place place) {
    const int32_t *token;
    if (run_from(place.tree, place.node, place.length, 1, &token) == 0) {
        branch(growth, place, 0);
        return;
    }
    const double total = place.tree->nodes[place.node].count;
    const double confidence = chance(growth, 0, *token, total / (total + weight(growth, &place)));
    place.length++;
    push(growth, (struct offer){-1.0 * confidence, 0, confidence, 0, *token, place});
}

/* Follows what came after a place behind `node` of the draft, past the heap, while it is the best there is. */
static void run_on(struct growth *growth, struct place place, int32_t node) {
    const int64_t max_depth = growth->question->max_depth;
    const double rival = growth->num_offers ? growth->heap[0].lost : 0.0, total = place.tree->nodes[place.node].count;
    const int32_t *run = NULL;
    const int64_t length = run_from(place.tree, place.node, place.length, max_depth - growth->depths[node], &run);
    for (int64_t each = 0; each < length; each++) {
        const double confidence = chance(growth, growth->depths[node], run[each], total / (total + weight(growth, &place)));
        const double survival = growth->reach[node] * confidence;
        place.length++;
        if (survival < growth->rules->least_survival) return;
        if (-survival > rival || growth->num_nodes > growth->question->num_nodes) {
            push(growth, (struct offer){-survival, 0, confidence, node, run[each], place});
            return;
        }
        node = put(growth, node, run[each], confidence, survival);
    }
    if (growth->depths[node] < max_depth) branch(growth, place, node);
}

/* Where the end of a text occurred: the longest match, and a short one with more evidence. Returns how many. */
static int places_in(const struct tree *tree, struct locus match, const struct tail *text, int64_t fewest, const double *weights,
                     struct place *places) {
    int found = 0;
    if (match.length > 0) places[found++] = (struct place){tree, match.node, match.length, weights};
    if (match.length > fewest) {
        const struct locus locus = walk(tree, at(text, text->end - fewest), fewest);
        if (locus.length >= 0) places[found++] = (struct place){tree, locus.node, locus.length, weights};
    }
    return found;
}

static void grow(struct growth *growth, const struct place *places, int num_places) {
    for (int each = 0; each < num_places; each++) begin_at(growth, places[each]);
    while (growth->num_offers && growth->num_nodes <= growth->question->num_nodes) {
        const struct offer best = heap_pop(growth->heap, --growth->num_offers);
        run_on(growth, best.place, put(growth, best.parent, best.token, best.confidence, -best.lost));
    }
}

/* Follows a text to its end, and finds where that occurred. Returns how many places there are. */
static int places_of(const struct rules *rules, const struct question *question, const struct tail *text, struct place *places) {
    int found = 0;
    follow(question->past, question->match, text);
    const struct locus match = {(int32_t)question->match->node, (int32_t)question->match->length};
    if (match.length >= rules->of_use) use(question->past, match.node);
    if (question->own) {
        const struct locus pending = {question->own->node, question->own->length};
        found = places_in(question->own, pending, text, rules->short_in_request, rules->unseen_in_request, places);
    }
    return found + places_in(question->past, match, text, rules->short_in_tenant, rules->unseen_in_tenant, places + found);
}

/* Grows the draft of one sequence. numbers: with room for three of each node that there may be; they become the tokens, then the
   parents, then the depths of those that there are. Returns how many, the root included. */
static int64_t draft(struct growth growth, const struct tail *text, int32_t *numbers) {
    const int64_t most = growth.question->num_nodes + 1;
    growth.tokens = numbers, growth.parents = numbers + most, growth.depths = numbers + 2 * most;
    growth.tokens[0] = *at(text, text->end - 1), growth.parents[0] = -1, growth.depths[0] = 0;
    growth.confidences[0] = growth.reach[0] = 1.0;
    growth.first[0] = 0;
    growth.num_nodes = 1;
    if (growth.question->sampled) growth.stream = splitmix(splitmix(growth.question->seed) ^ growth.question->choice);
    struct place places[MAX_PLACES];
    const int num_places = places_of(growth.rules, growth.question, text, places);
    grow(&growth, places, num_places);
    memmove(numbers + growth.num_nodes, growth.parents, growth.num_nodes * sizeof *numbers);
    memmove(numbers + 2 * growth.num_nodes, growth.depths, growth.num_nodes * sizeof *numbers);
    return growth.num_nodes;
}

/* Drafts for `count` sequences. tails: the ends of their texts, one after another, of those that have no tree of their own.
   numbers: [count] the nodes of each draft, then see `draft`, one draft after another, as are the confidences. Returns the nodes of
   all, roots included; -1 for want of memory. */
int64_t everdraft_suffix_draft(const struct rules *rules, const struct question *questions, int64_t count, const int32_t *tails,
                               int32_t *numbers, double *confidences) {
    int64_t most = 1, done = 0;
    for (int64_t each = 0; each < count; each++) most = questions[each].num_nodes >= most ? questions[each].num_nodes + 1 : most;
    const int64_t num_offers = MAX_PLACES * rules->max_offers * (most + 1); /* a place offers the children of a node once */
    struct growth growth = {.rules = rules};
    growth.heap = malloc(num_offers * sizeof *growth.heap + most * (sizeof *growth.reach + 2 * sizeof *growth.first));
    if (!growth.heap) return -1;
    growth.reach = (double *)(growth.heap + num_offers);
    growth.first = (int32_t *)(growth.reach + most);
    growth.sibling = growth.first + most;
    for (int64_t each = 0; each < count; each++) {
        const struct question *question = &questions[each];
        struct tail text = {tails, question->text_length - question->num_tail, question->text_length};
        tails += question->num_tail;
        if (question->own) text.tokens = open_text(question->own)->tokens, text.begin = text.end - open_text(question->own)->length;
        growth.question = question, growth.confidences = confidences + done;
        done += numbers[each] = (int32_t)draft(growth, &text, numbers + count + 3 * done);
    }
    free(growth.heap);
    return done;
}
