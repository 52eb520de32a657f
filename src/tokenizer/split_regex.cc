#include "tokenizer/split_regex.h"

#include <cctype>
#include <vector>

#include "tokenizer/unicode.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace inkstone {
namespace {

// Of SplitWork: patterns in use spend some 10 a byte. 4 MB may cost some two seconds.
constexpr size_t kUnitsPerText = 8'000'000;
constexpr size_t kUnitsPerByte = 32;
constexpr size_t kBytesPerUnit = 64;  // of text run over
constexpr size_t kUnitsBetweenLooks = 16'384;

constexpr uint32_t kMatchLimit = 50'000'000;  // of one match, should its callouts be left out
constexpr uint32_t kHeapLimitKib = 64 << 10;
constexpr size_t kJitStackBytes = 32 << 20;

// White space as Oniguruma has it: PCRE2's \s would add U+180E.
constexpr std::string_view kSpaceItems = R"(\t-\r\x{85}\p{Z})";

// Rewrites Oniguruma's syntax into PCRE2's, construct by construct; refuses what would change its meaning.
class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  Result<std::string> Run() {
    while (pos_ < pattern_.size()) INK_RETURN_IF_ERROR(Item());
    return std::move(out_);
  }

 private:
  Status Refuse(const std::string& what) const {
    return Unimplemented("regular expression, offset " + std::to_string(pos_) +
                         ": expected syntax that Oniguruma and " + "PCRE2 share, found " + what);
  }
  bool Next(std::string_view text) const { return pattern_.substr(pos_, text.size()) == text; }
  void Copy(size_t n) {
    out_ += pattern_.substr(pos_, n);
    pos_ += n;
  }

  Status Item() {
    switch (pattern_[pos_]) {
      case '\\':
        return Escape(false);
      case '[':
        return Class();
      case '(':
        return Group();
      case '{':
        return Braces();
      default:
        Copy(1);
        return Status::Ok();
    }
  }

  Status Escape(bool in_class) {
    if (pos_ + 1 >= pattern_.size()) return Refuse("a lone backslash");
    const char c = pattern_[pos_ + 1];
    if (c == 's' || c == 'S') {
      if (in_class && c == 'S') return Refuse("\\S in a class");
      if (!in_class) out_ += c == 's' ? "[" : "[^";
      out_ += kSpaceItems;
      if (!in_class) out_ += ']';
      pos_ += 2;
      return Status::Ok();
    }
    if (c == 'p' || c == 'P' || (c == 'x' && pos_ + 2 < pattern_.size() && pattern_[pos_ + 2] == '{')) {
      const size_t close = pattern_.find('}', pos_);
      if (close == std::string_view::npos || pattern_[pos_ + 2] != '{') return Refuse("an unclosed \\p or \\x");
      Copy(close + 1 - pos_);
      return Status::Ok();
    }
    if (c == 'u') {
      if (pos_ + 6 > pattern_.size()) return Refuse("an unfinished \\u");
      out_ += "\\x{" + std::string(pattern_.substr(pos_ + 2, 4)) + "}";
      pos_ += 6;
      return Status::Ok();
    }
    const bool same = std::string_view("rntfdD").find(c) != std::string_view::npos || std::ispunct(c) || c == ' ';
    if (!same) return Refuse(std::string("\\") + c);
    Copy(2);
    return Status::Ok();
  }

  Status Class() {
    Copy(Next("[^") ? 2 : 1);
    if (pos_ < pattern_.size() && pattern_[pos_] == ']') return Refuse("] at the start of a class");
    while (pos_ < pattern_.size() && pattern_[pos_] != ']') {
      if (pattern_[pos_] == '[' || Next("&&")) return Refuse("a class within a class");
      if (pattern_[pos_] == '\\') {
        INK_RETURN_IF_ERROR(Escape(true));
      } else {
        Copy(1);
      }
    }
    if (pos_ == pattern_.size()) return Refuse("an unclosed class");
    Copy(1);
    return Status::Ok();
  }

  Status Group() {
    for (const std::string_view same : {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>"}) {
      if (Next(same)) {
        Copy(same.size());
        return Status::Ok();
      }
    }
    if (Next("(?i:")) {
      INK_RETURN_IF_ERROR(CaselessBody());
      Copy(4);
      return Status::Ok();
    }
    if (Next("(?") || Next("(*")) return Refuse("a group of the kind " + std::string(pattern_.substr(pos_, 3)));
    Copy(1);
    return Status::Ok();
  }

  // Oniguruma folds some pairs of letters to one character (ss and U+00DF, fi and U+FB01): only bodies without them.
  Status CaselessBody() const {
    std::string body;
    for (size_t i = pos_ + 4; i < pattern_.size() && pattern_[i] != ')'; ++i) {
      const unsigned char c = static_cast<unsigned char>(pattern_[i]);
      if (c >= 0x80 || !(std::isalpha(c) || c == '\'' || c == '|' || c == '?' || c == ':')) {
        return Refuse("a caseless group with more than plain letters");
      }
      body.push_back(static_cast<char>(std::tolower(c)));
    }
    for (const char* pair : {"ss", "st", "ff", "fi", "fl"}) {
      if (body.find(pair) != std::string::npos) return Refuse("a caseless group with a pair that folds to one letter");
    }
    return Status::Ok();
  }

  Status Braces() {
    const size_t close = pattern_.find('}', pos_);
    if (close == std::string_view::npos || pos_ + 1 == close || !std::isdigit(pattern_[pos_ + 1])) {
      return Refuse("{ that starts no repetition");
    }
    for (size_t i = pos_ + 1; i < close; ++i) {
      if (!std::isdigit(pattern_[i]) && pattern_[i] != ',') return Refuse("{ that starts no repetition");
    }
    if (close + 1 < pattern_.size() && pattern_[close + 1] == '+') return Refuse("+ after a repetition");
    Copy(close + 1 - pos_);
    return Status::Ok();
  }

  std::string_view pattern_;
  size_t pos_ = 0;
  std::string out_;
};

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* p) const {
    Free(p);
  }
};
using MatchData = std::unique_ptr<pcre2_match_data, Deleter<pcre2_match_data_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Deleter<pcre2_match_context_free>>;
using JitStack = std::unique_ptr<pcre2_jit_stack, Deleter<pcre2_jit_stack_free>>;

}  // namespace

SplitWork::SplitWork(size_t text_bytes, std::stop_token stop)
    : limit_(kUnitsPerText + kUnitsPerByte * text_bytes), stop_(std::move(stop)) {}

bool SplitWork::Spend(size_t units) {
  spent_ += units;
  if (ended()) return false;
  if (spent_ > limit_) ended_ = StatusCode::kResourceExhausted;
  if (spent_ >= next_look_) {
    next_look_ = spent_ + kUnitsBetweenLooks;
    if (stop_.stop_requested()) ended_ = StatusCode::kCancelled;
  }
  return !ended();
}

Status SplitWork::status() const {
  if (ended_ == StatusCode::kOk) return Status::Ok();
  if (ended_ == StatusCode::kCancelled) return Status(ended_, "tokenizing was cancelled");
  return Status(ended_, "the regular expression of the model's tokenizer needs more than " + std::to_string(limit_) +
                            " steps on this text");
}

namespace {

// Where one match is.
struct Progress {
  SplitWork* work;
  size_t position;
};

// PCRE2 calls it before every item of the pattern that it tries.
int CountItem(pcre2_callout_block* block, void* data) {
  auto* progress = static_cast<Progress*>(data);
  const size_t now = block->current_position;
  const size_t passed = now > progress->position ? now - progress->position : 0;
  progress->position = now;
  return progress->work->Spend(1 + passed / kBytesPerUnit) ? 0 : PCRE2_ERROR_CALLOUT;
}

}  // namespace

struct SplitRegex::Code {
  std::unique_ptr<pcre2_code, Deleter<pcre2_code_free>> code;
  MatchContext limits;  // shared by every thread, never changed

  // As pcre2_match. JIT starts on the machine's stack and gets a larger one when that is too small; what is too deep
  // for that, too, goes to the interpreter.
  int Match(std::string_view text, size_t start, pcre2_match_data* match, pcre2_match_context* counted) const {
    const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    const auto run = [&](uint32_t flags, pcre2_match_context* context) {
      return pcre2_match(code.get(), subject, text.size(), start, PCRE2_NO_UTF_CHECK | flags, match, context);
    };
    const int rc = run(0, counted);
    if (rc != PCRE2_ERROR_JIT_STACKLIMIT) return rc;
    const MatchContext context(pcre2_match_context_copy(counted));
    const JitStack stack(pcre2_jit_stack_create(32 << 10, kJitStackBytes, nullptr));
    pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
    const int second = run(0, context.get());
    return second == PCRE2_ERROR_JIT_STACKLIMIT ? run(PCRE2_NO_JIT, counted) : second;
  }
};

Result<SplitRegex> SplitRegex::Compile(std::string_view pattern) {
  if (!unicode::IsValidUtf8(pattern)) return DataLoss("regular expression: expected UTF-8");
  INK_ASSIGN_OR_RETURN(const std::string translated, Translator(pattern).Run());
  int error = 0;
  size_t offset = 0;
  // Ruby's ^ and $, which Oniguruma follows here, are those of lines.
  const uint32_t flags = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_AUTO_CALLOUT;
  std::unique_ptr<pcre2_compile_context, Deleter<pcre2_compile_context_free>> context(
      pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  auto code = std::make_shared<Code>();
  code->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(), flags, &error,
                                 &offset, context.get()));
  if (code->code == nullptr) {
    unsigned char message[256] = {};
    pcre2_get_error_message(error, message, sizeof message);
    return DataLoss("regular expression, offset " + std::to_string(offset) + " of " + translated + ": " +
                    reinterpret_cast<const char*>(message));
  }
  code->limits.reset(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(code->limits.get(), kMatchLimit);
  pcre2_set_heap_limit(code->limits.get(), kHeapLimitKib);
  pcre2_jit_compile(code->code.get(), PCRE2_JIT_COMPLETE);  // without JIT the interpreter runs: slower, same result
  return SplitRegex(std::move(code));
}

std::string SplitRegex::Quote(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (std::ispunct(static_cast<unsigned char>(c))) out.push_back('\\');
    out.push_back(c);
  }
  return out;
}

void SplitRegex::Split(std::string_view text, const std::function<void(std::string_view)>& emit,
                       SplitWork* work) const {
  const MatchData match(pcre2_match_data_create_from_pattern(code_->code.get(), nullptr));
  const MatchContext counted(pcre2_match_context_copy(code_->limits.get()));
  Progress progress{work, 0};
  pcre2_set_callout(counted.get(), CountItem, &progress);
  const auto put = [&](size_t begin, size_t end) {
    if (begin < end) emit(text.substr(begin, end - begin));
  };
  size_t done = 0;   // everything before was emitted
  size_t start = 0;  // of the next search
  size_t last_match_end = SIZE_MAX;
  while (start <= text.size() && work->Spend(1)) {
    progress.position = start;
    const int rc = code_->Match(text, start, match.get(), counted.get());
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH && !work->ended()) work->End(StatusCode::kResourceExhausted);
    if (rc < 0) break;
    const size_t* range = pcre2_get_ovector_pointer(match.get());
    const size_t begin = range[0];
    const size_t end = range[1];
    if (begin >= end && end == last_match_end) {  // an empty match right after a match: look further
      start = end < text.size() ? end + unicode::DecodeValid(text.data() + end).size : end + 1;
      continue;
    }
    put(done, begin);
    put(begin, end);
    done = start = last_match_end = end;
  }
  put(done, text.size());
}

}  // namespace inkstone
