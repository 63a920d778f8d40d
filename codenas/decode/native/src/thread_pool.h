// Threads that share the chunks of one piece of work after the other.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace codenas {

// `run(n, body)` calls body(0) to body(n - 1), each once, by whichever thread comes first, and returns when all are done. The caller
// works too, and waits only for chunks that somebody has begun: a worker that the system has taken its core away from is not missed.
// Idle workers watch for work for some microseconds, since the pieces of a forward pass follow each other closely, and sleep then.
class ThreadPool {
 public:
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return int(workers_.size()) + 1; }

  template <class Body>
  void run(int chunks, const Body& body) {
    if (workers_.empty() || chunks == 1) {
      for (int i = 0; i < chunks; i++) body(i);
    } else if (chunks > 0) {
      share(chunks, [](const void* context, int chunk) { (*static_cast<const Body*>(context))(chunk); }, &body);
    }
  }

  // body(begin, end) over ranges of 0 to n of at least `grain` items; a few ranges for each thread, so that nobody waits long.
  template <class Body>
  void run_ranges(int n, int grain, const Body& body) {
    const int most = (n + grain - 1) / grain, wanted = threads() == 1 ? 1 : threads() * RANGES_PER_THREAD;
    const int ranges = most < wanted ? most : wanted;
    run(ranges, [&](int i) { body(int(int64_t(n) * i / ranges), int(int64_t(n) * (i + 1) / ranges)); });
  }

 private:
  static constexpr int RANGES_PER_THREAD = 4;
  using Call = void (*)(const void* context, int chunk);

  void share(int chunks, Call call, const void* context);
  bool work();  // one chunk of the present piece; false: none is left
  void worker();

  // Number of the piece, its chunks, and the next one that nobody has begun, in one word: whoever adds one to it has begun a chunk,
  // and knows which and of what.
  std::atomic<uint64_t> ticket_{0};
  std::atomic<int> done_{0};
  Call call_ = nullptr;  // of the present piece: stays while a begun chunk is not done
  const void* context_ = nullptr;

  std::atomic<int> asleep_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

}  // namespace codenas
