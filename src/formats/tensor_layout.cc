#include "formats/tensor_layout.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <system_error>

namespace inkstone {

Result<uint64_t> TensorBytes(DType dtype, std::span<const int64_t> shape, const std::string& what) {
  if (shape.size() > kMaxDims) {
    return DataLoss(what + ": expected at most " + std::to_string(kMaxDims) + " dimensions, found " +
                    std::to_string(shape.size()));
  }
  const DTypeInfo& info = Info(dtype);
  const int64_t row = shape.empty() ? 1 : shape.back();
  if (row % info.block_elements != 0) {
    return DataLoss(what + ": expected rows of a multiple of " + std::to_string(info.block_elements) +
                    " elements for type " + std::string(info.name) + ", found " + std::to_string(row));
  }
  int64_t elements = 1;
  for (const int64_t dim : shape) {
    if (dim < 1 || dim > kMaxDim) {
      return DataLoss(what + ": expected dimensions from 1 to " + std::to_string(kMaxDim) + ", found " +
                      ShapeText(shape));
    }
    if (__builtin_mul_overflow(elements, dim, &elements)) {
      return DataLoss(what + ": the product of the dimensions " + ShapeText(shape) + " overflows 64 bits");
    }
  }
  int64_t bytes = 0;
  if (__builtin_mul_overflow(elements / info.block_elements, static_cast<int64_t>(info.block_bytes), &bytes) ||
      bytes > (1LL << 62)) {
    return DataLoss(what + ": the size in bytes of shape " + ShapeText(shape) + " overflows 62 bits");
  }
  return static_cast<uint64_t>(bytes);
}

Result<std::vector<size_t>> OrderByOffset(std::span<const TensorInfo> tensors, const std::string& source) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return tensors[a].offset < tensors[b].offset; });
  for (size_t i = 1; i < order.size(); ++i) {
    const TensorInfo& before = tensors[order[i - 1]];
    const TensorInfo& after = tensors[order[i]];
    if (after.offset < before.offset + before.bytes) {
      return DataLoss(source + ": tensors " + Quote(before.name) + " (offset " + std::to_string(before.offset) + ", " +
                      std::to_string(before.bytes) + " bytes) and " + Quote(after.name) + " (offset " +
                      std::to_string(after.offset) + ") overlap");
    }
  }
  return order;
}

std::string Quote(std::string_view text) {
  constexpr size_t kMaxShown = 96;
  constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text.substr(0, kMaxShown)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f && c != '\\' && c != '"') {
      out += c;
    } else {
      out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  out += text.size() > kMaxShown ? "\"..." : "\"";
  return out;
}

std::string ShapeText(std::span<const int64_t> shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) out += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return out + "]";
}

namespace {

Status CheckInput(const std::string& path, const std::string& what) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found) {
    return NotFound(path + ": expected " + what + ", found no such file");
  }
  if (error) return NotFound(path + ": expected " + what + ", found an unreadable path: " + error.message());
  if (!std::filesystem::is_regular_file(status)) {
    return InvalidArgument(path + ": expected " + what + ", found something that is not a regular file");
  }
  return Status::Ok();
}

Status TooLong(const std::string& path, size_t max_bytes, uint64_t found) {
  return DataLoss(path + ": expected at most " + std::to_string(max_bytes) + " bytes, found " + std::to_string(found));
}

// Of a descriptor that is open already: what has the name may have changed since it was looked at.
Result<std::string> ReadRegular(int fd, const std::string& path, const std::string& what, size_t max_bytes) {
  struct stat facts {};
  if (::fstat(fd, &facts) != 0 || !S_ISREG(facts.st_mode)) {
    return InvalidArgument(path + ": expected " + what + ", found something that is not a regular file");
  }
  const auto size = static_cast<uint64_t>(facts.st_size);
  if (size > max_bytes) return TooLong(path, max_bytes, size);
  std::string text(size, '\0');
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t count = ::read(fd, text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return DataLoss(path + ": cannot be read: " + std::strerror(errno));
    if (count == 0) return DataLoss(path + ": became shorter while it was read; try again");
    done += static_cast<size_t>(count);
  }
  return text;
}

}  // namespace

Result<MappedFile> OpenInput(const std::string& path, const std::string& what) {
  INK_RETURN_IF_ERROR(CheckInput(path, what));
  return MappedFile::Open(path);
}

Result<std::string> ReadTextInput(const std::string& path, const std::string& what, size_t max_bytes) {
  INK_RETURN_IF_ERROR(CheckInput(path, what));
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return NotFound(path + ": cannot open: " + std::strerror(errno));
  Result<std::string> text = ReadRegular(fd, path, what, max_bytes);
  ::close(fd);
  return text;
}

}  // namespace inkstone
