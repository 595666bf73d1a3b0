// State streams as a host may hand them over: at most `piece` bytes a call, or failing after so many.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>

#include "stream.h"

class StateWriter {
 public:
  explicit StateWriter(uint64_t piece, uint64_t room = UINT64_MAX) : piece_(piece), room_(room) {
    stream_.ctx = this;
    stream_.write = [](const clap_ostream_t* stream, const void* data, uint64_t size) {
      auto& self = *static_cast<StateWriter*>(stream->ctx);
      const uint64_t n = std::min({size, self.piece_, self.room_ - self.bytes.size()});
      if (n == 0 && size > 0) return int64_t{-1};  // the disk is full
      self.bytes.append(static_cast<const char*>(data), n);
      return static_cast<int64_t>(n);
    };
  }
  const clap_ostream_t* stream() const { return &stream_; }
  std::string bytes;

 private:
  clap_ostream_t stream_{};
  uint64_t piece_, room_;
};

class StateReader {
 public:
  // fail_at: the read that would pass this many bytes fails.
  StateReader(std::string bytes, uint64_t piece, uint64_t fail_at = UINT64_MAX)
      : bytes_(std::move(bytes)), piece_(piece), fail_at_(fail_at) {
    stream_.ctx = this;
    stream_.read = [](const clap_istream_t* stream, void* data, uint64_t size) {
      auto& self = *static_cast<StateReader*>(stream->ctx);
      const uint64_t n = std::min({size, self.piece_, self.bytes_.size() - self.at_});
      if (self.at_ + n > self.fail_at_) return int64_t{-1};
      std::memcpy(data, self.bytes_.data() + self.at_, n);
      self.at_ += n;
      return static_cast<int64_t>(n);
    };
  }
  const clap_istream_t* stream() const { return &stream_; }

 private:
  clap_istream_t stream_{};
  const std::string bytes_;
  const uint64_t piece_, fail_at_;
  uint64_t at_ = 0;
};
