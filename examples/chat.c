// The C API in one page: a conversation in a session. The chat template is applied to the whole conversation, and only
// what the session does not hold yet is read. A model without a template simply goes on with the text.
//
//   example_chat MODEL.gguf [QUESTION...]
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loci/loci_c.h"

enum { kMaxTurns = 8, kMaxTokens = 4096 };

typedef struct chat {
  loci_engine* engine;
  loci_session* session;
  loci_error error;
  loci_message messages[2 * kMaxTurns];
  size_t message_count;
  char* answers[kMaxTurns];
  size_t answer_count;
  loci_token tokens[kMaxTokens];  // the conversation so far, or the new text
} chat;

static void print_text(const char* text, size_t bytes, void* user) {
  fwrite(text, 1, bytes, (FILE*)user);
  fflush((FILE*)user);
}

// Fills chat->tokens with the conversation under the model's template and trims the session to what it has of it.
// *first and *count say which tokens are still to be read.
static loci_code prepare(chat* c, const char* question, size_t* first, size_t* count) {
  loci_code code =
      loci_chat_prompt(c->engine, c->messages, c->message_count, 1, c->tokens, kMaxTokens, count, &c->error);
  *first = 0;
  if (code == LOCI_UNSUPPORTED) {  // no template
    const uint32_t flags = c->message_count == 1 ? LOCI_ADD_SPECIAL : 0;
    return loci_tokenize(c->engine, question, strlen(question), flags, c->tokens, kMaxTokens, count, &c->error);
  }
  if (code != LOCI_OK) return code;
  size_t held = 0;
  const loci_token* known = loci_session_tokens(c->session, &held);
  while (*first < held && *first + 1 < *count && known[*first] == c->tokens[*first]) ++*first;
  return loci_session_trim(c->session, (uint32_t)*first, &c->error);
}

static loci_code ask(chat* c, const char* question) {
  c->messages[c->message_count++] = (loci_message){"user", question};
  size_t first = 0;
  size_t count = 0;
  loci_code code = prepare(c, question, &first, &count);
  if (code != LOCI_OK) return code;

  loci_request request;
  loci_request_init(&request, sizeof(request));
  request.prompt = c->tokens + first;
  request.prompt_count = count - first;
  request.max_new_tokens = 48;
  request.on_text = print_text;
  request.user = stdout;
  loci_completion* completion = NULL;
  printf("> %s\n", question);
  code = loci_session_generate(c->session, &request, &completion, &c->error);
  if (code != LOCI_OK) return code;
  printf("\n[%zu tokens read, %zu generated]\n", request.prompt_count, completion->token_count);

  char* answer = malloc(completion->text_bytes + 1);
  if (answer != NULL) {
    memcpy(answer, completion->text, completion->text_bytes + 1);
    c->answers[c->answer_count++] = answer;
    c->messages[c->message_count++] = (loci_message){"assistant", answer};
  }
  loci_completion_free(completion);
  return answer != NULL ? LOCI_OK : LOCI_LIMIT;
}

static loci_code open_chat(chat* c, const char* path) {
  loci_engine_options options;
  loci_engine_options_init(&options, sizeof(options));
  options.context = kMaxTokens;
  const loci_code code = loci_engine_load(path, &options, &c->engine, &c->error);
  return code == LOCI_OK ? loci_session_open(c->engine, &c->session, &c->error) : code;
}

int main(int argc, char** argv) {
  static char* const kQuestions[] = {"Once upon a time there was", " The next morning"};
  static chat c;  // zeroes
  if (argc < 2 || argc > 2 + kMaxTurns) {
    fprintf(stderr, "usage: %s MODEL.gguf [QUESTION...], at most %d questions\n", argv[0], kMaxTurns);
    return 2;
  }
  char* const* questions = argc > 2 ? argv + 2 : kQuestions;
  const int count = argc > 2 ? argc - 2 : 2;
  loci_code code = open_chat(&c, argv[1]);
  for (int i = 0; i < count && code == LOCI_OK; ++i) code = ask(&c, questions[i]);
  if (code != LOCI_OK) fprintf(stderr, "%s: %s\n", loci_code_name(code), c.error.message);

  for (size_t i = 0; i < c.answer_count; ++i) free(c.answers[i]);
  loci_session_free(c.session);
  loci_engine_free(c.engine);
  return code == LOCI_OK ? 0 : 1;
}
