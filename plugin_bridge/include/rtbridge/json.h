// A small JSON reader for what the server tells about itself: strict, bounded in depth and size, no exceptions.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rtbridge {

class Json {
 public:
  enum class Kind { kNull, kBoolean, kNumber, kText, kArray, kObject };

  // The value of a whole text; nothing for what is not JSON, or nested more than 32 deep.
  static std::optional<Json> parse(std::string_view text);

  Kind kind() const noexcept { return kind_; }
  double number(double otherwise = 0.0) const noexcept { return kind_ == Kind::kNumber ? number_ : otherwise; }
  const std::string& text() const noexcept { return text_; }          // "" for what is no text
  const std::vector<Json>& items() const noexcept { return items_; }  // of an array; an object's values
  const Json& operator[](std::string_view key) const noexcept;        // null if there is none

 private:
  friend class JsonReader;
  Kind kind_ = Kind::kNull;
  double number_ = 0.0;
  std::string text_;
  std::vector<std::string> keys_;
  std::vector<Json> items_;
};

}  // namespace rtbridge
