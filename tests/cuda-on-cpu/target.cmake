# native/ops/cuda and native/comm/cuda through the host-execution layer: a library that LOCKSTEP_CUDA_LIBRARY can name in
# the place of lockstep-cuda.so, and the layer's own test. Both include the stand-ins of include/ in the place of CUDA's
# headers and of native/ops/cuda/ptx.h.
set(LAYER ${CMAKE_CURRENT_LIST_DIR})
file(GLOB CU_SOURCES CONFIGURE_DEPENDS native/ops/cuda/*.cu native/comm/cuda/*.cu)
set_source_files_properties(${CU_SOURCES} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-xc++")
file(GLOB CUDA_SOURCES CONFIGURE_DEPENDS native/ops/cuda/*.cpp native/comm/cuda/*.cpp native/backend/plugin/*.cpp)
add_library(lockstep-cuda-on-cpu SHARED ${CU_SOURCES} ${CUDA_SOURCES} native/ops/sampling.cpp ${LAYER}/fibers.cpp)
set_target_properties(lockstep-cuda-on-cpu PROPERTIES PREFIX "")

add_executable(cuda-on-cpu-test ${LAYER}/self_test.cpp ${LAYER}/fibers.cpp)
add_dependencies(lockstep-cuda-on-cpu cuda-on-cpu-test) # built with it
foreach(target lockstep-cuda-on-cpu cuda-on-cpu-test)
  target_include_directories(${target} BEFORE PRIVATE ${LAYER}/include ${LAYER})
  target_link_libraries(${target} PRIVATE lockstep_flags)
  target_compile_options(${target} PRIVATE -mfma -Wno-unknown-pragmas -Wno-maybe-uninitialized -Wno-unused-function)
endforeach()
