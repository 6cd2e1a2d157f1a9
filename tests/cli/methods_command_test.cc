#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "command_line.h"

namespace loci {
namespace {

using ::testing::HasSubstr;

TEST(Methods, ListsWhatPlansMayName) {
  const Outcome text = loci_run({"methods"});
  ASSERT_EQ(text.code, 0) << text.err;
  for (const char* name : {"dense", "kv16", "kv8", "kv4"}) EXPECT_THAT(text.out, HasSubstr(name));
  const nlohmann::json list = loci_run({"methods", "--json"}).json()["methods"];
  std::vector<std::string> names;
  for (const auto& method : list) names.push_back(method["name"]);
  EXPECT_THAT(names, ::testing::IsSupersetOf({"dense", "kv16", "kv8", "kv4"}));
  // Every name that is listed can be asked for, and answers the stages it says.
  for (const auto& method : list) {
    const std::string name = method["name"];
    EXPECT_THAT(loci_run({"methods", name}).out, HasSubstr(name + ": ")) << name;
    EXPECT_EQ(loci_run({"methods", name, "--json"}).json(), method);
    for (const std::string stage : method["stages"]) {
      const Outcome plan = loci_run({"plan", "-m", "needle", "--attention", stage + "=" + name});
      // Some calibrations find nothing in this model.
      const bool lacks = method.contains("profile") && plan.err.find("no profile") != std::string::npos;
      EXPECT_TRUE(plan.code == 0 || lacks) << stage << "=" << name << ": " << plan.err;
    }
  }
}

TEST(Methods, UnknownNamesAreAnsweredWithTheNearest) {
  const Outcome outcome = loci_run({"methods", "dnese", "--json"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.json()["error"]["message"], "there is no method 'dnese'; did you mean 'dense'?");
}

TEST(Plan, RangesOfLayersChangeTheBytes) {
  const auto bytes = [](const std::string& plan) {
    return loci_run({"plan", "-m", "needle", "--ctx", "4096", "--attention", plan, "--json"}).json()["kv_bytes"];
  };
  EXPECT_LT(bytes("store=kv4"), bytes("store=kv4,kv16@0"));
  EXPECT_LT(bytes("store=kv4,kv16@0"), bytes("dense"));
  const Outcome outcome = loci_run({"plan", "-m", "needle", "--attention", "store=kv4@3-60", "--json"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.json()["error"]["message"].get<std::string>(), HasSubstr("names layer 60, but the model has"));
}

}  // namespace
}  // namespace loci
