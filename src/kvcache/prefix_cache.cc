#include "kvcache/prefix_cache.h"

#include <algorithm>
#include <iterator>

#include "kvcache/spill_space.h"

namespace inkstone {
namespace {

size_t CommonTokens(std::span<const int32_t> a, std::span<const int32_t> b) {
  const size_t most = std::min(a.size(), b.size());
  return static_cast<size_t>(std::mismatch(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(most), b.begin()).first -
                             a.begin());
}

// Pages go to the store from the second request on that begins with them, or when so many tokens end in them.
constexpr int kUsesToStore = 2;
constexpr int64_t kTokensToStore = 512;
constexpr int kLeavesToLookAt = 32;  // for pages to hand over before they leave

bool StartsWith(std::span<const Phase> phases, std::span<const Phase> beginning) {
  return std::equal(beginning.begin(), beginning.end(), phases.begin());
}

}  // namespace

bool PrefixCache::LabelLess::operator()(const LabelView& a, const LabelView& b) const {
  if (a.domain != b.domain) return a.domain < b.domain;
  return std::lexicographical_compare(a.tokens.begin(), a.tokens.end(), b.tokens.begin(), b.tokens.end());
}

PrefixCache::PrefixCache(PagePool* pool, PageStore* store) : pool_(*pool), store_(store) {
  if (store_ != nullptr) root_.key = store_->root();
}

PrefixCache::~PrefixCache() {
  while (!root_.children.empty()) RemoveTree(root_.children.begin()->second.get());
}

const PageKey& PrefixCache::DomainAt(const CacheDomain& domain, size_t begin) const {
  return domain.At(begin, pool_.layout().page_tokens);
}

PrefixCache::Step PrefixCache::Best(const Node& node, const PrefixQuery& query, size_t begin) const {
  const auto rest = query.tokens.subspan(begin);
  const PageKey& domain = DomainAt(query.domain, begin);
  const auto usable = [&](const Node& child) {
    size_t common = CommonTokens(rest, child.tokens);
    while (!Accepts(query, begin, std::span(child.phases).first(common))) --common;
    // A part of a page would have to be copied from disk.
    return IsSpilled(child.page) && common < child.tokens.size() ? 0 : common;
  };
  // In lexicographic order the longest common beginning is that of a neighbour.
  const auto page = rest.first(std::min(rest.size(), size_t(pool_.layout().page_tokens)));
  const auto next = node.children.lower_bound(LabelView{domain, page});
  Step best;
  const auto consider = [&](const Children::value_type& child) {
    if (child.first.domain != domain) return;
    const size_t tokens = usable(*child.second);
    if (tokens > best.tokens) best = {child.second.get(), tokens};
  };
  if (next != node.children.end()) consider(*next);
  if (next != node.children.begin()) consider(*std::prev(next));
  return best;
}

bool PrefixCache::Accepts(const PrefixQuery& query, size_t begin, std::span<const Phase> phases) const {
  return std::equal(phases.begin(), phases.end(), query.phases.begin() + static_cast<std::ptrdiff_t>(begin),
                    [&](Phase found, Phase wanted) {
                      return found == wanted || (query.accept_generated && found == Phase::kDecode);
                    });
}

bool PrefixCache::Full(const Step& step) const {
  return step.tokens == static_cast<size_t>(pool_.layout().page_tokens);
}

PrefixFind PrefixCache::Find(const PrefixQuery& query) const {
  PrefixFind found;
  const Node* node = &root_;
  while (found.tokens < static_cast<int64_t>(query.tokens.size())) {
    const Step step = Best(*node, query, static_cast<size_t>(found.tokens));
    found.tokens += static_cast<int64_t>(step.tokens);
    if (!Full(step)) break;
    node = step.node;
    if (pool_.references(node->page) == 1) ++(IsSpilled(node->page) ? found.idle_slots : found.idle_pages);
  }
  return found;
}

PrefixCache::Step PrefixCache::LastFull(const PrefixQuery& query) {
  Step last{&root_, 0};
  while (last.tokens < query.tokens.size()) {
    const Step step = Best(*last.node, query, last.tokens);
    if (!Full(step)) break;
    last = {step.node, last.tokens + step.tokens};
  }
  return last;
}

bool PrefixCache::Load(const PrefixQuery& query) {
  if (store_ == nullptr) return false;
  const Step last = LastFull(query);
  const size_t size = static_cast<size_t>(pool_.layout().page_tokens);
  if (last.tokens + size > query.tokens.size()) return false;
  const auto tokens = query.tokens.subspan(last.tokens, size);
  const LabelView label{DomainAt(query.domain, last.tokens), tokens};
  const PageKey key = ChildKey(last.node->key, tokens, label.domain);
  if (last.node->children.contains(label) || !store_->Contains(key)) return false;
  if (pool_.free_pages() == 0) EvictBeside(last.node);
  auto page = pool_.Allocate();
  if (!page.ok()) return false;
  const auto stored = store_->Read(key, {pool_.Keys(*page, 0), pool_.layout().page_bytes()});
  const bool good = stored && std::ranges::equal(stored->tokens, tokens) && Accepts(query, last.tokens, stored->phases);
  if (good) Add(last.node, label, stored->phases, *page);
  pool_.Release(*page);
  return good;
}

void PrefixCache::Store(Node* node) {
  const bool full = node->tokens.size() == static_cast<size_t>(pool_.layout().page_tokens);
  if (store_ == nullptr || !full) return;
  if (node->uses < kUsesToStore && node->depth < kTokensToStore && !store_->Lost(node->key)) return;
  WritePath(node, node->depth);
}

int64_t PrefixCache::WritePath(Node* node, int64_t most) {
  std::vector<Node*> path;
  for (Node* n = node; n != &root_ && !store_->Contains(n->key); n = n->parent) path.push_back(n);
  auto count = std::min<std::ptrdiff_t>(most, std::ssize(path));
  const auto spilled = std::find_if(path.rbegin(), path.rend(), [](const Node* n) { return IsSpilled(n->page); });
  count = std::min(count, spilled - path.rbegin());
  for (auto n = path.rbegin(); n != path.rbegin() + count; ++n) {
    const Node& page = **n;
    store_->Write({page.key, page.parent->key, 0, {page.tokens.begin(), page.tokens.end()}, page.phases, page.domain},
                  {pool_.Keys(page.page, 0), pool_.layout().page_bytes()});
  }
  return count;
}

void PrefixCache::Persist(int64_t most) {
  if (store_ == nullptr) return;
  int looked_at = 0;
  for (auto leaf = leaves_.begin(); leaf != leaves_.end() && most > 0 && looked_at < kLeavesToLookAt; ++leaf) {
    Node* node = leaf->second;
    ++looked_at;
    if (node->tokens.size() < static_cast<size_t>(pool_.layout().page_tokens)) node = node->parent;
    if (node != &root_) most -= WritePath(node, most);
  }
}

std::vector<Phase> PrefixCache::Acquire(const PrefixQuery& query, PageTable* table) {
  std::vector<Phase> phases;
  Node* node = &root_;
  while (phases.size() < query.tokens.size()) {
    const Step step = Best(*node, query, phases.size());
    if (step.tokens == 0) break;
    pool_.AddReference(step.node->page);  // also so that it is not evicted
    Touch(step.node);
    ++step.node->uses;
    if (Full(step)) {
      Store(step.node);
      table->Append(step.node->page);
    } else {
      if (pool_.free_pages() == 0) Evict(1);
      auto copy = pool_.Allocate();
      if (copy.ok()) {
        pool_.Copy(step.node->page, *copy);
        table->Append(*copy);
      }
      pool_.Release(step.node->page);
      if (!copy.ok()) break;
    }
    const auto begin = step.node->phases.begin();
    phases.insert(phases.end(), begin, begin + static_cast<std::ptrdiff_t>(step.tokens));
    if (!Full(step)) break;
    node = step.node;
  }
  return phases;
}

void PrefixCache::Insert(std::span<const int32_t> tokens, std::span<const Phase> phases, const CacheDomain& domain,
                         bool partial, PageTable* table) {
  const size_t size = static_cast<size_t>(pool_.layout().page_tokens);
  Node* node = &root_;
  for (size_t begin = 0; begin < tokens.size(); begin += size) {
    const auto page_tokens = tokens.subspan(begin, std::min(size, tokens.size() - begin));
    const auto page_phases = phases.subspan(begin, page_tokens.size());
    const bool full = page_tokens.size() == size;
    if (!full && !partial) return;
    const std::optional<size_t> at = table->Find(static_cast<int64_t>(begin));
    const LabelView label{DomainAt(domain, begin), page_tokens};
    const auto next = node->children.lower_bound(label);
    const bool found = next != node->children.end() && next->first.domain == label.domain &&
                       CommonTokens(next->second->tokens, page_tokens) == page_tokens.size();
    if (found) {
      Node& child = *next->second;
      if (!StartsWith(child.phases, page_phases)) return;  // other bits: they stay the sequence's own
      Touch(&child);
      if (!full) return;
      if (at && table->pages()[*at] != child.page) {
        const PageId own = table->pages()[*at];
        IsSpilled(child.page) && !IsSpilled(own) ? Move(child.page, own) : table->Replace(*at, child.page);
      }
      node = &child;
      continue;
    }
    if (!at) return;  // dropped, and not known here: what follows would have no path
    RemoveBeginning(node, label, page_phases);
    node = Add(node, label, page_phases, table->pages()[*at]);
  }
}

void PrefixCache::RemoveBeginning(Node* parent, const LabelView& label, std::span<const Phase> phases) {
  const auto next = parent->children.lower_bound(label);
  if (next == parent->children.begin()) return;
  Node& before = *std::prev(next)->second;
  if (before.domain != label.domain) return;
  const bool beginning = CommonTokens(before.tokens, label.tokens) == before.tokens.size();
  if (beginning && StartsWith(phases, before.phases)) Remove(&before);
}

PrefixCache::Node* PrefixCache::Add(Node* parent, const LabelView& label, std::span<const Phase> phases, PageId page) {
  TakeOut(parent);
  const auto& tokens = label.tokens;
  const auto [place, added] =
      parent->children.emplace(Label{label.domain, {tokens.begin(), tokens.end()}}, std::make_unique<Node>());
  Node& node = *place->second;
  node.parent = parent;
  node.domain = label.domain;
  node.tokens = place->first.tokens;
  node.phases.assign(phases.begin(), phases.end());
  node.page = page;
  node.used = ++time_;
  node.depth = parent->depth + static_cast<int64_t>(tokens.size());
  const bool full = tokens.size() == static_cast<size_t>(pool_.layout().page_tokens);
  if (store_ != nullptr && full) node.key = ChildKey(parent->key, tokens, node.domain);
  parent->spilled_children += IsSpilled(page) ? 1 : 0;
  PutBack(parent);
  PutBack(&node);
  nodes_[page] = &node;
  pool_.AddReference(page);
  pool_.SetCached(page, true);
  Store(&node);
  return &node;
}

void PrefixCache::Remove(Node* leaf) {
  Node* parent = leaf->parent;
  TakeOut(leaf);
  TakeOut(parent);
  nodes_.erase(leaf->page);
  pool_.SetCached(leaf->page, false);
  pool_.Release(leaf->page);
  parent->spilled_children -= IsSpilled(leaf->page) ? 1 : 0;
  parent->children.erase(parent->children.find(LabelView{leaf->domain, leaf->tokens}));
  PutBack(parent);
}

int64_t PrefixCache::RemoveTree(Node* node) {
  int64_t freed = 0;
  for (bool last = false; !last;) {
    Node* leaf = node;
    while (!leaf->children.empty()) leaf = leaf->children.begin()->second.get();
    last = leaf == node;
    freed += !IsSpilled(leaf->page) && pool_.references(leaf->page) == 1 ? 1 : 0;
    Remove(leaf);
  }
  return freed;
}

PrefixCache::ByUse* PrefixCache::SetOf(const Node& node) {
  if (&node == &root_) return nullptr;
  if (IsSpilled(node.page)) return node.children.empty() ? &spilled_leaves_ : nullptr;
  return node.children.size() == node.spilled_children ? &leaves_ : nullptr;
}

void PrefixCache::TakeOut(Node* node) {
  if (ByUse* set = SetOf(*node)) set->erase({node->used, node});
}

void PrefixCache::PutBack(Node* node) {
  if (ByUse* set = SetOf(*node)) set->insert({node->used, node});
}

void PrefixCache::Move(PageId from, PageId to) {
  const auto place = nodes_.extract(from);
  Node* node = place.mapped();
  TakeOut(node);
  TakeOut(node->parent);
  node->parent->spilled_children += IsSpilled(to) ? 1 : 0;
  node->parent->spilled_children -= IsSpilled(from) ? 1 : 0;
  node->page = to;
  PutBack(node->parent);
  PutBack(node);
  nodes_[to] = node;
  pool_.AddReference(to);
  pool_.SetCached(to, true);
  pool_.SetCached(from, false);
  pool_.Release(from);
}

void PrefixCache::Touch(Node* node) {
  TakeOut(node);
  node->used = ++time_;
  PutBack(node);
}

int64_t PrefixCache::EvictLeaves(int64_t pages) {
  int64_t freed = 0;
  for (auto leaf = leaves_.begin(); leaf != leaves_.end() && freed < pages;) {
    Node* node = leaf->second;
    if (pool_.references(node->page) > 1) {
      ++leaf;
      continue;
    }
    freed += GiveUp(node);
    leaf = leaves_.begin();  // a parent may have become the oldest leaf
  }
  evicted_ += freed;
  return freed;
}

void PrefixCache::EvictBeside(const Node* node) {
  std::vector<PageId> path;
  for (const Node* n = node; n != &root_; n = n->parent) path.push_back(n->page);
  for (const PageId page : path) pool_.AddReference(page);
  EvictLeaves(1);
  for (const PageId page : path) pool_.Release(page);
}

int64_t PrefixCache::GiveUp(Node* node) {
  if (node->children.empty() || pool_.spill()->free_slots() == 0) return RemoveTree(node);
  const auto copy = pool_.WriteToDisk(node->page);
  if (!copy.ok()) return RemoveTree(node);
  Move(node->page, *copy);
  pool_.Release(*copy);
  return 1;
}

bool PrefixCache::EvictSlot() {
  const auto idle = [this](const Node* node) { return IsSpilled(node->page) && pool_.references(node->page) == 1; };
  const auto leaf = std::find_if(spilled_leaves_.begin(), spilled_leaves_.end(),
                                 [&](const auto& entry) { return idle(entry.second); });
  if (leaf != spilled_leaves_.end()) {
    Remove(leaf->second);
    return true;
  }
  // One that others follow, in memory or in use: they are given up with it.
  const auto node = std::find_if(nodes_.begin(), nodes_.end(), [&](const auto& entry) { return idle(entry.second); });
  if (node == nodes_.end()) return false;
  RemoveTree(node->second);
  return true;
}

void PrefixCache::DropSpilled() {
  std::vector<PageId> spilled;
  for (const auto& [page, node] : nodes_) {
    if (IsSpilled(page)) spilled.push_back(page);
  }
  for (const PageId page : spilled) {
    const auto node = nodes_.find(page);
    if (node != nodes_.end()) RemoveTree(node->second);  // it may have gone with one before it
  }
}

int64_t PrefixCache::Evict(int64_t pages) {
  int64_t freed = EvictLeaves(pages);
  // A sequence that has dropped pages hides them: what it still uses lies behind them.
  while (freed < pages && pool_.idle_pages() > 0) {
    const auto hiding = std::find_if(leaves_.begin(), leaves_.end(), [this](const auto& leaf) {
      const Node* node = leaf.second;
      while (node != &root_ && (IsSpilled(node->page) || pool_.references(node->page) > 1)) node = node->parent;
      return node != &root_;
    });
    if (hiding == leaves_.end()) break;
    freed += RemoveTree(hiding->second);
    freed += EvictLeaves(pages - freed);
  }
  return freed;
}

}  // namespace inkstone
