// The tests of "x is test".
#include <algorithm>
#include <array>

#include "jinja/runtime.h"
#include "jinja/text.h"

namespace inkstone::jinja {
namespace {

// A test of a value alone.
template <bool (*kCheck)(Runtime&, const Value&)>
Value One(Runtime& rt, const Args& args) {
  const Params p("test", args, {"value"}, 1);
  return Value::Bool(kCheck(rt, p[0]));
}

// A test of a value against an argument.
template <bool (*kCheck)(Runtime&, const Value&, const Value&)>
Value Two(Runtime& rt, const Args& args) {
  const Params p("test", args, {"value", "other"}, 2);
  return Value::Bool(kCheck(rt, p[0], p[1]));
}

bool IsRemainder(Runtime& rt, const Value& v, const Value& divisor, Int remainder) {
  return Equals(rt, Binary(rt, Operator::kMod, v, divisor), Value::Integer(remainder));
}
bool Odd(Runtime& rt, const Value& v) { return IsRemainder(rt, v, Value::Integer(2), 1); }
bool Even(Runtime& rt, const Value& v) { return IsRemainder(rt, v, Value::Integer(2), 0); }
bool DivisibleBy(Runtime& rt, const Value& v, const Value& by) { return IsRemainder(rt, v, by, 0); }
bool Defined(Runtime&, const Value& v) { return !v.is_undefined(); }
bool IsUndefined(Runtime&, const Value& v) { return v.is_undefined(); }
bool IsNone(Runtime&, const Value& v) { return v.is_none(); }
bool IsBoolean(Runtime&, const Value& v) { return v.is_bool(); }
bool IsFalse(Runtime&, const Value& v) { return v.is_bool() && !v.boolean(); }
bool IsTrue(Runtime&, const Value& v) { return v.is_bool() && v.boolean(); }
bool IsInteger(Runtime&, const Value& v) { return v.is_int(); }
bool IsFloat(Runtime&, const Value& v) { return v.is_float(); }
bool IsNumber(Runtime&, const Value& v) { return v.is_number(); }
bool IsString(Runtime&, const Value& v) { return v.is_string(); }
bool IsMapping(Runtime&, const Value& v) { return v.is_dict(); }
bool IsCallable(Runtime&, const Value& v) { return v.is_undefined() || (v.is_object() && v.object().callable()); }
bool IsEscaped(Runtime&, const Value& v) { return v.is_string() && v.string().markup; }
bool IsIterable(Runtime&, const Value& v) {
  return LengthOf(v).has_value() || (v.is_object() && v.object().iterable());
}
bool IsSequence(Runtime&, const Value& v) {
  return LengthOf(v).has_value() && (!v.is_object() || v.object().indexable());
}

// All cased letters are of one case, and there is one.
bool HasCase(Runtime& rt, const Value& v, bool (*wanted)(int32_t), bool (*other)(int32_t)) {
  const std::string s = ToText(rt, v);
  rt.Work(s.size() * 16);
  bool found = false;
  for (size_t i = 0; i < s.size(); i += CodePointBytes(s, i)) {
    const int32_t c = CodePointAt(s, i);
    if (other(c) || jinja::IsTitle(c)) return false;
    found |= wanted(c);
  }
  return found;
}
bool LowerCase(Runtime& rt, const Value& v) { return HasCase(rt, v, jinja::IsLower, jinja::IsUpper); }
bool UpperCase(Runtime& rt, const Value& v) { return HasCase(rt, v, jinja::IsUpper, jinja::IsLower); }

bool SameAs(Runtime&, const Value& a, const Value& b) { return Identical(a, b); }
bool In(Runtime& rt, const Value& a, const Value& b) { return Contains(rt, b, a); }
bool NotEqual(Runtime& rt, const Value& a, const Value& b) { return !Equals(rt, a, b); }
bool Greater(Runtime& rt, const Value& a, const Value& b) { return Less(rt, b, a); }
bool AtMost(Runtime& rt, const Value& a, const Value& b) { return Less(rt, a, b) || Equals(rt, a, b); }
bool AtLeast(Runtime& rt, const Value& a, const Value& b) { return Less(rt, b, a) || Equals(rt, a, b); }
// A name that can't be hashed fails, as a look-up in a dict does.
bool IsFilter(Runtime& rt, const Value& v) {
  HashKey(rt, v);
  return v.is_string() && FindFilter(v.text()) != nullptr;
}
bool IsTest(Runtime& rt, const Value& v) {
  HashKey(rt, v);
  return v.is_string() && FindTest(v.text()) != nullptr;
}

}  // namespace

Function FindTest(std::string_view name) {
  static constexpr std::pair<std::string_view, Function> kTests[] = {{"odd", One<Odd>},
                                                                     {"even", One<Even>},
                                                                     {"divisibleby", Two<DivisibleBy>},
                                                                     {"defined", One<Defined>},
                                                                     {"undefined", One<IsUndefined>},
                                                                     {"filter", One<IsFilter>},
                                                                     {"test", One<IsTest>},
                                                                     {"none", One<IsNone>},
                                                                     {"boolean", One<IsBoolean>},
                                                                     {"false", One<IsFalse>},
                                                                     {"true", One<IsTrue>},
                                                                     {"integer", One<IsInteger>},
                                                                     {"float", One<IsFloat>},
                                                                     {"lower", One<LowerCase>},
                                                                     {"upper", One<UpperCase>},
                                                                     {"string", One<IsString>},
                                                                     {"mapping", One<IsMapping>},
                                                                     {"number", One<IsNumber>},
                                                                     {"sequence", One<IsSequence>},
                                                                     {"iterable", One<IsIterable>},
                                                                     {"callable", One<IsCallable>},
                                                                     {"sameas", Two<SameAs>},
                                                                     {"escaped", One<IsEscaped>},
                                                                     {"in", Two<In>},
                                                                     {"==", Two<Equals>},
                                                                     {"eq", Two<Equals>},
                                                                     {"equalto", Two<Equals>},
                                                                     {"!=", Two<NotEqual>},
                                                                     {"ne", Two<NotEqual>},
                                                                     {">", Two<Greater>},
                                                                     {"gt", Two<Greater>},
                                                                     {"greaterthan", Two<Greater>},
                                                                     {"ge", Two<AtLeast>},
                                                                     {">=", Two<AtLeast>},
                                                                     {"<", Two<Less>},
                                                                     {"lt", Two<Less>},
                                                                     {"lessthan", Two<Less>},
                                                                     {"<=", Two<AtMost>},
                                                                     {"le", Two<AtMost>}};
  for (const auto& [key, function] : kTests) {
    if (key == name) return function;
  }
  return nullptr;
}

}  // namespace inkstone::jinja
