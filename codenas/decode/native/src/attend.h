// Softmax attention of some queries to one head of a cache.
#pragma once

#include "kv_cache.h"

namespace codenas {

// Queries of one key head: rows of `tokens` consecutive tokens times the query heads that share the key head.
struct Queries {
  int slot;
  int key_head;
  int position;  // of the first token
  int tokens;
  int heads;     // that share the key head
  const float* query;  // of the first token's first head, scaled; heads are `width` apart
  ptrdiff_t query_stride;  // between tokens
  float* mixed;        // as `query`
  ptrdiff_t mixed_stride;
  int width;
  int window;            // positions that a token sees; 0: all
  const float* slopes;   // of ALiBi, [heads]; null: none
};

template <class T>
void attend(const KvCache<T>& cache, const Queries& queries);

}  // namespace codenas
