// Text in columns for people: a header, left- or right-aligned cells, two spaces between columns.
#pragma once

#include <string>
#include <vector>

namespace loci {

class TextTable {
 public:
  struct Column {
    std::string title;
    bool right = false;  // numbers
  };

  explicit TextTable(std::vector<Column> columns) : columns_(std::move(columns)) {}
  // One cell per column.
  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  bool empty() const { return rows_.empty(); }
  std::string text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// Columns that `text` takes on a terminal, counting every UTF-8 character as one.
size_t text_columns(const std::string& text);

}  // namespace loci
