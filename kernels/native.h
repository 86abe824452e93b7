/* What the C kernels share. Vectors are GCC's and Clang's own extension, so one source serves AVX-512, AVX2 and NEON.

   Every kernel treats a row by itself and adds its terms in an order that depends on nothing but that row. What a row
   comes to is therefore the same to the last bit whether it is computed alone, in a batch, in a prompt chunk or as a node of a
   draft tree: speculation then cannot move a near-tie. */

#ifndef EVERDRAFT_NATIVE_H
#define EVERDRAFT_NATIVE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif
#if defined(__AMX_TILE__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* Whether kernels/linear has products on matrix tiles. */
#if defined(__AMX_TILE__) && defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__linux__)
#define TILES_OF_BFLOAT16 1
#else
#define TILES_OF_BFLOAT16 0
#endif

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif

typedef float floats __attribute__((vector_size(4 * LANES)));
typedef uint32_t words __attribute__((vector_size(4 * LANES)));
typedef int32_t integers __attribute__((vector_size(4 * LANES)));

static inline floats load(const float *from) {
    floats value;
    memcpy(&value, from, sizeof value);
    return value;
}

static inline void store(float *to, floats value) { memcpy(to, &value, sizeof value); }

static inline floats all(float value) { return (floats){0} + value; }

/* a * b + c, rounded the same way wherever it is written: a loop left to the compiler may round its products apart in one
   place and not in another. */
static inline float fused(float a, float b, float c) {
#ifdef FP_FAST_FMAF
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}

/* The sum of all lanes, halves onto halves. */
static inline float sum(floats value) {
    float lanes[LANES];
    memcpy(lanes, &value, sizeof lanes);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int lane = 0; lane < width; lane++) lanes[lane] += lanes[lane + width];
    return lanes[0];
}

/* Folds `count` vectors two by two. */
static inline __attribute__((always_inline)) void fold(floats *vectors, const int count) {
    integers left, right; /* of two vectors side by side: the even lanes, the odd ones */
    for (int lane = 0; lane < LANES; lane++) left[lane] = 2 * lane, right[lane] = 2 * lane + 1;
#pragma GCC unroll 8
    for (int pair = 0; pair < count / 2; pair++) {
        const floats a = vectors[2 * pair], b = vectors[2 * pair + 1];
        vectors[pair] = __builtin_shuffle(a, b, left) + __builtin_shuffle(a, b, right);
    }
}

/* Lane i of the result is the sum of vector i of LANES. Each sum is folded in the same order. Unrolled, all of it stays in registers. */
static inline __attribute__((always_inline)) floats sums(floats *vectors) {
    if (LANES > 8) fold(vectors, 16);
    if (LANES > 4) fold(vectors, 8);
    fold(vectors, 4);
    fold(vectors, 2);
    return vectors[0];
}

static inline floats either(integers which, floats yes, floats no) {
    return (floats)((which & (integers)yes) | (~which & (integers)no));
}

static inline words either_word(integers which, words yes, words no) {
    return ((words)which & yes) | (~(words)which & no);
}

static inline int any(integers which) {
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask((__m512i)which, (__m512i)which) != 0;
#elif defined(__AVX2__)
    return !_mm256_testz_si256((__m256i)which, (__m256i)which);
#else
    int found = 0;
    for (int lane = 0; lane < LANES; lane++) found |= which[lane];
    return found;
#endif
}

/* The largest of `count` numbers, up to a whole vector of them. */
static inline float most(const float *numbers, long count) {
    floats largest = load(numbers);
    for (long at = LANES; at < count; at += LANES) {
        const floats next = load(numbers + at);
        largest = either(next > largest, next, largest);
    }
    float result = largest[0];
    for (int lane = 1; lane < LANES; lane++) result = largest[lane] > result ? largest[lane] : result;
    return result;
}

/* exp to within two units in the last place: 2^n by the exponent bits, the rest by its Taylor series on [-ln 2 / 2, ln 2 / 2]. */
static inline floats exponential(floats x) {
    const floats low = all(-87.0f), high = all(88.0f), magic = all(12582912.0f); /* 1.5 * 2^23: rounds to an integer */
    x = either(x < low, low, x);
    x = either(x > high, high, x);
    floats n = (x * 1.44269504f + magic) - magic;
    floats r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    floats series = all(1.0f / 5040);
    series = series * r + 1.0f / 720;
    series = series * r + 1.0f / 120;
    series = series * r + 1.0f / 24;
    series = series * r + 1.0f / 6;
    series = series * r + 0.5f;
    series = series * r + 1.0f;
    series = series * r + 1.0f;
    words bits = (words)(__builtin_convertvector(n, integers) + 127) << 23;
    return series * (floats)bits;
}

/* exp to a thousandth, for x up to 80: 2^n by the exponent bits, the rest by its series. */
static inline floats roughly_exponential(floats x) {
    const floats low = all(-80.0f), magic = all(12582912.0f); /* 1.5 * 2^23: rounds to an integer */
    x = either(x < low, low, x);
    const floats power = x * 1.44269504f, shifted = power + magic, rest = power - (shifted - magic);
    const floats series = 1.0f + rest * (0.69314718f + rest * (0.24022651f + rest * 0.05550411f));
    return (floats)((words)series + ((words)shifted << 23)); /* the low bits of `shifted` are n */
}

/* The finaliser of MurmurHash3 (Appleby), which the noise is made of. */
static inline words hashed(words x) {
    x = (x ^ (x >> 16)) * 0x85EBCA6Bu;
    x = (x ^ (x >> 13)) * 0xC2B2AE35u;
    return x ^ (x >> 16);
}

/* kernels/gumbel/key.py, token by token: a round of SplitMix64, and the u of a token from the two words of its key. */
static inline uint64_t splitmix(uint64_t x) {
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

static inline double uniform(uint32_t stream, uint32_t here, uint32_t token) {
    uint32_t x = token ^ stream;
    for (int round = 0; round < 2; round++) {
        x = (x ^ x >> 16) * 0x85EBCA6Bu;
        x = (x ^ x >> 13) * 0xC2B2AE35u;
        x ^= x >> 16;
        x ^= here;
    }
    return ((double)(x ^ here) + 0.5) * 0x1p-32;
}

/* Whether all numbers are places among `size`. */
static inline int all_within(const int64_t *numbers, long count, long size) {
    int within = 1;
    for (long at = 0; at < count; at++) within &= (uint64_t)numbers[at] < (uint64_t)size;
    return within;
}

/* At least `bytes` at a multiple of 64, the same for every call of a thread from one file; none if there is no memory. */
static inline void *scratch_of(size_t bytes) {
    static _Thread_local void *kept;
    static _Thread_local size_t size;
    if (bytes >= size) { /* of no bytes too: what is none means that there is no memory */
        free(kept);
        size = (2 * bytes / 64 + 1) * 64;
        kept = aligned_alloc(64, size);
        if (!kept) size = 0;
    }
    return kept;
}

#if defined(__AMX_TILE__) && defined(__linux__)
/* Whether the system lets this process use matrix tiles; it wants to be asked. */
static inline int tiles_permitted(void) {
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}
#endif

#endif
