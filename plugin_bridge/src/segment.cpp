#include "rtbridge/segment.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <system_error>

#include "rtbridge/atomics.h"

#if defined(_WIN32)
#include <windows.h>
#else
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace rtbridge {
namespace {

static_assert(sizeof(rt_latency) == 32);
static_assert(sizeof(rt_stamp) == 32);
static_assert(offsetof(rt_header, latency) == 64);
static_assert(offsetof(rt_header, client_pid) == 256);
static_assert(offsetof(rt_header, input_write_frame) == 320);
static_assert(offsetof(rt_header, output_read_frame) == 384);
static_assert(offsetof(rt_header, server_wake) == 448);
static_assert(offsetof(rt_header, closed_by_server) == 512);
static_assert(offsetof(rt_header, input_read_frame) == 576);
static_assert(offsetof(rt_header, output_write_frame) == 640);
static_assert(offsetof(rt_header, client_wake) == 704);
static_assert(offsetof(rt_header, mix) == 768);
static_assert(offsetof(rt_header, blocks) == 1024);
static_assert(offsetof(rt_header, hops) == 1152);
static_assert(offsetof(rt_header, stamps) == 2048);
static_assert(sizeof(rt_header) == 2048 + RT_STAMPS * sizeof(rt_stamp));
static_assert(sizeof(rt_header) <= RT_HEADER_BYTES);

constexpr uint32_t kMaxRingFrames = 1u << 22;
constexpr char kPrefix[] = "rtserver-";

uint32_t next_power_of_two(uint64_t x) {
  uint64_t p = 1;
  while (p < x) p <<= 1;
  return static_cast<uint32_t>(std::min<uint64_t>(p, kMaxRingFrames));
}

Geometry checked(Geometry g) {
  if (g.channels < 1 || g.channels > RT_MAX_CHANNELS)
    throw std::invalid_argument("channels: expected 1 or 2, found " + std::to_string(g.channels));
  if (g.sample_rate_hz < 8000 || g.sample_rate_hz > 384000)
    throw std::invalid_argument("sample_rate_hz: expected 8000 to 384000, found " + std::to_string(g.sample_rate_hz));
  if (g.max_block_frames < 1 || g.max_block_frames > 16384)
    throw std::invalid_argument("max_block_frames: expected 1 to 16384, found " + std::to_string(g.max_block_frames));
  const rt_latency& l = g.latency;
  if (l.reported != uint64_t{l.block} + l.resampling + l.lookahead + l.hop + l.margin + l.jitter)
    throw std::invalid_argument("latency: reported is not the sum of its parts");
  const uint64_t least = uint64_t{l.reported} + 2 * uint64_t{g.max_block_frames} + l.fade;
  if (g.ring_frames == 0) g.ring_frames = next_power_of_two(std::max<uint64_t>(4 * least, g.sample_rate_hz / 2));
  if (g.ring_frames > kMaxRingFrames || (g.ring_frames & (g.ring_frames - 1)) != 0 || g.ring_frames < least)
    throw std::invalid_argument("ring_frames: expected a power of two from " + std::to_string(least) + " to " +
                                std::to_string(kMaxRingFrames) + ", found " + std::to_string(g.ring_frames));
  return g;
}

size_t ring_bytes(const Geometry& g) { return size_t{g.ring_frames} * g.channels * sizeof(float); }
size_t total_bytes(const Geometry& g) { return RT_HEADER_BYTES + 2 * ring_bytes(g); }

void fill_header(rt_header& h, const Geometry& g) {
  h.version = RT_LAYOUT_VERSION;
  h.header_bytes = RT_HEADER_BYTES;
  h.generation = g.generation;
  h.session = g.session;
  h.server_pid = current_pid();
  h.sample_rate_hz = g.sample_rate_hz;
  h.max_block_frames = g.max_block_frames;
  h.channels = g.channels;
  h.ring_frames = g.ring_frames;
  h.input_ring_offset = RT_HEADER_BYTES;
  h.output_ring_offset = static_cast<uint32_t>(RT_HEADER_BYTES + ring_bytes(g));
  h.total_bytes = static_cast<uint32_t>(total_bytes(g));
  h.transport = g.transport;
  h.latency = g.latency;
  h.mix = 1.0f;
  h.gate_db = -90.0f;
  h.temperature = 1.0f;
  h.server_heartbeat_ns = monotonic_ns();
  store_release(h.magic, static_cast<uint32_t>(RT_MAGIC));
}

[[noreturn]] void refuse(const std::string& name, const std::string& why) {
  throw std::runtime_error("shared memory " + name + ": " + why);
}

#if !defined(_WIN32)
[[noreturn]] void fail(const std::string& what, int error) {
  throw std::system_error(error, std::generic_category(), what);
}
#endif

}  // namespace

void RingView::write(uint64_t frame, const float* source, uint32_t frames) noexcept {
  const uint32_t at = static_cast<uint32_t>(frame) & mask_;
  const uint32_t first = std::min(frames, mask_ + 1 - at);
  std::memcpy(data_ + size_t{at} * channels_, source, size_t{first} * channels_ * sizeof(float));
  std::memcpy(data_, source + size_t{first} * channels_, size_t{frames - first} * channels_ * sizeof(float));
}

void RingView::read(uint64_t frame, float* target, uint32_t frames) const noexcept {
  const uint32_t at = static_cast<uint32_t>(frame) & mask_;
  const uint32_t first = std::min(frames, mask_ + 1 - at);
  std::memcpy(target, data_ + size_t{at} * channels_, size_t{first} * channels_ * sizeof(float));
  std::memcpy(target + size_t{first} * channels_, data_, size_t{frames - first} * channels_ * sizeof(float));
}

std::string Segment::name_for(uint32_t server_pid, uint64_t session, uint32_t generation) {
  std::string name = "/";
  name += kPrefix;
  name += std::to_string(server_pid) + '-' + std::to_string(session) + '-' + std::to_string(generation);
  return name;
}

void Segment::adopt(void* memory, size_t bytes) {
  memory_ = memory;
  bytes_ = bytes;
  header_ = static_cast<rt_header*>(memory);
}

Wake Segment::server_wake() noexcept { return {header_->server_wake, header_->server_waiting, !is_private()}; }
Wake Segment::client_wake() noexcept { return {header_->client_wake, header_->client_waiting, !is_private()}; }

std::shared_ptr<Segment> Segment::create(const std::string& name, const Geometry& wanted) {
  const Geometry g = checked(wanted);
  const size_t bytes = total_bytes(g);
  std::shared_ptr<Segment> s(new Segment);
  s->name_ = name;
  if (name.empty()) {
    void* memory = ::operator new(bytes, std::align_val_t{4096});
    std::memset(memory, 0, bytes);
    s->adopt(memory, bytes);
  } else {
#if defined(_WIN32)
    s->handle_ = CreateFileMappingA(INVALID_HANDLE_VALUE, nullptr, PAGE_READWRITE, 0, static_cast<DWORD>(bytes),
                                    ("Local\\" + name.substr(1)).c_str());
    if (!s->handle_ || GetLastError() == ERROR_ALREADY_EXISTS) refuse(name, "can't be created");
    void* memory = MapViewOfFile(s->handle_, FILE_MAP_ALL_ACCESS, 0, 0, bytes);
    if (!memory) refuse(name, "can't be mapped");
#else
    const int fd = shm_open(name.c_str(), O_CREAT | O_EXCL | O_RDWR, 0600);
    if (fd < 0) fail("shared memory " + name + " can't be created", errno);
    s->owner_ = true;  // of the name, only now: one that was taken is somebody else's
    int error = ftruncate(fd, static_cast<off_t>(bytes)) == 0 ? 0 : errno;
#if defined(__linux__)
    // Pages are claimed now, so that a full /dev/shm is an error here and not a SIGBUS on the audio thread.
    if (error == 0) error = posix_fallocate(fd, 0, static_cast<off_t>(bytes));
#endif
    void* memory = MAP_FAILED;
    if (error == 0) {
      memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
      if (memory == MAP_FAILED) error = errno;
    }
    ::close(fd);
    if (error != 0) {
      shm_unlink(name.c_str());
      s->unlinked_ = true;
      fail("shared memory " + name + " of " + std::to_string(bytes) + " bytes can't be had", error);
    }
    std::memset(memory, 0, bytes);
    mlock(memory, bytes);  // best effort: a limit is no reason to refuse
#endif
    s->adopt(memory, bytes);
  }
  s->geometry_ = g;
  s->input_ =
      RingView(reinterpret_cast<float*>(static_cast<char*>(s->memory_) + RT_HEADER_BYTES), g.ring_frames, g.channels);
  s->output_ = RingView(reinterpret_cast<float*>(static_cast<char*>(s->memory_) + RT_HEADER_BYTES + ring_bytes(g)),
                        g.ring_frames, g.channels);
  fill_header(*s->header_, g);
  return s;
}

std::shared_ptr<Segment> Segment::open(const std::string& name) {
  std::shared_ptr<Segment> s(new Segment);
  size_t bytes = 0;
  void* memory = nullptr;
#if defined(_WIN32)
  s->handle_ = OpenFileMappingA(FILE_MAP_ALL_ACCESS, FALSE, ("Local\\" + name.substr(1)).c_str());
  if (!s->handle_) refuse(name, "isn't there");
  memory = MapViewOfFile(s->handle_, FILE_MAP_ALL_ACCESS, 0, 0, 0);
  if (!memory) refuse(name, "can't be mapped");
  MEMORY_BASIC_INFORMATION information{};
  VirtualQuery(memory, &information, sizeof information);
  bytes = information.RegionSize;
#else
  const int fd = shm_open(name.c_str(), O_RDWR, 0);
  if (fd < 0) fail("shared memory " + name + " can't be opened", errno);
  struct stat status{};
  if (fstat(fd, &status) == 0) bytes = static_cast<size_t>(status.st_size);
  if (bytes >= RT_HEADER_BYTES) memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  const int error = errno;
  ::close(fd);
  if (bytes < RT_HEADER_BYTES) refuse(name, "is smaller than a header");
  if (memory == MAP_FAILED) fail("shared memory " + name + " can't be mapped", error);
  mlock(memory, bytes);
#endif
  s->name_ = name;
  s->unlinked_ = true;  // never ours to unlink
  s->adopt(memory, bytes);

  const rt_header& h = *s->header_;
  if (load_acquire(h.magic) != RT_MAGIC) refuse(name, "isn't a finished rtserver segment");
  if (h.version != RT_LAYOUT_VERSION)
    refuse(name, "has version " + std::to_string(h.version) + ", expected " + std::to_string(RT_LAYOUT_VERSION) +
                     ": update the older of server and client");
  Geometry g;
  g.session = h.session;
  g.generation = h.generation;
  g.sample_rate_hz = h.sample_rate_hz;
  g.max_block_frames = h.max_block_frames;
  g.channels = h.channels;
  g.ring_frames = h.ring_frames;
  g.transport = h.transport;
  g.latency = h.latency;
  if (g.ring_frames == 0) refuse(name, "has no rings");
  try {
    g = checked(g);
  } catch (const std::invalid_argument& e) {
    refuse(name, e.what());
  }
  if (h.header_bytes != RT_HEADER_BYTES || h.input_ring_offset != RT_HEADER_BYTES ||
      h.output_ring_offset != RT_HEADER_BYTES + ring_bytes(g) || h.total_bytes != total_bytes(g) ||
      bytes < total_bytes(g))
    refuse(name, "has rings outside of its memory");
  s->geometry_ = g;
  char* base = static_cast<char*>(memory);
  s->input_ = RingView(reinterpret_cast<float*>(base + RT_HEADER_BYTES), g.ring_frames, g.channels);
  s->output_ = RingView(reinterpret_cast<float*>(base + RT_HEADER_BYTES + ring_bytes(g)), g.ring_frames, g.channels);
  // Touch every page, so that the audio thread takes no fault later.
  volatile char sink = 0;
  for (size_t at = 0; at < bytes; at += 4096) sink = base[at];
  (void)sink;
  return s;
}

void Segment::unlink() noexcept {
  if (unlinked_ || name_.empty()) return;
  unlinked_ = true;
#if !defined(_WIN32)
  shm_unlink(name_.c_str());
#endif
}

void Segment::unlink_name([[maybe_unused]] const std::string& name) noexcept {
#if !defined(_WIN32)
  shm_unlink(name.c_str());
#endif
}

Segment::~Segment() {
  if (owner_) unlink();
  if (!memory_) return;
  if (name_.empty()) {
    ::operator delete(memory_, std::align_val_t{4096});
    return;
  }
#if defined(_WIN32)
  UnmapViewOfFile(memory_);
  CloseHandle(handle_);
#else
  munmap(memory_, bytes_);
#endif
}

uint32_t current_pid() noexcept {
#if defined(_WIN32)
  return GetCurrentProcessId();
#else
  return static_cast<uint32_t>(getpid());
#endif
}

bool process_alive(uint32_t pid) noexcept {
  if (pid == 0) return false;
#if defined(_WIN32)
  HANDLE process = OpenProcess(SYNCHRONIZE, FALSE, pid);
  if (!process) return false;
  const bool alive = WaitForSingleObject(process, 0) == WAIT_TIMEOUT;
  CloseHandle(process);
  return alive;
#else
  return kill(static_cast<pid_t>(pid), 0) == 0 || errno == EPERM;
#endif
}

int Segment::sweep_stale() noexcept {
  int removed = 0;
#if defined(__linux__)
  DIR* folder = opendir("/dev/shm");
  if (!folder) return 0;
  while (const dirent* entry = readdir(folder)) {
    if (std::strncmp(entry->d_name, kPrefix, sizeof kPrefix - 1) != 0) continue;
    char* rest = nullptr;
    const unsigned long pid = std::strtoul(entry->d_name + sizeof kPrefix - 1, &rest, 10);
    if (!rest || *rest != '-' || pid == 0 || pid > 0x7fffffff || process_alive(static_cast<uint32_t>(pid))) continue;
    char name[300] = "/";
    std::strncat(name, entry->d_name, sizeof name - 2);
    if (shm_unlink(name) == 0) ++removed;
  }
  closedir(folder);
#endif
  return removed;
}

}  // namespace rtbridge
