// A web server on 127.0.0.1 for tests: it answers every request with what a function of the test sends, true or not.
// Requests are served one connection at a time on a thread of its own; stop() or the destructor ends it.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace loci {

struct HttpRequest {
  std::string path;
  std::map<std::string, std::string> headers;  // names in lower case

  // N of "Range: bytes=N-"; 0 without one.
  size_t offset() const {
    const auto range = headers.find("range");
    return range == headers.end() ? 0 : std::stoul(range->second.substr(6));
  }
  std::string header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? "" : found->second;
  }
};

class LyingHttpServer {
 public:
  class Reply {
   public:
    explicit Reply(int socket, const std::atomic<bool>& stop) : socket_(socket), stop_(stop) {}
    // False once the client has gone.
    bool send(std::string_view text) const {
      while (!text.empty()) {
        const ssize_t sent = ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
        if (sent <= 0) return false;
        text.remove_prefix(static_cast<size_t>(sent));
      }
      return !stop_;
    }

   private:
    int socket_;
    const std::atomic<bool>& stop_;
  };
  // `number` counts requests from 0. The connection closes when it returns.
  using Handler = std::function<void(const HttpRequest& request, int number, const Reply& reply)>;

  explicit LyingHttpServer(Handler handler) : handler_(std::move(handler)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t bytes = sizeof(address);
    ::bind(listener_, reinterpret_cast<sockaddr*>(&address), bytes);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &bytes);
    ::listen(listener_, 16);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~LyingHttpServer() { stop(); }
  LyingHttpServer(const LyingHttpServer&) = delete;
  LyingHttpServer& operator=(const LyingHttpServer&) = delete;

  void stop() {
    if (!thread_.joinable()) return;
    stop_ = true;
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  std::string url(std::string_view path) const {
    return "http://127.0.0.1:" + std::to_string(port_) + std::string(path);
  }
  std::vector<HttpRequest> requests() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return requests_;
  }

 private:
  void serve() {
    while (!stop_) {
      const int socket = ::accept(listener_, nullptr, nullptr);
      if (socket < 0) continue;
      answer(socket);
      ::close(socket);
    }
  }

  void answer(int socket) {
    std::string text;
    char block[4096];
    while (text.find("\r\n\r\n") == text.npos) {
      const ssize_t got = ::recv(socket, block, sizeof(block), 0);
      if (got <= 0) return;
      text.append(block, static_cast<size_t>(got));
    }
    const HttpRequest request = parse(text);
    int number = 0;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      number = static_cast<int>(requests_.size());
      requests_.push_back(request);
    }
    handler_(request, number, Reply(socket, stop_));
  }

  static HttpRequest parse(const std::string& text) {
    HttpRequest request;
    const size_t begin = text.find(' ') + 1;
    request.path = text.substr(begin, text.find(' ', begin) - begin);
    for (size_t at = text.find("\r\n") + 2; at < text.size();) {
      const size_t end = text.find("\r\n", at), colon = text.find(": ", at);
      if (end == at || colon == text.npos || colon > end) break;
      std::string name = text.substr(at, colon - at);
      for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      request.headers[name] = text.substr(colon + 2, end - colon - 2);
      at = end + 2;
    }
    return request;
  }

  Handler handler_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<bool> stop_{false};
  mutable std::mutex mutex_;
  std::vector<HttpRequest> requests_;
  std::thread thread_;
};

}  // namespace loci
