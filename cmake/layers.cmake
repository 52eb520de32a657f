add_custom_target(test_programs)  # every program that ctest runs

# inkstone_run_tests(PROGRAM NAME): ctest runs a program of unit tests as two processes, each with half of them. (One
# process for each test would spend more time starting than testing, under sanitizers most of all.) The option: GCC 13
# puts 64-byte aligned variables at unaligned addresses of AddressSanitizer's second stack (GCC bug 110027).
function(inkstone_run_tests program name)
  add_dependencies(test_programs ${program})
  foreach(half 0 1)
    add_test(NAME ${name}.${half} COMMAND ${program})
    set_tests_properties(${name}.${half} PROPERTIES
      ENVIRONMENT "GTEST_TOTAL_SHARDS=2;GTEST_SHARD_INDEX=${half};GTEST_BRIEF=1;ASAN_OPTIONS=detect_stack_use_after_return=0")
  endforeach()
endfunction()

# inkstone_layer(NAME [DEPS layer...] [LIBS library...])
# One folder under src/ is one static library `inkstone_NAME` made of its *.cc files; its *_test.cc files become
# the program `NAME_test`. DEPS are other layers, LIBS are external targets.
function(inkstone_layer name)
  cmake_parse_arguments(ARG "" "" "DEPS;LIBS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  if(sources)
    add_library(inkstone_${name} STATIC ${sources})
    set(scope PUBLIC)
  else()
    add_library(inkstone_${name} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_link_libraries(inkstone_${name} ${scope} inkstone_options Threads::Threads ${ARG_LIBS})
  foreach(dep ${ARG_DEPS})
    target_link_libraries(inkstone_${name} ${scope} inkstone_${dep})
  endforeach()
  if(BUILD_TESTING AND tests)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE inkstone_${name} GTest::gtest GTest::gmock GTest::gtest_main)
    target_compile_definitions(${name}_test PRIVATE INKSTONE_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
    inkstone_run_tests(${name}_test ${name})
  endif()
endfunction()
