// The page at "/": chat.html as it was embedded, with headers under which a browser runs the page's own style and
// program, asks this server, and nothing else.
#pragma once

#include <string>
#include <string_view>

#include "serve/http.h"

namespace loci {

HttpReply page_reply();

// The Content-Security-Policy of a page whose only <style> and <script> have no attributes: both are named by their
// digests, so that what a model or a file brings into the page can be neither.
std::string page_policy(std::string_view html);

}  // namespace loci
