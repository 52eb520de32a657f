// The memory account as JSON: /props and `inkstone inspect --json`.
#pragma once

#include "engine/engine.h"
#include "planner/memory_account.h"
#include "server/json_writer.h"

namespace inkstone {

// {"weights":{"planned":..,"actual":..},..}: bytes; without `actual` the planned ones alone.
void WritePurposes(JsonWriter& json, const MemoryAccount& account, bool actual);
// The whole table with budget, resident set, level and reactions.
void WriteMemory(JsonWriter& json, const MemoryAccount& account, const EngineStats& stats);

}  // namespace inkstone
