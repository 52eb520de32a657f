#include "server/memory_json.h"

namespace inkstone {

void WritePurposes(JsonWriter& json, const MemoryAccount& account, bool actual) {
  json.BeginObject();
  for (size_t i = 0; i < kMemoryPurposes; ++i) {
    const auto purpose = static_cast<MemoryPurpose>(i);
    json.Key(MemoryPurposeName(purpose)).BeginObject().Field("planned", account[purpose].planned);
    if (actual) json.Field("actual", account[purpose].actual);
    json.EndObject();
  }
  json.EndObject();
}

void WriteMemory(JsonWriter& json, const MemoryAccount& account, const EngineStats& stats) {
  json.BeginObject().Field("budget", account.budget).Field("planned", account.planned());
  json.Field("resident", account.resident).Field("peak_resident", account.peak_resident);
  json.Key("cgroup_limit");
  account.group_limit == 0 ? json.Null() : json.Value(account.group_limit);
  json.Key("cgroup_used");
  account.group_limit == 0 ? json.Null() : json.Value(account.group_used);
  json.Key("purposes");
  WritePurposes(json, account, true);
  json.Field("level", MemoryLevelName(stats.memory.level)).Field("headroom", stats.memory.headroom);
  json.Field("kv_pages", stats.kv_pages_total).Field("kv_page_limit", stats.kv_page_limit);
  json.Field("kv_page_bytes", stats.kv_page_bytes).Key("reactions").BeginObject();
  for (size_t level = 1; level < kMemoryLevels; ++level) {
    json.Field(MemoryLevelName(static_cast<MemoryLevel>(level)), stats.memory.entered[level]);
  }
  json.EndObject().EndObject();
}

}  // namespace inkstone
