// A note beside an unfinished result: from what it is made, and how much of it is on the disk.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compress/importance.h"
#include "core/status.h"
#include "formats/checkpoint.h"

namespace inkstone {

// A file that a result depends on.
struct InputFile {
  std::string path;
  uint64_t bytes = 0;
  int64_t modified_ns = 0;  // of the file system's clock

  // kNotFound when there is no such file.
  static Result<InputFile> Of(const std::string& path);
};

// Of all files of a checkpoint, by absolute path.
Result<std::vector<InputFile>> InputFilesOf(const Checkpoint& checkpoint);

// Of names and values, "" for none: 64 bits of FNV-1a, which tells versions of a measurement apart.
std::string Fingerprint(const Importance& importance);

struct ResumeJournal {
  // What decides the result's bytes. Types, metadata and tokenizer are not here: the result's header has them.
  std::vector<InputFile> inputs;
  std::string importance;  // Fingerprint()
  bool allow_nonfinite = false;
  // Progress.
  size_t complete_tensors = 0;
  int64_t nonfinite_replaced = 0;  // in those

  static std::string PathFor(const std::string& output) { return output + ".part.json"; }
  // Replaces the journal of `output` in one step. The encoders' version goes along.
  Status Write(const std::string& output) const;
  // kNotFound without a journal, kDataLoss for one that is not of this form.
  static Result<ResumeJournal> Read(const std::string& output);
  static bool Exists(const std::string& output);
  static void Remove(const std::string& output);
  // OK when `now` makes the same bytes; else kInvalidArgument says what has changed.
  Status CheckSameInputs(const ResumeJournal& now) const;
};

}  // namespace inkstone
