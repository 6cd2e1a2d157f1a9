// The C API in one page: a conversation in a session, which reads every token once. A model without a chat template
// gets the plain text.
//
//   example_chat MODEL.gguf [QUESTION...]
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loci/loci_c.h"

static void print_text(const char* text, size_t bytes, void* user) {
  fwrite(text, 1, bytes, (FILE*)user);
  fflush((FILE*)user);
}

// The question as tokens, in an array for free(). Every function that fills an array is called twice: for the size and
// for the content.
static loci_token* read_question(const loci_engine* engine, const char* question, int first, size_t* count,
                                 loci_error* error) {
  const loci_message message = {"user", question};
  loci_model_info info;
  loci_model_info_init(&info, sizeof(info));
  if (loci_engine_info(engine, &info, error) != LOCI_OK) return NULL;
  const uint32_t flags = first ? LOCI_ADD_SPECIAL : 0;
  loci_token* tokens = NULL;
  size_t capacity = 0;
  for (int pass = 0; pass < 2; ++pass) {
    const loci_code code =
        info.has_chat_template
            ? loci_chat_prompt(engine, &message, 1, 1, tokens, capacity, count, error)
            : loci_tokenize(engine, question, strlen(question), flags, tokens, capacity, count, error);
    if (code != LOCI_OK || (pass == 0 && (tokens = malloc(*count * sizeof(*tokens) + 1)) == NULL)) {
      free(tokens);
      return NULL;
    }
    capacity = *count;
  }
  return tokens;
}

static loci_code answer(const loci_engine* engine, loci_session* session, const char* question, int first,
                        loci_error* error) {
  loci_request request;
  loci_request_init(&request, sizeof(request));
  loci_token* prompt = read_question(engine, question, first, &request.prompt_count, error);
  if (prompt == NULL) return error->code == LOCI_OK ? LOCI_LIMIT : error->code;
  request.prompt = prompt;
  request.max_new_tokens = 48;
  request.on_text = print_text;
  request.user = stdout;

  loci_completion* completion = NULL;
  printf("> %s\n", question);
  const loci_code code = loci_session_generate(session, &request, &completion, error);
  if (code == LOCI_OK) printf("\n[%zu tokens]\n", completion->token_count);
  loci_completion_free(completion);
  free(prompt);
  return code;
}

int main(int argc, char** argv) {
  static char* const kQuestions[] = {"Once upon a time there was", " The next morning"};
  if (argc < 2) {
    fprintf(stderr, "usage: %s MODEL.gguf [QUESTION...]\n", argv[0]);
    return 2;
  }
  char* const* questions = argc > 2 ? argv + 2 : kQuestions;
  const int count = argc > 2 ? argc - 2 : 2;

  loci_error error = {LOCI_OK, ""};
  loci_engine* engine = NULL;
  loci_session* session = NULL;
  loci_engine_options options;
  loci_engine_options_init(&options, sizeof(options));
  options.context = 2048;
  loci_code code = loci_engine_load(argv[1], &options, &engine, &error);
  if (code == LOCI_OK) code = loci_session_open(engine, &session, &error);
  for (int i = 0; i < count && code == LOCI_OK; ++i) code = answer(engine, session, questions[i], i == 0, &error);
  if (code != LOCI_OK) fprintf(stderr, "%s: %s\n", loci_code_name(code), error.message);
  loci_session_free(session);
  loci_engine_free(engine);
  return code == LOCI_OK ? 0 : 1;
}
