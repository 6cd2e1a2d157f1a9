// Whole models, small ones: made-up weights of every family in a Hugging Face folder, and the models that ship.
#include "calibrate/quantize/quantizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <iterator>
#include <random>

#include "engine/plan_run.h"
#include "io/temporary_folder.h"
#include "model/blocks.h"

namespace loci {
namespace {

using ::testing::HasSubstr;

const std::string kFolder = LOCI_SOURCE_DIR "/tests/data/parity/";
const std::string kNeedle = LOCI_SOURCE_DIR "/models/needle-14m-q8_0.gguf";

CalibrationText random_text(uint32_t sequences, uint32_t length, uint32_t vocabulary) {
  std::mt19937 random(5);
  CalibrationText out{.sequences = {}, .name = "random"};
  for (uint32_t s = 0; s < sequences; ++s) {
    std::vector<TokenId> tokens(length);
    for (TokenId& id : tokens) id = static_cast<TokenId>(random() % vocabulary);
    out.sequences.push_back(std::move(tokens));
  }
  return out;
}

struct Recipe {
  std::string scheme = "w4a8kv4";
  std::string group = "128";
  std::string steps = "all";
};

QuantizeRun run_of(const Recipe& recipe, const std::filesystem::path& output) {
  QuantizeRun run;
  run.scheme = *parse_scheme(recipe.scheme, recipe.group);
  run.steps = *parse_steps(recipe.steps, run.scheme);
  run.embeddings = DType::kF16;
  run.output = output;
  run.on_share = [](double share) { EXPECT_TRUE(share >= 0 && share <= 1) << share; };
  return run;
}

std::unique_ptr<ModelQuantizer> open_quantizer(const std::string& model, int threads = 2) {
  auto out = ModelQuantizer::open(model, random_text(6, 128, 200), threads, {});
  EXPECT_TRUE(out.ok()) << out.error().message;
  return std::move(*out);
}

std::string content(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Logits of a prompt, decoded to fp32 weights and activations, with a 16-bit cache.
test::RowLogits logits_of(const std::string& model, const std::string& attention = "store=kv16") {
  auto file = open_model_file(model);
  EXPECT_TRUE(file.ok()) << file.error().message;
  EngineOptions options;
  options.threads = 2;
  options.context = 128;
  options.attention = attention;
  options.activations = "f32";
  auto core = Core::load(**file, options);
  EXPECT_TRUE(core.ok()) << core.error().message;
  std::mt19937 random(3);
  std::vector<TokenId> tokens(100);
  for (TokenId& id : tokens) id = static_cast<TokenId>(random() % 200);
  return test::run_alone(**core, tokens, 100);
}

// The mean over rows of |a - b| / |a|.
double distance(const test::RowLogits& a, const test::RowLogits& b) {
  double sum = 0;
  for (size_t r = 0; r < a.size(); ++r) {
    double off = 0, size = 0;
    for (size_t i = 0; i < a[r].size(); ++i) {
      off += std::pow(a[r][i] - b[r][i], 2);
      size += std::pow(a[r][i], 2);
    }
    sum += std::sqrt(off / size) / static_cast<double>(a.size());
  }
  return sum;
}

class QuantizedFamily : public testing::TestWithParam<const char*> {
 protected:
  std::string model() const { return GetParam() == std::string("needle") ? kNeedle : kFolder + GetParam(); }
  TemporaryFolder folder_;
};

// With weights of 16 bits folding is all that happens: the model says what it said, to the rounding of fp16.
TEST_P(QuantizedFamily, FoldingLeavesLogitsAsTheyAre) {
  const auto quantizer = open_quantizer(model());
  const std::filesystem::path output = folder_.path() / "folded.gguf";
  const auto made = quantizer->run(run_of(
      {"w16a16kv4", "128", "rotate,rotate-values,center-keys,smooth-attention,compensate-keys,reorder"}, output));
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_LT(distance(logits_of(model()), logits_of(output)), 3e-3);
}

// The same where the stream stays as it is and inputs are turned.
TEST_P(QuantizedFamily, TurnedInputsLeaveLogitsAsTheyAre) {
  const auto quantizer = open_quantizer(model());
  const std::filesystem::path output = folder_.path() / "turned.gguf";
  const auto made =
      quantizer->run(run_of({"w16a16kv16", "128", "smooth-inputs,turn-inputs,smooth-outputs,turn-gated"}, output));
  ASSERT_TRUE(made.ok()) << made.error().message;
  const auto file = open_model_file(output);
  EXPECT_TRUE(*(*file)->metadata().flag_or(kTurnsInputs, false));
  EXPECT_TRUE(*(*file)->metadata().flag_or(kTurnsGated, false));
  EXPECT_LT(distance(logits_of(model()), logits_of(output)), 3e-3);
}

// And without folding the file is the model in another format.
TEST_P(QuantizedFamily, PlainFilesSayTheSame) {
  const auto quantizer = open_quantizer(model());
  const std::filesystem::path output = folder_.path() / "plain.gguf";
  ASSERT_TRUE(quantizer->run(run_of({"w16a16kv16", "128", "none"}, output)).ok());
  EXPECT_LT(distance(logits_of(model()), logits_of(output)), 3e-3);
}

TEST_P(QuantizedFamily, FewerBitsAreFurtherOff) {
  const auto quantizer = open_quantizer(model());
  const test::RowLogits right = logits_of(model());
  const auto off = [&](const Recipe& recipe) {
    const std::filesystem::path output = folder_.path() / "rounded.gguf";
    const auto made = quantizer->run(run_of(recipe, output));
    EXPECT_TRUE(made.ok()) << made.error().message;
    return distance(right, logits_of(output));
  };
  const double w8 = off({"w8a8kv16", "channel", "none"});
  const double grouped = off({"w4a8kv16", "32", "none"});
  const double channel = off({"w4a8kv16", "channel", "none"});
  const double full = off({"w4a8kv16", "32", "all"});
  EXPECT_LT(w8, grouped);
  EXPECT_LT(grouped, channel);
  EXPECT_LT(full, 1.05 * grouped);
}

INSTANTIATE_TEST_SUITE_P(Models, QuantizedFamily,
                         testing::Values("tiny-llama3", "tiny-llama-linear", "tiny-qwen2", "tiny-qwen3", "tiny-gemma3",
                                         "needle"),
                         [](const auto& p) {
                           std::string name = p.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

class QuantizedNeedle : public testing::Test {
 protected:
  TemporaryFolder folder_;
};

TEST_F(QuantizedNeedle, InterruptedRunsEndWithTheSameBytes) {
  const auto quantizer = open_quantizer(kNeedle);
  const std::string steps = "rotate,rotate-values,smooth-attention,compensate-keys,compensate,sequential";
  QuantizeRun run = run_of({"w4a8kv4", "128", steps}, folder_.path() / "whole.gguf");
  ASSERT_TRUE(quantizer->run(run).ok());

  // As in other processes, with other numbers of threads, each of which is stopped after two layers more.
  uint32_t resumed = 0;
  run.output = folder_.path() / "pieces.gguf";
  const std::filesystem::path parts = run.output.string() + ".unfinished";
  for (long allowed = 2; resumed == 0 && allowed <= 6; allowed += 2) {
    const auto again = open_quantizer(kNeedle, 1 + static_cast<int>(allowed) % 3);
    run.cancelled = [&] {
      const std::filesystem::directory_iterator none;
      return std::filesystem::exists(parts) &&
             std::distance(std::filesystem::directory_iterator(parts), none) >= allowed;
    };
    const auto part = again->run(run);
    if (part.ok()) {
      resumed = part->resumed;
    } else {
      ASSERT_EQ(part.error().code, ErrorCode::kCancelled) << part.error().message;
      EXPECT_FALSE(std::filesystem::exists(run.output));
    }
  }
  EXPECT_EQ(resumed, 4u);
  EXPECT_FALSE(std::filesystem::exists(run.output.string() + ".unfinished"));
  EXPECT_TRUE(content(folder_.path() / "whole.gguf") == content(run.output));
}

TEST_F(QuantizedNeedle, PartsOfAnotherRunAreRefused) {
  const auto quantizer = open_quantizer(kNeedle);
  QuantizeRun run = run_of({"w4a8kv4", "128", "none"}, folder_.path() / "out.gguf");
  int layers = 0;
  run.cancelled = [&] { return ++layers > 2; };
  ASSERT_EQ(quantizer->run(run).error().code, ErrorCode::kCancelled);
  QuantizeRun other = run_of({"w4a8kv8", "128", "none"}, run.output);
  const auto refused = quantizer->run(other);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(refused.error().message, HasSubstr("another run"));
  // As many tokens of the same text, cut into other pieces.
  const auto cut_otherwise = *ModelQuantizer::open(kNeedle, random_text(3, 256, 200), 2, {});
  const auto also_refused = cut_otherwise->run(run_of({"w4a8kv4", "128", "none"}, run.output));
  ASSERT_FALSE(also_refused.ok());
  EXPECT_THAT(also_refused.error().message, HasSubstr("another run"));
}

TEST_F(QuantizedNeedle, DamagedTensorsAreRefusedByName) {
  const auto quantizer = open_quantizer(kNeedle);
  const std::filesystem::path output = folder_.path() / "out.gguf";
  ASSERT_TRUE(quantizer->run(run_of({"w4a8kv4", "128", "none"}, output)).ok());
  const auto tensor_at = [&]() -> size_t {
    const auto file = open_model_file(output);
    const Tensor* tensor = (*file)->find("blk.3.ffn_down.weight");
    // Behind it, to the end of the file, lie the tensors that follow.
    size_t behind = 0;
    for (const Tensor& other : (*file)->tensors()) {
      if (other.data.data() >= tensor->data.data()) {
        behind = std::max(behind, static_cast<size_t>(other.data.data() + other.data.size() - tensor->data.data()));
      }
    }
    return std::filesystem::file_size(output) - ((behind + 31) / 32 * 32);
  };
  const size_t at = tensor_at() + 1000;
  std::fstream file(output, std::ios::binary | std::ios::in | std::ios::out);
  file.seekg(static_cast<std::streamoff>(at));
  const char was = static_cast<char>(file.get());
  file.seekp(static_cast<std::streamoff>(at));
  file.put(static_cast<char>(was ^ 1));
  file.close();
  const auto damaged = open_model_file(output);
  ASSERT_TRUE(damaged.ok()) << "the header is whole";
  EngineOptions options;
  options.context = 64;
  const auto core = Core::load(**damaged, options);
  ASSERT_FALSE(core.ok());
  EXPECT_EQ(core.error().code, ErrorCode::kCorrupt);
  EXPECT_THAT(core.error().message, HasSubstr("'blk.3.ffn_down.weight'"));
}

TEST_F(QuantizedNeedle, TheCacheIsStoredAsTheSchemeSays) {
  const auto quantizer = open_quantizer(kNeedle);
  const std::filesystem::path output = folder_.path() / "out.gguf";
  ASSERT_TRUE(quantizer->run(run_of({"w4a8kv4", "128", "none"}, output)).ok());
  const auto attention = [&](const std::string& plan) {
    const auto core = test::load_core(plan, {.model = output});
    return core->layout().attention.canonical();
  };
  EXPECT_EQ(attention("dense"), "store=kv4");
  EXPECT_EQ(attention("store=kv16"), "dense");
  EXPECT_EQ(attention("kv8"), "store=kv8");
  EXPECT_THAT(attention("streaming"), HasSubstr("store=kv4"));
  const auto core = test::load_core("dense", {.model = output});
  EXPECT_EQ((*core->bind("streaming"))->layout.attention.codec(LayerId{0}), KvCodec::kKv4);
}

// Batched as alone, chunks as the whole, threads, forks: bit for bit, in prompts and in decode.
TEST_F(QuantizedNeedle, KeepsThePromisesOfOtherModels) {
  const auto quantizer = open_quantizer(kNeedle);
  for (const char* group : {"128", "channel"}) {
    const std::filesystem::path output = folder_.path() / "out.gguf";
    const std::string steps = "center-keys,compensate-keys,turn-inputs,turn-gated";
    ASSERT_TRUE(quantizer->run(run_of({"w4a8kv4", group, steps}, output)).ok());
    const auto core = test::load_core("dense", {.model = output});
    const std::vector<TokenId> a = test::random_tokens(*core, 200, 1), b = test::random_tokens(*core, 90, 2);
    const test::RowLogits whole = test::run_alone(*core, a, 180);
    const test::RowLogits alone = test::run_alone(*core, b, 60);
    const auto chunks = test::load_core("dense", {.model = output, .chunk = 13, .threads = 3});
    test::expect_same_rows(whole, test::run_alone(*chunks, a, 180), "chunks of 13 and three threads");

    Sequence first = test::begin(*core, a, 180), second = test::begin(*core, b, 60);
    test::RowLogits of_first, of_second;
    Sequence* both[] = {&first, &second};
    test::RowLogits* to[] = {&of_first, &of_second};
    while (second.unfed() > 0) {
      const uint32_t rows[] = {first.unfed() > 0 ? test::next_rows(*core, first) : 0, test::next_rows(*core, second)};
      const size_t skip = rows[0] == 0 ? 1 : 0;
      test::feed(*core, std::span(both).subspan(skip), std::span(rows).subspan(skip), std::span(to).subspan(skip));
    }
    test::feed_until(*core, first, 200, of_first);
    test::expect_same_rows(whole, of_first, "batched, first");
    test::expect_same_rows(alone, of_second, "batched, second");

    Sequence origin = test::begin(*core, a, 180);
    test::RowLogits until;
    test::feed_until(*core, origin, 190, until);
    Sequence fork = origin.fork();
    test::RowLogits of_fork;
    test::feed_until(*core, fork, 200, of_fork);
    test::expect_same_rows(whole, of_fork, "fork", 190);
  }
}

// The file says by what keys are rounded, and the engine does it.
TEST_F(QuantizedNeedle, CompensatedKeysBringLogitsNearer) {
  const auto quantizer = open_quantizer(kNeedle);
  const test::RowLogits right = logits_of(kNeedle);
  const auto off = [&](const char* steps) {
    const std::filesystem::path output = folder_.path() / "out.gguf";
    EXPECT_TRUE(quantizer->run(run_of({"w16a16kv4", "128", steps}, output)).ok());
    const auto file = open_model_file(output);
    const std::string last = layer_tensor(LayerId(quantizer->config().layers - 1), kKeyFeedback);
    EXPECT_EQ((*file)->find(last) != nullptr, std::string(steps) == "compensate-keys");
    return distance(right, logits_of(output, "dense"));
  };
  const double plain = off("none"), compensated = off("compensate-keys");
  EXPECT_LT(compensated, 0.95 * plain);
}

TEST_F(QuantizedNeedle, QuantizedModelsAreNotQuantizedAgain) {
  const auto quantizer = open_quantizer(kNeedle);
  const std::filesystem::path output = folder_.path() / "out.gguf";
  ASSERT_TRUE(quantizer->run(run_of({"w8a8kv8", "channel", "none"}, output)).ok());
  const auto again = ModelQuantizer::open(output, {}, 1, {});
  ASSERT_FALSE(again.ok());
  EXPECT_THAT(again.error().message, HasSubstr("quantized already"));
  const auto without_text = ModelQuantizer::open(kNeedle, {}, 1, {});
  ASSERT_TRUE(without_text.ok());
  EXPECT_EQ((*without_text)->run(run_of({}, output)).error().code, ErrorCode::kInvalidArgument);
}

TEST(Recipes, SchemesAndStepsAreReadAndRefused) {
  EXPECT_EQ(parse_scheme("w4a8kv4", "channel")->group, 0u);
  EXPECT_EQ(parse_scheme("w8a8kv8", "128")->name(), "w8a8kv8");
  for (const char* wrong : {"w4a8", "w3a8kv4", "w4a8kv5", "", "kv4"}) {
    EXPECT_EQ(parse_scheme(wrong, "128").error().code, ErrorCode::kInvalidArgument) << wrong;
  }
  for (const char* wrong : {"0", "96", "row", "128x"}) EXPECT_FALSE(parse_scheme("w4a8kv4", wrong).ok()) << wrong;
  EXPECT_FALSE(parse_scheme("w4a16kv4", "channel").ok());
  const QuantScheme grouped = *parse_scheme("w4a8kv4", "128"), channel = *parse_scheme("w4a8kv16", "channel");
  EXPECT_EQ(parse_steps("all", grouped)->names(),
            "rotate-values,center-keys,smooth-attention,compensate-keys,smooth-inputs,turn-inputs,smooth-outputs,"
            "turn-gated,clip,compensate,sequential");
  EXPECT_EQ(parse_steps("all", channel)->names(),
            "rotate-values,smooth-inputs,turn-inputs,smooth-outputs,turn-gated,clip,compensate,sequential");
  EXPECT_EQ(parse_steps("clip,rotate", grouped)->names(), "rotate,clip");
  EXPECT_EQ(parse_steps("none", grouped)->names(), "none");
  EXPECT_THAT(parse_steps("rotat", grouped).error().message, HasSubstr("did you mean 'rotate'"));
}

}  // namespace
}  // namespace loci
