// The stored tensors of a checkpoint, by name.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "codenas_native.h"

namespace codenas {

class Tensors {
 public:
  Tensors(const cn_tensor* tensors, size_t count);

  bool has(const std::string& name) const { return by_name_.count(name) > 0; }
  const cn_tensor& matrix(const std::string& name, int64_t rows, int64_t columns) const;  // throws `Invalid` unless it has this shape
  std::vector<float> vector(const std::string& name, int64_t length) const;
  std::vector<const cn_tensor*> all() const;

 private:
  const cn_tensor& find(const std::string& name) const;
  std::unordered_map<std::string, cn_tensor> by_name_;
};

}  // namespace codenas
