#include "rtbridge/json.h"

#include <cstdint>
#include <locale>
#include <sstream>

namespace rtbridge {

class JsonReader {
 public:
  explicit JsonReader(std::string_view text) : text_(text) {}

  bool whole(Json& value) {
    if (!read(value, 0)) return false;
    skip();
    return at_ == text_.size();
  }

 private:
  static constexpr int kDepthMax = 32;

  void skip() noexcept {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t'))
      ++at_;
  }
  bool take(char c) noexcept {
    skip();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool word(std::string_view w) noexcept {
    if (text_.substr(at_, w.size()) != w) return false;
    at_ += w.size();
    return true;
  }

  bool read(Json& value, int depth) {
    skip();
    if (at_ >= text_.size() || depth > kDepthMax) return false;
    switch (text_[at_]) {
      case '{':
        return read_object(value, depth);
      case '[':
        return read_array(value, depth);
      case '"':
        value.kind_ = Json::Kind::kText;
        return read_text(value.text_);
      case 'n':
        return word("null");
      case 't':
        value.kind_ = Json::Kind::kBoolean;
        value.number_ = 1.0;
        return word("true");
      case 'f':
        value.kind_ = Json::Kind::kBoolean;
        return word("false");
      default:
        return read_number(value);
    }
  }

  bool read_object(Json& value, int depth) {
    value.kind_ = Json::Kind::kObject;
    ++at_;
    if (take('}')) return true;
    do {
      skip();
      std::string key;
      Json item;
      if (at_ >= text_.size() || text_[at_] != '"' || !read_text(key) || !take(':') || !read(item, depth + 1))
        return false;
      value.keys_.push_back(std::move(key));
      value.items_.push_back(std::move(item));
    } while (take(','));
    return take('}');
  }

  bool read_array(Json& value, int depth) {
    value.kind_ = Json::Kind::kArray;
    ++at_;
    if (take(']')) return true;
    do {
      Json item;
      if (!read(item, depth + 1)) return false;
      value.items_.push_back(std::move(item));
    } while (take(','));
    return take(']');
  }

  bool read_number(Json& value) {
    const size_t from = at_;
    while (at_ < text_.size() && (text_[at_] == '-' || text_[at_] == '+' || text_[at_] == '.' || text_[at_] == 'e' ||
                                  text_[at_] == 'E' || (text_[at_] >= '0' && text_[at_] <= '9')))
      ++at_;
    if (at_ == from) return false;
    std::istringstream stream{std::string(text_.substr(from, at_ - from))};
    stream.imbue(std::locale::classic());  // the host's locale may write a comma
    value.kind_ = Json::Kind::kNumber;
    return static_cast<bool>(stream >> value.number_) && stream.peek() == std::istringstream::traits_type::eof();
  }

  bool hex4(uint32_t& code) noexcept {
    if (text_.size() - at_ < 4) return false;
    code = 0;
    for (int i = 0; i < 4; ++i) {
      const char c = text_[at_++];
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) return false;
      code = code * 16 + static_cast<uint32_t>(digit);
    }
    return true;
  }

  static void put_utf8(std::string& out, uint32_t code) {
    const auto byte = [&](uint32_t x) { out += static_cast<char>(x); };
    if (code < 0x80) {
      byte(code);
    } else if (code < 0x800) {
      byte(0xc0 | code >> 6), byte(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
      byte(0xe0 | code >> 12), byte(0x80 | (code >> 6 & 0x3f)), byte(0x80 | (code & 0x3f));
    } else {
      byte(0xf0 | code >> 18), byte(0x80 | (code >> 12 & 0x3f)), byte(0x80 | (code >> 6 & 0x3f)),
          byte(0x80 | (code & 0x3f));
    }
  }

  bool read_escape(std::string& out) {
    if (at_ >= text_.size()) return false;
    const char c = text_[at_++];
    switch (c) {
      case '"':
      case '\\':
      case '/':
        out += c;
        return true;
      case 'b':
        out += '\b';
        return true;
      case 'f':
        out += '\f';
        return true;
      case 'n':
        out += '\n';
        return true;
      case 'r':
        out += '\r';
        return true;
      case 't':
        out += '\t';
        return true;
      case 'u':
        break;
      default:
        return false;
    }
    uint32_t code = 0, low = 0;
    if (!hex4(code)) return false;
    if (code >= 0xd800 && code < 0xdc00) {  // the first half of a pair
      if (!word("\\u") || !hex4(low) || low < 0xdc00 || low > 0xdfff) return false;
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    put_utf8(out, code);
    return true;
  }

  bool read_text(std::string& out) {
    ++at_;
    while (at_ < text_.size()) {
      const char c = text_[at_++];
      if (c == '"') return true;
      if (static_cast<unsigned char>(c) < 0x20) return false;
      if (c != '\\')
        out += c;
      else if (!read_escape(out))
        return false;
    }
    return false;
  }

  std::string_view text_;
  size_t at_ = 0;
};

std::optional<Json> Json::parse(std::string_view text) {
  Json value;
  if (!JsonReader(text).whole(value)) return std::nullopt;
  return value;
}

const Json& Json::operator[](std::string_view key) const noexcept {
  static const Json nothing;
  for (size_t i = 0; i < keys_.size(); ++i)
    if (keys_[i] == key) return items_[i];
  return nothing;
}

}  // namespace rtbridge
