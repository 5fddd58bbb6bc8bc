# The kernels of native/ops/cuda through the host-execution layer: an addon with the test entries, and the layer's own
# test. Both include the stand-ins of include/ in the place of CUDA's headers and of native/ops/cuda/ptx.h.
set(LAYER ${CMAKE_CURRENT_LIST_DIR})
file(GLOB CUDA_SOURCES CONFIGURE_DEPENDS native/ops/cuda/*.cu native/ops/cuda/*.cpp)
add_library(lockstep_cuda_on_cpu STATIC ${CUDA_SOURCES} ${LAYER}/fibers.cpp)
file(GLOB CU_SOURCES CONFIGURE_DEPENDS native/ops/cuda/*.cu)
set_source_files_properties(${CU_SOURCES} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-xc++")
target_include_directories(lockstep_cuda_on_cpu BEFORE PUBLIC ${LAYER}/include ${LAYER})
target_link_libraries(lockstep_cuda_on_cpu PRIVATE lockstep_flags)
target_compile_options(lockstep_cuda_on_cpu PRIVATE -mfma -Wno-unknown-pragmas -Wno-maybe-uninitialized -Wno-unused-function)

file(GLOB SURFACE_SOURCES CONFIGURE_DEPENDS native/binding/*.cpp)
list(FILTER SURFACE_SOURCES EXCLUDE REGEX addon.cpp$)
lockstep_addon(lockstep-cuda-on-cpu ${LAYER}/addon.cpp ${SURFACE_SOURCES}
  native/testing/ops_entries.cpp native/testing/model_entries.cpp)
target_link_libraries(lockstep-cuda-on-cpu PRIVATE lockstep_cuda_on_cpu)

add_executable(cuda-on-cpu-test ${LAYER}/self_test.cpp ${LAYER}/fibers.cpp)
target_include_directories(cuda-on-cpu-test BEFORE PRIVATE ${LAYER}/include ${LAYER})
target_link_libraries(cuda-on-cpu-test PRIVATE lockstep_flags)
target_compile_options(cuda-on-cpu-test PRIVATE -mfma -Wno-unknown-pragmas)
