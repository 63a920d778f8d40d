// Memory straight from the system: zero until it is touched, and only then resident.
#pragma once

#include <cstddef>
#include <new>
#include <utility>

namespace codenas {

// An anonymous mapping. With huge pages, a stream through it does not stop at a page's end every 4 KB.
class Mapping {
 public:
  explicit Mapping(size_t bytes = 0, bool huge_pages = false);
  ~Mapping();
  Mapping(Mapping&& other) noexcept : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }

  char* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  void shrink(size_t bytes);  // give the end back

 private:
  char* data_ = nullptr;
  size_t bytes_ = 0;
};

template <class T>
class Buffer {
 public:
  explicit Buffer(size_t count = 0) : mapping_(count * sizeof(T)), count_(count) {}
  T* data() const { return reinterpret_cast<T*>(mapping_.data()); }
  T& operator[](size_t i) const { return data()[i]; }
  size_t size() const { return count_; }

 private:
  Mapping mapping_;
  size_t count_;
};

// All weights of a model, one after the other in the order in which a forward pass reads them.
class Arena {
 public:
  explicit Arena(size_t most) : mapping_(most, true) {}

  template <class T>
  T* take(size_t count) {
    const size_t begin = (used_ + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT, end = begin + count * sizeof(T);
    if (end > mapping_.bytes()) throw std::bad_alloc();
    used_ = end;
    return reinterpret_cast<T*>(mapping_.data() + begin);
  }
  void finish() { mapping_.shrink(used_); }
  size_t used() const { return used_; }

 private:
  static constexpr size_t ALIGNMENT = 64;
  Mapping mapping_;
  size_t used_ = 0;
};

}  // namespace codenas
