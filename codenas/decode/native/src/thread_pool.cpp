#include "thread_pool.h"

#include <chrono>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace codenas {
namespace {

constexpr auto WATCH = std::chrono::microseconds(50);  // for the next piece, or for the last chunk of this one
constexpr int PAUSES = 32;                             // between two looks at the clock

uint64_t piece(uint64_t ticket) { return ticket >> 32; }
uint64_t chunks_of(uint64_t ticket) { return ticket >> 16 & 0xffff; }
uint64_t next_of(uint64_t ticket) { return ticket & 0xffff; }

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Until `ready`, or for a short while; false: it is not ready.
template <class Ready>
bool watch(const Ready& ready) {
  const auto end = std::chrono::steady_clock::now() + WATCH;
  do {
    for (int i = 0; i < PAUSES; i++) {
      if (ready()) return true;
      pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return ready();
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  for (int i = 1; i < threads; i++) workers_.emplace_back([this] { worker(); });
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    ticket_.store((piece(ticket_.load()) + 1) << 32);
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::share(int chunks, Call call, const void* context) {
  // Nobody reads these: all chunks of the last piece are done, and a worker reads them only after it has begun a chunk.
  call_ = call;
  context_ = context;
  done_.store(0, std::memory_order_relaxed);
  const uint64_t number = (piece(ticket_.load(std::memory_order_relaxed)) + 1) & 0xffffffff;
  ticket_.store(number << 32 | uint64_t(chunks) << 16, std::memory_order_seq_cst);
  if (asleep_.load(std::memory_order_seq_cst) > 0) {
    std::lock_guard<std::mutex> lock(mutex_);
    wake_.notify_all();
  }
  while (work()) {
  }
  const auto all_done = [&] { return done_.load(std::memory_order_acquire) == chunks; };
  while (!watch(all_done)) std::this_thread::yield();  // to a worker that waits for this core, perhaps
}

bool ThreadPool::work() {
  const uint64_t ticket = ticket_.fetch_add(1, std::memory_order_acq_rel);
  if (next_of(ticket) >= chunks_of(ticket)) return false;
  call_(context_, int(next_of(ticket)));
  done_.fetch_add(1, std::memory_order_acq_rel);
  return true;
}

void ThreadPool::worker() {
  uint64_t seen = 0;
  for (;;) {
    const auto news = [&] { return piece(ticket_.load(std::memory_order_seq_cst)) != seen; };
    if (!watch(news)) {
      std::unique_lock<std::mutex> lock(mutex_);
      asleep_.fetch_add(1, std::memory_order_seq_cst);
      wake_.wait(lock, news);
      asleep_.fetch_sub(1, std::memory_order_relaxed);
    }
    seen = piece(ticket_.load(std::memory_order_acquire));
    if (stop_.load()) return;
    while (work()) {
    }
  }
}

}  // namespace codenas
