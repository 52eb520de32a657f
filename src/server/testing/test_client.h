// A plain blocking HTTP client on loopback: sends exactly the bytes it's told to, with a limit on every wait.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace inkstone::testing {

struct TestResponse {
  int status = 0;  // 0: none arrived
  std::string head;
  std::string body;  // without chunk framing
  bool Has(std::string_view line) const { return head.find(line) != std::string::npos; }
};

class TestClient {
 public:
  explicit TestClient(uint16_t port, int receive_buffer = 0) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (receive_buffer > 0) ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  }
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;
  ~TestClient() { Close(); }

  bool connected() const { return connected_; }
  void Close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  // Says that nothing more is sent, and goes on reading.
  void HalfClose() const { ::shutdown(fd_, SHUT_WR); }
  bool Send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }
  // Reads until the text was received (from the last answer on), the connection ends or 5 seconds are over.
  bool ReadUntil(std::string_view text) {
    while (data_.find(text) == std::string::npos) {
      if (!Fill()) return false;
    }
    return true;
  }
  // True when the server closes within 5 seconds.
  bool WaitClosed() {
    while (Fill()) {
    }
    return ended_;
  }
  // The next whole response; bytes behind it stay for the following one.
  TestResponse Receive(bool head_only = false) {
    TestResponse response;
    if (!ReadUntil("\r\n\r\n")) return response;
    const size_t split = data_.find("\r\n\r\n") + 4;
    response.head = data_.substr(0, split);
    data_.erase(0, split);
    response.status = std::stoi(response.head.substr(9, 3));
    if (head_only || response.status == 204 || response.status == 304 || response.status == 100) return response;
    const size_t length = response.head.find("Content-Length: ");
    if (length != std::string::npos) {
      const size_t size = std::stoul(response.head.substr(length + 16));
      while (data_.size() < size && Fill()) {
      }
      response.body = data_.substr(0, size);
      data_.erase(0, size);
    } else if (response.Has("Transfer-Encoding: chunked")) {
      ReceiveChunks(&response);
    } else {
      WaitClosed();
      response.body = std::move(data_);
      data_.clear();
    }
    return response;
  }
  const std::string& data() const { return data_; }

 private:
  bool Fill() {
    pollfd waiting{.fd = fd_, .events = POLLIN, .revents = 0};
    if (::poll(&waiting, 1, 5000) <= 0) return false;
    char buffer[16384];
    const ssize_t got = ::recv(fd_, buffer, sizeof(buffer), 0);
    if (got <= 0) {
      ended_ = true;
      return false;
    }
    data_.append(buffer, static_cast<size_t>(got));
    return true;
  }
  void ReceiveChunks(TestResponse* response) {
    while (ReadUntil("\r\n")) {
      const size_t line = data_.find("\r\n") + 2;
      const size_t size = std::stoul(data_.substr(0, line), nullptr, 16);
      while (data_.size() < line + size + 2 && Fill()) {
      }
      response->body += data_.substr(line, size);
      data_.erase(0, line + size + 2);
      if (size == 0) return;
    }
  }

  int fd_;
  bool connected_ = false;
  bool ended_ = false;
  std::string data_;
};

}  // namespace inkstone::testing
