#include "attention/registry/describe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "attention/made_registry.h"

namespace loci {
namespace {

using ::testing::HasSubstr;

TEST(Describe, APageSaysEverything) {
  const test::MadeRegistry made;
  EXPECT_EQ(method_page(made.registry, made.snap),
            "snap: Keeps what the last rows look at.\n"
            "\n"
            "stage        retain\n"
            "decides per  head\n"
            "paper        made up\n"
            "dense when   budget >= length\n"
            "lookback     window rows at the prompt's end\n"
            "\n"
            "parameters (name = default)\n"
            "  budget = 1024 entries: kept, the window included\n"
            "      a whole number in 1..1048576\n"
            "  window = 32 rows: that vote\n"
            "      a whole number in 1..1024\n"
            "  kernel = 7 entries: width of the pooling\n"
            "      one of 1, 3, 5, ... 255\n"
            "  pool = max: how votes are pooled\n"
            "      one of mean, max\n"
            "  sinks = false: the first four entries are always kept\n"
            "      true or false\n"
            "\n"
            "composes with every other method\n");
  const std::string flex = method_page(made.registry, made.flex);
  EXPECT_THAT(flex, HasSubstr("stage        select in prefill\n"));
  EXPECT_THAT(flex, HasSubstr("cell         block x step tokens\n"));
  EXPECT_THAT(flex, HasSubstr("does not compose with\n  calibrate: it needs whole rows\n"));
  EXPECT_THAT(method_page(made.registry, made.duo), HasSubstr("of the model, for duo\n"));
  EXPECT_THAT(method_page(made.registry, made.duo), HasSubstr("request data total length\n"));
  EXPECT_THAT(method_page(made.registry, made.tokens), HasSubstr("cannot hold\n  replay agrees: it has nothing to"));
}

TEST(Describe, JsonHasTypesAndRanges) {
  const test::MadeRegistry made;
  const nlohmann::ordered_json snap = method_json(made.registry, made.snap);
  EXPECT_EQ(snap["parameters"][2]["step"], 2);
  EXPECT_EQ(snap["parameters"][2]["default"], 7);
  EXPECT_EQ(snap["parameters"][3]["words"], nlohmann::ordered_json({"mean", "max"}));
  EXPECT_EQ(snap["parameters"][4]["default"], false);
  EXPECT_EQ(snap["lookback"], "window");
  EXPECT_FALSE(snap.contains("phases"));
  EXPECT_FALSE(method_json(made.registry, made.flex)["parameters"][0].contains("most"));
  const nlohmann::ordered_json all = registry_json(made.registry);
  EXPECT_EQ(all["methods"].size(), made.registry.methods().size());
  EXPECT_EQ(all["presets"][0]["plan"], "retain=duo(ratio=0.25); store=kv4");
  EXPECT_EQ(defaults_of(made.tokens), "k=2048");
}

}  // namespace
}  // namespace loci
