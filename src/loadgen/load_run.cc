#include "loadgen/load_run.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <csignal>
#include <ctime>
#include <exception>

#include "loadgen/draws.h"
#include "loadgen/http_client.h"
#include "loadgen/workload.h"

namespace inkstone {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using Clock = HttpClient::Clock;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr auto kTick = std::chrono::milliseconds(100);
constexpr double kPauseAfterFailure = 0.1;      // seconds, so that a server that refuses is not hammered
constexpr double kLongestRetryAfter = 10;       // seconds
constexpr uint64_t kWarmupIndex = 1ull << 62;   // requests of the warm-up, which no measured one repeats
constexpr uint64_t kHangUpStream = 1ull << 61;  // of the generator: who hangs up, and when

Clock::duration ToDuration(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

double SecondsSince(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

class LoadRun {
 public:
  LoadRun(const LoadOptions& options, const Workload& workload, HttpClient& client, asio::io_context& context)
      : options_(options),
        workload_(workload),
        client_(client),
        context_(context),
        tally_({.url = client.url(), .workload = workload.Describe(), .options = options}),
        hang_ups_(options.workload.seed, kHangUpStream),
        arrival_(context),
        tick_(context),
        signals_(context) {}

  LoadReport Run(const std::function<void(uint64_t, uint64_t)>& progress) {
    progress_ = progress;
    error_code ignored;
    signals_.add(SIGINT, ignored);
    signals_.async_wait([this](error_code error, int) {
      if (!error) Stop();
    });
    Spawn(Main());
    context_.run();
    const double cpu_seconds = static_cast<double>(std::clock() - cpu_start_) / CLOCKS_PER_SEC;
    return tally_.Finish(std::chrono::duration<double>(end_ - start_).count(), cpu_seconds);
  }

 private:
  // Counts what runs; the last one to end lets the event loop end.
  void Spawn(asio::awaitable<void> task) {
    ++running_;
    asio::co_spawn(context_, std::move(task), [this](const std::exception_ptr& error) {
      if (error) {  // out of memory, most likely
        Attempt attempt;
        attempt.failure = Failure{"internal", "a request ended with an exception"};
        tally_.Add(attempt);
      }
      if (--running_ > 0) return;
      end_ = Clock::now();
      tick_.cancel();
      signals_.cancel();
    });
  }

  asio::awaitable<void> Main() {
    for (int i = 0; i < options_.warmup && !stopped_; ++i) {
      co_await client_.Ask(workload_.Body(kWarmupIndex + static_cast<uint64_t>(i)), Clock::now(), std::nullopt);
    }
    start_ = Clock::now();
    cpu_start_ = std::clock();
    Tick();
    if (options_.rate > 0) {
      Spawn(Arrive());
    } else {
      for (int i = 0; i < options_.clients; ++i) Spawn(Client());
    }
  }

  bool MayStart() const {
    if (stopped_ || (options_.requests > 0 && next_ >= static_cast<uint64_t>(options_.requests))) return false;
    return options_.duration <= 0 || SecondsSince(start_) < options_.duration;
  }

  // One client of the closed loop.
  asio::awaitable<void> Client() {
    asio::steady_timer pause(context_);
    while (MayStart()) {
      const Attempt attempt = co_await Ask(next_++, Clock::now());
      if (attempt.outcome != Attempt::Outcome::kFailed) continue;
      // Not beyond the end of the load.
      double seconds = std::clamp(attempt.retry_after, kPauseAfterFailure, kLongestRetryAfter);
      if (options_.duration > 0) seconds = std::min(seconds, options_.duration - SecondsSince(start_));
      if (!MayStart() || seconds <= 0) continue;
      pause.expires_after(ToDuration(seconds));
      co_await pause.async_wait(kAwait);
    }
  }

  // The open loop: whether the server keeps up or not, the requests come.
  asio::awaitable<void> Arrive() {
    PoissonArrivals arrivals(options_.rate, options_.workload.seed);
    while (MayStart()) {
      const double due = arrivals.Next();
      if (options_.duration > 0 && due >= options_.duration) break;
      arrival_.expires_at(start_ + ToDuration(due));
      const auto [error] = co_await arrival_.async_wait(kAwait);
      if (error || stopped_) break;
      const uint64_t index = next_++;
      if (in_flight_ >= options_.max_in_flight) {
        tally_.AddDropped();
        continue;
      }
      tally_.AddLateness(SecondsSince(start_ + ToDuration(due)));
      ++in_flight_;
      Spawn(Arrival(index, start_ + ToDuration(due)));
    }
  }

  asio::awaitable<void> Arrival(uint64_t index, Clock::time_point due) {
    co_await Ask(index, due);
    --in_flight_;
  }

  asio::awaitable<Attempt> Ask(uint64_t index, Clock::time_point due) {
    std::optional<double> hang_up;
    if (options_.disconnect > 0) {
      // Any moment of a typical request: in the queue, in the prompt or in the answer.
      const double share = hang_ups_.Unit();
      const double moment = hang_ups_.Unit() * tally_.MeanSeconds(/*otherwise=*/1);
      if (share < options_.disconnect) hang_up = moment;
    }
    Attempt attempt = co_await client_.Ask(workload_.Body(index), due, hang_up);
    tally_.Add(attempt);
    co_return attempt;
  }

  void Stop() {
    stopped_ = true;
    arrival_.cancel();
    client_.AbandonAll();
  }

  void Tick() {
    if (progress_ && options_.requests > 0) {
      progress_(static_cast<uint64_t>(tally_.ended()), static_cast<uint64_t>(options_.requests));
    } else if (progress_) {
      const auto total = static_cast<uint64_t>(options_.duration);
      progress_(std::min(static_cast<uint64_t>(SecondsSince(start_)), total), total);
    }
    tick_.expires_after(kTick);
    tick_.async_wait([this](error_code error) {
      if (!error && running_ > 0) Tick();
    });
  }

  const LoadOptions& options_;
  const Workload& workload_;
  HttpClient& client_;
  asio::io_context& context_;
  Tally tally_;
  Draws hang_ups_;
  asio::steady_timer arrival_;
  asio::steady_timer tick_;
  asio::signal_set signals_;
  std::function<void(uint64_t, uint64_t)> progress_;
  Clock::time_point start_ = Clock::now(), end_ = start_;
  std::clock_t cpu_start_ = 0;
  uint64_t next_ = 0;  // request
  int running_ = 0;    // coroutines
  int in_flight_ = 0;  // requests of the open loop
  bool stopped_ = false;
};

Status Check(const LoadOptions& o) {
  if (o.requests <= 0 && o.duration <= 0)
    return InvalidArgument("a load needs an end: a number of requests or a duration");
  if (o.rate <= 0 && o.clients < 1) return InvalidArgument("a load needs at least one client, or a rate above 0");
  if (!(o.timeout > 0)) return InvalidArgument("the timeout must be above 0 seconds");
  return Status::Ok();
}

}  // namespace

Result<LoadReport> RunLoad(const LoadOptions& options, const std::function<void(uint64_t, uint64_t)>& progress) {
  INK_RETURN_IF_ERROR(Check(options));
  INK_ASSIGN_OR_RETURN(const Workload workload, Workload::Create(options.workload));
  asio::io_context context(1);
  INK_ASSIGN_OR_RETURN(const auto client, HttpClient::Create(options, context));
  LoadRun run(options, workload, *client, context);
  return run.Run(progress);
}

}  // namespace inkstone
