// loci quantize on the models that ship with Loci.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "command_line.h"

namespace loci {
namespace {

using ::testing::HasSubstr;

const std::string kStories = LOCI_SOURCE_DIR "/models/stories260k.gguf";  // rows of 64 and of 172 columns

std::vector<std::string> quantize_command(const std::string& output, const std::vector<std::string>& more = {}) {
  std::vector<std::string> out{
      "quantize",    "-m", kStories,   "-o", output, "--calib", LOCI_SOURCE_DIR "/tests/data/parity/stories.txt",
      "--sequences", "2",  "--length", "64"};
  out.insert(out.end(), more.begin(), more.end());
  return out;
}

TEST(QuantizeCommand, MakesAModelThatRunsAndSaysHowItWasMade) {
  const ScratchFolder folder;
  const std::string path = folder.path("small.gguf");
  const Outcome made = loci_run(quantize_command(path, {"--json"}));
  ASSERT_EQ(made.code, 0) << made.err;
  EXPECT_EQ(made.json()["scheme"], "w4a8kv4");
  EXPECT_EQ(made.json()["steps"],
            "rotate-values,center-keys,smooth-attention,compensate-keys,smooth-inputs,turn-inputs,smooth-outputs,"
            "turn-gated,clip,compensate,sequential");
  EXPECT_EQ(made.json()["resumed_layers"], 0);
  EXPECT_EQ(made.json()["bytes"], std::filesystem::file_size(path));
  EXPECT_GT(made.json()["peak_bytes"], 0);

  const Outcome inspected = loci_run({"inspect", "-m", path, "--json"});
  ASSERT_EQ(inspected.code, 0) << inspected.err;
  const nlohmann::json quantization = inspected.json()["quantization"];
  EXPECT_EQ(quantization["scheme"], "w4a8kv4");
  EXPECT_EQ(quantization["tokens"], 128);
  EXPECT_EQ(quantization["command"],
            "loci quantize -m stories260k.gguf --scheme w4a8kv4 --group 128 --steps "
            "rotate-values,center-keys,smooth-attention,compensate-keys,smooth-inputs,turn-inputs,smooth-outputs,"
            "turn-gated,clip,compensate,sequential "
            "--embeddings q8_0 "
            "-o small.gguf --sequences 2 --length 64 --calib stories.txt");
  EXPECT_THAT(std::string(quantization["notes"]), HasSubstr("rows of 172 columns stay f16"));
  EXPECT_THAT(std::string(quantization["notes"]), HasSubstr("rows of 64 columns have groups of 64"));
  ASSERT_EQ(quantization["layers"].size(), 5u);
  for (const nlohmann::json& layer : quantization["layers"]) {
    EXPECT_GT(layer["error.ffn_up"], 0.0);
    EXPECT_LT(layer["error.ffn_up"], 0.2);
    // The exponent is chosen by this very error.
    EXPECT_LE(layer["attention.key_error.after"], layer["attention.key_error.before"]);
    EXPECT_LE(layer["attention.key_error.compensated"], layer["attention.key_error.after"]);
  }
  EXPECT_THAT(loci_run({"inspect", "-m", path}).out, HasSubstr("quantized to w4a8kv4 by\n  loci quantize"));
  EXPECT_TRUE(loci_run({"inspect", "-m", kStories, "--json"}).json()["quantization"].is_null());

  const std::string text =
      folder.file("text.txt", "Once upon a time there was a little whale. It liked to swim in the sea.");
  const Outcome scored = loci_run({"eval", "perplexity", "-m", path, "-f", text, "--json"});
  ASSERT_EQ(scored.code, 0) << scored.err;
  EXPECT_EQ(scored.json()["attention"], "store=kv4");
}

TEST(QuantizeCommand, ClimbsTheLadder) {
  const ScratchFolder folder;
  const Outcome made = loci_run(
      quantize_command(folder.path("out.gguf"), {"--group", "channel", "--ladder", "--ladder-tokens", "64", "--json"}));
  ASSERT_EQ(made.code, 0) << made.err;
  std::vector<std::string> recipes;
  const nlohmann::json json = made.json();
  for (const nlohmann::json& rung : json["ladder"]) {
    recipes.push_back(rung["recipe"]);
    EXPECT_GT(rung["mean_nll"], 0.0);
  }
  EXPECT_EQ(recipes,
            (std::vector<std::string>{"the model, 16 bits", "w4a16, groups, plain rounding",
                                      "plain rounding, 16-bit cache", "+ kv4", "+ compensate", "+ rotate-values",
                                      "+ center-keys", "+ smooth-attention", "+ compensate-keys", "+ smooth-inputs",
                                      "+ turn-inputs", "+ smooth-outputs", "+ turn-gated", "+ clip", "+ sequential"}));
  EXPECT_FALSE(std::filesystem::exists(folder.path("out.gguf.rung")));
}

TEST(QuantizeCommand, GoesOnAfterCtrlC) {
  const ScratchFolder folder;
  const std::string path = folder.path("out.gguf");
  const Outcome stopped = loci_run(quantize_command(path, {"--steps", "none", "--json"}), "", true);
  EXPECT_EQ(stopped.code, 130);
  EXPECT_EQ(stopped.json()["error"]["code"], "cancelled");
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_EQ(loci_run(quantize_command(path, {"--steps", "none"})).code, 0);
}

TEST(QuantizeCommand, SaysWhatItCannotDo) {
  const ScratchFolder folder;
  const std::string path = folder.path("out.gguf");
  const auto error = [&](const std::vector<std::string>& more) {
    const Outcome outcome = loci_run(quantize_command(path, more));
    EXPECT_NE(outcome.code, 0);
    return outcome.err;
  };
  EXPECT_THAT(error({"--scheme", "w4a4kv4"}), HasSubstr("there is no scheme 'w4a4kv4'; write w4a8"));
  EXPECT_THAT(error({"--group", "100"}), HasSubstr("must be channel, 128, 64 or 32"));
  EXPECT_THAT(error({"--steps", "rotat"}), HasSubstr("did you mean 'rotate'"));
  EXPECT_THAT(loci_run({"quantize", "-m", kStories, "-o", path, "--calib", folder.file("short.txt", "Call me.")}).err,
              HasSubstr("too few for a sequence of 512"));
  EXPECT_EQ(loci_run(quantize_command(path, {"--embeddings", "q2"})).code, 2);
  EXPECT_EQ(
      loci_run(quantize_command(folder.path("no/where.gguf"), {"--steps", "none", "--json"})).json()["error"]["code"],
      "input/output error");
}

}  // namespace
}  // namespace loci
