#include "cli/explain_page.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string_view>

namespace loci {
namespace {

constexpr std::string_view kBefore = R"(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>What the heads keep and read</title>
<style>
  :root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
  body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
  h1 { font-size: 1.3rem; } h2 { font-size: 1.05rem; margin: 1.5rem 0 .3rem; }
  dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: 0; }
  dt { opacity: .7; } dd { margin: 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
  .row { display: flex; align-items: center; gap: .6rem; }
  .name { width: 4.5rem; font-size: .8rem; text-align: right; opacity: .8; }
  .share { width: 3.5rem; font-size: .8rem; font-variant-numeric: tabular-nums; }
  canvas { flex: 1; height: 12px; min-width: 0; image-rendering: pixelated; border-radius: 2px; }
  th, td { padding: .1rem .8rem; text-align: right; font-size: .85rem; font-variant-numeric: tabular-nums; }
  .legend { font-size: .85rem; opacity: .8; }
  #hint { position: sticky; bottom: 0; background: Canvas; padding: .3rem 0; font-size: .85rem; min-height: 1.6rem; }
</style>
</head>
<body>
<h1>What the heads keep and read</h1>
<dl id="facts"></dl>
<div id="pictures"></div>
<p id="hint" aria-live="polite">Point at a strip.</p>
<script id="data" type="application/json">)";

constexpr std::string_view kAfter = R"(</script>
<script>
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const facts = [["plan", data.attention], ["model", data.model],
  ["tokens", `${data.prompt_tokens} read, ${data.generated_tokens} written`],
  ["kept", `${data.kept_tokens} entries per head, ${(data.kv_bytes / 1048576).toFixed(2)} MiB`], ["answer", data.text]];
for (const [name, value] of facts) {
  const term = document.createElement("dt"), text = document.createElement("dd");
  term.textContent = name; text.textContent = value;
  document.getElementById("facts").append(term, text);
}
const kinds = [
  ["kept", "Kept", "share of each stretch's entries that the head still holds at the end", [33, 113, 181]],
  ["in_prompt", "Read by the prompt", "of the pairs of a prompt's query and an earlier entry, the share that was read", [35, 139, 69]],
  ["in_decode", "Read by generated tokens", "the same for the tokens that were written", [217, 95, 2]]];
const perStretch = Math.ceil(data.tokens / data.stretches);
const mean = values => values.reduce((a, b) => a + b, 0) / Math.max(1, values.length);
function strip(values, color) {
  const canvas = document.createElement("canvas");
  canvas.width = values.length; canvas.height = 1;
  const context = canvas.getContext("2d"), image = context.createImageData(values.length, 1);
  values.forEach((v, i) => image.data.set([...color, Math.round(30 + 225 * v)], 4 * i));
  context.putImageData(image, 0, 0);
  return canvas;
}
for (const [key, title, meaning, color] of kinds) {
  const heading = document.createElement("h2"), legend = document.createElement("p");
  heading.textContent = title;
  legend.textContent = `Left: the beginning of the sequence. The darker, the larger the ${meaning}.`;
  legend.className = "legend";
  document.getElementById("pictures").append(heading, legend);
  for (const head of data.heads) {
    const row = document.createElement("div"), name = document.createElement("span"), share = document.createElement("span");
    row.className = "row"; name.className = "name"; share.className = "share";
    name.textContent = `L${head.layer} H${head.kv_head}`;
    share.textContent = `${(100 * mean(head[key])).toFixed(1)}%`;
    const canvas = strip(head[key], color);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${title}, layer ${head.layer}, KV head ${head.kv_head}: ${share.textContent} on average`);
    canvas.addEventListener("mousemove", event => {
      const at = Math.min(head[key].length - 1, Math.floor(event.offsetX / canvas.clientWidth * head[key].length));
      const last = Math.min(data.tokens, (at + 1) * perStretch) - 1;
      document.getElementById("hint").textContent =
        `${title}: layer ${head.layer}, KV head ${head.kv_head}, tokens ${at * perStretch} to ${last}: ${(100 * head[key][at]).toFixed(1)}%`;
    });
    row.append(name, canvas, share);
    document.getElementById("pictures").append(row);
  }
}
const percent = share => `${(100 * share).toFixed(2)}%`;
if (data.heads.some(head => head.prompt_coverage)) {
  const heading = document.createElement("h2"), legend = document.createElement("p"), table = document.createElement("table");
  heading.textContent = "Attention that the reads hold";
  legend.textContent = "Mass: of a head's attention over all that it keeps, the share in what was read. Error: how far the output is off "
    + "one of a read of everything, relative. Means over the queries.";
  legend.className = "legend";
  const line = (cell, values) => values.forEach(value => { cell().textContent = value; });
  const headRow = table.createTHead().insertRow();
  line(() => headRow.appendChild(document.createElement("th")), ["head", "prompt mass", "error", "decode mass", "error"]);
  const body = table.createTBody();
  for (const head of data.heads) {
    const row = body.insertRow(), cells = [head.prompt_coverage, head.decode_coverage].flatMap(
      c => c.queries ? [percent(c.mass), percent(c.error)] : ["", ""]);
    line(() => row.insertCell(), [`L${head.layer} H${head.kv_head}`, ...cells]);
  }
  document.getElementById("pictures").append(heading, legend, table);
}
</script>
</body>
</html>
)";

// The text of a script element ends at the first "</".
std::string script_text(std::string json) {
  for (size_t at = json.find("</"); at != std::string::npos; at = json.find("</", at)) json.replace(at, 2, "<\\/");
  return json;
}

}  // namespace

std::string explain_page(const nlohmann::ordered_json& explanation) {
  const std::string data = explanation.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  return fmt::format("{}{}{}", kBefore, script_text(data), kAfter);
}

}  // namespace loci
