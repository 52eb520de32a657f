// Keys and values of earlier prompts and answers, found again by their tokens: a radix tree whose nodes are pages
// (Zheng et al. 2024, "SGLang"). Pages stay in the pool, shared with the sequences that use them, and leave when room
// is needed, least recently used first. With a PageStore they can come back from disk: those that many requests begin
// with, and those of long prompts, are kept there. Where the pool has a SpillSpace, pages that sequences have moved
// there stay in the tree and are shared like others, and pages before them follow them there. A page is found only by
// those of its domain, on disk too. Engine thread only.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "backends/backend.h"
#include "kvcache/page_key.h"
#include "kvcache/page_pool.h"
#include "kvcache/page_store.h"

namespace inkstone {

// Whose pages those of a prompt are. One that is found tells what is in it, and how long a prompt took tells as much.
struct CacheDomain {
  PageKey own = {};           // of the client; zeros: everybody's
  PageKey shared = {};        // of all clients that begin with the same shared_tokens
  int64_t shared_tokens = 0;  // the first of the prompt; pages that lie within them are `shared`

  // Of the page whose tokens begin there.
  const PageKey& At(size_t begin, int64_t page_tokens) const {
    return static_cast<int64_t>(begin) + page_tokens <= shared_tokens ? shared : own;
  }
};

// What is looked for: keys and values of tokens[0 ..) as a run of the model would compute them.
struct PrefixQuery {
  std::span<const int32_t> tokens;
  std::span<const Phase> phases;  // that the entries must come from, as many as tokens
  // Prompt tokens may have been generated, so that their entries come from decoding: a few last bits differ.
  bool accept_generated = false;
  CacheDomain domain = {};
};

struct PrefixFind {
  int64_t tokens = 0;
  int64_t idle_pages = 0;  // of the whole pages among them, those in memory that nobody uses
  int64_t idle_slots = 0;  // likewise on disk
};

class PrefixCache {
 public:
  // Both are borrowed; without a store, what leaves memory is gone.
  explicit PrefixCache(PagePool* pool, PageStore* store = nullptr);
  ~PrefixCache();
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  // The longest prefix, as Acquire would find it.
  PrefixFind Find(const PrefixQuery& query) const;
  // Reads one more page of what Find finds from the store, where the cache in memory ends; false when there is none, or
  // no room for it.
  bool Load(const PrefixQuery& query);
  // The longest prefix in the cache: its pages go to the empty table, whole ones shared and a part of a page as a copy
  // (where no page is left for it, without that part). Returns the phases of its tokens.
  std::vector<Phase> Acquire(const PrefixQuery& query, PageTable* table);
  // Keeps the entries of `tokens`, which lie in the table's pages; with `partial` also those in a page that is not
  // full. Where the cache has the same content already, the table gets its page in exchange for its own. Ends at a page
  // that the table has dropped, unless the cache has it.
  void Insert(std::span<const int32_t> tokens, std::span<const Phase> phases, const CacheDomain& domain, bool partial,
              PageTable* table);
  // Frees up to `pages` idle pages in memory, those behind which a sequence uses others last; returns how many.
  int64_t Evict(int64_t pages);
  // Frees a slot of the SpillSpace that nobody uses; false when there is none.
  bool EvictSlot();
  // A page of the cache has a copy elsewhere, on disk or in memory, and is that one from now on.
  void Move(PageId from, PageId to);
  // Gives up what is on disk, which is not to be trusted any more, and what follows it.
  void DropSpilled();

  // Hands up to `most` pages over to the store that are not there yet, those first that would leave first and their
  // predecessors before them. They stay in memory.
  void Persist(int64_t most);

  int64_t pages() const { return static_cast<int64_t>(nodes_.size()); }  // on disk too
  int64_t evicted() const { return evicted_; }                           // since the beginning

 private:
  struct Node;
  // A page among those that follow another: neighbours are of one domain, as far as there are such.
  struct Label {
    PageKey domain;
    std::vector<int32_t> tokens;
  };
  struct LabelView {
    const PageKey& domain;
    std::span<const int32_t> tokens;
  };
  struct LabelLess {
    using is_transparent = void;
    bool operator()(const LabelView& a, const LabelView& b) const;
    bool operator()(const Label& a, const Label& b) const { return (*this)(View(a), View(b)); }
    bool operator()(const Label& a, const LabelView& b) const { return (*this)(View(a), b); }
    bool operator()(const LabelView& a, const Label& b) const { return (*this)(a, View(b)); }
    static LabelView View(const Label& label) { return {label.domain, label.tokens}; }
  };
  using Children = std::map<Label, std::unique_ptr<Node>, LabelLess>;
  struct Node {
    Node* parent = nullptr;
    PageKey domain;                   // with `tokens` the label among the parent's children
    std::span<const int32_t> tokens;  // of this page
    std::vector<Phase> phases;        // as many
    PageId page = -1;
    uint64_t used = 0;  // the newest of all times
    int uses = 0;       // times that a request began with it
    int64_t depth = 0;  // tokens up to its end
    PageKey key;        // where there is a store and the page is full
    Children children;  // only below a full page
    size_t spilled_children = 0;
  };
  using ByUse = std::set<std::pair<uint64_t, Node*>>;
  struct Step {
    Node* node = nullptr;
    size_t tokens = 0;  // that are usable
  };

  // Whose page it is that the query looks for at `begin`.
  const PageKey& DomainAt(const CacheDomain& domain, size_t begin) const;
  // The child that goes on longest with query.tokens from `begin` on.
  Step Best(const Node& node, const PrefixQuery& query, size_t begin) const;
  // The last full page of the longest prefix, and its tokens.
  Step LastFull(const PrefixQuery& query);
  bool Accepts(const PrefixQuery& query, size_t begin, std::span<const Phase> phases) const;
  bool Full(const Step& step) const;
  void Touch(Node* node);
  // Hands the page over to the store when it is worth keeping, its predecessors first.
  void Store(Node* node);
  // Writes up to `most` pages that the store lacks, from the beginning to `node`; returns how many.
  int64_t WritePath(Node* node, int64_t most);
  int64_t EvictLeaves(int64_t pages);
  // Frees a page, but none on the way to this node.
  void EvictBeside(const Node* node);
  // Frees the page of a node that nothing in memory follows: on disk, or for good with all that follows it there.
  // Returns how many pages of memory that frees.
  int64_t GiveUp(Node* node);
  Node* Add(Node* parent, const LabelView& label, std::span<const Phase> phases, PageId page);
  void Remove(Node* leaf);
  // Removes a node and all that follow it; returns how many pages of memory that frees.
  int64_t RemoveTree(Node* node);
  // The set that a node belongs to, if to any: the two are kept by taking it out before it changes and putting it back.
  ByUse* SetOf(const Node& node);
  void TakeOut(Node* node);
  void PutBack(Node* node);
  // Removes a child whose page is the beginning of this one.
  void RemoveBeginning(Node* parent, const LabelView& label, std::span<const Phase> phases);

  PagePool& pool_;
  PageStore* store_;
  Node root_;
  std::unordered_map<PageId, Node*> nodes_;
  ByUse leaves_;          // in memory, and nothing in memory follows
  ByUse spilled_leaves_;  // on disk, and nothing follows
  uint64_t time_ = 0;
  int64_t evicted_ = 0;
};

}  // namespace inkstone
