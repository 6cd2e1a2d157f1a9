// Options of our own among those of Google Benchmark.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>

namespace loci {

// Removes "--name=VALUE" from the arguments; VALUE, or `absent`.
inline std::string take_option(int& argc, char** argv, const std::string& name, std::string absent) {
  const std::string prefix = "--" + name + "=";
  for (int i = 1; i < argc; ++i) {
    if (std::strncmp(argv[i], prefix.c_str(), prefix.size()) != 0) continue;
    absent = argv[i] + prefix.size();
    std::rotate(argv + i, argv + i + 1, argv + argc);
    --argc;
    break;
  }
  return absent;
}

}  // namespace loci
