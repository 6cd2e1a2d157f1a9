// How help looks: usage, paragraph, options by group with their defaults, commands by their first sentence, examples.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace loci {

class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const override;
  std::string make_option_opts(const CLI::Option* option) const override;
  std::string make_subcommands(const CLI::App* app, CLI::AppFormatMode mode) const override;

 private:
  std::string options_by_group(const CLI::App* app) const;
};

}  // namespace loci
