#include "io/fetch_part.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "base/assert.h"

namespace loci {
namespace {

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new()) {
    LOCI_ASSERT(context_ && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1,
                "SHA-256 is part of every OpenSSL");
  }
  void update(const char* data, size_t bytes) { EVP_DigestUpdate(context_.get(), data, bytes); }
  std::string hex() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned bytes = 0;
    EVP_DigestFinal_ex(context_.get(), digest, &bytes);
    std::string out;
    for (unsigned i = 0; i < bytes; ++i) out += fmt::format("{:02x}", digest[i]);
    return out;
  }

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context_;
};

Error system_error(const char* what, const std::filesystem::path& path) {
  const int code = errno;
  return fail(ErrorCode::kIo, "cannot {} '{}': {}", what, path.string(), std::strerror(code));
}

Result<std::string> hash_descriptor(int fd, const std::filesystem::path& path, const std::atomic<bool>* cancelled) {
  Sha256 hash;
  std::vector<char> block(size_t{1} << 20);
  for (off_t offset = 0;;) {
    if (is_set(cancelled)) return fail(ErrorCode::kCancelled, "cancelled while checking '{}'", path.string());
    const ssize_t got = ::pread(fd, block.data(), block.size(), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_error("read", path);
    if (got == 0) return hash.hex();
    hash.update(block.data(), static_cast<size_t>(got));
    offset += got;
  }
}

}  // namespace

Result<PartFile> PartFile::open(const std::filesystem::path& destination, const std::atomic<bool>* cancelled) {
  PartFile part;
  part.destination_ = destination;
  part.path_ = destination;
  part.path_ += ".part";
  for (;;) {
    LOCI_TRY(const bool locked, try_lock(part));
    if (locked) return part;
    part.waited_ = true;
    if (is_set(cancelled)) {
      return fail(ErrorCode::kCancelled, "cancelled while another process was fetching '{}'", destination.string());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

// The holder of the lock may rename or remove the file between our open and our lock; then the lock is on a file that
// is no longer the part, and we start over.
Result<bool> PartFile::try_lock(PartFile& part) {
  if (part.fd_ >= 0) ::close(part.fd_);
  part.fd_ = ::open(part.path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (part.fd_ < 0) return system_error("open", part.path_);
  if (::flock(part.fd_, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK || errno == EINTR) return false;
    return system_error("lock", part.path_);
  }
  struct stat ours, named;
  if (::fstat(part.fd_, &ours) != 0) return system_error("examine", part.path_);
  if (!S_ISREG(ours.st_mode)) return fail(ErrorCode::kIo, "'{}' is not a regular file; remove it", part.path_.string());
  if (::stat(part.path_.c_str(), &named) != 0 || named.st_ino != ours.st_ino || named.st_dev != ours.st_dev)
    return false;
  part.size_ = static_cast<uint64_t>(ours.st_size);
  return true;
}

PartFile::~PartFile() {
  if (fd_ >= 0) ::close(fd_);
}

PartFile::PartFile(PartFile&& other) noexcept
    : destination_(std::move(other.destination_)),
      path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      size_(other.size_),
      waited_(other.waited_) {}

Status PartFile::append(const char* data, size_t bytes) {
  while (bytes > 0) {
    const ssize_t wrote = ::pwrite(fd_, data, bytes, static_cast<off_t>(size_));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return system_error("write to", path_);
    data += wrote;
    bytes -= static_cast<size_t>(wrote);
    size_ += static_cast<uint64_t>(wrote);
  }
  return {};
}

Status PartFile::truncate(uint64_t bytes) {
  if (::ftruncate(fd_, static_cast<off_t>(bytes)) != 0) return system_error("truncate", path_);
  size_ = bytes;
  return {};
}

Result<std::string> PartFile::sha256(const std::atomic<bool>* cancelled) const {
  return hash_descriptor(fd_, path_, cancelled);
}

Status PartFile::commit() {
  if (::fsync(fd_) != 0) return system_error("flush", path_);
  if (::rename(path_.c_str(), destination_.c_str()) != 0) return system_error("put in place", destination_);
  return {};
}

void PartFile::discard() {
  size_ = 0;
  ::unlink(path_.c_str());
}

Result<std::string> sha256_of_file(const std::filesystem::path& path, const std::atomic<bool>* cancelled) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return system_error("open", path);
  auto digest = hash_descriptor(fd, path, cancelled);
  ::close(fd);
  return digest;
}

std::string sha256_of(std::string_view text) {
  Sha256 hash;
  hash.update(text.data(), text.size());
  return hash.hex();
}

bool same_digest(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

}  // namespace loci
