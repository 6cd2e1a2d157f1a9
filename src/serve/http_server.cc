#include "serve/http_server.h"

#include <algorithm>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <list>
#include <mutex>
#include <optional>
#include <thread>

#include "serve/http_channel.h"

namespace loci {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;
using tcp = asio::ip::tcp;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kSweep{100};      // between looks at deadlines
constexpr std::chrono::milliseconds kGoodbye{2'000};  // for a TLS shutdown or a last answer
constexpr size_t kReadBytes = 4096;                   // asked for at a time
constexpr size_t kMostReadAhead = 8192;               // of the next request, while one is answered
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

std::string lower_case(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return 'A' <= c && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return out;
}

void append_head(std::string& out, const HttpReply& reply, bool keep_alive) {
  out += fmt::format("HTTP/1.1 {} {}\r\n", reply.status, reason_of(reply.status));
  for (const auto& [name, value] : reply.headers) out += fmt::format("{}: {}\r\n", name, value);
  out += keep_alive ? "Connection: keep-alive\r\n" : "Connection: close\r\n";
}

void append_chunk(std::string& out, std::string_view piece) {
  if (!piece.empty()) out += fmt::format("{:x}\r\n{}\r\n", piece.size(), piece);
}

}  // namespace

class HttpServer::State {
 public:
  State(const HttpServerOptions& options, HttpHandler& handler)
      : limits_(options.limits), handler_(handler), acceptor_(io_), sweeper_(io_) {}

  Status listen(const HttpServerOptions& options);
  void run();
  void stop();
  void drain();

  uint16_t port() const { return port_; }
  HttpCounters counters() const {
    return {connections_.load(), accepted_.load(), turned_away_.load(), timeouts_.load(), slow_readers_.load()};
  }
  size_t open_exchanges() const { return exchanges_.load(); }

 private:
  class Session;
  class SessionExchange;

  Status load_certificate(const HttpServerOptions& options);
  void accept();
  void sweep();

  HttpLimits limits_;
  HttpHandler& handler_;
  asio::io_context io_{1};
  std::optional<asio::ssl::context> tls_;
  tcp::acceptor acceptor_;
  asio::steady_timer sweeper_;
  std::list<std::shared_ptr<Session>> sessions_;
  uint16_t port_ = 0;
  bool draining_ = false;
  const std::shared_ptr<std::atomic<size_t>> body_bytes_ = std::make_shared<std::atomic<size_t>>(0);
  std::atomic<uint64_t> connections_{0}, accepted_{0}, turned_away_{0}, timeouts_{0}, slow_readers_{0};
  std::atomic<size_t> exchanges_{0};
  std::thread thread_;
};

// One connection. Everything but what SessionExchange posts runs in the server's thread.
class HttpServer::State::Session : public std::enable_shared_from_this<Session> {
 public:
  Session(State& server, tcp::socket socket)
      : server_(server), channel_(std::move(socket), server.tls_ ? &*server.tls_ : nullptr) {
    error_code ignored;
    channel_.socket().set_option(tcp::no_delay(true), ignored);
    const auto endpoint = channel_.socket().remote_endpoint(ignored);
    peer_ = ignored ? "?" : fmt::format("{}:{}", endpoint.address().to_string(), endpoint.port());
  }

  void start(std::list<std::shared_ptr<Session>>::iterator place) {
    place_ = place;
    deadline_ = Clock::now() + server_.limits_.header_time;
    new_parser();
    if (!channel_.secure()) {
      arm_read();
      return;
    }
    handshaking_ = true;
    channel_.handshake([self = this->shared_from_this()](error_code error) {
      self->handshaking_ = false;
      if (error) {
        self->close();
      } else {
        self->arm_read();
      }
    });
  }

  // Looks at the deadlines.
  void tick(Clock::time_point now) {
    if (closed_ || now < deadline_) return;
    if (phase_ == Phase::kParsing && !handshaking_ && received_ > 0 && !writing_) {
      ++server_.timeouts_;
      refuse(408, "the request did not come whole in time");
      return;
    }
    if (phase_ == Phase::kParsing || writing_ || phase_ == Phase::kClosing) {
      if (received_ > 0 || writing_) ++server_.timeouts_;
      if (writing_) ++server_.slow_readers_;
      close();
    }
  }

  void drain() {
    draining_ = true;
    if (phase_ == Phase::kParsing && received_ == 0) close();
  }

  void close() {
    if (closed_) return;
    closed_ = true;
    phase_ = Phase::kClosing;
    release_body();
    channel_.close();
    end_exchange(/*gone=*/true);
    --server_.connections_;
    server_.sessions_.erase(place_);
  }

  // Of the request that is being answered, by its number.
  void reply(uint64_t number, HttpReply reply) {
    if (number != number_ || phase_ != Phase::kAnswering || streaming_) return;
    const bool keep = keep_alive_ && !draining_;
    std::string out;
    append_head(out, reply, keep);
    const bool has_body = reply.status != 204 && reply.status != 304;
    if (has_body) out += fmt::format("Content-Length: {}\r\n", reply.body.size());
    out += "\r\n";
    if (has_body && !head_only_) out += reply.body;
    send(std::move(out));
    end_answer(keep);
  }
  void begin_stream(uint64_t number, HttpReply head) {
    if (number != number_ || phase_ != Phase::kAnswering || streaming_) return;
    streaming_ = true;
    chunked_ = http_1_1_;
    if (!chunked_) keep_alive_ = false;  // the end of the connection ends the answer
    std::string out;
    append_head(out, head, keep_alive_ && !draining_);
    if (chunked_) out += "Transfer-Encoding: chunked\r\n";
    out += "\r\n";
    send(std::move(out));
    if (!head.body.empty()) write(number, head.body);
  }
  void write(uint64_t number, const std::string& piece) {
    if (number != number_ || !streaming_ || head_only_) return;
    if (chunked_) {
      std::string out;
      append_chunk(out, piece);
      send(std::move(out));
    } else {
      send(std::string(piece));
    }
    if (pending_.size() > server_.limits_.unread_bytes) {
      ++server_.slow_readers_;
      close();
    }
  }
  void end_stream(uint64_t number) {
    if (number != number_ || !streaming_) return;
    if (chunked_ && !head_only_) send("0\r\n\r\n");
    end_answer(keep_alive_ && !draining_);
  }
  void on_gone(uint64_t number, std::function<void()> call) {
    if (number != number_ || phase_ != Phase::kAnswering) {
      if (closed_) call();
      return;
    }
    gone_ = std::move(call);
  }

  asio::io_context& io() { return server_.io_; }

 private:
  using Parser = http::request_parser<http::string_body>;
  enum class Phase { kParsing, kAnswering, kClosing };

  void new_parser() {
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(server_.limits_.header_bytes));
    parser_->body_limit(server_.limits_.body_bytes);
    parser_->eager(true);
    received_ = 0;
    head_seen_ = false;
  }

  void arm_read() {
    if (reading_ || closed_ || handshaking_) return;
    if (phase_ != Phase::kParsing && buffer_.size() >= kMostReadAhead) return;
    reading_ = true;
    const auto to = buffer_.prepare(kReadBytes);
    channel_.read_some(to, [self = this->shared_from_this()](error_code error, size_t bytes) {
      self->reading_ = false;
      if (self->closed_) return;
      if (error) {
        self->on_read_end(error);
        return;
      }
      self->buffer_.commit(bytes);
      self->advance();
    });
  }

  // The client sends no more. Half-closed connections count as gone: nobody waits for an answer to a closed socket.
  void on_read_end(const error_code&) {
    if (phase_ == Phase::kClosing && writing_) return;  // what is being written may still arrive
    close();
  }

  void advance() {
    if (phase_ == Phase::kParsing) {
      parse();
    } else {
      arm_read();
    }
  }

  void parse() {
    while (phase_ == Phase::kParsing && !closed_) {
      // Answers that the client does not take hold up its next request, or they would pile up.
      if (received_ == 0 && writing_) return;
      if (buffer_.size() == 0) {
        arm_read();
        return;
      }
      if (received_ == 0) deadline_ = Clock::now() + server_.limits_.header_time;
      error_code error;
      const size_t used = parser_->put(buffer_.data(), error);
      buffer_.consume(used);
      received_ += used;
      if (error == http::error::need_more) error = {};
      if (error) {
        refuse_error(error);
        return;
      }
      if (parser_->is_header_done() && !head_seen_ && !look_at_head()) return;
      if (head_seen_ && !count_body()) return;
      if (parser_->is_done()) {
        dispatch();
        return;
      }
      if (used == 0 || buffer_.size() == 0) {
        if (!parser_->is_header_done() && buffer_.size() > server_.limits_.header_bytes) {
          refuse(431, "the header is too large");
          return;
        }
        received_ = std::max<size_t>(received_, 1);
        arm_read();
        return;
      }
    }
  }

  // False if the request was refused.
  bool look_at_head() {
    head_seen_ = true;
    const auto& message = parser_->get();
    http_1_1_ = message.version() >= 11;
    keep_alive_ = message.keep_alive();
    head_only_ = message.method() == http::verb::head;
    deadline_ = Clock::now() + server_.limits_.body_time;
    request_ = {};
    const std::string_view target(message.target().data(), message.target().size());
    const size_t mark = target.find('?');
    request_.method = std::string(message.method_string());
    request_.path = target.substr(0, mark);
    if (mark != std::string_view::npos) request_.query = target.substr(mark + 1);
    for (const auto& field : message) {
      const auto name = field.name_string(), value = field.value();
      request_.headers.emplace_back(lower_case({name.data(), name.size()}), std::string(value.data(), value.size()));
    }
    request_.peer = peer_;
    if (std::count_if(request_.headers.begin(), request_.headers.end(),
                      [](const auto& header) { return header.first == "host"; }) > 1) {
      refuse(400, "the Host header is given twice");
      return false;
    }
    if (std::optional<HttpReply> refusal = server_.handler_.refuse(request_)) {
      refuse_with(std::move(*refusal));
      return false;
    }
    if (lower_case(request_.header("expect")) == "100-continue" && !parser_->is_done()) send(std::string(kContinue));
    return true;
  }

  bool count_body() {
    if (parser_->get().body().empty()) return true;
    if (room_ == nullptr) room_ = std::make_shared<BodyRoom>(server_.body_bytes_, server_.limits_.all_bodies_bytes);
    if (room_->grow_to(parser_->get().body().size())) return true;
    refuse(503, "too many large requests are being read");
    return false;
  }
  void release_body() {
    room_.reset();
    parser_.reset();
  }

  void dispatch();

  void refuse_error(const error_code& error) {
    if (error == http::error::body_limit) {
      refuse(413, fmt::format("the body is larger than {} bytes", server_.limits_.body_bytes));
    } else if (error == http::error::header_limit) {
      refuse(431, fmt::format("the header is larger than {} bytes", server_.limits_.header_bytes));
    } else {
      refuse(400, fmt::format("this is no HTTP/1.1 request: {}", error.message()));
    }
  }
  void refuse(int status, std::string_view what) { refuse_with(server_.handler_.bad_request(status, what)); }
  // What is left of the request is not read, so the connection ends.
  void refuse_with(HttpReply reply) {
    std::string out;
    append_head(out, reply, false);
    out += fmt::format("Content-Length: {}\r\n\r\n", reply.body.size());
    if (!head_only_) out += reply.body;
    send(std::move(out));
    start_closing();
  }

  void end_answer(bool keep) {
    end_exchange(/*gone=*/false);
    streaming_ = false;
    if (!keep) {
      start_closing();
      return;
    }
    phase_ = Phase::kParsing;
    new_parser();
    if (!writing_) begin_idle();
    parse();
  }
  void begin_idle() { deadline_ = Clock::now() + server_.limits_.idle_time; }

  void end_exchange(bool gone) {
    const std::function<void()> call = std::move(gone_);
    gone_ = nullptr;
    if (open_number_ == number_) return;
    open_number_ = number_;
    --server_.exchanges_;
    if (gone && call) call();
  }

  void send(std::string bytes) {
    if (closed_) return;
    pending_ += bytes;
    if (!writing_) write_pending();
  }
  void write_pending() {
    if (handshaking_) return;
    writing_ = true;
    out_ = std::move(pending_);
    pending_.clear();
    deadline_ = Clock::now() + server_.limits_.write_time;
    channel_.write(out_, [self = this->shared_from_this()](error_code error, size_t) {
      self->writing_ = false;
      if (self->closed_) return;
      if (error) {
        self->close();
      } else {
        self->written();
      }
    });
  }
  void written() {
    out_ = {};
    if (!pending_.empty()) {
      write_pending();
      return;
    }
    switch (phase_) {
      case Phase::kClosing:
        finish_closing();
        break;
      case Phase::kAnswering:
        deadline_ = Clock::time_point::max();
        break;
      case Phase::kParsing:
        if (received_ == 0) begin_idle();
        parse();
        break;
    }
  }

  void start_closing() {
    phase_ = Phase::kClosing;
    release_body();
    deadline_ = Clock::now() + kGoodbye;
    if (!writing_) finish_closing();
  }
  // The last bytes are out. A close with unread input would make the kernel reset the connection and lose them, so the
  // client is told that no more comes and what it still sends is read for a moment.
  void finish_closing() {
    deadline_ = Clock::now() + kGoodbye;
    if (channel_.secure()) {
      channel_.say_goodbye([self = this->shared_from_this()](error_code) { self->close(); });
      return;
    }
    error_code ignored;
    channel_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    buffer_.consume(buffer_.size());
    discard();
  }
  void discard() {
    if (reading_ || closed_) return;
    reading_ = true;
    channel_.read_some(buffer_.prepare(kReadBytes), [self = this->shared_from_this()](error_code error, size_t) {
      self->reading_ = false;
      if (self->closed_) return;
      if (error) {
        self->close();
      } else {
        self->discard();
      }
    });
  }

  State& server_;
  Channel channel_;
  std::string peer_;
  std::list<std::shared_ptr<Session>>::iterator place_;
  boost::beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  HttpRequest request_;
  Phase phase_ = Phase::kParsing;
  Clock::time_point deadline_;
  size_t received_ = 0;  // bytes of the request
  std::shared_ptr<BodyRoom> room_;
  uint64_t number_ = 0;       // of the request
  uint64_t open_number_ = 0;  // of the last one whose exchange has ended
  std::string pending_;       // to be written after out_
  std::string out_;
  std::function<void()> gone_;
  bool handshaking_ = false;
  bool reading_ = false;
  bool writing_ = false;
  bool closed_ = false;
  bool draining_ = false;
  bool head_seen_ = false;
  bool head_only_ = false;
  bool http_1_1_ = true;
  bool keep_alive_ = true;
  bool streaming_ = false;
  bool chunked_ = false;
};

class HttpServer::State::SessionExchange final : public Exchange {
 public:
  SessionExchange(std::shared_ptr<Session> session, uint64_t number) : session_(std::move(session)), number_(number) {}

  void reply(HttpReply reply) override {
    post([number = number_, reply = std::move(reply)](Session& s) mutable { s.reply(number, std::move(reply)); });
  }
  void begin_stream(HttpReply head) override {
    post([number = number_, head = std::move(head)](Session& s) mutable { s.begin_stream(number, std::move(head)); });
  }
  void write(std::string piece) override {
    post([number = number_, piece = std::move(piece)](Session& s) { s.write(number, piece); });
  }
  void end_stream() override {
    post([number = number_](Session& s) { s.end_stream(number); });
  }
  void on_gone(std::function<void()> call) override {
    post([number = number_, call = std::move(call)](Session& s) mutable { s.on_gone(number, std::move(call)); });
  }

 private:
  template <typename Call>
  void post(Call call) {
    asio::post(session_->io(), [session = session_, call = std::move(call)]() mutable { call(*session); });
  }

  std::shared_ptr<Session> session_;
  uint64_t number_;
};

void HttpServer::State::Session::dispatch() {
  request_.body = std::move(parser_->get().body());
  request_.body_room = std::move(room_);
  phase_ = Phase::kAnswering;
  streaming_ = false;
  ++number_;
  ++server_.exchanges_;
  deadline_ = Clock::time_point::max();
  arm_read();
  server_.handler_.handle(std::move(request_), std::make_shared<SessionExchange>(this->shared_from_this(), number_));
}

Status HttpServer::State::load_certificate(const HttpServerOptions& options) {
  if (options.certificate_file.empty() != options.key_file.empty()) {
    return fail(ErrorCode::kInvalidArgument, "TLS needs a certificate and its key; give both");
  }
  if (options.certificate_file.empty()) return {};
  tls_.emplace(asio::ssl::context::tls_server);
  tls_->set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_sslv2 |
                    asio::ssl::context::no_sslv3 | asio::ssl::context::no_tlsv1 | asio::ssl::context::no_tlsv1_1);
  SSL_CTX_set_mode(tls_->native_handle(), SSL_MODE_RELEASE_BUFFERS);  // an idle connection holds no buffers
  SSL_CTX_set_options(tls_->native_handle(), SSL_OP_NO_RENEGOTIATION);
  error_code error;
  tls_->use_certificate_chain_file(options.certificate_file, error);
  if (error)
    return fail(ErrorCode::kIo, "cannot use the certificate '{}': {}", options.certificate_file, error.message());
  tls_->use_private_key_file(options.key_file, asio::ssl::context::pem, error);
  if (error) return fail(ErrorCode::kIo, "cannot use the key '{}': {}", options.key_file, error.message());
  return {};
}

Status HttpServer::State::listen(const HttpServerOptions& options) {
  LOCI_CHECK(load_certificate(options));
  error_code error;
  const auto address = asio::ip::make_address(options.address, error);
  if (error) {
    return fail(ErrorCode::kInvalidArgument,
                "'{}' is no IP address; use 127.0.0.1, 0.0.0.0, ::1 or one of this machine", options.address);
  }
  const tcp::endpoint endpoint(address, options.port);
  const auto failed = [&](const char* what) {
    return fail(ErrorCode::kIo, "cannot {} {} port {}: {}", what, options.address, options.port, error.message());
  };
  acceptor_.open(endpoint.protocol(), error);
  if (error) return failed("open a socket for");
  acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
  acceptor_.bind(endpoint, error);
  if (error) return failed("bind to");
  acceptor_.listen(asio::socket_base::max_listen_connections, error);
  if (error) return failed("listen on");
  port_ = acceptor_.local_endpoint(error).port();
  return {};
}

void HttpServer::State::accept() {
  acceptor_.async_accept([this](error_code error, tcp::socket socket) {
    if (draining_ || !acceptor_.is_open()) return;
    if (error) {
      // Out of descriptors or memory: others may end meanwhile.
      if (error == asio::error::operation_aborted) return;
      auto pause = std::make_shared<asio::steady_timer>(io_, kSweep);
      pause->async_wait([this, pause](error_code) { accept(); });
      return;
    }
    if (sessions_.size() >= limits_.connections) {
      ++turned_away_;
    } else {
      ++accepted_;
      ++connections_;
      auto session = std::make_shared<Session>(*this, std::move(socket));
      sessions_.push_back(session);
      session->start(std::prev(sessions_.end()));
    }
    accept();
  });
}

void HttpServer::State::sweep() {
  sweeper_.expires_after(kSweep);
  sweeper_.async_wait([this](error_code error) {
    if (error) return;
    const Clock::time_point now = Clock::now();
    for (auto at = sessions_.begin(); at != sessions_.end();) {
      const std::shared_ptr<Session> session = *at++;  // which may leave the list
      session->tick(now);
    }
    sweep();
  });
}

void HttpServer::State::run() {
  accept();
  sweep();
  thread_ = std::thread([this] { io_.run(); });
}

void HttpServer::State::drain() {
  asio::post(io_, [this] {
    draining_ = true;
    error_code ignored;
    acceptor_.close(ignored);
    for (auto at = sessions_.begin(); at != sessions_.end();) {
      const std::shared_ptr<Session> session = *at++;
      session->drain();
    }
  });
}

void HttpServer::State::stop() {
  asio::post(io_, [this] {
    draining_ = true;
    error_code ignored;
    acceptor_.close(ignored);
    while (!sessions_.empty()) {
      const std::shared_ptr<Session> session = sessions_.front();
      session->close();
    }
    io_.stop();
  });
  if (thread_.joinable()) thread_.join();
}

HttpServer::HttpServer(std::unique_ptr<State> state) : state_(std::move(state)) {}
HttpServer::~HttpServer() {
  if (state_ != nullptr) state_->stop();
}

Result<std::unique_ptr<HttpServer>> HttpServer::start(const HttpServerOptions& options, HttpHandler& handler) {
  auto state = std::make_unique<State>(options, handler);
  LOCI_CHECK(state->listen(options));
  state->run();
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(state)));
}

uint16_t HttpServer::port() const { return state_->port(); }
HttpCounters HttpServer::counters() const { return state_->counters(); }
void HttpServer::drain() { state_->drain(); }
size_t HttpServer::open_exchanges() const { return state_->open_exchanges(); }

}  // namespace loci
