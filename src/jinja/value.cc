#include "jinja/value.h"

#include "jinja/text.h"

namespace inkstone::jinja {

void Fail(std::string message) { throw Error{StatusCode::kDataLoss, std::move(message)}; }

String::String(std::string t, bool m) : text(std::move(t)), length(CodePoints(text)), markup(m) {}

const String& Value::string() const { return static_cast<const String&>(*heap_); }
const std::string& Value::text() const { return string().text; }
const std::vector<Value>& Value::items() const { return static_cast<const Sequence&>(*heap_).items; }
const Dict& Value::dict() const { return static_cast<const Dict&>(*heap_); }
Object& Value::object() const { return static_cast<Object&>(*heap_); }

std::string Object::Repr(Runtime&) { return "<" + std::string(type_name()) + " object>"; }

std::shared_ptr<Iterator> Object::Iterate(Runtime&, const Value& self) {
  if (auto iterator = self.As<Iterator>()) return iterator;
  Fail("'" + std::string(type_name()) + "' object is not iterable");
}

std::optional<Value> Object::Attribute(Runtime&, const Value&, std::string_view) { return std::nullopt; }
std::optional<Value> Object::Item(Runtime&, const Value&) { return std::nullopt; }
Value Object::Call(Runtime&, const Args&) { Fail("'" + std::string(type_name()) + "' object is not callable"); }

}  // namespace inkstone::jinja
