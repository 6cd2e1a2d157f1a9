// HTTP as handlers see it: a request that has been read whole, and the exchange through which it is answered. Plain
// data and an interface; http_server.h has the sockets.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace loci {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;   // "GET"
  std::string path;     // without the query, as it was sent
  std::string query;    // behind the '?'
  HttpHeaders headers;  // names in lower case
  std::string body;
  std::string peer;                           // "127.0.0.1:50000"
  std::shared_ptr<void> body_room = nullptr;  // what the body takes of the server's limit; goes with it

  void forget_body() {
    body = {};
    body_room.reset();
  }

  // The first of that name; empty if there is none.
  std::string_view header(std::string_view lower_case_name) const;
};

struct HttpReply {
  int status = 200;
  HttpHeaders headers = {};  // beside those of the connection; a Content-Type among them
  std::string body = {};
};

const char* reason_of(int status);  // "Too Many Requests"

// The answer to one request. Any thread; the server and whoever answers share it. After the client has gone, calls do
// nothing.
class Exchange {
 public:
  virtual ~Exchange() = default;

  // The whole answer, once, and nothing else.
  virtual void reply(HttpReply reply) = 0;
  // Or an answer in pieces. `head.body` is the first of them.
  virtual void begin_stream(HttpReply head) = 0;
  virtual void write(std::string piece) = 0;
  virtual void end_stream() = 0;
  // `call` runs once, in the server's thread, if the client goes away before the answer has ended; at once if it has
  // gone already.
  virtual void on_gone(std::function<void()> call) = 0;
};

class HttpHandler {
 public:
  virtual ~HttpHandler() = default;

  // Looks at a request before its body is read; an answer refuses it. In the server's thread: be quick.
  virtual std::optional<HttpReply> refuse(const HttpRequest& head) = 0;
  // Likewise, with the body; the answer may come later, from another thread.
  virtual void handle(HttpRequest request, std::shared_ptr<Exchange> exchange) = 0;
  // What the client sent is no HTTP that the server reads, or too much of it: the answer it gets.
  virtual HttpReply bad_request(int status, std::string_view what) = 0;
};

}  // namespace loci
