#include "model/decoder.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace inkstone {
namespace {

struct WorkspaceShape {
  std::array<int64_t, 8> cols;  // x, n, q, a, k, v, gate, up: of max_step_rows each
  int64_t half_head;            // cos, sin
};

WorkspaceShape ShapeOf(const ModelConfig& c) {
  const int64_t q = int64_t{c.heads} * c.head_dim;
  const int64_t kv = int64_t{c.kv_heads} * c.head_dim;
  return {{c.hidden, c.hidden, q, q, kv, kv, c.intermediate, c.intermediate}, c.head_dim / 2};
}

size_t WorkspaceFloats(const ModelConfig& c, const ModelLimits& limits) {
  const WorkspaceShape shape = ShapeOf(c);
  int64_t per_row = 2 * shape.half_head;
  for (const int64_t cols : shape.cols) per_row += cols;
  return static_cast<size_t>(per_row * limits.max_step_rows + int64_t{c.hidden} * limits.max_logit_rows);
}

BackendLimits LimitsFor(const ModelConfig& c, const ModelLimits& limits) {
  BackendLimits b;
  b.max_rows = std::max(limits.max_step_rows, limits.max_logit_rows);
  b.max_sequences = limits.max_sequences;
  b.max_cols = std::max({int64_t{c.hidden}, int64_t{c.intermediate}, int64_t{c.heads} * c.head_dim});
  b.heads_per_kv = c.heads / c.kv_heads;
  b.head_dim = c.head_dim;
  b.page_tokens = limits.page_tokens;
  return b;
}

std::string Numbers(const char* what, int64_t found, int64_t limit) {
  return std::string(what) + ": expected at most " + std::to_string(limit) + ", found " + std::to_string(found);
}

Result<Projection> LoadProjection(const TensorLoader& loader, const std::string& name, int64_t rows, int64_t cols) {
  Projection p;
  INK_ASSIGN_OR_RETURN(p.w, loader.Matrix(name + ".weight", rows, cols));
  INK_ASSIGN_OR_RETURN(p.bias, loader.OptionalVector(name + ".bias", rows));
  return p;
}

const float* DataOrNull(const F32Vector& v) { return v.empty() ? nullptr : v.data(); }

int64_t RowsWithLogits(const SequenceStep& s) {
  if (s.logits == LogitRows::kAll) return static_cast<int64_t>(s.tokens.size());
  return s.logits == LogitRows::kLast ? 1 : 0;
}

// A lone last row is as good as decoded whatever came before it; so are drafts to be verified.
Phase LogitPhase(const SequenceStep& s) {
  return s.logits == LogitRows::kAll && s.phase == Phase::kPrompt ? Phase::kPrompt : Phase::kDecode;
}

}  // namespace

size_t Decoder::WorkspaceBytes(const ModelConfig& config, const Backend& backend, const ModelLimits& limits) {
  return WorkspaceFloats(config, limits) * sizeof(float) + backend.ReserveBytes(LimitsFor(config, limits));
}

Decoder::Decoder(ModelConfig config, const ModelLimits& limits, Backend& backend)
    : config_(std::move(config)), limits_(limits), backend_(backend), rope_(config_.rope) {}

Status Decoder::Load(const Checkpoint& checkpoint) {
  const TensorLoader loader(checkpoint);
  INK_ASSIGN_OR_RETURN(embedding_, loader.Matrix("token_embd.weight", config_.vocab, config_.hidden));
  for (int layer = 0; layer < config_.layers; ++layer) INK_RETURN_IF_ERROR(LoadLayer(loader, layer));
  INK_ASSIGN_OR_RETURN(output_norm_, loader.Vector("output_norm.weight", config_.hidden));
  output_ = embedding_;
  if (loader.Has("output.weight")) {
    INK_ASSIGN_OR_RETURN(output_, loader.Matrix("output.weight", config_.vocab, config_.hidden));
  }
  INK_RETURN_IF_ERROR(loader.CheckAllUsed());
  return TakeWorkspace();
}

Status Decoder::TakeWorkspace() {
  INK_RETURN_IF_ERROR(backend_.Reserve(LimitsFor(config_, limits_)));
  INK_ASSIGN_OR_RETURN(workspace_, backend_.Allocate(WorkspaceFloats(config_, limits_) * sizeof(float)));
  float* next = reinterpret_cast<float*>(workspace_.data());
  const auto take = [&](int64_t rows, int64_t cols) {
    const Rows view{next, rows, cols, cols};
    next += rows * cols;
    return view;
  };
  const WorkspaceShape shape = ShapeOf(config_);
  const std::array<Rows*, 8> views = {&x_, &n_, &q_, &a_, &k_, &v_, &gate_, &up_};
  for (size_t i = 0; i < views.size(); ++i) *views[i] = take(limits_.max_step_rows, shape.cols[i]);
  gathered_ = take(limits_.max_logit_rows, config_.hidden);
  cos_ = take(limits_.max_step_rows, shape.half_head);
  sin_ = take(limits_.max_step_rows, shape.half_head);
  const size_t sequences = static_cast<size_t>(limits_.max_sequences);
  const size_t pages = static_cast<size_t>((limits_.max_context + limits_.page_tokens - 1) / limits_.page_tokens);
  tokens_.reserve(static_cast<size_t>(limits_.max_step_rows));
  sequences_.reserve(sequences);
  tables_.reserve(sequences);
  page_pointers_.reserve(2 * sequences * pages);
  spilled_.Reserve(sequences * pages);
  return Status::Ok();
}

Status Decoder::Check(std::span<const SequenceStep> sequences) const {
  int64_t rows = 0;
  bool decoding = false;
  for (const SequenceStep& s : sequences) {
    const int64_t count = static_cast<int64_t>(s.tokens.size());
    if (count == 0 || s.pages == nullptr)
      return InvalidArgument("step: expected tokens and a page table in every sequence");
    if (decoding && s.phase == Phase::kPrompt) return InvalidArgument("step: expected prompt sequences first");
    decoding = s.phase == Phase::kDecode;
    const int64_t end = s.first_position + count;
    if (s.first_position < s.pages->dropped_tokens() || end > s.pages->capacity())
      return InvalidArgument(Numbers("step: positions in the page table", end, s.pages->capacity()));
    if (end > limits_.max_context) return InvalidArgument(Numbers("step: positions", end, limits_.max_context));
    for (const int32_t token : s.tokens) {
      if (token < 0 || token >= config_.vocab)
        return InvalidArgument(Numbers("step: token id", token, config_.vocab - 1));
    }
    rows += count;
  }
  if (rows > limits_.max_step_rows) return InvalidArgument(Numbers("step: rows", rows, limits_.max_step_rows));
  if (static_cast<int64_t>(sequences.size()) > limits_.max_sequences) {
    return InvalidArgument(Numbers("step: sequences", static_cast<int64_t>(sequences.size()), limits_.max_sequences));
  }
  return Status::Ok();
}

Status Decoder::CheckLogits(int64_t rows, size_t logits) const {
  if (rows > limits_.max_logit_rows)
    return InvalidArgument(Numbers("step: rows with logits", rows, limits_.max_logit_rows));
  if (logits < static_cast<size_t>(rows * config_.vocab)) {
    return InvalidArgument("step: expected room for " + std::to_string(rows) + " rows of logits");
  }
  return Status::Ok();
}

Status Decoder::CheckHidden(Rows hidden) const {
  if (hidden.rows == shape_.rows() && hidden.cols == config_.hidden) return Status::Ok();
  return InvalidArgument("step: expected (" + std::to_string(shape_.rows()) + ", " + std::to_string(config_.hidden) +
                         ") hidden values, found (" + std::to_string(hidden.rows) + ", " + std::to_string(hidden.cols) +
                         ")");
}

void Decoder::Begin(std::span<const SequenceStep> sequences) {
  steps_ = sequences;
  shape_ = {};
  tokens_.clear();
  sequences_.clear();
  tables_.clear();
  spilled_.Clear();
  for (const SequenceStep& s : sequences) {
    const int64_t count = static_cast<int64_t>(s.tokens.size());
    const int64_t first = shape_.rows();
    for (int64_t i = 0; i < count; ++i) rope_.Angles(s.first_position + i, cos_.row(first + i), sin_.row(first + i));
    tokens_.insert(tokens_.end(), s.tokens.begin(), s.tokens.end());
    const KvLayout& kv = s.pages->pool().layout();
    // Rotary angles belong to the position, the place in the cache to what is left of it.
    const int64_t place = s.first_position - s.pages->dropped_tokens();
    sequences_.push_back({s.phase, first, count, place, {kv.types, kv.page_tokens, kv.kv_heads, kv.head_dim, {}, {}}});
    tables_.push_back(s.pages);
    spilled_.Add(*s.pages);
    (s.phase == Phase::kPrompt ? shape_.prompt_rows : shape_.decode_rows) += count;
  }
}

Status Decoder::Forward(std::span<const SequenceStep> sequences, std::span<float> logits) {
  INK_RETURN_IF_ERROR(Check(sequences));
  int64_t logit_rows = 0;
  for (const SequenceStep& s : sequences) logit_rows += RowsWithLogits(s);
  INK_RETURN_IF_ERROR(CheckLogits(logit_rows, logits.size()));
  Begin(sequences);
  backend_.Embed(embedding_, tokens_, Step(x_));
  for (int layer = 0; layer < config_.layers; ++layer) {
    INK_RETURN_IF_ERROR(spilled_.Fetch(layer));
    RunLayer(layer);
  }
  Output(logits);
  return Status::Ok();
}

Status Decoder::Embed(std::span<const SequenceStep> sequences, Rows hidden) {
  INK_RETURN_IF_ERROR(Check(sequences));
  Begin(sequences);
  INK_RETURN_IF_ERROR(CheckHidden(hidden));
  backend_.Embed(embedding_, tokens_, hidden);
  return Status::Ok();
}

Status Decoder::RunLayers(int first, int last, std::span<const SequenceStep> sequences, Rows hidden) {
  if (first < 0 || first > last || last > config_.layers) {
    return InvalidArgument("step: expected layers within 0 to " + std::to_string(config_.layers) + ", found " +
                           std::to_string(first) + " to " + std::to_string(last));
  }
  INK_RETURN_IF_ERROR(Check(sequences));
  Begin(sequences);
  INK_RETURN_IF_ERROR(CheckHidden(hidden));
  for (int64_t r = 0; r < hidden.rows; ++r) std::copy_n(hidden.row(r), hidden.cols, x_.row(r));
  for (int layer = first; layer < last; ++layer) {
    INK_RETURN_IF_ERROR(spilled_.Fetch(layer));
    RunLayer(layer);
  }
  for (int64_t r = 0; r < shape_.rows(); ++r) std::copy_n(x_.row(r), hidden.cols, hidden.row(r));
  return Status::Ok();
}

Status Decoder::ComputeLogits(Rows hidden, Phase phase, std::span<float> logits) {
  INK_RETURN_IF_ERROR(CheckLogits(hidden.rows, logits.size()));
  const Rows rows = gathered_.Slice(0, hidden.rows);
  for (int64_t r = 0; r < hidden.rows; ++r) std::copy_n(hidden.row(r), hidden.cols, rows.row(r));
  MultiplyOutput(rows, phase, logits.data());
  return Status::Ok();
}

void Decoder::Norm(const F32Vector& weight) { backend_.RmsNorm(Step(x_), weight.data(), config_.rms_eps, Step(n_)); }

void Decoder::ProjectQkv(const AttentionWeights& weights) {
  const auto& [norm, q, k, v, output] = weights;
  const std::array<MatMulTarget, 3> targets = {MatMulTarget{q.w, DataOrNull(q.bias), Step(q_)},
                                               MatMulTarget{k.w, DataOrNull(k.bias), Step(k_)},
                                               MatMulTarget{v.w, DataOrNull(v.bias), Step(v_)}};
  backend_.MatMul(Step(n_), shape_, targets);
}

void Decoder::RotateQk(const F32Vector& q_norm, const F32Vector& k_norm) {
  const RopeAngles angles{cos_.data, sin_.data, config_.rope.interleaved};
  backend_.NormRope(Step(q_), config_.head_dim, DataOrNull(q_norm), config_.rms_eps, angles);
  backend_.NormRope(Step(k_), config_.head_dim, DataOrNull(k_norm), config_.rms_eps, angles);
}

void Decoder::Attend(int layer, const AttentionWeights& weights) {
  page_pointers_.clear();
  for (size_t i = 0; i < sequences_.size(); ++i) {
    const size_t pages =
        static_cast<size_t>(tables_[i]->pool().layout().PagesFor(sequences_[i].first_position + sequences_[i].rows));
    const size_t begin = page_pointers_.size();
    for (size_t p = 0; p < pages; ++p) page_pointers_.push_back(tables_[i]->Keys(p, layer));
    for (size_t p = 0; p < pages; ++p) page_pointers_.push_back(tables_[i]->Values(p, layer));
    sequences_[i].pages.k = {page_pointers_.data() + begin, pages};
    sequences_[i].pages.v = {page_pointers_.data() + begin + pages, pages};
  }
  backend_.StoreKv(Step(k_), Step(v_), sequences_);
  if (layer + 1 == config_.layers) KeepRowsWithLogits();
  const float scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim));
  backend_.Attention(Step(q_), config_.heads, scale, IsFloat(weights.output.dtype), sequences_, Step(a_));
}

void Decoder::KeepRowsWithLogits() {
  shape_ = {};
  for (size_t i = 0; i < sequences_.size(); ++i) {
    SequenceRows& s = sequences_[i];
    const int64_t count = RowsWithLogits(steps_[i]);
    const int64_t dropped = s.rows - count, kept = shape_.rows();
    for (int64_t r = 0; r < count; ++r) {
      std::copy_n(x_.row(s.first_row + dropped + r), x_.cols, x_.row(kept + r));
      std::copy_n(q_.row(s.first_row + dropped + r), q_.cols, q_.row(kept + r));
    }
    s.first_row = kept;
    s.rows = count;
    s.first_position += dropped;
    (s.phase == Phase::kPrompt ? shape_.prompt_rows : shape_.decode_rows) += count;
  }
}

void Decoder::AddAttentionOutput(const WeightView& w) {
  const std::array<MatMulTarget, 1> targets = {MatMulTarget{w, nullptr, Step(x_), true}};
  backend_.MatMul(Step(a_), shape_, targets);
}

void Decoder::AddGatedMlp(const WeightView& gate, const WeightView& up, const WeightView& down) {
  const std::array<MatMulTarget, 2> in = {MatMulTarget{gate, nullptr, Step(gate_)},
                                          MatMulTarget{up, nullptr, Step(up_)}};
  backend_.MatMul(Step(n_), shape_, in);
  backend_.SiluMul(Step(gate_), Step(up_), Step(gate_));
  const std::array<MatMulTarget, 1> out = {MatMulTarget{down, nullptr, Step(x_), true}};
  backend_.MatMul(Step(gate_), shape_, out);
}

// Runs of rows whose logits are computed in the same phase share one product, so that each row lands at its place.
void Decoder::Output(std::span<float> logits) {
  int64_t done = 0;
  size_t i = 0;
  while (i < steps_.size()) {
    const Phase phase = LogitPhase(steps_[i]);
    int64_t count = 0;
    for (; i < steps_.size(); ++i) {
      const SequenceRows& s = sequences_[i];
      if (steps_[i].logits == LogitRows::kNone) continue;
      if (LogitPhase(steps_[i]) != phase) break;
      for (int64_t r = 0; r < s.rows; ++r) {
        std::copy_n(x_.row(s.first_row + r), config_.hidden, gathered_.row(count++));
      }
    }
    if (count == 0) continue;
    MultiplyOutput(gathered_.Slice(0, count), phase, logits.data() + done * config_.vocab);
    done += count;
  }
}

void Decoder::MultiplyOutput(Rows rows, Phase phase, float* logits) {
  const StepShape shape = phase == Phase::kPrompt ? StepShape{rows.rows, 0} : StepShape{0, rows.rows};
  backend_.RmsNorm(rows, output_norm_.data(), config_.rms_eps, rows);
  const std::array<MatMulTarget, 1> target = {
      MatMulTarget{output_, nullptr, {logits, rows.rows, config_.vocab, config_.vocab}}};
  backend_.MatMul(rows, shape, target);
}

Result<AttentionWeights> AttentionWeights::Load(const TensorLoader& loader, const ModelConfig& c, int layer) {
  AttentionWeights w;
  const int64_t q_size = int64_t{c.heads} * c.head_dim;
  const int64_t kv_size = int64_t{c.kv_heads} * c.head_dim;
  INK_ASSIGN_OR_RETURN(w.norm, loader.Vector(BlockTensor(layer, "attn_norm.weight"), c.hidden));
  INK_ASSIGN_OR_RETURN(w.q, LoadProjection(loader, BlockTensor(layer, "attn_q"), q_size, c.hidden));
  INK_ASSIGN_OR_RETURN(w.k, LoadProjection(loader, BlockTensor(layer, "attn_k"), kv_size, c.hidden));
  INK_ASSIGN_OR_RETURN(w.v, LoadProjection(loader, BlockTensor(layer, "attn_v"), kv_size, c.hidden));
  INK_ASSIGN_OR_RETURN(w.output, loader.Matrix(BlockTensor(layer, "attn_output.weight"), c.hidden, q_size));
  return w;
}

Result<GatedMlp> GatedMlp::Load(const TensorLoader& loader, const ModelConfig& c, int layer) {
  GatedMlp m;
  INK_ASSIGN_OR_RETURN(m.norm, loader.Vector(BlockTensor(layer, "ffn_norm.weight"), c.hidden));
  INK_ASSIGN_OR_RETURN(m.gate, loader.Matrix(BlockTensor(layer, "ffn_gate.weight"), c.intermediate, c.hidden));
  INK_ASSIGN_OR_RETURN(m.up, loader.Matrix(BlockTensor(layer, "ffn_up.weight"), c.intermediate, c.hidden));
  INK_ASSIGN_OR_RETURN(m.down, loader.Matrix(BlockTensor(layer, "ffn_down.weight"), c.hidden, c.intermediate));
  return m;
}

}  // namespace inkstone
