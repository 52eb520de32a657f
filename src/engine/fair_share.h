// Who has had how much of the engine: clients with less go first, so that one with a hundred requests does not keep
// another with one waiting (start-time fair queueing: Goyal et al. 1996).
#pragma once

#include <map>
#include <string>

namespace inkstone {

class FairShare {
 public:
  // A request of the client arrives, or has ended. A client that comes back starts level with the least served.
  void Enter(const std::string& client);
  void Leave(const std::string& client);
  void Charge(const std::string& client, double seconds);
  // Seconds of the client, on a scale of its own that all share. The client has a request here.
  double served(const std::string& client) const { return clients_.at(client).served; }

 private:
  struct Client {
    double served = 0;
    int requests = 0;
  };
  std::map<std::string, Client> clients_;  // that have requests
  double latest_ = 0;                      // served by the last that left
};

}  // namespace inkstone
