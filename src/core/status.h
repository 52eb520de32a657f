// Status and Result<T>: how every layer reports failure. Libraries never print, abort or exit.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace inkstone {

enum class StatusCode {
  kOk,
  kInvalidArgument,    // the caller asked for something that makes no sense
  kNotFound,           // a file, tensor or name does not exist
  kDataLoss,           // bytes from outside are malformed or truncated
  kResourceExhausted,  // memory, disk, queue or context is full
  kUnavailable,        // try again later
  kOverloaded,         // likewise: memory is short
  kCancelled,
  kUnimplemented,  // valid input of a kind that this program does not support
  kInternal,
  kDeadlineExceeded,  // the caller's time for it is over
};

// Either OK or a code with one sentence that names what failed, what was expected and what was found.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  static Status Ok() { return {}; }
  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

inline Status InvalidArgument(std::string m) { return {StatusCode::kInvalidArgument, std::move(m)}; }
inline Status NotFound(std::string m) { return {StatusCode::kNotFound, std::move(m)}; }
inline Status DataLoss(std::string m) { return {StatusCode::kDataLoss, std::move(m)}; }
inline Status ResourceExhausted(std::string m) { return {StatusCode::kResourceExhausted, std::move(m)}; }
inline Status Unavailable(std::string m) { return {StatusCode::kUnavailable, std::move(m)}; }
inline Status Overloaded(std::string m) { return {StatusCode::kOverloaded, std::move(m)}; }
inline Status DeadlineExceeded(std::string m) { return {StatusCode::kDeadlineExceeded, std::move(m)}; }
inline Status Cancelled(std::string m) { return {StatusCode::kCancelled, std::move(m)}; }
inline Status Unimplemented(std::string m) { return {StatusCode::kUnimplemented, std::move(m)}; }
inline Status Internal(std::string m) { return {StatusCode::kInternal, std::move(m)}; }

// A value or the Status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}         // NOLINT: implicit by design
  Result(Status status) : state_(std::move(status)) {}  // NOLINT: implicit by design

  bool ok() const { return std::holds_alternative<T>(state_); }
  Status status() const { return ok() ? Status() : std::get<Status>(state_); }
  T& value() & { return std::get<T>(state_); }
  const T& value() const& { return std::get<T>(state_); }
  T&& value() && { return std::get<T>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<Status, T> state_;
};

}  // namespace inkstone

#define INK_CONCAT_INNER(a, b) a##b
#define INK_CONCAT(a, b) INK_CONCAT_INNER(a, b)

// Returns early with the Status of `expr` unless it is OK.
#define INK_RETURN_IF_ERROR(expr)                                   \
  do {                                                              \
    if (::inkstone::Status ink_status = (expr); !ink_status.ok()) { \
      return ink_status;                                            \
    }                                                               \
  } while (0)

// INK_ASSIGN_OR_RETURN(auto x, MakeX()): declares x, or returns early with the Status.
#define INK_ASSIGN_OR_RETURN(lhs, expr) INK_ASSIGN_OR_RETURN_IMPL(INK_CONCAT(ink_result_, __LINE__), lhs, expr)
#define INK_ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                              \
  if (!tmp.ok()) return tmp.status();             \
  lhs = std::move(tmp).value()
