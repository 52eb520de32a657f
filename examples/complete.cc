// Continues a text: complete MODEL "Once upon a time".
#include <condition_variable>
#include <cstdio>
#include <mutex>

#include "engine/session.h"

int main(int argc, char** argv) {
  if (argc != 3) return std::fprintf(stderr, "usage: %s MODEL TEXT\n", argv[0]), 2;
  auto session = inkstone::Session::Open({.model = argv[1]});
  if (!session.ok()) return std::fprintf(stderr, "%s\n", session.status().message().c_str()), 1;

  inkstone::GenerationRequest request;
  request.prompt = (*session)->tokenizer().Encode(argv[2], inkstone::SpecialText::kPlain);
  request.sampling = (*session)->default_sampling();
  request.max_tokens = 100;

  // Events come on the engine's thread; the last one has a reason why the text ends.
  std::mutex mutex;
  std::condition_variable changed;
  bool finished = false;
  const auto id = (*session)->engine().Submit(std::move(request), [&](const inkstone::GenerationEvent& event) {
    std::fputs(event.text.c_str(), stdout);
    std::fflush(stdout);
    if (!event.finish.has_value()) return;
    std::lock_guard lock(mutex);
    finished = true;
    changed.notify_one();
  });
  if (!id.ok()) return std::fprintf(stderr, "%s\n", id.status().message().c_str()), 1;
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return finished; });
  std::puts("");
  return 0;
}
