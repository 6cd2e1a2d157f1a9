// What a connection is made of, below HTTP: its socket, with or without TLS, and its part of the memory for bodies.
#pragma once

#include <atomic>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>

namespace loci {

// A socket, with TLS around it or not.
class Channel {
 public:
  Channel(boost::asio::ip::tcp::socket socket, boost::asio::ssl::context* tls) : socket_(std::move(socket)) {
    if (tls != nullptr) tls_.emplace(socket_, *tls);
  }

  bool secure() const { return tls_.has_value(); }
  boost::asio::ip::tcp::socket& socket() { return socket_; }
  template <typename Then>
  void handshake(Then&& then) {
    tls_->async_handshake(boost::asio::ssl::stream_base::server, std::forward<Then>(then));
  }
  template <typename Then>
  void read_some(boost::asio::mutable_buffer to, Then&& then) {
    if (tls_) {
      tls_->async_read_some(to, std::forward<Then>(then));
    } else {
      socket_.async_read_some(to, std::forward<Then>(then));
    }
  }
  template <typename Then>
  void write(const std::string& bytes, Then&& then) {
    if (tls_) {
      boost::asio::async_write(*tls_, boost::asio::buffer(bytes), std::forward<Then>(then));
    } else {
      boost::asio::async_write(socket_, boost::asio::buffer(bytes), std::forward<Then>(then));
    }
  }
  template <typename Then>
  void say_goodbye(Then&& then) {
    tls_->async_shutdown(std::forward<Then>(then));
  }
  void close() {
    boost::system::error_code ignored;
    socket_.shutdown(boost::asio::ip::tcp::socket::shutdown_both, ignored);
    socket_.close(ignored);
  }

 private:
  boost::asio::ip::tcp::socket socket_;
  std::optional<boost::asio::ssl::stream<boost::asio::ip::tcp::socket&>> tls_;
};

// What a body takes of the limit on all bodies, until it is forgotten: by whoever holds it, in any thread.
class BodyRoom {
 public:
  BodyRoom(std::shared_ptr<std::atomic<size_t>> all, size_t most) : all_(std::move(all)), most_(most) {}
  ~BodyRoom() { *all_ -= taken_; }
  BodyRoom(const BodyRoom&) = delete;
  BodyRoom& operator=(const BodyRoom&) = delete;

  // The body has so many bytes now. False, if all bodies together would have too many.
  bool grow_to(size_t bytes) {
    if (bytes <= taken_) return true;
    if (*all_ + (bytes - taken_) > most_) return false;
    *all_ += bytes - taken_;
    taken_ = bytes;
    return true;
  }

 private:
  std::shared_ptr<std::atomic<size_t>> all_;
  size_t most_;
  size_t taken_ = 0;
};

}  // namespace loci
