// How `inkstone eval` shows what it measured.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "compress/checkpoint_facts.h"
#include "compress/evaluate.h"

namespace inkstone {

struct ModelResult {
  CheckpointFacts model;
  EvaluationReport report;
};

struct EvalResults {
  std::vector<std::string> texts;            // names
  std::optional<CheckpointFacts> reference;  // known where there is a divergence
  std::vector<ModelResult> models;           // at least one
  KvTypes kv_types = {};                     // of the models; a reference has F16
};

// One object: the model's numbers, and under "texts" those of each text.
std::string ModelJson(const EvalResults& results);
// {"reference": .., "models": [..]}
std::string ComparisonJson(const EvalResults& results);

// The same for people.
std::string ModelText(const EvalResults& results);
std::string ComparisonText(const EvalResults& results);

}  // namespace inkstone
