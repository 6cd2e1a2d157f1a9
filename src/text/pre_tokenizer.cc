#include "text/pre_tokenizer.h"

#include <algorithm>

#include "text/byte_level.h"
#include "text/unicode.h"

namespace loci {
namespace {

using Range = std::pair<uint32_t, uint32_t>;

struct Segment {
  uint32_t begin, end;
  bool matched;
};

// The whole piece as matched and unmatched segments in order.
void segments_of(uint32_t length, const std::vector<Range>& matches, bool invert, std::vector<Segment>& segments) {
  segments.clear();
  uint32_t at = 0;
  for (const auto& [begin, end] : matches) {
    if (at < begin) segments.push_back({at, begin, invert});
    segments.push_back({begin, end, !invert});
    at = end;
  }
  if (at < length) segments.push_back({at, length, invert});
}

void merge_contiguous(std::vector<Segment>& segments) {
  std::vector<Segment> out;
  bool previous = false;
  for (const Segment& s : segments) {
    if (s.matched == previous && !out.empty()) {
      out.back().end = s.end;
    } else {
      out.push_back(s);
    }
    previous = s.matched;
  }
  segments = std::move(out);
}

void merge_with_previous(std::vector<Segment>& segments) {
  std::vector<Segment> out;
  bool previous = false;
  for (const Segment& s : segments) {
    if (s.matched && !previous && !out.empty()) {
      out.back().end = s.end;
    } else {
      out.push_back(s);
    }
    previous = s.matched;
  }
  segments = std::move(out);
}

void merge_with_next(std::vector<Segment>& segments) {
  std::vector<Segment> out;
  bool previous = false;
  for (auto s = segments.rbegin(); s != segments.rend(); ++s) {
    if (s->matched && !previous && !out.empty()) {
      out.back().begin = s->begin;
    } else {
      out.push_back(*s);
    }
    previous = s->matched;
  }
  std::reverse(out.begin(), out.end());
  segments = std::move(out);
}

void apply_behavior(SplitBehavior behavior, std::vector<Segment>& segments) {
  switch (behavior) {
    case SplitBehavior::kIsolated:
      return;
    case SplitBehavior::kRemoved:
      std::erase_if(segments, [](const Segment& s) { return s.matched; });
      return;
    case SplitBehavior::kContiguous:
      return merge_contiguous(segments);
    case SplitBehavior::kMergedWithPrevious:
      return merge_with_previous(segments);
    case SplitBehavior::kMergedWithNext:
      return merge_with_next(segments);
  }
}

// Cuts every piece by what `find(piece, matches)` reports.
template <typename Find>
Status cut(Pieces& pieces, std::string_view subject, SplitBehavior behavior, bool invert, std::vector<Range>& matches,
           Find&& find) {
  std::vector<uint32_t> ends;
  ends.reserve(pieces.ends.size() * 2);
  std::string kept;
  std::vector<Segment> segments;
  uint32_t begin = 0;
  for (const uint32_t end : pieces.ends) {
    matches.clear();
    LOCI_CHECK(find(subject.substr(begin, end - begin), matches));
    segments_of(end - begin, matches, invert, segments);
    apply_behavior(behavior, segments);
    for (const Segment& s : segments) {
      if (s.begin == s.end) continue;
      if (behavior == SplitBehavior::kRemoved) {
        kept.append(pieces.text, begin + s.begin, s.end - s.begin);
        ends.push_back(static_cast<uint32_t>(kept.size()));
      } else {
        ends.push_back(begin + s.end);
      }
    }
    begin = end;
  }
  if (behavior == SplitBehavior::kRemoved) pieces.text = std::move(kept);
  pieces.ends = std::move(ends);
  return {};
}

// A find() for cut(): every character of a class is a match of its own.
template <typename Class>
auto each_character(Class is_member) {
  return [is_member](std::string_view piece, std::vector<Range>& matches) -> Status {
    for (size_t at = 0; at < piece.size();) {
      const Utf8Char c = utf8_at(piece, at);
      if (is_member(c.code)) matches.emplace_back(static_cast<uint32_t>(at), static_cast<uint32_t>(at + c.length));
      at += c.length;
    }
    return {};
  };
}

Status split(const SplitStep& step, Pieces& pieces, Pattern::Matcher& matcher, std::vector<Range>& matches) {
  std::string storage;
  const std::string_view subject = with_known_characters(pieces.text, storage);
  return cut(pieces, subject, step.behavior, step.invert, matches,
             [&](std::string_view piece, std::vector<Range>& found) { return matcher.find_all(piece, found); });
}

// Puts `prefix` before every piece for which `wanted(piece, index)` holds.
template <typename Wanted>
void prefix_pieces(Pieces& pieces, std::string_view prefix, Wanted&& wanted) {
  Pieces out;
  out.text.reserve(pieces.text.size() + pieces.ends.size() * prefix.size());
  uint32_t begin = 0;
  for (size_t i = 0; i < pieces.ends.size(); ++i) {
    const std::string_view piece = std::string_view(pieces.text).substr(begin, pieces.ends[i] - begin);
    if (wanted(piece, i)) out.text += prefix;
    out.text += piece;
    out.ends.push_back(static_cast<uint32_t>(out.text.size()));
    begin = pieces.ends[i];
  }
  pieces = std::move(out);
}

void replace_spaces(Pieces& pieces, std::string_view replacement) {
  Pieces out;
  uint32_t begin = 0;
  for (const uint32_t end : pieces.ends) {
    for (uint32_t i = begin; i < end; ++i) {
      if (pieces.text[i] == ' ') {
        out.text += replacement;
      } else {
        out.text += pieces.text[i];
      }
    }
    out.ends.push_back(static_cast<uint32_t>(out.text.size()));
    begin = end;
  }
  pieces = std::move(out);
}

Status metaspace(const MetaspaceStep& step, Pieces& pieces, bool first, std::vector<Range>& matches) {
  replace_spaces(pieces, step.replacement);
  prefix_pieces(pieces, step.replacement, [&](std::string_view piece, size_t index) {
    if (step.prepend == MetaspaceStep::Prepend::kNever || piece.starts_with(step.replacement)) return false;
    return step.prepend == MetaspaceStep::Prepend::kAlways || (first && index == 0);
  });
  if (!step.split) return {};
  return cut(pieces, pieces.text, SplitBehavior::kMergedWithNext, false, matches,
             [&](std::string_view piece, std::vector<Range>& found) -> Status {
               for (size_t at = piece.find(step.replacement); at != std::string_view::npos;) {
                 found.emplace_back(static_cast<uint32_t>(at), static_cast<uint32_t>(at + step.replacement.size()));
                 at = piece.find(step.replacement, at + step.replacement.size());
               }
               return {};
             });
}

// Bytes to the byte-level alphabet, one character a byte, and back.
void to_alphabet(Pieces& pieces) {
  Pieces out;
  uint32_t begin = 0;
  for (const uint32_t end : pieces.ends) {
    for (uint32_t i = begin; i < end; ++i) append_utf8(out.text, byte_level_char(static_cast<uint8_t>(pieces.text[i])));
    out.ends.push_back(static_cast<uint32_t>(out.text.size()));
    begin = end;
  }
  pieces = std::move(out);
}

void from_alphabet(Pieces& pieces) {
  Pieces out;
  uint32_t begin = 0;
  for (const uint32_t end : pieces.ends) {
    out.text += from_byte_level(std::string_view(pieces.text).substr(begin, end - begin)).value_or("");
    out.ends.push_back(static_cast<uint32_t>(out.text.size()));
    begin = end;
  }
  pieces = std::move(out);
}

}  // namespace

void PreTokenizer::add(PreTokenizerStep step) { steps_.push_back(std::move(step)); }

bool PreTokenizer::byte_level() const {
  return std::any_of(steps_.begin(), steps_.end(),
                     [](const PreTokenizerStep& s) { return std::holds_alternative<ByteLevelStep>(s); });
}

PreTokenizer::Workspace PreTokenizer::workspace() const {
  Workspace workspace;
  for (const PreTokenizerStep& step : steps_) {
    const auto* split_step = std::get_if<SplitStep>(&step);
    workspace.matchers.push_back(split_step == nullptr ? nullptr
                                                       : std::make_unique<Pattern::Matcher>(split_step->pattern));
  }
  return workspace;
}

Status PreTokenizer::run(Pieces& pieces, bool first, Workspace& workspace) const {
  bool mapped = false;
  for (size_t i = 0; i < steps_.size(); ++i) {
    const PreTokenizerStep& step = steps_[i];
    if (const auto* s = std::get_if<SplitStep>(&step)) {
      LOCI_CHECK(split(*s, pieces, *workspace.matchers[i], workspace.matches));
    } else if (const auto* d = std::get_if<DigitsStep>(&step)) {
      const SplitBehavior behavior = d->individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous;
      LOCI_CHECK(cut(pieces, pieces.text, behavior, false, workspace.matches, each_character(is_numeric)));
    } else if (const auto* p = std::get_if<PunctuationStep>(&step)) {
      LOCI_CHECK(cut(pieces, pieces.text, p->behavior, false, workspace.matches, each_character(is_punctuation)));
    } else if (const auto* m = std::get_if<MetaspaceStep>(&step)) {
      LOCI_CHECK(metaspace(*m, pieces, first, workspace.matches));
    } else if (std::holds_alternative<PrefixSpaceStep>(step)) {
      prefix_pieces(pieces, " ", [](std::string_view piece, size_t) { return !piece.starts_with(' '); });
    } else if (std::holds_alternative<ByteLevelStep>(step) && !mapped && i + 1 < steps_.size()) {
      to_alphabet(pieces);
      mapped = true;
    }
  }
  if (mapped) from_alphabet(pieces);
  return {};
}

}  // namespace loci
