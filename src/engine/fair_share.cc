#include "engine/fair_share.h"

#include <algorithm>

namespace inkstone {

void FairShare::Enter(const std::string& client) {
  const auto found = clients_.find(client);
  if (found != clients_.end()) {
    ++found->second.requests;
    return;
  }
  double least = latest_;
  if (!clients_.empty()) {
    least = std::min_element(clients_.begin(), clients_.end(), [](const auto& a, const auto& b) {
              return a.second.served < b.second.served;
            })->second.served;
  }
  clients_[client] = {least, 1};
}

void FairShare::Leave(const std::string& client) {
  const auto found = clients_.find(client);
  if (--found->second.requests > 0) return;
  latest_ = found->second.served;
  clients_.erase(found);
}

void FairShare::Charge(const std::string& client, double seconds) { clients_.at(client).served += seconds; }

}  // namespace inkstone
