#include "serve/page.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include "base/assert.h"

namespace loci {

namespace embedded {
std::string_view chat_html();
}  // namespace embedded

namespace {

std::string_view between(std::string_view text, std::string_view open, std::string_view close) {
  const size_t begin = text.find(open) + open.size();
  return text.substr(begin, text.find(close, begin) - begin);
}

// 'sha256-BASE64'
std::string digest_source(std::string_view text) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  unsigned char base64[4 * ((SHA256_DIGEST_LENGTH + 2) / 3) + 1];
  const int length = EVP_EncodeBlock(base64, digest, sizeof digest);
  return fmt::format("'sha256-{}'", std::string_view(reinterpret_cast<const char*>(base64), length));
}

}  // namespace

std::string page_policy(std::string_view html) {
  LOCI_ASSERT(html.find("<style>") != html.npos && html.find("<script>") != html.npos, "a page has both");
  return fmt::format(
      "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; "
      "form-action 'none'; "
      "frame-ancestors 'none'",
      digest_source(between(html, "<script>", "</script>")), digest_source(between(html, "<style>", "</style>")));
}

HttpReply page_reply() {
  static const std::string policy = page_policy(embedded::chat_html());
  return {.status = 200,
          .headers = {{"Content-Type", "text/html; charset=utf-8"},
                      {"Content-Security-Policy", policy},
                      {"X-Content-Type-Options", "nosniff"},
                      {"Referrer-Policy", "no-referrer"},
                      {"Cross-Origin-Opener-Policy", "same-origin"},
                      {"Cache-Control", "no-cache"}},
          .body = std::string(embedded::chat_html())};
}

}  // namespace loci
