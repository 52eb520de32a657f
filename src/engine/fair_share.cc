#include "engine/fair_share.h"

#include <algorithm>

namespace inkstone {

void FairShare::Level::Enter(const std::string& name) {
  const auto found = accounts_.find(name);
  if (found != accounts_.end()) {
    ++found->second.requests;
    return;
  }
  double least = latest_;
  if (!accounts_.empty()) {
    least = std::min_element(accounts_.begin(), accounts_.end(), [](const auto& a, const auto& b) {
              return a.second.served < b.second.served;
            })->second.served;
  }
  accounts_[name] = {least, 1, next_++};
}

void FairShare::Level::Leave(const std::string& name) {
  const auto found = accounts_.find(name);
  if (--found->second.requests > 0) return;
  latest_ = found->second.served;
  accounts_.erase(found);
}

void FairShare::Enter(const std::string& origin, const std::string& client) {
  origins_.Enter(origin);
  clients_[origin].Enter(client);
}

void FairShare::Leave(const std::string& origin, const std::string& client) {
  origins_.Leave(origin);
  const auto clients = clients_.find(origin);
  clients->second.Leave(client);
  if (clients->second.empty()) clients_.erase(clients);
}

void FairShare::Charge(const std::string& origin, const std::string& client, double seconds) {
  origins_.Charge(origin, seconds);
  clients_.at(origin).Charge(client, seconds);
}

Standing FairShare::StandingOf(const std::string& origin, const std::string& client) const {
  const Account& whole = origins_.at(origin);
  const Account& part = clients_.at(origin).at(client);
  return {whole.served, whole.number, part.served, part.number};
}

}  // namespace inkstone
