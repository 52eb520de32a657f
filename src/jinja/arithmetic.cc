// Python's arithmetic on template values.
#include <cmath>

#include "jinja/runtime.h"

namespace inkstone::jinja {
namespace {

const char* Symbol(Operator op) {
  constexpr const char* kSymbols[] = {"+", "-", "*", "/", "//", "%", "** or pow()"};
  return kSymbols[static_cast<int>(op)];
}

[[noreturn]] void FailOperands(Operator op, const Value& a, const Value& b) {
  Fail(std::string("unsupported operand type(s) for ") + Symbol(op) + ": '" + std::string(TypeName(a)) + "' and '" +
       std::string(TypeName(b)) + "'");
}

[[noreturn]] void FailOverflow() { Fail("integer overflow: more than 127 bits"); }

Int FloorMod(Int a, Int b) {
  const Int m = b == -1 ? 0 : a % b;
  return m != 0 && (m < 0) != (b < 0) ? m + b : m;
}

Int FloorDiv(Int a, Int b) {
  if (b == -1) {
    Int negated;
    if (__builtin_sub_overflow(Int{0}, a, &negated)) FailOverflow();
    return negated;
  }
  const Int q = a / b;
  return a % b != 0 && ((a < 0) != (b < 0)) ? q - 1 : q;
}

double FloatMod(double a, double b) {
  if (b == 0) Fail("float modulo");
  double m = std::fmod(a, b);
  if (m != 0) {
    if ((b < 0) != (m < 0)) m += b;
  } else {
    m = std::copysign(0.0, b);
  }
  return m;
}

double FloatFloorDiv(double a, double b) {
  if (b == 0) Fail("float floor division by zero");
  const double m = FloatMod(a, b);
  const double div = (a - m) / b;
  if (div == 0) return std::copysign(0.0, a / b);
  const double floor = std::floor(div);
  return div - floor > 0.5 ? floor + 1.0 : floor;
}

double FloatPower(double a, double b) {
  if (a == 0 && b < 0) Fail("0.0 cannot be raised to a negative power");
  if (a < 0 && std::isfinite(a) && std::isfinite(b) && std::trunc(b) != b) {
    Fail("complex results are not supported");
  }
  const double r = std::pow(a, b);
  if (std::isinf(r) && std::isfinite(a) && std::isfinite(b)) Fail("(34, 'Numerical result out of range')");
  return r;
}

Value IntPower(Int a, Int b) {
  if (b < 0) return Value::Float(FloatPower(static_cast<double>(a), static_cast<double>(b)));
  Int result = 1;
  while (b != 0) {
    if ((b & 1) != 0 && __builtin_mul_overflow(result, a, &result)) FailOverflow();
    b >>= 1;
    if (b != 0 && __builtin_mul_overflow(a, a, &a)) FailOverflow();
  }
  return Value::Integer(result);
}

Value IntBinary(Operator op, Int a, Int b) {
  Int r = 0;
  bool overflow = false;
  switch (op) {
    case Operator::kAdd:
      overflow = __builtin_add_overflow(a, b, &r);
      break;
    case Operator::kSub:
      overflow = __builtin_sub_overflow(a, b, &r);
      break;
    case Operator::kMul:
      overflow = __builtin_mul_overflow(a, b, &r);
      break;
    case Operator::kDiv:
      if (b == 0) Fail("division by zero");
      return Value::Float(static_cast<double>(static_cast<long double>(a) / static_cast<long double>(b)));
    case Operator::kFloorDiv:
      if (b == 0) Fail("integer division or modulo by zero");
      r = FloorDiv(a, b);
      break;
    case Operator::kMod:
      if (b == 0) Fail("integer modulo by zero");
      r = FloorMod(a, b);
      break;
    case Operator::kPow:
      if (a == 0 && b < 0) Fail("0.0 cannot be raised to a negative power");
      return IntPower(a, b);
  }
  if (overflow) FailOverflow();
  return Value::Integer(r);
}

Value FloatBinary(Operator op, double a, double b) {
  switch (op) {
    case Operator::kAdd:
      return Value::Float(a + b);
    case Operator::kSub:
      return Value::Float(a - b);
    case Operator::kMul:
      return Value::Float(a * b);
    case Operator::kDiv:
      if (b == 0) Fail("float division by zero");
      return Value::Float(a / b);
    case Operator::kFloorDiv:
      return Value::Float(FloatFloorDiv(a, b));
    case Operator::kMod:
      return Value::Float(FloatMod(a, b));
    case Operator::kPow:
      return Value::Float(FloatPower(a, b));
  }
  return Value();
}

Value AddText(Runtime& rt, const Value& a, const Value& b) {
  const bool markup = a.string().markup || b.string().markup;
  rt.Reserve(a.text().size() + b.text().size());
  if (!markup || a.string().markup == b.string().markup) return rt.Str(a.text() + b.text(), markup);
  return rt.Str(a.string().markup ? a.text() + Escape(rt, b.text()) : Escape(rt, a.text()) + b.text(), true);
}

Value Join(Runtime& rt, const Value& a, const Value& b) {
  std::vector<Value> items;
  rt.Reserve((a.items().size() + b.items().size()) * sizeof(Value));
  items.reserve(a.items().size() + b.items().size());
  items.insert(items.end(), a.items().begin(), a.items().end());
  items.insert(items.end(), b.items().begin(), b.items().end());
  return a.is_list() ? rt.List(std::move(items)) : rt.Tuple(std::move(items));
}

Value Repeat(Runtime& rt, const Value& what, Int times) {
  const size_t size = what.is_string() ? what.text().size() : what.items().size() * sizeof(Value);
  const auto count = static_cast<size_t>(times < 0 || size == 0 ? 0 : ToInt64(times));
  if (count > 0 && size > SIZE_MAX / count) rt.Reserve(SIZE_MAX);
  rt.Reserve(size * count);
  rt.Work(size * count);
  if (what.is_string()) {
    std::string text;
    text.reserve(size * count);
    for (size_t i = 0; i < count; ++i) text += what.text();
    return rt.Str(std::move(text), what.string().markup);
  }
  std::vector<Value> items;
  items.reserve(what.items().size() * count);
  for (size_t i = 0; i < count; ++i) items.insert(items.end(), what.items().begin(), what.items().end());
  return what.is_list() ? rt.List(std::move(items)) : rt.Tuple(std::move(items));
}

}  // namespace

Value Binary(Runtime& rt, Operator op, const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) return IntBinary(op, a.integer(), b.integer());
  if (a.is_number() && b.is_number()) return FloatBinary(op, a.number(), b.number());
  if (op == Operator::kMod && a.is_string()) {
    return rt.Str(FormatPercent(rt, a.text(), b), a.string().markup);
  }
  if (a.is_undefined()) FailUndefined(a);
  if (b.is_undefined()) FailUndefined(b);
  if (op == Operator::kAdd) {
    if (a.is_string() && b.is_string()) return AddText(rt, a, b);
    if (a.is_sequence() && a.type() == b.type()) return Join(rt, a, b);
  }
  if (op == Operator::kMul) {
    if ((a.is_string() || a.is_sequence()) && b.is_integral()) return Repeat(rt, a, b.integer());
    if ((b.is_string() || b.is_sequence()) && a.is_integral()) return Repeat(rt, b, a.integer());
  }
  FailOperands(op, a, b);
}

Value Negate(const Value& v) {
  if (v.is_float()) return Value::Float(-v.number());
  if (v.is_integral()) return IntBinary(Operator::kSub, 0, v.integer());
  if (v.is_undefined()) FailUndefined(v);
  Fail("bad operand type for unary -: '" + std::string(TypeName(v)) + "'");
}

Value Positive(const Value& v) {
  if (v.is_float()) return v;
  if (v.is_integral()) return Value::Integer(v.integer());
  if (v.is_undefined()) FailUndefined(v);
  Fail("bad operand type for unary +: '" + std::string(TypeName(v)) + "'");
}

}  // namespace inkstone::jinja
