#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <stdexcept>

#include "loci/loci.h"
#include "loci/loci_c.h"

namespace {

using testing::HasSubstr;

const std::string kModel = std::string(LOCI_SOURCE_DIR) + "/models/needle-14m-q8_0.gguf";
constexpr const char* kPrompt = "It is a truth universally acknowledged, that a single man";

template <typename T>
T initialised(void (*init)(T*, size_t)) {
  T out;
  init(&out, sizeof(out));
  return out;
}

class CApi : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto options = initialised(loci_engine_options_init);
    options.context = 256;
    options.threads = 1;
    loci_error error;
    ASSERT_EQ(loci_engine_load(kModel.c_str(), &options, &engine_, &error), LOCI_OK) << error.message;
  }
  static void TearDownTestSuite() {
    loci_engine_free(engine_);
    engine_ = nullptr;
  }

  static std::vector<loci_token> tokens(const std::string& text) {
    size_t count = 0;
    EXPECT_EQ(loci_tokenize(engine_, text.data(), text.size(), LOCI_ADD_SPECIAL, nullptr, 0, &count, nullptr), LOCI_OK);
    std::vector<loci_token> out(count);
    EXPECT_EQ(loci_tokenize(engine_, text.data(), text.size(), LOCI_ADD_SPECIAL, out.data(), count, &count, nullptr),
              LOCI_OK);
    return out;
  }

  // A request for `prompt`, which must outlive it.
  static loci_request request(const std::vector<loci_token>& prompt, uint32_t new_tokens = 16) {
    auto out = initialised(loci_request_init);
    out.prompt = prompt.data();
    out.prompt_count = prompt.size();
    out.max_new_tokens = new_tokens;
    return out;
  }

  static std::string text_of(loci_completion* completion) {
    std::string text(completion->text, completion->text_bytes);
    loci_completion_free(completion);
    return text;
  }

  static loci_engine* engine_;
  loci_error error_{};
};
loci_engine* CApi::engine_ = nullptr;

TEST_F(CApi, GeneratesWhatTheCppApiGenerates) {
  loci::EngineOptions options;
  options.context = 256;
  options.threads = 1;
  auto engine = loci::Engine::load(kModel, options);
  ASSERT_TRUE(engine.ok());
  // Scores agree to the bit only if every option of the two has the same default.
  const auto ids = tokens(kPrompt);
  const auto scores = engine->score(ids);
  ASSERT_TRUE(scores.ok());
  std::vector<float> nll(ids.size() - 1);
  ASSERT_EQ(loci_score(engine_, ids.data(), ids.size(), 0, nullptr, nll.data(), &error_), LOCI_OK) << error_.message;
  for (size_t i = 0; i < nll.size(); ++i) EXPECT_EQ(nll[i], (*scores)[i].nll);
  for (const float temperature : {0.0F, 0.9F}) {
    loci::Request request_cpp;
    request_cpp.prompt = *engine->tokenize(kPrompt);
    request_cpp.max_new_tokens = 32;
    request_cpp.sampling = {.temperature = temperature, .top_k = 50, .top_p = 0.95F, .seed = 3};
    const auto expected = engine->generate(request_cpp);
    ASSERT_TRUE(expected.ok());

    const auto prompt = tokens(kPrompt);
    EXPECT_EQ(prompt, request_cpp.prompt);
    loci_request request_c = request(prompt, 32);
    request_c.temperature = temperature;
    request_c.top_k = 50;
    request_c.top_p = 0.95F;
    request_c.seed = 3;
    std::pair<std::string, uint32_t> seen;
    request_c.on_text = [](const char* text, size_t bytes, void* user) {
      EXPECT_EQ(text[bytes], '\0');
      static_cast<decltype(seen)*>(user)->first.append(text, bytes);
    };
    request_c.on_progress = [](const loci_progress* progress, void* user) {
      static_cast<decltype(seen)*>(user)->second = progress->generated;
    };
    request_c.user = &seen;
    loci_completion* completion = nullptr;
    ASSERT_EQ(loci_generate(engine_, &request_c, &completion, &error_), LOCI_OK) << error_.message;
    EXPECT_EQ(std::string(completion->text), expected->text);
    EXPECT_EQ(std::vector<loci_token>(completion->tokens, completion->tokens + completion->token_count),
              expected->tokens);
    EXPECT_EQ(completion->finish, LOCI_FINISH_LENGTH);
    EXPECT_EQ(completion->prompt_tokens, prompt.size());
    EXPECT_GT(completion->kv_bytes, 0U);
    EXPECT_EQ(seen.first, expected->text);
    EXPECT_GT(seen.second, 0U);
    loci_completion_free(completion);
  }
}

TEST_F(CApi, NullArgumentsAreErrorsThatNameThem) {
  loci_engine* engine = engine_;
  loci_session* session = nullptr;
  loci_completion* completion = nullptr;
  size_t count = 0;
  const auto names = [&](loci_code code, const char* argument) {
    EXPECT_EQ(code, LOCI_INVALID_ARGUMENT);
    EXPECT_EQ(error_.code, LOCI_INVALID_ARGUMENT);
    EXPECT_THAT(error_.message, HasSubstr(argument));
  };
  names(loci_engine_load(nullptr, nullptr, &engine, &error_), "'path'");
  EXPECT_EQ(engine, nullptr) << "an output is NULL after an error";
  names(loci_engine_load(kModel.c_str(), nullptr, nullptr, &error_), "'engine'");
  names(loci_plan(kModel.c_str(), nullptr, nullptr, &error_), "'plan'");
  names(loci_engine_plan(engine_, nullptr, &error_), "loci_memory_plan");
  names(loci_engine_info(nullptr, nullptr, &error_), "'engine'");
  names(loci_tokenize(nullptr, "a", 1, 0, nullptr, 0, &count, &error_), "'engine'");
  names(loci_tokenize(engine_, nullptr, 1, 0, nullptr, 0, &count, &error_), "'text'");
  names(loci_tokenize(engine_, "a", 1, 0, nullptr, 0, nullptr, &error_), "'count'");
  names(loci_tokenize(engine_, "a", 1, 0, nullptr, 9, &count, &error_), "'buffer'");
  names(loci_detokenize(engine_, nullptr, 1, 0, nullptr, 0, &count, &error_), "'tokens'");
  names(loci_chat_prompt(engine_, nullptr, 1, 1, nullptr, 0, &count, &error_), "'messages'");
  names(loci_generate(engine_, nullptr, &completion, &error_), "'loci_request'");
  names(loci_session_open(nullptr, &session, &error_), "'engine'");
  names(loci_session_generate(nullptr, nullptr, &completion, &error_), "'session'");
  names(loci_session_fork(nullptr, &session, &error_), "'session'");
  names(loci_session_trim(nullptr, 0, &error_), "'session'");
  names(loci_session_save(nullptr, "x", &error_), "'session'");
  names(loci_session_load(engine_, nullptr, &session, &error_), "'path'");
  names(loci_score(engine_, nullptr, 2, 0, nullptr, nullptr, &error_), "'tokens'");
  names(loci_cancel_new(nullptr, &error_), "'cancel'");
  EXPECT_EQ(loci_engine_load(nullptr, nullptr, &engine, nullptr), LOCI_INVALID_ARGUMENT)
      << "the error itself may be NULL";
  EXPECT_EQ(loci_session_tokens(nullptr, &count), nullptr);
  EXPECT_EQ(loci_session_kv_bytes(nullptr), 0U);
  loci_engine_free(nullptr);
  loci_session_free(nullptr);
  loci_completion_free(nullptr);
  loci_cancel_free(nullptr);
  loci_cancel_set(nullptr);
}

TEST_F(CApi, BuffersAreFilledWholeOrNotAtAll) {
  const auto ids = tokens(kPrompt);
  std::vector<loci_token> buffer(ids.size() - 1, -7);
  size_t count = 0;
  EXPECT_EQ(loci_tokenize(engine_, kPrompt, std::strlen(kPrompt), LOCI_ADD_SPECIAL, buffer.data(), buffer.size(),
                          &count, &error_),
            LOCI_LIMIT);
  EXPECT_EQ(count, ids.size());
  EXPECT_EQ(buffer, std::vector<loci_token>(ids.size() - 1, -7));
  EXPECT_THAT(error_.message, HasSubstr(std::to_string(ids.size())));

  size_t bytes = 0;
  ASSERT_EQ(loci_detokenize(engine_, ids.data(), ids.size(), 0, nullptr, 0, &bytes, &error_), LOCI_OK);
  std::string text(bytes, '#');
  EXPECT_EQ(loci_detokenize(engine_, ids.data(), ids.size(), 0, text.data(), bytes, &bytes, &error_), LOCI_LIMIT)
      << "the zero byte needs room";
  EXPECT_EQ(text, std::string(bytes, '#'));
  text.resize(bytes + 1);
  EXPECT_EQ(loci_detokenize(engine_, ids.data(), ids.size(), 0, text.data(), bytes + 1, &bytes, &error_), LOCI_OK);
  EXPECT_EQ(std::string(text.c_str()), kPrompt);
  EXPECT_EQ(loci_tokenize(engine_, "", 0, 0, nullptr, 0, &count, &error_), LOCI_OK);
  EXPECT_EQ(count, 0U);
  EXPECT_EQ(loci_tokenize(engine_, "a", 1, 64, nullptr, 0, &count, &error_), LOCI_INVALID_ARGUMENT);
}

TEST_F(CApi, ErrorsCarryTheEnginesSentence) {
  loci_engine* engine = nullptr;
  EXPECT_EQ(loci_engine_load("no/such/model.gguf", nullptr, &engine, &error_), LOCI_NOT_FOUND);
  EXPECT_THAT(error_.message, HasSubstr("no/such/model.gguf"));
  // A sentence longer than the buffer is cut at a whole character.
  std::string name = "x";
  while (name.size() < 700) name += "é";
  EXPECT_NE(loci_engine_load(name.c_str(), nullptr, &engine, &error_), LOCI_OK);
  const std::string message = error_.message;
  EXPECT_GE(message.size(), sizeof(error_.message) - 2);
  EXPECT_EQ(message.substr(message.size() - 2), "é");

  auto options = initialised(loci_engine_options_init);
  options.attention = "store=kv3";
  EXPECT_NE(loci_engine_load(kModel.c_str(), &options, &engine, &error_), LOCI_OK);
  EXPECT_THAT(error_.message, HasSubstr("kv3"));
  const auto prompt = tokens(kPrompt);
  loci_request bad = request(prompt);
  bad.temperature = -1.0F;
  loci_completion* completion = nullptr;
  EXPECT_EQ(loci_generate(engine_, &bad, &completion, &error_), LOCI_INVALID_ARGUMENT);
  EXPECT_THAT(error_.message, HasSubstr("temperature"));
  EXPECT_EQ(completion, nullptr);
  EXPECT_STREQ(loci_code_name(LOCI_OK), "ok");
  EXPECT_STREQ(loci_code_name(LOCI_NOT_FOUND), "not found");
  EXPECT_STREQ(loci_code_name(static_cast<loci_code>(99)), "unknown code");
}

TEST_F(CApi, StructsOfOtherAgesAreUnderstood) {
  const auto prompt = tokens(kPrompt);
  loci_completion* completion = nullptr;
  loci_request uninitialised = request(prompt);
  uninitialised.struct_size = 0;
  EXPECT_EQ(loci_generate(engine_, &uninitialised, &completion, &error_), LOCI_INVALID_ARGUMENT);
  EXPECT_THAT(error_.message, HasSubstr("loci_request_init"));

  // An old program: it knows the fields up to max_new_tokens, and the memory behind them is another's.
  loci_request old = request(prompt, 4);
  old.struct_size = offsetof(loci_request, temperature);
  old.temperature = -1.0F;
  old.stop_count = 1000;
  ASSERT_EQ(loci_generate(engine_, &old, &completion, &error_), LOCI_OK) << error_.message;
  EXPECT_EQ(completion->token_count, 4U);
  loci_completion_free(completion);

  // A new program: it may leave the fields of the future zero, and is told when it uses them.
  struct Future {
    loci_request request;
    uint64_t future;
  } future;
  std::memset(static_cast<void*>(&future), 0, sizeof(future));
  future.request = request(prompt, 4);
  future.request.struct_size = sizeof(future);
  ASSERT_EQ(loci_generate(engine_, &future.request, &completion, &error_), LOCI_OK) << error_.message;
  loci_completion_free(completion);
  future.future = 1;
  EXPECT_EQ(loci_generate(engine_, &future.request, &completion, &error_), LOCI_UNSUPPORTED);

  // A report is written only as far as the caller's struct reaches, and so are defaults.
  loci_memory_plan plan;
  std::memset(&plan, 0x55, sizeof(plan));
  loci_memory_plan_init(&plan, offsetof(loci_memory_plan, state_bytes));
  ASSERT_EQ(loci_engine_plan(engine_, &plan, &error_), LOCI_OK) << error_.message;
  EXPECT_GT(plan.weights_bytes, 10000000U);
  EXPECT_EQ(plan.state_bytes, 0x5555555555555555U);
}

TEST_F(CApi, ReportsModelAndMemory) {
  auto info = initialised(loci_model_info_init);
  ASSERT_EQ(loci_engine_info(engine_, &info, &error_), LOCI_OK);
  EXPECT_STREQ(info.architecture, "llama");
  EXPECT_STREQ(info.attention, "dense");
  EXPECT_EQ(info.vocabulary, 4096U);
  EXPECT_EQ(info.context, 256U);
  auto loaded = initialised(loci_memory_plan_init);
  auto planned = initialised(loci_memory_plan_init);
  auto options = initialised(loci_engine_options_init);
  options.context = 256;
  options.threads = 1;
  ASSERT_EQ(loci_engine_plan(engine_, &loaded, &error_), LOCI_OK);
  ASSERT_EQ(loci_plan(kModel.c_str(), &options, &planned, &error_), LOCI_OK) << error_.message;
  EXPECT_EQ(planned.total_bytes, loaded.total_bytes);
  EXPECT_EQ(planned.fits, 1);
}

TEST_F(CApi, CancelStopsLoadAndGeneration) {
  auto options = initialised(loci_engine_options_init);
  int calls = 0;
  options.on_load = [](double, void* user) { return ++*static_cast<int*>(user); };
  options.on_load_user = &calls;
  loci_engine* engine = nullptr;
  EXPECT_EQ(loci_engine_load(kModel.c_str(), &options, &engine, &error_), LOCI_CANCELLED);
  EXPECT_EQ(calls, 1);

  loci_cancel* cancel = nullptr;
  ASSERT_EQ(loci_cancel_new(&cancel, &error_), LOCI_OK);
  const auto prompt = tokens(kPrompt);
  loci_request stopped = request(prompt, 100);
  stopped.cancel = cancel;
  stopped.user = cancel;
  stopped.on_text = [](const char*, size_t, void* user) { loci_cancel_set(static_cast<loci_cancel*>(user)); };
  loci_completion* completion = nullptr;
  ASSERT_EQ(loci_generate(engine_, &stopped, &completion, &error_), LOCI_OK) << error_.message;
  EXPECT_EQ(completion->finish, LOCI_FINISH_CANCELLED);
  EXPECT_LT(completion->token_count, 10U);
  loci_completion_free(completion);
  loci_cancel_clear(cancel);
  stopped.on_text = nullptr;
  ASSERT_EQ(loci_generate(engine_, &stopped, &completion, &error_), LOCI_OK);
  EXPECT_EQ(completion->token_count, 100U);
  loci_completion_free(completion);
  loci_cancel_free(cancel);
}

TEST_F(CApi, NothingIsThrownPastIt) {
  const auto prompt = tokens(kPrompt);
  loci_request throwing = request(prompt);
  throwing.on_progress = [](const loci_progress*, void*) { throw std::runtime_error("from a callback"); };
  loci_completion* completion = nullptr;
  EXPECT_EQ(loci_generate(engine_, &throwing, &completion, &error_), LOCI_INTERNAL);
  EXPECT_STREQ(error_.message, "from a callback");
  throwing.on_progress = [](const loci_progress*, void*) { throw std::bad_alloc(); };
  EXPECT_EQ(loci_generate(engine_, &throwing, &completion, &error_), LOCI_LIMIT);
  throwing.on_progress = nullptr;
  EXPECT_EQ(loci_generate(engine_, &throwing, &completion, &error_), LOCI_OK) << "the engine lives";
  loci_completion_free(completion);
}

TEST_F(CApi, SessionsForkTrimSaveAndLoad) {
  const auto prompt = tokens(kPrompt);
  const loci_request first = request(prompt, 12);
  loci_session* session = nullptr;
  ASSERT_EQ(loci_session_open(engine_, &session, &error_), LOCI_OK);
  loci_completion* completion = nullptr;
  ASSERT_EQ(loci_session_generate(session, &first, &completion, &error_), LOCI_OK) << error_.message;
  loci_completion_free(completion);
  size_t count = 0;
  loci_session_tokens(session, &count);
  EXPECT_EQ(count, prompt.size() + 12);
  EXPECT_GT(loci_session_kv_bytes(session), 0U);

  const std::string path = (std::filesystem::path(testing::TempDir()) / "loci_c_api_session").string();
  ASSERT_EQ(loci_session_save(session, path.c_str(), &error_), LOCI_OK) << error_.message;
  loci_session* fork = nullptr;
  loci_session* loaded = nullptr;
  ASSERT_EQ(loci_session_fork(session, &fork, &error_), LOCI_OK) << error_.message;
  ASSERT_EQ(loci_session_load(engine_, path.c_str(), &loaded, &error_), LOCI_OK) << error_.message;
  std::filesystem::remove(path);

  const auto more = tokens(" and then");
  const loci_request next = request(more, 12);
  std::vector<std::string> texts;
  for (loci_session* s : {session, fork, loaded}) {
    ASSERT_EQ(loci_session_generate(s, &next, &completion, &error_), LOCI_OK) << error_.message;
    texts.push_back(text_of(completion));
  }
  EXPECT_EQ(texts[1], texts[0]);
  EXPECT_EQ(texts[2], texts[0]);

  ASSERT_EQ(loci_session_trim(session, 3, &error_), LOCI_OK) << error_.message;
  const loci_token* kept = loci_session_tokens(session, &count);
  ASSERT_EQ(count, 3U);
  EXPECT_TRUE(std::equal(kept, kept + 3, prompt.begin()));
  EXPECT_EQ(loci_session_trim(session, 1000, &error_), LOCI_INVALID_ARGUMENT);
  loci_session_free(loaded);
  EXPECT_EQ(loci_session_load(engine_, path.c_str(), &loaded, &error_), LOCI_NOT_FOUND);
  EXPECT_EQ(loaded, nullptr);
  loci_session_free(fork);
  loci_session_free(session);
}

TEST_F(CApi, ScoresAndStops) {
  const auto ids = tokens(kPrompt);
  std::vector<float> nll(ids.size() - 1, -1.0F);
  ASSERT_EQ(loci_score(engine_, ids.data(), ids.size(), 0, nullptr, nll.data(), &error_), LOCI_OK) << error_.message;
  for (const float x : nll) EXPECT_GT(x, 0.0F);

  const loci_request free_request = request(ids, 24);
  loci_completion* completion = nullptr;
  ASSERT_EQ(loci_generate(engine_, &free_request, &completion, &error_), LOCI_OK);
  const std::string text = text_of(completion);
  const std::string end = text.substr(text.size() / 2, 3);
  const char* stops[] = {"\x01never", end.c_str()};
  loci_request stopping = request(ids, 24);
  stopping.stop = stops;
  stopping.stop_count = 2;
  ASSERT_EQ(loci_generate(engine_, &stopping, &completion, &error_), LOCI_OK);
  EXPECT_EQ(completion->finish, LOCI_FINISH_STOP);
  EXPECT_EQ(text_of(completion), text.substr(0, text.find(end)));
  const loci_message message{"user", "Hello"};
  size_t count = 0;
  EXPECT_EQ(loci_chat_prompt(engine_, &message, 1, 1, nullptr, 0, &count, &error_), LOCI_UNSUPPORTED);
}

}  // namespace
