// A saved session on disk: which model and plan made it, its tokens, and named sections of bytes.
//
//   prelude  64 bytes   magic "LOCISESS", version, file size, place, size and checksum of the table, own checksum
//   sections            each begins at a multiple of 64; the gaps are zero
//   table               model fingerprint, plan, tokens; name, place, size and XXH3-64 checksum of every section
//
// Numbers are little-endian. The table stands last, so that sections of any size are written in one pass; the prelude
// is written when all else is. Every byte of the file is under a checksum or must be zero.
//
// A SessionWriter owns a temporary file beside the target; commit() makes it durable and renames it, so the target is
// replaced whole or not at all; without a commit the temporary is removed. A SessionReader owns a mapping of the file
// and has checked all of it: what it returns lies within the file and is what was written. Spans live as long as the
// reader. One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "loci/types.h"

namespace loci {

struct SessionHeader {
  std::string model;  // fingerprint
  std::string plan;   // canonical
  std::vector<TokenId> tokens;
};

// The bounds of a reader; a writer refuses what a reader would.
struct SessionLimits {
  static constexpr uint32_t kTextBytes = 65536;  // of fingerprint, plan and names, each
  static constexpr uint32_t kSections = 1U << 14;
  static constexpr uint32_t kTokens = 1U << 30;
};

class SessionWriter {
 public:
  // Takes the bytes of one section, in order.
  class Sink {
   public:
    ~Sink();
    Status write(std::span<const std::byte> bytes);
    template <typename T>
    Status write_values(std::span<const T> values) {
      return write(std::as_bytes(values));
    }

   private:
    friend class SessionWriter;
    Sink(SessionWriter& writer, std::string_view name, uint64_t bytes);
    struct Checksum;
    SessionWriter& writer_;
    std::string_view name_;
    uint64_t bytes_;
    uint64_t left_;
    std::unique_ptr<Checksum> checksum_;
  };

  static Result<SessionWriter> begin(const std::string& path, SessionHeader header);
  SessionWriter(SessionWriter&& other) noexcept;
  SessionWriter& operator=(SessionWriter&&) = delete;
  ~SessionWriter();

  // A section of exactly `bytes` bytes, which `fill` writes to the sink in pieces of any size; large pieces are not
  // copied.
  Status section(std::string_view name, uint64_t bytes, const std::function<Status(Sink&)>& fill);
  Status section(std::string_view name, std::span<const std::byte> bytes);
  // After it the file stands under its name, readable by its owner only, and the writer is spent. After an error the
  // target is the old file or the new one, never a part.
  Status commit();

 private:
  struct Entry {
    std::string name;
    uint64_t offset = 0;
    uint64_t bytes = 0;
    uint64_t checksum = 0;
  };

  SessionWriter(std::string path, SessionHeader header);
  Status append(std::span<const std::byte> bytes);
  Status put(const std::byte* data, size_t bytes);
  Status flush();
  Status align();
  std::vector<std::byte> table() const;
  void abandon();

  std::string path_;
  std::string temporary_;  // empty once renamed or removed
  int file_ = -1;
  SessionHeader header_;
  std::vector<Entry> sections_;
  std::vector<std::byte> buffer_;  // bytes not yet given to the system
  uint64_t offset_ = 0;            // end of the file, the buffer included
};

enum class SessionCheck { kAll, kTable };

class SessionReader {
 public:
  struct Section {
    std::string name;
    std::span<const std::byte> data;
  };

  // kNotFound, kIo, or kCorrupt with what is wrong and where; kUnsupported for another version.
  // kTable: header and names can be trusted, the sections' bytes have not been looked at.
  static Result<SessionReader> open(const std::string& path, SessionCheck check = SessionCheck::kAll);
  // The same for a file's bytes, which must outlive the reader.
  static Result<SessionReader> parse(std::span<const std::byte> file, SessionCheck check = SessionCheck::kAll);
  SessionReader(SessionReader&&) noexcept;
  SessionReader& operator=(SessionReader&&) noexcept;
  ~SessionReader();

  const SessionHeader& header() const { return header_; }
  const std::vector<Section>& sections() const { return sections_; }
  // kInvalidArgument says whether the model or the plan differs, and how.
  Status expect(std::string_view model, std::string_view plan) const;
  // kCorrupt if there is none of this name; with `bytes`, if it has another size.
  Result<std::span<const std::byte>> section(std::string_view name) const;
  Result<std::span<const std::byte>> section(std::string_view name, uint64_t bytes) const;
  // Tells the system that these bytes are not needed again: they leave the resident set.
  void release(std::span<const std::byte> data) const;

 private:
  struct Mapping;
  SessionReader();
  static Result<SessionReader> read(std::span<const std::byte> file, bool mapped, SessionCheck check);

  std::unique_ptr<Mapping> mapping_;  // null if parsed from memory
  SessionHeader header_;
  std::vector<Section> sections_;
};

}  // namespace loci
