// Ctrl-C as a flag. While an Interrupts lives, the first SIGINT or SIGTERM sets the flag and the second ends the
// process at once with 130: work that looks at the flag stops cleanly, work that does not can still be ended.
//
// At most one lives at a time (signals belong to the process); the destructor restores the earlier handlers. The flag
// may be read from any thread.
#pragma once

#include <signal.h>

#include <atomic>

namespace loci {

inline constexpr int kExitInterrupted = 130;  // 128 + SIGINT, as shells report it

class Interrupts {
 public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  const std::atomic<bool>* flag() const;
  bool raised() const { return flag()->load(); }
  // The interruption was dealt with (a chat goes on after a cancelled answer).
  void clear();

 private:
  struct sigaction old_int_ {};
  struct sigaction old_term_ {};
};

}  // namespace loci
