#include <string>
#include <vector>

#include "cli/app.h"

int main(int argc, char** argv) {
  loci::Interrupts interrupts;
  loci::Console console;
  console.interrupts = &interrupts;
  const std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
  return loci::run_cli(arguments, console);
}
