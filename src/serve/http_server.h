// An HTTP/1.1 server for many slow, long-lived answers: one thread, one small object a connection, no thread of its own
// for any of them.
//
// Every connection has at most one read and one write under way. While a request is being answered the server goes on
// reading, so it notices at once when the client goes away. Bounds hold before anything is believed: size of the header
// and of the body, bytes of all bodies together, time for the header, for the body and for taking the answer, number of
// connections, bytes that wait for a slow reader. Parsing is Boost.Beast's, sockets and TLS are Boost.Asio's.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/error.h"
#include "serve/http.h"

namespace loci {

struct HttpLimits {
  size_t header_bytes = 16 << 10;
  size_t body_bytes = size_t{16} << 20;
  size_t all_bodies_bytes = size_t{256} << 20;  // that are being read or wait to be handled
  size_t unread_bytes = size_t{4} << 20;        // of a streamed answer that the client does not take
  size_t connections = 2048;
  std::chrono::milliseconds header_time{10'000};  // from a request's first byte to the end of its header; handshake too
  std::chrono::milliseconds body_time{60'000};
  std::chrono::milliseconds idle_time{75'000};   // between requests
  std::chrono::milliseconds write_time{30'000};  // in which the client must take something
};

struct HttpServerOptions {
  std::string address = "127.0.0.1";
  uint16_t port = 0;             // 0: any free one
  std::string certificate_file;  // PEM, with its chain; empty: no TLS
  std::string key_file;
  HttpLimits limits;
};

struct HttpCounters {
  uint64_t connections = 0;  // open now
  uint64_t accepted = 0;
  uint64_t turned_away = 0;  // beyond the limit of connections
  uint64_t timeouts = 0;
  uint64_t slow_readers = 0;  // closed for not taking their answers
};

class HttpServer {
 public:
  // Listens, and serves in a thread of its own until it is destroyed. `handler` outlives it. kIo if the address cannot
  // be bound or a file of the certificate cannot be read.
  static Result<std::unique_ptr<HttpServer>> start(const HttpServerOptions& options, HttpHandler& handler);
  // Closes whatever is open.
  ~HttpServer();

  uint16_t port() const;
  HttpCounters counters() const;
  // No more connections, and no more requests on those that are open; returns at once.
  void drain();
  // Answers that have not ended.
  size_t open_exchanges() const;

 private:
  class State;
  explicit HttpServer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace loci
