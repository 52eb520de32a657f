// How far a calibration is, and the file that keeps it beside an unfinished result: calibration is half of the time
// that compressing for a size takes.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "compress/sensitivity.h"
#include "core/status.h"

namespace inkstone {

// Of the rows that went into a matrix.
struct ChannelSums {
  std::vector<double> squares;  // (columns)
  int64_t rows = 0;
};

// After a whole number of layers. Whoever goes on from here computes the same numbers to the bit.
struct CalibrationState {
  int64_t layers = 0;         // that everything below has gone through
  int64_t progress = 0;       // steps reported so far
  bool complete = false;      // nothing is left to run, and the residual streams are gone
  std::vector<float> hidden;  // residual stream of the windows, (tokens, hidden)
  std::vector<float> sample;  // of the sample that sensitivity is measured on, (tokens, hidden)
  std::vector<float> probes;  // of the sample for each row of the table, (rows, tokens, hidden)
  std::map<std::string, ChannelSums> sums;
  std::vector<double> influence;  // (layers)
  SensitivityTable table;         // until it is measured, a row holds errors as shares of the probe type's
};

// "name: value" for everything that decides a calibration's numbers.
using CalibrationKey = std::vector<std::pair<std::string, std::string>>;

class CalibrationJournal {
 public:
  // Of the result `output`. Between two states lie at least `interval` and 20 times what writing one takes.
  CalibrationJournal(std::string output, CalibrationKey key, std::chrono::nanoseconds interval);

  static std::string PathFor(const std::string& output) { return output + ".part.calibration"; }
  static bool Exists(const std::string& output);
  static void Remove(const std::string& output);

  // Replaces what is there in one step. Errors: kResourceExhausted (disk), kInvalidArgument (no such folder).
  Status Write(const CalibrationState& state);
  // The same where the last state is old enough. A full disk is no error: the state saves time, nothing else, and the
  // one before stays.
  Status WriteIfDue(const CalibrationState& state);
  // kNotFound without a file, kDataLoss for one that is damaged, kInvalidArgument names the first part of the key that
  // is another.
  Result<CalibrationState> Read() const;

 private:
  using Clock = std::chrono::steady_clock;
  std::string output_;
  CalibrationKey key_;
  Clock::duration interval_;
  Clock::time_point due_;
};

}  // namespace inkstone
