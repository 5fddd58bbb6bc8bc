# lockstep-cuda.so: the CUDA backend, built where a toolkit (12.4 or later) is found, and opened at run time by
# native/backend/registry.cpp. nvcc is called as a plain command: CMake's own CUDA language would make a toolkit a
# condition for configuring. LOCKSTEP_CUDA=OFF leaves it out; LOCKSTEP_NVCC names a compiler.
option(LOCKSTEP_CUDA "Build the CUDA backend where nvcc is found" ON)
set(LOCKSTEP_CUDA_TARGETS "80;90;100;120" CACHE STRING "Compute capabilities; PTX for the last one is added")
if(NOT LOCKSTEP_CUDA)
  return()
endif()
find_program(LOCKSTEP_NVCC nvcc HINTS $ENV{CUDA_HOME}/bin /usr/local/cuda/bin)
if(NOT LOCKSTEP_NVCC)
  message(STATUS "No nvcc found: without the CUDA backend")
  return()
endif()
execute_process(COMMAND ${LOCKSTEP_NVCC} --version OUTPUT_VARIABLE NVCC_VERSION)
string(REGEX MATCH "release ([0-9]+\\.[0-9]+)" NVCC_RELEASE "${NVCC_VERSION}")
if(CMAKE_MATCH_1 VERSION_LESS 12.4)
  message(STATUS "${LOCKSTEP_NVCC} is ${CMAKE_MATCH_1}, 12.4 is needed: without the CUDA backend")
  return()
endif()

# The contract's flags (scripts/nvcc-check.mjs has the same): no contraction; square root and division are IEEE's.
set(NVCC_FLAGS -std=c++20 -O3 --fmad=false --expt-relaxed-constexpr -diag-suppress 554
  -Xcompiler=-fPIC,-fvisibility=hidden,-ffp-contract=off -I${CMAKE_CURRENT_SOURCE_DIR}/native)
foreach(target ${LOCKSTEP_CUDA_TARGETS})
  list(APPEND NVCC_TARGETS -gencode=arch=compute_${target},code=sm_${target})
  set(last ${target})
endforeach()
list(APPEND NVCC_TARGETS -gencode=arch=compute_${last},code=compute_${last})

file(GLOB PLUGIN_SOURCES CONFIGURE_DEPENDS native/ops/cuda/*.cu native/ops/cuda/*.cpp native/backend/plugin/*.cpp native/comm/cuda/*.cu native/comm/cuda/*.cpp)
list(APPEND PLUGIN_SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/native/ops/sampling.cpp)
file(GLOB PLUGIN_HEADERS CONFIGURE_DEPENDS native/ops/cuda/*.h native/ops/cuda/*.cuh native/ops/*.h native/comm/*.h native/comm/cuda/*.h native/backend/*.h native/base/*.h)
foreach(source ${PLUGIN_SOURCES})
  get_filename_component(name ${source} NAME)
  set(object ${CMAKE_CURRENT_BINARY_DIR}/cuda/${name}.o)
  set(targets ${NVCC_TARGETS})
  if(name MATCHES "_sm90.cu$") # Hopper's own instructions: for nothing else
    set(targets -gencode=arch=compute_90a,code=sm_90a)
  endif()
  add_custom_command(OUTPUT ${object} DEPENDS ${source} ${PLUGIN_HEADERS}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_CURRENT_BINARY_DIR}/cuda
    COMMAND ${LOCKSTEP_NVCC} ${NVCC_FLAGS} ${targets} -c -o ${object} ${source} VERBATIM)
  list(APPEND PLUGIN_OBJECTS ${object})
endforeach()
set(PLUGIN ${CMAKE_CURRENT_BINARY_DIR}/${CMAKE_BUILD_TYPE}/lockstep-cuda.so)
add_custom_command(OUTPUT ${PLUGIN} DEPENDS ${PLUGIN_OBJECTS}
  COMMAND ${LOCKSTEP_NVCC} -shared -cudart static -o ${PLUGIN} ${PLUGIN_OBJECTS} VERBATIM)
add_custom_target(lockstep-cuda ALL DEPENDS ${PLUGIN})
