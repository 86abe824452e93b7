/* Drafts from recycled tokens, for a whole batch: speculator/recycling_growth.py, in the same order and with the same roundings, so
   that the same drafts come out. */

/* Every operation on doubles is rounded by itself, as in Python. */
#if defined(__clang__)
#pragma clang fp contract(off)
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

#include <math.h>

#include "native.h"

#define MOST_COUNT 8 /* room for what `rules.count` may be */

/* How drafts grow: the constants of speculator/recycling_growth.py. */
struct rules {
    int64_t count; /* likeliest next tokens that a matrix knows of a token */
    double least_survival, least_prob;
    double first_base, first_slope, others_base, others_slope, sampled_base, sampled_slope; /* a chance is base + slope * probability */
};

/* What may follow each token of the vocabulary, likeliest first: [V, count] each; probability 0: there is none. */
struct matrix {
    const int32_t *tokens;
    const float *probs;
};

/* One sequence that is drafted for. */
struct question {
    struct matrix matrices[2]; /* the first that knows a token is believed; either may be missing */
    int64_t root, num_nodes, max_depth;
    int64_t sampled, stream, position; /* where tokens are sampled: the first word of their key, all of it, and the output position */
};

struct offers {
    int32_t count, tokens[MOST_COUNT];
    double chances[MOST_COUNT];
};

struct entry {
    double lost; /* -survival */
    int32_t order, parent, rank;
};

#define ENTRY struct entry
#include "heap.h"

struct growth {
    const struct rules *rules;
    const struct question *question;
    int32_t *tokens, *parents, *depths;
    double *confidences, *reach;
    struct offers *offers; /* to the children of each node */
    struct entry *heap;
    int32_t num_nodes, num_entries, order;
};

/* `Chances.after` for the children of a node. */
static void look_up(const struct growth *growth, int32_t node) {
    const struct rules *rules = growth->rules;
    const struct question *question = growth->question;
    const int64_t at = growth->tokens[node] * rules->count;
    struct offers *offers = &growth->offers[node];
    const struct matrix *matrix = question->matrices;
    offers->count = 0;
    if (!matrix->probs || !matrix->probs[at]) matrix++;
    if (!matrix->probs || !matrix->probs[at]) return;
    const uint32_t here = splitmix((uint64_t)question->stream ^ (uint64_t)(question->position + growth->depths[node])) >> 32;
    for (int rank = 0; rank < rules->count; rank++) {
        const double prob = matrix->probs[at + rank];
        const int32_t token = matrix->tokens[at + rank];
        double chance = rank ? rules->others_base + rules->others_slope * prob : rules->first_base + rules->first_slope * prob;
        int32_t place = offers->count;
        if (question->sampled) {
            if (!(prob > rules->least_prob)) continue;
            const double guess = rules->sampled_base + rules->sampled_slope * prob;
            chance = pow(uniform((uint32_t)question->stream, here, (uint32_t)token), (1.0 - guess) / guess);
            for (; place > 0; place--) {
                const double above = offers->chances[place - 1];
                if (above > chance || (above == chance && offers->tokens[place - 1] > token)) break;
                offers->chances[place] = above, offers->tokens[place] = offers->tokens[place - 1];
            }
        }
        offers->chances[place] = chance, offers->tokens[place] = token;
        offers->count++;
    }
}

/* Puts what is offered to `parent` at `rank` on the heap. */
static void push(struct growth *growth, int32_t parent, int32_t rank) {
    const struct offers *offers = &growth->offers[parent];
    if (rank >= offers->count) return;
    const double survival = growth->reach[parent] * offers->chances[rank];
    if (survival < growth->rules->least_survival) return;
    const struct entry entry = {-survival, growth->order++, parent, rank};
    heap_push(growth->heap, growth->num_entries++, entry);
}

static void add(struct growth *growth, int32_t token, int32_t parent, double confidence, double survival) {
    const int32_t node = growth->num_nodes++, depth = parent < 0 ? 0 : growth->depths[parent] + 1;
    growth->tokens[node] = token, growth->parents[node] = parent, growth->depths[node] = depth;
    growth->confidences[node] = confidence, growth->reach[node] = survival;
    growth->offers[node].count = 0;
    if (depth == growth->question->max_depth) return;
    look_up(growth, node);
}

/* At every moment the node likeliest to be reached and accepted. */
static void grow(struct growth *growth) {
    add(growth, (int32_t)growth->question->root, -1, 1.0, 1.0);
    push(growth, 0, 0);
    while (growth->num_entries && growth->num_nodes <= growth->question->num_nodes) {
        const struct entry best = heap_pop(growth->heap, --growth->num_entries);
        const struct offers *offers = &growth->offers[best.parent];
        add(growth, offers->tokens[best.rank], best.parent, offers->chances[best.rank], -best.lost);
        push(growth, best.parent, best.rank + 1);
        push(growth, growth->num_nodes - 1, 0);
    }
}

/* Drafts for `num` sequences, one after the other: sizes [num], nodes of each, the root included; in `numbers` of each its tokens,
   then the parents, then the depths; confidences. Returns the number of nodes of all, or -1 for want of memory. */
long everdraft_recycle(const struct rules *rules, const struct question *questions, long num, int32_t *sizes, int32_t *numbers,
                       double *confidences) {
    long total = 0;
    for (long each = 0; each < num; each++) {
        const struct question *question = &questions[each];
        const long room = question->num_nodes + 1; /* entries on the heap: at most one for each node */
        char *scratch = scratch_of(room * (sizeof(struct offers) + sizeof(struct entry) + sizeof(double) + 3 * sizeof *numbers));
        if (!scratch) return -1;
        struct growth growth = {.rules = rules, .question = question, .confidences = confidences + total};
        growth.offers = (struct offers *)scratch;
        growth.reach = (double *)(growth.offers + room);
        growth.heap = (struct entry *)(growth.reach + room);
        growth.tokens = (int32_t *)(growth.heap + room);
        growth.parents = growth.tokens + room, growth.depths = growth.parents + room;
        grow(&growth);
        const long size = sizes[each] = growth.num_nodes;
        memcpy(numbers + 3 * total, growth.tokens, size * sizeof *numbers);
        memcpy(numbers + 3 * total + size, growth.parents, size * sizeof *numbers);
        memcpy(numbers + 3 * total + 2 * size, growth.depths, size * sizeof *numbers);
        total += size;
    }
    return total;
}
