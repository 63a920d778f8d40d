#include "tensors.h"

#include "errors.h"
#include "simd.h"

namespace codenas {
namespace {

constexpr int64_t LARGEST = int64_t(1) << 31;  // rows or columns: sizes are exact in 64 bits, indices in 32

}  // namespace

Tensors::Tensors(const cn_tensor* tensors, size_t count) {
  for (size_t i = 0; i < count; i++) {
    const cn_tensor& tensor = tensors[i];
    require(tensor.name && tensor.values, "a tensor has no name or no values");
    const std::string name = tensor.name;
    require(tensor.rows > 0 && tensor.columns > 0 && tensor.rows < LARGEST && tensor.columns < LARGEST, name + " has no valid shape");
    require(tensor.dtype >= CN_F32 && tensor.dtype <= CN_U4, name + " has no known type");
    require((tensor.dtype < CN_I8) == (tensor.scales == nullptr), name + ": only int8 and int4 have scales");
    require(by_name_.emplace(name, tensor).second, name + " is given twice");
  }
}

const cn_tensor& Tensors::find(const std::string& name) const {
  const auto found = by_name_.find(name);
  require(found != by_name_.end(), name + " is missing");
  return found->second;
}

const cn_tensor& Tensors::matrix(const std::string& name, int64_t rows, int64_t columns) const {
  const cn_tensor& tensor = find(name);
  require(tensor.rows == rows && tensor.columns == columns,
          name + " is " + std::to_string(tensor.rows) + " x " + std::to_string(tensor.columns) + ", the architecture needs " +
              std::to_string(rows) + " x " + std::to_string(columns));
  return tensor;
}

std::vector<float> Tensors::vector(const std::string& name, int64_t length) const {
  const cn_tensor& tensor = find(name);
  require(tensor.rows * tensor.columns == length, name + " does not have " + std::to_string(length) + " values");
  require(tensor.dtype == CN_F32 || tensor.dtype == CN_F16, name + " is no float tensor");
  std::vector<float> values(static_cast<size_t>(length));
  for (size_t i = 0; i < values.size(); i++)
    values[i] = tensor.dtype == CN_F32 ? static_cast<const float*>(tensor.values)[i] : half_to_float(static_cast<const half*>(tensor.values)[i]);
  return values;
}

std::vector<const cn_tensor*> Tensors::all() const {
  std::vector<const cn_tensor*> tensors;
  for (const auto& named : by_name_) tensors.push_back(&named.second);
  return tensors;
}

}  // namespace codenas
