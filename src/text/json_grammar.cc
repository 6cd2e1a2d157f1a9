#include "text/json_grammar.h"

#include <algorithm>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

namespace loci {
namespace {

using nlohmann::ordered_json;
using Node = Grammar::Node;
using Bytes = Grammar::Bytes;

constexpr uint32_t kAny = UINT32_MAX;
constexpr uint32_t kMostRepeats = 4096;
constexpr size_t kMostSchemas = 2000;
constexpr size_t kMostDepth = 64;
constexpr size_t kMostOptions = 1000;  // of an enum or anyOf
constexpr uint32_t kMostIndent = 24;   // spaces in a row

Bytes range(int first, int last) {
  Bytes out;
  for (int i = first; i <= last; ++i) out.set(static_cast<size_t>(i));
  return out;
}

Bytes of(std::string_view bytes) {
  Bytes out;
  for (const char c : bytes) out.set(static_cast<uint8_t>(c));
  return out;
}

// The parts that all JSON is made of.
class JsonRules {
 public:
  explicit JsonRules(Grammar& grammar)
      : g_(grammar), any_(g_.new_rule()), space_(g_.new_rule()), character_(g_.new_rule()) {
    const auto spaces = [&](Node next) { return g_.take(of(" "), next); };
    // At most one line break, so that no model can write white space for ever.
    g_.define(space_, g_.any_of({Grammar::kReturn, g_.take(of(" "), Grammar::kReturn),
                                 g_.take(of("\n"), g_.repeat(0, kMostIndent, Grammar::kReturn, spaces))}));
    define_character();
    g_.define(any_, g_.any_of({object(any_member(), 0), array(any_item(), 0, kAny), string(0, kAny, Grammar::kReturn),
                               number(Grammar::kReturn), literals(Grammar::kReturn)}));
  }

  Node space(Node next) { return g_.call(space_, next); }
  Node any(Node next) { return g_.call(any_, next); }

  Node string(uint32_t least, uint32_t most, Node next) {
    const Node close = g_.text("\"", next);
    return g_.text("\"", g_.repeat(least, most, close, [&](Node after) { return g_.call(character_, after); }));
  }

  Node integer(Node next) {
    const auto digit = [&](Node after) { return g_.take(range('0', '9'), after); };
    const Node natural = g_.any_of({g_.text("0", next), g_.take(range('1', '9'), g_.repeat(0, 18, next, digit))});
    return g_.any_of({natural, g_.text("-", natural)});
  }

  Node number(Node next) {
    const auto digit = [&](Node after) { return g_.take(range('0', '9'), after); };
    // Two digits: what is beyond a double is refused by many readers.
    const Node power =
        g_.take(of("eE"), g_.any_of({g_.repeat(1, 2, next, digit), g_.take(of("+-"), g_.repeat(1, 2, next, digit))}));
    const Node after_fraction = g_.any_of({next, power});
    const Node fraction = g_.text(".", g_.repeat(1, 20, after_fraction, digit));
    return integer(g_.any_of({next, fraction, power}));
  }

  Node literals(Node next) { return g_.any_of({g_.text("true", next), g_.text("false", next), g_.text("null", next)}); }

  // `item(next)` is a value. Of a rule of its own: it returns.
  template <typename Item>
  Node array(const Item& item, uint32_t least, uint32_t most) {
    const Node close = g_.text("]", Grammar::kReturn);
    const Node end = space(close);
    const auto more = [&](Node next) { return g_.text(",", space(item(next))); };
    if (most == 0) return g_.text("[", end);
    const Node items = item(g_.repeat(least > 0 ? least - 1 : 0, most == kAny ? kAny : most - 1, end, more));
    const Node filled = space(items);
    return g_.text("[", least > 0 ? filled : g_.any_of({filled, end}));
  }

  // Items that each have their own place, in this order, and behind them any number of others (`rest`; null: none).
  using Item = std::function<Node(Node)>;
  Node tuple(const std::vector<Item>& items, const Item* rest, uint32_t least, uint32_t most) {
    const Node end = space(g_.text("]", Grammar::kReturn));
    const auto count = static_cast<uint32_t>(std::min<size_t>(items.size(), most));
    const auto more = [&](const Item& item, Node next) { return g_.text(",", space(item(next))); };
    Node after = end;  // of `i` items
    if (rest != nullptr && most > count) {
      after = g_.repeat(least > count ? least - count : 0, most == kAny ? kAny : most - count, end,
                        [&](Node next) { return more(*rest, next); });
    }
    for (uint32_t i = count; i > 1; --i) {
      const Node next = more(items[i - 1], after);
      after = i - 1 >= least ? g_.any_of({next, end}) : next;
    }
    if (count == 0) return g_.text("[", end);
    const Node filled = space(items[0](after));
    return g_.text("[", least > 0 ? filled : g_.any_of({filled, end}));
  }

  // `member(next)` is a key, a colon and a value.
  template <typename Member>
  Node object(const Member& member, uint32_t least) {
    const Node end = space(g_.text("}", Grammar::kReturn));
    const auto more = [&](Node next) { return g_.text(",", space(member(next))); };
    const Node members = space(member(g_.repeat(least > 0 ? least - 1 : 0, kAny, end, more)));
    return g_.text("{", least > 0 ? members : g_.any_of({members, end}));
  }

  Node colon(Node next) { return g_.text(":", space(next)); }
  std::function<Node(Node)> any_member() {
    return [this](Node next) { return string(0, kAny, colon(any(next))); };
  }
  std::function<Node(Node)> any_item() {
    return [this](Node next) { return any(next); };
  }

 private:
  // One character of a string, in UTF-8 or as an escape. Escapes of surrogates are left out: halves would be no text.
  void define_character() {
    const Bytes tail = range(0x80, 0xbf);
    const Node end = Grammar::kReturn;
    Bytes plain = range(0x20, 0x7f);
    plain.reset('"').reset('\\').reset(0x7f);
    const Bytes hex = of("0123456789abcdefABCDEF");
    Bytes not_d = hex;
    not_d.reset('d').reset('D');
    const Node two_hex = g_.take(hex, g_.take(hex, end));
    const Node unicode =
        g_.any_of({g_.take(not_d, g_.take(hex, two_hex)), g_.take(of("dD"), g_.take(range('0', '7'), two_hex))});
    const Node escape = g_.text("\\", g_.any_of({g_.take(of("\"\\/bfnrt"), end), g_.text("u", unicode)}));
    const Node one = g_.take(tail, end);
    const Node two = g_.take(tail, one);
    const Node three = g_.take(tail, two);
    g_.define(character_,
              g_.any_of({g_.take(plain, end), escape, g_.take(range(0xc2, 0xdf), one),
                         g_.text("\xe0", g_.take(range(0xa0, 0xbf), one)), g_.take(range(0xe1, 0xec), two),
                         g_.text("\xed", g_.take(range(0x80, 0x9f), one)), g_.take(range(0xee, 0xef), two),
                         g_.text("\xf0", g_.take(range(0x90, 0xbf), two)), g_.take(range(0xf1, 0xf3), three),
                         g_.text("\xf4", g_.take(range(0x80, 0x8f), two))}));
  }

  Grammar& g_;
  uint32_t any_;
  uint32_t space_;
  uint32_t character_;
};

// One schema's way into a grammar. Every schema becomes a rule.
class SchemaCompiler {
 public:
  SchemaCompiler(const ordered_json& root, Grammar& grammar) : root_(root), g_(grammar), json_(grammar) {}

  // The whole schema's rule.
  Result<uint32_t> compile(const std::string& name) {
    LOCI_TRY(const uint32_t rule, rule_of(root_, name, 0));
    LOCI_CHECK(g_.check());
    const std::vector<bool> finite = g_.finite_rules();
    for (const auto& [path, of] : references_) {
      if (!finite[of]) {
        return fail(ErrorCode::kInvalidArgument, "the $ref '{}' leads back to itself and to no value that ends",
                    path.substr(0, 128));
      }
    }
    return rule;
  }

 private:
  Result<uint32_t> rule_of(const ordered_json& schema, const std::string& where, size_t depth) {
    if (++schemas_ > kMostSchemas || depth > kMostDepth) {
      return fail(ErrorCode::kLimit, "the schema is too large: at most {} schemas, nested {} deep, are allowed",
                  kMostSchemas, kMostDepth);
    }
    LOCI_CHECK(g_.check());
    if (schema.is_boolean() && schema.get<bool>()) {
      const uint32_t rule = g_.new_rule();
      g_.define(rule, json_.any(Grammar::kReturn));
      return rule;
    }
    if (!schema.is_object()) return fail(ErrorCode::kInvalidArgument, "the schema at '{}' is no object", where);
    LOCI_CHECK(check_keywords(schema, where));
    if (schema.contains("$ref")) return reference(schema, where, depth);
    const uint32_t rule = g_.new_rule();
    LOCI_TRY(const Node start, node_of(schema, where, depth));
    g_.define(rule, start);
    return rule;
  }

  static Status check_keywords(const ordered_json& schema, const std::string& where) {
    static const std::set<std::string_view> kKnown = {"type", "properties", "required", "additionalProperties", "items",
                                                      "prefixItems", "minItems", "maxItems", "minLength", "maxLength",
                                                      "enum", "const", "anyOf", "oneOf", "$ref", "$defs", "definitions",
                                                      // Annotations.
                                                      "title", "description", "default", "examples", "$schema", "$id",
                                                      "$comment", "deprecated", "readOnly", "writeOnly"};
    for (const auto& [name, value] : schema.items()) {
      if (kKnown.find(name) == kKnown.end()) {
        return fail(ErrorCode::kUnsupported, "the keyword '{}' at '{}' is not supported; leave it out",
                    name.substr(0, 64), where);
      }
    }
    return check_siblings(schema, where);
  }

  // Beside what says everything at once nothing else may stand, but for the type of literals.
  static Status check_siblings(const ordered_json& schema, const std::string& where) {
    static constexpr const char* kWhole[] = {"$ref", "const", "enum", "anyOf", "oneOf"};
    static constexpr const char* kParts[] = {"type",      "properties",  "required", "additionalProperties",
                                             "items",     "prefixItems", "minItems", "maxItems",
                                             "minLength", "maxLength"};
    const auto both = [&](const char* a, const char* b) {
      return fail(ErrorCode::kUnsupported, "the keywords '{}' and '{}' at '{}' are not supported together", a, b,
                  where);
    };
    const char* whole = nullptr;
    for (const char* name : kWhole) {
      if (!schema.contains(name)) continue;
      if (whole != nullptr) return both(whole, name);
      whole = name;
    }
    if (whole == nullptr) return {};
    const std::string_view literal(whole);
    for (const char* name : kParts) {
      const bool type = std::string_view(name) == "type" && (literal == "const" || literal == "enum");
      if (!type && schema.contains(name)) return both(whole, name);
    }
    return {};
  }

  Result<uint32_t> reference(const ordered_json& schema, const std::string& where, size_t depth) {
    if (!schema["$ref"].is_string()) return fail(ErrorCode::kInvalidArgument, "the $ref at '{}' is no string", where);
    const auto& path = schema["$ref"].get_ref<const std::string&>();
    const auto known = references_.find(path);
    if (known != references_.end()) return known->second;
    const ordered_json* target = nullptr;
    if (path == "#") target = &root_;
    for (const char* table : {"$defs", "definitions"}) {
      const std::string prefix = fmt::format("#/{}/", table);
      if (!path.starts_with(prefix) || !root_.contains(table) || !root_[table].is_object()) continue;
      if (root_[table].size() > kMostSchemas)
        return fail(ErrorCode::kLimit, "'{}' holds {} schemas, {} are allowed", table, root_[table].size(),
                    kMostSchemas);
      const auto found = root_[table].find(path.substr(prefix.size()));
      if (found != root_[table].end()) target = &*found;
    }
    if (target == nullptr) {
      return fail(ErrorCode::kUnsupported, "the $ref '{}' at '{}' leads to no schema of $defs", path.substr(0, 128),
                  where);
    }
    // Known before it is compiled: it may refer to itself.
    const uint32_t rule = g_.new_rule();
    references_[path] = rule;
    LOCI_TRY(const uint32_t inner, rule_of(*target, path, depth + 1));
    g_.define(rule, g_.call(inner, Grammar::kReturn));
    return rule;
  }

  Result<Node> node_of(const ordered_json& schema, const std::string& where, size_t depth) {
    if (schema.contains("const")) return any_literal(ordered_json::array({schema["const"]}), schema, where);
    if (schema.contains("enum")) return any_literal(schema["enum"], schema, where);
    for (const char* name : {"anyOf", "oneOf"}) {
      if (schema.contains(name)) return any_schema(schema[name], fmt::format("{}/{}", where, name), depth);
    }
    if (!schema.contains("type")) {
      LOCI_TRY(const char* const meant, meant_type(schema, where));
      return meant == nullptr ? json_.any(Grammar::kReturn) : typed(meant, schema, where, depth);
    }
    const ordered_json& type = schema["type"];
    if (type.is_string()) return typed(type.get<std::string>(), schema, where, depth);
    if (!type.is_array() || type.empty() || type.size() > 8)
      return fail(ErrorCode::kInvalidArgument, "the type at '{}' is neither a word nor an array of some", where);
    std::vector<Node> ways;
    for (const ordered_json& one : type) {
      if (!one.is_string()) return fail(ErrorCode::kInvalidArgument, "a type at '{}' is no word", where);
      LOCI_TRY(ways.emplace_back(), typed(one.get<std::string>(), schema, where, depth));
    }
    return g_.any_of(std::move(ways));
  }

  // The type that the keywords are of; null: any.
  static Result<const char*> meant_type(const ordered_json& schema, const std::string& where) {
    static constexpr std::pair<const char*, const char*> kOf[] = {
        {"properties", "object"}, {"required", "object"},   {"additionalProperties", "object"},
        {"items", "array"},       {"prefixItems", "array"}, {"minItems", "array"},
        {"maxItems", "array"},    {"minLength", "string"},  {"maxLength", "string"}};
    std::pair<const char*, const char*> found{nullptr, nullptr};
    for (const auto& [name, type] : kOf) {
      if (!schema.contains(name)) continue;
      if (found.second != nullptr && std::string_view(found.second) != type) {
        return fail(ErrorCode::kUnsupported, "the keywords '{}' and '{}' at '{}' are of different types; give a 'type'",
                    found.first, name, where);
      }
      found = {name, type};
    }
    return found.second;
  }

  static bool is_of(const ordered_json& value, std::string_view type) {
    if (type == "object") return value.is_object();
    if (type == "array") return value.is_array();
    if (type == "string") return value.is_string();
    if (type == "integer") return value.is_number_integer();
    if (type == "number") return value.is_number();
    if (type == "boolean") return value.is_boolean();
    return type == "null" && value.is_null();
  }

  Result<Node> typed(const std::string& type, const ordered_json& schema, const std::string& where, size_t depth) {
    if (type == "object") return object(schema, where, depth);
    if (type == "array") return array(schema, where, depth);
    if (type == "string") {
      LOCI_TRY(const uint32_t least, count(schema, "minLength", 0, where));
      LOCI_TRY(const uint32_t most, count(schema, "maxLength", kAny, where));
      if (least > most) return fail(ErrorCode::kInvalidArgument, "minLength is above maxLength at '{}'", where);
      return json_.string(least, most, Grammar::kReturn);
    }
    if (type == "integer") return json_.integer(Grammar::kReturn);
    if (type == "number") return json_.number(Grammar::kReturn);
    if (type == "boolean") return g_.any_of({g_.text("true", Grammar::kReturn), g_.text("false", Grammar::kReturn)});
    if (type == "null") return g_.text("null", Grammar::kReturn);
    return fail(ErrorCode::kInvalidArgument, "the type '{}' at '{}' is unknown", type.substr(0, 64), where);
  }

  static Result<uint32_t> count(const ordered_json& schema, const char* name, uint32_t absent,
                                const std::string& where) {
    if (!schema.contains(name)) return absent;
    const ordered_json& value = schema[name];
    if (!value.is_number_unsigned() || value.get<uint64_t>() > kMostRepeats) {
      return fail(ErrorCode::kInvalidArgument, "{} at '{}' must be an integer in [0, {}]", name, where, kMostRepeats);
    }
    return value.get<uint32_t>();
  }

  Node literal(const ordered_json& value) {
    return g_.text(value.dump(-1, ' ', false, ordered_json::error_handler_t::replace), Grammar::kReturn);
  }

  // The values of an enum or a const; a type beside it must be theirs.
  Result<Node> any_literal(const ordered_json& values, const ordered_json& schema, const std::string& where) {
    if (!values.is_array() || values.empty() || values.size() > kMostOptions)
      return fail(ErrorCode::kInvalidArgument, "the enum at '{}' must hold 1 to {} values", where, kMostOptions);
    std::vector<Node> ways;
    for (const ordered_json& value : values) {
      if (schema.contains("type") && !is_of_some(value, schema["type"]))
        return fail(ErrorCode::kInvalidArgument, "a value of the enum or const at '{}' is not of its 'type'", where);
      ways.push_back(literal(value));
    }
    return g_.any_of(std::move(ways));
  }

  static bool is_of_some(const ordered_json& value, const ordered_json& types) {
    if (types.is_string()) return is_of(value, types.get_ref<const std::string&>());
    return types.is_array() && std::any_of(types.begin(), types.end(), [&](const ordered_json& type) {
             return type.is_string() && is_of(value, type.get_ref<const std::string&>());
           });
  }

  Result<Node> any_schema(const ordered_json& schemas, const std::string& where, size_t depth) {
    if (!schemas.is_array() || schemas.empty() || schemas.size() > kMostOptions)
      return fail(ErrorCode::kInvalidArgument, "'{}' must hold 1 to {} schemas", where, kMostOptions);
    std::vector<Node> ways;
    for (size_t i = 0; i < schemas.size(); ++i) {
      LOCI_TRY(const uint32_t rule, rule_of(schemas[i], fmt::format("{}/{}", where, i), depth + 1));
      ways.push_back(g_.call(rule, Grammar::kReturn));
    }
    return g_.any_of(std::move(ways));
  }

  Result<Node> array(const ordered_json& schema, const std::string& where, size_t depth) {
    LOCI_TRY(const uint32_t least, count(schema, "minItems", 0, where));
    LOCI_TRY(const uint32_t most, count(schema, "maxItems", kAny, where));
    if (least > most) return fail(ErrorCode::kInvalidArgument, "minItems is above maxItems at '{}'", where);
    const bool closed = schema.contains("items") && schema["items"].is_boolean() && !schema["items"].get<bool>();
    JsonRules::Item rest = json_.any_item();
    if (schema.contains("items") && !closed) {
      LOCI_TRY(const uint32_t rule, rule_of(schema["items"], where + "/items", depth + 1));
      rest = [this, rule](Node next) { return g_.call(rule, next); };
    }
    if (!schema.contains("prefixItems")) {
      if (closed && least > 0)
        return fail(ErrorCode::kInvalidArgument, "minItems at '{}' asks for items, but 'items' allows none", where);
      return json_.array(rest, least, closed ? 0 : most);
    }
    LOCI_TRY(const std::vector<JsonRules::Item> places, prefix_items(schema["prefixItems"], where, depth));
    if (closed && least > places.size())
      return fail(ErrorCode::kInvalidArgument, "minItems at '{}' asks for more items than there are", where);
    return json_.tuple(places, closed ? nullptr : &rest, least, most);
  }

  Result<std::vector<JsonRules::Item>> prefix_items(const ordered_json& schemas, const std::string& where,
                                                    size_t depth) {
    if (!schemas.is_array() || schemas.empty() || schemas.size() > kMostOptions)
      return fail(ErrorCode::kInvalidArgument, "'prefixItems' at '{}' must hold 1 to {} schemas", where, kMostOptions);
    std::vector<JsonRules::Item> out;
    for (size_t i = 0; i < schemas.size(); ++i) {
      LOCI_TRY(const uint32_t rule, rule_of(schemas[i], fmt::format("{}/prefixItems/{}", where, i), depth + 1));
      out.push_back([this, rule](Node next) { return g_.call(rule, next); });
    }
    return out;
  }

  Result<Node> object(const ordered_json& schema, const std::string& where, size_t depth) {
    const ordered_json none = ordered_json::object();
    const ordered_json& properties = schema.contains("properties") ? schema["properties"] : none;
    if (!properties.is_object())
      return fail(ErrorCode::kInvalidArgument, "the properties at '{}' are no object", where);
    if (properties.size() > kMostSchemas)
      return fail(ErrorCode::kLimit, "{} properties at '{}' are too many; {} are allowed", properties.size(), where,
                  kMostSchemas);
    std::set<std::string> required;
    if (schema.contains("required")) {
      if (!schema["required"].is_array() || schema["required"].size() > kMostSchemas)
        return fail(ErrorCode::kInvalidArgument, "'required' at '{}' is no array of up to {} names", where,
                    kMostSchemas);
      for (const ordered_json& name : schema["required"]) {
        if (!name.is_string() || !properties.contains(name.get<std::string>()))
          return fail(ErrorCode::kInvalidArgument, "'required' at '{}' names no property", where);
        required.insert(name.get<std::string>());
      }
    }
    const ordered_json& more = schema.contains("additionalProperties") ? schema["additionalProperties"] : none;
    if (!more.is_boolean() && !more.is_object())
      return fail(ErrorCode::kInvalidArgument, "'additionalProperties' at '{}' is no schema", where);
    const bool closed = more.is_boolean() && !more.get<bool>();
    if (properties.empty()) {
      if (closed) return g_.text("{", json_.space(g_.text("}", Grammar::kReturn)));
      if (!more.is_object() || more.empty()) return json_.object(json_.any_member(), 0);
      LOCI_TRY(const uint32_t rule, rule_of(more, where + "/additionalProperties", depth + 1));
      return json_.object([&](Node next) { return json_.string(0, kAny, json_.colon(g_.call(rule, next))); }, 0);
    }
    // What is listed, in its order; nothing else is written, which additionalProperties allows in any case.
    return listed(properties, required, where, depth);
  }

  // Behind property i either nothing was written yet, or something was and a comma must come first.
  Result<Node> listed(const ordered_json& properties, const std::set<std::string>& required, const std::string& where,
                      size_t depth) {
    const Node end = json_.space(g_.text("}", Grammar::kReturn));
    Node after_some = end, after_none = end;
    for (auto property = properties.rbegin(); property != properties.rend(); ++property) {
      LOCI_CHECK(g_.check());
      const std::string& name = property.key();
      LOCI_TRY(const uint32_t rule,
               rule_of(property.value(), fmt::format("{}/{}", where, name.substr(0, 64)), depth + 1));
      const std::string key = ordered_json(name).dump(-1, ' ', false, ordered_json::error_handler_t::replace);
      const Node member = g_.text(key, json_.colon(g_.call(rule, after_some)));
      const Node first = json_.space(member);
      const Node next = g_.text(",", json_.space(member));
      const bool needed = required.count(name) > 0;
      after_none = needed ? first : g_.any_of({first, after_none});
      after_some = needed ? next : g_.any_of({next, after_some});
    }
    return g_.text("{", after_none);
  }

  const ordered_json& root_;
  Grammar& g_;
  JsonRules json_;
  std::map<std::string, uint32_t> references_;
  size_t schemas_ = 0;
};

}  // namespace

Grammar json_object_grammar() {
  Grammar grammar;
  JsonRules json(grammar);
  const uint32_t object = grammar.new_rule();
  grammar.define(object, json.object(json.any_member(), 0));
  grammar.set_start(grammar.call(object, Grammar::kReturn));
  return grammar;
}

Result<Grammar> tool_call_grammar(std::span<const FunctionSchema> functions) {
  Grammar grammar;
  const Node end = grammar.text("}\n</tool_call>", Grammar::kReturn);
  std::vector<Node> ways;
  const ordered_json any = {{"type", "object"}};
  for (const FunctionSchema& function : functions) {
    const ordered_json& schema = function.parameters == nullptr ? any : *function.parameters;
    LOCI_TRY(const uint32_t rule, SchemaCompiler(schema, grammar).compile(function.name));
    const std::string name = ordered_json(function.name).dump(-1, ' ', false, ordered_json::error_handler_t::replace);
    ways.push_back(
        grammar.text(fmt::format("<tool_call>\n{{\"name\": {}, \"arguments\": ", name), grammar.call(rule, end)));
  }
  grammar.set_start(grammar.any_of(std::move(ways)));
  LOCI_CHECK(grammar.check());
  return grammar;
}

Result<Grammar> json_schema_grammar(const ordered_json& schema) {
  Grammar grammar;
  LOCI_TRY(const uint32_t rule, SchemaCompiler(schema, grammar).compile("#"));
  grammar.set_start(grammar.call(rule, Grammar::kReturn));
  LOCI_CHECK(grammar.check());
  return grammar;
}

}  // namespace loci
