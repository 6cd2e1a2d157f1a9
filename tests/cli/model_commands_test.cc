// The commands that need a model file but no engine, on the model that ships with Loci.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "command_line.h"

namespace loci {
namespace {

using ::testing::HasSubstr;

TEST(Tokenize, ThereAndBack) {
  const ScratchFolder folder;
  const std::string text = "Call me Ishmael. Some years ago--never mind 1851.\n\tTabs, caf\xc3\xa9s & \xf0\x9f\x90\x8b";
  const Outcome ids = loci_run({"tokenize", "-m", "needle", "-p", text, "--json"});
  ASSERT_EQ(ids.code, 0) << ids.err;
  ASSERT_TRUE(ids.json()["ids"].is_array());
  EXPECT_EQ(ids.json()["ids"][0], 0);  // <|bos|>
  const std::string file = folder.file("ids.json", ids.json()["ids"].dump());
  const Outcome back = loci_run({"tokenize", "-m", "needle", "--decode", file, "--json"});
  ASSERT_EQ(back.code, 0) << back.err;
  EXPECT_EQ(back.json()["text"], text);
  EXPECT_EQ(loci_run({"tokenize", "-m", "needle", "--decode", file}).out, text);
}

TEST(Tokenize, NoSpecialReadsSpecialTokensAsText) {
  const Outcome special = loci_run({"tokenize", "-m", "needle", "-p", "a<|eos|>", "--json"});
  const Outcome plain = loci_run({"tokenize", "-m", "needle", "-p", "a<|eos|>", "--no-special", "--json"});
  ASSERT_EQ(special.code, 0) << special.err;
  ASSERT_EQ(plain.code, 0) << plain.err;
  EXPECT_EQ(special.json()["ids"].size(), 3u);  // BOS, "a", EOS
  EXPECT_EQ(special.json()["ids"][2], 1);
  const nlohmann::json ids = plain.json()["ids"];
  EXPECT_GT(ids.size(), 3u);
  for (const auto& id : ids) EXPECT_GT(id.get<int>(), 1);
}

TEST(Tokenize, FileStandardInputAndArgumentAgree) {
  const ScratchFolder folder;
  const std::string text = "The whale, the whale!";
  const Outcome argument = loci_run({"tokenize", "-m", needle_path(), "-p", text, "--json"});
  ASSERT_EQ(argument.code, 0) << argument.err;
  EXPECT_EQ(loci_run({"tokenize", "-m", "needle", "-f", folder.file("t.txt", text), "--json"}).out, argument.out);
  EXPECT_EQ(loci_run({"tokenize", "-m", "needle", "-f", "-", "--json"}, text).out, argument.out);
}

TEST(Tokenize, TableShowsEveryPieceEscaped) {
  const Outcome outcome = loci_run({"tokenize", "-m", "needle", "-p", "a\x1b[31m\n"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("'<|bos|>'"));
  EXPECT_THAT(outcome.out, HasSubstr("\\x1b"));
  EXPECT_EQ(outcome.out.find('\x1b'), std::string::npos);
}

TEST(Tokenize, BadIdListsAreErrorsThatNameTheElement) {
  const ScratchFolder folder;
  for (const char* content :
       {"", "{}", "[1, 2", "7", "[1, -2]", "[1, 2.5]", "[1, \"a\"]", "[1, 4294967296]", "[[1]]", "\xff\xfe"}) {
    const Outcome outcome =
        loci_run({"tokenize", "-m", "needle", "--decode", folder.file("ids.json", content), "--json"});
    EXPECT_EQ(outcome.code, 1) << content;
    EXPECT_EQ(outcome.json()["error"]["code"], "invalid argument") << content << outcome.out;
  }
  const Outcome element = loci_run({"tokenize", "-m", "needle", "--decode", folder.file("ids.json", "[5, -2]")});
  EXPECT_THAT(element.err, HasSubstr("element 1"));
  const Outcome outside = loci_run({"tokenize", "-m", "needle", "--decode", folder.file("ids.json", "[4096]")});
  EXPECT_EQ(outside.code, 1);
}

TEST(Tokenize, InvalidUtf8StaysValidJson) {
  const ScratchFolder folder;
  const Outcome ids = loci_run({"tokenize", "-m", "needle", "-p", "\xe2\x82\xac", "--no-special", "--json"});
  ASSERT_EQ(ids.code, 0) << ids.err;
  ASSERT_GE(ids.json()["ids"].size(), 2u);  // the euro sign is no token of this vocabulary: its bytes are
  const std::string half = nlohmann::json::array({ids.json()["ids"][0]}).dump();
  const Outcome outcome = loci_run({"tokenize", "-m", "needle", "--decode", folder.file("ids.json", half), "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.json()["text"].get<std::string>(), HasSubstr("\xef\xbf\xbd"));
}

TEST(Tokenize, MissingFilesAreNamed) {
  const Outcome outcome = loci_run({"tokenize", "-m", "needle", "-f", "no/such/file"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("'no/such/file'"));
}

TEST(Inspect, TableAndJsonDescribeTheFile) {
  const Outcome table = loci_run({"inspect", "-m", "needle"});
  ASSERT_EQ(table.code, 0) << table.err;
  for (const char* part : {"GGUF v3", "llama.block_count", "token_embd.weight", "q8_0"})
    EXPECT_THAT(table.out, HasSubstr(part));

  const nlohmann::json json = loci_run({"inspect", "-m", needle_path(), "--json"}).json();
  EXPECT_EQ(json["file_bytes"], 14920672);
  EXPECT_EQ(json["metadata"]["llama.block_count"], 6);
  EXPECT_EQ(json["metadata"]["tokenizer.ggml.tokens"]["length"], 4096);
  uint64_t bytes = 0;
  for (const auto& tensor : json["tensors"]) bytes += tensor["bytes"].get<uint64_t>();
  uint64_t by_type = 0;
  for (const auto& dtype : json["dtypes"]) by_type += dtype["bytes"].get<uint64_t>();
  EXPECT_EQ(bytes, by_type);
  EXPECT_LT(bytes, 14920672u);
  EXPECT_GT(bytes, 14000000u);
}

TEST(Inspect, AllPrintsWholeArrays) {
  const nlohmann::json json = loci_run({"inspect", "-m", "needle", "--json", "--all"}).json();
  EXPECT_EQ(json["metadata"]["tokenizer.ggml.tokens"].size(), 4096u);
}

TEST(Inspect, GarbageIsAnError) {
  const ScratchFolder folder;
  for (const std::string& content :
       {std::string(), std::string("GGUF"), std::string("GGUF\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", 16),
        std::string(100, 'x')}) {
    const Outcome outcome = loci_run({"inspect", "-m", folder.file("m.gguf", content), "--json"});
    EXPECT_EQ(outcome.code, 1);
    EXPECT_TRUE(outcome.json()["error"]["message"].is_string()) << outcome.out;
  }
}

TEST(Pull, ListsTheKnownModels) {
  const nlohmann::json list = loci_run({"pull", "--list", "--json"}).json();
  ASSERT_TRUE(list.is_array());
  EXPECT_EQ(list[0]["name"], "needle");
  const Outcome table = loci_run({"pull", "--list"});
  for (const char* name : {"needle", "smollm2", "gemma3"}) EXPECT_THAT(table.out, HasSubstr(name));
}

TEST(Pull, ShippedModelIsWhereItIs) {
  const Outcome outcome = loci_run({"pull", "needle"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_TRUE(std::filesystem::equivalent(outcome.out.substr(0, outcome.out.size() - 1), needle_path()));
}

TEST(Pull, BadAddressesAreErrors) {
  const ScratchFolder folder;
  for (const char* address : {"hf:only-one", "hf:a/../b", "ftp://example.org/x", "http://127.0.0.1:1/model.gguf"}) {
    const Outcome outcome = loci_run({"pull", address, "--cache-dir", folder.path("cache"), "--json"}, "", false);
    EXPECT_EQ(outcome.code, 1) << address;
    EXPECT_TRUE(outcome.json().contains("error")) << outcome.out;
  }
}

TEST(Doctor, DescribesTheMachine) {
  const nlohmann::json json = loci_run({"doctor", "--no-measure", "--json"}).json();
  EXPECT_TRUE(json["cpu"].is_string());
  EXPECT_EQ(json["isas"][0], "scalar");
  EXPECT_GT(json["available_bytes"].get<uint64_t>(), 0u);
  ASSERT_FALSE(json["kernels"].empty());
  EXPECT_FALSE(json.contains("roof"));
  const Outcome table = loci_run({"doctor", "--no-measure", "--isa", "scalar"});
  EXPECT_EQ(table.code, 0);
  EXPECT_THAT(table.out, HasSubstr("kernels use scalar"));
}

TEST(Doctor, MeasuresTheRoof) {
  const nlohmann::json json = loci_run({"doctor", "--threads", "1", "--json"}).json();
  EXPECT_EQ(json["roof"]["threads"], 1);
  for (const char* key : {"read_gb_s", "int8_gmac_s", "f32_gmac_s"})
    EXPECT_GT(json["roof"][key].get<double>(), 0.01) << key;
}

}  // namespace
}  // namespace loci
