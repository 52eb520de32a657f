// The program: parses the command line and runs one command.
#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "cli/command.h"
#include "core/mapping_faults.h"
#include "core/printable.h"
#include "core/process_limits.h"
#include "core/version.h"

int main(int argc, char** argv) {
  // hwloc, which knows the cores: no plugins (they load graphics libraries, and take longer than all else at the
  // start), and no lines of its own on standard error.
  setenv("HWLOC_PLUGINS_PATH", "", 0);
  setenv("HWLOC_HIDE_ERRORS", "2", 0);

  inkstone::KeepAddressSpaceSmall();
  std::signal(SIGXFSZ, SIG_IGN);  // a limit of file sizes (ulimit -f) fails a write; it does not end a server

  inkstone::InstallMappingFaultHandler();  // models are mapped, and others may cut them

  CLI::App app{"Inkstone compresses language models until they fit, and serves them on the computer you have.",
               "inkstone"};
  app.set_version_flag("--version", std::string("inkstone ") + inkstone::kVersion);
  app.require_subcommand(1);
  app.footer(
      "Examples:\n"
      "  inkstone compress Qwen3-4B-Instruct-2507/ -o qwen3-4b.gguf --preset int8\n"
      "  inkstone serve qwen3-4b.gguf\n"
      "  inkstone run qwen3-4b.gguf -p \"Write a haiku about ink\"\n"
      "'inkstone COMMAND --help' explains a command.");

  inkstone::CommandBody body;
  inkstone::AddServeCommand(&app, &body);
  inkstone::AddRunCommand(&app, &body);
  inkstone::AddCompressCommand(&app, &body);
  inkstone::AddInspectCommand(&app, &body);
  inkstone::AddEvalCommand(&app, &body);
  inkstone::AddBenchCommand(&app, &body);
  inkstone::AddTokenizeCommand(&app, &body);
  inkstone::AddLogitsCommand(&app, &body);
  inkstone::AddSynthCommand(&app, &body);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const inkstone::Status status = body();
  if (status.ok()) return 0;
  std::fprintf(stderr, "inkstone: %s\n", inkstone::Printable(status.message(), inkstone::TextShape::kText).c_str());
  return 1;
}
