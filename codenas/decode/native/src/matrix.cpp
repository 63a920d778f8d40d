#include "matrix.h"

#include "errors.h"

namespace codenas {

std::unique_ptr<Matrix> make_matrix(Arena& arena, int dtype, int rows, int inputs) {
  switch (dtype) {
    case CN_F32: return make_float32_matrix(arena, rows, inputs);
    case CN_F16: return make_float16_matrix(arena, rows, inputs);
    case CN_I8: return make_int8_matrix(arena, rows, inputs);
    default: return make_int4_matrix(arena, rows, inputs);
  }
}

size_t packed_bound(const cn_tensor& tensor) {
  const size_t rows = size_t(tensor.rows) + PANEL, columns = size_t(tensor.columns) + GROUP;  // filled up to whole panels and groups
  switch (tensor.dtype) {
    case CN_F32: return rows * columns * 4 + GROUP;
    case CN_F16: return rows * columns * 2 + GROUP;
    case CN_I8: return rows * (columns + sizeof(float)) + GROUP;
    default: return rows * (columns / 2 + columns / GROUP * sizeof(half)) + GROUP;
  }
}

std::unique_ptr<Matrix> stack(Arena& arena, const Parts& parts) {
  int rows = 0;
  for (const cn_tensor* part : parts) {
    require(part->dtype == parts[0]->dtype && part->columns == parts[0]->columns, std::string(part->name) + " is stored unlike its neighbours");
    rows += int(part->rows);
  }
  auto matrix = make_matrix(arena, parts[0]->dtype, rows, int(parts[0]->columns));
  int row = 0;
  for (const cn_tensor* part : parts)
    for (int64_t i = 0; i < part->rows; i++) matrix->set_row(row++, *part, i);
  return matrix;
}

std::unique_ptr<Matrix> interleave(Arena& arena, const cn_tensor& first, const cn_tensor& second) {
  require(first.dtype == second.dtype, std::string(second.name) + " is stored unlike " + first.name);
  auto matrix = make_matrix(arena, first.dtype, round_up(int(first.rows), LANES) * 2, int(first.columns));
  for (int i = 0; i < int(first.rows); i++) {
    const int row = i / LANES * PANEL + i % LANES;
    matrix->set_row(row, first, i);
    matrix->set_row(row + LANES, second, i);
  }
  return matrix;
}

std::unique_ptr<Matrix> transpose(Arena& arena, const cn_tensor& tensor, float factor) {
  Arena own(packed_bound(tensor));
  const auto stored = stack(own, {&tensor});
  const size_t rows = size_t(tensor.rows), columns = size_t(tensor.columns);
  std::vector<float> row(columns), turned(rows * columns);
  for (size_t i = 0; i < rows; i++) {
    stored->get_row(int(i), row.data());
    for (size_t j = 0; j < columns; j++) turned[j * rows + i] = factor * row[j];
  }
  const cn_tensor result{tensor.name, turned.data(), nullptr, tensor.columns, tensor.rows, CN_F32};
  return stack(arena, {&result});
}

}  // namespace codenas
