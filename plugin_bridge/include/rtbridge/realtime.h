// Real-time scheduling for the threads that audio passes through.
#pragma once
#include <thread>

namespace rtbridge {

// Who goes first when all are due. Receiving comes before all who compute from what it receives; it limits its own
// share of time (UdpSocket::receive_until), so that a flood of datagrams can't starve them.
constexpr int kSendPriority = 71, kReceivePriority = 73;

// [control thread] SCHED_FIFO (or the system's like) for a thread of ours; false if the machine doesn't allow it.
bool make_realtime(std::thread& thread, int priority) noexcept;

}  // namespace rtbridge
