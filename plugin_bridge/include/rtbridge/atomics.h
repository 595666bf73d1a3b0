// Atomic access to the plain integers and floats of the shared header. The header stays C; both sides use these.
// std::atomic_ref where the library has it, else the compiler's own operations, which are what it is made of.
#pragma once
#include <atomic>
#include <cstdint>
#include <version>

namespace rtbridge {

#if defined(__cpp_lib_atomic_ref)

template <class T>
T load_field(const T& field, std::memory_order order) noexcept {
  return std::atomic_ref<T>(const_cast<T&>(field)).load(order);
}
template <class T>
void store_field(T& field, T value, std::memory_order order) noexcept {
  std::atomic_ref<T>(field).store(value, order);
}
template <class T>
T add_field(T& field, T value, std::memory_order order) noexcept {
  return std::atomic_ref<T>(field).fetch_add(value, order);
}
static_assert(std::atomic_ref<uint64_t>::is_always_lock_free && std::atomic_ref<uint32_t>::is_always_lock_free &&
                  std::atomic_ref<float>::is_always_lock_free,
              "the shared header needs address-free atomics");

#else

constexpr int builtin_order(std::memory_order order) noexcept {
  return order == std::memory_order_relaxed   ? __ATOMIC_RELAXED
         : order == std::memory_order_acquire ? __ATOMIC_ACQUIRE
         : order == std::memory_order_release ? __ATOMIC_RELEASE
         : order == std::memory_order_acq_rel ? __ATOMIC_ACQ_REL
                                              : __ATOMIC_SEQ_CST;
}
template <class T>
T load_field(const T& field, std::memory_order order) noexcept {
  T value;
  __atomic_load(&field, &value, builtin_order(order));
  return value;
}
template <class T>
void store_field(T& field, T value, std::memory_order order) noexcept {
  __atomic_store(&field, &value, builtin_order(order));
}
template <class T>
T add_field(T& field, T value, std::memory_order order) noexcept {
  return __atomic_fetch_add(&field, value, builtin_order(order));
}
static_assert(__atomic_always_lock_free(8, nullptr) && __atomic_always_lock_free(4, nullptr),
              "the shared header needs address-free atomics");

#endif

template <class T>
T load_acquire(const T& field) noexcept {
  return load_field(field, std::memory_order_acquire);
}
template <class T>
T load_relaxed(const T& field) noexcept {
  return load_field(field, std::memory_order_relaxed);
}
template <class T>
void store_release(T& field, T value) noexcept {
  store_field(field, value, std::memory_order_release);
}
template <class T>
void store_relaxed(T& field, T value) noexcept {
  store_field(field, value, std::memory_order_relaxed);
}
template <class T>
T add(T& field, T value) noexcept {
  return add_field(field, value, std::memory_order_acq_rel);
}

}  // namespace rtbridge
