# One interface target carries the warnings and sanitizers of every layer.
add_library(inkstone_options INTERFACE)
target_include_directories(inkstone_options INTERFACE ${CMAKE_SOURCE_DIR}/src)
target_compile_options(inkstone_options INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wno-psabi -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_compile_options(inkstone_options INTERFACE -Wthread-safety)
elseif(CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC 12 warns of its own std::string operator+ (GCC bug 105651).
  target_compile_options(inkstone_options INTERFACE -Wno-restrict)
endif()
if(INKSTONE_WERROR)
  target_compile_options(inkstone_options INTERFACE -Werror)
endif()
if(INKSTONE_SANITIZE)
  target_compile_options(inkstone_options INTERFACE
    -fsanitize=${INKSTONE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(inkstone_options INTERFACE -fsanitize=${INKSTONE_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    # clang 14 gives the parts of a split coroutine the prologue of this check, which then does not assemble.
    target_compile_options(inkstone_options INTERFACE -fno-sanitize=function)
  endif()
endif()
