// loci calibrate on the models that ship with Loci.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "command_line.h"
#include "io/profile.h"

namespace loci {
namespace {

using ::testing::HasSubstr;

std::vector<std::string> command(const std::string& kind, const std::string& output,
                                 const std::vector<std::string>& more = {}) {
  std::vector<std::string> out{"calibrate", "-m", needle_path(), "--for", kind, "-o", output, "--prompts", "1"};
  out.insert(out.end(), more.begin(), more.end());
  return out;
}

TEST(CalibrateCommand, WritesAProfileWithItsCommandAndAPicture) {
  const ScratchFolder folder;
  const std::string path = folder.path("heads.json"), picture = folder.path("heads.svg");
  const Outcome outcome =
      loci_run(command("retrieval-heads", path, {"--length", "512", "--picture", picture, "--json"}));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const Result<Profile> profile = read_profile(path);
  ASSERT_TRUE(profile.ok()) << profile.error().message;
  EXPECT_EQ(profile->kind, "retrieval-heads");
  EXPECT_EQ(profile->layers, 6u);
  EXPECT_EQ(profile->heads, 8u);
  EXPECT_EQ(profile->settings.at("found"), 1);
  EXPECT_EQ(profile->command,
            "loci calibrate -m needle-14m-q8_0.gguf --for retrieval-heads -o heads.json --prompts 1 --length 512 "
            "--seed 0");
  EXPECT_GT(profile->seconds, 0);
  EXPECT_EQ(outcome.json()["values"]["retrieval"].get<std::vector<double>>(), profile->values.at("retrieval"));
  EXPECT_TRUE(std::filesystem::exists(picture));
  EXPECT_FALSE(std::filesystem::exists(path + ".unfinished"));
  // The same seed asks the same.
  const Outcome again = loci_run(command("retrieval-heads", folder.path("again.json"), {"--length", "512", "--json"}));
  EXPECT_EQ(again.json()["values"], outcome.json()["values"]);
}

TEST(CalibrateCommand, DrawsHeadsOnTheTerminal) {
  const ScratchFolder folder;
  const Outcome outcome = loci_run(command("razor", folder.path("razor.json"), {"--length", "256"}));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("induction: a row a layer"));
  EXPECT_THAT(outcome.out, HasSubstr("razor (6 layers, 4 heads) in"));
}

TEST(CalibrateCommand, SaysWhatItCannotDo) {
  const ScratchFolder folder;
  const std::string path = folder.path("p.json");
  const Outcome task = loci_run(command("task-kv", path, {"--json"}));
  EXPECT_EQ(task.code, 1);
  EXPECT_THAT(task.json()["error"]["message"].get<std::string>(), HasSubstr("needs no profile"));
  EXPECT_EQ(loci_run(command("duos", path)).code, 2);
  EXPECT_THAT(loci_run(command("razor", path, {"--length", "60000"})).err, HasSubstr("--length of at most"));
  EXPECT_THAT(loci_run(command("duo", path, {"--length", "64"})).err, HasSubstr("hold no haystack"));
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(CalibrateCommand, StopsCleanlyOnCtrlC) {
  const ScratchFolder folder;
  const std::string path = folder.path("p.json");
  const Outcome outcome = loci_run(command("razor", path, {"--length", "256", "--json"}), "", true);
  EXPECT_EQ(outcome.code, 130);
  EXPECT_EQ(outcome.json()["error"]["code"], "cancelled");
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace loci
