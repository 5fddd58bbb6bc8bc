# The compute paths that this compiler and target have: one object library each, linked into lockstep_core. The portable
# one is always there. dispatch.cpp learns of the others through compile definitions and picks at run time.
include(CheckCXXCompilerFlag)
set(LOCKSTEP_KERNELS_DIR ${CMAKE_CURRENT_LIST_DIR})

function(lockstep_cpu_path name source)
  add_library(lockstep_kernels_${name} OBJECT ${LOCKSTEP_KERNELS_DIR}/${source})
  target_link_libraries(lockstep_kernels_${name} PRIVATE lockstep_flags)
  target_compile_options(lockstep_kernels_${name} PRIVATE ${ARGN})
  target_sources(lockstep_core PRIVATE $<TARGET_OBJECTS:lockstep_kernels_${name}>)
endfunction()

lockstep_cpu_path(portable portable.cpp)

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  set(AVX512_FLAGS -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma)
  # GCC 12's own AVX-512 header warns about its _mm512_undefined_ps (gcc.gnu.org/PR105593).
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    list(APPEND AVX512_FLAGS -Wno-maybe-uninitialized -Wno-uninitialized)
  endif()
  lockstep_cpu_path(avx2 avx2.cpp -mavx2 -mfma)
  lockstep_cpu_path(avx512 avx512.cpp ${AVX512_FLAGS})
  target_compile_definitions(lockstep_core PRIVATE LOCKSTEP_HAVE_X86)
  check_cxx_compiler_flag("-mavx512bf16" LOCKSTEP_COMPILER_HAS_AVX512_BF16)
  if(LOCKSTEP_COMPILER_HAS_AVX512_BF16)
    lockstep_cpu_path(avx512_bf16 avx512_bf16.cpp ${AVX512_FLAGS} -mavx512bf16)
    target_compile_definitions(lockstep_core PRIVATE LOCKSTEP_HAVE_AVX512_BF16)
  endif()
endif()
