// Counters and histograms in Prometheus' text format.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "engine/engine.h"
#include "planner/memory_account.h"

namespace inkstone {

class Metrics {
 public:
  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // `path` is a known route, so that strangers can't create series.
  void OnRequest(std::string_view path, int status);
  void OnFirstToken(double seconds);
  void OnToken(double seconds);
  void OnContextDrop(int64_t messages, int64_t tokens);
  void SetConnections(int open);
  int connections() const;
  // Everything, with the engine's state and the process's memory at this moment.
  std::string Text(const EngineStats& stats, const MemoryAccount& memory) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace inkstone
