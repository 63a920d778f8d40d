#include "memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace codenas {
namespace {

constexpr size_t HUGE_PAGE = size_t(2) << 20;

size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

char* map(size_t bytes) {
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) throw std::bad_alloc();
  return static_cast<char*>(data);
}

}  // namespace

Mapping::Mapping(size_t bytes, bool huge_pages) {
  if (bytes == 0) return;
  const size_t page = size_t(sysconf(_SC_PAGESIZE));
  bytes_ = round_up(bytes, page);
  if (!huge_pages) {
    data_ = map(bytes_);
    return;
  }
  // Huge pages begin at multiples of their size: map more, and give back what lies before and behind.
  char* all = map(bytes_ + HUGE_PAGE);
  data_ = reinterpret_cast<char*>(round_up(reinterpret_cast<uintptr_t>(all), HUGE_PAGE));
  if (data_ != all) munmap(all, size_t(data_ - all));
  munmap(data_ + bytes_, size_t(all + HUGE_PAGE - data_));
  madvise(data_, bytes_, MADV_HUGEPAGE);  // without effect where the system has none
}

Mapping::~Mapping() {
  if (data_) munmap(data_, bytes_);
}

void Mapping::shrink(size_t bytes) {
  const size_t kept = round_up(bytes, size_t(sysconf(_SC_PAGESIZE)));
  if (kept >= bytes_) return;
  munmap(data_ + kept, bytes_ - kept);
  bytes_ = kept;
  if (kept == 0) data_ = nullptr;
}

}  // namespace codenas
