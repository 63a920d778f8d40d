// What the parts of a layer are built from.
#pragma once

#include <memory>
#include <string>

#include "codenas_native.h"
#include "mixer.h"
#include "positions.h"
#include "tensors.h"
#include "workspace.h"

namespace codenas {

struct LayerParts {
  const cn_arch& arch;
  const cn_mixer& mixer;
  const Tensors& tensors;
  const std::string prefix;  // of the mixer's tensors: "blocks.3.mixer."
  const cn_options& options;
  Arena& arena;
  Workspace& work;
  std::shared_ptr<const RotaryTable> rotary;  // null without rotary positions

  const cn_tensor& matrix(const std::string& name, int64_t rows, int64_t columns) const {
    return tensors.matrix(prefix + name + ".weight", rows, columns);
  }
  std::vector<float> vector(const std::string& name, int64_t length) const { return tensors.vector(prefix + name, length); }
};

std::unique_ptr<Mixer> make_attention(const LayerParts& parts);
std::unique_ptr<Mixer> make_linear_attention(const LayerParts& parts);
std::unique_ptr<Mixer> make_mamba2(const LayerParts& parts);
std::unique_ptr<Mixer> make_rwkv7(const LayerParts& parts);

}  // namespace codenas
