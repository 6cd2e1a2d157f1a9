#include "base/signals.h"

#include <unistd.h>

#include "base/assert.h"

namespace loci {
namespace {

// A handler can reach nothing but static storage.
std::atomic<bool> g_raised{false};
std::atomic<bool> g_installed{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void on_signal(int) {
  if (g_raised.exchange(true)) _exit(kExitInterrupted);
}

}  // namespace

Interrupts::Interrupts() {
  LOCI_ASSERT(!g_installed.exchange(true), "two Interrupts at once would fight over the handlers");
  g_raised.store(false);
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = 0;  // no SA_RESTART: a blocked read must return
  sigaction(SIGINT, &action, &old_int_);
  sigaction(SIGTERM, &action, &old_term_);
}

Interrupts::~Interrupts() {
  sigaction(SIGINT, &old_int_, nullptr);
  sigaction(SIGTERM, &old_term_, nullptr);
  g_installed.store(false);
}

const std::atomic<bool>* Interrupts::flag() const { return &g_raised; }

void Interrupts::clear() { g_raised.store(false); }

}  // namespace loci
