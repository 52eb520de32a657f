#include "formats/hf_generation.h"

#include <optional>

#include "formats/json_fields.h"
#include "formats/sampling_keys.h"

namespace inkstone {
namespace {

namespace json = boost::json;

// A scalar as metadata has it; an object or an array becomes an empty array, which no number is made of.
MetaValue ToMeta(const json::value& value) {
  if (value.is_bool()) return {MetaType::kBool, value.get_bool()};
  if (value.is_int64()) return {MetaType::kI64, value.get_int64()};
  if (value.is_uint64()) return {MetaType::kF64, static_cast<double>(value.get_uint64())};
  if (value.is_double()) return {MetaType::kF64, value.get_double()};
  if (value.is_string()) {
    const json::string& text = value.get_string();
    return {MetaType::kString, std::string_view(text.data(), text.size())};
  }
  return {MetaType::kArray, MetaArray{}};
}

// do_sample, also where a file has 0 and 1 or a word for it.
bool Samples(const JsonFields& fields, std::vector<std::string>* warnings) {
  const json::value* value = fields.Find("do_sample");
  if (value == nullptr) return true;
  if (value->is_bool()) return value->get_bool();
  const bool no = (value->is_int64() && value->get_int64() == 0) ||
                  (value->is_string() && (value->get_string() == "false" || value->get_string() == "False"));
  warnings->push_back(fields.Wrong("do_sample", "true or false").message() + "; " + (no ? "false" : "true") +
                      " is taken");
  return !no;
}

}  // namespace

Status SetSampling(std::string_view text, const std::string& file, Metadata* metadata,
                   std::vector<std::string>* warnings) {
  INK_ASSIGN_OR_RETURN(const json::object root, ParseJsonObject(text, file));
  const JsonFields fields(root, file);
  if (!Samples(fields, warnings)) return Status::Ok();
  for (const SamplingKey& key : SamplingKeys()) {
    const json::value* found = fields.Find(key.hf);
    if (found == nullptr) continue;
    const auto value = ReadSampling(key, ToMeta(*found), file + ": " + std::string(key.hf), warnings);
    if (!value) continue;
    const std::string name = "general.sampling." + std::string(key.gguf);
    if (key.whole) {
      metadata->SetView(name, MetaValue{MetaType::kI32, static_cast<int64_t>(*value)});
    } else {
      metadata->SetF32(name, static_cast<float>(*value));
    }
  }
  return Status::Ok();
}

}  // namespace inkstone
