// Leaves the last message of a rendered conversation open, so that the model goes on with it.
#pragma once

#include <string>
#include <string_view>

#include "core/status.h"

namespace inkstone {

// `rendered` up to the end of the last place where `message`, the text of its final turn, stands: as transformers'
// continue_final_message does. Space that the template took from the message's ends is not asked for. kInvalidArgument
// where the text is not found: the template changed it.
Result<std::string> CutAfterMessage(std::string rendered, std::string_view message);

}  // namespace inkstone
