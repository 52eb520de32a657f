// The server in front of a scripted model, for the client tests: fake_server [PORT]. Prints its URL, ends on SIGTERM.
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "server/server.h"
#include "server/testing/fake_session.h"

namespace {

using inkstone::GenerationRequest;
using inkstone::testing::Script;

// Words in the prompt choose what is said.
Script Answer(const GenerationRequest&, const std::string& prompt) {
  Script script;
  const auto asks = [&](const char* word) { return prompt.find(word) != std::string::npos; };
  if (asks("<|im_start|>tool")) {
    script.pieces = {"It is ", "sunny."};
  } else if (asks("weather") && asks("get_weather")) {
    script.pieces = {"<tool_call>\n{\"name\": \"get_weather\", ",
                     "\"arguments\": {\"city\": \"Berlin\"}}\n</tool_call>"};
  } else if (asks("slowly")) {
    script.pieces.assign(2000, "word ");
    script.per_piece = std::chrono::milliseconds(10);
  } else if (asks("think")) {
    script.pieces = {"<think>\nlet me ", "see\n</think>\n\n", "done"};
  } else {
    script.pieces = {"Hello", ", ", "world", "!"};
    script.per_piece = std::chrono::milliseconds(5);
  }
  return script;
}

}  // namespace

int main(int argc, char** argv) {
  inkstone::testing::FakeSession session(Answer);
  session.mutable_info().thinks = true;
  inkstone::ServerOptions options;
  options.port = argc > 1 ? static_cast<uint16_t>(std::atoi(argv[1])) : 0;
  options.handle_signals = true;
  options.logger = spdlog::stderr_color_mt("server");
  auto server = inkstone::Server::Create(session, options);
  if (!server.ok()) {
    std::fprintf(stderr, "%s\n", server.status().message().c_str());
    return 1;
  }
  std::printf("http://127.0.0.1:%d\n", (*server)->port());
  std::fflush(stdout);
  return (*server)->Run().ok() ? 0 : 1;
}
