// Heads that ph3 cuts off, beside the same model whose output projection lacks their columns (PH3, arXiv:2402.18154).
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "engine/plan_run.h"

namespace loci::test {
namespace {

namespace fs = std::filesystem;

constexpr const char* kGatedModel = "tests/data/parity/tiny-qwen3";

// A copy of the model in which o_proj of `layer` has zeros in the columns of query head `head`; of all heads if it is
// negative.
class CutModel {
 public:
  CutModel(uint32_t layer, int head) : folder_(fs::temp_directory_path() / fmt::format("loci_cut_{}_{}", layer, head)) {
    fs::remove_all(folder_);
    fs::copy(fs::path(LOCI_SOURCE_DIR) / kGatedModel, folder_);
    const fs::path weights = folder_ / "model.safetensors";
    std::ifstream in(weights, std::ios::binary);
    std::vector<char> bytes((std::istreambuf_iterator<char>(in)), {});
    uint64_t header = 0;
    std::memcpy(&header, bytes.data(), 8);
    const auto tensors = nlohmann::json::parse(bytes.data() + 8, bytes.data() + 8 + header);
    const auto& tensor = tensors.at(fmt::format("model.layers.{}.self_attn.o_proj.weight", layer));
    EXPECT_EQ(tensor.at("dtype"), "F32");
    const size_t rows = tensor.at("shape").at(0), columns = tensor.at("shape").at(1);
    char* data = bytes.data() + 8 + header + tensor.at("data_offsets").at(0).get<size_t>();
    for (size_t r = 0; r < rows; ++r) {
      const size_t first = head < 0 ? 0 : static_cast<size_t>(head) * kHeadDim;
      const size_t count = head < 0 ? columns : kHeadDim;
      std::memset(data + (r * columns + first) * sizeof(float), 0, count * sizeof(float));
    }
    std::ofstream(weights, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
  CutModel(const CutModel&) = delete;
  CutModel& operator=(const CutModel&) = delete;
  ~CutModel() { fs::remove_all(folder_); }

  std::string path() const { return folder_.string(); }

 private:
  static constexpr size_t kHeadDim = 32;
  fs::path folder_;
};

void expect_near(const RowLogits& a, const RowLogits& b, double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t r = 0; r < a.size(); ++r) {
    for (size_t i = 0; i < a[r].size(); ++i) ASSERT_NEAR(a[r][i], b[r][i], tolerance) << "row " << r;
  }
}

RowLogits logits(const std::string& plan, const std::string& model) {
  const std::unique_ptr<Core> core = load_core(plan, {.model = model, .context = 128});
  return run_alone(*core, random_tokens(*core, 90, 3), 80);
}

TEST(HeadGates, ACutHeadIsAZeroBlockOfTheProjection) {
  const RowLogits whole = logits("dense", kGatedModel);
  for (const auto& [layer, head] : {std::pair{0u, 1}, {1u, 3}}) {
    const CutModel cut(layer, head);
    const RowLogits gated = logits(fmt::format("mix=ph3(heads={}.{})", layer, head), kGatedModel);
    expect_near(gated, logits("dense", cut.path()), 2e-4);
    EXPECT_NE(gated, whole) << "the head carries something";
  }
}

// What is left of the layer is its MLP over the residual.
TEST(HeadGates, AllCutHeadsLeaveTheResidual) {
  const CutModel cut(1, -1);
  expect_near(logits("mix=ph3(heads=1.0+1.1+1.2+1.3)", kGatedModel), logits("dense", cut.path()), 2e-4);
}

}  // namespace
}  // namespace loci::test
