# Checks of the tree, the documentation and the objects, as tests: `ctest` is the one list of what must hold.
find_package(Python3 3.9 REQUIRED COMPONENTS Interpreter)

function(loci_check name)
  add_test(NAME ${name} COMMAND Python3::Interpreter ${ARGN} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
endfunction()

loci_check(levels.self_test tools/check_levels.py --self-test)
loci_check(levels.tree tools/check_levels.py)
loci_check(docs.self_test tools/check_docs.py --self-test)
loci_check(docs.tree tools/check_docs.py $<TARGET_FILE:loci>)
loci_check(isa.self_test tools/check_isa.py --self-test)
loci_check(isa.symbols tools/check_isa.py ${PROJECT_BINARY_DIR})
loci_check(leaderboard.self_test tools/leaderboard.py --self-test)
loci_check(leaderboard.page tools/leaderboard.py check --loci $<TARGET_FILE:loci>)
loci_check(method_pages.self_test tools/method_pages.py --self-test)
loci_check(method_pages.tree tools/method_pages.py check $<TARGET_FILE:loci>)
loci_check(speed_of_light.self_test tools/speed_of_light.py --self-test)
loci_check(speed_of_light.page tools/speed_of_light.py check)
