// What a load consists of and where it goes.
#pragma once

#include <cstdint>
#include <string>

namespace inkstone {

enum class Endpoint { kChat, kCompletions };
enum class Spread { kUniform, kLogUniform };

// Both ends belong to it.
struct LengthRange {
  int64_t low = 1;
  int64_t high = 1;
};

// What is asked. Request number i is the same for every server and every timing: it depends on these alone.
struct WorkloadOptions {
  Endpoint endpoint = Endpoint::kChat;
  std::string model;                    // empty: the field is left out
  LengthRange prompt_tokens{512, 512};  // words of the generator, each one token of the usual vocabularies
  LengthRange max_tokens{128, 128};
  Spread spread = Spread::kUniform;  // of both ranges
  int64_t shared_prefix = 0;         // words that all prompts begin with, as a system turn
  std::string file;                  // JSONL with "messages" or "prompt", in turns, instead of generated words
  bool ignore_eos = false;           // asks the server to generate max_tokens whatever the model says
  uint64_t seed = 1;
};

struct LoadOptions {
  std::string url;  // http://HOST[:PORT][/PATH]
  std::string api_key;
  WorkloadOptions workload;
  int clients = 1;           // closed loop: each sends its next request when the last one has ended
  double rate = 0;           // above 0: open loop, requests per second, instead of `clients`
  int max_in_flight = 512;   // open loop: an arrival beyond it is dropped
  int64_t requests = 0;      // ends the load; 0: no limit
  double duration = 0;       // seconds after which no request starts; 0: no limit
  int warmup = 1;            // requests before the measurement, one after the other, that do not count
  double timeout = 600;      // seconds of one request
  uint64_t slow_reader = 0;  // above 0: bytes per second that each client reads at most
  double disconnect = 0;     // share of requests that hang up at a random moment
  double slo_ttft = 0;       // seconds to the first token that make a good request; 0: any
  double slo_tbt = 0;        // seconds between tokens, mean of the request, that make a good one; 0: any
};

}  // namespace inkstone
