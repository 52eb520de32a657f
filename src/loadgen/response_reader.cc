#include "loadgen/response_reader.h"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/field.hpp>
#include <cctype>
#include <charconv>
#include <string>

#include "loadgen/sse_parser.h"

namespace inkstone {

namespace http = boost::beast::http;
using boost::beast::string_view;
using boost::system::error_code;

namespace {

constexpr size_t kMaxHead = 64 << 10;       // bytes of the head, and of what may wait for more bytes
constexpr size_t kMaxErrorBody = 64 << 10;  // bytes

std::string LowerCase(string_view text) {
  std::string out(text.data(), text.size());
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

}  // namespace

class ResponseReader::Parser final : public http::basic_parser<false> {
 public:
  explicit Parser(Endpoint endpoint) : answer_(endpoint) {
    header_limit(kMaxHead);
    body_limit(boost::none);
    eager(true);
  }

  int Push(std::string_view bytes) {
    if (done_) return 0;
    pieces_ = 0;
    pending_.append(bytes);
    while (!done_ && !pending_.empty() && !is_done()) {
      error_code error;
      const size_t used = put(boost::asio::buffer(pending_), error);
      pending_.erase(0, used);
      if (done_) break;
      if (error == http::error::need_more && pending_.size() <= 2 * kMaxHead) break;
      if (error) Fail("malformed", "no HTTP response: " + error.message());
    }
    if (!done_ && is_done()) End();
    return pieces_;
  }

  void PushEnd() {
    if (done_) return;
    error_code error = http::error::partial_message;
    if (got_some()) put_eof(error);
    // Some servers end the stream by closing it; the last event may lack its blank line.
    if (streams_) sse_.Finish([this](std::string_view data) { OnEvent(data); });
    if (done_) return;
    if (error && !complete_) return Fail("closed early", "the server closed the connection before the answer's end");
    End();
  }

  bool done() const { return done_; }
  const std::optional<Failure>& failure() const { return failure_; }
  const AnswerParser& answer() const { return answer_; }
  int status_code() const { return status_; }
  double retry_after() const { return retry_after_; }

 private:
  void on_request_impl(http::verb, string_view, string_view, int, error_code&) override {}
  void on_response_impl(int code, string_view, int, error_code&) override { status_ = code; }
  void on_field_impl(http::field name, string_view, string_view value, error_code&) override {
    if (name == http::field::content_type) content_type_ = LowerCase(value);
    if (name == http::field::retry_after) {
      int seconds = 0;  // or a date, which nobody sends here
      const auto parsed = std::from_chars(value.data(), value.data() + value.size(), seconds);
      if (parsed.ec == std::errc() && seconds > 0) retry_after_ = seconds;
    }
  }
  void on_header_impl(error_code&) override {
    streams_ = status_ == 200 && content_type_.starts_with("text/event-stream");
  }
  void on_body_init_impl(const boost::optional<uint64_t>&, error_code&) override {}
  size_t on_body_impl(string_view body, error_code&) override { return Take(body); }
  void on_chunk_header_impl(uint64_t, string_view, error_code&) override {}
  size_t on_chunk_body_impl(uint64_t, string_view body, error_code&) override { return Take(body); }
  void on_finish_impl(error_code&) override { complete_ = true; }

  size_t Take(string_view body) {
    const std::string_view bytes(body.data(), body.size());
    if (done_) return bytes.size();
    if (!streams_) {
      error_body_.append(bytes.substr(0, kMaxErrorBody - error_body_.size()));
      if (error_body_.size() == kMaxErrorBody) End();
    } else if (!sse_.Push(bytes, [this](std::string_view data) { OnEvent(data); }) && !done_) {
      Fail("too long", "a line or an event of more than " + std::to_string(SseParser::kMaxEvent) + " bytes");
    }
    return bytes.size();
  }

  void OnEvent(std::string_view data) {
    if (done_) return;
    if (answer_.OnEvent(data)) ++pieces_;
    if (answer_.failure()) {
      failure_ = answer_.failure();
      done_ = true;
    } else if (answer_.done()) {
      done_ = true;
    }
  }

  // The whole response is here, or as much as counts.
  void End() {
    if (done_) return;
    if (status_ != 200) return Fail("http " + std::to_string(status_), ErrorMessage(error_body_));
    if (!streams_) {
      return Fail("no stream", "expected Content-Type text/event-stream, found '" + content_type_ +
                                   "': " + ErrorMessage(error_body_));
    }
    if (!answer_.finished()) return Fail("closed early", "the stream ended without finish_reason and [DONE]");
    done_ = true;
  }

  void Fail(std::string kind, std::string message) {
    failure_ = Failure{std::move(kind), std::move(message)};
    done_ = true;
  }

  std::string pending_;  // bytes that the HTTP parser has not taken yet
  int status_ = 0;
  double retry_after_ = 0;
  std::string content_type_;
  std::string error_body_;
  bool streams_ = false;
  bool complete_ = false;
  bool done_ = false;
  int pieces_ = 0;  // of this Push
  SseParser sse_;
  AnswerParser answer_;
  std::optional<Failure> failure_;
};

ResponseReader::ResponseReader(Endpoint endpoint) : parser_(std::make_unique<Parser>(endpoint)) {}
ResponseReader::~ResponseReader() = default;

int ResponseReader::Push(std::string_view bytes) { return parser_->Push(bytes); }
void ResponseReader::PushEnd() { parser_->PushEnd(); }
bool ResponseReader::done() const { return parser_->done(); }
const std::optional<Failure>& ResponseReader::failure() const { return parser_->failure(); }
const std::optional<Usage>& ResponseReader::usage() const { return parser_->answer().usage(); }
int ResponseReader::status() const { return parser_->status_code(); }
double ResponseReader::retry_after() const { return parser_->retry_after(); }

}  // namespace inkstone
