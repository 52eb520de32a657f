// inkstone run: one answer, or a chat on the terminal.
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <future>
#include <iostream>
#include <optional>

#include "cli/session_options.h"
#include "core/printable.h"
#include "server/json_writer.h"

namespace inkstone {
namespace {

struct RunOptions : SessionCommandOptions {
  std::string prompt;
  std::string system;
  int64_t max_tokens = -1;
  float temperature = -1;  // negative: the model's own
  uint64_t seed = 0;
  bool seeded = false;
  bool raw = false;
  std::optional<ContextPolicy> policy;
};

void Declare(CLI::App* command, RunOptions* o) {
  AddSessionOptions(command, o);
  command->add_option("-p,--prompt", o->prompt, "Question; without it, a chat on the terminal");
  command
      ->add_option("-n,--max-tokens", o->max_tokens,
                   "Tokens to generate at most; default: until the answer or the context ends")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--temp", o->temperature, "Temperature, 0 for always the likeliest token; default: the model's own")
      ->check(CLI::Range(0.0, 10.0));
  command->add_option_function<uint64_t>(
      "--seed", [o](const uint64_t& seed) { o->seed = seed, o->seeded = true; }, "The same seed gives the same text");
  command->add_option("--system", o->system, "System message");
  command->add_flag("--raw", o->raw, "Continue the prompt as it is, without the chat template");
  AddContextPolicyOption(command, "window in a chat, reject with -p",
                         [o](const ContextPolicy& policy) { o->policy = policy; });
  command->footer("Examples:\n  inkstone run qwen3-4b.gguf -p \"Why is the sky blue?\"\n  inkstone run qwen3-4b.gguf");
}

std::atomic<bool> interrupted{false};  // set by SIGINT during an answer: it ends the answer, not the program

struct Answer {
  std::string text;
  FinishReason finish = FinishReason::kStop;
  GenerationUsage usage;
  ContextDrop dropped;
};

class Chat {
 public:
  Chat(Session& session, const RunOptions& options) : session_(session), options_(options) {}

  // What the model reads: the raw prompt, or the conversation, as much of it as the policy keeps.
  Result<FittedChat> Fit(const std::string& prompt, const std::vector<ChatMessage>& messages) const {
    using Kind = ContextPolicy::Kind;
    const ContextPolicy policy =
        options_.policy.value_or(ContextPolicy{options_.prompt.empty() ? Kind::kWindow : Kind::kReject, 0});
    const auto room = ContextRoom::For(session_.engine().options().context, options_.max_tokens);
    FittedChat fitted;
    fitted.prompt.messages = messages;
    if (!options_.raw) {
      return FitChat(std::move(fitted.prompt), policy, room,
                     [this](const ChatPrompt& chat) { return session_.EncodeChat(chat); });
    }
    if (policy.kind == Kind::kRounds) {
      return InvalidArgument("a raw prompt has no rounds: --context-policy must be reject or window with --raw");
    }
    fitted.tokens = session_.tokenizer().Encode(prompt, SpecialText::kRecognize);
    fitted.dropped.tokens = FitTokens(&fitted.tokens, policy, room, session_.tokenizer().bos_token());
    return fitted;
  }

  // Generates, printing text as it comes when `echo`. Says on standard error when something was dropped.
  Result<Answer> Generate(FittedChat fitted, bool echo) const {
    if (fitted.dropped.any() && echo) {
      std::fprintf(stderr, "(%lld older messages, %lld tokens, are left out; --context allows more)\n",
                   static_cast<long long>(fitted.dropped.messages), static_cast<long long>(fitted.dropped.tokens));
    }
    GenerationRequest request;
    request.prompt = std::move(fitted.tokens);
    request.sampling = session_.default_sampling();
    if (options_.temperature >= 0) request.sampling.temperature = options_.temperature;
    if (options_.seeded) request.sampling.seed = options_.seed;
    request.max_tokens = options_.max_tokens;
    Answer answer;
    answer.dropped = fitted.dropped;
    std::promise<Status> done;
    const EventSink sink = [&](GenerationEvent&& event) {
      answer.text += event.text;
      if (echo) {
        // A model may be led to write commands of the terminal; into a file or a pipe its words go as they are.
        const std::string shown = terminal_ ? Printable(event.text, TextShape::kText) : event.text;
        std::fwrite(shown.data(), 1, shown.size(), stdout);
        std::fflush(stdout);
      }
      if (!event.finish) return;
      answer.finish = *event.finish;
      answer.usage = event.usage;
      done.set_value(event.status);
    };
    auto finished = done.get_future();
    INK_ASSIGN_OR_RETURN(const RequestId id, session_.engine().Submit(std::move(request), sink));
    while (finished.wait_for(std::chrono::milliseconds(50)) != std::future_status::ready) {
      if (interrupted.exchange(false)) session_.engine().Cancel(id);
    }
    INK_RETURN_IF_ERROR(finished.get());
    return answer;
  }

 private:
  Session& session_;
  const RunOptions& options_;
  const bool terminal_ = isatty(STDOUT_FILENO) != 0;
};

std::vector<ChatMessage> FirstMessages(const RunOptions& o) {
  std::vector<ChatMessage> messages;
  if (!o.system.empty()) messages.push_back({.role = "system", .content = o.system});
  return messages;
}

void PrintJson(const Answer& answer) {
  JsonWriter json;
  const char* reason = answer.finish == FinishReason::kStop     ? "stop"
                       : answer.finish == FinishReason::kLength ? "length"
                                                                : "cancelled";
  json.BeginObject().Field("text", answer.text).Field("finish_reason", reason);
  json.Field("prompt_tokens", answer.usage.prompt_tokens).Field("generated_tokens", answer.usage.generated_tokens);
  json.Field("dropped_messages", answer.dropped.messages).Field("dropped_tokens", answer.dropped.tokens);
  json.Field("prefill_seconds", answer.usage.prefill_seconds).Field("decode_seconds", answer.usage.decode_seconds);
  std::puts(json.EndObject().Take().c_str());
}

Status RunOnce(const Chat& chat, const RunOptions& o) {
  std::vector<ChatMessage> messages = FirstMessages(o);
  messages.push_back({.role = "user", .content = o.prompt});
  INK_ASSIGN_OR_RETURN(FittedChat fitted, chat.Fit(o.prompt, messages));
  INK_ASSIGN_OR_RETURN(const Answer answer, chat.Generate(std::move(fitted), !o.json));
  if (o.json) {
    PrintJson(answer);
  } else {
    std::puts("");
    if (answer.finish == FinishReason::kLength && o.max_tokens < 0)
      std::fputs("(the context is full; --context allows more)\n", stderr);
  }
  return Status::Ok();
}

Status RunInteractive(const Chat& chat, const RunOptions& o) {
  std::fputs("Type a message; /new starts over, /exit or Ctrl-D leaves, Ctrl-C ends an answer.\n", stderr);
  std::vector<ChatMessage> messages = FirstMessages(o);
  const bool terminal = isatty(STDIN_FILENO) != 0;
  for (std::string line; (terminal && std::fputs("\n> ", stdout), std::fflush(stdout), std::getline(std::cin, line));) {
    if (line == "/exit") break;
    if (line == "/new") messages = FirstMessages(o);
    if (line.empty() || line == "/new") continue;
    messages.push_back({.role = "user", .content = line});
    auto fitted = chat.Fit(line, messages);
    auto answer = fitted.ok() ? chat.Generate(std::move(fitted).value(), true) : Result<Answer>(fitted.status());
    std::puts("");
    if (!answer.ok()) {
      std::fprintf(stderr, "inkstone: %s\n", Printable(answer.status().message(), TextShape::kText).c_str());
      messages.pop_back();
      continue;
    }
    messages.push_back({.role = "assistant", .content = answer->text});
  }
  return Status::Ok();
}

Status Run(const RunOptions& o) {
  INK_ASSIGN_OR_RETURN(SessionOptions options, ToSessionOptions(o));
  options.max_sequences = 1;
  INK_ASSIGN_OR_RETURN(const auto session, Session::Open(options));
  PrintWarnings(session->info().warnings);
  if (!o.json && o.prompt.empty()) std::fputs(session->info().memory_report.c_str(), stderr);
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted.store(true); };
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // a second Ctrl-C ends the program
  sigaction(SIGINT, &action, nullptr);
  const Chat chat(*session, o);
  return o.prompt.empty() ? RunInteractive(chat, o) : RunOnce(chat, o);
}

}  // namespace

void AddRunCommand(CLI::App* app, CommandBody* body) {
  AddCommand<RunOptions>(app, body, "run", "Answer one prompt, or chat on the terminal", Declare, Run);
}

}  // namespace inkstone
