// What the keys and values of a page depend on beside its tokens.
#pragma once

#include <string>

#include "formats/checkpoint.h"
#include "kvcache/attention_window.h"
#include "kvcache/page_pool.h"
#include "model/config.h"

namespace inkstone {

// Text that differs where numbers may differ: weights (sizes, names and types, and a sample of their bytes: a change of
// few bytes may be missed, another training is not), positions, cache type and layout, what of the cache is seen,
// kernels. `backend` is its name.
std::string PageIdentity(const Checkpoint& checkpoint, const ModelConfig& config, const KvLayout& layout,
                         const AttentionWindow& window, std::string_view backend);

}  // namespace inkstone
