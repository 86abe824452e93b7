/* What a draft may grow by, as a heap: what loses least comes first, of equals the earlier.

   Before this is included ENTRY is the type: a struct with a `double lost` and an `order`. */

static inline int before(const ENTRY *a, const ENTRY *b) { return a->lost != b->lost ? a->lost < b->lost : a->order < b->order; }

/* Onto a heap of `size`. */
static inline void heap_push(ENTRY *heap, int64_t size, ENTRY entry) {
    int64_t slot = size;
    for (; slot > 0 && before(&entry, &heap[(slot - 1) / 2]); slot = (slot - 1) / 2) heap[slot] = heap[(slot - 1) / 2];
    heap[slot] = entry;
}

/* The first, which leaves `size`. */
static inline ENTRY heap_pop(ENTRY *heap, int64_t size) {
    const ENTRY best = heap[0], last = heap[size];
    int64_t slot = 0, below;
    while ((below = 2 * slot + 1) < size) {
        below += below + 1 < size && before(&heap[below + 1], &heap[below]);
        if (!before(&heap[below], &last)) break;
        heap[slot] = heap[below];
        slot = below;
    }
    heap[slot] = last;
    return best;
}
