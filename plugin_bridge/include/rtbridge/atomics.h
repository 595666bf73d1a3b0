// Atomic access to the plain integers and floats of the shared header. The header stays C; both sides use these.
#pragma once
#include <atomic>
#include <cstdint>

namespace rtbridge {

template <class T>
T load_acquire(const T& field) noexcept {
  return std::atomic_ref<T>(const_cast<T&>(field)).load(std::memory_order_acquire);
}
template <class T>
T load_relaxed(const T& field) noexcept {
  return std::atomic_ref<T>(const_cast<T&>(field)).load(std::memory_order_relaxed);
}
template <class T>
void store_release(T& field, T value) noexcept {
  std::atomic_ref<T>(field).store(value, std::memory_order_release);
}
template <class T>
void store_relaxed(T& field, T value) noexcept {
  std::atomic_ref<T>(field).store(value, std::memory_order_relaxed);
}
template <class T>
T add(T& field, T value) noexcept {
  return std::atomic_ref<T>(field).fetch_add(value, std::memory_order_acq_rel);
}

static_assert(std::atomic_ref<uint64_t>::is_always_lock_free && std::atomic_ref<uint32_t>::is_always_lock_free &&
                  std::atomic_ref<float>::is_always_lock_free,
              "the shared header needs address-free atomics");

}  // namespace rtbridge
