#include "chat/context_policy.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <unordered_map>
#include <utility>

namespace inkstone {
namespace {

constexpr std::string_view kRoundsPrefix = "rounds=";

// The newest message that made a call, for each id and at all.
class Calls {
 public:
  void Add(const ChatMessage& message, size_t index) {
    for (const ToolCall& call : message.tool_calls) {
      by_id_[call.id] = index;
      newest_ = index;
    }
  }
  // Of a tool's result; `otherwise` when there is none.
  size_t Find(const std::string& id, size_t otherwise) const {
    if (id.empty()) return newest_.value_or(otherwise);
    const auto found = by_id_.find(id);
    return found == by_id_.end() ? otherwise : found->second;
  }

 private:
  std::unordered_map<std::string_view, size_t> by_id_;  // texts are the messages'
  std::optional<size_t> newest_;
};

// One conversation and its cuts: cut c drops the rounds before round c.
class Cutter {
 public:
  Cutter(ChatPrompt prompt, const EncodeChatFunction& encode)
      : whole_(std::move(prompt)), starts_(RoundStarts(whole_.messages)), encode_(encode) {}

  size_t rounds() const { return starts_.size(); }
  Result<std::vector<int32_t>> Encode(size_t cut) const { return cut == 0 ? encode_(whole_) : encode_(Kept(cut)); }

  ChatPrompt Kept(size_t cut) const {
    ChatPrompt kept = whole_;
    if (cut == 0) return kept;
    const auto first = kept.messages.begin();
    kept.messages.erase(first + static_cast<std::ptrdiff_t>(starts_[0]),
                        first + static_cast<std::ptrdiff_t>(starts_[cut]));
    return kept;
  }
  int64_t DroppedMessages(size_t cut) const { return cut == 0 ? 0 : static_cast<int64_t>(starts_[cut] - starts_[0]); }

 private:
  ChatPrompt whole_;
  std::vector<size_t> starts_;
  const EncodeChatFunction& encode_;
};

}  // namespace

Result<ContextPolicy> ContextPolicy::Parse(std::string_view text) {
  if (text == "reject") return ContextPolicy{Kind::kReject, 0};
  if (text == "window") return ContextPolicy{Kind::kWindow, 0};
  if (text.starts_with(kRoundsPrefix)) {
    const std::string_view digits = text.substr(kRoundsPrefix.size());
    int32_t rounds = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), rounds);
    if (error == std::errc() && end == digits.data() + digits.size() && rounds > 0) {
      return ContextPolicy{Kind::kRounds, rounds};
    }
  }
  return InvalidArgument("expected reject, window or rounds=N with N of at least 1, found \"" +
                         std::string(text.substr(0, 40)) + "\"");
}

std::string ContextPolicy::Name() const {
  if (kind == Kind::kRounds) return std::string(kRoundsPrefix) + std::to_string(rounds);
  return kind == Kind::kWindow ? "window" : "reject";
}

ContextRoom ContextRoom::For(int64_t context, int64_t max_tokens) {
  constexpr int64_t kMost = 1024;
  const bool limited = max_tokens > 0 && max_tokens < context;
  return {context, limited ? max_tokens : std::max<int64_t>(std::min(context / 4, kMost), 1)};
}

std::vector<size_t> RoundStarts(const std::vector<ChatMessage>& messages) {
  std::vector<size_t> starts;
  Calls calls;
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string& role = messages[i].role;
    if (starts.empty() ? role != "system" : role == "user") starts.push_back(i);
    calls.Add(messages[i], i);
    if (role != "tool") continue;
    // A user who spoke between a call and its result did not begin a round.
    const size_t call = calls.Find(messages[i].tool_call_id, i);
    while (starts.size() > 1 && starts.back() > call) starts.pop_back();
  }
  return starts;
}

Result<FittedChat> FitChat(ChatPrompt prompt, const ContextPolicy& policy, const ContextRoom& room,
                           const EncodeChatFunction& encode) {
  const Cutter cutter(std::move(prompt), encode);
  INK_ASSIGN_OR_RETURN(std::vector<int32_t> tokens, cutter.Encode(0));
  const int64_t whole = static_cast<int64_t>(tokens.size());
  const size_t newest = std::max<size_t>(cutter.rounds(), 1) - 1;
  size_t cut = 0;
  if (policy.kind == ContextPolicy::Kind::kRounds) {
    const size_t wanted = static_cast<size_t>(policy.rounds);
    cut = cutter.rounds() > wanted ? cutter.rounds() - wanted : 0;
  }
  if (cut > 0) {
    INK_ASSIGN_OR_RETURN(tokens, cutter.Encode(cut));
  }
  if (policy.kind != ContextPolicy::Kind::kReject && cut < newest && !room.Fits(tokens.size())) {
    size_t above = cut;  // does not fit
    cut = newest;        // the best that is known
    INK_ASSIGN_OR_RETURN(tokens, cutter.Encode(cut));
    while (room.Fits(tokens.size()) && cut - above > 1) {
      const size_t middle = above + (cut - above) / 2;
      INK_ASSIGN_OR_RETURN(auto candidate, cutter.Encode(middle));
      if (room.Fits(candidate.size())) {
        cut = middle;
        tokens = std::move(candidate);
      } else {
        above = middle;
      }
    }
  }
  // A template may say more when a message is missing.
  const int64_t fewer = std::max<int64_t>(whole - static_cast<int64_t>(tokens.size()), 0);
  const ContextDrop dropped{cutter.DroppedMessages(cut), fewer};
  return FittedChat{cutter.Kept(cut), std::move(tokens), dropped};
}

Result<int64_t> SystemTokens(const ChatPrompt& prompt, const std::vector<int32_t>& tokens,
                             const EncodeChatFunction& encode) {
  const std::vector<size_t> starts = RoundStarts(prompt.messages);
  const size_t system = starts.empty() ? prompt.messages.size() : starts.front();
  const bool has_tools = prompt.tools.is_array() && !prompt.tools.get_array().empty();
  if (starts.empty() || (system == 0 && !has_tools)) return 0;
  // The same beginning with another question: where the two part, the system turn is over.
  ChatPrompt other = prompt;
  other.messages.resize(system + 1);
  other.messages.back() = {};
  other.messages.back().role = "user";
  other.messages.back().content = prompt.messages[system].content.starts_with('?') ? "!" : "?";
  INK_ASSIGN_OR_RETURN(const std::vector<int32_t> others, encode(other));
  return std::mismatch(tokens.begin(), tokens.end(), others.begin(), others.end()).first - tokens.begin();
}

int64_t FitTokens(std::vector<int32_t>* tokens, const ContextPolicy& policy, const ContextRoom& room, int32_t bos) {
  if (policy.kind == ContextPolicy::Kind::kReject || room.Fits(tokens->size())) return 0;
  const int64_t size = static_cast<int64_t>(tokens->size());
  const std::ptrdiff_t head = bos >= 0 && tokens->front() == bos ? 1 : 0;
  // At least one token stays beside BOS, whatever the room.
  const int64_t kept = std::min(size, std::max<int64_t>(room.context - room.answer, head + 1));
  tokens->erase(tokens->begin() + head, tokens->end() - static_cast<std::ptrdiff_t>(kept - head));
  return size - kept;
}

}  // namespace inkstone
