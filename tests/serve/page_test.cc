#include "serve/page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace loci {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(PagePolicy, NamesTheDigestsOfStyleAndProgram) {
  const std::string policy = page_policy("<style></style><script>alert(1)</script>");
  // printf '' | openssl dgst -sha256 -binary | base64; the other is the example of the specification's text.
  EXPECT_THAT(policy, HasSubstr("style-src 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"));
  EXPECT_THAT(policy, HasSubstr("script-src 'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='"));
  EXPECT_THAT(policy, Not(HasSubstr("unsafe")));
}

TEST(Page, IsOneFileThatAsksOnlyItsServer) {
  const HttpReply reply = page_reply();
  std::string policy;
  for (const auto& [name, value] : reply.headers) policy += name == "Content-Security-Policy" ? value : "";
  EXPECT_EQ(policy, page_policy(reply.body));
  EXPECT_THAT(policy, HasSubstr("default-src 'none'"));
  EXPECT_THAT(policy, HasSubstr("connect-src 'self'"));
  const auto times = [&](std::string_view what) {
    size_t n = 0;
    for (size_t at = reply.body.find(what); at != std::string::npos; at = reply.body.find(what, at + 1)) ++n;
    return n;
  };
  EXPECT_EQ(times("<style"), 1u);
  EXPECT_EQ(times("<script"), 1u);
  // Nothing that makes HTML of a text, and no style or handler in an attribute, which the policy would refuse.
  for (const char* what :
       {"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", " style=\"", " onclick=\""})
    EXPECT_EQ(times(what), 0u) << what;
}

}  // namespace
}  // namespace loci
