// Who has had how much of the engine: who has had less goes first, so that one with a hundred requests does not keep
// another with one waiting (start-time fair queueing: Goyal et al. 1996). First among origins, then among the clients
// of an origin: those are names that it gives as it likes, and more names are no more turns.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>

namespace inkstone {

// Where a client stands; the lesser is next. Different clients stand at different places.
struct Standing {
  double origin_served = 0;  // seconds, on a scale of its own that all origins share
  uint64_t origin = 0;       // a number, smaller for who came first
  double served = 0;         // likewise among the clients of the origin
  uint64_t client = 0;

  bool operator==(const Standing&) const = default;
  bool operator<(const Standing& other) const {
    return std::tie(origin_served, origin, served, client) <
           std::tie(other.origin_served, other.origin, other.served, other.client);
  }
};

class FairShare {
 public:
  // A request arrives, or has ended. Who comes back starts level with the least served.
  void Enter(const std::string& origin, const std::string& client);
  void Leave(const std::string& origin, const std::string& client);
  void Charge(const std::string& origin, const std::string& client, double seconds);
  // The client has a request here.
  Standing StandingOf(const std::string& origin, const std::string& client) const;

 private:
  struct Account {
    double served = 0;
    int requests = 0;
    uint64_t number = 0;
  };
  class Level {
   public:
    void Enter(const std::string& name);
    void Leave(const std::string& name);
    void Charge(const std::string& name, double seconds) { accounts_.at(name).served += seconds; }
    const Account& at(const std::string& name) const { return accounts_.at(name); }
    bool empty() const { return accounts_.empty(); }

   private:
    std::map<std::string, Account> accounts_;  // that have requests
    double latest_ = 0;                        // served by the last that left
    uint64_t next_ = 0;
  };
  Level origins_;
  std::map<std::string, Level> clients_;  // by origin
};

}  // namespace inkstone
