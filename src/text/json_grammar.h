// Grammars of JSON: of any object, and of the values that a JSON Schema describes.
//
// Supported of JSON Schema 2020-12: type (one or several), properties, required, additionalProperties, items,
// prefixItems, minItems, maxItems, minLength, maxLength, enum and const (with a type or without), anyOf, oneOf (as
// anyOf), $ref to '#', $defs or definitions, and annotations (title, description, default, examples), which mean
// nothing here. Anything else is an error that names it, and so are keywords that do not go together: a schema is
// followed whole or not at all. Properties come in the order in which they are listed, and none beside them. Where
// there is no type, the keywords say which is meant.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>

#include "text/grammar.h"

namespace loci {

// Any JSON object, with nothing after it.
Grammar json_object_grammar();
// kUnsupported names the keyword and where it stands, kInvalidArgument what is no schema, kLimit what is too large.
Result<Grammar> json_schema_grammar(const nlohmann::ordered_json& schema);

// A function that a model may call.
struct FunctionSchema {
  std::string name;
  const nlohmann::ordered_json* parameters = nullptr;  // the schema of its arguments; null: any object
};
// A call of one of these (one at least): {"name": NAME, "arguments": ARGUMENTS} in <tool_call> tags.
Result<Grammar> tool_call_grammar(std::span<const FunctionSchema> functions);

}  // namespace loci
