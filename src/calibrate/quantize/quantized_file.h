// The file that `loci quantize` makes, a GGUF file (docs/formats/quantized.md), and the parts that it is put together
// from: a folder beside it with a GGUF file for each finished layer, whole or absent. A run that was stopped goes on
// with the layers that have none.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "calibrate/quantize/layer_quantizer.h"

namespace loci {

// What a finished layer left.
struct LayerPart {
  std::unique_ptr<ModelFile> file;
  LayerReport report;
};

class PartFolder {
 public:
  // Of the file `output`; `run` is a text that tells runs apart.
  PartFolder(const std::filesystem::path& output, std::string run);

  const std::filesystem::path& path() const { return folder_; }
  // False if the layer has none. kInvalidArgument if it is another run's, kCorrupt if it is damaged.
  Result<bool> has(LayerId layer) const;
  Result<LayerPart> open(LayerId layer) const;
  Status write(LayerId layer, const QuantizedLayer& quantized) const;
  void remove() const;

 private:
  std::filesystem::path part_path(LayerId layer) const;

  std::filesystem::path folder_;
  std::string run_;
};

// What the file says about itself.
struct Provenance {
  QuantScheme scheme;
  QuantSteps steps;
  std::string store;        // a plan
  std::string notes;        // what was left out, and why
  std::string fingerprint;  // of the model that was quantized
  std::string command;
  std::string text;  // name and hash of the calibration's text; empty: none was read
  uint64_t tokens = 0;
};

// Matrices outside the layers as they are stored.
struct OutsideOptions {
  DType dtype = DType::kQ8_0;          // q8_0 or f16
  const Rotation* rotation = nullptr;  // of the residual stream
};

// Puts the file together: the model's own metadata, what `provenance` says, the matrices outside the layers, and every
// layer's part.
Status assemble(const ModelFile& file, const ModelConfig& config, const PartFolder& parts,
                const OutsideOptions& outside, const Provenance& provenance, const std::filesystem::path& output,
                ThreadPool& pool);

}  // namespace loci
