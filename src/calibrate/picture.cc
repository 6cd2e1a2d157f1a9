#include "calibrate/picture.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

namespace loci {
namespace {

constexpr std::string_view kShades = " .:-=+*#%@";

struct Range {
  double least = 0, most = 0;
  double share(double value) const { return most > least ? (value - least) / (most - least) : 0; }
};

// From 0, so that a head without any is dark.
Range range_of(const std::vector<double>& values) {
  Range out;
  for (const double value : values) {
    out.least = std::min(out.least, value);
    out.most = std::max(out.most, value);
  }
  return out;
}

// From dark blue over green to yellow; readable in print and for the colour-blind.
std::string colour(double share) {
  constexpr std::array<std::array<double, 3>, 4> kStops{{{33, 12, 74}, {49, 104, 142}, {53, 183, 121}, {253, 231, 37}}};
  const double at = std::clamp(share, 0.0, 1.0) * (kStops.size() - 1);
  const auto low = std::min(static_cast<size_t>(at), kStops.size() - 2);
  const double part = at - static_cast<double>(low);
  std::array<int, 3> rgb{};
  for (size_t i = 0; i < 3; ++i)
    rgb[i] = static_cast<int>(std::lround(kStops[low][i] + part * (kStops[low + 1][i] - kStops[low][i])));
  return fmt::format("#{:02x}{:02x}{:02x}", rgb[0], rgb[1], rgb[2]);
}

}  // namespace

std::string text_picture(const Profile& profile, const std::string& table) {
  const std::vector<double>& values = profile.values.at(table);
  const Range range = range_of(values);
  std::string out =
      fmt::format("{}: a row a layer, a column a head, '{}' is {:.4g}\n", table, kShades.back(), range.most);
  for (uint32_t l = 0; l < profile.layers; ++l) {
    std::string row;
    for (uint32_t h = 0; h < profile.heads; ++h) {
      const double share = std::clamp(range.share(values[size_t{l} * profile.heads + h]), 0.0, 1.0);
      const char shade = kShades[static_cast<size_t>(std::lround(share * static_cast<double>(kShades.size() - 1)))];
      row += {shade, shade, ' '};
    }
    out += fmt::format("{:4d} |{}|\n", l, row.substr(0, row.size() - 1));
  }
  return out;
}

std::string svg_picture(const Profile& profile) {
  constexpr uint32_t kSquare = 18, kLeft = 40, kTop = 44, kGap = 40, kCharacter = 8;
  std::string body;
  uint32_t left = kLeft;
  for (const auto& [name, values] : profile.values) {
    const Range range = range_of(values);
    const std::string title = fmt::format("{} (0 to {:.3g})", name, range.most);
    body += fmt::format("<text x=\"{}\" y=\"{}\">{}</text>\n", left, kTop - 8, title);
    for (size_t i = 0; i < values.size(); ++i) {
      const auto layer = static_cast<uint32_t>(i / profile.heads), head = static_cast<uint32_t>(i % profile.heads);
      body += fmt::format(
          "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\"><title>layer {}, head {}: {:.4g}</title>"
          "</rect>\n",
          left + head * kSquare, kTop + layer * kSquare, kSquare - 1, kSquare - 1, colour(range.share(values[i])),
          layer, head, values[i]);
    }
    left += std::max(profile.heads * kSquare, static_cast<uint32_t>(title.size()) * kCharacter) + kGap;
  }
  std::string layers;
  for (uint32_t l = 0; l < profile.layers; ++l)
    layers +=
        fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n", kLeft - 6, kTop + l * kSquare + 13, l);
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" font-family=\"sans-serif\" "
      "font-size=\"12\">\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"{}\" y=\"16\">{}: layers down, heads "
      "across</text>\n"
      "{}{}</svg>\n",
      left, kTop + profile.layers * kSquare + 12, kLeft, profile.kind, layers, body);
}

}  // namespace loci
