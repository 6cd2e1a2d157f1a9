#include "cli/table.h"

#include <algorithm>

#include "base/assert.h"

namespace loci {

size_t text_columns(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0u) != 0x80; }));
}

std::string TextTable::text() const {
  std::vector<size_t> widths;
  for (size_t c = 0; c < columns_.size(); ++c) {
    size_t width = text_columns(columns_[c].title);
    for (const std::vector<std::string>& row : rows_) {
      LOCI_ASSERT(row.size() == columns_.size(), "a row has one cell per column");
      width = std::max(width, text_columns(row[c]));
    }
    widths.push_back(width);
  }
  std::string out;
  const auto add_line = [&](const auto& cell) {
    std::string line;
    for (size_t c = 0; c < columns_.size(); ++c) {
      const std::string& text = cell(c);
      const std::string padding(widths[c] - text_columns(text), ' ');
      if (c > 0) line += "  ";
      line += columns_[c].right ? padding : std::string();
      line += text;
      line += columns_[c].right ? std::string() : padding;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line;
    out += '\n';
  };
  add_line([&](size_t c) -> const std::string& { return columns_[c].title; });
  for (const std::vector<std::string>& row : rows_) {
    add_line([&](size_t c) -> const std::string& { return row[c]; });
  }
  return out;
}

}  // namespace loci
