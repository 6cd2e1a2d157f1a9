# loci_embed(VARIABLE NAME FILE): appends to VARIABLE a source that defines `std::string_view loci::embedded::NAME()`, the bytes of
# FILE, so that the binary needs no file beside it.
function(loci_embed variable name file)
  set(output ${PROJECT_BINARY_DIR}/embedded/${name}.cc)
  set(script ${PROJECT_SOURCE_DIR}/cmake/embed_file.cmake)
  add_custom_command(OUTPUT ${output} COMMAND ${CMAKE_COMMAND} -DNAME=${name} -DINPUT=${file} -DOUTPUT=${output} -P ${script}
                     DEPENDS ${file} ${script} VERBATIM)
  set_source_files_properties(${output} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON SKIP_PRECOMPILE_HEADERS ON)
  set(${variable} ${${variable}} ${output} PARENT_SCOPE)
endfunction()
