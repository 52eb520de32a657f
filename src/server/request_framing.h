// What is checked of a request's head before its body is read: two readers of the same bytes must see the same request.
#pragma once

#include <boost/beast/http/message.hpp>
#include <boost/optional/optional.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "server/http_types.h"

namespace inkstone {

// The body of a request as it arrives: a string that takes no memory for bytes that were only announced.
struct GrowingBody {
  using value_type = std::string;
  class reader {
   public:
    template <bool is_request, class Fields>
    reader(boost::beast::http::header<is_request, Fields>& /*head*/, value_type& body) : body_(body) {}
    void init(const boost::optional<std::uint64_t>& /*length*/, boost::system::error_code& error) { error = {}; }
    template <class Buffers>
    size_t put(const Buffers& buffers, boost::system::error_code& error) {
      error = {};
      size_t bytes = 0;
      for (auto at = boost::asio::buffer_sequence_begin(buffers); at != boost::asio::buffer_sequence_end(buffers);
           ++at) {
        const boost::asio::const_buffer piece = *at;
        body_.append(static_cast<const char*>(piece.data()), piece.size());
        bytes += piece.size();
      }
      return bytes;
    }
    void finish(boost::system::error_code& error) { error = {}; }

   private:
    value_type& body_;
  };
};

struct FramingError {
  int status = 400;
  std::string message;
};

// A head's bytes that continue a header on the next line, which RFC 9112 has given up.
bool HasFoldedLine(std::string_view head);

// Whether where the body ends, or which server is meant, can be read in two ways. `request` has its headers.
std::optional<FramingError> CheckFraming(const HttpRequest& request);

}  // namespace inkstone
