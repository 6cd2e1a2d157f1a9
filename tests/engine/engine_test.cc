// The public API on models that ship with the repository.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <filesystem>

#include "loci/loci.h"

namespace loci {
namespace {

std::string path(const std::string& name) { return std::string(LOCI_SOURCE_DIR) + "/" + name; }
const std::string kNeedle = path("models/needle-14m-q8_0.gguf");
const std::string kStoriesModel = path("models/stories260k.gguf");

Engine load(const std::string& model, EngineOptions options = {}) {
  if (options.context == 0) options.context = 512;
  Result<Engine> engine = Engine::load(model, options);
  if (!engine.ok()) throw std::runtime_error(engine.error().message);
  return std::move(*engine);
}

Request story(const Engine& engine, const std::string& beginning, uint32_t tokens = 40) {
  Request request;
  request.prompt = *engine.tokenize(beginning);
  request.max_new_tokens = tokens;
  request.ignore_eos = true;
  return request;
}

TEST(Engine, TellsTheSameStoryInABatchAndAlone) {
  Engine engine = load(kStoriesModel, {.context = 256, .batch = 3, .prefix_cache = false});
  std::vector<Request> requests;
  for (const char* beginning : {"Once upon a time", "The dog", "One day, a girl named Lily", "Tom had", "It was"}) {
    requests.push_back(story(engine, beginning, 20 + static_cast<uint32_t>(requests.size()) * 7));
  }
  requests[1].sampling = {.temperature = 0.8F, .top_k = 40, .top_p = 0.9F, .seed = 7};
  requests[3].sampling = {.temperature = 1.2F, .min_p = 0.05F, .repetition_penalty = 1.1F, .seed = 8};
  const auto together = engine.generate(requests);
  for (size_t i = 0; i < requests.size(); ++i) {
    ASSERT_TRUE(together[i].ok()) << together[i].error().message;
    const Result<Completion> alone = engine.generate(requests[i]);
    ASSERT_TRUE(alone.ok());
    EXPECT_EQ(together[i]->text, alone->text);
    EXPECT_EQ(together[i]->tokens, alone->tokens);
    EXPECT_EQ(alone->tokens.size(), requests[i].max_new_tokens);
    EXPECT_EQ(alone->finish, Finish::kLength);
  }
}

TEST(Engine, TellsTheSameWithEveryKindOfActivationsBatchedAndInChunks) {
  for (const char* activations : {"int8", "f32"}) {
    Engine engine = load(kNeedle, {.context = 256, .batch = 3, .activations = activations, .prefix_cache = false});
    Engine small_chunks =
        load(kNeedle, {.context = 256, .batch = 3, .chunk = 9, .activations = activations, .prefix_cache = false});
    std::vector<Request> requests;
    for (const char* beginning :
         {"The ship went down the river in the night, and nobody saw it.", "It", "A man and a"}) {
      requests.push_back(story(engine, beginning, 8));
    }
    requests[1].sampling = {.temperature = 0.9F, .seed = 5};
    const auto together = engine.generate(requests);
    const auto chunked = small_chunks.generate(requests);
    for (size_t i = 0; i < requests.size(); ++i) {
      ASSERT_TRUE(together[i].ok() && chunked[i].ok());
      EXPECT_EQ(together[i]->tokens, engine.generate(requests[i])->tokens) << activations;
      EXPECT_EQ(together[i]->tokens, chunked[i]->tokens) << activations;
    }
    const auto whole = *engine.score(requests[0].prompt), parts = *small_chunks.score(requests[0].prompt);
    for (size_t i = 0; i < whole.size(); ++i) EXPECT_EQ(whole[i].nll, parts[i].nll) << activations;
  }
}

TEST(Engine, OneRefusedRequestHarmsNobody) {
  Engine engine = load(kStoriesModel, {.context = 128, .batch = 2});
  std::vector<Request> requests = {story(engine, "Once upon a time", 10), Request{}, story(engine, "The dog", 10)};
  requests[1].prompt = {5, 100000};
  const auto results = engine.generate(requests);
  EXPECT_TRUE(results[0].ok());
  ASSERT_FALSE(results[1].ok());
  EXPECT_NE(results[1].error().message.find("100000"), std::string::npos);
  EXPECT_TRUE(results[2].ok());
}

TEST(Engine, StopsAtAStopString) {
  Engine engine = load(kStoriesModel);
  const Completion free = *engine.generate(story(engine, "Once upon a time", 60));
  const std::string stop = free.text.substr(40, 5);
  Request request = story(engine, "Once upon a time", 60);
  request.stop = {stop};
  std::string streamed;
  request.on_text = [&](std::string_view text) { streamed += text; };
  const Completion stopped = *engine.generate(request);
  EXPECT_EQ(stopped.finish, Finish::kStop);
  EXPECT_EQ(stopped.text, free.text.substr(0, free.text.find(stop)));
  EXPECT_EQ(streamed, stopped.text);
}

TEST(Engine, MayReadAPromptOnly) {
  Engine engine = load(kStoriesModel);
  const Completion none = *engine.generate(story(engine, "Once upon a time", 0));
  EXPECT_TRUE(none.tokens.empty());
  EXPECT_EQ(none.finish, Finish::kLength);
  EXPECT_EQ((*engine.generate(story(engine, "Once upon a time", 1))).tokens.size(), 1u);
}

TEST(Engine, RefusesWhatDoesNotFitWithNumbers) {
  Engine engine = load(kStoriesModel, {.context = 64});
  Request request;
  request.prompt.assign(65, 10);
  const Result<Completion> refused = engine.generate(request);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kLimit);
  EXPECT_NE(refused.error().message.find("65"), std::string::npos);
  EXPECT_NE(refused.error().message.find("64"), std::string::npos);
  EXPECT_FALSE(engine.generate(Request{}).ok());

  const Result<Engine> poor = Engine::load(kNeedle, {.memory_limit_bytes = 1 << 20});
  ASSERT_FALSE(poor.ok());
  EXPECT_EQ(poor.error().code, ErrorCode::kLimit);
  EXPECT_NE(poor.error().message.find("1.0 MiB"), std::string::npos) << poor.error().message;
  EXPECT_FALSE(Engine::load(kStoriesModel, {.context = 100000}).ok());
  EXPECT_FALSE(Engine::load(kStoriesModel, {.chunk = 0}).ok());
  EXPECT_FALSE(Engine::load(kStoriesModel, {.activations = "int4"}).ok());
  EXPECT_FALSE(Engine::load(kStoriesModel, {.isa = "mmx"}).ok());
  EXPECT_FALSE(Engine::load(kStoriesModel, {.attention = "select=nothing"}).ok());
}

TEST(Engine, PlansWhatItLoads) {
  for (const char* store : {"dense", "store=kv8", "store=kv4"}) {
    const EngineOptions options{.context = 300, .batch = 2, .attention = store};
    const MemoryPlan plan = *Engine::plan(kNeedle, options);
    const Engine engine = load(kNeedle, options);
    EXPECT_EQ(plan.total_bytes, engine.memory_plan().total_bytes);
    EXPECT_EQ(plan.weights_bytes, engine.info().weights_bytes);
    EXPECT_TRUE(plan.fits);
  }
}

TEST(Engine, ReusesPrefixesWithoutChangingTheText) {
  Engine engine = load(kNeedle, {.context = 600});
  std::string document;
  for (int i = 0; i < 12; ++i)
    document += "The ship went down the river in the night, and nobody saw it pass the town. ";
  const Completion first = *engine.generate(story(engine, document, 8));
  const Completion again = *engine.generate(story(engine, document, 8));
  EXPECT_EQ(first.cached_tokens, 0u);
  EXPECT_GE(again.cached_tokens, 64u);
  EXPECT_EQ(again.cached_tokens % 64, 0u);
  EXPECT_EQ(again.tokens, first.tokens);
}

TEST(Engine, CancelledPrefillLeavesTheSessionUsable) {
  Engine engine = load(kNeedle, {.context = 512, .chunk = 32});
  Session session = *engine.open_session();
  std::atomic<bool> cancelled = false;
  Request request = story(engine, "", 5);
  request.prompt.assign(300, 50);
  request.cancelled = &cancelled;
  request.on_progress = [&](const Progress& progress) { cancelled = progress.prompt_done >= 64; };
  const Result<Completion> result = session.generate(request);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->finish, Finish::kCancelled);
  EXPECT_GE(session.tokens().size(), 64u);
  EXPECT_LT(session.tokens().size(), 300u);
  Request rest = story(engine, "", 5);
  rest.prompt.assign(300 - session.tokens().size(), 50);
  Request whole = story(engine, "", 5);
  whole.prompt.assign(300, 50);
  EXPECT_EQ(session.generate(rest)->tokens, engine.generate(whole)->tokens);
}

TEST(Session, ForksTrimsAndComesBackFromDisk) {
  const std::string file = (std::filesystem::temp_directory_path() / "loci_session_test.bin").string();
  for (const std::string& model : {kNeedle, path("tests/data/parity/tiny-gemma3")}) {
    for (const char* store : {"dense", "store=kv4"}) {
      Engine engine = load(model, {.context = 400, .batch = 3, .attention = store, .prefix_cache = false});
      Session session = *engine.open_session();
      Request first = story(engine, "", 10);
      first.prompt.assign(150, 40);
      for (size_t i = 0; i < first.prompt.size(); ++i) first.prompt[i] = static_cast<TokenId>(10 + i * 7 % 200);
      ASSERT_TRUE(session.generate(first).ok());
      ASSERT_TRUE(session.save(file).ok());
      Request next = story(engine, "", 12);
      next.prompt = {33, 34, 35};
      Session fork = *session.fork();
      Session loaded = *engine.load_session(file);
      EXPECT_EQ(loaded.tokens(), session.tokens());
      const std::vector<TokenId> wanted = session.generate(next)->tokens;
      EXPECT_EQ(fork.generate(next)->tokens, wanted);
      EXPECT_EQ(loaded.generate(next)->tokens, wanted);

      ASSERT_TRUE(session.trim(100).ok());
      EXPECT_EQ(session.tokens().size(), 100u);
      Session fresh = *engine.open_session();
      Request same = story(engine, "", 6);
      same.prompt.assign(first.prompt.begin(), first.prompt.begin() + 100);
      Request tail = story(engine, "", 6);
      tail.prompt = {77};
      same.prompt.push_back(77);
      EXPECT_EQ(session.generate(tail)->tokens, fresh.generate(same)->tokens);
      EXPECT_FALSE(session.trim(10000).ok());
    }
  }
  Engine other = load(kStoriesModel);
  const Result<Session> refused = other.load_session(file);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  std::remove(file.c_str());
}

TEST(Session, IsRefusedByAnEngineOfAnotherPlanModelOrContext) {
  const std::string file = (std::filesystem::temp_directory_path() / "loci_foreign_session_test.bin").string();
  const auto expect_refused = [&](Engine engine, ErrorCode code, const std::vector<std::string>& words) {
    const Result<Session> session = engine.load_session(file);
    ASSERT_FALSE(session.ok());
    EXPECT_EQ(session.error().code, code);
    for (const std::string& word : words) {
      EXPECT_NE(session.error().message.find(word), std::string::npos) << session.error().message;
    }
    // The engine is as good as new.
    EXPECT_EQ(engine.generate(story(engine, "Once upon a time", 3))->tokens.size(), 3u);
  };
  {
    Engine engine = load(kStoriesModel, {.context = 256, .attention = "store=kv8"});
    Session session = *engine.open_session();
    ASSERT_TRUE(session.generate(story(engine, "Once upon a time", 90)).ok());
    ASSERT_TRUE(session.save(file).ok());
  }
  for (const char* other : {"dense", "store=kv4"}) {
    expect_refused(load(kStoriesModel, {.attention = other}), ErrorCode::kInvalidArgument,
                   {"'store=kv8'", other, "plan"});
  }
  expect_refused(load(kNeedle, {.attention = "store=kv8"}), ErrorCode::kInvalidArgument, {"model"});
  expect_refused(load(kStoriesModel, {.context = 64, .attention = "store=kv8"}), ErrorCode::kLimit, {"64", "context"});
  // Threads, chunks and the context beyond it may differ.
  Engine same = load(kStoriesModel, {.threads = 1, .context = 512, .chunk = 16, .attention = "store=kv8"});
  const Result<Session> loaded = same.load_session(file);
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  EXPECT_GE(loaded->tokens().size(), 90u);
  std::remove(file.c_str());
}

TEST(Engine, ScoresWindowsAsIfAlone) {
  Engine engine = load(kNeedle, {.context = 256, .chunk = 50});
  const std::vector<TokenId> tokens = *engine.tokenize(
      "Call me Ishmael. Some years ago, never mind how long precisely, having little or no money in my purse, and "
      "nothing particular to "
      "interest me on shore, I thought I would sail about a little and see the watery part of the world.");
  const auto windows = *engine.score(tokens, 20);
  std::vector<TokenScore> wanted;
  for (size_t first = 0; first < tokens.size(); first += 20) {
    const auto part = *engine.score(std::span(tokens).subspan(first, std::min<size_t>(20, tokens.size() - first)));
    wanted.insert(wanted.end(), part.begin(), part.end());
  }
  ASSERT_EQ(windows.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_EQ(windows[i].nll, wanted[i].nll);
    EXPECT_EQ(windows[i].argmax, wanted[i].argmax);
    EXPECT_TRUE(std::isfinite(wanted[i].nll));
  }
  EXPECT_FALSE(engine.score(std::vector<TokenId>(300, 5)).ok());
}

TEST(Engine, HasNoChatTemplateToApply) {
  const Engine engine = load(kStoriesModel);
  const std::vector<ChatMessage> messages = {{"user", "hello"}};
  const auto prompt = engine.chat_prompt(messages);
  ASSERT_FALSE(prompt.ok());
  EXPECT_EQ(prompt.error().code, ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace loci
