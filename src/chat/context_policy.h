// What happens to a conversation, or a raw prompt, that is longer than wanted. Whatever is dropped is counted.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "chat/chat_template.h"
#include "core/status.h"

namespace inkstone {

struct ContextPolicy {
  enum class Kind : uint8_t {
    kReject,  // nothing is dropped: a prompt that does not fit is an error
    kWindow,  // the oldest rounds are dropped until the rest fits
    kRounds,  // the system turn and the newest `rounds` rounds are kept, fewer where these do not fit
  };
  Kind kind = Kind::kReject;
  int64_t rounds = 0;  // of kRounds, the current one included

  // "reject", "window" or "rounds=N". kInvalidArgument names what was found.
  static Result<ContextPolicy> Parse(std::string_view text);
  std::string Name() const;
  bool operator==(const ContextPolicy&) const = default;
};

// Tokens of a sequence, and of them those that a cut leaves free for the answer.
struct ContextRoom {
  int64_t context = 0;
  int64_t answer = 0;

  // max_tokens where it is a limit (positive and below the context); else a quarter of the context, at most 1,024.
  static ContextRoom For(int64_t context, int64_t max_tokens);
  bool Fits(size_t tokens) const { return static_cast<int64_t>(tokens) + answer <= context; }
};

struct ContextDrop {
  int64_t messages = 0;
  int64_t tokens = 0;  // of the whole prompt less those of what was kept

  bool any() const { return messages > 0 || tokens > 0; }
};

struct FittedChat {
  ChatPrompt prompt;            // with the messages that were kept
  std::vector<int32_t> tokens;  // of it, rendered
  ContextDrop dropped;
};

// Renders a conversation and tokenizes it.
using EncodeChatFunction = std::function<Result<std::vector<int32_t>>(const ChatPrompt&)>;

// Where the rounds of a conversation begin, oldest first, as indices of messages. What comes before the first is the
// system turn: the leading system messages. A round is a user's message with all that follows it up to the next one;
// what an assistant says before any user is a round too. A tool's result stays in the round of its call.
std::vector<size_t> RoundStarts(const std::vector<ChatMessage>& messages);

// Drops whole rounds, oldest first, as few as the policy and the room demand. The newest round always stays, so the
// result may be without the room, or even above the context: the caller checks. The cut is found by bisection, each
// candidate rendered and tokenized; errors are those of `encode`.
Result<FittedChat> FitChat(ChatPrompt prompt, const ContextPolicy& policy, const ContextRoom& room,
                           const EncodeChatFunction& encode);

// How many of the first `tokens` of this conversation do not depend on what users and assistants say in it: the system
// turn and the tools, as the template writes them. 0 where there are none.
Result<int64_t> SystemTokens(const ChatPrompt& prompt, const std::vector<int32_t>& tokens,
                             const EncodeChatFunction& encode);

// FitChat for a prompt without messages: kWindow keeps the newest tokens, and the first where it is `bos` (negative:
// none). kReject keeps all, kRounds is not for raw prompts and does as kWindow. Returns how many tokens were dropped.
int64_t FitTokens(std::vector<int32_t>* tokens, const ContextPolicy& policy, const ContextRoom& room, int32_t bos);

}  // namespace inkstone
