// The filters, by name in FindFilter: one function each, as jinja2 defines them; the subject is the first argument.
#pragma once

#include "jinja/runtime.h"

namespace inkstone::jinja {

// Text and numbers (jinja_text_filters.cc).
Value FilterAbs(Runtime& rt, const Args& args);
Value FilterCapitalize(Runtime& rt, const Args& args);
Value FilterCenter(Runtime& rt, const Args& args);
Value FilterEscape(Runtime& rt, const Args& args);
Value FilterFloat(Runtime& rt, const Args& args);
Value FilterForceEscape(Runtime& rt, const Args& args);
Value FilterFormat(Runtime& rt, const Args& args);
Value FilterIndent(Runtime& rt, const Args& args);
Value FilterInt(Runtime& rt, const Args& args);
Value FilterLower(Runtime& rt, const Args& args);
Value FilterReplace(Runtime& rt, const Args& args);
Value FilterRound(Runtime& rt, const Args& args);
Value FilterSafe(Runtime& rt, const Args& args);
Value FilterString(Runtime& rt, const Args& args);
Value FilterTitle(Runtime& rt, const Args& args);
Value FilterToJson(Runtime& rt, const Args& args);
Value FilterTrim(Runtime& rt, const Args& args);
Value FilterTruncate(Runtime& rt, const Args& args);
Value FilterUpper(Runtime& rt, const Args& args);
Value FilterUrlEncode(Runtime& rt, const Args& args);
Value FilterWordCount(Runtime& rt, const Args& args);

// Sequences and mappings that yield lazily or pick items (jinja_item_filters.cc).
Value FilterAttr(Runtime& rt, const Args& args);
Value FilterBatch(Runtime& rt, const Args& args);
Value FilterDefault(Runtime& rt, const Args& args);
Value FilterFirst(Runtime& rt, const Args& args);
Value FilterItems(Runtime& rt, const Args& args);
Value FilterJoin(Runtime& rt, const Args& args);
Value FilterLast(Runtime& rt, const Args& args);
Value FilterLength(Runtime& rt, const Args& args);
Value FilterList(Runtime& rt, const Args& args);
Value FilterMap(Runtime& rt, const Args& args);
Value FilterReject(Runtime& rt, const Args& args);
Value FilterRejectAttr(Runtime& rt, const Args& args);
Value FilterReverse(Runtime& rt, const Args& args);
Value FilterSelect(Runtime& rt, const Args& args);
Value FilterSelectAttr(Runtime& rt, const Args& args);
Value FilterSlice(Runtime& rt, const Args& args);

// Order and aggregation (jinja_order_filters.cc).
Value FilterDictSort(Runtime& rt, const Args& args);
Value FilterGroupBy(Runtime& rt, const Args& args);
Value FilterMax(Runtime& rt, const Args& args);
Value FilterMin(Runtime& rt, const Args& args);
Value FilterSort(Runtime& rt, const Args& args);
Value FilterSum(Runtime& rt, const Args& args);
Value FilterUnique(Runtime& rt, const Args& args);

// Looks up "a.b.0" in an item; None takes the item itself.
class AttributeGetter {
 public:
  AttributeGetter(Runtime& rt, const Value& path);
  // An undefined step gives `otherwise` when that is not null and not None.
  Value operator()(Runtime& rt, const Value& item, const Value* otherwise = nullptr) const;

 private:
  std::vector<Value> parts_;
};

}  // namespace inkstone::jinja
