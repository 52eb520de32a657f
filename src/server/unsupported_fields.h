// Fields that OpenAI, vLLM or llama-server define and this server does not have: refused by name where they would
// change the answer, since a client would not notice that they did nothing.
#pragma once

#include "server/json_fields.h"

namespace inkstone {

enum class FieldScope { kChat, kCompletion };

// Fails for the first such field whose value is not the one that changes nothing. Names that nobody defines are
// ignored, as are fields that do not touch the answer (store, metadata, service_tier, cache_prompt, id_slot ..).
void RefuseUnsupported(FieldReader& fields, FieldScope scope);

}  // namespace inkstone
