# SPDX-License-Identifier: BSL-1.0
# cmake -DPROGRAM=… -DEXPECT=regex -P run_example.cmake: the program must exit with 0 and print what
# is expected. Its standard error belongs to what it prints.
execute_process(COMMAND "${PROGRAM}"
    OUTPUT_VARIABLE output ERROR_VARIABLE output RESULT_VARIABLE result)
message("${output}")
if(NOT result STREQUAL "0")
    message(FATAL_ERROR "${PROGRAM} ended with ${result}")
endif()
if(NOT output MATCHES "${EXPECT}")
    message(FATAL_ERROR "expected: ${EXPECT}")
endif()
