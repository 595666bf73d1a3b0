// Takes the place of the C library's heap for the whole process, operator new included: every allocation calls
// note_allocation(), every release of memory note_release(). Include once in a program, after both are defined; glibc
// only, and not beside sanitizers, which have heaps of their own.
#pragma once
#include <cerrno>
#include <cstddef>

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void __libc_free(void*);

void* malloc(std::size_t size) { return note_allocation(), __libc_malloc(size); }
void* calloc(std::size_t n, std::size_t size) { return note_allocation(), __libc_calloc(n, size); }
void* realloc(void* p, std::size_t size) { return note_allocation(), __libc_realloc(p, size); }
void* memalign(std::size_t alignment, std::size_t size) { return note_allocation(), __libc_memalign(alignment, size); }
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  return note_allocation(), __libc_memalign(alignment, size);
}
int posix_memalign(void** p, std::size_t alignment, std::size_t size) {
  note_allocation();
  *p = __libc_memalign(alignment, size);
  return *p ? 0 : ENOMEM;
}
void free(void* p) {
  if (p) note_release();
  __libc_free(p);
}
}
