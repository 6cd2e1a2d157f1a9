// What the prefix cache remembers, kept on disk for a later run: a prompt that begins with it brings it back instead of
// being read again.
//
// Files hold consecutive blocks of one prefix (snapshot_file.h) and are named by a digest of it. They are written
// behind the engine's back, by a thread that gets copies of the pages; together they have no more bytes than a bound,
// beyond which those go whose prefix was used longest ago, later blocks before earlier ones. A file that is damaged is
// told of in the log, removed, and its prefix read again. A disk that takes no more is told of once, and tried again
// after a while.
//
// The engine's thread calls everything. Cost: a digest of every block of a prompt, a microsecond each.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "cache/prefix_hash.h"
#include "engine/snapshot_file.h"

namespace loci {

struct SnapshotOptions {
  std::string folder;  // made if it is not there
  uint64_t most_bytes = 0;
};

struct SnapshotStats {
  uint64_t files = 0;
  uint64_t bytes = 0;
  uint64_t blocks_written = 0;
  uint64_t blocks_read = 0;
  uint64_t damaged = 0;   // files that were removed for it
  uint64_t failures = 0;  // to write
};

class Snapshots {
 public:
  using Clock = std::chrono::steady_clock;
  // Copies of blocks [first, first + count) of a prefix, or fewer, as far as they are in memory.
  class Source {
   public:
    virtual ~Source() = default;
    virtual std::vector<BlockCopy> copy(const PrefixSeed& seed, std::span<const TokenId> tokens, uint32_t first,
                                        uint32_t count) const = 0;
  };

  // kIo if the folder cannot be used. What lies in it is looked at, and read when it is asked for.
  static Result<std::unique_ptr<Snapshots>> open(SnapshotOptions options, std::string model);
  // Ends what is being written.
  ~Snapshots();

  // This prefix, whole blocks, is in memory and worth keeping.
  void note(PrefixSeed seed, std::vector<TokenId> tokens);
  // Takes in what was written and gives the writer the next file. False: there is nothing to do now.
  bool tend(const Source& source);

  // A file with block `block` of the prefix `tokens`, whole and checked; nothing if there is none. Counts as a use of
  // all of the prefix that is on disk.
  struct Found {
    SessionReader reader;
    uint32_t end = 0;  // the first block that the file or the prefix does not have, or not alike
  };
  std::optional<Found> find(const PrefixSeed& seed, std::span<const TokenId> tokens, uint32_t block);
  // What was found does not fit the plan: it is damaged.
  void refuse(const PrefixSeed& seed, std::span<const TokenId> tokens, uint32_t block, const Error& error);
  void count_read(uint64_t blocks) { stats_.blocks_read += blocks; }

  SnapshotStats stats() const;

 private:
  using Digest = std::array<unsigned char, 16>;
  struct File {
    std::string name;
    uint64_t bytes = 0;
    std::vector<Digest> blocks;  // none: of another model, or of no use
  };
  using FileList = std::list<File>;
  struct Pending {
    PrefixSeed seed;
    std::vector<TokenId> tokens;
    std::vector<Digest> digests;
  };
  struct Job {
    std::string name;
    SnapshotFile file;
    std::vector<Digest> blocks;
    Status done = {};
  };

  Snapshots(SnapshotOptions options, std::string model);
  Status scan();
  static std::vector<Digest> digests_of(const PrefixSeed& seed, std::span<const TokenId> tokens);
  std::string path_of(const std::string& name) const;
  void add(FileList::iterator file);
  void remove(FileList::iterator file);
  void touch(std::span<const Digest> blocks);
  void take_in(Job job);
  bool start(Pending& pending, const Source& source);
  bool make_room(uint64_t bytes);
  void write_files();

  SnapshotOptions options_;
  std::string model_;
  FileList files_;  // the last used first
  std::map<Digest, FileList::iterator> by_block_;
  std::deque<Pending> pending_;
  SnapshotStats stats_;
  Clock::time_point retry_at_{};  // after a failure

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::optional<Job> job_;   // for the writer
  std::optional<Job> done_;  // from it
  bool busy_ = false;
  bool stop_ = false;
  std::thread writer_;
};

}  // namespace loci
