#include "server/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

namespace inkstone {
namespace {

prometheus::MetricFamily Single(const std::string& name, const std::string& help, prometheus::MetricType type,
                                double value) {
  prometheus::MetricFamily family;
  family.name = name;
  family.help = help;
  family.type = type;
  auto& metric = family.metric.emplace_back();
  if (type == prometheus::MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
  return family;
}

void AddLabelled(prometheus::MetricFamily* family, const char* label, std::string_view value, double number) {
  auto& metric = family->metric.emplace_back();
  metric.label = {{label, std::string(value)}};
  (family->type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value) = number;
}

prometheus::MetricFamily Labelled(const std::string& name, const std::string& help, prometheus::MetricType type) {
  prometheus::MetricFamily family;
  family.name = name;
  family.help = help;
  family.type = type;
  return family;
}

std::vector<prometheus::MetricFamily> MemoryFamilies(const MemoryState& state, const MemoryAccount& memory) {
  using prometheus::MetricType;
  std::vector<prometheus::MetricFamily> families;
  const auto gauge = [&](const char* name, const char* help, auto value) {
    families.push_back(Single(name, help, MetricType::Gauge, static_cast<double>(value)));
  };
  auto actual = Labelled("inkstone_memory_bytes", "Memory of the process by purpose", MetricType::Gauge);
  auto planned = Labelled("inkstone_memory_planned_bytes", "The same as planned", MetricType::Gauge);
  for (size_t i = 0; i < kMemoryPurposes; ++i) {
    const auto purpose = static_cast<MemoryPurpose>(i);
    AddLabelled(&actual, "purpose", MemoryPurposeName(purpose), static_cast<double>(memory[purpose].actual));
    AddLabelled(&planned, "purpose", MemoryPurposeName(purpose), static_cast<double>(memory[purpose].planned));
  }
  families.push_back(std::move(actual));
  families.push_back(std::move(planned));
  gauge("inkstone_memory_budget_bytes", "Memory that the process may take", memory.budget);
  if (memory.group_limit > 0) {
    gauge("inkstone_cgroup_limit_bytes", "Memory limit of the tightest control group", memory.group_limit);
    gauge("inkstone_cgroup_used_bytes", "What it has taken, page cache apart", memory.group_used);
  }
  gauge("inkstone_memory_headroom_bytes", "What is left before running work gives way", state.headroom);
  gauge("inkstone_memory_level", "0 none, 1 shrink, 2 spill, 3 hold, 4 preempt, 5 refuse",
        static_cast<int>(state.level));
  auto reactions = Labelled("inkstone_memory_reactions_total", "Times that a reaction to memory pressure began",
                            MetricType::Counter);
  for (size_t level = 1; level < kMemoryLevels; ++level) {
    AddLabelled(&reactions, "reaction", MemoryLevelName(static_cast<MemoryLevel>(level)),
                static_cast<double>(state.entered[level]));
  }
  families.push_back(std::move(reactions));
  return families;
}

}  // namespace

struct Metrics::Impl {
  prometheus::Registry registry;
  prometheus::Family<prometheus::Counter>& requests =
      prometheus::BuildCounter().Name("inkstone_http_requests_total").Help("HTTP requests answered").Register(registry);
  prometheus::Counter& dropped_messages = prometheus::BuildCounter()
                                              .Name("inkstone_context_dropped_messages_total")
                                              .Help("Messages that context policies left out of prompts")
                                              .Register(registry)
                                              .Add({});
  prometheus::Counter& dropped_tokens = prometheus::BuildCounter()
                                            .Name("inkstone_context_dropped_tokens_total")
                                            .Help("Tokens that context policies left out of prompts")
                                            .Register(registry)
                                            .Add({});
  prometheus::Gauge& connections =
      prometheus::BuildGauge().Name("inkstone_http_connections").Help("Open connections").Register(registry).Add({});
  prometheus::Histogram& first_token =
      prometheus::BuildHistogram()
          .Name("inkstone_time_to_first_token_seconds")
          .Help("From the request to its first token")
          .Register(registry)
          .Add({}, prometheus::Histogram::BucketBoundaries{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60});
  prometheus::Histogram& token = prometheus::BuildHistogram()
                                     .Name("inkstone_time_per_token_seconds")
                                     .Help("Between two tokens of one request")
                                     .Register(registry)
                                     .Add({}, prometheus::Histogram::BucketBoundaries{0.001, 0.0025, 0.005, 0.01, 0.025,
                                                                                      0.05, 0.1, 0.25, 0.5, 1, 2.5});
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {}
Metrics::~Metrics() = default;

void Metrics::OnRequest(std::string_view path, int status) {
  impl_->requests.Add({{"path", std::string(path)}, {"status", std::to_string(status)}}).Increment();
}
void Metrics::OnFirstToken(double seconds) { impl_->first_token.Observe(seconds); }
void Metrics::OnToken(double seconds) { impl_->token.Observe(seconds); }
void Metrics::OnContextDrop(int64_t messages, int64_t tokens) {
  impl_->dropped_messages.Increment(static_cast<double>(messages));
  impl_->dropped_tokens.Increment(static_cast<double>(tokens));
}
void Metrics::SetConnections(int open) { impl_->connections.Set(open); }

int Metrics::connections() const { return static_cast<int>(impl_->connections.Value()); }

std::string Metrics::Text(const EngineStats& stats, const MemoryAccount& memory) const {
  using prometheus::MetricType;
  auto families = impl_->registry.Collect();
  const auto add = [&](const char* name, const char* help, MetricType type, auto value) {
    families.push_back(Single(std::string("inkstone_") + name, help, type, static_cast<double>(value)));
  };
  add("requests_running", "Generations in progress", MetricType::Gauge, stats.running);
  add("requests_waiting", "Generations in the queue", MetricType::Gauge, stats.waiting);
  add("kv_pages", "Pages of the KV cache", MetricType::Gauge, stats.kv_pages_total);
  add("kv_pages_used", "Pages of the KV cache in use", MetricType::Gauge, stats.kv_pages_used);
  add("kv_page_limit", "Pages of the KV cache that may be in use now", MetricType::Gauge, stats.kv_page_limit);
  add("kv_pages_given_back_total", "Free pages whose memory went back to the system", MetricType::Counter,
      stats.given_back_pages);
  add("prefix_cache_pages", "Pages that hold what earlier requests computed", MetricType::Gauge, stats.kv_pages_cached);
  add("prefix_cache_evicted_pages_total", "Such pages that made room", MetricType::Counter, stats.evicted_pages);
  add("page_store_pages", "Pages on disk", MetricType::Gauge, stats.store.pages);
  add("page_store_bytes", "Disk space of the page store", MetricType::Gauge, stats.store.bytes);
  add("page_store_written_total", "Pages written to disk", MetricType::Counter, stats.store.written);
  add("page_store_loaded_total", "Pages that came back from disk", MetricType::Counter, stats.loaded_pages);
  add("page_store_dropped_total", "Pages not written, as the disk was slow, full or failing", MetricType::Counter,
      stats.store.dropped);
  add("page_store_damaged_total", "Pages on disk found damaged", MetricType::Counter, stats.store.damaged);
  add("spill_pages", "Pages of running generations, and cached ones of them, on disk", MetricType::Gauge,
      stats.spill.pages);
  add("spill_written_total", "Such pages written", MetricType::Counter, stats.spill.written);
  add("spill_read_bytes_total", "Read back, for every token again", MetricType::Counter, stats.spill.read_bytes);
  add("spill_wait_seconds_total", "Time that steps waited for that", MetricType::Counter, stats.spill.wait_seconds);
  add("spill_failed_reads_total", "Steps that lacked such a page", MetricType::Counter, stats.spill.failed_reads);
  add("spill_off", "1 after a page could not be written", MetricType::Gauge, stats.spill.trouble.empty() ? 0 : 1);
  add("generations_total", "Generations submitted", MetricType::Counter, stats.requests);
  add("generations_cancelled_total", "Generations cancelled", MetricType::Counter, stats.cancelled);
  add("generations_rejected_total", "Generations refused", MetricType::Counter, stats.rejected);
  add("generations_failed_total", "Generations that ended in an error", MetricType::Counter, stats.failed);
  add("generations_preempted_total", "Times a generation gave up its pages", MetricType::Counter, stats.preempted);
  add("prompt_tokens_total", "Prompt tokens processed", MetricType::Counter, stats.prompt_tokens);
  add("prompt_cached_tokens_total", "Prompt tokens that the prefix cache had", MetricType::Counter,
      stats.cached_tokens);
  add("generated_tokens_total", "Tokens generated", MetricType::Counter, stats.generated_tokens);
  add("prefill_seconds_total", "Time spent on prompts", MetricType::Counter, stats.prefill_seconds);
  add("decode_seconds_total", "Time spent on answers", MetricType::Counter, stats.decode_seconds);
  add("resident_bytes", "Memory of the process", MetricType::Gauge, memory.resident);
  add("peak_resident_bytes", "Highest memory of the process", MetricType::Gauge, memory.peak_resident);
  for (auto& family : MemoryFamilies(stats.memory, memory)) families.push_back(std::move(family));
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace inkstone
